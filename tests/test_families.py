"""The paths in the table of families, checked on models of every family."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2Model

from hf_afro.families import FAMILIES, depth_of, encoder_of, family_of, layer_at, layers_of
from tests.tiny_families import TINY, VOCABULARY, tiny


def test_every_family_of_the_table_has_a_tiny_model():
    assert {TINY[name]().config.model_type for name in TINY} == set(FAMILIES)


@pytest.mark.parametrize("name", TINY)
def test_projections_are_where_the_table_says(name):
    model = tiny(name)
    family = family_of(model)
    layer, _ = layer_at(model, 2)
    width, heads = model.config.hidden_size, model.config.num_attention_heads
    if family.fused is not None:
        assert (family.query, family.key, family.value) == (None, None, None)
        assert layer.get_submodule(family.fused).weight.shape == (3 * width, width)
        return
    shapes = [layer.get_submodule(path).weight.shape for path in (family.query, family.key, family.value)]
    narrow = width
    if family.key_value_heads is not None:
        narrow = width // heads * getattr(model.config, family.key_value_heads)
    assert shapes == [(width, width), (narrow, width), (narrow, width)]


@pytest.mark.parametrize("name", TINY)
def test_embeddings_and_head_are_where_the_table_says(name):
    model = tiny(name)
    family, encoder = family_of(model), encoder_of(model)
    words = encoder.get_submodule(family.word_embeddings)
    assert words is model.get_input_embeddings()
    assert words in encoder.get_submodule(family.embeddings).modules()
    names = {name: tensor for name, tensor in model.named_parameters(remove_duplicate=False)}
    head = {name for name in names if not name.startswith(f"{model.base_model_prefix}.")}
    of_table = [name for name in family.masked_lm_rows if name in names]
    assert set(of_table) == {name for name in head if VOCABULARY in names[name].shape}
    assert all(names[name].shape[0] == VOCABULARY for name in of_table)


@pytest.mark.parametrize("name", [name for name in TINY if name != "deberta-v2, newer head"])
def test_hidden_states_enter_the_head_where_the_table_says(name):
    model = tiny(name)
    entered = []
    encoder_of(model).register_forward_hook(lambda _module, _inputs, output: entered.append(output[0]))
    head = model.get_submodule(family_of(model).masked_lm_head)
    head.register_forward_pre_hook(lambda _module, inputs: entered.append(inputs[0]))
    model(input_ids=torch.tensor([[0, 7, 9, 2]]))
    assert len(entered) == 2
    assert entered[0] is entered[1]


@pytest.mark.parametrize("name", TINY)
def test_layers_are_counted_as_a_forward_passes_them(name):
    model = tiny(name)
    passed = []
    distinct = {id(layer_at(model, number)[0]): layer_at(model, number)[0] for number in range(1, depth_of(model) + 1)}
    for layer in distinct.values():
        layer.register_forward_hook(lambda module, *_: passed.append(module))
    model(input_ids=torch.tensor([[0, 7, 9, 2]]))
    assert len(passed) == depth_of(model)
    for number, layer in enumerate(passed, start=1):
        behind = sum(earlier is layer for earlier in passed[: number - 1])
        assert layer_at(model, number) == (layer, behind)


def test_layers_shared_by_several_passes():
    model = tiny("albert, two groups of two")
    assert (len(layers_of(model)), depth_of(model)) == (2, 8)
    second_of_first = layers_of(model)[0].albert_layers[1]
    first_of_second = layers_of(model)[1].albert_layers[0]
    assert layer_at(model, 4) == (second_of_first, 1)
    assert layer_at(model, 5) == (first_of_second, 0)
    assert isinstance(layer_at(tiny("albert"), 4)[0], nn.Module)
    assert layer_at(tiny("albert"), 4)[1] == 3


@pytest.mark.parametrize("number", [0, 5, -1])
def test_a_layer_that_is_not_there_is_refused(number):
    with pytest.raises(ValueError, match=f"layer {number} was asked for and the model has layers 1 to 4"):
        layer_at(tiny("distilbert"), number)


def test_a_family_that_is_not_in_the_table_is_refused_by_name():
    with pytest.raises(ValueError, match="'gpt2' is not in the table of families; known are afro-student, albert"):
        family_of(GPT2Model(GPT2Config(n_embd=32, n_layer=1, n_head=4, vocab_size=VOCABULARY)))
