"""`finetune`: one task, one language, one seed: a copy of an encoder with a new head, trained by the HF Trainer."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from hf_afro.evaluation.adaptation import adapt, merged
from hf_afro.evaluation.data.kinds import KINDS
from hf_afro.evaluation.data.task_data import TaskData
from hf_afro.evaluation.encoding import Row, TaskCollator, longest, takes_token_types, words_of
from hf_afro.evaluation.encoding_cache import encode_with_cache
from hf_afro.evaluation.heads import add_head
from hf_afro.evaluation.language_adapters import Folders, LanguageStack
from hf_afro.evaluation.metrics import task_scores
from hf_afro.evaluation.used_rows import only_used_rows
from hf_afro.training.checks import check_bidirectional, check_rows
from hf_afro.training.log_progress import LogProgress
from hf_afro.training.padding import check_padding, fit_padding

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hf_afro.evaluation.presets import FineTuningSettings

MAIN_METRIC = {task: kind.main_metric for task, kind in KINDS.items()}
"""What the best epoch is chosen by, and what the papers print."""


@dataclass(frozen=True, eq=False)
class FineTuned:
    """A model fine-tuned on one task.

    Attributes:
        model: The classifier, in eval mode; its configuration carries the names of the labels.
        tokenizer: The one given.
        task: `ner`, `topic` or `sentiment`.
        labels: The names of the labels, by id.
        max_length: Tokens of a sequence at most, as it was trained.
        eval_batch_size: Examples at a time when predicting.
        dev_scores: The main metric on dev after each epoch.
        best_epoch: The epoch, from 1, that was kept.
        seconds: What training took.
        stack: The same with adapters apart, where languages have their own; `model` speaks the language trained in.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    task: str
    labels: tuple[str, ...]
    max_length: int
    eval_batch_size: int
    dev_scores: tuple[float, ...]
    best_epoch: int
    seconds: float
    stack: LanguageStack | None = None

    def predict(
        self, data: TaskData, split: str = "test", *, cache_dir: str | os.PathLike[str] | None = None
    ) -> list[Any]:
        """Return the labels predicted for a split, by id: a list a sentence for `ner`, one a text else.

        Where languages have adapters of their own, that of the data's language is used.

        Args:
            data: The task, in any language; its labels are the model's.
            split: Of the task.
            cache_dir: See `encode_with_cache`.

        Raises:
            ValueError: If the data has other labels than the model was trained on.
            FloatingPointError: If the model gives numbers that are not finite.
        """
        if (data.task, data.labels) != (self.task, self.labels):
            raise ValueError(
                f"{data.dataset} has the labels {data.labels} and the model {self.labels}; expected the same"
            )
        rows = encode_with_cache(data, split, self.tokenizer, self.max_length, cache_dir)
        model = self.model if self.stack is None else self.stack.speak(data.language)
        collate = TaskCollator(self.tokenizer.pad_token_id, takes_token_types(self.model))
        return predict(model, rows, collate, self.eval_batch_size)


