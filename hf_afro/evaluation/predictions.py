"""Files of predictions: one per task and language, with the correct and the predicted labels of every test example."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_afro.evaluation.data.task_data import AND, TaskData, named
from hf_afro.evaluation.significance import task_counts
from hf_afro.files import written_whole
from hf_afro.tasks import BITEXT, kind_of

PREDICTIONS = "predictions"
_LONGEST_STEM = 80  # characters; file names end at 255 bytes, and at 143 on encrypted file systems


@dataclass(frozen=True)
class Predictions:
    """The predictions of one model for one task and language, as read from a file.

    Attributes:
        gold: The correct labels by name: one list per sentence for tagged tasks, one list per text where texts have
            several, otherwise one per text; or numbers. Of bitext retrieval, the line of each sentence.
        predicted: The predicted labels in the same shape, by seed, or by direction of bitext retrieval.
        in_train: Whether train has the example's text; empty where the file does not say.
        index: The number of each example in the file of the test split.
    """

    gold: Sequence[Any]
    predicted: dict[str, list[Any]]
    in_train: tuple[bool, ...] = ()
    index: tuple[int, ...] = ()

    def labels(self, task: str) -> tuple[str, ...]:
        """Return all labels that are correct or predicted somewhere, sorted; none of a task with numbers."""
        kind = kind_of(task)
        if kind.regression:
            return ()
        every = (one for own in (self.gold, *self.predicted.values()) for one in own)
        return tuple(sorted({name for one in every for name in (one if kind.lists_labels else (one,))}))

    def right_or_wrong(self) -> Predictions:
        """Return predictions that only say whether each answer is the correct one."""
        found = {
            run: ["right" if one == gold else "wrong" for one, gold in zip(own, self.gold, strict=True)]
            for run, own in self.predicted.items()
        }
        return dataclasses.replace(self, gold=["right"] * len(self.gold), predicted=found)

    def counts(self, task: str, labels: Sequence[str] = (), *, deduplicated: bool = False) -> list[np.ndarray]:
        """Return the counts of each run; see `task_counts`.

        Args:
            task: A name in `hf_afro.tasks.KINDS`.
            labels: All labels; by default those of these predictions.
            deduplicated: Whether to leave out examples that train has too.

        Raises:
            ValueError: If the file does not say which examples train has.
        """
        if deduplicated and len(self.in_train) != len(self.gold):
            raise ValueError("the predictions do not say which examples train has; evaluate again, or score all")
        kept = [index for index in range(len(self.gold)) if not (deduplicated and self.in_train[index])]
        kind = kind_of(task)
        labels = tuple(labels) or self.labels(task)
        ids = {name: index for index, name in enumerate(labels)}

        def numbers(own: Sequence[Any]) -> list[Any]:
            if kind.regression:
                return [own[index] for index in kept]
            return [[ids[name] for name in own[index]] if kind.lists_labels else ids[own[index]] for index in kept]

        gold = numbers(self.gold)
        return [task_counts(task, labels, gold, numbers(own)) for own in self.predicted.values()]


def read_predictions(path: str | os.PathLike[str]) -> Predictions:
    """Read a file of predictions.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If a line is not a prediction, or the seeds of lines differ.
    """
    gold: list[Any] = []
    predicted: dict[str, list[Any]] = {}
    in_train: list[bool] = []
    index: list[int] = []
    for number, line in enumerate(Path(path).read_text("utf-8").splitlines(), start=1):
        try:
            facts = json.loads(line)
            runs = dict(facts["predicted"])
            gold.append(facts["gold"])
            index.append(int(facts.get("index", number - 1)))
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}, line {number}: not a prediction ({error}); expected gold and predicted"
            ) from error
        if number > 1 and runs.keys() != predicted.keys():
            raise ValueError(f"{path}, line {number}: seeds {', '.join(runs)}; expected {', '.join(predicted)}")
        for seed, labels in runs.items():
            predicted.setdefault(seed, []).append(labels)
        if "in_train" in facts:
            in_train.append(bool(facts["in_train"]))
    if not gold:
        raise ValueError(f"{path} is empty; expected one prediction per line")
    return Predictions(gold, predicted, tuple(in_train), tuple(index))


def write_predictions(
    folder: Path, data: TaskData, predicted: Mapping[int, list[Any]], trained: TaskData | None = None
) -> str:
    """Write the correct and the predicted labels of every test example as JSON lines.

    A line holds `index`, the example's number in the file of the test split, from 0; `gold`; `predicted`, by seed;
    labels by name; and `in_train`, whether train has the example's text, ignoring case, spaces and punctuation.

    Args:
        folder: Of the report.
        data: The task.
        predicted: Label ids by seed.
        trained: What the model was trained on, where that is several languages; its labels are those predicted.

    Returns:
        The path of the file, relative to the folder.
    """
    known = trained or data
    lines = [
        {**line, "in_train": seen}
        for line, seen in zip(
            _lines(data, known.labels, predicted), data.seen_in_train(trained=known).tolist(), strict=True
        )
    ]
    return _write(folder, f"{data.task}-{data.language}", lines)


def write_transfer(folder: Path, data: TaskData, trained: TaskData, predicted: Mapping[int, list[Any]]) -> str:
    """Write the predictions of models that were trained on another language, without `in_train`.

    Args:
        folder: Of the report.
        data: The task in the language measured.
        trained: The task in the language or languages trained on.
        predicted: Ids of `trained`'s labels by seed.

    Returns:
        The path of the file, relative to the folder.
    """
    stem = f"{data.task}-{data.language}-from-{file_stem(trained.language)}"
    return _write(folder, stem, _lines(data, trained.labels, predicted))


def write_perturbed(
    folder: Path, data: TaskData, trained: TaskData, perturbation: str, predicted: Mapping[int, list[Any]]
) -> str:
    """Write the predictions on changed test text, without `in_train`.

    Args:
        folder: Of the report.
        data: The task in the language measured.
        trained: What the model was trained on.
        perturbation: A name in `hf_afro.tasks.PERTURBATIONS`.
        predicted: Ids of `trained`'s labels by seed.

    Returns:
        The path of the file, relative to the folder.
    """
    return _write(folder, f"{data.task}-{data.language}-{perturbation}", _lines(data, trained.labels, predicted))


def write_bitext(folder: Path, language: str, lines: Iterator[dict[str, Any]]) -> str:
    """Write what bitext retrieval found, and return the path of the file, relative to the folder.

    A line holds `index`, the line of the sentence in its file, from 0; `gold`, the same; and `predicted`, by
    direction, the line of the nearest sentence of the other language.

    Args:
        folder: Of the report.
        language: ISO 639-3 code.
        lines: See `BitextRetrieval.predictions`.
    """
    return _write(folder, f"{BITEXT}-{language}", lines)


def file_stem(language: str) -> str:
    """Return the name of one or several languages in file names: a hash where their codes are too long."""
    if len(language) <= _LONGEST_STEM:
        return language
    return f"{language.count(AND) + 1}-languages-{hashlib.sha256(language.encode()).hexdigest()[:12]}"


def _lines(data: TaskData, labels: Sequence[str], predicted: Mapping[int, list[Any]]) -> Iterator[dict[str, Any]]:
    for place, (number, gold) in enumerate(zip(data.numbers_of(), data.gold(), strict=True)):
        own = {str(seed): named(data.kind, labels, answers[place]) for seed, answers in predicted.items()}
        yield {"index": number, "gold": named(data.kind, data.labels, gold), "predicted": own}


def _write(folder: Path, stem: str, lines: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> str:
    relative = f"{PREDICTIONS}/{stem}.jsonl"
    with written_whole(folder / relative) as beside, beside.open("w", encoding="utf-8", newline="\n") as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return relative
