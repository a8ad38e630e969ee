"""`RelationDistillTrainer`: it learns, leaves the teacher alone, splits do not matter, resuming is exact."""

from __future__ import annotations

import copy
import logging

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors import safe_open
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    BertModel,
    XLMRobertaForMaskedLM,
    XLMRobertaForSequenceClassification,
    XLMRobertaForTokenClassification,
    XLMRobertaModel,
)

from hf_afro.losses import relation_loss
from hf_afro.training import RelationDistillTrainer, RelationDistillTrainingArguments
from hf_afro.training.capture import RELATIONS
from hf_afro.training.distill_plan import default_teacher_layer
from hf_afro.training.model_checks import check_length
from tests.conftest import tiny_config
from tests.texts import SENTENCES
from tests.training.tiny_trainers import (
    StopAt,
    checksum,
    distill_trainer,
    settings,
    steps_of,
    student_of,
    teacher_of,
    text_datasets,
)


@pytest.fixture
def teacher(tokenizer):
    return teacher_of(tokenizer)


def test_loss_falls_and_the_teacher_stays(teacher, tokenizer, tmp_path):
    before = checksum(teacher)
    trainer = distill_trainer(teacher, tokenizer, tmp_path, max_steps=40, learning_rate=1e-2)
    steps = steps_of(trainer)
    assert sum(loss for loss, _ in steps[-5:]) / 5 < 0.75 * steps[0][0]
    assert checksum(teacher) == before
    assert not teacher.training
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_what_takes_no_part_keeps_its_weights(teacher, tokenizer, tmp_path):
    student = student_of(tokenizer)
    before = {name: parameter.detach().clone() for name, parameter in student.named_parameters()}
    distill_trainer(teacher, tokenizer, tmp_path, model=student, weight_decay=0.1).train()
    kept = {name for name, parameter in student.named_parameters() if torch.equal(parameter, before[name])}
    last = "roberta.encoder.layer.0."
    assert {f"{last}attention.output.dense.weight", f"{last}output.dense.weight", "lm_head.dense.weight"} <= kept
    assert f"{last}attention.self.query.weight" not in kept
    assert "roberta.embeddings.word_embeddings.weight" not in kept


def test_the_checkpoint_is_the_plain_student(teacher, tokenizer, tmp_path):
    trainer = distill_trainer(teacher, tokenizer, tmp_path, save_strategy="steps", save_steps=4)
    trainer.train()
    folder = tmp_path / "checkpoint-4"
    with safe_open(folder / "model.safetensors", "pt") as tensors:
        names = set(tensors.keys())
    assert names == set(student_of(tokenizer).state_dict()) - {"lm_head.decoder.weight", "lm_head.decoder.bias"}
    loaded, info = AutoModelForMaskedLM.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert checksum(loaded) == checksum(trainer.model)
    optimized = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert optimized == {id(p) for p in trainer.model.parameters()}


@pytest.mark.parametrize("accumulation", [2, 4])
def test_accumulation_does_not_matter(teacher, tokenizer, tmp_path, accumulation):
    whole = steps_of(distill_trainer(teacher, tokenizer, tmp_path))
    split = steps_of(distill_trainer(teacher, tokenizer, tmp_path, accumulation=accumulation))
    assert np.allclose(split, whole, rtol=1e-5, atol=0)


def test_first_step_is_the_papers_loss_of_the_global_batch(teacher, tokenizer, tmp_path):
    trainer = distill_trainer(teacher, tokenizer, tmp_path, max_steps=1, accumulation=4, learning_rate=0.0)
    batches = list(trainer.get_train_dataloader())[:4]
    student, total, sequences = trainer.model, 0.0, 0
    for batch in batches:
        vectors = []
        for network, layer in ((teacher, 1), (student, 0)):
            encoder = network.base_model
            hidden = encoder(**batch, output_hidden_states=True).hidden_states[layer]
            attention = encoder.encoder.layer[layer].attention.self
            vectors.append({name: getattr(attention, name)(hidden) for name in RELATIONS})
        for name in RELATIONS:
            heads = trainer.plan.num_heads
            mean = relation_loss(vectors[0][name], vectors[1][name], batch["attention_mask"], heads, "reference")
            total += mean.item() * len(batch["input_ids"])
        sequences += len(batch["input_ids"])
    assert steps_of(trainer)[0][0] == pytest.approx(total / sequences, rel=1e-6)


