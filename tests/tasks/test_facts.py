"""Facts of a model, counted by hand."""

from __future__ import annotations

import torch

from hf_afro.tasks.facts import model_facts, model_fingerprint
from hf_afro.tasks.heads import add_head


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
