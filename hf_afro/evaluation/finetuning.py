"""`finetune`: train a copy of an encoder on one task with one seed, from labels or from a teacher's logits as well."""

from __future__ import annotations

import copy
import logging
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from hf_afro.batching.collators import IGNORED
from hf_afro.evaluation.data.task_data import TaskData
from hf_afro.evaluation.encoding import (
    NO_TOKEN,
    Row,
    TaskCollator,
    encode,
    longest,
    takes_token_types,
    with_teacher_logits,
    words_of,
)
from hf_afro.evaluation.fitted import Fitted
from hf_afro.evaluation.metrics import task_scores
from hf_afro.evaluation.models import add_head
from hf_afro.families import encoder_of
from hf_afro.losses import logit_distance, logit_matching
from hf_afro.progress_log import LogProgress
from hf_afro.tasks import MULTI_LABEL, REGRESSION, kind_of
from hf_afro.training.model_checks import check_bidirectional, check_padding, check_rows, fit_padding

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hf_afro.evaluation.presets import FineTuningSettings

logger = logging.getLogger(__name__)

_LORA_SCALE = 2  # alpha over rank


@dataclass(frozen=True, eq=False, kw_only=True)
class FineTuned(Fitted):
    """A model fine-tuned on one task.

    Attributes:
        task: A name in `hf_afro.tasks.KINDS`.
        max_length: The maximum number of tokens of a sequence in training.
        eval_batch_size: The batch size for prediction.
    """

    task: str
    max_length: int
    eval_batch_size: int

    def predict(self, data: TaskData, split: str = "test") -> list[Any]:
        """Return the predicted answers of a split, in the form of `TaskData.gold`.

        Args:
            data: The task in any language, with the model's labels.
            split: Of the task.

        Raises:
            ValueError: If the labels of data and model differ.
            FloatingPointError: If the model returns values that are not finite.
        """
        if (data.task, data.labels) != (self.task, self.labels):
            raise ValueError(f"{data.dataset} has the labels {data.labels}; expected the model's, {self.labels}")
        rows = encode(data.task, data.splits[split], self.tokenizer, self.max_length)
        collate = TaskCollator(self.tokenizer.pad_token_id, takes_token_types(self.model))
        return predict(self.model, rows, collate, self.eval_batch_size, data.kind.problem_type)

    def logits(self, split: Dataset) -> list[np.ndarray]:
        """Return the logits of every text, ``[labels]``, or of every word of a sentence, ``[words, labels]``.

        They are NaN for a word without a token, such as one that was truncated.

        Args:
            split: Of a `TaskData` of the same task; its labels are not read.

        Raises:
            FloatingPointError: If the model returns values that are not finite.
        """
        rows = encode(self.task, split, self.tokenizer, self.max_length)
        collate = TaskCollator(self.tokenizer.pad_token_id, takes_token_types(self.model))
        found = logits_of(self.model, rows, collate, self.eval_batch_size)
        return [_by_word(row, own) if "positions" in row else own for row, own in zip(rows, found, strict=True)]


def _by_word(row: Row, logits: np.ndarray) -> np.ndarray:
    """Return the logits of words, ``[words, labels]``, from those of positions."""
    words: np.ndarray = np.full((len(row["positions"]), logits.shape[-1]), np.nan, dtype=np.float32)
    there = row["positions"] != NO_TOKEN
    words[there] = logits[row["positions"][there]]
    return words


