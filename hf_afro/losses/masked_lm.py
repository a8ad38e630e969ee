"""Masked-LM losses, summed so that the caller divides by the count of the whole step.

The usual logits of 300 masked tokens at a vocabulary of 250,002 take 300 MB, and cross-entropy keeps two more copies.
`projected_masked_lm_loss` projects one chunk of tokens at a time, takes its gradient at once in the same memory,
and keeps nothing of it: what is saved for the backward pass is as large as the weights themselves.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

# Maximum number of logits alive at a time: 256 MiB in fp32, 268 tokens at a vocabulary of 250,002. Smaller chunks save
# memory that is little beside the gradient of the weights, and every chunk passes over that gradient once more.
CHUNK_NUMBERS = 2**26


def masked_lm_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the summed cross-entropy of the masked tokens, in nats.

    It is a sum and not a mean: the mean over a training step is taken over the masked tokens of all micro-batches and
    all processes, which one micro-batch cannot know. With no masked token it is zero, with its gradient path.

    Args:
        logits: ``[masked, vocabulary]``, the predictions at masked positions only.
        labels: ``[masked]``, the ids that were masked; none is -100.

    Returns:
        A scalar, at least in fp32.
    """
    return F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), labels, reduction="sum")


@torch.compiler.disable  # tracing into the chunks is of no use: they are products of matrices
def projected_masked_lm_loss(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, labels: torch.Tensor
) -> torch.Tensor:
    """Return the summed cross-entropy of the masked tokens, in nats, without keeping their logits.

    Value and gradient are those of ``masked_lm_loss(linear(hidden, weight, bias), labels)``. Under autocast the
    products are taken in autocast's type, as `torch.nn.functional.linear` would; everything else is at least fp32.

    Args:
        hidden: ``[masked, width]``, the input of the output embedding at masked positions.
        weight: ``[vocabulary, width]``.
        bias: ``[vocabulary]``, or None.
        labels: ``[masked]``, the ids that were masked; none is -100.

    Returns:
        A scalar, at least in fp32. It can be differentiated once, and its backward pass can run once.
    """
    if not torch.is_grad_enabled():  # otherwise evaluation too would compute a gradient as large as the embedding
        hidden, weight, bias = hidden.detach(), weight.detach(), None if bias is None else bias.detach()
    kind = hidden.device.type
    product_type = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    with torch.autocast(kind, enabled=False):
        return _ProjectedLoss.apply(hidden, weight, bias, labels, product_type)


class _ProjectedLoss(torch.autograd.Function):
    """Computes the summed loss; its gradients are ready when the forward ends."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        labels: torch.Tensor,
        product_type: torch.dtype,
    ) -> torch.Tensor:
        ctx.types = tuple(None if tensor is None else tensor.dtype for tensor in (hidden, weight, bias))
        sum_type = torch.promote_types(hidden.dtype, torch.float32)
        rows, columns = hidden.to(product_type), weight.to(product_type)
        needs = ctx.needs_input_grad[:3]
        # Gradients are summed over chunks in fp32, whatever type the products are taken in.
        of_hidden = torch.empty_like(hidden, dtype=sum_type) if needs[0] else None
        of_weight = None
        of_bias = torch.zeros_like(bias, dtype=sum_type) if bias is not None and needs[2] else None
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        for chunk in _chunks(len(hidden), len(weight)):
            logits = (rows[chunk] @ columns.T).to(sum_type)  # [chunk, vocabulary]
            if bias is not None:
                logits += bias
            losses, sums = _softmax_gradient_(logits, labels[chunk])
            total += losses.sum(dtype=torch.float64)
            # The rows of the gradient still have to be divided by their sums, which is cheaper on what they are
            # multiplied with, except in half precision, where the sum over a large vocabulary may overflow.
            if product_type != sum_type:
                logits /= sums
                sums = torch.ones_like(sums)
            gradient = logits.to(product_type)
            if of_hidden is not None:
                torch.div(gradient @ columns, sums, out=of_hidden[chunk])
            if needs[1]:
                of_weight = _add_product(of_weight, gradient.T, (rows[chunk] / sums).to(product_type), sum_type)
            if of_bias is not None:
                of_bias += (1 / sums).squeeze(1) @ logits
        if needs[1] and of_weight is None:
            of_weight = torch.zeros_like(weight, dtype=sum_type)
        ctx.gradients = of_hidden, of_weight, of_bias
        return total.to(sum_type)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_total: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError(
                "the backward pass of projected_masked_lm_loss ran a second time, but it keeps its gradients for one; "
                "compute the loss again"
            )
        gradients, ctx.gradients = ctx.gradients, None
        scaled = (
            None if gradient is None else gradient.mul_(of_total).to(dtype)
            for gradient, dtype in zip(gradients, ctx.types, strict=True)
        )
        return (*scaled, None, None)


def _chunks(tokens: int, vocabulary: int) -> list[slice]:
    """Cut the tokens into chunks of nearly equal size with at most `CHUNK_NUMBERS` logits each."""
    most = max(1, CHUNK_NUMBERS // vocabulary)
    size = -(-tokens // max(1, -(-tokens // most)))
    return [slice(start, start + size) for start in range(0, tokens, size or 1)]


def _softmax_gradient_(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn logits ``[chunk, vocabulary]``, in place, into the gradient of their cross-entropy times one sum per row.

    Returns:
        The losses, and the sums by which the rows still have to be divided, both ``[chunk, 1]``.
    """
    of_label = labels.unsqueeze(1)
    highest = logits.amax(1, keepdim=True)
    picked = logits.gather(1, of_label) - highest
    logits.sub_(highest).exp_()
    sums = logits.sum(1, keepdim=True)
    logits.scatter_add_(1, of_label, -sums)  # d loss / d logits = softmax - 1 at the label
    return sums.log() - picked, sums


def _add_product(
    total: torch.Tensor | None, left: torch.Tensor, right: torch.Tensor, sum_type: torch.dtype
) -> torch.Tensor:
    """Return ``total + left @ right``, summed in place in `sum_type`."""
    if total is None:
        return (left @ right).to(sum_type)
    if left.dtype == sum_type:
        return total.addmm_(left, right)
    return total.add_(left @ right)


def restrict_to_kept(logits: torch.Tensor, kept_ids: torch.Tensor) -> torch.Tensor:
    """Take all probability away from tokens that are not kept, so that a softmax spreads it over the kept ones.

    A full-vocabulary model spends probability on tokens that a pruned one does not have. Restricted in this way, the
    two choose among the same tokens.

    Args:
        logits: ``[..., vocabulary]``.
        kept_ids: ``[kept]``, int64, ids of the vocabulary.

    Returns:
        ``[..., vocabulary]``: the logits of the kept ids, the lowest finite value elsewhere.
    """
    restricted = torch.full_like(logits, torch.finfo(logits.dtype).min)
    restricted[..., kept_ids] = logits[..., kept_ids]
    return restricted
