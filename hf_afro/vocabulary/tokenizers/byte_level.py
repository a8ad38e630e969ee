"""The byte-level BPE model (RoBERTa, ModernBERT): BPE over 256 letters that stand for bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hf_afro.vocabulary.tokenizers import bpe
from hf_afro.vocabulary.tokenizers.table import (
    ModelPieces,
    TokenizerKind,
    TokenizerTable,
    pieces_by_id,
    works_on_bytes,
)


def _letters() -> dict[str, int]:
    """Return the byte of every letter: printable Latin-1 is itself, letters from U+0100 stand for the rest.

    References:
        Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2, and its code.
    """
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {chr(0x100 + at): byte for at, byte in enumerate(others)}


BYTE_OF = _letters()


def matches(state: dict[str, Any]) -> bool:
    """Return whether a backend in JSON form has a BPE model over bytes."""
    return state["model"].get("type") == "BPE" and works_on_bytes(state)


def read_model(model: dict[str, Any]) -> ModelPieces:
    """Return the tokens of a byte-level BPE model in JSON form, which needs no unknown token.

    Raises:
        ValueError: If a letter is missing, or the model has a setting that is not supported.
    """
    bpe.check_settings(model)
    missing = sorted(BYTE_OF.keys() - model["vocab"].keys())
    if missing:
        raise ValueError(
            f"the byte-level BPE model lacks {len(missing)} of its 256 letters ({', '.join(missing[:5])}), and leaves "
            "out what they would spell; train it with initial_alphabet=pre_tokenizers.ByteLevel.alphabet()"
        )
    unknown_id = model["vocab"].get(model.get("unk_token"))
    return ModelPieces(pieces_by_id(model["vocab"]), unknown_id, byte_fallback=True, merges=bpe.merge_ids(model))


def companions(table: TokenizerTable, _counts: np.ndarray) -> dict[str, list[int]]:
    """Return the 256 letters, with which any text can be spelt."""
    return {"bytes": [index for index, piece in enumerate(table.pieces) if piece in BYTE_OF]}


def bare_text(piece: str) -> str:
    """Return the text of a token without the space before it; empty for part of a character.

    A token of other characters is an added token, which is spelt as it is.
    """
    if not all(letter in BYTE_OF for letter in piece):
        return piece
    try:
        text = bytes(BYTE_OF[letter] for letter in piece).decode()
    except UnicodeDecodeError:
        return ""
    return text[1:] if len(text) > 1 and text[0] == " " else text


def spell(pieces: Sequence[str]) -> str:
    """Return the text of consecutive tokens, with U+FFFD for bytes that form no character."""
    spelt = b"".join(
        bytes([BYTE_OF[letter]]) if letter in BYTE_OF else letter.encode() for piece in pieces for letter in piece
    )
    return spelt.decode(errors="replace")


KIND = TokenizerKind(
    name="byte-level BPE",
    matches=matches,
    read_model=read_model,
    rewrite_model=bpe.rewrite_model,
    build_model=None,
    companions=companions,
    needs=bpe.needs,
    bare_text=bare_text,
    found_as=str,
    letters=bpe.letters,
    spell=spell,
)
