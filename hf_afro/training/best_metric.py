"""The figure by which the best model is chosen is one that evaluation gives: looked at before training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hf_afro.nearest import nearest

if TYPE_CHECKING:
    from transformers import TrainingArguments


def check_best_metric(args: TrainingArguments, figures: Sequence[str]) -> None:
    """Refuse a `metric_for_best_model` that the Trainer would only miss after the first evaluation.

    Args:
        args: The trainer's; nothing is looked at where they ask for no evaluation while training.
        figures: What evaluation gives, without ``eval_``; empty where there is nothing to evaluate.

    Raises:
        ValueError: If the metric is none of them; the message names the nearest and all.
    """
    wanted = args.metric_for_best_model
    if wanted is None or not figures or args.eval_strategy == "no":
        return
    name = wanted.removeprefix("eval_")
    if name not in figures:
        hint = nearest(name, figures, every=True)
        raise ValueError(f"metric_for_best_model={wanted!r} is no figure of evaluation; {hint}")
