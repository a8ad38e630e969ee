"""The relation loss in blocks of a few heads, its gradient taken in the forward pass.

The full form holds heads x length squared numbers several times over, and reads each from memory many times. A block
of a few heads of one sequence stays in cache, and once its gradient is taken nothing of it is kept: what is saved for
the backward pass is the gradient itself, ``[batch, length, d_student]``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

# Numbers in one block of relations: one head at 512 tokens, 1 MiB in fp32. The handful of blocks alive at a time then
# stay in a core's cache; benchmarks/relation_loss.py times other sizes.
BLOCK_NUMBERS = 2**18


def chunked_relation_loss(
    teacher: torch.Tensor, student: torch.Tensor, attention_mask: torch.Tensor, num_relation_heads: int
) -> torch.Tensor:
    """Return one relation's loss for each sequence: what `reference_relation_loss` does, in the memory of a block.

    Arguments, result and source are those of `hf_afro.objectives.reference.reference_relation_loss`. The gradient
    reaches the student alone, and cannot be differentiated again.
    """
    return _ChunkedRelationLoss.apply(student, teacher.detach(), attention_mask, num_relation_heads)


class _ChunkedRelationLoss(torch.autograd.Function):
    """Loss of each sequence; the gradient of each with respect to the student is ready when the forward ends."""

    @staticmethod
    def forward(
        ctx: Any, student: torch.Tensor, teacher: torch.Tensor, attention_mask: torch.Tensor, num_relation_heads: int
    ) -> torch.Tensor:
        dtype = torch.promote_types(student.dtype, torch.float32)
        is_token = attention_mask.bool()
        losses = torch.zeros(len(student), dtype=dtype, device=student.device)
        gradient = torch.zeros_like(student, dtype=dtype) if ctx.needs_input_grad[0] else None
        for sequence, tokens in enumerate(is_token):
            places = tokens.nonzero().squeeze(1)  # [tokens]; padding takes no part, whichever side it is on
            if len(places) == 0:
                continue
            losses[sequence], of_student = _sequence_loss(
                _split_heads(teacher[sequence, places].to(dtype), num_relation_heads),
                _split_heads(student[sequence, places].to(dtype), num_relation_heads),
                gradient is not None,
            )
            if gradient is not None:
                gradient[sequence, places] = of_student
        # Kept in fp32: what the caller multiplies it by, a loss scale for one, has to come before any rounding.
        ctx.save_for_backward(gradient)
        ctx.dtype = student.dtype
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_losses: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * of_losses[:, None, None]).to(ctx.dtype), None, None, None


def _split_heads(vectors: torch.Tensor, num_relation_heads: int) -> torch.Tensor:
    """``[tokens, width]`` to ``[heads, tokens, width / heads]``, contiguous."""
    return vectors.unflatten(-1, (num_relation_heads, -1)).transpose(0, 1).contiguous()


def _sequence_loss(
    teacher: torch.Tensor, student: torch.Tensor, with_gradient: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return one sequence's loss and, where asked, its gradient ``[tokens, d_student]``.

    Args:
        teacher: ``[heads, tokens, d_teacher / heads]``.
        student: ``[heads, tokens, d_student / heads]``.
        with_gradient: Whether the gradient is wanted.
    """
    heads, tokens, _ = student.shape
    weight = 1.0 / (heads * tokens)
    heads_a_block = max(1, BLOCK_NUMBERS // tokens**2)
    # Blocks are summed in double precision: there may be many, and the sum must not lose what each got right.
    total = torch.zeros((), dtype=torch.float64, device=student.device)
    gradient = torch.empty_like(student) if with_gradient else None
    for start in range(0, heads, heads_a_block):
        block = slice(start, start + heads_a_block)
        teacher_log_relation = _log_relation(teacher[block])
        student_log_relation = _log_relation(student[block])
        teacher_relation = teacher_log_relation.exp()
        divergence = teacher_log_relation.sub_(student_log_relation).mul_(teacher_relation)
        total += divergence.sum().double()
        if gradient is not None:
            # d KL / d scores is R_student - R_teacher; scores = X X^T / sqrt(d) holds X twice, hence G + G^T. The rows
            # of R_teacher sum to 1 but for rounding, and so shall those of R_student: a row of G then sums to 0.
            of_scores = student_log_relation.exp_().mul_(teacher_relation.sum(-1, keepdim=True)).sub_(teacher_relation)
            of_scores = of_scores + of_scores.transpose(-1, -2)
            torch.bmm(of_scores, student[block], out=gradient[block])
    loss = (total * weight).to(student.dtype)
    if gradient is None:
        return loss, None
    gradient *= weight / student.shape[-1] ** 0.5
    return loss, gradient.transpose(0, 1).flatten(1)


def _log_relation(vectors: torch.Tensor) -> torch.Tensor:
    """Return log softmax(X X^T / sqrt(d_r)), ``[heads, tokens, tokens]``."""
    # Divided by the root as the reference is: its reciprocal, rounded once more, shows in the last digit.
    scores = torch.bmm(vectors, vectors.transpose(-1, -2)).div_(vectors.shape[-1] ** 0.5)
    return scores.log_softmax(-1)
