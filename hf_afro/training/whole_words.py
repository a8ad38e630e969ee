"""Whole-word masking for the tokenizer at hand: how its pieces are spelt, given to what finds words in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hf_afro.batching.whole_words import WordsOfPieces
from hf_afro.vocabulary.tokenizers import read_table
from hf_afro.vocabulary.tokenizers.spelling import piece_bytes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def words_of_pieces(tokenizer: PreTrainedTokenizerBase) -> WordsOfPieces:
    """Return what says of a row of a tokenizer's pieces which words they make.

    Raises:
        ValueError: If the tokenizer is of a kind whose spelling is not known.
    """
    return WordsOfPieces(piece_bytes(read_table(tokenizer), tokenizer.all_special_ids))
