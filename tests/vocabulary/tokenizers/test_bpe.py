"""BPE: the pieces a piece is merged from, also if several merges could make it, and byte pieces."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from hf_afro.vocabulary import count_tokens, select_tokens
from hf_afro.vocabulary.tokenizers import bpe, read_table, rewrite_tokenizer
from hf_afro.vocabulary.tokenizers.backend import table_of
from hf_afro.vocabulary.tokenizers.cutting import prune_tokenizer
from hf_afro.vocabulary.tokenizers.table import TokenizerTable
from hf_afro.vocabulary.tokenizers.unigram import BYTE_PIECES
from tests.texts import SENTENCES
from tests.vocabulary.kinds import gemma, state_of


@pytest.fixture(scope="module")
def tokenizer():
    return gemma()


def table(pieces, merges):
    index = {piece: at for at, piece in enumerate(pieces)}
    ids = np.array([[index[a], index[b]] for a, b in merges], dtype=np.int64)
    return TokenizerTable("BPE", tuple(pieces), np.full(len(pieces), np.nan), 0, (0,), False, "f", ids)


def needed(pieces, merges, piece):
    return [pieces[one] for one in bpe.needs(table(pieces, merges))(pieces.index(piece))]


def test_parts_come_before_what_is_merged_of_them():
    pieces = ["?", "a", "b", "c", "ab", "abc"]
    assert needed(pieces, [("a", "b"), ("ab", "c")], "abc") == ["a", "b", "ab", "c"]
    assert needed(pieces, [("a", "b"), ("ab", "c")], "a") == []


def test_of_many_merges_that_make_a_piece_the_one_that_is_used_counts():
    pieces = ["?", "a", "b", "c", "ab", "bc", "abc"]
    both = [("ab", "c"), ("a", "bc")]
    assert needed(pieces, [("a", "b"), ("b", "c"), *both], "abc") == ["a", "b", "ab", "c"]
    assert needed(pieces, [("b", "c"), ("a", "b"), *both], "abc") == ["a", "b", "c", "bc"]


def test_the_leftmost_of_equal_pairs_is_merged_first():
    pieces = ["?", "a", "aa", "aaa"]
    assert needed(pieces, [("a", "a"), ("a", "aa"), ("aa", "a")], "aaa") == ["a", "aa"]
    # From the right it would be ("a", "aa"), which is not in the list.
    assert needed(pieces, [("a", "a"), ("aa", "a")], "aaa") == ["a", "aa"]


def test_a_piece_that_merging_never_makes_needs_nothing():
    pieces = ["?", "a", "b", "c", "ab", "bc", "abc"]
    assert needed(pieces, [("a", "b"), ("b", "c"), ("a", "bc")], "abc") == []  # stops at "ab", "c"
    assert needed(["?", "ax"], [], "ax") == []


def test_needs_agree_with_the_library_on_every_piece(tokenizer):
    """With only the needed pieces the library makes each piece; without the last of them it does not."""
    pieces, state = read_table(tokenizer), state_of(tokenizer)
    needs, vocab = bpe.needs(pieces), state["model"]["vocab"]
    checked = several = 0
    for token, piece in enumerate(pieces.pieces):
        whole = tokenizer.backend_tokenizer.model.tokenize(piece)
        made = len(whole) == 1 and whole[0].value == piece
        if piece in BYTE_PIECES or token in pieces.special_ids or len(piece) == 1:
            continue
        assert bool(needs(token)) == made, piece
        if not made:
            continue
        checked += 1
        several += sum(1 for merge in state["model"]["merges"] if "".join(merge) == piece) > 1
        alone = np.array(sorted({pieces.unknown_id, token, *needs(token)}))
        fewer = bpe.rewrite_model(state["model"], alone)
        assert len(fewer["vocab"]) == len(alone)
        small = models.BPE(fewer["vocab"], [tuple(merge) for merge in fewer["merges"]])
        assert [one.value for one in small.tokenize(piece)] == [piece]
        assert vocab[piece] == token
    assert checked > 200
    assert several > 20


def test_bytes_stay_and_spell_what_has_no_piece_left(tokenizer):
    keep = select_tokens(count_tokens({"swa": SENTENCES["swa"]}, tokenizer), coverage=0.5)
    pruned = prune_tokenizer(tokenizer, state_of(tokenizer), keep)
    assert pruned.get_vocab().keys() >= BYTE_PIECES
    assert keep.provenance["must_keep"]["bytes"] == 256
    for text in (SENTENCES["rus"][0], SENTENCES["amh"][0], "漢字 \U0001f600"):
        ids = pruned(text, add_special_tokens=False)["input_ids"]
        assert pruned.unk_token_id not in ids
        assert pruned.decode(ids) == text
    assert len(pruned.tokenize("Учитель")) == 14


def test_merges_stay_in_their_order_and_stand_on_kept_pieces(tokenizer):
    keep = select_tokens(count_tokens({"swa": SENTENCES["swa"]}, tokenizer), coverage=0.9)
    before, after = state_of(tokenizer)["model"], rewrite_tokenizer(state_of(tokenizer), keep.old_ids)["model"]
    vocab = after["vocab"]
    assert 0 < len(after["merges"]) < len(before["merges"])
    assert after["merges"] == [[a, b] for a, b in before["merges"] if a in vocab and b in vocab and a + b in vocab]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dropout": 0.1}, "has dropout=0.1; expected none"),
        ({"end_of_word_suffix": "</w>"}, "has end_of_word_suffix='</w>'; expected none"),
        ({"continuing_subword_prefix": "##"}, "has continuing_subword_prefix='##'; expected none"),
        ({"unk_token": None, "byte_fallback": False}, "silently drops characters without a token"),
    ],
)
def test_what_pruning_does_not_know_is_refused(tokenizer, settings, message):
    state = state_of(tokenizer)
    state["model"] |= settings
    with pytest.raises(ValueError, match=message):
        table_of(state)


def test_bpe_of_characters_without_bytes_keeps_its_unknown_token():
    backend = Tokenizer(models.BPE({"[UNK]": 0, "a": 1, "b": 2, "ab": 3}, [("a", "b")], unk_token="[UNK]"))
    state = json.loads(backend.to_str())
    found = table_of(state)
    assert (found.kind, found.unknown_id, found.byte_fallback) == ("BPE", 0, False)
    assert bpe.companions(found, np.zeros(4)) == {}