def finetune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TaskData,
    settings: FineTuningSettings,
    seed: int,
    *,
    teacher: FineTuned | None = None,
    unlabelled: Dataset | None = None,
    keep_head: bool = False,
    run_name: str | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> FineTuned:
    """Fine-tune a copy of an encoder on one task and keep its best epoch on dev.

    The learning rate rises and falls linearly, batches hold examples of similar length, and the loss of a step is the
    mean over all its labelled words or texts, however accumulation and processes split it. With a teacher, the
    distance to its logits is added: a mean over all words or texts of the step, labelled or not, times `logit_weight`.
    An epoch then goes through the labelled and the unlabelled texts once, mixed. The teacher's logits are computed
    once; it may have another tokenizer, since words and texts are matched rather than tokens.

    Args:
        model: The encoder, with or without a head; not changed.
        tokenizer: Its tokenizer.
        data: The task.
        settings: The settings. `max_train`, `max_dev` and `max_test` are left to the caller: see `TaskData.limited`.
        seed: Of the head, the order of examples, and dropout.
        teacher: A model fine-tuned on the same task with the same labels.
        unlabelled: Texts that only the teacher labels; see `hf_afro.evaluation.distillation.unlabelled_split`.
        keep_head: Whether the model is a classifier with the labels of the task already, and is trained further with
            its head.
        run_name: Name of the run for `report_to`; by default task, language and seed.
        callbacks: Added to the Trainer's.

    Raises:
        ValueError: If tokenizer and model do not belong together, the model cannot get a head, the teacher has other
            labels, or there is unlabelled text and no teacher.
        FloatingPointError: If training ends in values that are not finite.

    References:
        Ba and Caruana, NeurIPS 2014, for matching logits; Mukherjee and Awadallah, "XtremeDistil", ACL 2020, for
        unlabelled text of the task.
    """
    check_tokenizer(model, tokenizer)
    max_length = longest(model, settings.max_length)
    classifier = copy.deepcopy(model) if keep_head else add_head(model, data.task, data.labels, seed)
    fit_padding(classifier, tokenizer, logging.INFO)  # the same for every run of an evaluation
    train, dev = (encode(data.task, data.splits[split], tokenizer, max_length) for split in ("train", "dev"))
    if teacher is not None:
        check_logit_loss(data.task, settings)
        train = _taught(train, data, tokenizer, max_length, teacher, unlabelled, bf16=settings.bf16)
    elif unlabelled is not None:
        raise ValueError("unlabelled text was given without a teacher to label it; pass teacher=")
    best = KeepBest(data.kind.main_metric, settings.patience)
    started = time.perf_counter()
    # Weight decay would shrink unused rows too, so they must be there for it.
    sparse = settings.weight_decay == 0 and settings.adaptation == "full"
    light = only_used_rows(classifier, [*train, *dev], tokenizer.pad_token_id) if sparse else nullcontext()
    trained = adapt(classifier, settings)
    name = f"{data.task} {data.language}, seed {seed}"
    with tempfile.TemporaryDirectory() as folder, light:
        trainer = TaskTrainer(
            model=trained,
            args=training_arguments(settings, seed, folder, run_name or name),
            data=data,
            train_dataset=train,
            eval_dataset=dev,
            data_collator=TaskCollator(tokenizer.pad_token_id, takes_token_types(classifier)),
            settings=settings,
            compute_loss_func=mean_loss,
            callbacks=[best, LogProgress(name), *callbacks],
        )
        trainer.remove_callback(PrinterCallback)  # without a bar it prints every log to the standard output
        trainer.train()
        # Accelerate leaves the forward pass in mixed precision.
        trainer.accelerator.unwrap_model(trained, keep_fp32_wrapper=False)
    return FineTuned(
        model=merged(trained, settings).eval(),
        tokenizer=tokenizer,
        task=data.task,
        labels=data.labels,
        max_length=max_length,
        eval_batch_size=settings.eval_batch_size,
        dev_scores=tuple(best.scores),
        best_epoch=best.epoch,
        seconds=time.perf_counter() - started,
    )


def _taught(
    labelled: list[Row],
    data: TaskData,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    teacher: FineTuned,
    unlabelled: Dataset | None,
    *,
    bf16: bool,
) -> list[Row]:
    """Return the rows to train on with the teacher's logits, those of unlabelled texts last."""
    if teacher.task != data.task or set(teacher.labels) != set(data.labels):
        raise ValueError(
            f"the teacher of {teacher.task} has the labels {', '.join(teacher.labels)}, and {data.dataset} has "
            f"{', '.join(data.labels)}; fine-tune the teacher on the same data"
        )
    columns = [teacher.labels.index(name) for name in data.labels]
    splits = [data.splits["train"], *([] if unlabelled is None else [unlabelled])]
    logger.info("The teacher labels %s texts.", f"{sum(map(len, splits)):,}")
    with torch.autocast(teacher.model.device.type, torch.bfloat16, enabled=bf16):
        logits = [own for split in splits for own in teacher.logits(split)]
    for split in splits[1:]:
        labelled = [*labelled, *encode(data.task, split, tokenizer, max_length)]
    return [with_teacher_logits(row, own[..., columns]) for row, own in zip(labelled, logits, strict=True)]


def check_logit_loss(task: str, settings: FineTuningSettings) -> None:
    """Refuse to match distributions over labels where the logits of a text are none.

    Raises:
        ValueError: If `logit_loss` is `kl` and texts have several labels or a number.
    """
    kind = kind_of(task)
    if settings.logit_loss == "kl" and settings.logit_weight and (kind.multi_label or kind.regression):
        raise ValueError(
            f"logit_loss is kl, which compares probabilities that sum to 1 over the labels, and those of {task} do "
            "not; expected mse"
        )


