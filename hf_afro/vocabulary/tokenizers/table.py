"""Describe the tokens of a tokenizer, and what has to be known about each kind of tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tokenizers.models import Model


def _no_merges() -> np.ndarray:
    return np.empty((0, 2), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class TokenizerTable:
    """The tokens of a tokenizer by id.

    Attributes:
        kind: The name of its `TokenizerKind`, such as ``"Unigram"``.
        pieces: The token of every id, including added tokens.
        scores: The score of every id, ``[size]`` float64; NaN if there is none.
        unknown_id: The id of the unknown token; None with byte fallback if none is named.
        special_ids: The ids of all added tokens, including special ones, ascending; they are always kept.
        byte_fallback: Whether text without a token is spelt in bytes, so that nothing is unknown.
        fingerprint: Hash of everything that decides how text is split; the same on every load.
        merges: The ids of both parts of every merge by priority, ``[merges, 2]`` int64; empty if the kind has none.
    """

    kind: str
    pieces: tuple[str, ...]
    scores: np.ndarray
    unknown_id: int | None
    special_ids: tuple[int, ...]
    byte_fallback: bool
    fingerprint: str
    merges: np.ndarray = field(default_factory=_no_merges)

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def always_kept(self) -> tuple[int, ...]:
        """The ids of the added tokens and the unknown token, ascending."""
        unknown = () if self.unknown_id is None else (self.unknown_id,)
        return tuple(sorted({*self.special_ids, *unknown}))

    @property
    def lost_ids(self) -> tuple[int, ...]:
        """The ids that stand for lost text: the unknown token's, or none with byte fallback."""
        return () if self.unknown_id is None or self.byte_fallback else (self.unknown_id,)


@dataclass(frozen=True, eq=False)
class ModelPieces:
    """The tokens of a tokenizer's model, without added tokens after them.

    Attributes:
        pieces: The tokens in the order of their ids.
        unknown_id: The id of the unknown token, or None.
        byte_fallback: As in `TokenizerTable`.
        scores: ``[tokens]`` float64; None if the kind has none.
        merges: As in `TokenizerTable`.
    """

    pieces: list[str]
    unknown_id: int | None
    byte_fallback: bool = False
    scores: np.ndarray | None = None
    merges: np.ndarray = field(default_factory=_no_merges)


Needs = Callable[[int], Sequence[int]]


@dataclass(frozen=True)
class TokenizerKind:
    """The functions that differ between kinds of tokenizer.

    Attributes:
        name: The name of the kind, in tables and messages.
        matches: Whether a backend in JSON form is of this kind.
        read_model: Reads the tokens of a model in JSON form.
        rewrite_model: Returns a model in JSON form with only the given old ids (ascending), renumbered from 0.
        build_model: Builds the library's model from JSON with exact numbers; None if the library reads JSON exactly.
        companions: Returns, from a table and the counts of all languages together (``[size]``), the ids that are
            always kept, by reason: without them kept text could be split differently, or they were defined, not
            learnt.
        needs: Returns for a table a function from an id to the ids that its merges need, each after its own needs.
        bare_text: Returns the text of a token without the mark of a word's start or continuation.
        found_as: Returns the text of a token as the model searches for it inside a word.
        letters: Returns the single-character tokens that spell a token in the same place of a word.
        spell: Returns the text of consecutive tokens.
    """

    name: str
    matches: Callable[[dict[str, Any]], bool]
    read_model: Callable[[dict[str, Any]], ModelPieces]
    rewrite_model: Callable[[dict[str, Any], np.ndarray], dict[str, Any]]
    build_model: Callable[[dict[str, Any]], Model] | None
    companions: Callable[[TokenizerTable, np.ndarray], dict[str, list[int]]]
    needs: Callable[[TokenizerTable], Needs]
    bare_text: Callable[[str], str]
    found_as: Callable[[str], str]
    letters: Callable[[str], list[str]]
    spell: Callable[[Sequence[str]], str]


def needs_nothing(_table: TokenizerTable) -> Needs:
    """Implement `TokenizerKind.needs` for kinds without merges."""
    return lambda _token: ()


def pieces_by_id(vocab: dict[str, int]) -> list[str]:
    """Return the tokens of a vocabulary ``{token: id}`` in the order of their ids.

    Raises:
        ValueError: If an id is missing or occurs twice.
    """
    pieces = sorted(vocab, key=vocab.__getitem__)
    wrong = next((at for at, piece in enumerate(pieces) if vocab[piece] != at), None)
    if wrong is not None:
        raise ValueError(
            f"the model's {len(vocab)} tokens have no id {wrong}, or have one twice before it (next is "
            f"{pieces[wrong]!r} with {vocab[pieces[wrong]]}); expected the ids 0 to {len(vocab) - 1}, each once. "
            "Give the missing ids tokens of their own, such as [unused1], in tokenizer.json"
        )
    return pieces


def keep_pieces(vocab: dict[str, int], old_ids: np.ndarray) -> dict[str, int]:
    """Return a vocabulary ``{token: id}`` with only the tokens `old_ids`, renumbered in their order."""
    pieces = pieces_by_id(vocab)
    return {pieces[old_id]: new_id for new_id, old_id in enumerate(old_ids.tolist())}


def flat_steps(step: dict[str, Any] | None, inner: str) -> list[dict[str, Any]]:
    """Return the steps of a normaliser or pre-tokenizer in JSON form, with nested sequences flattened.

    Args:
        step: The step, or None.
        inner: The key of a ``Sequence`` with its steps: ``"normalizers"`` or ``"pretokenizers"``.
    """
    if step is None:
        return []
    if step["type"] == "Sequence":
        return [leaf for part in step[inner] for leaf in flat_steps(part, inner)]
    return [step]


def works_on_bytes(state: dict[str, Any]) -> bool:
    """Return whether a backend in JSON form turns text into letters for bytes before its model."""
    steps = [*flat_steps(state["normalizer"], "normalizers"), *flat_steps(state["pre_tokenizer"], "pretokenizers")]
    return any(step["type"] == "ByteLevel" for step in steps)
