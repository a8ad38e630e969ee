"""Hidden states and sentence vectors as terms of distillation, and the projection that is never in a student."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from torch.nn.functional import cosine_similarity, normalize
from transformers import AutoModelForMaskedLM, Trainer, XLMRobertaForMaskedLM

from hf_afro.hub.contents import gather
from hf_afro.students import AfroStudentConfig, AfroStudentForMaskedLM
from hf_afro.training import RelationDistillTrainer, RelationDistillTrainingArguments
from hf_afro.training.projection import PROJECTION_FILE, HiddenProjection
from tests.conftest import tiny_config
from tests.training.tiny_trainers import (
    PROJECTED,
    StopAt,
    checksum,
    distill_trainer,
    settings,
    steps_of,
    student_of,
    teacher_of,
    text_datasets,
)

NO_RELATIONS = {"relation_weights": [0.0, 0.0, 0.0]}


@pytest.fixture
def teacher(tokenizer):
    return teacher_of(tokenizer)


def wide_student_of(tokenizer, seed=1, **overrides):
    """Of two layers and of the teacher's width, so that no projection is needed."""
    torch.manual_seed(seed)
    return XLMRobertaForMaskedLM(tiny_config(len(tokenizer), initializer_range=0.1, **overrides))


def by_loops(trainer, batches, kind):
    """The two terms of a step in float64, a token and a sentence at a time, and the norm of their gradient."""
    student, teacher = trainer.model, copy.deepcopy(trainer.teacher_model).double()
    own, projection = copy.deepcopy(student).double(), trainer.projection.weight.detach().double().requires_grad_()
    hidden = pooled = torch.zeros((), dtype=torch.float64)
    tokens = sentences = 0
    for batch in batches:
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
            alone = {"input_ids": ids[mask.bool()][None]}
            learnt = own.base_model(**alone)[0][0] @ projection.T
            taught = teacher.base_model(**alone)[0][0].detach()
            for s, t in zip(learnt, taught, strict=True):
                hidden = hidden + (1 - cosine_similarity(s, t, dim=0) if kind == "cosine" else (s - t).square().mean())
            pooled = pooled + (normalize(learnt.mean(0), dim=0) - normalize(taught.mean(0), dim=0)).square().sum()
            tokens, sentences = tokens + len(learnt), sentences + 1
    loss = trainer.args.hidden_weight * hidden / tokens + trainer.args.pooled_weight * pooled / sentences
    loss.backward()
    gradients = [weight.grad for weight in (*own.parameters(), projection) if weight.grad is not None]
    return loss.item(), torch.cat([gradient.flatten() for gradient in gradients]).norm().item()


@pytest.mark.parametrize("kind", ["cosine", "mse"])
def test_the_first_step_is_that_of_loops_over_tokens_and_sentences(teacher, tokenizer, tmp_path, kind):
    run = {**NO_RELATIONS, **PROJECTED, "hidden_loss": kind, "max_steps": 1, "accumulation": 4, "max_grad_norm": 0.0}
    trainer = distill_trainer(teacher, tokenizer, tmp_path, learning_rate=0.0, **run)
    expected = by_loops(trainer, list(trainer.get_train_dataloader())[:4], kind)
    assert steps_of(trainer)[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("accumulation", [2, 4])
def test_accumulation_does_not_matter(teacher, tokenizer, tmp_path, accumulation):
    whole = steps_of(distill_trainer(teacher, tokenizer, tmp_path, **PROJECTED))
    split = steps_of(distill_trainer(teacher, tokenizer, tmp_path, accumulation=accumulation, **PROJECTED))
    assert np.allclose(split, whole, rtol=1e-5, atol=0)


def test_states_at_padding_never_matter(teacher, tokenizer, tmp_path):
    """Whatever a model computes there: the hooks replace it by numbers that would show."""
    trainer = distill_trainer(teacher, tokenizer, tmp_path, **PROJECTED)
    batch = next(iter(trainer.get_train_dataloader()))
    batch = {name: batch[name] for name in ("input_ids", "attention_mask")}
    padding = batch["attention_mask"] == 0
    assert padding.any()
    expected = trainer.compute_loss(trainer.model, batch)

    def spoil(_module, _inputs, output):
        hidden = output[0].masked_fill(padding[..., None], float("nan"))
        return type(output)(last_hidden_state=hidden)

    for model in (teacher, trainer.model):
        model.roberta.register_forward_hook(spoil)
    loss = trainer.compute_loss(trainer.model, batch)
    assert loss.item() == expected.item()
    loss.backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in trainer.model.parameters())


