"""The WordPiece model (mBERT, MiniLM): the longest piece that fits, again and again from the left of each word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hf_afro.vocabulary.tokenizers.table import (
    ModelPieces,
    TokenizerKind,
    TokenizerTable,
    keep_pieces,
    needs_nothing,
    pieces_by_id,
)

INSIDE = "##"


def matches(state: dict[str, Any]) -> bool:
    """Say whether a backend in JSON form holds a WordPiece model."""
    return state["model"].get("type") == "WordPiece"


def read_model(model: dict[str, Any]) -> ModelPieces:
    """Return what a WordPiece model in JSON form says of its pieces.

    Raises:
        ValueError: If pieces inside a word are marked otherwise than by ``##``, or an id is missing.
    """
    if model["continuing_subword_prefix"] != INSIDE:
        raise ValueError(
            f"pieces inside a word are marked by {model['continuing_subword_prefix']!r}; expected {INSIDE!r}, the "
            "only mark of WordPiece models that pruning knows"
        )
    return ModelPieces(pieces_by_id(model["vocab"]), model["vocab"].get(model["unk_token"]))


def rewrite_model(model: dict[str, Any], old_ids: np.ndarray) -> dict[str, Any]:
    """Return the model with the pieces of `old_ids` only, in that order."""
    return {**model, "vocab": keep_pieces(model["vocab"], old_ids)}


def companions(_table: TokenizerTable, _counts: np.ndarray) -> dict[str, list[int]]:
    """Return nothing: where the longest piece is kept it is still the longest, and none replaces it.

    A word becomes unknown where no piece fits, not even its next character. As long as each character inside a longer
    piece has a piece of its own for that place, as in all vocabularies that a trainer made, such a word has a
    character without any piece, and fewer pieces cannot write it either.
    """
    return {}


def bare_text(piece: str) -> str:
    """Return a piece without the mark of its place inside a word; the mark alone stays as it is."""
    return piece.removeprefix(INSIDE) if len(piece) > len(INSIDE) else piece


def letters(piece: str) -> list[str]:
    """Return the characters of a piece, all but a word's first with the mark."""
    text = bare_text(piece)
    first = INSIDE + text[0] if len(text) < len(piece) else text[0]
    return [first, *(INSIDE + character for character in text[1:])]


def spell(pieces: Sequence[str]) -> str:
    """Return the text of pieces in a row, a space before each that starts a word."""
    return "".join(bare_text(piece) if piece.startswith(INSIDE) else f" {piece}" for piece in pieces)


KIND = TokenizerKind(
    name="WordPiece",
    matches=matches,
    read_model=read_model,
    rewrite_model=rewrite_model,
    build_model=None,
    companions=companions,
    needs=needs_nothing,
    bare_text=bare_text,
    found_as=bare_text,
    letters=letters,
    spell=spell,
)
