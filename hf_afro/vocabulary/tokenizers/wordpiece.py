"""The WordPiece model (mBERT, MiniLM), which takes the longest matching token from the left of each word."""

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
    """Return whether a backend in JSON form has a WordPiece model."""
    return state["model"].get("type") == "WordPiece"


def read_model(model: dict[str, Any]) -> ModelPieces:
    """Return the tokens of a WordPiece model in JSON form.

    Raises:
        ValueError: If the mark of tokens inside a word is not ``##``, or an id is missing.
    """
    if model["continuing_subword_prefix"] != INSIDE:
        raise ValueError(
            f"tokens inside a word are marked by {model['continuing_subword_prefix']!r}; expected {INSIDE!r}, the "
            "only mark of WordPiece models that pruning knows"
        )
    return ModelPieces(pieces_by_id(model["vocab"]), model["vocab"].get(model["unk_token"]))


def rewrite_model(model: dict[str, Any], old_ids: np.ndarray) -> dict[str, Any]:
    """Return the model with only the tokens `old_ids`, in that order."""
    return {**model, "vocab": keep_pieces(model["vocab"], old_ids)}


def companions(_table: TokenizerTable, _counts: np.ndarray) -> dict[str, list[int]]:
    """Return nothing: a longest token that is kept stays the longest.

    A word becomes unknown if no token matches, not even its next character. In vocabularies made by a trainer, each
    character inside a longer token also is a token for that place, so an unknown word has a character without any
    token and stays unknown with fewer tokens.
    """
    return {}


def bare_text(piece: str) -> str:
    """Return a token without the mark of its place inside a word, unless it is the mark alone."""
    return piece.removeprefix(INSIDE) if len(piece) > len(INSIDE) else piece


def letters(piece: str) -> list[str]:
    """Return the characters of a token, all except the first of a word with the mark."""
    text = bare_text(piece)
    first = INSIDE + text[0] if len(text) < len(piece) else text[0]
    return [first, *(INSIDE + character for character in text[1:])]


def spell(pieces: Sequence[str]) -> str:
    """Return the text of consecutive tokens, with a space before each that starts a word."""
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
