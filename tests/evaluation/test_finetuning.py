"""Fine-tuning: learning, reproducibility by seed, step splitting, the best epoch, LoRA, used rows."""

from __future__ import annotations

import copy
import logging
import math
import re
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    Trainer,
    TrainerCallback,
    pipeline,
)
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from hf_afro import progress_log
from hf_afro.evaluation import finetuning
from hf_afro.evaluation.encoding import TaskCollator, encode
from hf_afro.evaluation.finetuning import (
    KeepBest,
    TaskTrainer,
    UsedRows,
    finetune,
    mean_loss,
    only_used_rows,
    predict,
    training_arguments,
)
from hf_afro.evaluation.metrics import task_scores
from hf_afro.evaluation.models import add_head, save_finetuned
from hf_afro.evaluation.presets import FineTuningSettings, adapted
from hf_afro.families import encoder_of
from tests.evaluation.conftest import make
from tests.tiny_families import tiny


@pytest.mark.parametrize("task", ["ner", "topic", "emotion", "regression", "relatedness"])
def test_a_task_is_learnt_and_the_model_given_stays_as_it_was(model, tokenizer, quick, task, capfd):
    data = make(task)
    before = copy.deepcopy(model.state_dict())
    longer = quick.replace(batch_size=4, learning_rate=3e-3, epochs=25, patience=None)
    settings = longer if task == "emotion" else quick
    tuned = finetune(model, tokenizer, data, settings, seed=1)
    scores = task_scores(task, data.labels, data.gold(), tuned.predict(data))
    assert scores[data.kind.main_metric] > 0.9
    assert not model.training
    assert model.config.num_labels == 2
    assert tuned.model.config.num_labels == len(data.labels)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert capfd.readouterr().out == ""


def test_the_same_seed_gives_the_same_model_and_another_another(model, tokenizer, ner, quick):
    settings = quick.replace(epochs=1)
    first, again, other = (finetune(model, tokenizer, ner, settings, seed=seed).model for seed in (1, 1, 2))
    weights = [{name: tensor for name, tensor in one.state_dict().items()} for one in (first, again, other)]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    assert not torch.equal(weights[0]["classifier.weight"], weights[2]["classifier.weight"])


def test_bf16_is_for_the_products_of_training_alone(model, tokenizer, ner, quick, monkeypatch):
    dtypes = {True: set(), False: set()}
    linear = nn.Linear.forward

    def noted(self, input):
        output = linear(self, input)
        dtypes[torch.is_grad_enabled()].add(output.dtype)
        return output

    monkeypatch.setattr(nn.Linear, "forward", noted)
    tuned = finetune(model, tokenizer, ner, quick.replace(epochs=1, bf16=True), seed=1)
    assert dtypes[True] == {torch.bfloat16}
    assert {tensor.dtype for tensor in tuned.model.parameters()} == {torch.float32}
    dtypes[False].clear()
    tuned.predict(ner)
    assert dtypes[False] == {torch.float32}


class Gradients(TrainerCallback):
    """Notes the gradients of the first step, before they are clipped to nothing or used."""

    def __init__(self):
        self.seen = {}

    def on_pre_optimizer_step(self, args, state, control, **others):
        if not self.seen:
            self.seen = {n: p.grad.clone() for n, p in others["model"].named_parameters() if p.grad is not None}


def first_gradients(model, tokenizer, data, settings, trainer_class=TaskTrainer, **more):
    classifier = add_head(model, data.task, data.labels, seed=1)
    noted = Gradients()
    args = training_arguments(settings, 1, "unused")
    args.max_grad_norm, args.max_steps, args.eval_strategy = 0.0, 1, "no"
    rows = encode(data.task, data.splits["train"], tokenizer, 32)
    if trainer_class is TaskTrainer:
        more = {"data": data, "settings": settings, "compute_loss_func": mean_loss, **more}
    trainer_class(
        model=classifier,
        args=args,
        train_dataset=rows,
        data_collator=TaskCollator(tokenizer.pad_token_id),
        callbacks=[noted],
        **more,
    ).train()
    return noted.seen


def test_losses_and_dev_scores_are_reported_where_asked_and_change_nothing(model, tokenizer, ner, quick, monkeypatch):
    told = {}

    class Recorder(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **others):
            told.setdefault(args.run_name, []).append(logs)

    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "recorder", Recorder)
    settings = quick.replace(epochs=2)
    silent = finetune(model, tokenizer, ner, settings, seed=1)
    assert told == {}
    reported = finetune(model, tokenizer, ner, settings.replace(report_to="recorder"), seed=1)
    assert list(told) == ["ner swa, seed 1"]
    lines = told["ner swa, seed 1"]
    assert [line["eval_entity_f1"] for line in lines if "eval_entity_f1" in line] == list(reported.dev_scores)
    assert [line["loss"] > 0 for line in lines if "loss" in line] == [True, True]
    assert torch.equal(reported.model.classifier.weight, silent.model.classifier.weight)
    assert "report_to" not in settings.used("ner")
    with pytest.raises(ValueError, match="nowhere is not supported, only .*trackio"):
        finetune(model, tokenizer, ner, settings.replace(report_to="nowhere"), seed=1)


