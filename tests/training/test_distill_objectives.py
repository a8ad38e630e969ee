"""The objectives beside MiniLMv2 and the terms beside relations: what they are, and that splits do not matter."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers import XLMRobertaForMaskedLM, XLMRobertaModel

from hf_afro.training import RelationDistillTrainingArguments
from tests.conftest import tiny_config
from tests.training.by_hand import by_hand
from tests.training.tiny_trainers import (
    StopAt,
    checksum,
    distill_trainer,
    settings,
    steps_of,
    teacher_of,
    text_datasets,
)

OBJECTIVES = {
    "minilm": {"objective": "minilm"},
    "hybrid": {"objective": "hybrid"},
    "several layers": {"teacher_layers": [1, 2], "student_layers": [1, 2], "relation_weights": [1.0, 0.5, 2.0]},
    "relations, masked-LM and logits": {"mlm_weight": 0.3, "logit_weight": 0.7},
    "masked-LM alone": {"mlm_weight": 1.0, "relation_weights": [0.0, 0.0, 0.0]},
    "hidden states, sentence vectors and relations": {"hidden_weight": 1.0, "pooled_weight": 0.5},
    "hidden states of two layers alone": {
        "relation_weights": [0.0, 0.0, 0.0],
        "hidden_weight": 1.0,
        "hidden_loss": "mse",
        "hidden_teacher_layers": [1, 2],
        "hidden_student_layers": [1, 2],
    },
    "sentence vectors and masked-LM": {"relation_weights": [0.0, 0.0, 0.0], "pooled_weight": 1.0, "mlm_weight": 0.1},
}


@pytest.fixture
def teacher(tokenizer):
    return teacher_of(tokenizer)


def student_of(tokenizer, dropout=0.0):
    """As many heads as the teacher and half its width, two layers."""
    torch.manual_seed(1)
    config = tiny_config(len(tokenizer), hidden_size=16, initializer_range=0.1, hidden_dropout_prob=dropout)
    return XLMRobertaForMaskedLM(config)


def trainer_of(teacher, tokenizer, folder, dropout=0.0, **overrides):
    return distill_trainer(teacher, tokenizer, folder, model=student_of(tokenizer, dropout), **overrides)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_falls_and_accumulation_does_not_matter(teacher, tokenizer, tmp_path, name):
    run = {**OBJECTIVES[name], "max_steps": 12, "learning_rate": 5e-3}
    whole = steps_of(trainer_of(teacher, tokenizer, tmp_path, **run))
    split = steps_of(trainer_of(teacher, tokenizer, tmp_path, accumulation=4, **run))
    assert np.allclose(split[:4], whole[:4], rtol=1e-5, atol=0)
    assert np.mean([loss for loss, _ in whole[-3:]]) < 0.97 * whole[0][0]


@pytest.mark.parametrize("name", ["minilm", "hybrid"])
def test_a_resumed_run_ends_in_the_weights_of_an_unbroken_one(teacher, tokenizer, tmp_path, name):
    run = {**OBJECTIVES[name], "max_steps": 5, "save_strategy": "steps", "save_steps": 2, "accumulation": 2}

    def trainer(folder):
        return trainer_of(teacher, tokenizer, tmp_path / folder, dropout=0.1, **run)

    unbroken = trainer("unbroken")
    unbroken.train()
    broken = trainer("broken")
    broken.add_callback(StopAt(2))
    broken.train()
    resumed = trainer("broken")
    torch.manual_seed(999)
    resumed.train(resume_from_checkpoint=True)
    assert checksum(resumed.model) == checksum(unbroken.model)
    assert checksum(resumed.model) != checksum(broken.model)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_evaluation_whatever_the_batch_and_the_padding_side(teacher, tokenizer, tmp_path, name):
    found = []
    for size, side in ((1, "right"), (5, "right"), (5, "left")):
        trainer = trainer_of(
            teacher,
            tokenizer,
            tmp_path,
            **OBJECTIVES[name],
            eval_dataset=text_datasets(1),
            per_device_eval_batch_size=size,
        )
        object.__setattr__(trainer.data_collator, "padding_side", side)
        found.append(trainer.evaluate())
    assert found[1] == pytest.approx(found[0], rel=1e-5)
    assert found[2] == pytest.approx(found[0], rel=1e-5)
    names = ("relation", "mlm", "logit", "hidden", "pooled")
    terms = {f"eval_{name}_loss" for name in names} & found[0].keys()
    weights = trainer.terms.weights
    assert terms == ({f"eval_{term}_loss" for term in weights} if len(weights) > 1 else set())
    if terms:
        total = sum(weight * found[0][f"eval_{term}_loss"] for term, weight in weights.items())
        assert found[0]["eval_loss"] == pytest.approx(total, rel=1e-6)


def one_sequence(trainer, position):
    """One unpadded sequence, one token of it masked."""
    batch = next(iter(trainer.get_train_dataloader()))
    row = int(batch["attention_mask"].sum(1).argmax())
    tokens = int(batch["attention_mask"][row].sum())
    input_ids = batch["input_ids"][row : row + 1, :tokens]
    labels = torch.full_like(input_ids, -100)
    labels[0, position] = input_ids[0, position]
    return {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids), "labels": labels}


def attention_of(vectors, heads):
    """``[heads, tokens, tokens]`` in float64."""
    query, key = (vectors[one][0].double().unflatten(-1, (heads, -1)).transpose(0, 1) for one in ("query", "key"))
    return (query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])).softmax(-1)


def relation_of(vectors, heads):
    split = vectors[0].double().unflatten(-1, (heads, -1)).transpose(0, 1)
    return (split @ split.transpose(1, 2) / math.sqrt(split.shape[-1])).softmax(-1)


def divergence(taught, learnt):
    """KL summed over heads and positions, divided by both numbers."""
    return (taught * (taught / learnt).log()).sum() / taught.shape[0] / taught.shape[1]


@torch.no_grad()
def test_minilm_is_attention_and_value_relation(teacher, tokenizer, tmp_path):
    trainer = trainer_of(teacher, tokenizer, tmp_path, objective="minilm", relation_weights=[2.0, 3.0])
    trainer.model.eval()
    inputs = one_sequence(trainer, 2)
    asked = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    taught, learnt = by_hand(teacher, 2, asked), by_hand(trainer.model, 2, asked)
    expected = 2 * divergence(attention_of(taught, 4), attention_of(learnt, 4))
    expected += 3 * divergence(relation_of(taught["value"], 4), relation_of(learnt["value"], 4))
    assert trainer.compute_loss(trainer.model, inputs).item() == pytest.approx(expected.item(), rel=1e-5)


@torch.no_grad()
def test_hybrid_is_mean_attention_and_softened_predictions(teacher, tokenizer, tmp_path):
    trainer = trainer_of(teacher, tokenizer, tmp_path, objective="hybrid")
    trainer.model.eval()
    inputs = one_sequence(trainer, 2)
    asked = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    taught, learnt = by_hand(teacher, 2, asked), by_hand(trainer.model, 2, asked)
    attention = (attention_of(taught, 4).mean(0) - attention_of(learnt, 4).mean(0)).square().mean()
    soft = [(model(**asked).logits[0, 2].double() / 2).softmax(-1) for model in (teacher, trainer.model)]
    predictions = 4 * (soft[0] * (soft[0] / soft[1]).log()).sum()
    expected = 0.5 * attention + 0.5 * predictions
    assert trainer.plan.weights == {"attention": 0.5}
    assert trainer.compute_loss(trainer.model, inputs).item() == pytest.approx(expected.item(), rel=1e-5)


@torch.no_grad()
def test_several_layers_are_averaged_and_weighed(teacher, tokenizer, tmp_path):
    trainer = trainer_of(teacher, tokenizer, tmp_path, **OBJECTIVES["several layers"], num_relation_heads=8)
    trainer.model.eval()
    inputs = one_sequence(trainer, 2)
    asked = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    expected = 0.0
    for layer in (1, 2):
        taught, learnt = by_hand(teacher, layer, asked), by_hand(trainer.model, layer, asked)
        for relation, weight in (("query", 1.0), ("key", 0.5), ("value", 2.0)):
            of_two = divergence(relation_of(taught[relation], 8), relation_of(learnt[relation], 8))
            expected += weight * of_two.item() / 2
    assert trainer.compute_loss(trainer.model, inputs).item() == pytest.approx(expected, rel=1e-5)


class KeptTokens:
    """A map from a pruned vocabulary to a full one in which ten tokens more stand before the ordinary ones."""

    def __init__(self, size: int) -> None:
        self.size, self.old_size = size, size + 10

    def __len__(self) -> int:
        return self.size

    def to_old(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.where(ids > 4, ids + 10, ids)


@pytest.mark.parametrize("terms", [{"logit_weight": 1.0}, {"hidden_weight": 1.0, "pooled_weight": 2.0}])
@torch.no_grad()
def test_a_teacher_of_the_full_vocabulary_is_matched_at_the_kept_tokens(teacher, tokenizer, tmp_path, terms):
    run = {"relation_weights": [0.0, 0.0, 0.0], **terms}
    expected_trainer = trainer_of(teacher, tokenizer, tmp_path, **run)
    inputs = one_sequence(expected_trainer, 2)
    expected = expected_trainer.compute_loss(expected_trainer.model, inputs).item()
    full = XLMRobertaForMaskedLM(tiny_config(len(tokenizer) + 10)).eval()
    state = {name: value.clone() for name, value in teacher.state_dict().items()}
    for name, value in state.items():
        if len(tokenizer) in value.shape[:1]:
            strangers = torch.randn(10, *value.shape[1:], generator=torch.Generator().manual_seed(0))
            state[name] = torch.cat([value[:5], strangers, value[5:]])
    full.load_state_dict(state)
    mapped = trainer_of(full, tokenizer, tmp_path, **run, vocabulary_map=KeptTokens(len(tokenizer)))
    assert mapped.compute_loss(mapped.model, inputs).item() == pytest.approx(expected, rel=1e-5)


def test_the_teacher_runs_to_its_head_only_where_its_predictions_are_wanted(teacher, tokenizer, tmp_path):
    ran = []
    teacher.lm_head.dense.register_forward_hook(lambda *_: ran.append("head"))
    trainer_of(teacher, tokenizer, tmp_path, max_steps=1, mlm_weight=1.0).train()
    assert ran == []
    trainer_of(teacher, tokenizer, tmp_path, max_steps=1, logit_weight=1.0).train()
    assert ran == ["head"]


def test_weight_decay_leaves_what_takes_no_part_under_the_compiler_too(teacher, tokenizer, tmp_path):
    student = student_of(tokenizer)
    before = {name: parameter.detach().clone() for name, parameter in student.named_parameters()}
    trainer = distill_trainer(
        teacher,
        tokenizer,
        tmp_path,
        model=student,
        weight_decay=0.5,
        max_steps=2,
        torch_compile=True,
        torch_compile_backend="aot_eager",
    )
    trainer.train()
    kept = {name for name, parameter in student.named_parameters() if torch.equal(parameter, before[name])}
    last = "roberta.encoder.layer.1."
    assert {f"{last}attention.output.dense.weight", f"{last}output.dense.weight", "lm_head.dense.weight"} <= kept
    assert f"{last}attention.self.query.weight" not in kept


@pytest.mark.parametrize("name", ["several layers", "hidden states of two layers alone"])
@pytest.mark.parametrize(
    "more",
    [{"activation_checkpointing": True}, {"torch_compile": True, "torch_compile_backend": "aot_eager"}],
    ids=["activation checkpointing", "compiler"],
)
def test_activation_checkpointing_and_the_compiler_take_the_same_steps(teacher, tokenizer, tmp_path, name, more):
    run = {"max_steps": 2, **OBJECTIVES[name]}
    expected = steps_of(trainer_of(teacher, tokenizer, tmp_path, **run))
    found = steps_of(trainer_of(teacher, tokenizer, tmp_path, **run, **more))
    assert np.allclose(found, expected, rtol=1e-5)


def test_a_teacher_in_bf16(teacher, tokenizer, tmp_path):
    expected = steps_of(trainer_of(teacher, tokenizer, tmp_path, max_steps=1))
    trainer = trainer_of(teacher, tokenizer, tmp_path, max_steps=1, teacher_dtype="bfloat16", logit_weight=0.5)
    assert {parameter.dtype for parameter in trainer.teacher_model.parameters()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}
    assert math.isfinite(steps_of(trainer)[0][0])
    again = trainer_of(teacher, tokenizer, tmp_path, max_steps=1)
    assert steps_of(again)[0][0] == pytest.approx(expected[0][0], rel=0.02)


class TestRefusals:
    def test_minilm_between_other_numbers_of_heads(self, teacher, tokenizer, tmp_path):
        student = XLMRobertaModel(tiny_config(len(tokenizer), num_attention_heads=2))
        with pytest.raises(ValueError, match="the teacher has 4 heads and the student 2; give the student 4"):
            distill_trainer(teacher, tokenizer, tmp_path, model=student, objective="minilm")

    def test_layers_that_do_not_pair(self, teacher, tokenizer, tmp_path):
        with pytest.raises(ValueError, match=r"2 layers of the teacher, \[1, 2\], but 3 of the student"):
            trainer_of(teacher, tokenizer, tmp_path, teacher_layers=[1, 2], student_layers=[1, 2, 2])
        with pytest.raises(ValueError, match="one pair twice"):
            trainer_of(teacher, tokenizer, tmp_path, teacher_layers=[1, 1])
        with pytest.raises(ValueError, match="layer 3 was asked for and the model has layers 1 to 2"):
            trainer_of(teacher, tokenizer, tmp_path, student_layers=[3])

    def test_weights_that_are_not_as_many_as_the_relations(self, teacher, tokenizer, tmp_path):
        with pytest.raises(ValueError, match="objective 'minilm' takes 2, in this order: attention, value"):
            trainer_of(teacher, tokenizer, tmp_path, objective="minilm", relation_weights=[1.0, 1.0, 1.0])

    def test_relation_heads_where_attention_is_compared(self, teacher, tokenizer, tmp_path):
        with pytest.raises(ValueError, match="uses the attention heads of the models, 4 in the student; leave it out"):
            trainer_of(teacher, tokenizer, tmp_path, objective="minilm", num_relation_heads=8)

    def test_terms_on_predictions_without_a_head(self, teacher, tokenizer, tmp_path):
        student = XLMRobertaModel(tiny_config(len(tokenizer), hidden_size=16))
        with pytest.raises(ValueError, match="has no masked-LM head"):
            distill_trainer(teacher, tokenizer, tmp_path, model=student, mlm_weight=1.0)
        with pytest.raises(
            ValueError, match=r"the teacher \(XLMRobertaModel\) has no masked-LM head; load it with AutoModel"
        ):
            trainer_of(teacher.roberta, tokenizer, tmp_path, logit_weight=1.0)

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"objective": "tinybert"}, "unknown objective='tinybert'; expected one of minilmv2, minilm, hybrid"),
            ({"teacher_layer": 1, "teacher_layers": [1]}, "teacher_layer and teacher_layers were both given"),
            ({"teacher_layers": []}, "is empty"),
            ({"relation_weights": [1.0, -1.0, 1.0]}, "got a weight of -1.0"),
            ({"mlm_weight": math.inf}, "got a weight of inf"),
            ({"relation_weights": [0.0, 0.0, 0.0]}, "every weight is 0, so there is nothing to learn"),
            ({"temperature": 0.0}, "temperature=0.0; expected a finite number above 0"),
            ({"mlm_probability": 1.0}, "mlm_probability=1.0 is outside"),
            ({"teacher_dtype": "int8"}, "teacher_dtype='int8'; expected one of float32, bfloat16"),
            ({"activation_checkpointing_kwargs": {"use_reentrant": True}}, "use_reentrant=True"),
        ],
    )
    def test_settings(self, tmp_path, wrong, message):
        with pytest.raises(ValueError, match=message):
            RelationDistillTrainingArguments(**settings(tmp_path), **wrong)

    def test_a_dtype_for_a_teacher_that_stays_as_it_was_loaded(self, teacher, tokenizer, tmp_path):
        teacher.is_quantized = True
        with pytest.raises(ValueError, match="loaded quantized or with a device_map; leave it out"):
            trainer_of(teacher, tokenizer, tmp_path, teacher_dtype="bfloat16")
