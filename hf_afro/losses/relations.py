"""Relation losses of MiniLM and MiniLMv2: check the input, choose an implementation, reduce over sequences."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Literal

import torch

from hf_afro.losses.relations_chunked import chunked_relation_loss
from hf_afro.losses.relations_reference import reference_relation_loss
from hf_afro.losses.sequences import count_labels, label_sequences

Implementation = Literal["auto", "reference", "chunked", "triton"]
Reduction = Literal["mean", "sum"]
IMPLEMENTATIONS = ("auto", "reference", "chunked", "triton")
"""Values of `impl`."""


def relation_loss(
    teacher: torch.Tensor,
    student: torch.Tensor,
    attention_mask: torch.Tensor,
    num_relation_heads: int,
    impl: Implementation = "auto",
    reduction: Reduction = "mean",
    sequence_ids: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the MiniLMv2 loss of one relation, the divergence of the student's token-to-token relations.

    The vectors of all attention heads are concatenated and split again into `num_relation_heads`, so teacher and
    student may differ in width and in attention heads. In each relation head R = softmax(X X^T / sqrt(d_r)), and
    a sequence's loss is the sum over heads and positions of KL(R_teacher || R_student), divided by heads x tokens.

    Its gradient: with scores s = x_i . x_j / sqrt(d_r), dKL_i / ds_ij = G_ij = R_student - R_teacher. s_ij holds x_i
    and x_j, and so dKL / dX = (G + G^T) X / sqrt(d_r).

    Args:
        teacher: ``[batch, length, d_teacher]``: queries, keys or values of the layer that teaches. Gets no gradient.
        student: ``[batch, length, d_student]``: the same from the student's layer.
        attention_mask: ``[batch, length]``, nonzero where there is a token. Vectors at padding never matter.
        num_relation_heads: A_r, dividing both widths.
        impl: ``reference`` reads like the paper; ``chunked`` computes the gradient block by block in the forward pass,
            in the memory of a block; ``triton`` runs both passes on the GPU in tiles; ``auto`` is ``triton`` for
            tensors on CUDA where triton is installed, and ``chunked`` elsewhere and for float64.
        reduction: ``mean`` over the sequences that hold a token, or their ``sum``.
        sequence_ids: ``[batch, length]``, integers, for rows that hold several sequences that did not attend to each
            other: tokens of a row with the same id are one sequence. None if a row is one sequence.

    Returns:
        A scalar at least in fp32, whatever the dtype of the vectors; zero if no sequence holds a token.

    Raises:
        ValueError: If shapes disagree, the heads do not divide a width, `impl` or `reduction` is unknown, or
            ``triton`` cannot run.

    References:
        Wang et al., "MiniLMv2: Multi-Head Self-Attention Relation Distillation for Compressing Pretrained
        Transformers", Findings of ACL 2021, equations 5 to 8.

    Example:
        >>> queries = torch.randn(2, 5, 8)
        >>> relation_loss(queries, queries, torch.ones(2, 5), num_relation_heads=4)
        tensor(0.)
    """
    _check(teacher, student, attention_mask, sequence_ids)
    check_heads("num_relation_heads", num_relation_heads, teacher, student)
    return _loss((teacher, None), (student, None), attention_mask, num_relation_heads, impl, reduction, sequence_ids)


