"""The relation loss's one door: checks what comes in, picks an implementation, reduces over sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch

from hf_afro.objectives.chunked import chunked_relation_loss
from hf_afro.objectives.reference import reference_relation_loss

IMPLEMENTATIONS: dict[str, Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int], torch.Tensor]] = {
    "auto": chunked_relation_loss,
    "reference": reference_relation_loss,
    "chunked": chunked_relation_loss,
}
"""What `impl` may say."""


def relation_loss(
    teacher: torch.Tensor,
    student: torch.Tensor,
    attention_mask: torch.Tensor,
    num_relation_heads: int,
    impl: Literal["auto", "reference", "chunked"] = "auto",
    reduction: Literal["mean", "sum"] = "mean",
) -> torch.Tensor:
    """Return the MiniLMv2 loss of one relation: how far the student's token-to-token relations are from the teacher's.

    The vectors of all attention heads stand side by side and are split again into `num_relation_heads`, so teacher
    and student may differ in width and in attention heads. In each relation head R = softmax(X X^T / sqrt(d_r)), and
    a sequence's loss is the sum over heads and positions of KL(R_teacher || R_student), divided by heads x tokens.

    Args:
        teacher: ``[batch, length, d_teacher]``: queries, keys or values of the layer taught. Gets no gradient.
        student: ``[batch, length, d_student]``: the same of the student's layer.
        attention_mask: ``[batch, length]``, nonzero where there is a token. What stands at padding never matters.
        num_relation_heads: A_r, dividing both widths.
        impl: ``reference`` reads like the paper, ``chunked`` takes the gradient block by block in the forward pass in
            the memory of a block; ``auto`` is ``chunked``.
        reduction: ``mean`` over the sequences that hold a token, or their ``sum``.

    Returns:
        A scalar at least in fp32, whatever the dtype of the vectors; zero if no sequence holds a token.

    Raises:
        ValueError: If shapes disagree, the heads do not divide a width, or `impl` or `reduction` is not known.

    References:
        Wang et al., "MiniLMv2: Multi-Head Self-Attention Relation Distillation for Compressing Pretrained
        Transformers", Findings of ACL 2021, equations 5 to 8.

    Example:
        >>> queries = torch.randn(2, 5, 8)
        >>> relation_loss(queries, queries, torch.ones(2, 5), num_relation_heads=4)
        tensor(0.)
    """
    _check(teacher, student, attention_mask, num_relation_heads)
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction={reduction!r} is not known; use 'mean' or 'sum'")
    if impl not in IMPLEMENTATIONS:
        raise ValueError(f"impl={impl!r} is not known; use one of {', '.join(IMPLEMENTATIONS)}")
    # Half-precision products would cost the softmax its digits, so a caller's autocast ends here.
    with torch.autocast(device_type=student.device.type, enabled=False):
        losses = IMPLEMENTATIONS[impl](teacher.detach(), student, attention_mask, num_relation_heads)  # [batch]
    if reduction == "sum":
        return losses.sum()
    return losses.sum() / attention_mask.bool().any(1).sum().clamp_min(1)


def legal_relation_heads(teacher_width: int, student_width: int) -> list[int]:
    """Return every number of relation heads that divides both widths, ascending."""
    return [
        heads
        for heads in range(1, min(teacher_width, student_width) + 1)
        if teacher_width % heads == 0 and student_width % heads == 0
    ]


def _check(
    teacher: torch.Tensor, student: torch.Tensor, attention_mask: torch.Tensor, num_relation_heads: int
) -> None:
    """Raise a ValueError if the pieces do not fit each other."""
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
    widths = teacher.shape[-1], student.shape[-1]
    if num_relation_heads < 1 or any(width % num_relation_heads for width in widths):
        legal = ", ".join(map(str, legal_relation_heads(*widths)))
        raise ValueError(
            f"num_relation_heads={num_relation_heads} does not divide both widths, {widths[0]} of the teacher and "
            f"{widths[1]} of the student; legal are {legal}"
        )
