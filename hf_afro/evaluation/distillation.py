"""Distillation on a task: fine-tuned teachers, and unlabelled text for students to learn from."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from hf_afro.batching.collators import IGNORED
from hf_afro.corpora import EvaluationSentences, PreparedCorpora, TextSource, prepare_corpora
from hf_afro.evaluation.encoding import longest
from hf_afro.evaluation.finetuning import FineTuned
from hf_afro.evaluation.predictions import file_stem
from hf_afro.pretrained import load_tokenizer
from hf_afro.tasks import kind_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from hf_afro.evaluation.data.task_data import TaskData
    from hf_afro.evaluation.presets import FineTuningSettings

MODELS = "models"
"""The folder of fine-tuned models, beside a report."""
_CLASSIFIERS = ("ForTokenClassification", "ForSequenceClassification")
_FILES = ("*.json", "*.safetensors", "*.model", "*.txt")


def model_name(task: str, language: str, seed: int) -> str:
    """Return the name of the folder of a fine-tuned model in `MODELS`, such as `ner-swa-1`."""
    return f"{task}-{file_stem(language)}-{seed}"


def is_finetuned(name: str | os.PathLike[str]) -> bool:
    """Tell whether a teacher is fine-tuned: a classifier, or a folder with `MODELS`, rather than an encoder."""
    if (Path(name) / MODELS).is_dir():
        return True
    architectures = AutoConfig.from_pretrained(name, trust_remote_code=False).architectures or [""]
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

    return Path(snapshot_download(os.fspath(teacher), allow_patterns=list(_FILES)))


def any_teacher(teacher: str | os.PathLike[str], data: Sequence[TaskData], seed: int) -> Path:
    """Return the folder of some teacher, whose sizes are those of all."""
    models = Path(teacher) / MODELS
    return min(models.iterdir()) if models.is_dir() else teacher_folder(teacher, data[0], seed)


def load_finetuned(folder: Path, data: TaskData, settings: FineTuningSettings) -> FineTuned:
    """Load a fine-tuned model, onto the accelerator if there is one.

    Args:
        folder: As `save_finetuned` wrote it, or any classifier with its tokenizer.
        data: The task, whose labels the model must have, in any order.
        settings: `max_length` and `eval_batch_size` are used.

    Raises:
        ValueError: If the model is no classifier of this kind, or has other labels.
    """
    model = load_classifier(folder)
    wanted = _CLASSIFIERS[0 if data.kind.tagged else 1]
    if not type(model).__name__.endswith(wanted):
        raise ValueError(
            f"{folder} holds {type(model).__name__}; expected a model fine-tuned on {data.task}, a {wanted}"
        )
    labels = tuple(model.config.id2label[index] for index in sorted(model.config.id2label))
    if set(labels) != set(data.labels):
        raise ValueError(
            f"{folder} has the labels {', '.join(labels)}, and {data.dataset} has {', '.join(data.labels)}; "
            "fine-tune the teacher on the same data"
        )
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    return FineTuned(
        model=model.to(device),
        tokenizer=load_tokenizer(str(folder)),
        task=data.task,
        labels=labels,
        max_length=longest(model, settings.max_length),
        eval_batch_size=settings.eval_batch_size,
        dev_scores=(),
        best_epoch=0,
        seconds=0.0,
    )


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
    for path in sorted(
        path for pattern in ("config.json", "tokenizer.json", "*.safetensors") for path in folder.glob(pattern)
    ):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def clean_unlabelled(unlabelled: Mapping[str, Iterable[str]], data: Sequence[TaskData]) -> PreparedCorpora:
    """Return unlabelled text without empty and repeated lines and without any sentence that is evaluated on.

    Args:
        unlabelled: Lines by ISO 639-3 code, each a text or, for pairs, two texts with a tab between them.
        data: The tasks, whose dev and test sentences are taken out of the text of every language.

    Raises:
        ValueError: If nothing is left of a language.
    """
    sources = {code: _source(code, lines) for code, lines in unlabelled.items()}
    evaluated = {
        f"{one.dataset} {split}": one.sentences(split)
        for one in data
        for split in ("dev", "test")
        if split in one.splits
    }
    return prepare_corpora(
        sources, held_out_lines=0, excluded=EvaluationSentences.of(evaluated), min_tokens=1, drop_duplicates=True
    )


def _source(code: str, lines: Iterable[str]) -> TextSource:
    if isinstance(lines, TextSource):
        return lines
    kept = list(lines)
    return TextSource(code, f"the unlabelled text in {code}", lambda: iter(kept))


def sampled(lines: Sequence[str], most: int | None) -> list[str]:
    """Return a random sample of at most so many lines, with seed 0, in their original order."""
    if most is None or len(lines) <= most:
        return list(lines)
    chosen = np.sort(np.random.default_rng(0).choice(len(lines), size=most, replace=False))
    return [lines[index] for index in chosen.tolist()]


def unlabelled_split(task: str, lines: Iterable[str]) -> Dataset:
    """Return lines as a split of a task without labels.

    Sentences of tagged tasks are split into words as the sets are: at white space, with the punctuation around a word
    as words of its own.

    Args:
        task: A name in `hf_afro.tasks.KINDS`.
        lines: Texts; for pairs, two texts with a tab between them.

    Raises:
        ValueError: If a line of a task of pairs has not exactly one tab.
    """
    kind, lines = kind_of(task), list(lines)
    if kind.tagged:
        tokens = [split_words(line) for line in lines]
        return Dataset.from_dict({"tokens": tokens, "tags": [[IGNORED] * len(words) for words in tokens]})
    labels = [IGNORED] * len(lines)
    if not kind.pairs:
        return Dataset.from_dict({"text": lines, "label": labels})
    pairs = [line.split("\t") for line in lines]
    if odd := [line for line, pair in zip(lines, pairs, strict=True) if len(pair) != 2]:
        raise ValueError(
            f"{len(odd)} lines of unlabelled text for {task} are no pairs, such as {odd[0][:60]!r}; expected two "
            "texts with a tab between them"
        )
    first, second = zip(*pairs, strict=True) if pairs else ((), ())
    return Dataset.from_dict({"text": list(first), "text_pair": list(second), "label": labels})


def split_words(line: str) -> list[str]:
    """Split a sentence at white space, and punctuation and symbols from the ends of words.

    Marks inside a word, as in `ng'ombe` and `dị-iche`, stay.
    """
    return [part for word in line.split() for part in _peeled(word)]


def _peeled(word: str) -> Iterator[str]:
    start, end = 0, len(word)
    while start < end and _is_punctuation(word[start]):
        start += 1
    while end > start and _is_punctuation(word[end - 1]):
        end -= 1
    yield from word[:start]
    if start < end:
        yield word[start:end]
    yield from word[end:]


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"
