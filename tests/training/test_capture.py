"""Captured vectors against those worked out by hand, in every family, and where teacher and student end."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertModel

from hf_afro.families import FAMILIES, depth_of, family_of, layer_at
from hf_afro.training.capture import (
    HIDDEN,
    RELATIONS,
    StudentCapture,
    TeacherCapture,
    parameters_without_part,
    vector_width,
)
from tests.tiny_families import TINY, tiny
from tests.training.by_hand import by_hand

ATTENTIONS = ("eager", "sdpa")


@pytest.fixture
def inputs():
    input_ids = torch.randint(4, 100, (2, 12), generator=torch.Generator().manual_seed(1))
    attention_mask = torch.ones_like(input_ids)
    attention_mask[1, 7:] = 0
    return {"input_ids": input_ids, "attention_mask": attention_mask}


def assert_same(found, expected):
    assert set(found) == set(RELATIONS)
    for relation in RELATIONS:
        assert torch.allclose(found[relation], expected[relation], atol=2e-6), relation


@pytest.mark.parametrize("name", TINY)
def test_teacher_vectors_are_those_worked_out_by_hand(name, inputs):
    model = tiny(name)
    expected = {layer: by_hand(model, layer, inputs) for layer in range(1, depth_of(model) + 1)}
    for layers in ([1], [3], list(expected)):
        vectors = TeacherCapture(model, layers)(**inputs)
        assert list(vectors) == layers
        for layer in layers:
            assert_same(vectors[layer], expected[layer])
            assert all(vector.shape[-1] == vector_width(model) for vector in vectors[layer].values())
            assert not any(vector.requires_grad for vector in vectors[layer].values())
    # The layers differ, so that one taken for another would show.
    assert not torch.allclose(expected[1]["query"], expected[3]["query"], atol=1e-2)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("name", ["bert", "albert", "modernbert", "eurobert, grouped", "afro-student"])
def test_vectors_do_not_depend_on_the_attention_implementation(name, attention, inputs):
    model = tiny(name)
    expected = TeacherCapture(model, [3])(**inputs)[3]
    model.set_attn_implementation(attention)
    real = inputs["attention_mask"].bool()
    found = TeacherCapture(model, [3])(**inputs)[3]
    assert all(torch.allclose(found[one][real], expected[one][real], atol=1e-5) for one in RELATIONS)


@pytest.mark.parametrize("name", TINY)
def test_nothing_above_the_taught_layer_is_computed(name, inputs):
    model = tiny(name)
    family = family_of(model)
    ran = []
    for module in model.modules():
        module.register_forward_hook(lambda module, *_: ran.append(module))
    TeacherCapture(model, [2])(**inputs)
    second, turn = layer_at(model, 2)
    projections = {second.get_submodule(getattr(family, one)) for one in RELATIONS if family.fused is None}
    projections = projections or {second.get_submodule(family.fused)}
    assert ran[-1] in projections
    for projection in projections:
        assert ran.count(projection) == turn + 1
    first, _ = layer_at(model, 1)
    assert ran.count(first) == 1  # of ALBERT's one layer the second pass is begun and never ended
    if turn == 0:
        assert second not in ran
    assert model not in ran
    assert model.base_model not in ran


def test_teacher_stays_in_eval_mode_and_works_as_before(inputs):
    model = tiny("xlm-roberta", hidden_dropout_prob=0.5).train()
    capture = TeacherCapture(model, [2])
    first, second = capture(**inputs), capture(**inputs)
    assert torch.equal(first[2]["query"], second[2]["query"])
    assert model(**inputs).logits.shape == (2, 12, 100)


@pytest.mark.parametrize("name", ["bert", "albert", "modernbert", "deberta-v2, keys shared with positions"])
def test_teacher_that_runs_to_its_end_gives_both(name, inputs):
    model = tiny(name)
    depth = depth_of(model)
    vectors = TeacherCapture(model, [1, 3], [depth])(**inputs)
    assert torch.equal(vectors.pop(depth)[HIDDEN], model.base_model(**inputs)[0])
    for layer in (1, 3):
        assert_same(vectors[layer], by_hand(model, layer, inputs))


@pytest.mark.parametrize("name", TINY)
def test_hidden_states_are_what_layers_and_encoder_return(name, inputs):
    model = tiny(name)
    depth, real = depth_of(model), inputs["attention_mask"].bool()
    states = list(model.base_model(**inputs, output_hidden_states=True).hidden_states)
    states[depth] = model.base_model(**inputs)[0]  # after the final norm of a pre-norm family
    assert not torch.allclose(states[1][real], states[2][real], atol=1e-4)
    projection = torch.nn.Linear(32, 8)
    found = [
        TeacherCapture(model, [2], [1, 2, depth])(**inputs),
        StudentCapture(model, [2], [1, 2, depth])(model, **inputs)["vectors"],
    ]
    projected = StudentCapture(model, [], [1, 2, depth], projection)(model, **inputs)["vectors"]
    for layer in (1, 2, depth):
        for vectors in found:
            assert torch.allclose(vectors[layer][HIDDEN][real], states[layer][real], atol=2e-6)
        assert torch.allclose(projected[layer][HIDDEN][real], projection(states[layer])[real], atol=2e-6)
    assert set(found[0][2]) == {*RELATIONS, HIDDEN}
    assert set(projected[2]) == {HIDDEN}


@pytest.mark.parametrize("name", ["bert", "albert", "modernbert"])
def test_the_teacher_ends_with_the_hidden_states_of_an_inner_layer(name, inputs):
    model = tiny(name)
    ran = []
    for module in model.modules():
        module.register_forward_hook(lambda module, *_: ran.append(module))
    TeacherCapture(model, [2], [2])(**inputs)
    second, turn = layer_at(model, 2)
    assert ran.count(second) == turn + 1
    assert ran[-1] is second
    assert model.base_model not in ran


CHECKPOINTED = ("xlm-roberta", "distilbert", "deberta-v2, keys shared with positions", "modernbert", "afro-student")


@pytest.mark.parametrize(("name", "checkpointing"), [(n, False) for n in TINY] + [(n, True) for n in CHECKPOINTED])
def test_student_returns_its_vectors_with_their_graph(name, checkpointing, inputs):
    model = tiny(name).train()
    if checkpointing:
        model.activation_checkpointing_enable()
    layers = [2, depth_of(model)]
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def gradients(vectors):
        total = sum(vectors[layer][one].square().sum() for layer in layers for one in RELATIONS)
        return torch.autograd.grad(total, weights, allow_unused=True)

    expected = {layer: by_hand(model, layer, inputs) for layer in layers}
    capture = StudentCapture(model, layers)
    found = capture(model, **inputs)["vectors"]
    for layer in layers:
        assert_same(found[layer], expected[layer])
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    for name, mine, theirs in zip(names, gradients(found), gradients(expected), strict=True):
        assert (mine is None) == (theirs is None), name
        assert mine is None or (mine - theirs).norm() <= 1e-4 * theirs.norm() + 1e-5, name
    # Closed again, the model returns what it always did.
    assert model(**inputs).logits.shape == (2, 12, 100)
    assert capture.vectors == {}


@pytest.mark.parametrize("name", ["xlm-roberta", "albert", "modernbert", "distilbert"])
def test_parameters_that_take_no_part_are_those_without_a_gradient(name, inputs):
    model = tiny(name).train()
    vectors = StudentCapture(model, [4])(model, **inputs)["vectors"]
    idle = parameters_without_part(model, vectors)
    sum(vector.sum() for vector in vectors[4].values()).backward()
    assert idle == {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert any("head" in name or "predictions" in name or "vocab_" in name for name in idle)


@pytest.mark.parametrize("name", ["albert", "modernbert"])
def test_under_the_compiler(name, inputs):
    model = tiny(name).train()
    capture = StudentCapture(model, [3])
    expected = capture(model, **inputs)["vectors"][3]
    compiled = torch.compile(model, backend="aot_eager")
    for _ in range(2):
        found = capture(compiled, **inputs)["vectors"][3]
        assert all(torch.allclose(found[one], expected[one], atol=1e-5) for one in RELATIONS)
    found["query"].sum().backward()
    assert model.get_input_embeddings().weight.grad.abs().sum() > 0


def test_under_autocast_vectors_are_bf16(inputs):
    model = tiny("modernbert")
    with torch.autocast("cpu", torch.bfloat16):
        vectors = TeacherCapture(model, [2])(**inputs)[2]
    assert {vector.dtype for vector in vectors.values()} == {torch.bfloat16}


def test_layers_that_are_not_there_are_refused():
    model = tiny("xlm-roberta")
    for layer in (0, 5):
        with pytest.raises(ValueError, match=f"layer {layer} was asked for and the model has layers 1 to 4"):
            TeacherCapture(model, [1, layer])
    with pytest.raises(ValueError, match="no layer was given"):
        TeacherCapture(model, [])


def test_hooks_come_off(inputs):
    model = tiny("bert")
    captures = [TeacherCapture(model, [1]), StudentCapture(model, [2])]
    for capture in captures:
        capture.remove()
    assert not any(module._forward_hooks for module in model.modules())


def test_every_family_is_tried():
    assert {TINY[name]().config.model_type for name in TINY} == set(FAMILIES)
    assert vector_width(BertModel(BertConfig(hidden_size=48, num_hidden_layers=1, num_attention_heads=4))) == 48
