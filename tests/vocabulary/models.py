"""Small untrained models in which vocabularies have every shape, by name."""

from __future__ import annotations

import torch
import transformers as hf
from torch import nn

SPECIALS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_ENCODER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
_BART = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": 2,
}
_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 1}


def config_of(kind, settings):
    return lambda size, **more: kind(vocab_size=size, **{**SPECIALS, **settings, **more})


bert = config_of(hf.BertConfig, _ENCODER)
distilbert = config_of(hf.DistilBertConfig, {"dim": 32, "n_heads": 4, "n_layers": 2, "hidden_dim": 64})
albert = config_of(hf.AlbertConfig, {**_ENCODER, "embedding_size": 16})
deberta = config_of(hf.DebertaV2Config, {**_ENCODER, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]})
electra = config_of(hf.ElectraConfig, {**_ENCODER, "embedding_size": 16})
t5 = config_of(hf.T5Config, _T5)
mt5 = config_of(hf.MT5Config, _T5)
bart = config_of(hf.BartConfig, _BART)
mbart = config_of(hf.MBartConfig, _BART)
m2m = config_of(hf.M2M100Config, _BART)
gpt2 = config_of(hf.GPT2Config, {"n_embd": 32, "n_layer": 2, "n_head": 4})
llama = config_of(hf.LlamaConfig, _ENCODER)
gemma = config_of(hf.GemmaConfig, {**_ENCODER, "num_key_value_heads": 1, "head_dim": 8})


def untied(model):
    """Give a model an output embedding of its own, whatever its configuration says."""
    output = model.get_output_embeddings()
    output.weight = nn.Parameter(torch.randn(output.weight.shape))
    return model


MASKED_LM = {
    "distilbert": lambda size: hf.DistilBertForMaskedLM(distilbert(size)),
    "albert": lambda size: hf.AlbertForMaskedLM(albert(size)),
    "deberta-v2": lambda size: hf.DebertaV2ForMaskedLM(deberta(size)),
    "deberta-v2, newer head": lambda size: hf.DebertaV2ForMaskedLM(deberta(size, legacy=False)),
    "electra": lambda size: hf.ElectraForMaskedLM(electra(size)),
}
CLASSIFIERS = {
    "distilbert, sequences": lambda size: hf.DistilBertForSequenceClassification(distilbert(size)),
    "albert, tokens": lambda size: hf.AlbertForTokenClassification(albert(size)),
    "deberta-v2, sequences": lambda size: hf.DebertaV2ForSequenceClassification(deberta(size)),
    "electra, discriminator": lambda size: hf.ElectraForPreTraining(electra(size)),
    "bart, sequences": lambda size: hf.BartForSequenceClassification(bart(size)),
    "llama, sequences": lambda size: hf.LlamaForSequenceClassification(llama(size)),
}
ENCODER_DECODER = {
    "t5": lambda size: hf.T5ForConditionalGeneration(t5(size)),
    "t5 1.1, untied": lambda size: untied(hf.T5ForConditionalGeneration(t5(size, tie_word_embeddings=False))),
    "mt5, untied": lambda size: untied(hf.MT5ForConditionalGeneration(mt5(size))),
    "bart": lambda size: hf.BartForConditionalGeneration(bart(size)),
    "mbart": lambda size: hf.MBartForConditionalGeneration(mbart(size)),
    "m2m100": lambda size: hf.M2M100ForConditionalGeneration(m2m(size)),
    "two berts": lambda size: hf.EncoderDecoderModel(
        encoder=hf.BertModel(bert(size)),
        decoder=hf.BertLMHeadModel(bert(size, is_decoder=True, add_cross_attention=True)),
    ),
}
CAUSAL = {
    "gpt2": lambda size: hf.GPT2LMHeadModel(gpt2(size)),
    "llama": lambda size: hf.LlamaForCausalLM(llama(size)),
    "llama, tied": lambda size: hf.LlamaForCausalLM(llama(size, tie_word_embeddings=True)),
    "gemma": lambda size: hf.GemmaForCausalLM(gemma(size)),
    "mbart, decoder": lambda size: hf.MBartForCausalLM(mbart(size, is_encoder_decoder=False)),
}
OTHERS = {
    "mt5, encoder": lambda size: hf.MT5EncoderModel(mt5(size)),
    "t5, headless": lambda size: hf.T5Model(t5(size)),
    "mbart, headless": lambda size: hf.MBartModel(mbart(size)),
}
MODELS = {**MASKED_LM, **CLASSIFIERS, **ENCODER_DECODER, **CAUSAL, **OTHERS}


def make(name, size):
    """Build a model, with biases drawn too: they start at 0, which would hide a wrong row."""
    torch.manual_seed(3)
    model = MODELS[name](size).eval()
    for tensor_name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor_name.endswith("bias"):
            nn.init.normal_(tensor)
    return model
