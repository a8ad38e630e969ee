"""The relation losses as the papers write them: every matrix in full, one line per step."""

from __future__ import annotations

import torch

from hf_afro.losses.sequences import tokens_of_own_sequence


def reference_relation_loss(
    teacher_left: torch.Tensor,
    teacher_right: torch.Tensor | None,
    student_left: torch.Tensor,
    student_right: torch.Tensor | None,
    labels: torch.Tensor,
    num_heads: int,
) -> torch.Tensor:
    """Return the loss of one relation for each row of the batch, summed over the row's sequences.

    R = softmax(A B^T / sqrt(d_r)) for each head over the tokens of one sequence, and the loss of a sequence is
    KL(R_teacher || R_student) summed over heads and positions, divided by heads x tokens. B is A itself for the
    relations of MiniLMv2, and the keys where A are the queries for the attention of MiniLM. Memory grows with batch x
    heads x length squared.

    Args:
        teacher_left: A of the teacher, ``[batch, length, d_teacher]``.
        teacher_right: B of the teacher, the same shape; None if it is A.
        student_left: A of the student, ``[batch, length, d_student]``.
        student_right: B of the student, the same shape; None if it is A.
        labels: ``[batch, length]`` from `hf_afro.losses.sequences.label_sequences`.
        num_heads: Number of heads that the vectors are split into, dividing both widths.

    Returns:
        ``[batch]``, at least in fp32; zero for a row without a token.

    References:
        Wang et al., "MiniLMv2", Findings of ACL 2021, equations 5 to 8; "MiniLM", NeurIPS 2020, section 3.
    """
    teacher_log_relation = _log_relation(teacher_left, teacher_right, labels, num_heads)
    student_log_relation = _log_relation(student_left, student_right, labels, num_heads)
    divergence = teacher_log_relation.exp() * (teacher_log_relation - student_log_relation)
    of_position = divergence.sum(-1).sum(1) * (labels >= 0)  # [batch, length]
    return (of_position / (num_heads * tokens_of_own_sequence(labels))).sum(1)


def _log_relation(
    left: torch.Tensor, right: torch.Tensor | None, labels: torch.Tensor, num_heads: int
) -> torch.Tensor:
    """Return log softmax(A B^T / sqrt(d_r)) over the tokens of each sequence, ``[batch, heads, length, length]``."""
    left_heads = split_heads(left, labels, num_heads)  # [batch, heads, length, d_r]
    right_heads = left_heads if right is None else split_heads(right, labels, num_heads)
    scores = left_heads @ right_heads.transpose(-1, -2) / left_heads.shape[-1] ** 0.5
    # A finite floor, not -inf: a row of padding alone must stay free of nan, in the gradient too.
    is_other = labels[:, None, :, None] != labels[:, None, None, :]
    return scores.masked_fill(is_other, torch.finfo(scores.dtype).min).log_softmax(-1)


def split_heads(vectors: torch.Tensor, labels: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Return ``[batch, heads, length, width / heads]``, at least in fp32, zeros at padding."""
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    # Zeros, since vectors at padding may be nan, and nan times zero is nan.
    vectors = vectors.masked_fill((labels < 0)[:, :, None], 0)
    return vectors.unflatten(-1, (num_heads, -1)).transpose(1, 2)
