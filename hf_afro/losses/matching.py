"""Match a student's predictions and attention maps to a teacher's: the terms of the hybrid loss.

AfroXLMR-Comet's hybrid is half logit matching at temperature 2 and half the mean squared difference between attention
maps of the last layers, each averaged over its heads:

    0.5 x T^2 KL(teacher || student) + 0.5 x MSE(the student's map, the teacher's map)

The paper puts a learned projection on the student's map, but we know of no equation that says on which axis it works;
it is left out here. The MSE of a sequence is over its own pairs of tokens, and all sequences weigh the same. The two
terms are separate functions because they have different counts: positions and sequences.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from hf_afro.losses.relations import Reduction, check_heads, check_pair, reduced
from hf_afro.losses.relations_reference import split_heads
from hf_afro.losses.sequences import label_sequences, tokens_of_own_sequence


def logit_matching(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """Return the summed T^2 KL(softmax(teacher / T) || softmax(student / T)), in nats.

    It is a sum, as `masked_lm_loss` is: the count of positions is that of the whole step. The factor T^2
    keeps the size of the gradient at any temperature: it is T (softmax(student / T) - softmax(teacher / T)).

    Args:
        student_logits: ``[positions, vocabulary]``, at the positions that count only.
        teacher_logits: ``[positions, vocabulary]``, at the same positions; those of a teacher with a larger
            vocabulary gathered at the kept ids. Gets no gradient.
        temperature: T, above 0.

    Returns:
        A scalar, at least in fp32; with no position it is zero, with its gradient path.

    Raises:
        ValueError: If the shapes differ or the temperature is not a finite number above 0.

    References:
        Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2.
    """
    _check_logits(student_logits, teacher_logits)
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature={temperature} is not a finite number above 0")
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    student = F.log_softmax(student_logits.to(dtype) / temperature, -1)
    teacher = F.log_softmax(teacher_logits.detach().to(dtype) / temperature, -1)
    return F.kl_div(student, teacher, reduction="sum", log_target=True) * temperature**2


def logit_distance(student_logits: torch.Tensor, teacher_logits: torch.Tensor) -> torch.Tensor:
    """Return the summed squared difference between logits, each position's as a mean over its labels.

    For the few labels of a task this works better than the divergence of softened predictions, and has no temperature
    (Kim et al. 2021). It is a sum, as `logit_matching` is.

    Args:
        student_logits: ``[positions, labels]``, at the positions that count only.
        teacher_logits: ``[positions, labels]``, at the same positions. Gets no gradient.

    Returns:
        A scalar, at least in fp32; with no position it is zero, with its gradient path.

    Raises:
        ValueError: If the shapes differ.

    References:
        Ba and Caruana, "Do Deep Nets Really Need to be Deep?", NeurIPS 2014, equation 1; Kim et al., "Comparing
        Kullback-Leibler Divergence and Mean Squared Error Loss in Knowledge Distillation", IJCAI 2021.
    """
    _check_logits(student_logits, teacher_logits)
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    difference = student_logits.to(dtype) - teacher_logits.detach().to(dtype)
    return difference.square().mean(-1).sum()


def _check_logits(student_logits: torch.Tensor, teacher_logits: torch.Tensor) -> None:
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"student_logits has shape {tuple(student_logits.shape)} and teacher_logits {tuple(teacher_logits.shape)}"
            "; expected the same. Gather the teacher's logits at the positions and the ids of the student."
        )


def attention_map_matching(
    teacher_query: torch.Tensor,
    teacher_key: torch.Tensor,
    student_query: torch.Tensor,
    student_key: torch.Tensor,
    attention_mask: torch.Tensor,
    num_teacher_heads: int,
    num_student_heads: int,
    reduction: Reduction = "mean",
    sequence_ids: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the mean squared difference between two attention maps, each averaged over its heads.

    A map is softmax(Q K^T / sqrt(d_k)) of each head, over the tokens of a sequence; its loss is the sum of
    (student's map - teacher's map)^2 divided by the square of its tokens. Memory grows with heads x length squared.

    Args:
        teacher_query: ``[batch, length, d_teacher]``. Gets no gradient.
        teacher_key: ``[batch, length, d_teacher]``.
        student_query: ``[batch, length, d_student]``.
        student_key: ``[batch, length, d_student]``.
        attention_mask: ``[batch, length]``, nonzero where there is a token.
        num_teacher_heads: Attention heads of the teacher, dividing its width.
        num_student_heads: Attention heads of the student, dividing its width; the two need not be equal.
        reduction: ``mean`` over the sequences that hold a token, or their ``sum``.
        sequence_ids: See `hf_afro.losses.relation_loss`.

    Returns:
        A scalar at least in fp32; zero if no sequence holds a token.

    Raises:
        ValueError: If shapes disagree or heads do not divide their width.

    References:
        Raju et al., "AfroXLMR-Comet", arXiv 2502.18020; the docstring of this module says what is left out.
    """
    check_pair(teacher_query, teacher_key, student_query, student_key, attention_mask, sequence_ids)
    check_heads("num_teacher_heads", num_teacher_heads, teacher_query)
    check_heads("num_student_heads", num_student_heads, student_query)
    labels = label_sequences(attention_mask, sequence_ids)
    with torch.autocast(device_type=student_query.device.type, enabled=False):
        taught = _attention(teacher_query.detach(), teacher_key.detach(), labels, num_teacher_heads).mean(1)
        learnt = _attention(student_query, student_key, labels, num_student_heads).mean(1)
        is_own = (labels[:, :, None] == labels[:, None, :]) & (labels >= 0)[:, :, None]
        difference = (learnt - taught).masked_fill(~is_own, 0)
        losses = (difference.square().sum(-1) / tokens_of_own_sequence(labels) ** 2).sum(1)
    return reduced(losses, labels, reduction)


def _attention(query: torch.Tensor, key: torch.Tensor, labels: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Return softmax(Q K^T / sqrt(d_k)) over the tokens of each sequence, ``[batch, heads, length, length]``."""
    queries, keys = (split_heads(vectors, labels, num_heads) for vectors in (query, key))
    scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
    is_other = labels[:, None, :, None] != labels[:, None, None, :]
    return scores.masked_fill(is_other, torch.finfo(scores.dtype).min).softmax(-1)