def relation_losses(
    teacher: Mapping[str, torch.Tensor],
    student: Mapping[str, torch.Tensor],
    attention_mask: torch.Tensor,
    num_relation_heads: int,
    weights: Mapping[str, float] | None = None,
    impl: Implementation = "auto",
    reduction: Reduction = "mean",
    sequence_ids: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the weighted sum of the losses of several relations, alpha_i of equation 5.

    Args:
        teacher: ``{name: [batch, length, d_teacher]}``, such as query, key and value; of one layer or, under
            different names, of several.
        student: The same names, ``[batch, length, d_student]``; one tensor may learn from several.
        attention_mask: See `relation_loss`.
        num_relation_heads: One number for all.
        weights: ``{name: alpha}``; 1 by default, as in the paper. A relation of weight 0 is not computed.
        impl: See `relation_loss`.
        reduction: See `relation_loss`.
        sequence_ids: See `relation_loss`.

    Returns:
        A scalar at least in fp32.

    Raises:
        ValueError: If the names differ, a weight is negative or not finite, or names no relation; and as
            `relation_loss`.
    """
    weights = {} if weights is None else weights
    if not teacher or teacher.keys() != student.keys() or weights.keys() - teacher.keys():
        raise ValueError(
            f"the teacher has the relations {sorted(teacher)}, the student {sorted(student)}, and there are weights "
            f"for {sorted(weights)}; expected the same relations, at least one, and weights for no others"
        )
    for name, weight in weights.items():
        if not 0 <= weight < float("inf"):
            raise ValueError(f"the weight of relation {name!r} is {weight}; expected a finite number of 0 or more")
    losses = [
        weights.get(name, 1.0)
        * relation_loss(vectors, student[name], attention_mask, num_relation_heads, impl, reduction, sequence_ids)
        for name, vectors in teacher.items()
        if weights.get(name, 1.0)
    ]
    if not losses:
        raise ValueError(
            "every relation has weight 0, so there is nothing to learn; give one of them a weight above 0"
        )
    return torch.stack(losses).sum()


def attention_relation_loss(
    teacher_query: torch.Tensor,
    teacher_key: torch.Tensor,
    student_query: torch.Tensor,
    student_key: torch.Tensor,
    attention_mask: torch.Tensor,
    num_attention_heads: int,
    impl: Implementation = "auto",
    reduction: Reduction = "mean",
    sequence_ids: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the first half of the MiniLM loss, the divergence of the student's attention from the teacher's.

    In each attention head A = softmax(Q K^T / sqrt(d_k)), and a sequence's loss is the sum over heads and positions of
    KL(A_teacher || A_student), divided by heads x tokens. The other half, the value relation, is `relation_loss` of
    the values with as many relation heads as attention heads.

    A is computed from queries and keys alone: where a model's attention adds positions to them (a rotation, relative
    positions as in DeBERTa), A is its content part. With G = A_student - A_teacher, the gradients are
    G K / sqrt(d_k) for the queries and G^T Q / sqrt(d_k) for the keys.

    Args:
        teacher_query: ``[batch, length, d_teacher]``, of the layer that teaches. Gets no gradient.
        teacher_key: ``[batch, length, d_teacher]``; keys of fewer heads must be repeated to those of the queries.
        student_query: ``[batch, length, d_student]``.
        student_key: ``[batch, length, d_student]``.
        attention_mask: ``[batch, length]``, nonzero where there is a token.
        num_attention_heads: A_h, equal for teacher and student, as MiniLM needs; it divides both widths.
        impl: See `relation_loss`.
        reduction: See `relation_loss`.
        sequence_ids: See `relation_loss`.

    Returns:
        A scalar at least in fp32; zero if no sequence holds a token.

    Raises:
        ValueError: As `relation_loss`.

    References:
        Wang et al., "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained
        Transformers", NeurIPS 2020, section 3.
    """
    check_pair(teacher_query, teacher_key, student_query, student_key, attention_mask, sequence_ids)
    check_heads("num_attention_heads", num_attention_heads, teacher_query, student_query)
    return _loss(
        (teacher_query, teacher_key),
        (student_query, student_key),
        attention_mask,
        num_attention_heads,
        impl,
        reduction,
        sequence_ids,
    )


def legal_relation_heads(teacher_width: int, student_width: int) -> list[int]:
    """Return every number of relation heads that divides both widths, ascending."""
    return [
        heads
        for heads in range(1, min(teacher_width, student_width) + 1)
        if teacher_width % heads == 0 and student_width % heads == 0
    ]


def _loss(
    teacher: tuple[torch.Tensor, torch.Tensor | None],
    student: tuple[torch.Tensor, torch.Tensor | None],
    attention_mask: torch.Tensor,
    num_heads: int,
    impl: Implementation,
    reduction: Reduction,
    sequence_ids: torch.Tensor | None,
) -> torch.Tensor:
    """Return the loss by the chosen implementation, summed over sequences or their mean."""
    implementation = _implementation(impl, student[0])
    labels = label_sequences(attention_mask, sequence_ids)
    taught = [None if vectors is None else vectors.detach() for vectors in teacher]
    # Half-precision products would cost the softmax its precision, so a caller's autocast ends here.
    with torch.autocast(device_type=student[0].device.type, enabled=False):
        losses = implementation(*taught, *student, labels, num_heads)  # [batch]
    return reduced(losses, labels, reduction)


def reduced(losses: torch.Tensor, labels: torch.Tensor, reduction: Reduction) -> torch.Tensor:
    """Return the sum of the losses of rows, or this sum divided by the number of sequences, a scalar.

    Args:
        losses: ``[batch]``, each the sum over the row's sequences.
        labels: ``[batch, length]`` from `label_sequences`.
        reduction: ``mean`` or ``sum``.
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"unknown reduction={reduction!r}; expected 'mean' or 'sum'")
    return losses.sum() if reduction == "sum" else losses.sum() / count_labels(labels).clamp_min(1)


def _implementation(impl: Implementation, student: torch.Tensor) -> Callable[..., torch.Tensor]:
    """Return the function that `impl` stands for, given the student's vectors."""
    if impl not in IMPLEMENTATIONS:
        raise ValueError(f"unknown impl={impl!r}; expected one of {', '.join(IMPLEMENTATIONS)}")
    has_triton = importlib.util.find_spec("triton") is not None
    if impl == "triton" and not has_triton:
        raise ValueError("impl='triton' needs the package triton, which is not installed; use 'auto' or 'chunked'")
    if impl == "triton" or (impl == "auto" and has_triton and student.is_cuda and student.dtype != torch.float64):
        # Imported here because triton is optional.
        from hf_afro.losses.relations_triton import triton_relation_loss

        return triton_relation_loss
    return reference_relation_loss if impl == "reference" else chunked_relation_loss


def _check(
    teacher: torch.Tensor, student: torch.Tensor, attention_mask: torch.Tensor, sequence_ids: torch.Tensor | None
) -> None:
    """Raise a ValueError if the shapes do not fit each other."""
    if teacher.dim() != 3 or student.dim() != 3 or teacher.shape[:2] != student.shape[:2]:
        raise ValueError(
            f"teacher has shape {tuple(teacher.shape)} and student {tuple(student.shape)}; expected "
            "[batch, length, width] with the same batch and length. Feed both the same token positions."
        )
    if attention_mask.shape != student.shape[:2]:
        raise ValueError(
            f"attention_mask has shape {tuple(attention_mask.shape)}; expected [batch, length] = "
            f"{tuple(student.shape[:2])}"
        )
    if sequence_ids is not None and (sequence_ids.shape != student.shape[:2] or sequence_ids.is_floating_point()):
        raise ValueError(
            f"sequence_ids has shape {tuple(sequence_ids.shape)} and type {sequence_ids.dtype}; expected integers, "
            f"[batch, length] = {tuple(student.shape[:2])}"
        )


def check_pair(
    teacher_query: torch.Tensor,
    teacher_key: torch.Tensor,
    student_query: torch.Tensor,
    student_key: torch.Tensor,
    attention_mask: torch.Tensor,
    sequence_ids: torch.Tensor | None,
) -> None:
    """Raise a ValueError if queries, keys and masks do not fit each other."""
    _check(teacher_query, student_query, attention_mask, sequence_ids)
    for side, query, key in (("teacher", teacher_query, teacher_key), ("student", student_query, student_key)):
        if query.shape != key.shape:
            raise ValueError(
                f"queries of the {side} have shape {tuple(query.shape)} but keys {tuple(key.shape)}; expected the "
                "same. Repeat the keys of grouped attention for each of their queries."
            )


def check_heads(name: str, heads: int, *vectors: torch.Tensor) -> None:
    """Raise a ValueError if the heads do not divide the width of all vectors, of which the teacher's come first."""
    widths = [one.shape[-1] for one in vectors]
    if heads >= 1 and not any(width % heads for width in widths):
        return
    if len(widths) == 1:
        raise ValueError(f"{name}={heads} does not divide the width {widths[0]}")
    raise ValueError(
        f"{name}={heads} does not divide both widths, {widths[0]} of the teacher and {widths[1]} of the student; "
        f"legal are {', '.join(map(str, legal_relation_heads(*widths)))}"
    )