def test_a_layer_of_the_student_matches_that_of_the_teacher(teacher, tokenizer, tmp_path):
    layers = {"hidden_teacher_layers": [1, 2], "hidden_student_layers": [2, 1]}
    trainer = distill_trainer(
        teacher, tokenizer, tmp_path, model=wide_student_of(tokenizer), hidden_weight=1.0, **NO_RELATIONS, **layers
    )
    assert trainer.projection is None
    trainer.model.eval()
    batch = next(iter(trainer.get_train_dataloader()))
    batch = {name: batch[name] for name in ("input_ids", "attention_mask")}
    taught, learnt = (
        model.base_model(**batch, output_hidden_states=True).hidden_states for model in (teacher, trainer.model)
    )
    real = batch["attention_mask"].bool()
    distances = [1 - cosine_similarity(learnt[s], taught[t], dim=-1)[real].mean() for t, s in ((1, 2), (2, 1))]
    expected = (sum(distances) / 2).item()
    assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(expected, rel=1e-5)


INNER_LAYERS = {"hidden_teacher_layers": [1, 2], "hidden_student_layers": [1, 2]}


@pytest.mark.parametrize("more", [INNER_LAYERS, NO_RELATIONS], ids=["inner layers", "last hidden states alone"])
def test_an_unpadded_student_is_matched_as_a_padded_one(teacher, tokenizer, tmp_path, more):
    plain = wide_student_of(tokenizer)
    unpadded = AfroStudentForMaskedLM(AfroStudentConfig(**plain.config.to_dict()))
    assert unpadded.config.unpad
    unpadded.load_state_dict(plain.state_dict())
    run = {"max_steps": 2, **PROJECTED, **more}
    expected, found = (
        steps_of(distill_trainer(teacher, tokenizer, tmp_path, model=model, **run)) for model in (plain, unpadded)
    )
    assert np.allclose(found, expected, rtol=1e-5)


class TestWhatRuns:
    """Only what a term needs is captured and computed."""

    def ran(self, model):
        seen = []
        for name, module in model.named_modules():
            module.register_forward_hook(lambda _module, *_, name=name: seen.append(name))
        return seen

    def test_without_relations_no_projection_of_attention_is_captured(self, teacher, tokenizer, tmp_path):
        trainer = distill_trainer(teacher, tokenizer, tmp_path, **NO_RELATIONS, **PROJECTED)
        captures = trainer.terms.teacher_capture, trainer.terms.student_capture
        assert [(one.layers, one.hidden_layers) for one in captures] == [((), (2,)), ((), (1,))]
        assert not any(module._forward_hooks for model in (teacher, trainer.model) for module in model.modules())

    def test_the_teacher_ends_where_nothing_more_is_matched(self, teacher, tokenizer, tmp_path):
        seen = self.ran(teacher)
        run = {"max_steps": 1, "hidden_weight": 1.0, "teacher_layer": 1}
        distill_trainer(teacher, tokenizer, tmp_path, hidden_teacher_layers=[1], **run).train()
        assert seen[-1] == "roberta.encoder.layer.0"
        distill_trainer(teacher, tokenizer, tmp_path, **run).train()
        assert seen[-1] == "roberta"

    def test_masked_lm_alone_needs_no_teacher(self, teacher, tokenizer, tmp_path):
        seen = self.ran(teacher)
        distill_trainer(teacher, tokenizer, tmp_path, max_steps=1, mlm_weight=1.0, **NO_RELATIONS).train()
        assert seen == []

    def test_all_of_the_encoder_learns_and_the_head_stays(self, teacher, tokenizer, tmp_path):
        student = student_of(tokenizer)
        before = {name: parameter.detach().clone() for name, parameter in student.named_parameters()}
        distill_trainer(teacher, tokenizer, tmp_path, model=student, weight_decay=0.1, **PROJECTED).train()
        kept = {name for name, parameter in student.named_parameters() if torch.equal(parameter, before[name])}
        # The decoder is the word embedding.
        assert kept == {name for name in before if name.startswith("lm_head.")} - {"lm_head.decoder.weight"}


