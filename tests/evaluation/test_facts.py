"""Facts of a model, counted by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM, BertConfig, RobertaConfig

from hf_afro.evaluation.facts import model_facts, model_fingerprint
from hf_afro.evaluation.heads import add_head


def test_tied_weights_are_counted_once(model, tmp_path):
    facts = model_facts(model)
    width, rows = 32, model.config.vocab_size
    assert facts["embedding_parameters"] == rows * width
    head = width * width + 3 * width + rows  # dense with its bias, the norm, and the bias of the decoder
    assert facts["parameters"] == facts["encoder_parameters"] + head
    assert facts["bytes_on_disk"] == 4 * facts["parameters"]
    assert (facts["layers"], facts["hidden_size"], facts["vocab_size"]) == (2, width, rows)
    model.save_pretrained(tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    assert model_facts(model, tmp_path)["bytes_on_disk"] == file.stat().st_size


def test_the_fingerprint_is_of_the_encoder(model):
    before = model_fingerprint(model)
    assert model_fingerprint(add_head(model, "ner", ("O", "B-PER"), seed=1)) == before
    with torch.no_grad():
        model.lm_head.bias += 1
        assert model_fingerprint(model) == before
        model.get_input_embeddings().weight[5, 0] += 1
    assert model_fingerprint(model) != before


@pytest.mark.parametrize("change", [{"layer_norm_eps": 1e-3}, {"hidden_dropout_prob": 0.3}, {"pad_token_id": 0}])
def test_the_fingerprint_is_of_the_configuration_too(model, change):
    other = copy.deepcopy(model)
    other.config.update(change)
    assert model_fingerprint(other) != model_fingerprint(model)


def test_the_fingerprint_does_not_depend_on_place_or_head(model, tmp_path):
    model.save_pretrained(tmp_path / "whole")
    add_head(model, "topic", ("a", "b"), seed=1).save_pretrained(tmp_path / "head")
    for kind, name in ((AutoModelForMaskedLM, "whole"), (AutoModel, "head")):
        loaded = kind.from_pretrained(tmp_path / name, dtype=torch.float32)
        assert model_fingerprint(loaded) == model_fingerprint(model)


SIZES = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


@pytest.mark.parametrize(("config", "counts"), [(BertConfig(**SIZES), True), (RobertaConfig(**SIZES), False)])
def test_a_pooler_counts_where_a_head_stands_on_it(config, counts):
    model = AutoModel.from_config(config)
    before = model_fingerprint(model)
    with torch.no_grad():
        model.pooler.dense.bias += 1
    assert (model_fingerprint(model) != before) == counts
