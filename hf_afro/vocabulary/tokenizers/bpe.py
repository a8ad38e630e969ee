"""The BPE model (Gemma, mmBERT): characters joined pair by pair in the order of a list of merges."""

from __future__ import annotations

from typing import Any

import numpy as np

from hf_afro.vocabulary.tokenizers.steps import works_on_bytes
from hf_afro.vocabulary.tokenizers.table import (
    ModelPieces,
    Needs,
    TokenizerKind,
    TokenizerTable,
    keep_pieces,
    pieces_by_id,
)
from hf_afro.vocabulary.tokenizers.unigram import BYTE_PIECES, bare_text, spell, user_defined

# Settings under which pieces come about otherwise than here: marks inside pieces, and merges left out at random.
_NOT_KNOWN = ("continuing_subword_prefix", "end_of_word_suffix", "dropout")


def matches(state: dict[str, Any]) -> bool:
    """Say whether a backend in JSON form holds a BPE model whose letters are characters, not bytes."""
    return state["model"].get("type") == "BPE" and not works_on_bytes(state)


def read_model(model: dict[str, Any]) -> ModelPieces:
    """Return what a BPE model of characters in JSON form says of its pieces.

    Raises:
        ValueError: If the model has a setting that pruning does not know, or would drop unknown characters.
    """
    check_settings(model)
    vocab = model["vocab"]
    spells_bytes = bool(model.get("byte_fallback")) and vocab.keys() >= BYTE_PIECES
    if not spells_bytes and model.get("unk_token") is None:
        raise ValueError(
            "the BPE model leaves out characters without a piece and says nothing; expected an unknown token, or byte "
            "fallback with all 256 pieces of bytes"
        )
    return ModelPieces(
        pieces=pieces_by_id(vocab),
        unknown_id=vocab.get(model.get("unk_token")),
        byte_fallback=spells_bytes,
        merges=merge_ids(model),
    )


def check_settings(model: dict[str, Any]) -> None:
    """Raise a ValueError if a BPE model has a setting under which `needs` would be wrong."""
    for name in _NOT_KNOWN:
        if model.get(name):
            raise ValueError(f"the BPE model has {name}={model[name]!r}; expected none, which is all pruning knows")


def merge_ids(model: dict[str, Any]) -> np.ndarray:
    """Return the ids of the two parts of every merge, ``[merges, 2]`` int64."""
    vocab = model["vocab"]
    return np.array([(vocab[a], vocab[b]) for a, b in model["merges"]], dtype=np.int64).reshape(-1, 2)


def rewrite_model(model: dict[str, Any], old_ids: np.ndarray) -> dict[str, Any]:
    """Return the model with the pieces of `old_ids` only, and the merges whose parts and result are all kept.

    The order of the merges stays. So a merge that text took before, all parts being kept, is still the first one that
    fits, and text is split as before.
    """
    vocab = keep_pieces(model["vocab"], old_ids)
    merges = [(a, b) for a, b in model["merges"] if a in vocab and b in vocab and a + b in vocab]
    return {**model, "vocab": vocab, "merges": [list(merge) for merge in merges]}


def companions(table: TokenizerTable, counts: np.ndarray) -> dict[str, list[int]]:
    """Return the pieces of bytes, without which byte fallback would be of no use, and those that somebody defined.

    SentencePiece's USER_DEFINED and CONTROL pieces need not be added tokens. They are known by this, that no merges
    lead to them from their characters.
    """
    needed = {}
    if table.byte_fallback:
        needed["bytes"] = [index for index, piece in enumerate(table.pieces) if piece in BYTE_PIECES]
    return needed | user_defined(table, np.flatnonzero(~_merged(table)), counts)


def _merged(table: TokenizerTable) -> np.ndarray:
    """Say of every piece whether it is one character or comes out of merges of such, ``[size]`` bool."""
    index = {piece: token for token, piece in enumerate(table.pieces)}
    left, right = table.merges.T
    results = np.array([index[table.pieces[a] + table.pieces[b]] for a, b in table.merges.tolist()], dtype=np.int64)
    merged = np.array([len(piece) == 1 for piece in table.pieces])
    reached = -1
    while reached != merged.sum():
        reached = merged.sum()
        merged[results[merged[left] & merged[right]]] = True
    return merged


def needs(table: TokenizerTable) -> Needs:
    """Return a function from an id to the ids of all pieces that come about on the way to its piece.

    Inside text a piece is merged just as it is from its own characters alone: no merge crossed its ends, or it would
    not be there, and of the merges inside it the first of the list came first. So its own last merge, and those of
    its two parts, say all. Many merges may make one piece, as in Gemma's list, and only one of them does.
    """
    index = {piece: token for token, piece in enumerate(table.pieces)}
    merges: dict[tuple[int, int], tuple[int, int]] = {}  # parts -> (rank, result)
    for rank, (a, b) in enumerate(table.merges.tolist()):
        merges[a, b] = (rank, index[table.pieces[a] + table.pieces[b]])
    known: dict[int, tuple[int, ...]] = {}

    def needed(token: int) -> tuple[int, ...]:
        if token not in known:
            parts = _last_merge([index.get(letter) for letter in table.pieces[token]], token, merges)
            known[token] = tuple(dict.fromkeys(one for part in parts for one in (*needed(part), part)))
        return known[token]

    return needed


def _last_merge(
    letters: list[int | None], token: int, merges: dict[tuple[int, int], tuple[int, int]]
) -> tuple[int, ...]:
    """Return the two parts last merged into a token; nothing for a letter, or where merging does not end in it.

    Args:
        letters: Ids of the letters of its piece, None for one without.
        token: Its id.
        merges: Rank and result by the two parts.
    """
    if None in letters:
        return ()
    parts: list[int] = [letter for letter in letters if letter is not None]
    last: tuple[int, ...] = ()
    while len(parts) > 1:
        found = [(*merges[pair], at) for at, pair in enumerate(zip(parts, parts[1:], strict=False)) if pair in merges]
        if not found:
            return ()
        _, merged, at = min(found, key=lambda one: (one[0], one[2]))
        last = (parts[at], parts[at + 1])
        parts[at : at + 2] = [merged]
    return last if parts == [token] else ()


def letters(piece: str) -> list[str]:
    """Return the characters of a piece, each the beginning of merges and so a piece of its own."""
    return list(piece)


KIND = TokenizerKind(
    name="BPE",
    matches=matches,
    read_model=read_model,
    rewrite_model=rewrite_model,
    build_model=None,
    companions=companions,
    needs=needs,
    bare_text=bare_text,
    found_as=str,
    letters=letters,
    spell=spell,
)
