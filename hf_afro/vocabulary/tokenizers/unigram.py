"""The Unigram model (XLM-R): a list of tokens with scores, of which the best path is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers.models import Unigram

from hf_afro.vocabulary.tokenizers.table import ModelPieces, TokenizerKind, TokenizerTable, needs_nothing

WORD_START = "\u2581"
BYTE_PIECES = frozenset(f"<0x{byte:02X}>" for byte in range(256))


def matches(state: dict[str, Any]) -> bool:
    """Return whether a backend in JSON form has a Unigram model."""
    return state["model"].get("type") == "Unigram"


def read_model(model: dict[str, Any]) -> ModelPieces:
    """Return the tokens of a Unigram model in JSON form.

    Without an unknown token there is no byte fallback: the library raises an error for characters without a token.
    """
    pieces, unknown_id = [piece for piece, _ in model["vocab"]], model.get("unk_id")
    falls_back = bool(model.get("byte_fallback")) and unknown_id is not None
    return ModelPieces(
        pieces=pieces,
        unknown_id=unknown_id,
        byte_fallback=falls_back and BYTE_PIECES.issubset(pieces),
        scores=np.array([score for _, score in model["vocab"]], dtype=np.float64),
    )


def rewrite_model(model: dict[str, Any], old_ids: np.ndarray) -> dict[str, Any]:
    """Return the model with only the tokens `old_ids`, and with the new id of the unknown token."""
    vocab = model["vocab"]
    rewritten = {**model, "vocab": [vocab[old_id] for old_id in old_ids.tolist()]}
    if model.get("unk_id") is not None:
        rewritten["unk_id"] = int(np.searchsorted(old_ids, model["unk_id"]))
    return rewritten


def build_model(model: dict[str, Any]) -> Unigram:
    """Build a Unigram model from its JSON form with exact scores."""
    vocab = [(piece, score) for piece, score in model["vocab"]]
    return Unigram(vocab, unk_id=model.get("unk_id"), byte_fallback=bool(model.get("byte_fallback")))


def companions(table: TokenizerTable, counts: np.ndarray) -> dict[str, list[int]]:
    """Return the ids that a Unigram model needs, and user-defined tokens.

    An unknown character costs the lowest score of the vocabulary minus 10, so one token of the lowest score is kept:
    the most frequent one, or the first of equals. Byte fallback needs its 256 byte pieces. SentencePiece's
    USER_DEFINED and CONTROL pieces, such as mT5's sentinels, need not be added tokens; they are recognised by their
    score of 0, while a learnt token has the logarithm of a probability.

    Args:
        table: The tokens of the tokenizer.
        counts: Number of occurrences of each id in all languages, ``[size]``; -1 for ids to avoid.
    """
    lowest = np.flatnonzero(table.scores == np.nanmin(table.scores))
    needed = {"lowest_score": [int(lowest[np.argmax(counts[lowest])])]}
    if table.byte_fallback:
        needed["bytes"] = [index for index, piece in enumerate(table.pieces) if piece in BYTE_PIECES]
    if table.scores[lowest[0]] < 0:
        needed |= user_defined(table, np.flatnonzero(table.scores == 0), counts)
    return needed


def user_defined(table: TokenizerTable, ids: np.ndarray, counts: np.ndarray) -> dict[str, list[int]]:
    """Return those of some ids that are user-defined: neither added tokens nor bytes nor ids to avoid."""
    known = set(table.always_kept)
    own = [one for one in ids.tolist() if one not in known and table.pieces[one] not in BYTE_PIECES]
    wanted = [one for one in own if counts[one] >= 0]
    return {"user_defined": wanted} if wanted else {}


def bare_text(piece: str) -> str:
    """Return a token without the mark of a word's start, unless it is the mark alone."""
    return piece[1:] if len(piece) > 1 and piece[0] == WORD_START else piece


def letters(piece: str) -> list[str]:
    """Return the characters of a token without the mark of a word's start, which is a token itself."""
    return list(bare_text(piece))


def spell(pieces: Sequence[str]) -> str:
    """Return the text of consecutive tokens, with a space for each mark of a word's start."""
    return "".join(pieces).replace(WORD_START, " ")


KIND = TokenizerKind(
    name="Unigram",
    matches=matches,
    read_model=read_model,
    rewrite_model=rewrite_model,
    build_model=build_model,
    companions=companions,
    needs=needs_nothing,
    bare_text=bare_text,
    found_as=str,
    letters=letters,
    spell=spell,
)
