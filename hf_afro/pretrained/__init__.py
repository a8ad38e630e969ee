"""Load models, tokenizers and adapters by name or folder, and read what a checkpoint stores without its weights."""

from __future__ import annotations

from hf_afro.pretrained.loading import (
    LostTensors as LostTensors,
    auto_class_of as auto_class_of,
    check_folder as check_folder,
    load_adapter as load_adapter,
    load_config as load_config,
    load_encoder_config as load_encoder_config,
    load_model as load_model,
    load_tokenizer as load_tokenizer,
)
