"""How sure a score is: bootstrap intervals over sentences, and whether two models differ on the same ones.

All of it works on counts a sentence, not on sentences: the score of a resample is a function of sums of counts, so
that a thousand resamples are one product of matrices.

References:
    Koehn 2004, *Statistical significance tests for machine translation evaluation*, for the paired bootstrap.
    Noreen 1989 and Yeh 2000, *More accurate tests for the statistical significance of result differences*, for
    approximate randomisation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_afro.evaluation.data.kinds import kind_of

Measure = Callable[[np.ndarray], np.ndarray]
"""From sums of counts ``[..., classes, 3]`` to a score ``[...]``."""

_BLOCK = 1 << 22  # numbers drawn at a time: 32 MB


@dataclass(frozen=True)
class Interval:
    """A bootstrap interval.

    Attributes:
        score: Of the sentences themselves, the mean over the runs.
        low: Its lower end, by percentile.
        high: Its upper end.
        confidence: The share of resamples between them.
    """

    score: float
    low: float
    high: float
    confidence: float


@dataclass(frozen=True)
class Comparison:
    """Two models on the same sentences.

    Attributes:
        difference: The first's score less the second's, each the mean over its runs.
        p_value: How likely a difference as large is if the models are alike, two-sided.
        resamples: How many were drawn.
    """

    difference: float
    p_value: float
    resamples: int


def task_counts(task: str, labels: Sequence[str], references: Sequence[Any], predictions: Sequence[Any]) -> np.ndarray:
    """Count what is right, predicted and there, by sentence and class.

    Args:
        task: A name of `hf_afro.evaluation.data.kinds.KINDS`.
        labels: The names of the labels, by id.
        references: The right ids: a list a sentence if words are tagged, else one a text.
        predictions: The predicted ids, as many.

    Returns:
        ``[sentences, classes, 3]``, int64: right, predicted, there. Of spans there is one class, any entity; else one
        a label.

    Raises:
        ValueError: If numbers of sentences or words differ.
    """
    kind = kind_of(task)
    counts = np.zeros((len(references), 1 if kind.spans else len(labels), 3), dtype=np.int64)
    for index, (right, predicted) in enumerate(zip(references, predictions, strict=True)):
        if not kind.tagged:
            right, predicted = [right], [predicted]
        if len(right) != len(predicted):
            raise ValueError(f"sentence {index} has {len(right)} right tags and {len(predicted)} predicted")
        if kind.spans:
            own, other = (entities([labels[tag] for tag in tags]) for tags in (right, predicted))
            counts[index, 0] = len(own & other), len(other), len(own)
            continue
        for one, other_one in zip(right, predicted, strict=True):
            counts[index, one, 0] += one == other_one
            counts[index, other_one, 1] += 1
            counts[index, one, 2] += 1
    return counts


def entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """Return the entities of a sentence, as seqeval reads them: type, first and last word."""
    from seqeval.metrics.sequence_labeling import get_entities

    return set(get_entities(list(tags)))


def micro_f1(sums: np.ndarray) -> np.ndarray:
    """Return F1 over all classes together; for one class, its F1. 0 where there is nothing to divide by."""
    return _f1(sums.sum(-2))


def macro_f1(sums: np.ndarray) -> np.ndarray:
    """Return the mean F1 over the classes that are there or predicted, as scikit-learn has it."""
    occurs = sums[..., 1:].sum(-1) > 0
    return (_f1(sums) * occurs).sum(-1) / np.maximum(occurs.sum(-1), 1)


def weighted_f1(sums: np.ndarray) -> np.ndarray:
    """Return the mean F1 over the classes, weighted by how often each is there."""
    there = sums[..., 2]
    return (_f1(sums) * there).sum(-1) / np.maximum(there.sum(-1), 1)


def accuracy(sums: np.ndarray) -> np.ndarray:
    """Return the share of words or texts that are right."""
    return sums[..., 0].sum(-1) / np.maximum(sums[..., 2].sum(-1), 1)


MEASURES: dict[str, Measure] = {
    "entity_f1": micro_f1,
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
    "accuracy": accuracy,
}
"""By the names of `hf_afro.evaluation.metrics`; `entity_f1` of spans, the others of the rest."""


def bootstrap_interval(
    runs: Sequence[np.ndarray], measure: Measure, *, confidence: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Interval:
    """Draw sentences with replacement, again and again, and tell between what the score lies.

    Args:
        runs: The counts of each run, such as a seed's, ``[sentences, classes, 3]`` each, of the same sentences. The
            score of a resample is the mean over the runs, so the interval is of sentences and not of seeds.
        measure: One of `MEASURES`.
        confidence: The share of resamples inside, in (0, 1).
        resamples: How many are drawn.
        seed: Of the draws; the same gives the same interval.

    Raises:
        ValueError: If there is no run or no sentence, or runs are of other shapes.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence!r}; expected a share between 0 and 1, such as 0.95")
    _check(runs, resamples)
    drawn = np.concatenate([_scores(runs, measure, times) for times in _draws(len(runs[0]), resamples, seed)])
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(_score(runs, measure), float(low), float(high), confidence)