def test_progress_is_logged_and_changes_nothing(model, tokenizer, ner, quick, monkeypatch, caplog, capfd):
    settings = quick.replace(epochs=2)
    silent = finetune(model, tokenizer, ner, settings, seed=1)
    monkeypatch.setattr(progress_log, "EVERY", 0.0)
    caplog.set_level(logging.INFO, "hf_afro")
    told = finetune(model, tokenizer, ner, settings, seed=1)
    assert torch.equal(told.model.classifier.weight, silent.model.classifier.weight)
    lines = [record.getMessage() for record in caplog.records if record.name == "hf_afro.progress_log"]
    assert len(lines) == 8  # 64 examples in batches of 16, twice
    assert re.fullmatch(r"ner swa, seed 1: 3 of 8 steps, [\d.,]+ steps/s, \d+ s left", lines[2])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("task", ["ner", "topic", "emotion", "regression"])
def test_16_by_1_is_4_by_4(model, tokenizer, quick, task):
    data = make(task)
    whole = first_gradients(model, tokenizer, data, quick)
    split = first_gradients(model, tokenizer, data, quick.replace(accumulation=4))
    assert max(gradient.abs().max() for gradient in whole.values()) > 1e-3
    for name, gradient in whole.items():
        torch.testing.assert_close(split[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_the_stock_trainer_would_not_do(model, tokenizer, ner, quick):
    """Guards the reason for `mean_loss`, which can go once the stock Trainer is fixed."""
    whole = first_gradients(model, tokenizer, ner, quick, Trainer)
    split = first_gradients(model, tokenizer, ner, quick.replace(accumulation=4), Trainer)
    name = "classifier.weight"
    assert split[name].norm() / whole[name].norm() > 3


def test_the_loss_of_a_batch_without_a_label_is_zero():
    logits = torch.randn(2, 3, 5, requires_grad=True)
    loss = mean_loss({"logits": logits}, torch.full((2, 3), -100))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().max() == 0


def test_several_labels_and_numbers_have_the_losses_of_the_heads_of_transformers():
    """Binary cross entropies of (1/2, 3/4) against (1, 0), and squared errors, of the rows that have a label."""
    none, ln3 = math.nan, math.log(3)
    several = mean_loss({"logits": torch.tensor([[0.0, ln3], [5.0, 5.0]])}, torch.tensor([[1.0, 0.0], [none, none]]))
    assert several.item() == pytest.approx((math.log(2) + math.log(4)) / 2)
    number = mean_loss({"logits": torch.tensor([[1.0], [3.0], [7.0]])}, torch.tensor([0.0, 1.0, none]))
    assert number.item() == pytest.approx((1 + 4) / 2)
    assert mean_loss({"logits": torch.zeros(1, 1)}, torch.tensor([3.0]), 9).item() == 1


@pytest.mark.parametrize(
    ("task", "problem"), [("emotion", "multi_label_classification"), ("regression", "regression")]
)
def test_a_saved_model_answers_through_transformers_as_it_did_here(task, problem, model, tokenizer, quick, tmp_path):
    data = make(task)
    tuned = finetune(model, tokenizer, data, quick.replace(epochs=4), seed=1)
    save_finetuned(tuned.model, tokenizer, tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert (loaded.config.problem_type, loaded.config.num_labels) == (problem, len(data.labels))
    found = pipeline("text-classification", str(tmp_path), top_k=None)(data.texts()[:6])
    if task == "emotion":
        # A sigmoid for each label.
        expected = [{data.labels[label] for label in own} for own in tuned.predict(data)[:6]]
        assert [{one["label"] for one in own if one["score"] > 0.5} for own in found] == expected
    else:
        assert [own[0]["score"] for own in found] == pytest.approx(tuned.predict(data)[:6], abs=1e-5)


def test_a_probability_of_one_half_is_no_label():
    logits = np.array([-0.1, 0.0, 0.1], dtype=np.float32)
    assert finetuning._answer(logits, "multi_label_classification") == [2]
    assert finetuning._answer(logits, None) == 2


def test_the_best_epoch_is_kept_and_training_ends_when_none_gets_better(model, tokenizer, ner, quick, monkeypatch):
    dev = iter([0.2, 0.5, 0.4, 0.5, 0.1])
    weights = []

    def evaluate(self, *args, **others):
        weights.append(self.model.classifier.weight.detach().clone())
        metrics = {"eval_entity_f1": next(dev)}
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    monkeypatch.setattr(TaskTrainer, "evaluate", evaluate)
    tuned = finetune(model, tokenizer, ner, quick.replace(patience=2), seed=1)
    assert tuned.dev_scores == (0.2, 0.5, 0.4, 0.5)
    assert tuned.best_epoch == 2
    assert torch.equal(tuned.model.classifier.weight, weights[1])
    assert not torch.equal(weights[1], weights[3])


def test_training_goes_on_while_nothing_is_right():
    best, control = KeepBest("macro_f1", 2), type("Control", (), {"should_training_stop": False})()
    stops = []
    for value in (0.0, 0.0, 0.0, 0.0, 0.3, 0.0, 0.2):
        best.on_evaluate(None, None, control, {"eval_macro_f1": value}, model=torch.nn.Linear(1, 1))
        stops.append(control.should_training_stop)
    assert stops == [False] * 6 + [True]
    assert best.epoch == 5


def test_without_patience_all_epochs_are_trained():
    best, control = KeepBest("entity_f1", None), type("Control", (), {"should_training_stop": False})()
    model = torch.nn.Linear(1, 1)
    for value in (0.5, 0.1, 0.1, 0.1):
        best.on_evaluate(None, None, control, {"eval_entity_f1": value}, model=model)
    assert (best.epoch, control.should_training_stop) == (1, False)


def test_dev_scores_are_over_all_words_though_some_are_cut_away(model, tokenizer, quick):
    data = make("ner")
    tuned = finetune(model, tokenizer, data, quick.replace(max_length=4), seed=1)
    predicted = tuned.predict(data)
    assert [len(tags) for tags in predicted] == [len(tags) for tags in data.gold()]
    # Every place name is truncated, so at most half of the entities can be found.
    assert task_scores("ner", data.labels, data.gold(), predicted)["entity_recall"] <= 0.5


def test_predictions_do_not_depend_on_the_batch(model, tokenizer, ner):
    classifier = add_head(model, "ner", ner.labels, seed=1).train()
    rows = encode("ner", ner.splits["test"], tokenizer, 32)
    collate, problem = TaskCollator(tokenizer.pad_token_id), ner.kind.problem_type
    assert predict(classifier, rows, collate, 3, problem) == predict(classifier, rows, collate, 64, problem)
    assert classifier.training


def test_numbers_that_are_not_finite_are_an_error(model, tokenizer, ner):
    classifier = add_head(model, "ner", ner.labels, seed=1)
    with torch.no_grad():
        classifier.classifier.bias[0] = math.nan
    rows = encode("ner", ner.splits["test"], tokenizer, 32)
    with pytest.raises(FloatingPointError, match="not finite; lower learning_rate"):
        predict(classifier, rows, TaskCollator(tokenizer.pad_token_id), 8, ner.kind.problem_type)


def test_a_tokenizer_that_does_not_fit_is_refused(model, tokenizer, ner, quick):
    tokenizer.add_tokens(["<extra>"])
    with pytest.raises(ValueError, match="they do not belong together"):
        finetune(model, tokenizer, ner, quick, seed=1)


def test_a_model_is_not_asked_about_other_labels(model, tokenizer, ner, topic, quick):
    tuned = finetune(model, tokenizer, ner, quick.replace(epochs=1), seed=1)
    with pytest.raises(ValueError, match="has the labels"):
        tuned.predict(topic)


pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)  # peft reads it


def changed(model, classifier) -> set[str]:
    before = encoder_of(model).state_dict()
    after = encoder_of(classifier).state_dict()
    assert before.keys() == after.keys()
    return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize("adaptation", ["lora", "frozen"])
def test_only_what_is_said_is_trained(adaptation, model, tokenizer, ner, quick, tmp_path):
    settings = adapted(quick, adaptation).replace(epochs=6, lora_rank=4)
    tuned = finetune(model, tokenizer, ner, settings, 1)
    names = changed(model, tuned.model)
    if adaptation == "frozen":
        assert not names
    else:
        assert {name.split(".")[-2] for name in names} == {"query", "value"}
    assert max(tuned.dev_scores) > tuned.dev_scores[0] or tuned.dev_scores[0] > 0.5
    assert type(tuned.model).__name__.endswith("ForTokenClassification")
    assert all(tensor.requires_grad for tensor in tuned.model.parameters())
    loaded = AutoModelForTokenClassification.from_pretrained(save_finetuned(tuned.model, tokenizer, tmp_path))
    ids = torch.arange(5, 25).unsqueeze(0)
    with torch.inference_mode():
        assert torch.allclose(loaded.eval()(ids).logits, tuned.model(ids).logits, atol=1e-5)


def test_a_run_of_lora_can_be_made_again(model, tokenizer, topic, quick):
    settings = adapted(quick, "lora").replace(epochs=2)
    first, second = (finetune(model, tokenizer, topic, settings, 1) for _ in range(2))
    assert first.dev_scores == second.dev_scores
    assert first.predict(topic) == second.predict(topic)


def test_settings_of_an_adaptation():
    settings = FineTuningSettings(learning_rate=1e-4)
    assert adapted(settings, "full") == settings
    assert adapted(settings, "lora").learning_rate == pytest.approx(1e-3)
    with pytest.raises(ValueError, match="adaptation='half'; expected one of full, lora, frozen"):
        adapted(settings, "half")
    with pytest.raises(ValueError, match="lora_rank=0"):
        FineTuningSettings(lora_rank=0)


ROWS = [{"input_ids": [0, 7, 2]}, {"input_ids": [0, 9, 7, 2]}]


@pytest.fixture
def classifier(model):
    return add_head(model, "topic", ("a", "b"), seed=1)


@pytest.mark.parametrize("task", ["ner", "topic"])
def test_training_is_the_same_as_with_all_rows(model, tokenizer, quick, task, monkeypatch):
    data, settings = make(task), quick.replace(epochs=3)
    some = finetune(model, tokenizer, data, settings, seed=1)
    monkeypatch.setattr(finetuning, "only_used_rows", lambda *_: nullcontext())
    whole = finetune(model, tokenizer, data, settings, seed=1)
    assert some.dev_scores == whole.dev_scores
    weights = whole.model.state_dict()
    assert list(some.model.state_dict()) == list(weights)
    for name, tensor in some.model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    assert not torch.equal(whole.model.get_input_embeddings().weight, model.get_input_embeddings().weight)


def test_with_weight_decay_every_row_shrinks(model, tokenizer, quick):
    tuned = finetune(model, tokenizer, make("ner"), quick.replace(epochs=1, weight_decay=0.1), seed=1)
    before, after = (one.get_input_embeddings().weight for one in (model, tuned.model))
    moved = (before != after).any(dim=1)
    assert moved.sum() == len(before) - 1  # the row of the padding is zero


def test_within_only_the_rows_used_are_parameters_and_after_it_all_are_there(classifier):
    table = classifier.get_input_embeddings()
    before = table.weight.detach().clone()
    batch = torch.tensor([[0, 9, 7, 2]])
    classifier.eval()
    expected = classifier(batch).logits
    with only_used_rows(classifier, ROWS, pad_id=1):
        some = classifier.get_input_embeddings()
        assert some.weight.shape[0] == 5  # <s>, <pad>, </s> and two more
        assert torch.equal(classifier(batch).logits, expected)
        with torch.no_grad():
            some.weight += 1
    assert classifier.get_input_embeddings() is table
    changed = (table.weight != before).any(dim=1).nonzero().flatten().tolist()
    assert changed == [0, 1, 2, 7, 9]


def test_a_padding_of_the_tokenizers_own_is_a_row_too(tokenizer, quick, monkeypatch):
    """It may differ from the model's padding where positions do not depend on it, and no text contains it."""
    model = tiny("bert", vocab_size=len(tokenizer))
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(len(tokenizer) - 1)
    assert tokenizer.pad_token_id not in (model.config.pad_token_id, tokenizer.eos_token_id)
    data, settings = make("topic"), quick.replace(epochs=1)
    some = finetune(model, tokenizer, data, settings, seed=1)
    monkeypatch.setattr(finetuning, "only_used_rows", lambda *_: nullcontext())
    whole = finetune(model, tokenizer, data, settings, seed=1)
    assert some.dev_scores == whole.dev_scores
    for name, tensor in some.model.state_dict().items():
        assert torch.equal(tensor, whole.model.state_dict()[name]), name


def test_rows_come_back_where_training_fails(classifier):
    table = classifier.get_input_embeddings()
    with pytest.raises(FloatingPointError), only_used_rows(classifier, ROWS, pad_id=1):
        raise FloatingPointError
    assert classifier.get_input_embeddings() is table


def test_an_id_that_was_not_announced_is_an_error(classifier):
    with only_used_rows(classifier, ROWS, pad_id=1), pytest.raises(IndexError):
        classifier(torch.tensor([[0, 8, 2]]))


def test_the_row_of_the_padding_gets_no_gradient():
    table = nn.Embedding(10, 4, padding_idx=1)
    some = UsedRows(table, torch.tensor([1, 3]))
    some(torch.tensor([[1, 3]])).sum().backward()
    assert some.weight.grad.tolist() == [[0.0] * 4, [1.0] * 4]


def test_an_embedding_that_does_more_than_look_up_is_left_alone(classifier):
    table = nn.Embedding(50, 32, max_norm=1.0)
    classifier.set_input_embeddings(table)
    with only_used_rows(classifier, ROWS, pad_id=1):
        assert classifier.get_input_embeddings() is table