class TestProjection:
    def test_it_begins_orthonormal_by_its_seed_and_leaves_the_global_generator_alone(self):
        state = torch.get_rng_state()
        narrow, wide = HiddenProjection(16, 32, 3).weight, HiddenProjection(32, 16, 3).weight
        assert torch.allclose(narrow.T @ narrow, torch.eye(16), atol=1e-6)
        assert torch.allclose(wide @ wide.T, torch.eye(16), atol=1e-6)
        assert torch.equal(narrow, HiddenProjection(16, 32, 3).weight)
        assert not torch.equal(narrow, HiddenProjection(16, 32, 4).weight)
        assert torch.equal(torch.get_rng_state(), state)

    @pytest.mark.parametrize("optimizer", [None, "before training", "given"])
    def test_it_is_trained_beside_the_student(self, teacher, tokenizer, tmp_path, optimizer):
        student = student_of(tokenizer)
        given = torch.optim.AdamW(student.parameters(), lr=1e-3) if optimizer == "given" else None
        trainer = RelationDistillTrainer(
            student,
            teacher,
            RelationDistillTrainingArguments(**settings(tmp_path, **PROJECTED)),
            text_datasets(),
            processing_class=tokenizer,
            optimizers=(given, None),
        )
        if optimizer == "before training":
            trainer.create_optimizer()
        first = trainer.projection.weight.detach().clone()
        for _ in range(2):  # of two runs of one trainer, the second goes on
            trainer.train()
            assert not torch.equal(trainer.projection.weight, first)
            optimized = [id(one) for group in trainer.optimizer.param_groups for one in group["params"]]
            assert optimized.count(id(trainer.projection.weight)) == 1
            first = trainer.projection.weight.detach().clone()

    def test_no_file_of_the_student_holds_it(self, teacher, tokenizer, tmp_path):
        student = student_of(tokenizer)
        names, parameters = set(student.state_dict()), student.num_parameters()
        run = {"save_strategy": "steps", "save_steps": 2, **PROJECTED}
        trainer = distill_trainer(teacher, tokenizer, tmp_path, model=student, **run)
        trainer.train()
        trainer.save_model(str(tmp_path / "saved"))
        for folder in ("checkpoint-2", "checkpoint-4", "saved"):
            stored = set(load_file(tmp_path / folder / "model.safetensors"))
            assert stored == names - {"lm_head.decoder.weight", "lm_head.decoder.bias"}
            loaded, info = AutoModelForMaskedLM.from_pretrained(tmp_path / folder, output_loading_info=True)
            assert not info["missing_keys"]
            assert not info["unexpected_keys"]
        assert checksum(loaded) == checksum(student)
        # Nothing of it is left in the student, and what is published leaves its file out.
        assert (set(student.state_dict()), student.num_parameters()) == (names, parameters)
        assert not any(isinstance(module, HiddenProjection) for module in student.modules())
        assert not (tmp_path / "saved" / PROJECTION_FILE).exists()
        assert PROJECTION_FILE in gather(tmp_path / "checkpoint-4").left_out

    def test_a_run_that_fails_leaves_nothing_in_the_student(self, teacher, tokenizer, tmp_path):
        trainer = distill_trainer(teacher, tokenizer, tmp_path, **PROJECTED)

        def fail(*_given, **_settings):
            raise KeyboardInterrupt

        trainer.training_step = fail
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
        assert not any(isinstance(module, HiddenProjection) for module in trainer.model.modules())

    @pytest.mark.parametrize("terms", [PROJECTED, {**NO_RELATIONS, "pooled_weight": 1.0}])
    def test_a_resumed_run_ends_in_the_weights_of_an_unbroken_one(self, teacher, tokenizer, tmp_path, terms):
        run = {"accumulation": 2, "max_steps": 6, "save_strategy": "steps", "save_steps": 3, **terms}

        def trainer(folder):
            student = student_of(tokenizer)
            for dropout in (module for module in student.modules() if isinstance(module, torch.nn.Dropout)):
                dropout.p = 0.1
            return distill_trainer(teacher, tokenizer, tmp_path / folder, model=student, **run)

        unbroken = trainer("unbroken")
        unbroken.train()
        broken = trainer("broken")
        broken.add_callback(StopAt(3))
        broken.train()
        resumed = trainer("broken")
        torch.manual_seed(999)
        resumed.train(resume_from_checkpoint=True)
        for part in ("model", "projection"):
            ends = [checksum(getattr(one, part)) for one in (resumed, unbroken, broken)]
            assert ends[0] == ends[1] != ends[2], part
        stored = load_file(tmp_path / "broken" / "checkpoint-6" / PROJECTION_FILE)
        assert torch.equal(stored["weight"], resumed.projection.weight)

    def test_the_best_checkpoint_brings_its_own_back(self, teacher, tokenizer, tmp_path):
        run = {
            "eval_strategy": "steps",
            "eval_steps": 1,
            "save_strategy": "steps",
            "save_steps": 1,
            "load_best_model_at_end": True,
            "metric_for_best_model": "eval_hidden_loss",
            "greater_is_better": True,  # so that the first is the best
            "learning_rate": 1e-2,
        }
        trainer = distill_trainer(teacher, tokenizer, tmp_path, eval_dataset=text_datasets(1), **run, **PROJECTED)
        trainer.train()
        best = trainer.state.best_model_checkpoint
        assert best.endswith("checkpoint-1")
        assert torch.equal(load_file(f"{best}/{PROJECTION_FILE}")["weight"], trainer.projection.weight)
        measured = next(entry for entry in trainer.state.log_history if "eval_hidden_loss" in entry)
        assert trainer.evaluate()["eval_hidden_loss"] == pytest.approx(measured["eval_hidden_loss"], rel=1e-6)

    def test_a_checkpoint_without_one_is_refused(self, teacher, tokenizer, tmp_path):
        run = {"save_strategy": "steps", "save_steps": 2, "max_steps": 2}
        distill_trainer(teacher, tokenizer, tmp_path, **run).train()
        trainer = distill_trainer(teacher, tokenizer, tmp_path, **run, **PROJECTED)
        with pytest.raises(ValueError, match=r"expected a matrix of shape \(32, 16\), found no such file; .* repeat"):
            trainer.train(resume_from_checkpoint=True)

    def test_models_of_one_width_need_none(self, teacher, tokenizer, tmp_path):
        run = {"save_strategy": "steps", "save_steps": 2, "max_steps": 2, **PROJECTED}
        trainer = distill_trainer(teacher, tokenizer, tmp_path, model=wide_student_of(tokenizer), **run)
        trainer.train()
        assert trainer.projection is None
        assert not (tmp_path / "checkpoint-2" / PROJECTION_FILE).exists()

    @pytest.mark.parametrize("name", ["is_fsdp_enabled", "is_deepspeed_enabled"])
    def test_under_sharding_it_is_refused(self, teacher, tokenizer, tmp_path, monkeypatch, name):
        make = Trainer.create_accelerator_and_postprocess

        def make_sharded(trainer):
            make(trainer)
            setattr(trainer, name, True)

        monkeypatch.setattr(Trainer, "create_accelerator_and_postprocess", make_sharded)
        with pytest.raises(ValueError, match="the student has width 16 and the teacher 32, .* use DDP"):
            distill_trainer(teacher, tokenizer, tmp_path, **PROJECTED)