def paired_bootstrap(
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    measure: Measure,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare two models by resamples of sentences, the same for both.

    The p-value is twice the share of resamples in which the difference is zero or has the other sign, with one added
    to both counts, so that it is never zero.

    Args:
        first: The counts of each run of the first model; see `bootstrap_interval`.
        second: Those of the second, on the same sentences; the number of runs may be another.
        measure: One of `MEASURES`.
        resamples: How many are drawn.
        seed: Of the draws.

    Raises:
        ValueError: If there is nothing to compare, or the sentences are not as many.
    """
    _check([*first, *second], resamples)
    difference = _score(first, measure) - _score(second, measure)
    against = 0
    for times in _draws(len(first[0]), resamples, seed):
        drawn = _scores(first, measure, times) - _scores(second, measure, times)
        against += int((drawn * np.sign(difference) <= 0).sum()) if difference else len(drawn)
    return Comparison(difference, min(1.0, 2 * (against + 1) / (resamples + 1)), resamples)


def approximate_randomisation(
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    measure: Measure,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare two models by swapping their answers to sentences at random.

    The p-value is the share of swaps that differ by as much as the models do, with one added to both counts.

    Args:
        first: The counts of each run of the first model; see `bootstrap_interval`.
        second: Those of the second, on the same sentences and as many runs: run by run they are swapped together.
        measure: One of `MEASURES`.
        resamples: How many swaps are drawn.
        seed: Of the draws.

    Raises:
        ValueError: If there is nothing to compare, or sentences or runs are not as many.
    """
    _check([*first, *second], resamples)
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} runs; expected as many, or use paired_bootstrap")
    difference = _score(first, measure) - _score(second, measure)
    draw = np.random.default_rng(seed)
    as_large, left, sentences = 0, resamples, len(first[0])
    while left:
        size = min(left, max(1, _BLOCK // sentences))
        swapped = draw.integers(0, 2, size=(size, sentences))
        one, other = _scores_of_swaps(first, second, measure, swapped)
        # Sums that are the same come out the same, but for the last bit of a mean.
        as_large += int((np.abs(one - other) >= abs(difference) - 1e-12).sum())
        left -= size
    return Comparison(difference, (as_large + 1) / (resamples + 1), resamples)


def _scores_of_swaps(
    first: Sequence[np.ndarray], second: Sequence[np.ndarray], measure: Measure, swapped: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    pairs = list(zip(first, second, strict=True))
    moved = [_sums(other - own, swapped) for own, other in pairs]
    one = [measure(own.sum(0) + change) for (own, _), change in zip(pairs, moved, strict=True)]
    two = [measure(other.sum(0) - change) for (_, other), change in zip(pairs, moved, strict=True)]
    return np.mean(one, axis=0), np.mean(two, axis=0)


def _f1(counts: np.ndarray) -> np.ndarray:
    # 2 tp / (predicted + there), which is the harmonic mean of precision and recall.
    return 2 * counts[..., 0] / np.maximum(counts[..., 1] + counts[..., 2], 1)


def _score(runs: Sequence[np.ndarray], measure: Measure) -> float:
    return float(np.mean([measure(counts.sum(0)) for counts in runs]))


def _scores(runs: Sequence[np.ndarray], measure: Measure, times: np.ndarray) -> np.ndarray:
    return np.mean([measure(_sums(counts, times)) for counts in runs], axis=0)


def _sums(counts: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Sums of counts ``[sentences, classes, 3]``, each sentence so many times ``[resamples, sentences]``."""
    # In double, where BLAS is: sums are whole numbers far below 2 ** 53.
    flat = times.astype(np.float64) @ counts.reshape(len(counts), -1).astype(np.float64)
    return flat.reshape(len(times), *counts.shape[1:])


def _draws(sentences: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how many times each sentence is drawn, ``[resamples, sentences]`` in blocks."""
    draw = np.random.default_rng(seed)
    while resamples:
        size = min(resamples, max(1, _BLOCK // sentences))
        places = draw.integers(0, sentences, size=(size, sentences)) + np.arange(size)[:, None] * sentences
        yield np.bincount(places.ravel(), minlength=size * sentences).reshape(size, sentences)
        resamples -= size


def _check(runs: Sequence[np.ndarray], resamples: int) -> None:
    shapes = {counts.shape for counts in runs}
    if len(shapes) != 1 or not len(runs[0]):
        raise ValueError(
            f"counts have the shapes {sorted(shapes)}; expected one for all runs, of at least one sentence"
        )
    if resamples < 1:
        raise ValueError(f"resamples={resamples}; expected at least 1")