def check_tokenizer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that a tokenizer belongs to a model and that the model is an encoder.

    Raises:
        ValueError: If the model is no encoder or lacks a row for a token, or the tokenizer has no padding token or
            another one than the model counts positions from.
    """
    check_bidirectional(model)
    check_rows(model, tokenizer)
    if tokenizer.pad_token_id is None:
        raise ValueError(f"{type(tokenizer).__name__} has no padding token; set tokenizer.pad_token first")
    check_padding(model, tokenizer.pad_token_id, tokenizer)


def adapt(classifier: PreTrainedModel, settings: FineTuningSettings) -> Any:
    """Prepare a classifier for training all of it, its head alone, or its head with LoRA in the encoder.

    The head is always trained, and so is a pooler below it, which may be new as well. LoRA is added to the modules
    that PEFT has for the family (queries and values).

    Args:
        classifier: The result of `add_head`; changed in place.
        settings: `adaptation` and `lora_rank` are used.

    Returns:
        The classifier, or the `PeftModel` around it; see `merged`.
    """
    if settings.adaptation == "full":
        return classifier
    encoder = encoder_of(classifier)
    frozen = {id(tensor) for name, tensor in encoder.named_parameters() if not name.startswith("pooler.")}
    head = [tensor for tensor in classifier.parameters() if id(tensor) not in frozen]
    model: Any = classifier
    if settings.adaptation == "lora":
        from peft import LoraConfig

        from hf_afro.training.adapters import with_adapter  # imports peft

        rank = settings.lora_rank
        model = with_adapter(classifier, LoraConfig(r=rank, lora_alpha=_LORA_SCALE * rank, lora_dropout=0.0))
    else:
        classifier.requires_grad_(False)
    for tensor in head:
        tensor.requires_grad_(True)
    return model


def merged(model: Any, settings: FineTuningSettings) -> PreTrainedModel:
    """Return a plain classifier from the result of `adapt`, with gradients for every parameter again."""
    classifier = model.merge_and_unload() if settings.adaptation == "lora" else model
    return classifier.requires_grad_(True)


class UsedRows(nn.Module):
    """Some rows of an embedding, indexed by their ids in the whole.

    Most of a multilingual encoder is its embedding, and a task in one language uses a few thousand of its rows. The
    others have a gradient of zero, which AdamW without weight decay turns into no change, since its moments stay zero.
    So they need neither gradient nor moments, nor a copy when the best epoch is kept.

    Args:
        table: The whole embedding, ``[vocabulary, width]``.
        ids: The ids of the rows, sorted and unique.
    """

    def __init__(self, table: nn.Embedding, ids: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(table.weight.detach()[ids].clone())  # [used, width]
        # Other ids point behind the last row, which raises an error.
        place = torch.full((table.num_embeddings,), len(ids))
        place[ids] = torch.arange(len(ids))
        self.register_buffer("place", place, persistent=False)  # [vocabulary]
        self.padding_idx = None if table.padding_idx is None else int(place[table.padding_idx])

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Look up ids ``[batch, length]``, giving ``[batch, length, width]``."""
        return functional.embedding(self.place[input_ids], self.weight, padding_idx=self.padding_idx)


@contextmanager
def only_used_rows(model: PreTrainedModel, rows: Iterable[Row], pad_id: int) -> Iterator[None]:
    """Reduce a model's embedding to the rows that some text uses, and put them back into the whole afterwards.

    Args:
        model: A model whose embedding is not tied; changed in place. An embedding that does more than look up rows is
            left as it is.
        rows: All text that the model will see meanwhile.
        pad_id: The id that pads short rows: the tokenizer's, which may differ from the model's.
    """
    table = model.get_input_embeddings()
    if type(table) is not nn.Embedding or table.max_norm is not None:
        yield
        return
    used = {pad_id, *(int(token) for row in rows for token in row["input_ids"])}
    if table.padding_idx is not None:
        used.add(table.padding_idx)
    ids = torch.from_numpy(np.array(sorted(used), dtype=np.int64)).to(table.weight.device)
    some = UsedRows(table, ids)
    model.set_input_embeddings(some)
    try:
        yield
    finally:
        with torch.no_grad():
            # Training may have moved the model to another device.
            device = some.weight.device
            table.to(device).weight[ids.to(device)] = some.weight
        model.set_input_embeddings(table)


