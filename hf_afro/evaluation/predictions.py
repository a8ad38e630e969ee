"""What fine-tuned models predicted, on disk: a file a run while it is made, and one a task and language for good.

A run's file is named by what was run, and holds a key made of everything its predictions depend on. So a report that
was cut short goes on where it was, and never with the predictions of other weights, data or settings.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_afro.files import write_whole, written_whole
from hf_afro.version import __version__

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from hf_afro.evaluation.data.task_data import TaskData
    from hf_afro.evaluation.presets import FineTuningSettings

PREDICTIONS = "predictions"
KEY_FILE = "finetuning_run.json"
"""In the folder of a fine-tuned model: the key of the run that made it."""
_RUNS = "runs"
_LONGEST_STEM = 80  # characters; names of files end at 255 bytes, at 143 on encrypted file systems


@dataclass(frozen=True)
class Run:
    """What one fine-tuning run gave.

    Attributes:
        predicted: Label ids for test: a list a sentence if words are tagged, one a text else.
        dev_scores: The main metric on dev after each epoch.
        best_epoch: The epoch, from 1, that was kept.
        seconds: What training took.
        elsewhere: By language, what the same model predicts for the test of other languages, by its own label ids.
    """

    predicted: list[Any]
    dev_scores: tuple[float, ...]
    best_epoch: int
    seconds: float
    elsewhere: Mapping[str, list[Any]] = field(default_factory=dict)


def run_key(
    model_fingerprint: str,
    tokenizer: PreTrainedTokenizerBase,
    data: TaskData,
    settings: FineTuningSettings,
    seed: int,
    elsewhere: Sequence[TaskData] = (),
    adapters: Mapping[str, str] | None = None,
) -> str:
    """Return the SHA-256 of everything a run's predictions depend on.

    Args:
        model_fingerprint: Of the encoder.
        tokenizer: The model's.
        data: What it is fine-tuned and measured on.
        settings: Of fine-tuning.
        seed: Of the run.
        elsewhere: Other languages that it is measured on too.
        adapters: The fingerprints of the adapters of languages that it uses, by code.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    facts = [
        __version__,
        model_fingerprint,
        hashlib.sha256((backend.to_str() if backend else repr(tokenizer)).encode()).hexdigest(),
        {split: data.fingerprint_of(split) for split in sorted(data.splits)},
        data.labels,
        dataclasses.asdict(settings),
        seed,
        [data.fingerprint_of("test") for data in elsewhere],
        dict(adapters or {}),
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def save_run(folder: Path, data: TaskData, seed: int, key: str, run: Run) -> None:
    """Write a run that has ended; its file appears whole or not at all."""
    path = _run_file(folder, data, seed)
    write_whole(path, json.dumps({"key": key, **dataclasses.asdict(run)}) + "\n")


def load_run(folder: Path, data: TaskData, seed: int, key: str) -> Run | None:
    """Return a run of an earlier call with the same key, None where there is none."""
    path = _run_file(folder, data, seed)
    if not path.is_file():
        return None
    facts = json.loads(path.read_text("utf-8"))
    if facts.pop("key") != key:
        return None
    return Run(**{**facts, "dev_scores": tuple(facts["dev_scores"])})


def mark_run(folder: Path, key: str) -> None:
    """Write into the folder of a fine-tuned model which run it came out of."""
    write_whole(folder / KEY_FILE, json.dumps({"key": key}) + "\n")


def holds_run(folder: Path, key: str) -> bool:
    """Tell whether a folder holds the fine-tuned model of the run with a key."""
    path = folder / KEY_FILE
    return path.is_file() and json.loads(path.read_text("utf-8")) == {"key": key}


def encodings_of(folder: Path) -> Path:
    """Return where tokenised splits are kept while runs are made."""
    return folder / _RUNS / "encoded"


def copies_of(folder: Path) -> Path:
    """Return where copies of the model for other processes lie while runs are made; a killed call leaves its own."""
    return folder / _RUNS / "model"


def has_runs(folder: Path) -> bool:
    """Tell whether a folder holds runs that have ended, of a report that is not written yet."""
    return any((folder / _RUNS).glob("*.json"))


def forget_runs(folder: Path) -> None:
    """Remove the files of single runs, once the report holds them all."""
    if (folder / _RUNS).is_dir():
        shutil.rmtree(folder / _RUNS)


def write_predictions(folder: Path, data: TaskData, runs: Mapping[int, Run], trained: TaskData | None = None) -> str:
    """Write the right and the predicted labels of every test example, a line each.

    A line holds `index`, the example's number in the file of the test split, from 0, however many were sampled;
    `gold`; `predicted`, by seed; labels by name; and `in_train`, whether train has the example's text, case, spaces
    and punctuation apart.

    Args:
        folder: Of the report.
        data: What was predicted.
        runs: By seed.
        trained: What was trained on and gives the names of what is predicted, where it is more than `data`.

    Returns:
        The file's path, relative to the folder.
    """
    known = trained or data
    relative = f"{PREDICTIONS}/{data.task}-{data.language}.jsonl"
    with written_whole(folder / relative) as beside, beside.open("w", encoding="utf-8", newline="\n") as file:
        seen_there = data.seen_in_train(trained=known).tolist()
        examples = zip(data.numbers_of(), data.gold(), seen_there, strict=True)
        for place, (number, gold, seen) in enumerate(examples):
            facts = {
                "index": number,
                "gold": named(data, gold),
                "predicted": {str(seed): named(known, run.predicted[place]) for seed, run in runs.items()},
                "in_train": seen,
            }
            file.write(json.dumps(facts, ensure_ascii=False) + "\n")
    return relative


def write_transfer(
    folder: Path, data: TaskData, source: str, labels: Sequence[str], predicted: Mapping[int, list[Any]]
) -> str:
    """Write the right labels of every test example, and those that models trained on another language predicted.

    Args:
        folder: Of the report.
        data: What was predicted.
        source: The language trained on.
        labels: The names of the labels that the models know, by id.
        predicted: The ids of `labels`, by seed.

    Returns:
        The file's path, relative to the folder; lines are those of `write_predictions` without `in_train`.
    """
    relative = f"{PREDICTIONS}/{data.task}-{data.language}-from-{file_stem(source)}.jsonl"
    with written_whole(folder / relative) as beside, beside.open("w", encoding="utf-8", newline="\n") as file:
        for place, (number, gold) in enumerate(zip(data.numbers_of(), data.gold(), strict=True)):
            own = {str(seed): _names(labels, answers[place]) for seed, answers in predicted.items()}
            facts = {"index": number, "gold": named(data, gold), "predicted": own}
            file.write(json.dumps(facts, ensure_ascii=False) + "\n")
    return relative


def file_stem(language: str) -> str:
    """Return what stands for one language or several in the name of a file: a hash where their codes are too many."""
    if len(language) <= _LONGEST_STEM:
        return language
    return f"{language.count('+') + 1}-languages-{hashlib.sha256(language.encode()).hexdigest()[:12]}"


def named(data: TaskData, labels: int | list[int]) -> str | list[str]:
    """Return the names of one example's labels."""
    return _names(data.labels, labels)


def _names(names: Sequence[str], labels: int | list[int]) -> str | list[str]:
    return names[labels] if isinstance(labels, int) else [names[label] for label in labels]


def _run_file(folder: Path, data: TaskData, seed: int) -> Path:
    return folder / _RUNS / f"{data.task}-{file_stem(data.language)}-{seed}.json"