def test_what_is_compared_is_logged_in_sentences(teacher, tokenizer, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="hf_afro.training.distill"):
        distill_trainer(teacher, tokenizer, tmp_path)
    heads, weights = (record.getMessage() for record in caplog.records if record.name == "hf_afro.training.distill")
    told = "layer 2 teaches layer 1 (layers are counted from 1; the teacher has 2, the student 1)."
    assert heads.startswith("minilmv2, ")
    assert heads.endswith(f"heads: {told}")
    assert weights == "weights: relation 1, query 1, key 1, value 1."


def test_padding_side_does_not_matter(teacher, tokenizer, tmp_path):
    trainer = distill_trainer(teacher, tokenizer, tmp_path)
    trainer.model.eval()
    batch = next(iter(trainer.get_train_dataloader()))
    batch = {name: batch[name] for name in ("input_ids", "attention_mask")}
    assert (batch["attention_mask"] == 0).any()
    left = {name: torch.zeros_like(rows) + (name == "input_ids") * 1 for name, rows in batch.items()}
    for row, mask in enumerate(batch["attention_mask"]):
        tokens = int(mask.sum())
        for name in batch:
            left[name][row, -tokens:] = batch[name][row, :tokens]
    losses = [trainer.compute_loss(trainer.model, inputs).item() for inputs in (batch, left)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("stop", [3, 8])
def test_a_resumed_run_ends_in_the_weights_of_an_unbroken_one(teacher, tokenizer, tmp_path, stop):
    def trainer(folder):
        student = student_of(tokenizer)
        for dropout in (module for module in student.modules() if isinstance(module, torch.nn.Dropout)):
            dropout.p = 0.1
        run = {"accumulation": 2, "max_steps": 12, "save_strategy": "steps", "save_steps": stop}
        return distill_trainer(teacher, tokenizer, tmp_path / folder, model=student, **run)

    unbroken = trainer("unbroken")
    unbroken.train()
    broken = trainer("broken")
    broken.add_callback(StopAt(stop))
    broken.train()
    resumed = trainer("broken")
    torch.manual_seed(999)
    resumed.train(resume_from_checkpoint=True)
    assert checksum(resumed.model) == checksum(unbroken.model)
    assert checksum(resumed.model) != checksum(broken.model)


def test_evaluation_loss_by_language_whatever_the_batch(teacher, tokenizer, tmp_path):
    held_out = {code: Dataset.from_dict({"text": SENTENCES[code]}) for code in ("swa", "amh")}
    student, found = student_of(tokenizer), []
    for size in (1, 5):
        trainer = distill_trainer(
            teacher, tokenizer, tmp_path, model=student, eval_dataset=held_out, per_device_eval_batch_size=size
        )
        found.append(trainer.evaluate())
    found.append(distill_trainer(teacher, tokenizer, tmp_path, model=student).evaluate(held_out))
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-5)
    assert found[0]["eval_swa_loss"] > 0
    mean = (found[0]["eval_swa_loss"] + found[0]["eval_amh_loss"]) / 2  # as many sentences of each
    assert found[0]["eval_loss"] == pytest.approx(mean, rel=1e-6)


class VocabularyOfTwice:
    """Maps a pruned id to a full one that stands for the same token: the full table holds every row twice."""

    def __init__(self, size: int) -> None:
        self.size, self.old_size = size, 2 * size

    def __len__(self) -> int:
        return self.size

    def to_old(self, ids: torch.Tensor) -> torch.Tensor:
        return ids * 2 + (ids > 3).long()  # the special ids keep an even place of their own


def test_a_full_vocabulary_teaches_a_pruned_student_through_the_map(teacher, tokenizer, tmp_path):
    expected = steps_of(distill_trainer(teacher, tokenizer, tmp_path))
    full = XLMRobertaModel(tiny_config(2 * len(tokenizer), pad_token_id=2)).eval()
    state = {name: value.clone() for name, value in teacher.roberta.state_dict().items()}
    state["embeddings.word_embeddings.weight"] = state["embeddings.word_embeddings.weight"].repeat_interleave(2, 0)
    # The pad id is where positions start, so a teacher whose pad moved has its table one row further on.
    positions = state["embeddings.position_embeddings.weight"]
    state["embeddings.position_embeddings.weight"] = torch.cat([positions[:1], positions[:-1]])
    full.load_state_dict(state, strict=False)
    mapped = steps_of(distill_trainer(full, tokenizer, tmp_path, vocabulary_map=VocabularyOfTwice(len(tokenizer))))
    assert np.allclose(mapped, expected, rtol=1e-5)


