"""A tokenizer's pieces as plain values, free of any library's object, and what each kind of tokenizer must answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers.models import Model


@dataclass(frozen=True, eq=False)
class TokenizerTable:
    """The pieces of one tokenizer, by id.

    Attributes:
        kind: The kind of the model, such as ``"Unigram"``.
        pieces: The piece of every id, added tokens included.
        scores: The score of every id, ``[size]`` float64; NaN where there is none.
        unknown_id: The id that stands for text without a piece.
        special_ids: The ids of all added tokens (specials among them), ascending; they stay whatever is selected.
        byte_fallback: Whether text without a piece is spelt in pieces for bytes.
        fingerprint: Hash of all that decides how text is split; equal for two loads of the same tokenizer.
    """

    kind: str
    pieces: tuple[str, ...]
    scores: np.ndarray
    unknown_id: int
    special_ids: tuple[int, ...]
    byte_fallback: bool
    fingerprint: str

    def __len__(self) -> int:
        return len(self.pieces)


@dataclass(frozen=True)
class TokenizerKind:
    """The questions whose answers differ between kinds of tokenizer.

    Attributes:
        name: The ``type`` of the model in the backend's JSON, such as ``"Unigram"``.
        read_model: From the JSON model to its pieces (in id order), their scores (``[pieces]``, NaN where the kind
            has none) and the id of the unknown piece.
        rewrite_model: From the JSON model and the old ids kept (ascending, inside the model) to the JSON model with
            those pieces only, renumbered 0, 1, 2 and on.
        build_model: From the JSON model to the library's own, every number exactly as in the JSON.
        companions: From a table and the counts of all languages together (``[size]``) to the ids, by reason, that
            stay whatever is selected, since without them text whose pieces are all kept could be split otherwise.
        bare_text: From a piece to the text it stands for, the mark of a word's start or continuation taken off.
    """

    name: str
    read_model: Callable[[dict[str, Any]], tuple[list[str], np.ndarray, int | None]]
    rewrite_model: Callable[[dict[str, Any], np.ndarray], dict[str, Any]]
    build_model: Callable[[dict[str, Any]], Model]
    companions: Callable[[TokenizerTable, np.ndarray], dict[str, list[int]]]
    bare_text: Callable[[str], str]
