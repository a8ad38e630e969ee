"""A tokenizer's pieces as plain values, free of any library's object, and what each kind of tokenizer must answer."""

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
    """The pieces of one tokenizer, by id.

    Attributes:
        kind: The name of its kind, such as ``"Unigram"``; see `TokenizerKind`.
        pieces: The piece of every id, added tokens included.
        scores: The score of every id, ``[size]`` float64; NaN where there is none.
        unknown_id: The id that stands for text without a piece; None where bytes spell all text and none is named.
        special_ids: The ids of all added tokens (specials among them), ascending; they stay whatever is selected.
        byte_fallback: Whether text without a piece is spelt in pieces for bytes, so that nothing is unknown.
        fingerprint: Hash of all that decides how text is split; equal for two loads of the same tokenizer.
        merges: The ids of the two parts of every merge, the one applied first first, ``[merges, 2]`` int64; empty
            where the kind has none.
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
        """The ids of the added tokens and of the unknown token, where there is one, ascending."""
        unknown = () if self.unknown_id is None else (self.unknown_id,)
        return tuple(sorted({*self.special_ids, *unknown}))

    @property
    def lost_ids(self) -> tuple[int, ...]:
        """The ids that stand for text that is lost: the unknown token's, none where bytes spell all text."""
        return () if self.unknown_id is None or self.byte_fallback else (self.unknown_id,)


@dataclass(frozen=True, eq=False)
class ModelPieces:
    """What a tokenizer's model says of its own pieces, added tokens beyond them left out.

    Attributes:
        pieces: In the order of the ids.
        unknown_id: The id of the unknown piece; None where the model names none.
        byte_fallback: As in `TokenizerTable`.
        scores: ``[pieces]`` float64; None where the kind has none.
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
    """The questions whose answers differ between kinds of tokenizer.

    Attributes:
        name: What the kind is called, in tables and in messages.
        matches: From a backend in JSON form to whether it is of this kind.
        read_model: From the JSON model to its pieces.
        rewrite_model: From the JSON model and the old ids kept (ascending, inside the model) to the JSON model with
            those pieces only, renumbered 0, 1, 2 and on.
        build_model: From the JSON model to the library's own, every number exactly as in the JSON; None where the
            library reads it exactly by itself.
        companions: From a table and the counts of all languages together (``[size]``) to the ids, by reason, that
            stay whatever is selected, since without them text whose pieces are all kept could be split otherwise, or
            since they were defined and not learnt.
        needs: From a table to a function from an id to the ids without which its piece never comes about, each after
            those it needs itself.
        bare_text: From a piece to the text it stands for, the mark of a word's start or continuation taken off.
        found_as: From a piece to the letters that the model looks for inside a word, marks of its place taken off.
        letters: From a piece to the pieces of one character that spell the same text in the same place of a word.
        spell: From pieces to a text that they spell, words apart.
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
    """Answer `TokenizerKind.needs` for kinds whose pieces are found in the text as they are."""
    return lambda _token: ()


def pieces_by_id(vocab: dict[str, int]) -> list[str]:
    """Return the pieces of a model that writes ``{piece: id}``, in the order of the ids.

    Raises:
        ValueError: If an id is missing or twice there.
    """
    pieces = sorted(vocab, key=vocab.__getitem__)
    wrong = next((at for at, piece in enumerate(pieces) if vocab[piece] != at), None)
    if wrong is not None:
        raise ValueError(
            f"the model's {len(vocab)} pieces have no id {wrong}, or have one twice before it (next is "
            f"{pieces[wrong]!r} with {vocab[pieces[wrong]]}); expected the ids 0 to {len(vocab) - 1}, each once. "
            "Give the missing ids pieces of their own, such as [unused1], in tokenizer.json"
        )
    return pieces


def keep_pieces(vocab: dict[str, int], old_ids: np.ndarray) -> dict[str, int]:
    """Return a vocabulary ``{piece: id}`` with the pieces of `old_ids` only, renumbered in their order."""
    pieces = pieces_by_id(vocab)
    return {pieces[old_id]: new_id for new_id, old_id in enumerate(old_ids.tolist())}
