"""Training objectives and measures as pure functions of tensors; they import torch and nothing of hf_afro."""

from __future__ import annotations

from hf_afro.losses.bits_per_byte import MaskedWordTotals as MaskedWordTotals
from hf_afro.losses.hidden_states import hidden_matching as hidden_matching, pooled_matching as pooled_matching
from hf_afro.losses.masked_lm import (
    masked_lm_loss as masked_lm_loss,
    projected_masked_lm_loss as projected_masked_lm_loss,
    restrict_to_kept as restrict_to_kept,
)
from hf_afro.losses.matching import (
    attention_map_matching as attention_map_matching,
    logit_distance as logit_distance,
    logit_matching as logit_matching,
)
from hf_afro.losses.relations import (
    attention_relation_loss as attention_relation_loss,
    relation_loss as relation_loss,
    relation_losses as relation_losses,
)
from hf_afro.losses.sequences import count_sequences as count_sequences
