"""A tiny untrained masked language model of every family in the table, and of its forms that differ inside."""

from __future__ import annotations

from collections.abc import Callable

import torch
import transformers as hf
from torch import nn

from hf_afro.students import AfroStudentConfig, AfroStudentForMaskedLM

VOCABULARY = 100
_IDS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 66,
    **_IDS,
}
_NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
_DISTILBERT = {
    "vocab_size": VOCABULARY,
    "dim": 32,
    "n_layers": 4,
    "n_heads": 4,
    "hidden_dim": 64,
    "max_position_embeddings": 66,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    **_IDS,
}
_RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
_MODERN_IDS = {"cls_token_id": 0, "sep_token_id": 2}


def _of(model_class: type, config_class: type, **more: object) -> Callable[..., hf.PreTrainedModel]:
    settings = {**_SHAPE, **_NO_DROPOUT, **more}
    return lambda **overrides: model_class(config_class(**{**settings, **overrides}))


TINY: dict[str, Callable[..., hf.PreTrainedModel]] = {
    "xlm-roberta": _of(hf.XLMRobertaForMaskedLM, hf.XLMRobertaConfig),
    "xlm-roberta-xl": _of(hf.XLMRobertaXLForMaskedLM, hf.XLMRobertaXLConfig),
    "roberta": _of(hf.RobertaForMaskedLM, hf.RobertaConfig),
    "camembert": _of(hf.CamembertForMaskedLM, hf.CamembertConfig),
    "bert": _of(hf.BertForMaskedLM, hf.BertConfig),
    "electra": _of(hf.ElectraForMaskedLM, hf.ElectraConfig, embedding_size=16),
    "albert": _of(hf.AlbertForMaskedLM, hf.AlbertConfig, embedding_size=16),
    "albert, two groups of two": _of(
        hf.AlbertForMaskedLM, hf.AlbertConfig, embedding_size=16, num_hidden_groups=2, inner_group_num=2
    ),
    "distilbert": lambda **more: hf.DistilBertForMaskedLM(hf.DistilBertConfig(**{**_DISTILBERT, **more})),
    "mpnet": _of(hf.MPNetForMaskedLM, hf.MPNetConfig),
    "deberta-v2": _of(hf.DebertaV2ForMaskedLM, hf.DebertaV2Config, **_RELATIVE),
    "deberta-v2, keys shared with positions": _of(
        hf.DebertaV2ForMaskedLM, hf.DebertaV2Config, **_RELATIVE, share_att_key=True, norm_rel_ebd="layer_norm"
    ),
    "deberta-v2, newer head": _of(hf.DebertaV2ForMaskedLM, hf.DebertaV2Config, **_RELATIVE, legacy=False),
    "modernbert": _of(hf.ModernBertForMaskedLM, hf.ModernBertConfig, **_MODERN_IDS, local_attention=8),
    "eurobert": _of(hf.EuroBertForMaskedLM, hf.EuroBertConfig, mask_token_id=4, num_key_value_heads=4),
    "eurobert, grouped": _of(hf.EuroBertForMaskedLM, hf.EuroBertConfig, mask_token_id=4, num_key_value_heads=2),
    "afro-student": _of(AfroStudentForMaskedLM, AfroStudentConfig, type_vocab_size=1),
    "afro-student, factorised": _of(AfroStudentForMaskedLM, AfroStudentConfig, type_vocab_size=1, embedding_size=16),
}
"""By name: a function of settings that are to be other than 4 layers of width 32, 4 heads, 100 tokens, no dropout."""


def tiny(name: str, seed: int = 0, **overrides: object) -> hf.PreTrainedModel:
    """Build one, its biases and norms drawn too: they start at 0 and 1, which would hide one that is left out."""
    torch.manual_seed(seed)
    model = TINY[name](**overrides).eval()
    for tensor_name, tensor in model.named_parameters():
        if tensor_name.endswith("bias"):
            nn.init.normal_(tensor, std=0.1)
        elif "norm" in tensor_name.lower() and tensor.dim() == 1:
            nn.init.normal_(tensor, mean=1.0, std=0.1)
    return model
