"""Predictions that were written, read again: an interval for one model, and whether two of them differ."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_afro.evaluation.data.kinds import kind_of
from hf_afro.evaluation.resampling import (
    MEASURES,
    Comparison,
    Interval,
    approximate_randomisation,
    bootstrap_interval,
    paired_bootstrap,
    task_counts,
)


@dataclass(frozen=True)
class Predictions:
    """What `write_predictions` wrote of one task and language.

    Attributes:
        gold: The right labels by name: a list a sentence if words are tagged, else one a text.
        predicted: The same as predicted, by seed.
        in_train: Whether train has the example's text; empty where the file does not say.
        index: The number of each example in the file it is from; of a sample that an older version wrote, in that.
    """

    gold: Sequence[Any]
    predicted: dict[str, list[Any]]
    in_train: tuple[bool, ...] = ()
    index: tuple[int, ...] = ()

    def labels(self, task: str) -> tuple[str, ...]:
        """Return the labels that are right or predicted anywhere, sorted."""
        tagged = kind_of(task).tagged
        every = (one for own in (self.gold, *self.predicted.values()) for one in own)
        return tuple(sorted({name for one in every for name in (one if tagged else (one,))}))

    def counts(self, task: str, labels: Sequence[str] = (), *, deduplicated: bool = False) -> list[np.ndarray]:
        """Return the counts of each run; see `hf_afro.evaluation.resampling.task_counts`.

        Args:
            task: A name of `hf_afro.evaluation.data.kinds.KINDS`.
            labels: All there are; by default those of these predictions.
            deduplicated: Whether to leave out what train has.

        Raises:
            ValueError: If the file does not say what train has.
        """
        if deduplicated and len(self.in_train) != len(self.gold):
            raise ValueError("the predictions do not say what train has; evaluate again, or score all of them")
        kept = [index for index in range(len(self.gold)) if not (deduplicated and self.in_train[index])]
        tagged = kind_of(task).tagged
        labels = tuple(labels) or self.labels(task)
        ids = {name: index for index, name in enumerate(labels)}

        def numbers(own: Sequence[Any]) -> list[Any]:
            return [[ids[name] for name in own[index]] if tagged else ids[own[index]] for index in kept]

        gold = numbers(self.gold)
        return [task_counts(task, labels, gold, numbers(own)) for own in self.predicted.values()]


def read_predictions(path: str | os.PathLike[str]) -> Predictions:
    """Read a file of predictions.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If a line is no prediction, or lines have other seeds.
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
            raise ValueError(f"{path}, line {number}: no prediction ({error}); expected gold and predicted") from error
        if number > 1 and runs.keys() != predicted.keys():
            raise ValueError(f"{path}, line {number}: seeds {', '.join(runs)}; expected {', '.join(predicted)}")
        for seed, labels in runs.items():
            predicted.setdefault(seed, []).append(labels)
        if "in_train" in facts:
            in_train.append(bool(facts["in_train"]))
    if not gold:
        raise ValueError(f"{path} is empty; expected a prediction a line")
    return Predictions(gold, predicted, tuple(in_train), tuple(index))


def interval_of(
    predictions: Predictions,
    task: str,
    metric: str = "",
    *,
    deduplicated: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Return the 95 % bootstrap interval of a score over sentences; see `bootstrap_interval`.

    Args:
        predictions: Of one task and language.
        task: A name of `hf_afro.evaluation.data.kinds.KINDS`.
        metric: A name of `MEASURES`; by default the task's main one.
        deduplicated: Whether to leave out what train has.
        resamples: How many are drawn.
        seed: Of the draws.
    """
    counts = predictions.counts(task, deduplicated=deduplicated)
    return bootstrap_interval(counts, _measure(task, metric), resamples=resamples, seed=seed)


def compare(
    first: Predictions,
    second: Predictions,
    task: str,
    metric: str = "",
    *,
    method: str = "randomisation",
    deduplicated: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Tell whether two models differ on the same examples.

    Args:
        first: Of the first model.
        second: Of the second, on the same test examples.
        task: A name of `hf_afro.evaluation.data.kinds.KINDS`.
        metric: A name of `MEASURES`; by default the task's main one.
        method: `randomisation`, which needs as many seeds of both, or `bootstrap`.
        deduplicated: Whether to leave out what the training split of either has.
        resamples: How many are drawn.
        seed: Of the draws.

    Raises:
        ValueError: If the right labels or the numbers are not the same, so that the models saw other examples.
    """
    if not same_examples(first, second):
        what = "right labels" if list(first.gold) != list(second.gold) else "numbers (`index`)"
        raise ValueError(f"the two were not evaluated on the same examples: their {what} differ")
    methods = {"randomisation": approximate_randomisation, "bootstrap": paired_bootstrap}
    if method not in methods:
        raise ValueError(f"no method {method!r}; expected {' or '.join(methods)}")
    # Of classes, both must have the same ones in the same order.
    labels = tuple(sorted({*first.labels(task), *second.labels(task)}))
    if deduplicated:
        # Trained on other sets, each may know others of the examples: what is left is new to both.
        known = tuple(any(pair) for pair in zip(first.in_train, second.in_train, strict=False))
        first, second = (dataclasses.replace(own, in_train=known if own.in_train else ()) for own in (first, second))
    one, other = (own.counts(task, labels, deduplicated=deduplicated) for own in (first, second))
    return methods[method](one, other, _measure(task, metric), resamples=resamples, seed=seed)


def same_examples(first: Predictions, second: Predictions) -> bool:
    """Tell whether the examples of two models are the same, by the right labels and, of samples, by the numbers."""
    of_samples = _is_sample(first) and _is_sample(second)
    return list(first.gold) == list(second.gold) and not (of_samples and first.index != second.index)


def _is_sample(predictions: Predictions) -> bool:
    """Tell whether the numbers are those of a sample; an older version counted a sample from 0 too."""
    return predictions.index != tuple(range(len(predictions.index)))


def _measure(task: str, metric: str) -> Any:
    name = metric or kind_of(task).main_metric
    if name not in MEASURES or (name == "entity_f1") != kind_of(task).spans:
        fitting = [one for one in MEASURES if (one == "entity_f1") == kind_of(task).spans]
        raise ValueError(f"no measure {name!r} of {task}; expected {' or '.join(fitting)}")
    return MEASURES[name]
