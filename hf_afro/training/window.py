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
    """Return the counts of the micro-batches of one optimizer step, summed over processes.

    Args:
        batches: This process's micro-batches of the step.
        count: What is counted in one of them, int64, ``[counts]``.
        accelerator: Knows the other processes.

    Returns:
        int64 ``[counts]`` on the accelerator's device.
    """
    # Whole numbers throughout: a sum in fp32 is not exact beyond 2**24 items.
    own = torch.stack([count(batch) for batch in batches]).sum(0)
    return accelerator.reduce(own.to(accelerator.device), reduction="sum")


def part_of_step(
    total: torch.Tensor, own_count: torch.Tensor | int, step_count: torch.Tensor | None, num_processes: int
) -> torch.Tensor:
    """Return a micro-batch's sum as its part of the step's mean.

    Args:
        total: The micro-batch's summed loss.
        own_count: Items of the micro-batch; at least 1 is divided by.
        step_count: Items of the whole step, see `count_over_window`; None where the micro-batch stands alone.
        num_processes: How many processes take the step together.
    """
    if step_count is None:
        return total / max(1, own_count)
    # DDP takes the mean of the gradients over processes; what is wanted is their sum over one count.
    return total * num_processes / step_count


def masked_tokens(batch: Batch) -> torch.Tensor:
    """Number of tokens with a label."""
    return (batch["labels"] != -100).sum()


def tokens_by_language(batch: Batch, num_languages: int) -> torch.Tensor:
    """Number of tokens of each language, special ones counted and padding not; int64 ``[num_languages]``."""
    none = torch.zeros(num_languages, dtype=torch.long)
    return none.index_add(0, batch["language"].cpu(), batch["attention_mask"].sum(1).cpu())


def sequences_with_a_token(batch: Batch) -> torch.Tensor:
    """Number of rows whose attention mask holds a token."""
    return batch["attention_mask"].bool().any(1).sum()


def is_past_the_end(state: TrainerState) -> bool:
    """Say whether training has taken all its steps.

    A run that is resumed from the checkpoint of its last step would take one more: the stock loop looks at the number
    of steps only after a step.
    """
    return 0 < state.max_steps <= state.global_step
