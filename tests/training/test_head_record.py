"""What the trainers note of the masked-LM head, by which a card offers a model for filling masks or does not."""

from __future__ import annotations

import copy

import peft
import pytest
import torch
from transformers import AutoConfig, XLMRobertaModel

from hf_afro.recipes.pretrained import load_model
from tests.conftest import tiny_config
from tests.training.recipes import HYBRID, distill_trainer, maft_trainer, student_of, teacher_of


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


def test_a_head_that_was_drawn_is_known_until_it_is_trained(tokenizer, tmp_path):
    XLMRobertaModel(tiny_config(len(tokenizer)), add_pooling_layer=False).save_pretrained(tmp_path)
    model = load_model(str(tmp_path), auto_class="AutoModelForMaskedLM")
    assert model.config.masked_lm_head == "drawn"
    assert recorded(maft_trainer(model, tokenizer, tmp_path / "a", max_steps=1), tmp_path / "a") == "kept"
    assert load_model(str(tmp_path / "a")).config.masked_lm_head == "kept"


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