class TestRefusals:
    def test_packed_rows_are_no_sentences(self, teacher, tokenizer, tmp_path):
        with pytest.raises(ValueError, match=r"packing=True puts several sentences into a row; set packing=False"):
            distill_trainer(teacher, tokenizer, tmp_path, pooled_weight=1.0, packing=True)
        distill_trainer(teacher, tokenizer, tmp_path, hidden_weight=1.0, packing=True)

    @pytest.mark.parametrize("streaming", [False, True])
    def test_rows_of_ids_that_hold_several_sequences(self, teacher, tokenizer, tmp_path, streaming):
        def train(rows, **terms):
            data = {"swa": Dataset.from_dict({"input_ids": rows})}
            run = {"max_steps": 1, "streaming": streaming, **terms}
            distill_trainer(teacher, tokenizer, tmp_path, train_dataset=data, **run).train()

        single, several = [[0, 7, 8, 2]] * 16, [[0, 7, 8, 2]] * 15 + [[0, 7, 2, 8, 2]]
        train(single, **PROJECTED)
        train(several, hidden_weight=1.0)
        with pytest.raises(ValueError, match="holds 2, the end of a sequence, before its last token"):
            train(several, **PROJECTED)

    def test_layers_that_are_not_there_or_do_not_pair(self, teacher, tokenizer, tmp_path):
        with pytest.raises(ValueError, match="layer 3 was asked for and the model has layers 1 to 2"):
            distill_trainer(teacher, tokenizer, tmp_path, hidden_weight=1.0, hidden_teacher_layers=[3])
        with pytest.raises(ValueError, match=r"1 layers of the teacher, \[2\], but 2 of the student, \[1, 1\]"):
            distill_trainer(teacher, tokenizer, tmp_path, hidden_weight=1.0, hidden_student_layers=[1, 1])

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"hidden_weight": -1.0}, "got a weight of -1.0"),
            ({"pooled_weight": float("nan")}, "got a weight of nan"),
            ({"hidden_loss": "l1"}, "unknown hidden_loss='l1'; expected one of cosine, mse"),
            ({"hidden_student_layers": [1]}, "needs hidden_weight above 0, got 0"),
            ({"hidden_weight": 1.0, "hidden_teacher_layers": []}, "hidden_teacher_layers is empty"),
        ],
    )
    def test_settings(self, tmp_path, wrong, message):
        with pytest.raises(ValueError, match=message):
            RelationDistillTrainingArguments(**settings(tmp_path), **wrong)
