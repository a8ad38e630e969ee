"""Distillation on a task: fine-tuned teachers, and unlabelled text for students to learn from."""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from hf_afro.batching.collators import IGNORED
from hf_afro.corpora import EvaluationSentences, PreparedCorpora, TextSource, prepare_corpora
from hf_afro.corpora.decontamination import parts_of
from hf_afro.evaluation.data.tables import split_words
from hf_afro.evaluation.data.task_data import sampled_places
from hf_afro.evaluation.encoding import longest
from hf_afro.evaluation.finetuning import FineTuned
from hf_afro.evaluation.predictions import file_stem
from hf_afro.pretrained import load_encoder_config, load_tokenizer
from hf_afro.reports.evaluation_report import REPORT_FILE
from hf_afro.tasks import kind_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from hf_afro.evaluation.data.task_data import TaskData
    from hf_afro.evaluation.presets import FineTuningSettings

logger = logging.getLogger(__name__)

MODELS = "models"
"""The folder of fine-tuned models, beside a report."""
LABELS_ONLY = "-labels"
"""Suffix of the name of a student that learnt from labels alone, beside the one that was distilled."""
_CLASSIFIERS = ("ForTokenClassification", "ForSequenceClassification")
_TOKENIZER_FILES = ("tokenizer*", "*.model", "vocab*", "merges.txt")
_WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin")


def model_name(task: str, language: str, seed: int) -> str:
    """Return the name of the folder of a fine-tuned model in `MODELS`, such as `ner-swa-1`."""
    return f"{task}-{file_stem(language)}-{seed}"


def is_finetuned(name: str | os.PathLike[str]) -> bool:
    """Tell whether a teacher is fine-tuned: a classifier, or a folder with `MODELS`, rather than an encoder."""
    if (Path(name) / MODELS).is_dir():
        return True
    below = sorted(path.parent.name for path in Path(name).glob(f"*/{MODELS}"))
    if below:
        raise ValueError(
            f"{name} holds evaluations in folders of their own, {', '.join(below)}; expected one, such as "
            f"{Path(name) / below[0]}, or in a recipe a stage with one model that has no name there"
        )
    if (Path(name) / REPORT_FILE).is_file():
        raise ValueError(f"{name} holds a report and no models; evaluate the teacher again with --save_models")
    architectures = load_encoder_config(os.fspath(name)).architectures or [""]
    return architectures[0].endswith(_CLASSIFIERS)


def teacher_folder(teacher: str | os.PathLike[str], data: TaskData, seed: int) -> Path:
    """Return the folder of the teacher of one run.

    Args:
        teacher: A folder that `evaluate_model` wrote with `save_models`, which has a teacher for each task, language
            and seed; or one fine-tuned model, by folder or by its name on the Hub, which teaches all runs.
        data: The task that the student is trained on, in one language or several joined.
        seed: Of the run.

    Raises:
        FileNotFoundError: If the folder has no model of this task, language and seed.
    """
    models = Path(teacher) / MODELS
    if models.is_dir():
        folder = models / model_name(data.task, data.language, seed)
        if not folder.is_dir():
            there = ", ".join(sorted(path.name for path in models.iterdir()))
            raise FileNotFoundError(
                f"{teacher} has no fine-tuned model {folder.name} (task, language, seed); it has {there}. Evaluate "
                "teacher and student on the same tasks, languages and seeds, both jointly or both alone"
            )
        return folder
    if Path(teacher).is_dir():
        return Path(teacher)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(os.fspath(teacher), allow_patterns=["*.json", *_TOKENIZER_FILES, *_WEIGHT_FILES]))


def any_teacher(teacher: str | os.PathLike[str], data: Sequence[TaskData], seed: int) -> Path:
    """Return the folder of some teacher, whose sizes are those of all."""
    models = Path(teacher) / MODELS
    return min(models.iterdir()) if models.is_dir() else teacher_folder(teacher, data[0], seed)


