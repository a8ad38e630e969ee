"""Behaviour of both trainers: progress, permissions, the metric for the best model, the record of the head."""

from __future__ import annotations

import copy
import logging
import os
import stat

import peft
import pytest
import torch
from transformers import AutoConfig

from hf_afro import progress_log
from tests.texts import SENTENCES
from tests.training.tiny_trainers import (
    HYBRID,
    distill_trainer,
    maft_trainer,
    student_of,
    teacher_of,
    text_datasets,
)


def first(model, tokenizer, output_dir, **settings):
    return maft_trainer(copy.deepcopy(model), tokenizer, output_dir, **settings)


def second(model, tokenizer, output_dir, **settings):
    return distill_trainer(teacher_of(tokenizer), tokenizer, output_dir, **settings)


TRAINERS = pytest.mark.parametrize(
    ("trainer_of", "name"), [(first, "MAFT"), (second, "distillation")], ids=["maft", "distill"]
)


@TRAINERS
def test_a_resumed_run_logs_its_own_steps(model, tokenizer, tmp_path, trainer_of, name, monkeypatch, caplog):
    saving = {"save_strategy": "steps", "save_steps": 2}
    trainer_of(model, tokenizer, tmp_path, max_steps=2, **saving).train()
    monkeypatch.setattr(progress_log, "EVERY", 0.0)
    caplog.set_level(logging.INFO, "hf_afro.progress_log")
    trainer_of(model, tokenizer, tmp_path, max_steps=4, **saving).train(resume_from_checkpoint=True)
    lines = [record.getMessage() for record in caplog.records if record.name == "hf_afro.progress_log"]
    assert [line.partition(", ")[0] for line in lines] == [f"{name}: 3 of 4 steps", f"{name}: 4 of 4 steps"]


@TRAINERS
def test_what_is_saved_has_the_permissions_of_other_files(model, tokenizer, tmp_path, trainer_of, name):
    """The library safetensors 0.8 writes its files for their owner alone."""
    former = os.umask(0o022)
    private = [tmp_path / "final" / ".env", tmp_path / "final" / "keys" / "id_rsa"]
    for path in private:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    try:
        trainer = trainer_of(model, tokenizer, tmp_path, max_steps=1, save_strategy="steps", save_steps=1)
        trainer.train()
        trainer.save_model(str(tmp_path / "final"))
    finally:
        os.umask(former)
    weights = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.safetensors"))
    assert weights == ["checkpoint-1/model.safetensors", "final/model.safetensors"]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()}
    assert [modes.pop(path) for path in private] == [0o600, 0o600]
    assert set(modes.values()) == {0o644}


BEST = {"eval_strategy": "steps", "eval_steps": 1, "greater_is_better": False, "max_steps": 1}


def test_a_metric_that_does_not_exist_is_refused_before_training(model, tokenizer, tmp_path):
    trainer = maft_trainer(
        model, tokenizer, tmp_path, eval_dataset=text_datasets(), metric_for_best_model="swa_bits_per_bite", **BEST
    )
    with pytest.raises(
        ValueError,
        match=r"unknown metric_for_best_model='swa_bits_per_bite'; did you mean 'swa_bits_per_byte'\? Expected one of",
    ):
        trainer.train()
    assert trainer.state.global_step == 0


def test_the_metrics_named_are_those_that_evaluation_gives(model, tokenizer, tmp_path):
    trainer = maft_trainer(model, tokenizer, tmp_path, eval_dataset=text_datasets(), language_sets={"core": ["swa"]})
    assert {f"eval_{name}" for name in trainer.metric_names()} == set(trainer.evaluate()) - {"epoch"}
    relations = distill_trainer(model, tokenizer, tmp_path, eval_dataset=text_datasets())
    assert {f"eval_{name}" for name in relations.metric_names()} == set(relations.evaluate()) - {"epoch"}
    terms = distill_trainer(model, tokenizer, tmp_path, eval_dataset=text_datasets(), **HYBRID)
    assert {f"eval_{name}" for name in terms.metric_names()} == set(terms.evaluate()) - {"epoch"}


