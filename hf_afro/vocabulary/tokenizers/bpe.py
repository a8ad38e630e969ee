"""The BPE model over characters (Gemma, mmBERT), which merges pairs in the order of a list."""

from __future__ import annotations

from typing import Any

import numpy as np

from hf_afro.vocabulary.tokenizers.table import (
    ModelPieces,
    Needs,
    TokenizerKind,
    TokenizerTable,
    keep_pieces,
    pieces_by_id,
    works_on_bytes,
)
from hf_afro.vocabulary.tokenizers.unigram import BYTE_PIECES, bare_text, spell, user_defined

# Settings that are not supported: marks inside tokens, and merges skipped at random.
_NOT_KNOWN = ("continuing_subword_prefix", "end_of_word_suffix", "dropout")


def matches(state: dict[str, Any]) -> bool:
    """Return whether a backend in JSON form has a BPE model over characters, not bytes."""
    return state["model"].get("type") == "BPE" and not works_on_bytes(state)


def read_model(model: dict[str, Any]) -> ModelPieces:
    """Return the tokens of a BPE model in JSON form.

    Raises:
        ValueError: If the model has a setting that is not supported, or would drop unknown characters.
    """
    check_settings(model)
    vocab = model["vocab"]
    spells_bytes = bool(model.get("byte_fallback")) and vocab.keys() >= BYTE_PIECES
    if not spells_bytes and model.get("unk_token") is None:
        raise ValueError(
            "the BPE model silently drops characters without a token; expected an unknown token, or byte "
            "fallback with all 256 tokens of bytes"
        )
    return ModelPieces(
        pieces=pieces_by_id(vocab),
        unknown_id=vocab.get(model.get("unk_token")),
        byte_fallback=spells_bytes,
        merges=merge_ids(model),
    )


def check_settings(model: dict[str, Any]) -> None:
    """Raise a ValueError if a BPE model has a setting for which `needs` would be wrong."""
    for name in _NOT_KNOWN:
        if model.get(name):
            raise ValueError(f"the BPE model has {name}={model[name]!r}; expected none, which is all pruning knows")


def merge_ids(model: dict[str, Any]) -> np.ndarray:
    """Return the ids of both parts of every merge, ``[merges, 2]`` int64."""
    vocab = model["vocab"]
    return np.array([(vocab[a], vocab[b]) for a, b in model["merges"]], dtype=np.int64).reshape(-1, 2)


def rewrite_model(model: dict[str, Any], old_ids: np.ndarray) -> dict[str, Any]:
    """Return the model with only the tokens `old_ids`, and the merges whose parts and result are all kept.

    The merges keep their order, so text whose tokens are all kept meets the same merges as before.
    """
    vocab = keep_pieces(model["vocab"], old_ids)
    merges = [(a, b) for a, b in model["merges"] if a in vocab and b in vocab and a + b in vocab]
    return {**model, "vocab": vocab, "merges": [list(merge) for merge in merges]}


def companions(table: TokenizerTable, counts: np.ndarray) -> dict[str, list[int]]:
    """Return the byte tokens that byte fallback needs, and user-defined tokens.

    SentencePiece's USER_DEFINED and CONTROL pieces need not be added tokens. They are recognised by the fact that no
    merges produce them from their characters.
    """
    needed = {}
    if table.byte_fallback:
        needed["bytes"] = [index for index, piece in enumerate(table.pieces) if piece in BYTE_PIECES]
    return needed | user_defined(table, np.flatnonzero(~_merged(table)), counts)


def _merged(table: TokenizerTable) -> np.ndarray:
    """Return for each token whether it is one character or produced by merges, ``[size]`` bool."""
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
    """Return a function from an id to the ids of all intermediate tokens of its merges.

    A token is merged inside text as it is from its own characters alone, because no merge crosses its ends and the
    order of merges inside it is the same. So its last merge and those of its two parts are enough. Several merges may
    give the same token, as in Gemma's list; only one of them is used.
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
    """Return the two parts of a token's last merge; empty for a single character, or if no merges produce it.

    Args:
        letters: Ids of the characters of its token, None for a character without one.
        token: Its id.
        merges: Rank and result of each pair of parts.
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
    """Return the characters of a token, which are tokens themselves."""
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
