"""Which of some tensors holds a number that is not finite."""

from __future__ import annotations

from collections.abc import Iterable

import torch


def first_not_finite(named: Iterable[tuple[str, torch.Tensor]]) -> str | None:
    """Return the name of the first tensor that holds NaN or infinity, None where all are finite.

    Args:
        named: Names and tensors of any shape and device, such as a model's `named_parameters()`; tensors of whole
            numbers, and those without data on the meta device, are passed over.
    """
    for name, tensor in named:
        if not tensor.is_floating_point() or tensor.is_meta:
            continue
        # The sum tells in most cases, and unlike `isfinite` needs no memory; it may itself overflow.
        total = tensor.detach().sum(dtype=torch.float32)
        if not torch.isfinite(total) and not torch.isfinite(tensor.detach()).all():
            return name
    return None
