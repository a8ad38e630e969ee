"""The relation losses in tiles on the GPU, forward and backward, in memory linear in length.

The forward pass goes once over the tiles of a row, as in flash attention: with t and s the scores of teacher and
student, m the largest t so far and z = sum exp(t - m), it keeps e = sum exp(t - m) x (t - s), and the maximum and sum
of the student. When a larger t comes, z and e shrink by the same factor. At the end

    KL = e / z - logsumexp(t) + logsumexp(s)

The backward pass computes the tiles again from the vectors and the kept maxima and sums: a logsumexp in one number
would cost the last digits of large scores. With s_ij = a_i . b_j / sqrt(d), G_ij = softmax(s_i)_j - softmax(t_i)_j and

    dKL / da_i = sum_j G_ij b_j / sqrt(d)        dKL / db_j = sum_i G_ij a_i / sqrt(d)

of which the second is the same kernel with the sides exchanged, and maxima and sums taken from the columns. Where b is
a, s_ij = s_ji: one tile of scores serves both sums, G_ij by the maximum and sum of its row and G_ji by its column's.

Everything is computed in fp32, whatever the dtype of the vectors; the products of half-precision vectors may run on
tensor cores, where they are exact. So far this has run only in Triton's interpreter, never on a
GPU.
"""

from __future__ import annotations

import os
from typing import Any

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from hf_afro.losses.sequences import tokens_of_own_sequence

ROWS = 64
COLUMNS = 64
SMALLEST_DOT = 16  # the least that tl.dot takes in each dimension
LOWEST = tl.constexpr(-1.0e30)  # below any score, and finite: a row without a token so far stays free of nan


def triton_relation_loss(
    teacher_left: torch.Tensor,
    teacher_right: torch.Tensor | None,
    student_left: torch.Tensor,
    student_right: torch.Tensor | None,
    labels: torch.Tensor,
    num_heads: int,
) -> torch.Tensor:
    """Return the loss of one relation for each row, as `reference_relation_loss` does, in tiles.

    Arguments, result and source are those of `hf_afro.losses.relations_reference.reference_relation_loss`; fp32, bf16
    or fp16, on a GPU. The gradient reaches the student alone, and cannot be differentiated again.

    Raises:
        ValueError: If the vectors are in float64 or on a CPU (unless Triton's interpreter is on).
    """
    if student_left.dtype == torch.float64 or teacher_left.dtype == torch.float64:
        raise ValueError("impl='triton' computes in fp32 but got float64; use 'chunked' or 'reference'")
    if not student_left.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(
            f"impl='triton' needs tensors on a GPU but got some on {student_left.device}; use 'auto' or 'chunked'"
        )
    teacher_right = None if teacher_right is None else teacher_right.detach()
    return _TritonLoss.apply(student_left, student_right, teacher_left.detach(), teacher_right, labels, num_heads)