def recorded(trainer, folder) -> str | None:
    """Train, save, and read what the configuration on the disk says."""
    trainer.train()
    trainer.save_model(str(folder))
    return getattr(AutoConfig.from_pretrained(folder), "masked_lm_head", None)


def test_maft_trains_the_head(model, tokenizer, tmp_path):
    assert not hasattr(model.config, "masked_lm_head")
    assert recorded(maft_trainer(copy.deepcopy(model), tokenizer, tmp_path, max_steps=1), tmp_path) == "kept"


@pytest.mark.parametrize(("objective", "said"), [({}, "untrained"), ({"mlm_weight": 0.5}, "kept"), (HYBRID, "kept")])
def test_relations_alone_leave_the_head_untrained(tokenizer, tmp_path, objective, said):
    trainer = distill_trainer(teacher_of(tokenizer), tokenizer, tmp_path, max_steps=1, **objective)
    assert recorded(trainer, tmp_path) == said


def test_a_head_that_is_trained_after_the_distillation_is_said_to_be_fitted_late(tokenizer, tmp_path):
    student = student_of(tokenizer)
    distill_trainer(teacher_of(tokenizer), tokenizer, tmp_path, model=student, max_steps=1).train()
    trainer = maft_trainer(student, tokenizer, tmp_path / "fitted", max_steps=1)
    assert recorded(trainer, tmp_path / "fitted") == "fitted_after_distillation"


def test_a_head_that_was_drawn_is_known_until_it_is_trained(model, tokenizer, tmp_path):
    model.config.masked_lm_head = "drawn"
    assert recorded(maft_trainer(model, tokenizer, tmp_path, max_steps=1), tmp_path) == "kept"


def lora(model):
    return peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["query", "value"]))


def with_frozen_head(model):
    for name, weight in model.named_parameters():
        weight.requires_grad_("lm_head" not in name)
    return model


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft reads it
@pytest.mark.parametrize("frozen", [lora, with_frozen_head])
@pytest.mark.parametrize("said", ["drawn", "untrained", "fitted_after_distillation"])
def test_a_head_that_is_not_trained_stays_what_it_was(model, tokenizer, tmp_path, frozen, said):
    model.config.masked_lm_head = said
    head = {name: weight.clone() for name, weight in model.lm_head.named_parameters() if "decoder" not in name}
    trainer = maft_trainer(frozen(copy.deepcopy(model)), tokenizer, tmp_path, max_steps=1)
    trainer.train()
    inner = trainer.model.get_base_model() if frozen is lora else trainer.model
    assert all(torch.equal(weight, inner.lm_head.get_parameter(name)) for name, weight in head.items())
    assert inner.config.masked_lm_head == said


def test_a_head_of_which_the_norm_alone_is_trained_is_trained(model, tokenizer, tmp_path):
    model.config.masked_lm_head = "drawn"
    with_frozen_head(model).lm_head.layer_norm.requires_grad_(True)
    assert recorded(maft_trainer(model, tokenizer, tmp_path, max_steps=1), tmp_path) == "kept"


@TRAINERS
def test_a_trained_model_can_be_saved_whole_by_torch(model, tokenizer, tmp_path, trainer_of, name):
    """`torch.save` pickles the way into the forward, and the hooks on the projections, with the model."""
    trainer = trainer_of(model, tokenizer, tmp_path, max_steps=1)
    trainer.train()
    torch.save(trainer.model, tmp_path / "whole.pt")
    loaded = torch.load(tmp_path / "whole.pt", weights_only=False).eval()
    inputs = tokenizer(SENTENCES["swa"][:2], padding=True, return_tensors="pt")
    assert torch.equal(loaded(**inputs).logits, trainer.model.eval()(**inputs).logits)