def training_arguments(
    settings: FineTuningSettings, seed: int, folder: str, run_name: str | None = None
) -> TrainingArguments:
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
        bf16=settings.bf16,
        use_cpu=settings.bf16 and not torch.accelerator.is_available(),  # without it bf16 is refused there
        seed=seed,
        train_sampling_strategy="group_by_length",
        remove_unused_columns=False,
        eval_strategy="epoch",
        save_strategy="no",
        logging_strategy="no" if settings.report_to == "none" else "epoch",
        report_to=settings.report_to,
        run_name=run_name,
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def mean_loss(
    outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Return the loss of a micro-batch as its part of the whole step's mean, as the heads of transformers compute it.

    That is the cross entropy; where texts have several labels, the binary cross entropy of each label, present ones
    not weighted; and for numbers the squared error.

    The heads' own loss is the mean of the micro-batch although they take `num_items_in_batch`: the Trainer then
    divides by nothing, and the gradient grows with the number of accumulation steps (huggingface/transformers#47688).

    Args:
        outputs: With `logits`, ``[batch, length, labels]`` or ``[batch, labels]``.
        labels: Ids, ``[batch, length]`` with -100 for none, or ``[batch]``; for several labels 0 or 1, float
            ``[batch, labels]``, and for numbers float ``[batch]``, with NaN for none.
        num_items_in_batch: The number of labels (words, texts, or texts times labels) in the step, over all processes.
    """
    logits, there = outputs["logits"].float(), _is_label(labels)
    if labels.is_floating_point():
        loss = functional.binary_cross_entropy_with_logits if labels.dim() == 2 else functional.mse_loss
        total = loss(logits.reshape(labels.shape)[there], labels[there], reduction="sum")
    else:
        total = functional.cross_entropy(
            logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORED, reduction="sum"
        )
    # In a batch whose every word was truncated there is nothing to learn, and the loss is zero.
    items = there.sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
    return total / items.clamp_min(1).to(total.device)


def _is_label(labels: torch.Tensor) -> torch.Tensor:
    """Return where there is a label, and not the value that stands for none."""
    return ~labels.isnan() if labels.is_floating_point() else labels != IGNORED


def teacher_loss(logits: torch.Tensor, taught: torch.Tensor, settings: FineTuningSettings) -> torch.Tensor:
    """Return the summed distance to a teacher's logits over the words or texts that it labelled.

    Args:
        logits: ``[batch, length, labels]`` or ``[batch, labels]``.
        taught: The teacher's, in the same shape; NaN where it says nothing.
        settings: `logit_loss` and `temperature` are used.
    """
    there = ~taught[..., 0].isnan()
    if settings.logit_loss == "kl":
        return logit_matching(logits[there], taught[there], settings.temperature)
    return logit_distance(logits[there], taught[there])


class TaskTrainer(Trainer):
    """A Trainer that evaluates words and texts, and matches a teacher's logits where batches hold them.

    The stock one evaluates positions, in an order that its sampler by length has changed and without truncated words.
    Every process evaluates all of dev.

    Args:
        data: The task; `eval_dataset` was encoded from its dev split.
        settings: The settings of fine-tuning; only those of a teacher are used.
        **trainer_settings: Those of `transformers.Trainer`.
    """

    def __init__(self, *, data: TaskData, settings: FineTuningSettings, **trainer_settings: Any) -> None:
        self.data, self.settings = data, settings
        super().__init__(**trainer_settings)

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | int | None]:
        """Return the micro-batches of one step, and what each term of the loss is divided by over all processes."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not batches or "teacher_logits" not in batches[0]:
            return batches, items
        counts = torch.stack([_counts(batch) for batch in batches]).sum(0).to(device)
        return batches, self.accelerator.reduce(counts, reduction="sum")

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        """Return the loss of one micro-batch as its part of the step's loss; see `finetune`."""
        if "teacher_logits" not in inputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        counts = _counts(inputs) if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        labelled, taught = counts.clamp_min(1).unbind()
        outputs = model(
            **{name: tensor for name, tensor in inputs.items() if name not in ("labels", "teacher_logits")}
        )
        distance = teacher_loss(outputs["logits"], inputs["teacher_logits"], self.settings) / taught
        loss = mean_loss(outputs, inputs["labels"], labelled) + self.settings.logit_weight * distance
        # DDP takes the mean of the gradients over processes; here their sum over one count is wanted.
        loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def evaluate(
        self,
        eval_dataset: list[Row] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Return the task's scores on dev.

        Args:
            eval_dataset: Rows of the dev split, in order; by default those given to the trainer.
            ignore_keys: Unused; part of the Trainer's signature.
            metric_key_prefix: Prefix of the names of scores.
        """
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        kind = self.data.kind
        predicted = predict(self.model, rows, self.data_collator, self.args.eval_batch_size, kind.problem_type)
        scores = task_scores(self.data.task, self.data.labels, self.data.gold("dev"), predicted)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in scores.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def _counts(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return how many labels there are, and how many words or texts have a teacher's logits, int64 ``[2]``."""
    return torch.stack([_is_label(batch["labels"]).sum(), (~batch["teacher_logits"][..., 0].isnan()).sum()])


class KeepBest(TrainerCallback):
    """Keeps the weights of the best epoch on dev in memory, and stops training without improvement.

    A score of 0 does not count: where labels are rare, a model predicts none of them in its first epochs.

    Args:
        metric: The metric to compare, higher being better.
        patience: The number of epochs without improvement before training stops; None to never stop.
    """

    def __init__(self, metric: str, patience: int | None) -> None:
        self.metric, self.patience = metric, patience
        self.scores: list[float] = []
        self.epoch = 0
        self._weights: dict[str, torch.Tensor] = {}

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **others: Any) -> None:
        """Compare this epoch with the best."""
        self.scores.append(metrics[f"eval_{self.metric}"])
        best = self.scores[self.epoch - 1] if self.epoch else 0.0
        if self.epoch == 0 or self.scores[-1] > best:
            self.epoch = len(self.scores)
            model = others["model"]
            # Frozen weights are the same in every epoch.
            frozen = {name for name, tensor in model.named_parameters() if not tensor.requires_grad}
            self._weights = {
                name: tensor.detach().cpu().clone()
                for name, tensor in model.state_dict().items()
                if name not in frozen
            }
        elif self.patience is not None and best > 0 and len(self.scores) - self.epoch >= self.patience:
            control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Restore the best weights."""
        if self.epoch:
            others["model"].load_state_dict(self._weights, strict=False)
            self._weights = {}


def predict(
    model: PreTrainedModel, rows: list[Row], collate: TaskCollator, batch_size: int, problem_type: str
) -> list[Any]:
    """Return the answer to each row, or to each of its words, in the order of the rows.

    An answer is the most probable label; where texts have several, the labels whose probability is above 0.5; or the
    number.

    Args:
        model: A classifier; its mode is restored.
        rows: The result of `encode`.
        collate: Pads them.
        batch_size: Rows per batch, of similar length.
        problem_type: Of the task, see `hf_afro.tasks.TaskKind`; a model from elsewhere need not name its own.

    Raises:
        FloatingPointError: If a logit is not finite.
    """
    found = zip(rows, logits_of(model, rows, collate, batch_size), strict=True)
    return [words_of(row, own.argmax(-1)) if "positions" in row else _answer(own, problem_type) for row, own in found]


def _answer(logits: np.ndarray, problem_type: str) -> Any:
    """Return the answer that the logits of a text stand for; see `predict`."""
    if problem_type == MULTI_LABEL:
        return np.flatnonzero(logits > 0).tolist()  # a probability of 0.5 is a logit of 0
    return float(logits[0]) if problem_type == REGRESSION else int(logits.argmax())


@torch.no_grad()
def logits_of(model: PreTrainedModel, rows: list[Row], collate: TaskCollator, batch_size: int) -> list[np.ndarray]:
    """Return the logits of each row, ``[labels]``, or ``[length, labels]`` for tagged sentences; see `predict`."""
    was_training = model.training
    model.eval()
    results: list[Any] = [None] * len(rows)
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]["input_ids"]))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = collate([rows[index] for index in chosen])
        inputs = {name: tensor.to(model.device) for name, tensor in batch.items() if name != "labels"}
        logits = model(**inputs).logits.float()
        if not torch.isfinite(logits).all():
            raise FloatingPointError(
                "the model returned values that are not finite; lower learning_rate or raise warmup"
            )
        for index, own in zip(chosen, logits.cpu().numpy(), strict=True):
            tagged = "positions" in rows[index]
            results[index] = own[: len(rows[index]["input_ids"])].copy() if tagged else own.copy()
    model.train(was_training)
    return results