def test_teachers_of_another_family_and_students_without_a_head(tokenizer, tmp_path):
    torch.manual_seed(0)
    bert = BertModel(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=24,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
            initializer_range=0.1,
        )
    )
    student = XLMRobertaModel(
        tiny_config(len(tokenizer), hidden_size=16, num_attention_heads=4, initializer_range=0.1)
    )
    trainer = distill_trainer(bert, tokenizer, tmp_path, model=student, max_steps=20, learning_rate=5e-3)
    assert trainer.plan.num_heads == 8  # four times the teacher's 2 heads; it divides 24 and 16
    steps = steps_of(trainer)
    assert steps[-1][0] < steps[0][0]


class TestRefusals:
    def test_vocabularies_that_differ_need_the_map(self, tokenizer, tmp_path):
        teacher = XLMRobertaForMaskedLM(tiny_config(len(tokenizer) + 200))
        with pytest.raises(ValueError, match="pass the vocabulary_map"):
            distill_trainer(teacher, tokenizer, tmp_path)

    def test_a_map_of_other_models(self, teacher, tokenizer, tmp_path):
        with pytest.raises(ValueError, match="it belongs to other models"):
            distill_trainer(teacher, tokenizer, tmp_path, vocabulary_map=VocabularyOfTwice(len(tokenizer)))

    def test_relation_heads_that_do_not_divide(self, teacher, tokenizer, tmp_path):
        with pytest.raises(
            ValueError, match="divide both widths, 32 of the teacher and 16.*legal are 1, 2, 4, 8, 16$"
        ):
            distill_trainer(teacher, tokenizer, tmp_path, num_relation_heads=3)

    @pytest.mark.parametrize("layer", [0, 3])
    def test_a_layer_that_is_not_there(self, teacher, tokenizer, tmp_path, layer):
        with pytest.raises(ValueError, match=f"layer {layer} was asked for and the model has layers 1 to 2"):
            distill_trainer(teacher, tokenizer, tmp_path, teacher_layer=layer)

    def test_a_teacher_that_is_the_student(self, teacher, tokenizer, tmp_path):
        for student in (teacher, teacher.roberta):
            with pytest.raises(ValueError, match="teacher and student share parameters"):
                distill_trainer(teacher, tokenizer, tmp_path, model=student)

    def test_an_unknown_implementation(self, teacher, tokenizer, tmp_path):
        with pytest.raises(ValueError, match="unknown relation_impl='fast'; expected one of auto, reference"):
            distill_trainer(teacher, tokenizer, tmp_path, relation_impl="fast")

    def test_sequences_longer_than_the_students_positions(self, teacher, tokenizer, tmp_path):
        student = XLMRobertaModel(tiny_config(len(tokenizer), max_position_embeddings=34))
        with pytest.raises(ValueError, match="max_length=48 exceeds the 32 positions of the xlm-roberta model"):
            distill_trainer(teacher, tokenizer, tmp_path, model=student)

    def test_positions_are_counted_from_the_students_own_padding_id(self, teacher, tokenizer, tmp_path):
        """As in a student made of BERT, whose padding is 0: 49 rows hold 48 positions."""
        config = tiny_config(len(tokenizer), max_position_embeddings=49, pad_token_id=0)
        check_length(XLMRobertaModel(config), 48)
        with pytest.raises(ValueError, match="max_length=49 exceeds the 48 positions of the xlm-roberta model"):
            check_length(XLMRobertaModel(config), 49)

    def test_parts_that_the_trainer_makes_itself(self, teacher, tokenizer, tmp_path):
        args = RelationDistillTrainingArguments(**settings(tmp_path))
        with pytest.raises(TypeError, match="compute_metrics is not supported"):
            RelationDistillTrainer(student_of(tokenizer), teacher, args, compute_metrics=print)


