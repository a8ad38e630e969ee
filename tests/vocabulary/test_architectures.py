"""Every stored tensor of a checkpoint is in the pruned one, whatever its class."""

from __future__ import annotations

import json
import logging

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from benchmarks.architectures import CLASSES, make
from benchmarks.tensors_table import compare, prune_both_ways
from hf_afro.pretrained import LostTensors, load_model
from hf_afro.pretrained.model_class import class_for, match_tensors, named_class
from hf_afro.pretrained.weights import read_header
from hf_afro.vocabulary import prune_checkpoint, prune_vocabulary
from hf_afro.vocabulary.verify import NotComparable

NOT_RUN = {"SiglipModel", "AltCLIPModel", "WhisperForConditionalGeneration"}


@pytest.mark.parametrize("name", [name for names in CLASSES.values() for name in names])
def test_as_many_tensors_come_out_as_go_in(name, tokenizer, keep, tmp_path):
    found = prune_both_ways(name, tokenizer, keep, tmp_path)
    assert found.wrong == ()
    assert found.stored == found.file_by_file == (found.stored if name in NOT_RUN else found.in_memory)
    assert (found.in_memory is None) == (name in NOT_RUN)
    for folder in tmp_path.iterdir():
        assert json.loads((folder / "config.json").read_text("utf-8"))["architectures"] == [name]


def saved(name, tokenizer, folder, **tensors):
    """Save a model of a class and a tokenizer, with other tensors beside its own."""
    make(name, len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if tensors:
        file = folder / "model.safetensors"
        save_file(load_file(file) | tensors, file, {"format": "pt"})
    return folder


def without_architectures(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    del config["architectures"]
    path.write_text(json.dumps(config), "utf-8")


POOLER = {
    "roberta.pooler.dense.weight": torch.randn(16, 16, generator=torch.Generator().manual_seed(1)),
    "roberta.pooler.dense.bias": torch.ones(16),
}


def test_a_pooler_beside_a_masked_lm_head_is_kept_or_said_to_be_lost(tokenizer, keep, tmp_path, caplog):
    """As in FacebookAI/xlm-roberta-base, whose class has no pooler."""
    source = saved("XLMRobertaForMaskedLM", tokenizer, tmp_path / "source", **POOLER)
    with pytest.raises(
        LostTensors, match=r"stores roberta.pooler.dense.bias, roberta.pooler.dense.weight, which XLMR"
    ):
        load_model(str(source), all_heads=True)
    with caplog.at_level(logging.INFO, "hf_afro"):
        load_model(str(source))
        prune_checkpoint(source, keep, tmp_path / "out")
    assert (
        "also stores roberta.pooler.dense.bias, roberta.pooler.dense.weight, which XLMRobertaForMaskedLM does"
        in caplog.text
    )
    assert "does not take roberta.pooler.dense.bias, roberta.pooler.dense.weight; copied as stored" in caplog.text
    assert compare(source, tmp_path / "out", keep) == (28, set())


def test_a_tensor_of_the_encoder_that_it_does_not_take_is_refused(tokenizer, tmp_path):
    beside = {"bert.encoder.layer.0.crossattention.self.query.weight": torch.zeros(16, 16)}
    source = saved("BertForMaskedLM", tokenizer, tmp_path / "source", **beside)
    with pytest.raises(ValueError, match=r"has bert.encoder.layer.0.crossattention.*, and its configuration has not"):
        load_model(str(source))


@pytest.mark.parametrize(
    "name",
    [
        *("BertForMaskedLM", "BertForPreTraining", "BertForSequenceClassification", "BertForTokenClassification"),
        *(
            "BertForNextSentencePrediction",
            "BertForQuestionAnswering",
            "XLMRobertaForMaskedLM",
            "DPRReader",
            "BertModel",
        ),
    ],
)
def test_a_class_that_is_not_named_is_found_by_its_tensors(name, tokenizer, keep, tmp_path):
    source = saved(name, tokenizer, tmp_path / "source")
    without_architectures(source)
    model = load_model(str(source), all_heads=True)
    assert type(model).__name__ == name
    prune_vocabulary(model, tokenizer, keep).save_pretrained(tmp_path / "in_memory")
    prune_checkpoint(source, keep, tmp_path / "file_by_file")
    for folder in ("in_memory", "file_by_file"):
        assert compare(source, tmp_path / folder, keep)[1] == set()


def test_where_several_classes_would_do_they_are_named(tokenizer, keep, tmp_path):
    source = saved("XLMRobertaForSequenceClassification", tokenizer, tmp_path / "source")
    without_architectures(source)
    file = source / "model.safetensors"
    tensors = {name: one for name, one in load_file(file).items() if not name.startswith("classifier.")}
    save_file(tensors | {"qa_outputs.weight": torch.zeros(2, 16)}, file, {"format": "pt"})
    assert (
        type(load_model(str(source), all_heads=True)) is hf.XLMRobertaForQuestionAnswering
    )  # the only one that could
    save_file(tensors | {"mystery.weight": torch.zeros(3, 16)}, file, {"format": "pt"})
    with pytest.raises(
        ValueError, match=r"loading it as XLMRobertaModel would lose weights \(mystery.weight\); no class of the"
    ):
        prune_checkpoint(source, keep, tmp_path / "out")
    one_label = hf.BertConfig(vocab_size=99, hidden_size=16, num_attention_heads=2, num_hidden_layers=1, num_labels=1)
    hf.BertForMultipleChoice(one_label).save_pretrained(tmp_path / "choice")
    stored = read_header(tmp_path / "choice" / "model.safetensors").tensors
    with pytest.raises(
        ValueError, match=r'"BertForMultipleChoice".* or "architectures": \["BertForSequenceClassifica'
    ):
        class_for(hf.BertConfig.from_pretrained(tmp_path / "choice", architectures=None), stored, "choice")


@pytest.mark.parametrize("name", ["Trainer", "AutoModel", "RobertaForMaskedLM", "BertPreTrained", "__doc__"])
def test_only_models_of_the_configuration_are_built(name):
    config = hf.BertConfig(architectures=[name])
    with pytest.raises(
        ValueError, match=f"config.json of here names the architecture '{name}', which transformers does"
    ):
        named_class(config, "here")


def test_a_model_that_needs_more_than_ids_says_so(tokenizer, keep, tmp_path):
    pruned = prune_vocabulary(make("SiglipModel", len(tokenizer)), tokenizer, keep)
    with pytest.raises(NotComparable, match=r"SiglipModel does not run on input_ids alone \(.*prune_checkpoint"):
        pruned.save_pretrained(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_of_other_versions_are_known(tokenizer, tmp_path):
    source = saved("AltCLIPModel", tokenizer, tmp_path / "source")
    model = make("AltCLIPModel", len(tokenizer))
    assert match_tensors(model, read_header(source / "model.safetensors").tensors).left_over == []
