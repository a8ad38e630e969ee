"""The masked-language-model objective, summed so that whoever calls it divides by the right count."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def masked_lm_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the summed cross-entropy of the masked tokens, in nats.

    It is a sum and not a mean: the mean over a training step is taken over the masked tokens of all micro-batches
    and all processes, which one micro-batch cannot know. With no masked token it is zero, with its gradient path.

    Args:
        logits: ``[masked, vocabulary]``, the predictions at masked positions only.
        labels: ``[masked]``, the ids that were masked; none is -100.

    Returns:
        A scalar, at least in fp32.
    """
    return F.cross_entropy(_at_least_fp32(logits), labels, reduction="sum")


def restrict_to_kept(logits: torch.Tensor, kept_ids: torch.Tensor) -> torch.Tensor:
    """Take the probability of every token that is not kept away, so that a softmax spreads it over those kept.

    A full-vocabulary model spends probability on tokens that a pruned one cannot name. Restricted so, the two are
    compared on the same choice.

    Args:
        logits: ``[..., vocabulary]``.
        kept_ids: ``[kept]``, int64, ids of the vocabulary.

    Returns:
        ``[..., vocabulary]``: the logits of the kept ids, the lowest finite value elsewhere.
    """
    restricted = torch.full_like(logits, torch.finfo(logits.dtype).min)
    restricted[..., kept_ids] = logits[..., kept_ids]
    return restricted


def _at_least_fp32(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