def finetune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TaskData,
    settings: FineTuningSettings,
    seed: int,
    *,
    callbacks: Sequence[TrainerCallback] = (),
    cache_dir: str | os.PathLike[str] | None = None,
    language_adapters: Folders | None = None,
) -> FineTuned:
    """Fine-tune a copy of an encoder on one task and keep its best epoch on dev.

    The learning rate rises and falls linearly, batches hold examples of like length, and the loss of a step is the
    mean over all its labelled words or texts, however it is split by accumulation and processes.

    Args:
        model: The encoder, with any head or none; not changed.
        tokenizer: Its tokenizer.
        data: The task.
        settings: How to train; `max_train`, `max_dev` and `max_test` are applied by the caller, with `data.limited`.
        seed: Of the head, the order and dropout.
        callbacks: Added to the Trainer's, for a bar of one's own.
        cache_dir: Where tokenised splits are kept; see `encode_with_cache`.
        language_adapters: Folders of LoRA adapters by language; that of the data's lies frozen under the task's own,
            which `adaptation="lora"` of the settings asks for. See `hf_afro.evaluation.language_adapters`.

    Raises:
        ValueError: If tokenizer and model do not belong together, or the model is not fit for a head.
        FloatingPointError: If training ends in numbers that are not finite.
    """
    check_tokenizer(model, tokenizer)
    max_length = longest(model, settings.max_length)
    classifier = add_head(model, data.task, data.labels, seed)
    fit_padding(classifier, tokenizer, logging.INFO)  # the same for every run of an evaluation
    train, dev = (encode_with_cache(data, split, tokenizer, max_length, cache_dir) for split in ("train", "dev"))
    best = KeepBest(MAIN_METRIC[data.task], settings.patience)
    started = time.perf_counter()
    # Weight decay would shrink the rows that no text uses as well, so then they have to be there.
    sparse = settings.weight_decay == 0 and settings.adaptation == "full"
    light = only_used_rows(classifier, [*train, *dev], tokenizer.pad_token_id) if sparse else nullcontext()
    trained = adapt(classifier, settings)
    stack = stack_of(trained, settings, language_adapters, data.language)
    with tempfile.TemporaryDirectory() as folder, light:
        trainer = TaskTrainer(
            model=trained,
            args=training_arguments(settings, seed, folder),
            data=data,
            train_dataset=train,
            eval_dataset=dev,
            data_collator=TaskCollator(tokenizer.pad_token_id, takes_token_types(classifier)),
            compute_loss_func=mean_loss,
            callbacks=[best, LogProgress(f"{data.task} {data.language}, seed {seed}"), *callbacks],
        )
        # It prints every log of a trainer without a bar to the standard output.
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    classifier = (merged(trained, settings) if stack is None else stack.plain()).eval()
    return FineTuned(
        model=classifier,
        tokenizer=tokenizer,
        task=data.task,
        labels=data.labels,
        max_length=max_length,
        eval_batch_size=settings.eval_batch_size,
        dev_scores=tuple(best.scores),
        best_epoch=best.epoch,
        seconds=time.perf_counter() - started,
        stack=stack,
    )


def stack_of(
    trained: Any, settings: FineTuningSettings, language_adapters: Folders | None, language: str
) -> LanguageStack | None:
    """Return what `adapt` returned with a language's adapter under it; None where languages have none."""
    if language_adapters is None:
        return None
    if settings.adaptation != "lora":
        raise ValueError(
            f"adaptation={settings.adaptation!r}; adapters of languages lie under one of the task: 'lora'"
        )
    return LanguageStack(trained, language_adapters, language)


