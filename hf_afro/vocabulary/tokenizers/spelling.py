"""The text that each piece of a tokenizer spells, as the bytes that it adds to the text before it."""

from __future__ import annotations

from collections.abc import Iterable

from hf_afro.vocabulary.tokenizers import byte_level
from hf_afro.vocabulary.tokenizers.backend import kind_named
from hf_afro.vocabulary.tokenizers.table import TokenizerTable
from hf_afro.vocabulary.tokenizers.unigram import BYTE_PIECES


def piece_bytes(table: TokenizerTable, special_ids: Iterable[int]) -> tuple[bytes, ...]:
    """Return the UTF-8 bytes of every piece, a space where it begins a word; joined, they are the text of a row.

    A piece of bytes may hold a part of a character. Special tokens are spelt as one space: no word goes on over them.
    Other added tokens begin a word.

    Args:
        table: The tokenizer's.
        special_ids: Which of its added tokens are special.
    """
    specials = frozenset(special_ids)
    added = frozenset(table.special_ids) - specials
    return tuple(
        b" " if index in specials else b" " + piece.strip().encode() if index in added else _bytes_of(piece, table)
        for index, piece in enumerate(table.pieces)
    )


def _bytes_of(piece: str, table: TokenizerTable) -> bytes:
    if table.kind == byte_level.KIND.name and all(letter in byte_level.BYTE_OF for letter in piece):
        return bytes(byte_level.BYTE_OF[letter] for letter in piece)
    if table.byte_fallback and piece in BYTE_PIECES:
        return bytes([int(piece[3:5], 16)])  # "<0x0A>"
    return kind_named(table.kind).spell([piece]).encode()
