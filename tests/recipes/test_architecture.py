"""Sizes by arithmetic are those of the models themselves."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    XLMRobertaConfig,
)

from hf_afro.recipes import load_recipe
from hf_afro.recipes.architecture import Architecture
from hf_afro.recipes.plan import plan_recipe
from hf_afro.recipes.schema import RecipeError
from hf_afro.students import AfroStudentConfig, build_student
from tests.conftest import tiny_config

BASE = Architecture(250_002, 768, 12, 12, 3072)


@pytest.mark.parametrize("embedding_size", [None, 8, 32])
def test_parameters_are_counted_right(embedding_size):
    sizes = tiny_config(100).to_dict()
    config = AfroStudentConfig(**{**sizes, "model_type": "afro-student", "embedding_size": embedding_size})
    if embedding_size is None:
        config = tiny_config(100)
    with torch.device("meta"):
        model = AutoModelForMaskedLM.from_config(config)
    assert Architecture.of_config(config).parameters == model.num_parameters()


def test_xlm_roberta_base_has_the_parameters_known_of_it():
    config = XLMRobertaConfig(vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1)
    with torch.device("meta"):
        model = AutoModelForMaskedLM.from_config(config)
    assert BASE.parameters == Architecture.of_config(config).parameters == model.num_parameters() == 278_295_186


def teacher(kind, **settings):
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    config = kind(**{"vocab_size": 100, "max_position_embeddings": 40, **sizes, **settings})
    torch.manual_seed(0)
    return AutoModelForMaskedLM.from_config(config)


@pytest.mark.parametrize("embedding_size", [None, 8])
@pytest.mark.parametrize(
    ("kind", "settings", "longest"),
    [
        (XLMRobertaConfig, {"type_vocab_size": 1}, 38),
        (RobertaConfig, {"type_vocab_size": 2, "pad_token_id": 3}, 36),
        (BertConfig, {}, 40),
        (BertConfig, {"type_vocab_size": 1, "pad_token_id": 1}, 40),
    ],
)
def test_a_student_has_the_parameters_planned(kind, settings, longest, embedding_size):
    model = teacher(kind, **settings)
    planned = Architecture.of_config(model.config)
    assert (planned.parameters, planned.longest_text) == (model.num_parameters(), longest)
    sizes = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "embedding_size": embedding_size}
    vocabulary = Tokenizer(models.WordLevel({str(index): index for index in range(5)}, unk_token="4"))
    tokens = PreTrainedTokenizerFast(tokenizer_object=vocabulary, pad_token=str(planned.pad_token_id))
    student = build_student(model, tokenizer=tokens, **sizes, intermediate_size=64)
    assert planned.student(**sizes, intermediate_size=64).parameters == student.num_parameters()


def test_the_plan_of_quickstart_is_what_is_built():
    plans = plan_recipe(load_recipe("quickstart"))
    planned = plans["teacher"].architecture
    config = XLMRobertaConfig(
        vocab_size=planned.vocab_size,
        hidden_size=96,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=384,
        max_position_embeddings=66,
        type_vocab_size=1,
    )
    model = AutoModelForMaskedLM.from_config(config)
    assert plans["teacher"].parameters == model.num_parameters()
    student = build_student(model, num_hidden_layers=2, hidden_size=64, num_attention_heads=4, embedding_size=32)
    assert plans["distill"].architecture.with_(vocab_size=4600).parameters == student.num_parameters()


def test_the_plan_of_a_model_in_a_folder_is_what_it_has(tmp_path, tokenizer):
    model = teacher(BertConfig)
    model.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    recipe = "name: r\ncorpora: {text: sample}\nbase: {model: %s}\nmaft: {max_steps: 1, max_length: %d}\n"
    for length, fits in ((40, True), (41, False)):
        (tmp_path / "r.yaml").write_text(recipe % (tmp_path / "m", length), "utf-8")
        if fits:
            assert plan_recipe(load_recipe(str(tmp_path / "r.yaml")))["maft"].parameters == model.num_parameters()
        else:
            with pytest.raises(RecipeError, match="max_length is 41; the model takes 40 tokens"):
                plan_recipe(load_recipe(str(tmp_path / "r.yaml")))


def test_a_student_is_planned_with_the_padding_id_of_its_tokenizer(tmp_path, tokenizer):
    model = teacher(BertConfig, vocab_size=len(tokenizer))
    assert model.config.pad_token_id == 0
    assert tokenizer.pad_token_id == 1
    model.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    distill = "{max_steps: 1, max_length: 16, num_hidden_layers: 1, hidden_size: 8, num_attention_heads: 2}"
    recipe = f"name: r\ncorpora: {{text: sample}}\nbase: {{model: {tmp_path / 'm'}}}\ndistill: {distill}\n"
    (tmp_path / "r.yaml").write_text(recipe, "utf-8")
    student = build_student(model, tokenizer=tokenizer, num_hidden_layers=1, hidden_size=8, num_attention_heads=2)
    planned = plan_recipe(load_recipe(str(tmp_path / "r.yaml")))["distill"].parameters
    assert planned == student.num_parameters()


def test_heads_have_to_divide_the_width():
    with pytest.raises(ValueError, match="hidden_size 768 is not a multiple of num_attention_heads 7"):
        BASE.with_(num_attention_heads=7)
