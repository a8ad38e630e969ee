"""The steps around a tokenizer's model, taken out of the sequences they may stand in."""

from __future__ import annotations

from typing import Any


def flat_steps(step: dict[str, Any] | None, inner: str) -> list[dict[str, Any]]:
    """Return the single steps of a normaliser or pre-tokenizer in JSON form, in order.

    Args:
        step: The step; None for no step at all.
        inner: Under which name a ``Sequence`` holds its own steps: ``"normalizers"`` or ``"pretokenizers"``.
    """
    if step is None:
        return []
    if step["type"] == "Sequence":
        return [leaf for part in step[inner] for leaf in flat_steps(part, inner)]
    return [step]


def works_on_bytes(state: dict[str, Any]) -> bool:
    """Say whether a backend in JSON form turns text into letters that stand for bytes before its model sees it."""
    steps = [*flat_steps(state["normalizer"], "normalizers"), *flat_steps(state["pre_tokenizer"], "pretokenizers")]
    return any(step["type"] == "ByteLevel" for step in steps)
