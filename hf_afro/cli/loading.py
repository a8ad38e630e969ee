"""Models and tokenizers as the commands load them; the work is shared with recipes."""

from __future__ import annotations

from hf_afro.recipes.pretrained import (
    load_adapter,
    load_config,
    load_encoder_config,
    load_model,
    load_tokenizer,
)

__all__ = ["load_adapter", "load_config", "load_encoder_config", "load_model", "load_tokenizer"]
