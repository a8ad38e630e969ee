"""Several languages of one task as one, to train on all of them at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from hf_afro.evaluation.data.task_data import SPLITS, TaskData, make_task_data
from hf_afro.evaluation.predictions import Run

AND = "+"
"""Between the codes of languages that are trained on at once."""


def joined(data: Sequence[TaskData]) -> TaskData:
    """Return one task whose splits are those of several languages, one behind the other.

    The best epoch is then chosen on the dev examples of all. The labels are those of all languages; one that is in dev
    or test of some and in train of none is counted among the repairs.

    Args:
        data: One task in several languages.

    Raises:
        ValueError: If there are fewer than two languages, several tasks, or labels that differ in case only.
    """
    tasks, languages = {one.task for one in data}, [one.language for one in data]
    if len(tasks) != 1 or len(set(languages)) < max(2, len(languages)):
        raise ValueError(
            f"{', '.join(sorted(tasks)) or 'no task'} in {', '.join(languages) or 'no language'}; training on several "
            "languages at once takes one task in two languages or more, each once"
        )
    sets = list(dict.fromkeys(one.dataset.partition("/")[0] for one in data))
    return make_task_data(
        data[0].task,
        AND.join(languages),
        f"{AND.join(sets)}/{AND.join(languages)}",
        {split: [example for one in data for example in _named(one, split)] for split in SPLITS},
        files={f"{one.language} {split}": file for one in data for split, file in one.files.items()},
        unseen_labels=True,
    )


def part_of(run: Run, data: Sequence[TaskData], index: int) -> Run:
    """Return what a run on `joined(data)` predicted for the test of one of its languages."""
    start = sum(len(one.splits["test"]) for one in data[:index])
    return dataclasses.replace(run, predicted=run.predicted[start : start + len(data[index].splits["test"])])


def _named(data: TaskData, split: str) -> list[Any]:
    """A split's examples with their labels by name, as they are read from files."""
    names = data.labels
    if data.kind.tagged:
        gold: list[Any] = [[names[tag] for tag in tags] for tags in data.gold(split)]
    else:
        gold = [names[label] for label in data.gold(split)]
    return list(zip(data.texts(split), gold, strict=True))