def check_finetuned(folder: Path, data: TaskData) -> None:
    """Check that a fine-tuned model has the labels of a task, in any order, reading its configuration alone.

    Raises:
        ValueError: If it is no classifier of this kind, or has other labels.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    name, wanted = (config.architectures or ["no model"])[0], _CLASSIFIERS[0 if data.kind.tagged else 1]
    if not name.endswith(wanted):
        raise ValueError(f"{folder} holds {name}; expected a model fine-tuned on {data.task}, a {wanted}")
    problem = getattr(config, "problem_type", None)
    if not data.kind.tagged and problem not in (None, data.kind.problem_type):
        raise ValueError(
            f"{folder} has the problem_type {problem!r}; expected {data.kind.problem_type!r}, as {data.task} has"
        )
    if set(config.id2label.values()) != set(data.labels):
        raise ValueError(
            f"{folder} has the labels {', '.join(config.id2label.values())}, and {data.dataset} has "
            f"{', '.join(data.labels)}; fine-tune the teacher on the same data"
        )


def load_finetuned(folder: Path, data: TaskData, settings: FineTuningSettings) -> FineTuned:
    """Load a fine-tuned model, onto the accelerator if there is one, with its labels in the order of the task's.

    Args:
        folder: As `save_finetuned` wrote it, or any classifier with its tokenizer.
        data: The task.
        settings: `max_length` and `eval_batch_size` are used.

    Raises:
        ValueError: If `check_finetuned` refuses the model.
    """
    check_finetuned(folder, data)
    model = load_classifier(folder)
    put_labels_in_order(model, data.labels)
    if not data.kind.tagged:  # a model from elsewhere need not say it, and a student made of its layers has to
        model.config.problem_type = data.kind.problem_type
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    return FineTuned(
        model=model.to(device),
        tokenizer=load_tokenizer(str(folder)),
        task=data.task,
        labels=data.labels,
        max_length=longest(model, settings.max_length),
        eval_batch_size=settings.eval_batch_size,
        dev_scores=(),
        best_epoch=0,
        seconds=0.0,
    )


@torch.no_grad()
def put_labels_in_order(model: PreTrainedModel, labels: Sequence[str]) -> None:
    """Reorder the outputs of a classifier in place, so that its labels are numbered as a task numbers them.

    Args:
        model: A classifier; its last linear layer has one output per label.
        labels: All of its labels, in the order wanted.
    """
    own = [model.config.id2label[index] for index in sorted(model.config.id2label)]
    if tuple(own) == tuple(labels):
        return
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    last = next(module for module in reversed(linear) if module.out_features == len(own))
    rows = [own.index(label) for label in labels]
    for tensor in filter(lambda one: one is not None, (last.weight, last.bias)):
        tensor.copy_(tensor[rows].clone())
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: index for index, label in enumerate(labels)}


def load_classifier(folder: Path) -> PreTrainedModel:
    """Load a classifier of tokens or of texts in fp32, as its configuration says which.

    Raises:
        ValueError: If it is neither.
    """
    name = (AutoConfig.from_pretrained(folder, trust_remote_code=False).architectures or ["no model"])[0]
    if not name.endswith(_CLASSIFIERS):
        raise ValueError(f"{folder} holds {name}; expected a fine-tuned model, {' or '.join(_CLASSIFIERS)}")
    kind: Any = AutoModelForTokenClassification if "Token" in name else AutoModelForSequenceClassification
    return kind.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False).eval()


def folder_fingerprint(folder: Path) -> str:
    """Return the SHA-256 of a model's configuration, tokenizer and weights, as they are saved."""
    digest = hashlib.sha256()
    patterns = ("config.json", *_TOKENIZER_FILES, *_WEIGHT_FILES)
    for path in sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def clean_unlabelled(unlabelled: Mapping[str, Iterable[str]], data: Sequence[TaskData]) -> PreparedCorpora:
    """Return unlabelled text without empty and repeated lines and without any sentence that is evaluated on.

    Args:
        unlabelled: Lines by ISO 639-3 code, each a text or, for pairs, two texts with a tab between them. Languages
            that no task is in are left out.
        data: The tasks, whose dev and test sentences are taken out of the text of every language.

    Raises:
        ValueError: If no task is in a language of the text, or nothing is left of a language.
    """
    codes = dict.fromkeys(one.language for one in data)
    sources = {code: _source(code, lines) for code, lines in unlabelled.items() if code in codes}
    if not sources:
        raise ValueError(
            f"the unlabelled text is in {', '.join(unlabelled) or 'no language'}, and the tasks are in "
            f"{', '.join(codes)}; give text in one of these"
        )
    if missing := [code for code in codes if code not in sources]:
        logger.warning("There is no unlabelled text in %s.", ", ".join(missing))
    sets = {
        f"{one.dataset} {split}": [*one.sentences(split), *(" ".join(pair) for pair in _pairs(one, split))]
        for one in data
        for split in ("dev", "test")
        if split in one.splits
    }
    evaluated = EvaluationSentences.of(sets, {name: parts_of(own) for name, own in sets.items()})
    return prepare_corpora(sources, held_out_lines=0, excluded=evaluated, min_tokens=1, drop_duplicates=True)


def _pairs(data: TaskData, split: str) -> list[tuple[str, str]]:
    return data.texts(split) if data.kind.pairs else []


def _source(code: str, lines: Iterable[str]) -> TextSource:
    if isinstance(lines, TextSource):
        return lines
    kept = list(lines)
    return TextSource(code, f"the unlabelled text in {code}", lambda: iter(kept))


def sampled(lines: Sequence[str], most: int | None) -> list[str]:
    """Return a random sample of at most so many lines, with seed 0, in their original order."""
    return [lines[place] for place in sampled_places(len(lines), most)]


def unlabelled_split(task: str, lines: Iterable[str], labels: int = 1) -> Dataset:
    """Return lines as a split of a task without labels.

    Sentences of tagged tasks are split into words as the sets are: at white space, with the punctuation around a word
    as words of its own.

    Args:
        task: A name in `hf_afro.tasks.KINDS`.
        lines: Texts; for pairs, two texts with a tab between them.
        labels: The number of labels; it only matters where a text has several.

    Raises:
        ValueError: If a line of a task of pairs has not exactly one tab.
    """
    kind, lines = kind_of(task), list(lines)
    if kind.tagged:
        tokens = [split_words(line) for line in lines]
        return Dataset.from_dict({"tokens": tokens, "tags": [[IGNORED] * len(words) for words in tokens]})
    none: Any = [math.nan] * labels if kind.multi_label else math.nan if kind.regression else IGNORED
    column = [none] * len(lines)
    if not kind.pairs:
        return Dataset.from_dict({"text": lines, "label": column})
    pairs = [line.split("\t") for line in lines]
    if odd := [line for line, pair in zip(lines, pairs, strict=True) if len(pair) != 2]:
        raise ValueError(
            f"{len(odd)} lines of unlabelled text for {task} are no pairs, such as {odd[0][:60]!r}; expected two "
            "texts with a tab between them"
        )
    first, second = zip(*pairs, strict=True) if pairs else ((), ())
    return Dataset.from_dict({"text": list(first), "text_pair": list(second), "label": column})
