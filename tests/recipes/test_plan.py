"""Planned sizes are those of the models that are built."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    ModernBertConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    XLMRobertaConfig,
)

from hf_afro.recipes import RecipeError, load_recipe
from hf_afro.recipes.runner import plan_recipe
from hf_afro.steps.plans import parameters_of, positions_of_config
from hf_afro.students import build_student
from hf_afro.students.building import keep_layers


def planned(folder, *stages: str):
    """Return the plans of a recipe of some stages on the text that ships."""
    (folder / "r.yaml").write_text("\n".join(["name: r", "prepare: {text: sample}", *stages]), "utf-8")
    return plan_recipe(load_recipe(str(folder / "r.yaml")))


def declared(**sizes) -> str:
    architecture = ", ".join(f"{name}: {size}" for name, size in sizes.items())
    return f"base: {{model: me/teacher, architecture: {{{architecture}}}}}"


def teacher(kind, **settings):
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    config = kind(**{"vocab_size": 100, "max_position_embeddings": 40, **sizes, **settings})
    torch.manual_seed(0)
    return AutoModelForMaskedLM.from_config(config)


def test_a_student_distilled_on_a_task_has_the_parameters_planned(tmp_path, tokenizer):
    model = teacher(XLMRobertaConfig, vocab_size=len(tokenizer), num_hidden_layers=3, type_vocab_size=1)
    model.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    tasks = "tasks: {data: {topic: sample}, languages: {topic: swa}}"
    evaluate = "evaluate: {teacher: base, student_layers: 2, seeds: [1, 2]}"
    plan = planned(tmp_path, f"base: {{model: {tmp_path}/m}}", tasks, evaluate)["evaluate"]
    student = keep_layers(model, 2)
    assert plan.parameters == student.base_model.num_parameters()
    assert plan.vocabulary == len(tokenizer)
    assert plan.note == "3 models, the student has 2 layers, 1 set, 2 seeds: 6 runs"


def test_the_recipe_of_task_distillation_shows_the_size_of_its_student():
    plan = plan_recipe(load_recipe("task-distil"))["evaluate"]
    width, inner, positions = 384, 1536, 512
    layer = 4 * (width * width + width) + 2 * width * inner + inner + width + 2 * 2 * width
    embeddings = (30_000 + positions + 2) * width + 2 * width
    assert (plan.vocabulary, plan.parameters) == (30_000, embeddings + 6 * layer)


def test_xlm_roberta_base_has_the_parameters_known_of_it():
    plans = plan_recipe(load_recipe("afroxlmr-small"))
    assert (plans["base"].vocabulary, plans["base"].parameters) == (250_002, 278_295_186)
    assert plans["prune"].parameters == 278_295_186 - 180_002 * 769


def test_a_student_without_heads_gets_those_of_build_student(tmp_path):
    """MiniLM compares head by head: the student of a teacher of 8 heads has 8, at half the width."""
    base = declared(
        model_type="xlm-roberta",
        vocab_size=300,
        hidden_size=1024,
        num_hidden_layers=2,
        num_attention_heads=8,
        intermediate_size=64,
        max_position_embeddings=514,
    )
    distill = "distill: {student: {layers: 1, hidden_size: 512}, objective: minilm, max_steps: 1}"
    plan = planned(tmp_path, base, distill)["distill"]
    assert plan.model.num_attention_heads == 8
    assert plan.parameters == parameters_of(plan.model)
    with pytest.raises(RecipeError, match="line 4: distill: the student has 4 attention heads; .* so give heads=8"):
        planned(tmp_path, base, distill.replace("512}", "512, heads: 4}"))


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
def test_a_student_has_the_parameters_planned(kind, settings, longest, embedding_size, tmp_path):
    model = teacher(kind, **settings)
    assert (parameters_of(model.config), positions_of_config(model.config)) == (model.num_parameters(), longest)
    vocabulary = Tokenizer(models.WordLevel({str(index): index for index in range(5)}, unk_token="4"))
    tokens = PreTrainedTokenizerFast(tokenizer_object=vocabulary, pad_token=str(model.config.pad_token_id))
    sizes = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "embedding_size": embedding_size}
    student = build_student(model, tokenizer=tokens, **sizes, intermediate_size=64)
    model.save_pretrained(tmp_path / "m")
    tokens.save_pretrained(tmp_path / "m")
    factorised = "" if embedding_size is None else f", embedding_size: {embedding_size}"
    student_sizes = f"{{layers: 1, hidden_size: 16, heads: 2, intermediate_size: 64{factorised}}}"
    stages = (f"base: {{model: {tmp_path}/m}}", f"distill: {{student: {student_sizes}, max_steps: 1, max_length: 16}}")
    assert planned(tmp_path, *stages)["distill"].parameters == student.num_parameters()


def test_the_plan_of_quickstart_is_what_is_built():
    plans = plan_recipe(load_recipe("quickstart"))
    model = AutoModelForMaskedLM.from_config(plans["pretrain"].model)
    assert plans["pretrain"].parameters == model.num_parameters()
    student = build_student(model, num_hidden_layers=2, hidden_size=64, num_attention_heads=4, embedding_size=32)
    config = plans["distill"].model
    config.vocab_size = 4600
    assert parameters_of(config) == student.num_parameters()


def test_the_plan_of_a_model_in_a_folder_is_what_it_has(tmp_path, tokenizer):
    model = teacher(BertConfig, vocab_size=len(tokenizer))
    model.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    base, maft = f"base: {{model: {tmp_path}/m}}", "maft: {max_steps: 1, max_length: %d}"
    assert planned(tmp_path, base, maft % 40)["maft"].parameters == model.num_parameters()
    with pytest.raises(RecipeError, match="max_length is 41; the model takes 40 tokens"):
        planned(tmp_path, base, maft % 41)


def test_a_student_is_planned_with_the_padding_id_of_its_tokenizer(tmp_path, tokenizer):
    model = teacher(BertConfig, vocab_size=len(tokenizer))
    assert model.config.pad_token_id == 0
    assert tokenizer.pad_token_id == 1
    model.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    distill = "distill: {max_steps: 1, max_length: 16, student: {layers: 1, hidden_size: 8, heads: 2}}"
    student = build_student(model, tokenizer=tokenizer, num_hidden_layers=1, hidden_size=8, num_attention_heads=2)
    plan = planned(tmp_path, f"base: {{model: {tmp_path}/m}}", distill)["distill"]
    assert plan.parameters == student.num_parameters()


def test_a_student_of_modernbert_has_the_parameters_planned(tmp_path, tokenizer):
    """Its first layer has one norm less than the others."""
    model = teacher(ModernBertConfig, vocab_size=len(tokenizer), num_hidden_layers=4, pad_token_id=0)
    model.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    base, distill = f"base: {{model: {tmp_path}/m}}", "distill: {max_steps: 1, max_length: 16, student: {layers: 2%s}}"
    student = build_student(model, tokenizer=tokenizer, num_hidden_layers=2)
    plan = planned(tmp_path, base, distill % "")["distill"]
    assert plan.parameters == student.num_parameters()
    assert plan.model.layer_types == student.config.layer_types
    assert plan.model.pad_token_id == student.config.pad_token_id == 1
    with pytest.raises(RecipeError, match="line 4: distill: .* was given hidden_size=16; leave that out"):
        planned(tmp_path, base, distill % ", hidden_size: 16")


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("pretrain: {hidden_size: 768, num_attention_heads: 7}", "hidden_size 768 is not a multiple of num_attention"),
        (declared(hidden_size=8), "architecture has no model_type"),
        (declared(model_type="xlm-robertaa"), "xlm-robertaa"),
    ],
)
def test_impossible_sizes_are_refused(tmp_path, stage, message):
    with pytest.raises(RecipeError, match=message):
        planned(tmp_path, stage)