def check_tokenizer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise a ValueError if a model and a tokenizer do not belong together, or the model is no encoder.

    The model must have a row for each token; the tokenizer must have a padding token, and it must be the one that
    positions are counted from, where the model counts them so.
    """
    check_bidirectional(model)
    check_rows(model, tokenizer)
    if tokenizer.pad_token_id is None:
        raise ValueError(f"{type(tokenizer).__name__} has no padding token; set tokenizer.pad_token first")
    check_padding(model, tokenizer.pad_token_id, tokenizer)


def training_arguments(settings: FineTuningSettings, seed: int, folder: str) -> TrainingArguments:
    """Return the Trainer's arguments; nothing is saved, since the best epoch is kept in memory."""
    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=settings.batch_size // settings.accumulation,
        gradient_accumulation_steps=settings.accumulation,
        per_device_eval_batch_size=settings.eval_batch_size,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup,  # below 1 it is a share of the steps
        weight_decay=settings.weight_decay,
        seed=seed,
        train_sampling_strategy="group_by_length",
        remove_unused_columns=False,
        eval_strategy="epoch",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def mean_loss(
    outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Return the cross entropy of a micro-batch as its part of the whole step's mean.

    The heads' own loss is the mean of the micro-batch, though they take `num_items_in_batch`: the Trainer then divides
    by nothing, and the gradient grows with the number of accumulation steps (huggingface/transformers#47688).

    Args:
        outputs: With `logits`, ``[batch, length, labels]`` or ``[batch, labels]``.
        labels: ``[batch, length]`` with -100 where there is none, or ``[batch]``.
        num_items_in_batch: Labelled words or texts of the step, on all processes.
    """
    logits = outputs["logits"].flatten(0, -2).float()
    total = functional.cross_entropy(logits, labels.flatten(), ignore_index=-100, reduction="sum")
    # A batch whose every word was cut away has nothing to learn from, and zero is its loss.
    items = (labels != -100).sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
    return total / items.clamp_min(1).to(total.device)


class TaskTrainer(Trainer):
    """A Trainer that evaluates on words and texts.

    The stock one evaluates positions, in an order that its sampler by length has changed, and what was cut away is not
    there. Every process evaluates all of dev.

    Args:
        data: The task; its dev split is what `eval_dataset` was encoded from.
        **settings: Those of `transformers.Trainer`.
    """

    def __init__(self, *, data: TaskData, **settings: Any) -> None:
        self.data = data
        super().__init__(**settings)

    def evaluate(
        self,
        eval_dataset: list[Row] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Return the task's scores on dev.

        Args:
            eval_dataset: Rows of the dev split, in its order; those given to the trainer by default.
            ignore_keys: Not used; the Trainer's signature.
            metric_key_prefix: What the names of the scores start with.
        """
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        predicted = predict(self.model, rows, self.data_collator, self.args.eval_batch_size)
        scores = score(self.data, self.data.gold("dev"), predicted)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in scores.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class KeepBest(TrainerCallback):
    """Keeps the weights of the best epoch on dev in memory, and ends training when none gets better.

    Args:
        metric: What is compared, higher being better.
        patience: Epochs without a better one; None never ends training.
    """

    def __init__(self, metric: str, patience: int | None) -> None:
        self.metric, self.patience = metric, patience
        self.scores: list[float] = []
        self.epoch = 0
        self._weights: dict[str, torch.Tensor] = {}

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **others: Any) -> None:
        """Compare this epoch with the best."""
        self.scores.append(metrics[f"eval_{self.metric}"])
        if self.epoch == 0 or self.scores[-1] > self.scores[self.epoch - 1]:
            self.epoch = len(self.scores)
            model = others["model"]
            # What is frozen is the same in every epoch.
            frozen = {name for name, tensor in model.named_parameters() if not tensor.requires_grad}
            self._weights = {
                name: tensor.detach().cpu().clone()
                for name, tensor in model.state_dict().items()
                if name not in frozen
            }
        elif self.patience is not None and len(self.scores) - self.epoch >= self.patience:
            control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Put the best weights back."""
        if self.epoch:
            others["model"].load_state_dict(self._weights, strict=False)
            self._weights = {}


@torch.no_grad()
def predict(model: PreTrainedModel, rows: list[Row], collate: TaskCollator, batch_size: int) -> list[Any]:
    """Return the likeliest label of each row's text, or of each of its words, in the order of the rows.

    Args:
        model: A classifier; left in the mode it was in.
        rows: What `encode` made.
        collate: Pads them.
        batch_size: Rows at a time, of like length.

    Raises:
        FloatingPointError: If a logit is not finite.
    """
    was_training = model.training
    model.eval()
    results: list[Any] = [None] * len(rows)
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]["input_ids"]))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = collate([rows[index] for index in chosen])
        inputs = {name: tensor.to(model.device) for name, tensor in batch.items() if name != "labels"}
        logits = model(**inputs).logits
        if not torch.isfinite(logits).all():
            raise FloatingPointError("the model gives numbers that are not finite; lower learning_rate or add warm-up")
        labels: np.ndarray = logits.argmax(-1).cpu().numpy()
        for index, label in zip(chosen, labels, strict=True):
            results[index] = words_of(rows[index], label) if "positions" in rows[index] else int(label)
    model.train(was_training)
    return results


def score(data: TaskData, gold: Sequence[Any], predicted: Sequence[Any]) -> dict[str, float]:
    """Return the scores of predictions by label id; see `hf_afro.evaluation.metrics.task_scores`."""
    return task_scores(data.task, data.labels, gold, predicted)
