"""Heads, loading, saving, and the facts and fingerprint of a model."""

from __future__ import annotations

import copy
import json

import peft
import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    RobertaConfig,
    pipeline,
)

from hf_afro.evaluation.encoding import encode_words
from hf_afro.evaluation.finetuning import finetune
from hf_afro.evaluation.models import (
    add_head,
    load_encoder,
    model_facts,
    model_fingerprint,
    save_finetuned,
    with_own_pooler,
)
from hf_afro.export import export_sentence_transformer
from hf_afro.pretrained import load_model
from hf_afro.recipes import load_recipe, run_recipe
from hf_afro.students import AfroStudentForMaskedLM
from tests.conftest import tiny_config
from tests.students.conftest import student_config

LABELS = ("O", "B-PER", "I-PER")


def encoders(size: int):
    yield AutoModelForMaskedLM.from_config(tiny_config(size))
    yield AutoModel.from_config(tiny_config(size))
    yield AfroStudentForMaskedLM(student_config(size))
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    yield BertForMaskedLM(BertConfig(vocab_size=size, **sizes))


@pytest.mark.parametrize("task", ["ner", "topic"])
def test_the_encoder_is_a_copy_and_the_head_is_new(task):
    for model in encoders(120):
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        classifier = add_head(model, task, LABELS, seed=1)
        assert classifier.config.id2label == dict(enumerate(LABELS))
        own, given = classifier.base_model.state_dict(), model.base_model.state_dict()
        shared = [name for name in own if name in given]
        assert len(shared) >= len(own) - 2
        assert all(torch.equal(own[name], given[name]) for name in shared)
        assert all(own[name].data_ptr() != given[name].data_ptr() for name in shared)
        assert model.config.id2label != classifier.config.id2label
        assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.fixture
def bert(tokenizer, tmp_path) -> BertForPreTraining:
    """In `tmp_path`, as mBERT is published: with a pooler, though the architecture names only the masked-LM head."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    model = BertForPreTraining(BertConfig(vocab_size=len(tokenizer), pad_token_id=1, **sizes))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    named(tmp_path, "BertForMaskedLM")
    return model


def named(folder, architecture: str) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "architectures": [architecture]}))


def by_name(folder):
    return load_encoder(folder, None)[0]


def by_command(folder):
    return with_own_pooler(load_model(str(folder), dtype=torch.float32), str(folder))


def by_recipe(folder):
    """From the folder of links that a stage `base` leaves."""
    (folder / "one.yaml").write_text(f"name: one\nbase:\n  model: {folder}\n", encoding="utf-8")
    (base,) = run_recipe(load_recipe(str(folder / "one.yaml")), folder / "run")
    return by_command(base.folder)


@pytest.mark.parametrize("load", [by_name, by_command, by_recipe])
def test_a_pooler_that_was_pretrained_is_used(bert, tmp_path, load):
    encoder = load(tmp_path)
    assert type(encoder) is BertForMaskedLM
    classifier = add_head(encoder, "topic", LABELS, seed=1)
    assert torch.equal(classifier.bert.pooler.dense.weight, bert.bert.pooler.dense.weight)
    assert add_head(encoder, "ner", LABELS, seed=1).bert.pooler is None


@pytest.mark.parametrize("architecture", ["BertForMaskedLM", "BertModel"])
@pytest.mark.parametrize("load", [by_name, by_command, by_recipe])
def test_a_pooler_that_was_not_saved_is_of_the_head(bert, tmp_path, load, architecture):
    BertForMaskedLM(bert.config).save_pretrained(tmp_path)
    named(tmp_path, architecture)
    first, again = load(tmp_path), load(tmp_path)
    assert model_fingerprint(first) == model_fingerprint(again)
    heads = [add_head(one, "topic", LABELS, seed=1).bert.pooler.dense.weight for one in (first, again)]
    assert torch.equal(*heads)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft reads it
def test_an_adapter_beside_a_model_is_refused(model, tokenizer, tmp_path):
    """By default transformers applies it, even to a model that it may have been merged into."""
    peft.get_peft_model(copy.deepcopy(model), peft.LoraConfig(r=2, target_modules=["query"])).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds a PEFT adapter and no model"):
        load_encoder(tmp_path, tokenizer)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    for folder in (tmp_path, str(tmp_path)):
        with pytest.raises(ValueError, match="holds a model and a PEFT adapter beside it"):
            load_encoder(folder, None)


def test_the_head_is_a_function_of_the_seed():
    model = next(encoders(120))
    first, again, other = (add_head(model, "ner", LABELS, seed).classifier.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_half_precision_weights_are_trained_in_full():
    model = next(encoders(120)).half()
    classifier = add_head(model, "ner", LABELS, seed=1)
    assert {tensor.dtype for tensor in classifier.parameters()} == {torch.float32}


def test_an_encoder_with_weights_of_its_own_is_refused():
    model = next(encoders(120))
    model.base_model.extra = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"differ in extra.weight, extra.bias; merge adapters into the model"):
        add_head(model, "ner", LABELS, seed=1)


@pytest.mark.parametrize("embedding_size", [8, None], ids=["factorised", "plain"])
def test_a_fine_tuned_student_works_in_a_pipeline(tokenizer, ner, quick, tmp_path, embedding_size):
    torch.manual_seed(0)
    student = AfroStudentForMaskedLM(student_config(len(tokenizer), embedding_size=embedding_size))
    tuned = finetune(student, tokenizer, ner, quick, seed=1)
    folder = save_finetuned(tuned.model, tuned.tokenizer, tmp_path / "tagger")
    tagger = pipeline("token-classification", str(folder))
    words = "Amina aliondoka Kano jana".split()
    (row,) = encode_words([words], [[0] * len(words)], tokenizer, 32)
    found = {piece["index"]: piece["entity"] for piece in tagger(" ".join(words))}
    assert [found.get(place, "O") for place in row["positions"].tolist()] == ["B-PER", "O", "B-LOC", "O"]


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


def test_an_embedder_tells_its_prompts(model, tokenizer, tmp_path):
    pytest.importorskip("sentence_transformers")
    export_sentence_transformer(model, tokenizer, tmp_path)
    assert model_facts(model.base_model, tmp_path)["library"] == "sentence-transformers"
    assert "prompts" not in model_facts(model.base_model, tmp_path)
    path = tmp_path / "config_sentence_transformers.json"
    told = {"prompts": {"query": "query: ", "document": ""}, "default_prompt_name": "query"}
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **told}), "utf-8")
    facts = model_facts(model.base_model, tmp_path)
    assert (facts["prompts"], facts["default_prompt"]) == ({"query": "query: "}, "query: ")
