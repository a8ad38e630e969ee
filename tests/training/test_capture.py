"""Captured vectors against those recomputed by hand, and where the forward of teacher and student ends."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    ModernBertConfig,
    ModernBertModel,
    XLMRobertaForMaskedLM,
    XLMRobertaModel,
)

from hf_afro.training.capture import RELATIONS, StudentCapture, TeacherCapture
from tests.conftest import tiny_config

BERT = BertConfig(vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
MODELS = {
    "xlm-roberta with a head": lambda: XLMRobertaForMaskedLM(tiny_config(100)),
    "xlm-roberta encoder": lambda: XLMRobertaModel(tiny_config(100)),
    "bert with a head": lambda: BertForMaskedLM(BERT),
    "bert encoder": lambda: BertModel(BERT),
}


@pytest.fixture
def inputs():
    input_ids = torch.randint(4, 100, (2, 9), generator=torch.Generator().manual_seed(1))
    attention_mask = torch.ones_like(input_ids)
    attention_mask[1, 5:] = 0
    return {"input_ids": input_ids, "attention_mask": attention_mask}


def by_hand(model, layer, inputs):
    """The projections of the hidden states that go into a layer."""
    encoder = model.base_model
    hidden = encoder(**inputs, output_hidden_states=True).hidden_states[layer - 1]
    attention = encoder.encoder.layer[layer - 1].attention.self
    return {name: hidden @ getattr(attention, name).weight.T + getattr(attention, name).bias for name in RELATIONS}


@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_teacher_vectors_are_those_recomputed_by_hand(name, layer, inputs):
    model = MODELS[name]().eval()
    expected = by_hand(model, layer, inputs)
    vectors = TeacherCapture(model, layer)(**inputs)
    assert set(vectors) == set(RELATIONS)
    for relation in RELATIONS:
        assert torch.allclose(vectors[relation], expected[relation], atol=1e-6)
        assert not vectors[relation].requires_grad


@pytest.mark.parametrize("name", MODELS)
def test_nothing_above_the_taught_layer_is_computed(name, inputs):
    model = MODELS[name]().eval()
    ran = []
    for path, module in model.named_modules():
        module.register_forward_hook(lambda *_, path=path: ran.append(path))
    TeacherCapture(model, 1)(**inputs)
    assert any(path.endswith("layer.0.attention.self.value") for path in ran)
    assert not any("layer.1" in path or "pooler" in path or "lm_head" in path or "cls" in path for path in ran)
    assert not any(path.endswith(("layer.0.attention.self", "layer.0.attention.output.dense")) for path in ran)


def test_teacher_stays_in_eval_mode_and_works_as_before(inputs):
    model = XLMRobertaForMaskedLM(tiny_config(100, hidden_dropout_prob=0.5)).train()
    capture = TeacherCapture(model, 2)
    first, second = capture(**inputs), capture(**inputs)
    assert torch.equal(first["query"], second["query"])
    assert model(**inputs).logits.shape == (2, 9, 100)


@pytest.mark.parametrize("name", MODELS)
def test_student_returns_its_vectors_with_their_graph(name, inputs):
    model = MODELS[name]().train(False)
    expected = by_hand(model, 2, inputs)
    capture = StudentCapture(model, 2)
    vectors = capture(model, **inputs)
    for relation in RELATIONS:
        assert torch.allclose(vectors[relation], expected[relation], atol=1e-6)
    sum(vector.square().sum() for vector in vectors.values()).backward()
    assert model.base_model.encoder.layer[0].output.dense.weight.grad.abs().sum() > 0
    assert model.base_model.encoder.layer[1].output.dense.weight.grad is None
    # Closed again, the model returns what it always did.
    assert not isinstance(model(**inputs), dict) or "query" not in model(**inputs)
    assert capture.vectors == {}


def test_a_layer_that_is_not_there_is_refused():
    model = XLMRobertaModel(tiny_config(100))
    for layer in (0, 3):
        with pytest.raises(ValueError, match=f"layer {layer} was asked for and the model has layers 1 to 2"):
            TeacherCapture(model, layer)


def test_a_family_with_one_projection_for_all_three_is_refused():
    ids = dict.fromkeys(("pad_token_id", "bos_token_id", "cls_token_id", "eos_token_id", "sep_token_id"), 0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    model = ModernBertModel(ModernBertConfig(vocab_size=100, **sizes, **ids))
    with pytest.raises(ValueError, match="modernbert has fused, shared or grouped projections"):
        TeacherCapture(model, 1)
