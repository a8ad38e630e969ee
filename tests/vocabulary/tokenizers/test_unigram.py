"""Unigram with byte fallback keeps its byte pieces and its setting."""

from __future__ import annotations

import pytest

from hf_afro.vocabulary import count_tokens, select_tokens
from hf_afro.vocabulary.tokenizers import read_table
from hf_afro.vocabulary.tokenizers.backend import table_of
from hf_afro.vocabulary.tokenizers.cutting import prune_tokenizer
from hf_afro.vocabulary.tokenizers.unigram import BYTE_PIECES
from tests.texts import SENTENCES
from tests.vocabulary.kinds import state_of, unigram_with_bytes


@pytest.fixture(scope="module")
def tokenizer():
    return unigram_with_bytes()


def test_bytes_stay_and_spell_what_has_no_piece_left(tokenizer):
    assert read_table(tokenizer).byte_fallback
    keep = select_tokens(count_tokens({"swa": SENTENCES["swa"]}, tokenizer), coverage=0.5)
    pruned = prune_tokenizer(tokenizer, state_of(tokenizer), keep)
    assert pruned.get_vocab().keys() >= BYTE_PIECES
    assert state_of(pruned)["model"]["byte_fallback"] is True
    for text in (SENTENCES["rus"][0], SENTENCES["amh"][0], "漢字 \U0001f600"):
        ids = pruned(text, add_special_tokens=False)["input_ids"]
        assert pruned.unk_token_id not in ids
        assert pruned.decode(ids) == text


def test_a_character_that_bytes_spell_keeps_no_longer_piece(tokenizer):
    """Only where it would become unknown must all pieces that hold it stay."""
    keep = select_tokens(count_tokens({"swa": SENTENCES["swa"]}, tokenizer), coverage=0.0)
    table = read_table(tokenizer)
    longer = [piece for piece in (table.pieces[one] for one in keep.old_ids) if len(piece.lstrip("\u2581")) > 1]
    # Besides bytes and special tokens, one piece of the lowest score may stay.
    assert len(set(longer) - BYTE_PIECES - {table.pieces[one] for one in table.special_ids}) <= 1


def test_bytes_of_which_one_is_missing_are_not_counted_on(tokenizer):
    state = state_of(tokenizer)
    state["model"]["vocab"].remove(["<0x41>", -20.0])
    assert not table_of({**state, "added_tokens": []}).byte_fallback
