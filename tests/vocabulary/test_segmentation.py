"""Text of kept tokens is split alike, and no wanted character becomes unknown."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from tokenizers import Tokenizer

from hf_afro.vocabulary import count_tokens, prune_vocabulary, report_on_text, select_tokens
from hf_afro.vocabulary.segmentation import compare_segmentation
from hf_afro.vocabulary.tokenizers.backend import backend_state
from hf_afro.vocabulary.tokenizers.cutting import prune_tokenizer
from tests.texts import AFRICAN, SENTENCES
from tests.vocabulary.conftest import any_lines


@pytest.fixture(scope="module", params=["_tokenizer", "normalizing_tokenizer"])
def both(request):
    """A tokenizer, the same cut down to little more than the characters of Swahili's script, and the map."""
    old = request.getfixturevalue(request.param)
    keep = select_tokens(count_tokens({"swa": AFRICAN["swa"]}, old), coverage=0.5)
    return old, prune_tokenizer(old, backend_state(old), keep), keep


def test_text_that_was_counted_is_split_alike(tokenizer, pruned, keep):
    texts = [line for lines in AFRICAN.values() for line in lines]
    result = compare_segmentation(texts, tokenizer, pruned.tokenizer, keep)
    assert (result.kept, result.other, result.first_difference) == (len(texts), 0, None)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=any_lines)
def test_any_text_whose_pieces_are_all_kept_is_split_alike(both, text):
    old, new, keep = both
    assert compare_segmentation([text], old, new, keep).first_difference is None


@settings(max_examples=200, deadline=None)
@given(text=any_lines)
def test_no_wanted_character_becomes_unknown(both, text):
    old, new, keep = both
    report = report_on_text({"any": [text]}, old, new, keep, scripts=["Latin"])["any"]
    assert report.new_unknown_wanted == 0


def test_the_penalty_of_the_unknown_does_not_move(tokenizer, pruned, keep):
    """Beside an unknown character the same pieces win, since the lowest score is still there."""

    def lowest(one):
        return min(score for _, score in json.loads(one.backend_tokenizer.to_str())["model"]["vocab"])

    assert lowest(tokenizer) == lowest(pruned.tokenizer)
    text = "kitabu漢字kipya 漢 ሀ漢ለ"
    old_ids = tokenizer(text)["input_ids"]
    assert old_ids.count(tokenizer.unk_token_id) == 3
    assert keep.to_old(pruned.tokenizer(text)["input_ids"]) == old_ids


def test_the_report_counts_right(tokenizer, pruned, keep):
    report = report_on_text(
        {"swa": AFRICAN["swa"], "rus": SENTENCES["rus"], "mix": ["漢 книгу ab", ""]},
        tokenizer,
        pruned.tokenizer,
        keep,
    )
    assert report["swa"].lines_alike == 1.0
    assert report["swa"].new_unknown == 0
    assert report["swa"].old_tokens_per_word == report["swa"].new_tokens_per_word
    assert report["rus"].new_unknown > 0
    assert report["rus"].new_unknown_wanted == 0
    assert report["rus"].old_unknown_rate == 0.0
    assert report["rus"].new_unknown_rate > 0.3
    assert report["mix"].new_unknown == 5  # the ideograph was unknown before
    assert report["mix"].lines == 2
    assert report["mix"].lines_alike == 0.5


def test_characters_that_are_not_kept_are_reported(tokenizer, model, counts):
    keep = select_tokens(counts, coverage=0.5, keep_characters=False)
    pruned = prune_vocabulary(model, tokenizer, keep)
    report = report_on_text(AFRICAN, tokenizer, pruned.tokenizer, keep)
    assert sum(one.new_unknown_wanted for one in report.values()) > 0


def test_truncation_set_on_the_tokenizer_plays_no_part(tokenizer, pruned, keep):
    expected = report_on_text(AFRICAN, tokenizer, pruned.tokenizer, keep)
    tokenizer.backend_tokenizer.enable_truncation(2)
    assert report_on_text(AFRICAN, tokenizer, pruned.tokenizer, keep) == expected
    assert isinstance(tokenizer.backend_tokenizer, Tokenizer)
