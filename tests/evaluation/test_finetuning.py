"""Fine-tuning: it learns, repeats itself by seed, splits a step as one likes, and keeps the best epoch."""

from __future__ import annotations

import copy
import logging
import math
import re

import pytest
import torch
from transformers import Trainer, TrainerCallback

from hf_afro import progress_log
from hf_afro.evaluation import finetuning
from hf_afro.evaluation.encoding import TaskCollator, encode
from hf_afro.evaluation.finetuning import (
    KeepBest,
    TaskTrainer,
    finetune,
    mean_loss,
    predict,
    score,
    training_arguments,
)
from hf_afro.evaluation.heads import add_head
from tests.evaluation.conftest import make


@pytest.mark.parametrize("task", ["ner", "topic"])
def test_a_task_is_learnt_and_the_model_given_stays_as_it_was(model, tokenizer, quick, task, capfd):
    data = make(task)
    before = copy.deepcopy(model.state_dict())
    tuned = finetune(model, tokenizer, data, quick, seed=1)
    scores = score(data, data.gold(), tuned.predict(data))
    assert scores[finetuning.MAIN_METRIC[task]] > 0.9
    assert not model.training
    assert model.config.num_labels == 2
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert capfd.readouterr().out == ""


def test_the_same_seed_gives_the_same_model_and_another_another(model, tokenizer, ner, quick):
    settings = quick.replace(epochs=1)
    first, again, other = (finetune(model, tokenizer, ner, settings, seed=seed).model for seed in (1, 1, 2))
    weights = [{name: tensor for name, tensor in one.state_dict().items()} for one in (first, again, other)]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    assert not torch.equal(weights[0]["classifier.weight"], weights[2]["classifier.weight"])


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
        more = {"data": data, "compute_loss_func": mean_loss, **more}
    trainer_class(
        model=classifier,
        args=args,
        train_dataset=rows,
        data_collator=TaskCollator(tokenizer.pad_token_id),
        callbacks=[noted],
        **more,
    ).train()
    return noted.seen


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


@pytest.mark.parametrize("task", ["ner", "topic"])
def test_16_by_1_is_4_by_4(model, tokenizer, quick, task):
    data = make(task)
    whole = first_gradients(model, tokenizer, data, quick)
    split = first_gradients(model, tokenizer, data, quick.replace(accumulation=4))
    assert max(gradient.abs().max() for gradient in whole.values()) > 1e-3
    for name, gradient in whole.items():
        torch.testing.assert_close(split[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_the_stock_trainer_would_not_do(model, tokenizer, ner, quick):
    """Guards the reason for `mean_loss`: should the stock Trainer be mended, it can go."""
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
    # Every place stands behind what four tokens hold, so every one is missed and half of the entities is the most.
    assert score(data, data.gold(), predicted)["entity_recall"] <= 0.5


def test_predictions_do_not_depend_on_the_batch(model, tokenizer, ner):
    classifier = add_head(model, "ner", ner.labels, seed=1).train()
    rows = encode("ner", ner.splits["test"], tokenizer, 32)
    collate = TaskCollator(tokenizer.pad_token_id)
    assert predict(classifier, rows, collate, 3) == predict(classifier, rows, collate, 64)
    assert classifier.training


def test_numbers_that_are_not_finite_are_an_error(model, tokenizer, ner):
    classifier = add_head(model, "ner", ner.labels, seed=1)
    with torch.no_grad():
        classifier.classifier.bias[0] = math.nan
    rows = encode("ner", ner.splits["test"], tokenizer, 32)
    with pytest.raises(FloatingPointError, match="not finite; lower learning_rate"):
        predict(classifier, rows, TaskCollator(tokenizer.pad_token_id), 8)


def test_a_tokenizer_that_does_not_fit_is_refused(model, tokenizer, ner, quick):
    tokenizer.add_tokens(["<extra>"])
    with pytest.raises(ValueError, match="they do not belong together"):
        finetune(model, tokenizer, ner, quick, seed=1)


def test_a_model_is_not_asked_about_other_labels(model, tokenizer, ner, topic, quick):
    tuned = finetune(model, tokenizer, ner, quick.replace(epochs=1), seed=1)
    with pytest.raises(ValueError, match="has the labels"):
        tuned.predict(topic)
