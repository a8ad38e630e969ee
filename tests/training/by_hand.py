"""Queries, keys and values worked out from a model's weights and hidden states, without any hook of ours."""

from __future__ import annotations

import torch
from torch.nn.functional import linear

# What a pre-norm family's layer does to the hidden states before it projects them.
_NORMS = {
    "xlm-roberta-xl": lambda layer: layer.attention.self_attn_layer_norm,
    "modernbert": lambda layer: layer.attn_norm,
    "eurobert": lambda layer: layer.input_layernorm,
}


def _layer(model, number):
    encoder, kind = model.base_model, model.config.model_type
    if kind == "albert":
        inner = model.config.inner_group_num
        passes_a_group = model.config.num_hidden_layers // model.config.num_hidden_groups
        group = (number - 1) // inner // passes_a_group
        return encoder.encoder.albert_layer_groups[group].albert_layers[(number - 1) % inner]
    if kind == "distilbert":
        return encoder.transformer.layer[number - 1]
    return (encoder.layers if kind in ("modernbert", "eurobert") else encoder.encoder.layer)[number - 1]


def _weights(model, layer):
    """The three weights and biases, of the keys and values as wide as the queries."""
    kind, heads = model.config.model_type, model.config.num_attention_heads
    if kind == "modernbert":
        return [(weight, None) for weight in layer.attn.Wqkv.weight.split(model.config.hidden_size)]
    if kind == "eurobert":
        head = model.config.hidden_size // heads
        served = heads // model.config.num_key_value_heads
        rows = [row // served for row in range(heads)]  # which head of keys each head of queries looks at
        wide = [
            torch.cat([projection.weight[row * head : (row + 1) * head] for row in rows])
            for projection in (layer.self_attn.k_proj, layer.self_attn.v_proj)
        ]
        return [(layer.self_attn.q_proj.weight, None), (wide[0], None), (wide[1], None)]
    if kind == "distilbert":
        three = layer.attention.q_lin, layer.attention.k_lin, layer.attention.v_lin
    elif kind == "albert":
        three = layer.attention.query, layer.attention.key, layer.attention.value
    elif kind == "mpnet":
        three = layer.attention.attn.q, layer.attention.attn.k, layer.attention.attn.v
    elif kind == "deberta-v2":
        own = layer.attention.self
        three = own.query_proj, own.key_proj, own.value_proj
    else:
        own = layer.attention.self
        three = own.query, own.key, own.value
    return [(projection.weight, projection.bias) for projection in three]


def by_hand(model, number, inputs):
    """``{relation: [batch, length, width]}`` of a layer, counted from 1."""
    hidden = model.base_model(**inputs, output_hidden_states=True).hidden_states[number - 1]
    layer = _layer(model, number)
    norm = _NORMS.get(model.config.model_type)
    if norm is not None:
        hidden = norm(layer)(hidden)
    return {
        relation: linear(hidden, weight, bias)
        for relation, (weight, bias) in zip(("query", "key", "value"), _weights(model, layer), strict=True)
    }