def test_rows_that_pad_a_table_are_no_other_vocabulary(teacher, tokenizer, tmp_path):
    student = student_of(tokenizer)
    student.resize_token_embeddings(len(tokenizer) + 10)
    expected = steps_of(distill_trainer(teacher, tokenizer, tmp_path))
    assert np.allclose(steps_of(distill_trainer(teacher, tokenizer, tmp_path, model=student)), expected, rtol=1e-5)


@pytest.mark.parametrize("head", [XLMRobertaForSequenceClassification, XLMRobertaForTokenClassification])
def test_students_with_another_head_learn_the_same(teacher, tokenizer, tmp_path, head):
    expected = steps_of(distill_trainer(teacher, tokenizer, tmp_path))
    student = student_of(tokenizer)
    other = head(student.config)
    other.roberta.load_state_dict(student.roberta.state_dict())
    assert np.allclose(steps_of(distill_trainer(teacher, tokenizer, tmp_path, model=other)), expected, rtol=1e-5)


def test_the_implementation_asked_for_is_used(teacher, tokenizer, tmp_path, monkeypatch):
    expected = steps_of(distill_trainer(teacher, tokenizer, tmp_path, relation_impl="reference"))

    def refuse(*_given):
        raise AssertionError("chunked was called")

    monkeypatch.setattr("hf_afro.losses.relations.chunked_relation_loss", refuse)
    with pytest.raises(AssertionError, match="chunked was called"):
        steps_of(distill_trainer(teacher, tokenizer, tmp_path, relation_impl="chunked"))
    assert np.allclose(steps_of(distill_trainer(teacher, tokenizer, tmp_path, relation_impl="reference")), expected)


def test_bf16_runs_teacher_and_student_in_bf16_and_the_loss_in_fp32(teacher, tokenizer, tmp_path):
    trainer = distill_trainer(teacher, tokenizer, tmp_path, bf16=True)
    seen = set()
    for model in (teacher, trainer.model):
        model.base_model.encoder.layer[0].attention.self.query.register_forward_hook(
            lambda _module, _inputs, output: seen.add(output.dtype)
        )
    before = trainer.evaluate(text_datasets())
    steps = steps_of(trainer)
    assert seen == {torch.bfloat16}
    expected = steps_of(distill_trainer(teacher, tokenizer, tmp_path))
    assert steps[0][0] == pytest.approx(expected[0][0], rel=0.02)
    assert before["eval_loss"] == pytest.approx(steps[0][0], rel=0.5)


@pytest.mark.parametrize(
    ("family", "depth", "layer"), [("xlm", 24, 19), ("bert", 24, 21), ("xlm", 12, 12), ("bert", 12, 12), ("xlm", 2, 2)]
)
def test_the_layer_of_the_paper_is_the_default(family, depth, layer):
    shape = {"hidden_size": 4, "num_attention_heads": 1, "intermediate_size": 4, "num_hidden_layers": depth}
    teacher = (
        XLMRobertaModel(tiny_config(10, **shape)) if family == "xlm" else BertModel(BertConfig(vocab_size=10, **shape))
    )
    assert default_teacher_layer(teacher) == layer


def test_the_relation_heads_of_the_paper_are_the_default(tokenizer, tmp_path):
    teacher = XLMRobertaForMaskedLM(
        tiny_config(len(tokenizer), hidden_size=768, num_attention_heads=12, num_hidden_layers=1, intermediate_size=8)
    )
    for width, heads in ((384, 48), (256, 32)):
        config = tiny_config(len(tokenizer), hidden_size=width, num_hidden_layers=1, intermediate_size=8)
        student = XLMRobertaModel(config)
        assert distill_trainer(teacher, tokenizer, tmp_path, model=student).plan.num_heads == heads


def test_the_callers_student_is_trained_in_place_and_a_copy_is_not(teacher, tokenizer, tmp_path):
    student = student_of(tokenizer)
    spare = copy.deepcopy(student)
    trainer = distill_trainer(teacher, tokenizer, tmp_path, model=student)
    trainer.train()
    assert trainer.model is student
    assert checksum(student) != checksum(spare)
    assert RelationDistillTrainingArguments(output_dir=str(tmp_path), use_cpu=True).ddp_find_unused_parameters is True
