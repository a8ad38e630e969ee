"""`Fitted`: what a fine-tuned model and a probe have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, eq=False, kw_only=True)
class Fitted:
    """A model that has learnt a task.

    Attributes:
        model: The classifier, in eval mode, whose configuration carries the names of the labels; of a probe, the
            encoder.
        tokenizer: Its tokenizer.
        labels: The names of the labels, by id.
        dev_scores: The main metric on dev after each epoch; of a probe, for each of `STRENGTHS`.
        best_epoch: The place of the one that was kept, from 1.
        seconds: The duration of training; of a probe, with encoding.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    labels: tuple[str, ...]
    dev_scores: tuple[float, ...]
    best_epoch: int
    seconds: float
