"""What a report says of some runs, in their language or another: scores with intervals, and which runs collapsed."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from hf_afro.evaluation.data.duplicates import DEDUPLICATED
from hf_afro.evaluation.data.joining import AND
from hf_afro.evaluation.data.task_data import TaskData
from hf_afro.evaluation.metrics import task_scores
from hf_afro.evaluation.predictions import Run
from hf_afro.evaluation.resampling import MEASURES, bootstrap_interval, task_counts
from hf_afro.reports import Score


def scores_of(data: TaskData, runs: Mapping[int, Run], trained: TaskData | None = None) -> list[Score]:
    """Return a score a metric, its values those of the seeds, with its interval and the seeds that collapsed.

    Where test shares examples with train, the main metric without them follows, named with `_deduplicated` behind.

    Args:
        data: What was predicted.
        runs: By seed.
        trained: What was trained on and gives the labels that are predicted, where it is several languages at once.
    """
    labels, predicted = _common_labels(data, trained or data, {seed: run.predicted for seed, run in runs.items()})
    together = () if trained is None else tuple(trained.language.split(AND))
    collapsed = collapsed_of(data, labels, predicted)
    scores = _scores(data, labels, predicted, collapsed)
    # Beside the standard score, that of the examples which train has not; where it has none, they are the same.
    seen = data.seen_in_train(trained=trained)
    kept = [index for index, known in enumerate(seen) if not known]
    if 0 < len(kept) < len(seen):
        main = data.kind.main_metric
        chosen = {seed: [own[index] for index in kept] for seed, own in predicted.items()}
        fresh = _scores(data, labels, chosen, collapsed, [data.gold()[index] for index in kept], main)
        # Of the examples that are left, which are others where more was trained on.
        mark = hashlib.sha256(f"{data.fingerprint} {kept}".encode()).hexdigest()
        scores += [dataclasses.replace(score, metric=main + DEDUPLICATED, fingerprint=mark) for score in fresh]
    return [dataclasses.replace(score, together=together) for score in scores]


def transfer_scores(
    data: TaskData, source: str, labels: Sequence[str], predicted: Mapping[int, list[Any]]
) -> list[Score]:
    """Return the scores of runs that were trained on another language.

    Args:
        data: What they were measured on.
        source: The language they were trained on, or several.
        labels: The names of the labels they were trained with; what `data` has not is never right.
        predicted: The ids of `labels`, by seed.
    """
    every, known = _common_labels(data, dataclasses.replace(data, labels=tuple(labels)), predicted)
    return [
        dataclasses.replace(score, source=source)
        for score in _scores(data, every, known, collapsed_of(data, every, known))
    ]


def _common_labels(
    data: TaskData, trained: TaskData, predicted: Mapping[int, list[Any]]
) -> tuple[tuple[str, ...], dict[int, list[Any]]]:
    """The labels of what was predicted, then others that the model knows, and the predictions by their ids."""
    every = (*data.labels, *(name for name in trained.labels if name not in data.labels))
    ids = [every.index(name) for name in trained.labels]

    def known(own: list[Any]) -> list[Any]:
        return [[ids[tag] for tag in tags] for tags in own] if data.kind.tagged else [ids[label] for label in own]

    return every, {seed: known(own) for seed, own in predicted.items()}


def _scores(
    data: TaskData,
    labels: Sequence[str],
    predicted: Mapping[int, list[Any]],
    collapsed: Mapping[int, str],
    gold: list[Any] | None = None,
    only: str | None = None,
) -> list[Score]:
    """Scores of the test examples, or of some with their `gold`: a metric each, or one of them."""
    gold = data.gold() if gold is None else gold
    values = {seed: task_scores(data.task, labels, gold, own) for seed, own in predicted.items()}
    counts = [task_counts(data.task, labels, gold, own) for own in predicted.values()]
    scores = []
    for metric in next(iter(values.values())) if only is None else (only,):
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
