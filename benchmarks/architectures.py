"""Small models of the public classes whose tensors pruning could lose, by what they are for, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers as hf
from torch import nn

from hf_afro.students import AfroStudentConfig, AfroStudentForMaskedLM

SPECIALS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
_SIZES = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 40}
_ENCODER = {"hidden_size": 16, **_SIZES}
_BART = {
    **{f"{side}_{part}": size for side in ("encoder", "decoder") for part, size in (("layers", 1), ("ffn_dim", 32))},
    **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "d_model": 16, "decoder_start_token_id": 2},
}
_T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 1}
_SIGLIP = {"image_size": 16, "patch_size": 8, **{name: size for name, size in _ENCODER.items() if "max_" not in name}}

# The configuration of a class, by the beginning of its name, and what makes it small.
_FAMILIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "Bert": (hf.BertConfig, _ENCODER),
    "XLMRoberta": (hf.XLMRobertaConfig, _ENCODER),
    "Roberta": (hf.RobertaConfig, _ENCODER),
    "Camembert": (hf.CamembertConfig, _ENCODER),
    "DistilBert": (hf.DistilBertConfig, {"dim": 16, "n_heads": 2, "n_layers": 1, "hidden_dim": 32}),
    "Albert": (hf.AlbertConfig, {**_ENCODER, "embedding_size": 8}),
    "Electra": (hf.ElectraConfig, {**_ENCODER, "embedding_size": 8}),
    "DebertaV2": (hf.DebertaV2Config, {**_ENCODER, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}),
    "MPNet": (hf.MPNetConfig, _ENCODER),
    "ModernBert": (hf.ModernBertConfig, {**_ENCODER, "cls_token_id": 0, "sep_token_id": 2}),
    "EuroBert": (hf.EuroBertConfig, {**_ENCODER, "num_key_value_heads": 2, "head_dim": 8, "mask_token_id": 3}),
    "MegatronBert": (hf.MegatronBertConfig, _ENCODER),
    "BigBird": (hf.BigBirdConfig, {**_ENCODER, "attention_type": "original_full"}),
    "DPR": (hf.DPRConfig, _ENCODER),
    "LayoutLMv3": (
        hf.LayoutLMv3Config,
        {**_ENCODER, "hidden_size": 24, "coordinate_size": 4, "shape_size": 4, "input_size": 16, "patch_size": 8},
    ),
    "CLIPText": (hf.CLIPTextConfig, {**_ENCODER, "projection_dim": 8}),
    "SiglipText": (hf.SiglipTextConfig, _ENCODER),
    "T5": (hf.T5Config, _T5),
    "MT5": (hf.MT5Config, _T5),
    "UMT5": (hf.UMT5Config, _T5),
    "MBart": (hf.MBartConfig, _BART),
    "Bart": (hf.BartConfig, _BART),
    "M2M100": (hf.M2M100Config, _BART),
    "Whisper": (
        hf.WhisperConfig,
        {**_BART, "num_mel_bins": 8, "suppress_tokens": None, "begin_suppress_tokens": None},
    ),
    "GPT2": (hf.GPT2Config, {"n_embd": 16, "n_layer": 1, "n_head": 2}),
    "Llama": (hf.LlamaConfig, _ENCODER),
}
CLASSES: dict[str, tuple[str, ...]] = {
    "masked LM": (
        *("BertForMaskedLM", "XLMRobertaForMaskedLM", "CamembertForMaskedLM", "ElectraForMaskedLM"),
        "AfroStudentForMaskedLM",
    ),
    "pretraining": (
        *("BertForPreTraining", "AlbertForPreTraining", "ElectraForPreTraining", "BigBirdForPreTraining"),
        *("BertForNextSentencePrediction", "MegatronBertForNextSentencePrediction"),
    ),
    "texts": (
        *("BertForSequenceClassification", "XLMRobertaForSequenceClassification"),
        *("DebertaV2ForSequenceClassification", "ModernBertForSequenceClassification"),
        *("MBartForSequenceClassification", "LlamaForSequenceClassification"),
    ),
    "tokens": (
        *("BertForTokenClassification", "MPNetForTokenClassification", "EuroBertForTokenClassification"),
        "T5ForTokenClassification",
    ),
    "questions": ("BertForQuestionAnswering", "RobertaForQuestionAnswering", "DPRReader"),
    "multiple choice": ("BertForMultipleChoice", "XLMRobertaForMultipleChoice", "DistilBertForMultipleChoice"),
    "encoder": ("BertModel", "DPRContextEncoder", "DPRQuestionEncoder", "T5EncoderModel", "UMT5EncoderModel"),
    "text tower": ("CLIPTextModel", "CLIPTextModelWithProjection", "SiglipTextModel"),
    "text and images": ("LayoutLMv3Model", "SiglipModel", "AltCLIPModel"),
    "seq2seq": (
        *("MT5ForConditionalGeneration", "BartForConditionalGeneration", "M2M100ForConditionalGeneration"),
        *("WhisperForConditionalGeneration", "EncoderDecoderModel"),
    ),
    "causal": ("GPT2LMHeadModel", "GPT2DoubleHeadsModel", "LlamaForCausalLM"),
}


def make(name: str, rows: int) -> hf.PreTrainedModel:
    """Build a model of a class, with biases drawn too: they start at 0, which would hide a wrong row.

    Args:
        name: One of those in `CLASSES`.
        rows: Size of its vocabulary.
    """
    torch.manual_seed(0)
    build = _OTHERS.get(name) or (lambda rows: getattr(hf, name)(_config(name, rows)))
    model = build(rows).eval()
    for tensor_name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor_name.endswith("bias"):
            nn.init.normal_(tensor)
    return model


def _config(name: str, rows: int) -> hf.PretrainedConfig:
    family = max((one for one in _FAMILIES if name.startswith(one)), key=len)
    kind, sizes = _FAMILIES[family]
    return kind(vocab_size=rows, **SPECIALS, **sizes)


def _student(rows: int) -> hf.PreTrainedModel:
    return AfroStudentForMaskedLM(AfroStudentConfig(vocab_size=rows, embedding_size=8, **SPECIALS, **_ENCODER))


def _two_berts(rows: int) -> hf.PreTrainedModel:
    decoder = hf.BertConfig(vocab_size=rows, is_decoder=True, add_cross_attention=True, **SPECIALS, **_ENCODER)
    return hf.EncoderDecoderModel(
        encoder=hf.BertModel(_config("BertModel", rows)), decoder=hf.BertLMHeadModel(decoder)
    )


def _siglip(rows: int) -> hf.PreTrainedModel:
    text = {"vocab_size": rows, **SPECIALS, **_ENCODER}
    return hf.SiglipModel(hf.SiglipConfig(text_config=text, vision_config=_SIGLIP))


def _altclip(rows: int) -> hf.PreTrainedModel:
    text = {"vocab_size": rows, "project_dim": 16, **SPECIALS, **_ENCODER}
    return hf.AltCLIPModel(hf.AltCLIPConfig(text_config=text, vision_config=_SIGLIP, projection_dim=16))


_OTHERS: dict[str, Callable[[int], hf.PreTrainedModel]] = {
    "AfroStudentForMaskedLM": _student,
    "EncoderDecoderModel": _two_berts,
    "SiglipModel": _siglip,
    "AltCLIPModel": _altclip,
}
