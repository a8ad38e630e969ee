"""Match a student's hidden states and sentence vectors to a teacher's, summed over tokens and over sentences.

The two are sums, and separate functions, because the caller divides each by its own count over the whole step. Teacher
and student have one width here; a narrower student's hidden states are projected first.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

HIDDEN_LOSSES = ("cosine", "mse")
"""Values of `kind`."""


def hidden_matching(
    student: torch.Tensor, teacher: torch.Tensor, attention_mask: torch.Tensor, kind: str = "cosine"
) -> torch.Tensor:
    """Return the summed distance between the student's and the teacher's hidden states of each token.

    The distance of hidden states s and t is 1 - cos(s, t), or the mean of (s - t)^2 over the width.

    Args:
        student: ``[batch, length, width]``. What it holds at padding never matters.
        teacher: ``[batch, length, width]``. Gets no gradient.
        attention_mask: ``[batch, length]``, nonzero where there is a token.
        kind: ``cosine`` or ``mse``.

    Returns:
        A scalar at least in fp32; with no token it is zero, with its gradient path.

    Raises:
        ValueError: If the shapes disagree or `kind` is unknown.

    References:
        Sanh et al., "DistilBERT", 2019, section 3 (cosine); Jiao et al., "TinyBERT", Findings of EMNLP 2020, equation
        8 (mse).
    """
    if kind not in HIDDEN_LOSSES:
        raise ValueError(f"unknown kind={kind!r}; expected one of {', '.join(HIDDEN_LOSSES)}")
    learnt, taught = _at_tokens(student, teacher, attention_mask)
    if kind == "mse":
        return (learnt - taught).square().mean(-1).sum()
    # 1 - cos(s, t) = |s/|s| - t/|t||^2 / 2, which loses no digits where the two are close.
    return (F.normalize(learnt, dim=-1) - F.normalize(taught, dim=-1)).square().sum() / 2


def pooled_matching(student: torch.Tensor, teacher: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Return the summed squared distance between the student's and the teacher's sentence vectors.

    The vector of a row is the mean of its tokens' hidden states, divided by its length (L2 norm).

    Args:
        student: ``[batch, length, width]``, last hidden states; each row is one sentence. What it holds at padding
            never matters.
        teacher: ``[batch, length, width]``. Gets no gradient.
        attention_mask: ``[batch, length]``, nonzero where there is a token.

    Returns:
        A scalar at least in fp32, from 0 to 4 for each row that holds a token.

    Raises:
        ValueError: If the shapes disagree.

    References:
        Vujanic and Rueckstiess, "LEAF: Knowledge Distillation of Text Embedding Models with Teacher-Aligned
        Representations", arXiv 2509.12539, 2025; its map to the teacher's width is a part of the student.
    """
    learnt, taught = _at_tokens(student, teacher, attention_mask)
    # The sum over tokens has the direction of the mean.
    return (F.normalize(learnt.sum(1), dim=-1) - F.normalize(taught.sum(1), dim=-1)).square().sum()


def _at_tokens(
    student: torch.Tensor, teacher: torch.Tensor, attention_mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both at least in fp32 and zero at padding, where they may hold anything."""
    if student.shape != teacher.shape or student.shape[:2] != attention_mask.shape:
        raise ValueError(
            f"student has shape {tuple(student.shape)}, teacher {tuple(teacher.shape)} and attention_mask "
            f"{tuple(attention_mask.shape)}; expected [batch, length, width] twice, and [batch, length]. Project the "
            "student's hidden states to the teacher's width first"
        )
    dtype = torch.promote_types(student.dtype, torch.float32)
    is_padding = (attention_mask == 0)[..., None]
    return student.to(dtype).masked_fill(is_padding, 0), teacher.detach().to(dtype).masked_fill(is_padding, 0)
