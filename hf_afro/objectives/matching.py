"""Matching a teacher's outputs: its predictions at a temperature, and its attention averaged over heads."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F


def logit_matching(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    temperature: float = 1.0,
) -> torch.Tensor:
    """Return the summed T^2 KL(teacher || student) of predictions over the same tokens, softened by a temperature.

    The factor T^2 keeps the size of the gradient: that of the softened KL falls with 1 / T^2.

    Args:
        student_logits: ``[positions, vocabulary]``.
        teacher_logits: ``[positions, vocabulary]``, gathered at the student's tokens by the caller. No gradient.
        temperature: T, above 0.

    Returns:
        A scalar at least in fp32, in nats; zero, with its gradient path, where there is no position.

    Raises:
        ValueError: If shapes differ, or the temperature is none.

    References:
        Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, section 2.
    """
    if student_logits.shape != teacher_logits.shape or student_logits.dim() != 2:
        raise ValueError(
            f"student_logits are {tuple(student_logits.shape)} and teacher_logits {tuple(teacher_logits.shape)}; "
            "expected [positions, vocabulary] of both, over the same tokens"
        )
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature={temperature} is not above 0 and finite; use a number such as 2")
    taught, learnt = (
        F.log_softmax(_at_least_fp32(logits) / temperature, dim=-1)
        for logits in (teacher_logits.detach(), student_logits)
    )
    return temperature**2 * F.kl_div(learnt, taught, reduction="sum", log_target=True)


def attention_map_matching(
    teacher_query: torch.Tensor,
    teacher_key: torch.Tensor,
    student_query: torch.Tensor,
    student_key: torch.Tensor,
    attention_mask: torch.Tensor,
    num_teacher_heads: int,
    num_student_heads: int,
    reduction: Literal["mean", "sum"] = "mean",
) -> torch.Tensor:
    """Return how far the student's attention, averaged over its heads, is from the teacher's, as a squared error.

    With A = softmax(Q K^T / sqrt(d_k)) averaged over heads, ``[tokens, tokens]`` of a sequence, its loss is the mean
    of (A_teacher - A_student)^2 over all pairs of tokens. Since heads are averaged, their numbers are free.

    The Comet paper puts a learned projection between the two, and does not say which. Averaged maps have one shape
    whatever the models, so none is needed, and there is none here.

    Args:
        teacher_query: ``[batch, length, d_teacher]``. Gets no gradient.
        teacher_key: The same shape; keys of fewer heads are repeated to those of the queries before.
        student_query: ``[batch, length, d_student]``.
        student_key: The same shape.
        attention_mask: ``[batch, length]``, nonzero where there is a token.
        num_teacher_heads: Attention heads of the teacher, dividing its width.
        num_student_heads: Those of the student, likewise.
        reduction: ``mean`` over the sequences that hold a token, or their ``sum``.

    Returns:
        A scalar at least in fp32.

    Raises:
        ValueError: If heads do not divide a width or the reduction is none.

    References:
        Raju et al., "AfroXLMR-Comet", 2025, section 3.
    """
    _check_reduction(reduction)
    is_token = attention_mask.bool()
    with torch.autocast(device_type=student_query.device.type, enabled=False):
        with torch.no_grad():
            taught = _mean_attention(teacher_query, teacher_key, is_token, num_teacher_heads)
        learnt = _mean_attention(student_query, student_key, is_token, num_student_heads)
        tokens = is_token.sum(1)
        losses = (taught - learnt).square().sum((1, 2)) / tokens.square().clamp_min(1)  # [batch]
    return losses.sum() if reduction == "sum" else losses.sum() / is_token.any(1).sum().clamp_min(1)


def _mean_attention(query: torch.Tensor, key: torch.Tensor, is_token: torch.Tensor, heads: int) -> torch.Tensor:
    """Return attention between tokens, averaged over heads, ``[batch, length, length]``, zero at padding."""
    width = query.shape[-1]
    if heads < 1 or width % heads:
        raise ValueError(f"{heads} heads do not divide a width of {width}; give the model's own number of heads")
    pairs = is_token[:, :, None] & is_token[:, None, :]
    total = query.new_zeros(pairs.shape, dtype=torch.promote_types(query.dtype, torch.float32))
    own = zip(query.to(total.dtype).chunk(heads, -1), key.to(total.dtype).chunk(heads, -1), strict=True)
    for of_query, of_key in own:
        scores = of_query @ of_key.transpose(1, 2) / math.sqrt(width // heads)
        # The lowest number and not minus infinity: a row without a token would be 0 / 0.
        scores = scores.masked_fill(~is_token[:, None, :], torch.finfo(scores.dtype).min)
        total = total + scores.softmax(-1)
    return (total / heads).masked_fill(~pairs, 0.0)


def _check_reduction(reduction: str) -> None:
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction={reduction!r} is not known; use 'mean' or 'sum'")


def _at_least_fp32(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
