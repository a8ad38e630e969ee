"""What a report says of some runs, in their language or another: scores with intervals, and which runs collapsed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from hf_afro.reports import Score
from hf_afro.tasks.data import TaskData
from hf_afro.tasks.duplicates import DEDUPLICATED, deduplicated_scores
from hf_afro.tasks.metrics import task_scores
from hf_afro.tasks.predictions import Run
from hf_afro.tasks.resampling import MEASURES, bootstrap_interval, task_counts


def scores_of(data: TaskData, runs: Mapping[int, Run]) -> list[Score]:
    """Return a score a metric, its values those of the seeds, with its interval and the seeds that collapsed.

    Where test shares examples with train, the main metric without them follows, named with `_deduplicated` behind.
    """
    predicted = {seed: run.predicted for seed, run in runs.items()}
    scores = _scores(data, data.labels, predicted)
    # Beside the standard score, that of the examples which train has not; where it has none, they are the same.
    fresh = {seed: deduplicated_scores(data, own) for seed, own in predicted.items()}
    count = next(iter(fresh.values()))[1]
    if 0 < count < len(data.gold()):
        main = data.kind.main_metric
        kept = [index for index, seen in enumerate(data.seen_in_train()) if not seen]
        gold = [data.gold()[index] for index in kept]
        chosen = {seed: [own[index] for index in kept] for seed, own in predicted.items()}
        values = {seed: {main: own[main]} for seed, (own, _) in fresh.items()}
        (score,) = _made(data, data.labels, gold, chosen, values, collapsed_of(data, data.labels, predicted))
        scores.append(dataclasses.replace(score, metric=main + DEDUPLICATED))
    return scores


def transfer_scores(
    data: TaskData, source: str, labels: Sequence[str], predicted: Mapping[int, list[Any]]
) -> list[Score]:
    """Return the scores of runs that were trained on another language.

    Args:
        data: What they were measured on.
        source: The language they were trained on.
        labels: The names of the labels they were trained with; what `data` has not is never right.
        predicted: The ids of `labels`, by seed.
    """
    every = (*data.labels, *(name for name in labels if name not in data.labels))
    ids = [every.index(name) for name in labels]

    def known(own: list[Any]) -> list[Any]:
        return [[ids[tag] for tag in tags] for tags in own] if data.kind.tagged else [ids[label] for label in own]

    return _scores(data, every, {seed: known(own) for seed, own in predicted.items()}, source)


def _scores(
    data: TaskData, labels: Sequence[str], predicted: Mapping[int, list[Any]], source: str = ""
) -> list[Score]:
    gold = data.gold()
    values = {seed: task_scores(data.task, labels, gold, own) for seed, own in predicted.items()}
    return _made(data, labels, gold, predicted, values, collapsed_of(data, labels, predicted), source)


def _made(
    data: TaskData,
    labels: Sequence[str],
    gold: list[Any],
    predicted: Mapping[int, list[Any]],
    values: Mapping[int, Mapping[str, float]],
    collapsed: Mapping[int, str],
    source: str = "",
) -> list[Score]:
    """Scores of some examples: a metric each, with an interval where there is a measure of that name."""
    counts = [task_counts(data.task, labels, gold, own) for own in predicted.values()]
    scores = []
    for metric in next(iter(values.values())):
        interval = None
        if metric in MEASURES:
            drawn = bootstrap_interval(counts, MEASURES[metric])
            interval = (drawn.low, drawn.high)
        scores.append(
            Score(
                task=data.task,
                language=data.language,
                metric=metric,
                values=tuple(own[metric] for own in values.values()),
                seeds=tuple(values),
                n=len(gold),
                split="test",
                dataset=data.dataset,
                fingerprint=data.fingerprint,
                note=_told(collapsed),
                interval=interval,
                collapsed=tuple(collapsed),
                source=source,
            )
        )
    return scores


def _told(collapsed: Mapping[int, str]) -> str:
    """Say which seeds collapsed and how, those that did so alike together."""
    alike: dict[str, list[str]] = {}
    for seed, reason in collapsed.items():
        alike.setdefault(reason, []).append(str(seed))
    return "; ".join(
        f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)} collapsed: {reason}" for reason, seeds in alike.items()
    )


def collapsed_of(data: TaskData, labels: Sequence[str], predicted: Mapping[int, list[Any]]) -> dict[int, str]:
    """Return why a run collapsed, by seed, for those that did."""
    reasons = {seed: collapse_of(data, own, labels) for seed, own in predicted.items()}
    return {seed: reason for seed, reason in reasons.items() if reason}


def collapse_of(data: TaskData, predicted: Sequence[Any], labels: Sequence[str] = ()) -> str:
    """Tell a run that learned nothing: what it answers to everything, or an empty string where answers differ.

    Where the right answers are all the same too, answering so is right, and nothing has collapsed.

    Args:
        data: What was predicted.
        predicted: The ids.
        labels: What the ids stand for, by default the labels of the data.
    """
    gold = data.gold()
    if data.kind.tagged:
        gold, predicted = ([tag for tags in sentences for tag in tags] for sentences in (gold, predicted))
    answers = set(predicted)
    if len(answers) > 1 or set(gold) == answers:
        return ""
    return f"every {'word' if data.kind.tagged else 'text'} is {(labels or data.labels)[answers.pop()]!r}"
