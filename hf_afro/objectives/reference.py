"""The relation loss as the paper writes it: every matrix in full, one line a step."""

from __future__ import annotations

import torch


def reference_relation_loss(
    teacher: torch.Tensor, student: torch.Tensor, attention_mask: torch.Tensor, num_relation_heads: int
) -> torch.Tensor:
    """Return one relation's loss for each sequence.

    R = softmax(X X^T / sqrt(d_r)) for each relation head, and the loss is KL(R_teacher || R_student) summed over heads
    and positions, divided by heads x tokens. Memory grows with batch x heads x length squared.

    Args:
        teacher: ``[batch, length, d_teacher]``, the queries, keys or values of the layer taught.
        student: ``[batch, length, d_student]``, the same of the student's layer.
        attention_mask: ``[batch, length]``, nonzero where there is a token, padding on either side.
        num_relation_heads: A_r; it divides both widths.

    Returns:
        ``[batch]``, at least in fp32; zero for a sequence without a token.

    References:
        Wang et al., "MiniLMv2", Findings of ACL 2021, equations 5 to 8.
    """
    is_token = attention_mask.bool()
    teacher_log_relation = _log_relation(teacher, is_token, num_relation_heads)  # [batch, heads, length, length]
    student_log_relation = _log_relation(student, is_token, num_relation_heads)
    divergence = teacher_log_relation.exp() * (teacher_log_relation - student_log_relation)
    of_position = divergence.sum(-1).sum(1) * is_token  # [batch, length]
    tokens = is_token.sum(1).clamp_min(1)
    return of_position.sum(1) / (num_relation_heads * tokens)


def _log_relation(vectors: torch.Tensor, is_token: torch.Tensor, num_relation_heads: int) -> torch.Tensor:
    """Return log softmax(X X^T / sqrt(d_r)) over the tokens of each sequence, ``[batch, heads, length, length]``."""
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    heads = vectors.unflatten(-1, (num_relation_heads, -1)).transpose(1, 2)  # [batch, heads, length, d_r]
    scores = heads @ heads.transpose(-1, -2) / heads.shape[-1] ** 0.5
    # A finite floor and not -inf: a row of padding alone must stay free of nan, in the gradient too.
    scores = scores.masked_fill(~is_token[:, None, None, :], torch.finfo(scores.dtype).min)
    return scores.log_softmax(-1)
