"""Counts over the whole of an optimizer step: every micro-batch of it, on every process.

A mean over each micro-batch weighs a masked token by how few others its micro-batch happens to hold, so the loss and
its gradient would change with the number of processes and of accumulation steps. Dividing sums by one count taken
over all of them makes the split invisible.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import TrainerState

Batch = dict[str, Any]


def count_over_window(
    batches: list[Batch], count: Callable[[Batch], torch.Tensor], accelerator: Accelerator
) -> torch.Tensor:
    """Return the count of the micro-batches of one optimizer step, summed over processes, at least 1.

    Args:
        batches: This process's micro-batches of the step.
        count: What is counted in one of them; a scalar tensor.
        accelerator: Knows the other processes.

    Returns:
        A scalar int64 tensor on the accelerator's device. At least 1, so that a step without a single item divides
        by one and is zero.
    """
    own = sum((count(batch).to(accelerator.device) for batch in batches), torch.zeros((), device=accelerator.device))
    return accelerator.reduce(own.long(), reduction="sum").clamp_min(1)


def masked_tokens(batch: Batch) -> torch.Tensor:
    """Number of tokens with a label."""
    return (batch["labels"] != -100).sum()


def sequences_with_a_token(batch: Batch) -> torch.Tensor:
    """Number of rows whose attention mask holds a token."""
    return batch["attention_mask"].bool().any(1).sum()


def is_past_the_end(state: TrainerState) -> bool:
    """Say whether training has taken all its steps.

    A run that is resumed from the checkpoint of its last step would take one more: the stock loop looks at the number
    of steps only after a step.
    """
    return 0 < state.max_steps <= state.global_step
