"""The relation losses in blocks of a few heads and rows, their gradient computed in the forward pass.

The full form holds heads x length squared numbers several times over, and reads each from memory many times. A block
stays in cache, and once its gradient is computed nothing of it is kept: what is saved for the backward pass is the
gradient itself, ``[batch, length, d_student]``. The size of a block does not depend on the length, so memory is linear
in length.

For row i of the scores s, with the teacher's t: z_t = sum_j exp(t_j - max t) and z_s likewise, so that

    KL = 1 / z_t x sum_j exp(t_j - max t) x ((t_j - max t) - (s_j - max s)) - log z_t + log z_s
    G_j = dKL / ds_j = exp(s_j - max s) / z_s - exp(t_j - max t) / z_t

and with s = A B^T / sqrt(d), dKL / dA = G B / sqrt(d) and dKL / dB = G^T A / sqrt(d). Where B is A, both are gradients
of the same vectors and add up. Neither relation is ever divided by its sum as a matrix: the rows of
G' = z_t G = z_t / z_s x exp(s - max s) - exp(t - max t) are weighted by 1 / z_t in A and in G' B, which are narrow.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from hf_afro.losses.sequences import places_by_length

# Numbers in one block of relations, 2 MiB in fp32. The few blocks alive at a time then stay in cache, and
# threads rarely wait for each other; benchmarks/relation_loss.py times other sizes.
BLOCK_NUMBERS = 2**19

# Sequences of fewer tokens are computed in double precision: they cost almost nothing, and in sums of so few numbers
# one unlucky rounding of an exp shows in the gradient.
FEW_TOKENS = 32


def chunked_relation_loss(
    teacher_left: torch.Tensor,
    teacher_right: torch.Tensor | None,
    student_left: torch.Tensor,
    student_right: torch.Tensor | None,
    labels: torch.Tensor,
    num_heads: int,
) -> torch.Tensor:
    """Return the loss of one relation for each row, as `reference_relation_loss` does, in the memory of a block.

    Arguments, result and source are those of `hf_afro.losses.relations_reference.reference_relation_loss`. The
    gradient reaches the student alone, and cannot be differentiated again.
    """
    teacher_right = None if teacher_right is None else teacher_right.detach()
    return _ChunkedLoss.apply(student_left, student_right, teacher_left.detach(), teacher_right, labels, num_heads)


class _ChunkedLoss(torch.autograd.Function):
    """Computes the loss of each row; its gradient with respect to the student is ready when the forward ends."""

    @staticmethod
    def forward(
        ctx: Any,
        student_left: torch.Tensor,
        student_right: torch.Tensor | None,
        teacher_left: torch.Tensor,
        teacher_right: torch.Tensor | None,
        labels: torch.Tensor,
        num_heads: int,
    ) -> torch.Tensor:
        dtype = torch.promote_types(student_left.dtype, torch.float32)
        batch, length, _ = student_left.shape
        losses = torch.zeros(batch, dtype=torch.float64, device=student_left.device)
        students = [student_left] if student_right is None else [student_left, student_right]
        teachers = [teacher_left] if teacher_right is None else [teacher_left, teacher_right]
        with_gradient = any(ctx.needs_input_grad[:2])
        gradients = (
            # Contiguous whatever the student's strides are: rows of a flat view are written below.
            [torch.zeros_like(one, dtype=dtype, memory_format=torch.contiguous_format) for one in students]
            if with_gradient
            else []
        )
        for places in places_by_length(labels):  # padding takes no part, whichever side it is on
            precise = torch.float64 if places.shape[1] < FEW_TOKENS else dtype
            of_heads, of_students = _heads_losses(
                [_gather_heads(one, places, num_heads, precise) for one in teachers],
                [_gather_heads(one, places, num_heads, precise) for one in students],
                with_gradient,
            )
            weight = 1.0 / (num_heads * places.shape[1])
            losses.index_add_(0, places[:, 0] // length, of_heads.view(-1, num_heads).sum(1) * weight)
            for gradient, heads in zip(gradients, of_students, strict=True):
                of_tokens = heads.reshape(len(places), -1, places.shape[1]).transpose(
                    1, 2
                )  # [sequences, tokens, width]
                gradient.flatten(0, 1)[places] = (of_tokens * (weight / heads.shape[1] ** 0.5)).to(dtype)
        # Kept in fp32: what the caller multiplies it by, such as a loss scale, has to come before any rounding.
        ctx.save_for_backward(*gradients)
        ctx.dtype = student_left.dtype
        return losses.to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_losses: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        found = [(gradient * of_losses[:, None, None]).to(ctx.dtype) for gradient in ctx.saved_tensors]
        return found[0], found[1] if len(found) > 1 else None, None, None, None, None


def _gather_heads(vectors: torch.Tensor, places: torch.Tensor, num_heads: int, dtype: torch.dtype) -> torch.Tensor:
    """Return the heads of sequences of equal length, ``[sequences x heads, d, tokens]``, contiguous.

    Tokens come last because products of a wide matrix with a narrow one then take half to a third of the time in MKL.
    """
    chosen = vectors.flatten(0, 1)[places].to(dtype).transpose(1, 2)  # [sequences, width, tokens]
    return chosen.reshape(len(places) * num_heads, -1, places.shape[1]).contiguous()


def _heads_losses(
    teachers: list[torch.Tensor], students: list[torch.Tensor], with_gradient: bool
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return the summed KL of each head, ``[heads]`` in double precision, and its gradients.

    Args:
        teachers: A and B, or A alone if B is A: ``[heads, d_teacher, tokens]``.
        students: The same of the student, ``[heads, d_student, tokens]``.
        with_gradient: Whether to compute gradients: one for each of `students`, still to be divided by
            sqrt(d_student).
    """
    heads, _, tokens = students[0].shape
    heads_per_block = min(heads, max(1, BLOCK_NUMBERS // tokens**2))
    rows_per_block = min(tokens, max(1, BLOCK_NUMBERS // (heads_per_block * tokens)))
    # Blocks are summed in double precision: there may be many, and the sum must not lose their digits.
    losses = torch.zeros(heads, dtype=torch.float64, device=students[0].device)
    gradients = [torch.zeros_like(one) for one in students] if with_gradient else []
    buffers = [students[0].new_empty(heads_per_block * rows_per_block * tokens) for _ in range(4)]
    for start in range(0, heads, heads_per_block):
        some = slice(start, start + heads_per_block)
        for row in range(0, tokens, rows_per_block):
            rows = slice(row, row + rows_per_block)
            losses[some] += _block(
                (teachers[0][some, :, rows], teachers[-1][some]),
                (students[0][some, :, rows], students[-1][some]),
                (gradients[0][some, :, rows], gradients[-1][some]) if gradients else None,
                buffers,
            )
    return losses, gradients


def _block(
    teacher: tuple[torch.Tensor, torch.Tensor],
    student: tuple[torch.Tensor, torch.Tensor],
    gradient: tuple[torch.Tensor, torch.Tensor] | None,
    buffers: list[torch.Tensor],
) -> torch.Tensor:
    """Return the summed KL of some rows of some heads, ``[heads]``; their gradients are added to `gradient`.

    Args:
        teacher: Rows of A, ``[heads, d_teacher, rows]``, and all of B, ``[heads, d_teacher, tokens]``.
        student: The same of the student.
        gradient: Two tensors to which the student's gradients are added; they may share memory.
        buffers: Four flat buffers of ``heads x rows x tokens`` numbers each.
    """
    left, right = student
    shape = (len(left), left.shape[2], right.shape[2])  # heads, rows, tokens
    numbers = shape[0] * shape[1] * shape[2]
    teacher_scores, student_scores, teacher_weights, student_weights = (
        buffer[:numbers].view(shape) for buffer in buffers
    )
    teacher_sums = _shifted_exp(*teacher, teacher_scores, teacher_weights)  # [heads, rows, 1]
    student_sums = _shifted_exp(left, right, student_scores, student_weights)
    divergence = teacher_scores.sub_(student_scores).mul_(teacher_weights).sum(-1, keepdim=True)
    if gradient is not None:
        ratio = teacher_sums / student_sums
        difference = torch.addcmul(teacher_weights, student_weights, ratio, value=-1, out=student_weights)  # -G'
        of_row = teacher_sums.transpose(1, 2)
        gradient[0].sub_(torch.bmm(right, difference.transpose(1, 2)).div_(of_row))
        gradient[1].baddbmm_(left / of_row, difference, alpha=-1)
    teacher_sums, student_sums = teacher_sums.double(), student_sums.double()
    return (divergence.double() / teacher_sums + (student_sums / teacher_sums).log()).sum((1, 2))


def _shifted_exp(left: torch.Tensor, right: torch.Tensor, scores: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Fill `scores` with A B^T / sqrt(d) less the maximum of each row, `weights` with exp of it; return its sums."""
    torch.baddbmm(scores, left.transpose(1, 2), right, beta=0, alpha=left.shape[1] ** -0.5, out=scores)
    scores.sub_(scores.amax(-1, keepdim=True))
    return torch.exp(scores, out=weights).sum(-1, keepdim=True)
