"""WordPiece: both forms of a character, settings that are kept, and files that an output folder must not have."""

from __future__ import annotations

import json

import numpy as np
import pytest
import transformers as hf
from tokenizers import processors

from hf_afro.vocabulary import count_tokens, prune_vocabulary, report_on_text, select_tokens
from hf_afro.vocabulary.scripts import character_ids
from hf_afro.vocabulary.tokenizers import read_table, rewrite_tokenizer, wordpiece
from hf_afro.vocabulary.tokenizers.backend import table_of
from hf_afro.vocabulary.tokenizers.table import TokenizerTable
from tests.texts import AFRICAN
from tests.vocabulary.kinds import bert, model_for, state_of


@pytest.fixture(scope="module")
def cased():
    return bert(lower=False)


def table(*pieces):
    pieces = ("[UNK]", *pieces)
    return TokenizerTable("WordPiece", pieces, np.full(len(pieces), np.nan), 0, (0,), False, "fingerprint")


def test_pieces_are_taken_apart_and_spelt():
    assert [wordpiece.bare_text(piece) for piece in ("ab", "##ab", "##", "###", "#")] == ["ab", "ab", "##", "#", "#"]
    assert wordpiece.letters("abc") == ["a", "##b", "##c"]
    assert wordpiece.letters("##abc") == ["##a", "##b", "##c"]
    assert wordpiece.spell(["play", "##ing", "##s", "now"]) == " playings now"


def test_both_forms_of_a_character_stay():
    assert character_ids(table("a", "##a", "aa", "##aa", "##ж", "ж", "b", "##b"), ["Latin"]).tolist() == [1, 2, 7, 8]


def test_a_character_without_one_of_its_forms_keeps_the_pieces_that_hold_it_there():
    # "##b" and "c" are missing: "ab" and "##ab" write the first, "cb" both, and "bd" needs neither.
    found = character_ids(table("a", "##a", "b", "##c", "ab", "##ab", "cb", "ba", "##cа"), ["Latin"])
    assert found.tolist() == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("lower", [False, True])
def test_case_and_all_other_settings_survive(lower, tmp_path):
    tokenizer = bert(lower)
    keep = select_tokens(count_tokens(AFRICAN, tokenizer))
    prune_vocabulary(model_for("bert, cased", tokenizer), tokenizer, keep).save_pretrained(tmp_path / "pruned")
    settings = json.loads((tmp_path / "pruned" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert settings["do_lower_case"] is lower
    assert settings["tokenizer_class"] == "BertTokenizer"
    assert settings["model_max_length"] == 64
    for read in (
        hf.BertTokenizerFast.from_pretrained(tmp_path / "pruned"),
        hf.PreTrainedTokenizerFast.from_pretrained(tmp_path / "pruned"),
    ):
        assert state_of(read)["normalizer"] == state_of(tokenizer)["normalizer"]
        assert read.tokenize("Mwalimu") == tokenizer.tokenize("Mwalimu")
        assert ("[UNK]" in read.tokenize("mwalimu")) == ("[UNK]" in tokenizer.tokenize("mwalimu"))


@pytest.mark.parametrize(
    "make",
    [
        lambda one: processors.BertProcessing(("[SEP]", one.sep_token_id), ("[CLS]", one.cls_token_id)),
        lambda one: processors.TemplateProcessing(
            "[CLS] $A [SEP]",
            "[CLS] $A [SEP] $B:1 [SEP]:1",
            [("[CLS]", one.cls_token_id), ("[SEP]", one.sep_token_id)],
        ),
    ],
)
def test_special_ids_move_with_their_tokens(cased, make):
    """In mBERT they stand behind unused pieces, so that pruning moves them."""
    cased.backend_tokenizer.post_processor = make(cased)
    keep = select_tokens(count_tokens(AFRICAN, cased))
    assert keep.to_new([cased.cls_token_id])[0] < cased.cls_token_id
    state = rewrite_tokenizer(state_of(cased), keep.old_ids)
    text = json.dumps(state["post_processor"])
    assert str(keep.to_new([cased.sep_token_id])[0]) in text
    assert str(cased.sep_token_id) not in text


def test_a_word_with_one_foreign_character_is_not_held_against_the_rest(cased):
    """WordPiece gives up the whole word, the Latin letters in it too, which are not lost."""
    keep = select_tokens(count_tokens({"swa": AFRICAN["swa"]}, cased), coverage=0.5)
    new = prune_vocabulary(model_for("bert, cased", cased), cased, keep).tokenizer
    assert "[UNK]" not in cased.tokenize("kitaуbu")
    assert new.tokenize("kitaуbu kitabu")[0] == "[UNK]"
    report = report_on_text({"mix": ["kitaуbu kitabu"]}, cased, new, keep)["mix"]
    assert (report.new_unknown, report.new_unknown_wanted) == (7, 0)


def test_an_old_vocabulary_beside_the_new_one_is_removed(cased, tmp_path):
    keep = select_tokens(count_tokens(AFRICAN, cased))
    pruned = prune_vocabulary(model_for("bert, cased", cased), cased, keep)
    pruned.save_pretrained(tmp_path / "pruned")
    (tmp_path / "pruned" / "vocab.txt").write_text("stale", encoding="utf-8")
    pruned.save_pretrained(tmp_path / "pruned")
    assert not (tmp_path / "pruned" / "vocab.txt").exists()


def test_another_mark_and_missing_ids_are_refused(cased):
    state = state_of(cased)
    state["model"]["continuing_subword_prefix"] = "@@"
    with pytest.raises(ValueError, match="marked by '@@'; expected '##'"):
        table_of(state)
    state = state_of(cased)
    del state["model"]["vocab"][read_table(cased).pieces[50]]
    with pytest.raises(ValueError, match="have no id 50"):
        table_of(state)