class _TritonLoss(torch.autograd.Function):
    """Computes the loss of each row; keeps the vectors and four numbers per row and head for the backward pass."""

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
        ctx.is_one_sided = student_right is None
        students = [x.contiguous() for x in (student_left, student_right) if x is not None]
        teachers = [x.contiguous() for x in (teacher_left, teacher_right) if x is not None]
        batch, length, _ = student_left.shape
        bounds = _bounds(labels)
        of_rows = [torch.zeros(batch, num_heads, length, device=labels.device) for _ in range(5)]
        divergence, *kept = of_rows
        grid = (triton.cdiv(length, ROWS), batch * num_heads)
        if batch * length:
            _forward_kernel[grid](
                *(teachers[0], teachers[-1], students[0], students[-1], *bounds, *of_rows, length, num_heads),
                **_dimensions(teachers[0], students[0], num_heads),
            )
        weights = 1.0 / (num_heads * tokens_of_own_sequence(labels))  # [batch, length]
        ctx.save_for_backward(weights, *bounds, *kept, *teachers, *students)
        ctx.num_heads = num_heads
        return (divergence.double().sum(1) * weights).sum(1).float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_losses: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        weights, *of_places = ctx.saved_tensors[:8]  # three bounds, and four numbers per row and head
        vectors = ctx.saved_tensors[8:]
        teachers, students = vectors[: len(vectors) // 2], vectors[len(vectors) // 2 :]
        scale = (weights * of_losses[:, None])[:, :, None]
        found: list[torch.Tensor | None] = [None, None]
        for side in range(2):
            if not ctx.needs_input_grad[side]:
                continue
            own, other = side, len(students) - 1 - side
            gradient = torch.zeros_like(students[own], dtype=torch.float32)
            batch, length, _ = gradient.shape
            if batch * length:
                _gradient_kernel[(triton.cdiv(length, ROWS), batch * ctx.num_heads)](
                    *(teachers[own], teachers[other], students[own], students[other]),
                    *(*of_places, gradient, length, ctx.num_heads),
                    BY_ROW=side == 0,
                    BY_COLUMN=side == 1 or ctx.is_one_sided,
                    **_dimensions(teachers[0], students[0], ctx.num_heads),
                )
            found[side] = (gradient * scale).to(students[own].dtype)
        return found[0], found[1], None, None, None, None


def _bounds(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return labels, and the first and the last place of each position's sequence, ``[batch, length]`` int32.

    They tell a tile which others can hold a token of its sequences, so that packed and padded rows cost no more
    than their sequences.
    """
    places = labels.clamp_min(0)
    positions = torch.arange(labels.shape[1], device=labels.device).expand_as(labels)
    is_padding = labels < 0
    first = torch.full_like(labels, labels.shape[1]).scatter_reduce_(
        1, places, positions.masked_fill(is_padding, labels.shape[1]), "amin"
    )
    last = torch.full_like(labels, -1).scatter_reduce_(1, places, positions.masked_fill(is_padding, -1), "amax")
    return labels.int(), first.gather(1, places).int(), last.gather(1, places).int()


def _dimensions(teacher: torch.Tensor, student: torch.Tensor, num_heads: int) -> dict[str, Any]:
    """Return the constants that both kernels are compiled with."""
    teacher_dim, student_dim = teacher.shape[-1] // num_heads, student.shape[-1] // num_heads
    # bf16 and fp16 are exact in tf32, which has the digits of fp16, the range of bf16, and tensor cores.
    is_exact_in_tf32 = max(teacher.element_size(), student.element_size()) == 2 and torch.version.hip is None
    return {
        "TEACHER_DIM": teacher_dim,
        "STUDENT_DIM": student_dim,
        "TEACHER_PADDED": max(SMALLEST_DOT, triton.next_power_of_2(teacher_dim)),
        "STUDENT_PADDED": max(SMALLEST_DOT, triton.next_power_of_2(student_dim)),
        "TEACHER_ROOT": teacher_dim**0.5,
        "STUDENT_ROOT": student_dim**0.5,
        "PRECISION": "tf32" if is_exact_in_tf32 else "ieee",
        "ROWS": ROWS,
        "COLUMNS": COLUMNS,
    }


@triton.jit
def _load(vectors, batch, head, places, is_token, length, num_heads, DIM: tl.constexpr, PADDED: tl.constexpr):
    """Load the vectors of one head at some places, ``[places, PADDED]`` in fp32, zeros elsewhere."""
    columns = tl.arange(0, PADDED)
    offsets = (batch.to(tl.int64) * length + places[:, None]) * (num_heads * DIM) + head * DIM + columns[None, :]
    return tl.load(vectors + offsets, mask=is_token[:, None] & (columns[None, :] < DIM), other=0.0).to(tl.float32)


@triton.jit
def _scores(left, right, ROOT: tl.constexpr, PRECISION: tl.constexpr):
    """Return A B^T / ROOT of one tile in fp32."""
    return tl.dot(left, tl.trans(right), input_precision=PRECISION) / ROOT


@triton.jit
def _take_in(scores, is_own, largest, total):
    """Add a tile to maximum and sum; return these, its exponentials and the factor of the former sums."""
    larger = tl.maximum(largest, tl.max(scores, 1))
    shrink = tl.exp(largest - larger)
    exponentials = tl.where(is_own, tl.exp(scores - larger[:, None]), 0.0)
    return larger, total * shrink + tl.sum(exponentials, 1), exponentials, shrink


@triton.jit
def _softmax(scores, tops, sums, places, there):
    """Return the softmax of a tile from the kept maxima and sums of its rows, or of its columns."""
    top = tl.load(tops + places, mask=there, other=0.0)
    return tl.exp(scores - top) / tl.load(sums + places, mask=there, other=1.0)


@triton.jit
def _own_rows(labels, first, last, batch, length, ROWS: tl.constexpr):
    """Return the rows of a tile, their labels, and the range of places (end excluded) that they relate to."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    offsets = batch * length + rows
    row_labels = tl.load(labels + offsets, mask=rows < length, other=-1)
    is_token = row_labels >= 0
    start = tl.min(tl.load(first + offsets, mask=is_token, other=length))
    end = tl.max(tl.load(last + offsets, mask=is_token, other=-1)) + 1
    return rows, row_labels, start, end


@triton.jit
def _forward_kernel(
    teacher_left,  # [batch, length, heads x TEACHER_DIM]
    teacher_right,
    student_left,  # [batch, length, heads x STUDENT_DIM]
    student_right,
    labels,  # [batch, length]
    first,
    last,
    divergence,  # [batch, heads, length], as the four below
    teacher_tops,
    teacher_sums,
    student_tops,
    student_sums,
    length,
    num_heads,
    TEACHER_DIM: tl.constexpr,
    STUDENT_DIM: tl.constexpr,
    TEACHER_PADDED: tl.constexpr,
    STUDENT_PADDED: tl.constexpr,
    TEACHER_ROOT: tl.constexpr,
    STUDENT_ROOT: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Write KL, and the maxima and sums of both sides, for a tile of rows of one head."""
    batch, head = tl.program_id(1) // num_heads, tl.program_id(1) % num_heads
    rows, row_labels, start, end = _own_rows(labels, first, last, batch, length, ROWS)
    own = row_labels >= 0
    teacher_rows = _load(teacher_left, batch, head, rows, own, length, num_heads, TEACHER_DIM, TEACHER_PADDED)
    student_rows = _load(student_left, batch, head, rows, own, length, num_heads, STUDENT_DIM, STUDENT_PADDED)
    teacher_max = tl.full([ROWS], LOWEST, tl.float32)
    student_max = tl.full([ROWS], LOWEST, tl.float32)
    teacher_sum = tl.zeros([ROWS], tl.float32)
    student_sum = tl.zeros([ROWS], tl.float32)
    weighted = tl.zeros([ROWS], tl.float32)
    for column in range((start // COLUMNS) * COLUMNS, end, COLUMNS):
        columns = column + tl.arange(0, COLUMNS)
        column_labels = tl.load(labels + batch * length + columns, mask=columns < length, other=-1)
        there = column_labels >= 0
        is_own = own[:, None] & (row_labels[:, None] == column_labels[None, :])
        right = _load(teacher_right, batch, head, columns, there, length, num_heads, TEACHER_DIM, TEACHER_PADDED)
        teacher = tl.where(is_own, _scores(teacher_rows, right, TEACHER_ROOT, PRECISION), LOWEST)
        right = _load(student_right, batch, head, columns, there, length, num_heads, STUDENT_DIM, STUDENT_PADDED)
        student = tl.where(is_own, _scores(student_rows, right, STUDENT_ROOT, PRECISION), LOWEST)

        teacher_max, teacher_sum, exponentials, shrink = _take_in(teacher, is_own, teacher_max, teacher_sum)
        weighted = weighted * shrink + tl.sum(exponentials * (teacher - student), 1)
        student_max, student_sum, exponentials, shrink = _take_in(student, is_own, student_max, student_sum)
    teacher_sum, student_sum = tl.where(own, teacher_sum, 1.0), tl.where(own, student_sum, 1.0)
    of_rows = weighted / teacher_sum - (teacher_max - student_max) - (tl.log(teacher_sum) - tl.log(student_sum))
    offsets = (batch * num_heads + head).to(tl.int64) * length + rows
    tl.store(divergence + offsets, of_rows, mask=own)
    tl.store(teacher_tops + offsets, teacher_max, mask=own)
    tl.store(teacher_sums + offsets, teacher_sum, mask=own)
    tl.store(student_tops + offsets, student_max, mask=own)
    tl.store(student_sums + offsets, student_sum, mask=own)


@triton.jit
def _gradient_kernel(
    teacher_left,  # [batch, length, heads x TEACHER_DIM]; left is the side of the gradient
    teacher_right,
    student_left,  # [batch, length, heads x STUDENT_DIM]
    student_right,
    labels,  # [batch, length]
    first,
    last,
    teacher_tops,  # [batch, heads, length], as the three below
    teacher_sums,
    student_tops,
    student_sums,
    gradient,  # [batch, length, heads x STUDENT_DIM]
    length,
    num_heads,
    BY_ROW: tl.constexpr,
    BY_COLUMN: tl.constexpr,
    TEACHER_DIM: tl.constexpr,
    STUDENT_DIM: tl.constexpr,
    TEACHER_PADDED: tl.constexpr,
    STUDENT_PADDED: tl.constexpr,
    TEACHER_ROOT: tl.constexpr,
    STUDENT_ROOT: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Write the gradient of the summed KL for a tile of rows of one head: softmax by row, by column, or both."""
    batch, head = tl.program_id(1) // num_heads, tl.program_id(1) % num_heads
    rows, row_labels, start, end = _own_rows(labels, first, last, batch, length, ROWS)
    own = row_labels >= 0
    teacher_rows = _load(teacher_left, batch, head, rows, own, length, num_heads, TEACHER_DIM, TEACHER_PADDED)
    student_rows = _load(student_left, batch, head, rows, own, length, num_heads, STUDENT_DIM, STUDENT_PADDED)
    start_of_head = (batch * num_heads + head).to(tl.int64) * length
    by_row = start_of_head + rows
    total = tl.zeros([ROWS, STUDENT_PADDED], tl.float32)
    for column in range((start // COLUMNS) * COLUMNS, end, COLUMNS):
        columns = column + tl.arange(0, COLUMNS)
        column_labels = tl.load(labels + batch * length + columns, mask=columns < length, other=-1)
        there = column_labels >= 0
        is_own = own[:, None] & (row_labels[:, None] == column_labels[None, :])
        right = _load(teacher_right, batch, head, columns, there, length, num_heads, TEACHER_DIM, TEACHER_PADDED)
        teacher = _scores(teacher_rows, right, TEACHER_ROOT, PRECISION)
        right = _load(student_right, batch, head, columns, there, length, num_heads, STUDENT_DIM, STUDENT_PADDED)
        student = _scores(student_rows, right, STUDENT_ROOT, PRECISION)
        difference = tl.zeros([ROWS, COLUMNS], tl.float32)
        if BY_ROW:
            difference += _softmax(student, student_tops, student_sums, by_row[:, None], own[:, None])
            difference -= _softmax(teacher, teacher_tops, teacher_sums, by_row[:, None], own[:, None])
        if BY_COLUMN:
            by_column = (start_of_head + columns)[None, :]
            difference += _softmax(student, student_tops, student_sums, by_column, there[None, :])
            difference -= _softmax(teacher, teacher_tops, teacher_sums, by_column, there[None, :])
        # Between sequences exp may overflow, so unwanted values are replaced, not multiplied by zero.
        difference = tl.where(is_own, difference, 0.0)
        total += tl.dot(difference, right, input_precision="ieee")
    total = total / STUDENT_ROOT
    widths = tl.arange(0, STUDENT_PADDED)[None, :]
    offsets = (batch.to(tl.int64) * length + rows[:, None]) * (num_heads * STUDENT_DIM) + head * STUDENT_DIM + widths
    tl.store(gradient + offsets, total, mask=own[:, None] & (widths < STUDENT_DIM))
