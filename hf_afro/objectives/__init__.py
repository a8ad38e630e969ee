"""Training objectives and measures as pure functions of tensors; they import torch and nothing of ours."""

from __future__ import annotations

from hf_afro.objectives.bits_per_byte import MaskedWordTotals
from hf_afro.objectives.masked_lm import masked_lm_loss, restrict_to_kept
from hf_afro.objectives.matching import attention_map_matching, logit_matching
from hf_afro.objectives.projected import projected_masked_lm_loss
from hf_afro.objectives.relations import attention_relation_loss, relation_loss, relation_losses
from hf_afro.objectives.sequences import count_sequences

__all__ = [
    "MaskedWordTotals",
    "attention_map_matching",
    "attention_relation_loss",
    "count_sequences",
    "logit_matching",
    "masked_lm_loss",
    "projected_masked_lm_loss",
    "relation_loss",
    "relation_losses",
    "restrict_to_kept",
]
