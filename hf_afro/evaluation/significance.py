"""Significance: bootstrap intervals over sentences, and paired tests of two models on the same sentences.

Everything but correlations works on counts per sentence: the score of a resample is a function of sums of counts, so
that a thousand resamples are one product of matrices. A correlation is computed from the numbers of each resample.

References:
    Koehn 2004, *Statistical significance tests for machine translation evaluation*, for the paired bootstrap.
    Noreen 1989 and Yeh 2000, *More accurate tests for the statistical significance of result differences*, for
    approximate randomisation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_afro.tasks import BITEXT, kind_of

if TYPE_CHECKING:
    from hf_afro.evaluation.predictions import Predictions

Measure = Callable[..., np.ndarray]
"""From sums of counts ``[..., classes, 3]`` to a score ``[...]``; of a correlation, from the correct and the predicted
number of each example, ``[..., examples, 2]``, and how often it is drawn, ``[..., examples]``."""

_BLOCK = 1 << 22  # numbers drawn at a time: 32 MB
_ROUNDING = 1e-24  # of the sum of squares; numbers in single precision that differ at all differ by more


@dataclass(frozen=True)
class Interval:
    """A bootstrap interval.

    Attributes:
        score: On the sentences themselves, the mean over the runs.
        low: The lower end, by percentile.
        high: The upper end.
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
        difference: The first model's score minus the second's, each the mean over its runs.
        p_value: The two-sided probability of a difference as large if the models do not differ.
        resamples: The number of draws.
    """

    difference: float
    p_value: float
    resamples: int


def task_counts(task: str, labels: Sequence[str], references: Sequence[Any], predictions: Sequence[Any]) -> np.ndarray:
    """Count correct, predicted and reference items per sentence and class.

    Args:
        task: A name in `hf_afro.tasks.KINDS`.
        labels: The names of the labels, by id.
        references: The correct answers, in the form of `TaskData.gold`.
        predictions: The predicted answers, in the same form.

    Returns:
        ``[sentences, classes, 3]``, int64: correct, predicted, reference. Spans have one class, any entity; other
        tasks one per label. For numbers, which are not counted, ``[examples, 2]``, float64: reference, predicted.

    Raises:
        ValueError: If the numbers of sentences or words differ.
    """
    kind = kind_of(task)
    if kind.regression:
        return np.stack([np.asarray(own, dtype=np.float64) for own in (references, predictions)], axis=-1)
    counts = np.zeros((len(references), 1 if kind.spans else len(labels), 3), dtype=np.int64)
    for index, (correct, predicted) in enumerate(zip(references, predictions, strict=True)):
        if kind.multi_label:
            for column, own in enumerate((set(correct) & set(predicted), predicted, correct)):
                counts[index, list(own), column] += 1
            continue
        if not kind.tagged:
            correct, predicted = [correct], [predicted]
        if len(correct) != len(predicted):
            raise ValueError(f"sentence {index} has {len(correct)} references and {len(predicted)} predictions")
        if kind.spans:
            own, other = (entities([labels[tag] for tag in tags]) for tags in (correct, predicted))
            counts[index, 0] = len(own & other), len(other), len(own)
            continue
        for one, other_one in zip(correct, predicted, strict=True):
            counts[index, one, 0] += one == other_one
            counts[index, other_one, 1] += 1
            counts[index, one, 2] += 1
    return counts


def entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """Return the entities of a sentence as seqeval reads them: type, first word, last word."""
    from seqeval.metrics.sequence_labeling import get_entities

    return set(get_entities(list(tags)))


def micro_f1(sums: np.ndarray) -> np.ndarray:
    """Return F1 over all classes together; 0 where the denominator is 0."""
    return _f1(sums.sum(-2))


def macro_f1(sums: np.ndarray) -> np.ndarray:
    """Return the mean F1 over the classes that occur in references or predictions, as scikit-learn does."""
    occurs = sums[..., 1:].sum(-1) > 0
    return (_f1(sums) * occurs).sum(-1) / np.maximum(occurs.sum(-1), 1)


def weighted_f1(sums: np.ndarray) -> np.ndarray:
    """Return the mean F1 over the classes, weighted by their references."""
    references = sums[..., 2]
    return (_f1(sums) * references).sum(-1) / np.maximum(references.sum(-1), 1)


def accuracy(sums: np.ndarray) -> np.ndarray:
    """Return the share of words or texts that are correct."""
    return sums[..., 0].sum(-1) / np.maximum(sums[..., 2].sum(-1), 1)


def pearson(numbers: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation of two numbers of each example, ``[..., examples, 2]``; 0 if one is constant.

    Args:
        numbers: The two numbers.
        times: How often each example counts, ``[..., examples]``.
    """
    first, second = (_centred(numbers[..., side], times) for side in (0, 1))
    squares = (times * first**2).sum(-1) * (times * second**2).sum(-1)
    return (times * first * second).sum(-1) / np.sqrt(np.where(squares > 0, squares, np.inf))


def spearman(numbers: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation, which is Pearson's of the ranks; equal numbers share their mean rank."""
    ranks = np.stack([_ranks(numbers[..., side], times) for side in (0, 1)], axis=-1)
    return pearson(ranks, times)


def _centred(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return values less their mean, ``[..., examples]``; zeros for those that differ by rounding alone."""
    mean = (times * values).sum(-1, keepdims=True) / times.sum(-1, keepdims=True)
    centred = values - mean
    spread, size = ((times * own**2).sum(-1, keepdims=True) for own in (centred, values))
    return np.where(spread > _ROUNDING * size, centred, 0.0)


def _ranks(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the mean rank of each value in the sample that holds it so many times, ``[..., examples]``."""
    values, times = np.broadcast_arrays(values, times)
    order = np.argsort(values, axis=-1, kind="stable")
    ordered, weights = (np.take_along_axis(own, order, -1) for own in (values, times))
    places = np.arange(values.shape[-1])
    is_first = np.ones(values.shape, dtype=bool)
    is_first[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    is_last = np.roll(is_first, -1, axis=-1)  # before the first of the next, or at the end
    first = np.maximum.accumulate(np.where(is_first, places, 0), axis=-1)
    last = np.minimum.accumulate(np.where(is_last, places, len(places))[..., ::-1], axis=-1)[..., ::-1]
    until = np.cumsum(weights, axis=-1)
    before = np.take_along_axis(until - weights, first, -1)
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (before + 1 + np.take_along_axis(until, last, -1)) / 2, -1)
    return ranks


MEASURES: dict[str, Measure] = {
    "entity_f1": micro_f1,
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
    "accuracy": accuracy,
    "micro_f1": micro_f1,
    "pearson": pearson,
    "spearman": spearman,
}
"""By the names of metrics; see `TaskKind.metrics` for those of a task."""


def bootstrap_interval(
    runs: Sequence[np.ndarray], measure: Measure, *, confidence: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Interval:
    """Return the interval of a score over sentences drawn with replacement.

    Args:
        runs: The counts of each run (such as each seed), ``[sentences, classes, 3]``, of the same sentences. The score
            of a resample is the mean over the runs, so the interval is over sentences and not over seeds.
        measure: One of `MEASURES`.
        confidence: The share of resamples inside, in (0, 1).
        resamples: The number of draws.
        seed: Of the draws.

    Raises:
        ValueError: If there is no run or no sentence, or the shapes of runs differ.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence!r}; expected a share between 0 and 1, such as 0.95")
    _check(runs, resamples)
    drawn = np.concatenate([_scores(runs, measure, times) for times in _draws(len(runs[0]), resamples, seed)])
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(_score(runs, measure), float(low), float(high), confidence)


def bootstrap_drop(
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    measure: Measure,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Return by how much a second score of the same sentences is lower, each drawn in both at once.

    Args:
        first: The counts of each run, see `bootstrap_interval`.
        second: The counts of each run under other conditions.
        measure: One of `MEASURES`.
        confidence: The share of resamples inside, in (0, 1).
        resamples: The number of draws.
        seed: Of the draws.

    Raises:
        ValueError: If there is nothing to compare, or the numbers of sentences differ.
    """
    _check([*first, *second], resamples)
    blocks = _draws(len(first[0]), resamples, seed)
    drawn = np.concatenate([_scores(first, measure, times) - _scores(second, measure, times) for times in blocks])
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(_score(first, measure) - _score(second, measure), float(low), float(high), confidence)


def paired_bootstrap(
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    measure: Measure,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare two models on resamples of sentences, the same for both.

    The p-value is twice the share of resamples in which the difference is zero or has the opposite sign, with one
    added to both counts, so that it is never zero.

    Args:
        first: The counts of each run of the first model; see `bootstrap_interval`.
        second: Those of the second on the same sentences; the number of runs may differ.
        measure: One of `MEASURES`.
        resamples: The number of draws.
        seed: Of the draws.

    Raises:
        ValueError: If there is nothing to compare, or the numbers of sentences differ.
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

    The p-value is the share of swaps that differ by at least as much as the models do, with one added to both counts.

    Args:
        first: The counts of each run of the first model; see `bootstrap_interval`.
        second: Those of the second on the same sentences, with as many runs; runs are swapped in pairs.
        measure: One of `MEASURES`.
        resamples: The number of swaps.
        seed: Of the draws.

    Raises:
        ValueError: If there is nothing to compare, or the numbers of sentences or runs differ.
    """
    _check([*first, *second], resamples)
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} runs; expected the same number, or use paired_bootstrap")
    difference = _score(first, measure) - _score(second, measure)
    draw = np.random.default_rng(seed)
    as_large, left, sentences = 0, resamples, len(first[0])
    while left:
        size = min(left, max(1, _BLOCK // sentences))
        swapped = draw.integers(0, 2, size=(size, sentences))
        one, other = _scores_of_swaps(first, second, measure, swapped)
        # Equal sums give equal scores, but for the last bit of a mean.
        as_large += int((np.abs(one - other) >= abs(difference) - 1e-12).sum())
        left -= size
    return Comparison(difference, (as_large + 1) / (resamples + 1), resamples)


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
    """Test whether two models differ, by their saved predictions on the same examples.

    Args:
        first: Of the first model.
        second: Of the second model.
        task: A name in `hf_afro.tasks.KINDS`, or `bitext`, whose runs are the two directions.
        metric: A name in `MEASURES`; by default the task's main one. Of `bitext` there is only one.
        method: `randomisation`, which needs the same number of seeds of both, or `bootstrap`.
        deduplicated: Whether to leave out examples that the training split of either has too.
        resamples: The number of draws.
        seed: Of the draws.

    Raises:
        ValueError: If the references or the numbers of the examples differ.
    """
    if not same_examples(first, second):
        what = "references" if list(first.gold) != list(second.gold) else "numbers (`index`)"
        raise ValueError(f"the two were not evaluated on the same examples: their {what} differ")
    if task == BITEXT:  # a sentence is found or not, as a text has one of two classes
        first, second, task, metric = first.right_or_wrong(), second.right_or_wrong(), "texts", "accuracy"
    methods = {"randomisation": approximate_randomisation, "bootstrap": paired_bootstrap}
    if method not in methods:
        raise ValueError(f"unknown method {method!r}; expected {' or '.join(methods)}")
    # Both need the same classes in the same order.
    labels = tuple(sorted({*first.labels(task), *second.labels(task)}))
    if deduplicated:
        # Their training splits may differ: only what is new to both is left.
        known = tuple(any(pair) for pair in zip(first.in_train, second.in_train, strict=False))
        first, second = (dataclasses.replace(own, in_train=known if own.in_train else ()) for own in (first, second))
    one, other = (own.counts(task, labels, deduplicated=deduplicated) for own in (first, second))
    return methods[method](one, other, _measure(task, metric), resamples=resamples, seed=seed)


def share_kept(
    pairs: Sequence[tuple[Predictions, Predictions]],
    task: str,
    metric: str = "",
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval | None:
    """Return a student's score as a share of its teacher's, with a paired bootstrap interval over the examples.

    Resamples in which the teacher's score is 0 have no share and are left out; without any other there is no interval
    either, and None is returned.

    Args:
        pairs: The predictions of student and teacher on the same examples, one pair per language; the scores are means
            over the languages, each the mean over its runs.
        task: A name in `hf_afro.tasks.KINDS`.
        metric: A name in `MEASURES`; by default the task's main one.
        confidence: The share of resamples inside, in (0, 1).
        resamples: The number of draws; both models get the same examples in each.
        seed: Of the draws, which are others for each language.

    Raises:
        ValueError: If there is nothing to compare.
    """
    measure = _measure(task, metric)
    scores, drawn = np.zeros(2), np.zeros((2, resamples))
    for number, (student, teacher) in enumerate(pairs):
        labels = tuple(sorted({*student.labels(task), *teacher.labels(task)}))
        sides = [own.counts(task, labels) for own in (student, teacher)]
        _check([counts for runs in sides for counts in runs], resamples)
        scores += [_score(runs, measure) for runs in sides]
        times = list(_draws(len(sides[0][0]), resamples, (seed, number)))
        drawn += [np.concatenate([_scores(runs, measure, block) for block in times]) for runs in sides]
    above = drawn[1] > 0
    if not scores[1] or not above.any():
        return None
    low, high = np.quantile(drawn[0, above] / drawn[1, above], [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(scores[0] / scores[1]), float(low), float(high), confidence)


def same_examples(first: Predictions, second: Predictions) -> bool:
    """Tell whether two models predicted the same examples, by the references and, for samples, the numbers."""
    # An older version numbered a sample from 0 too, so that its numbers say nothing.
    samples = all(own.index != tuple(range(len(own.index))) for own in (first, second))
    return list(first.gold) == list(second.gold) and not (samples and first.index != second.index)


def _measure(task: str, metric: str) -> Measure:
    kind = kind_of(task)
    name = metric or kind.main_metric
    fitting = [one for one in MEASURES if one in kind.metrics]
    if name not in fitting:
        raise ValueError(f"unknown metric {name!r} for {task}; expected {' or '.join(fitting)}")
    return MEASURES[name]


def _scores_of_swaps(
    first: Sequence[np.ndarray], second: Sequence[np.ndarray], measure: Measure, swapped: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    pairs = list(zip(first, second, strict=True))
    if first[0].ndim == 2:
        chosen, once = swapped[..., None].astype(bool), np.ones(swapped.shape)
        sides = [(np.where(chosen, other, own), np.where(chosen, own, other)) for own, other in pairs]
        return (
            np.mean([measure(own, once) for own, _ in sides], axis=0),
            np.mean([measure(other, once) for _, other in sides], axis=0),
        )
    moved = [_sums(other - own, swapped) for own, other in pairs]
    one = [measure(own.sum(0) + change) for (own, _), change in zip(pairs, moved, strict=True)]
    two = [measure(other.sum(0) - change) for (_, other), change in zip(pairs, moved, strict=True)]
    return np.mean(one, axis=0), np.mean(two, axis=0)


def _f1(counts: np.ndarray) -> np.ndarray:
    # 2 tp / (predicted + reference), the harmonic mean of precision and recall.
    return 2 * counts[..., 0] / np.maximum(counts[..., 1] + counts[..., 2], 1)


def score_of(counts: np.ndarray, measure: Measure) -> float:
    """Return the score of one run's counts, or of its numbers; see `task_counts`."""
    return float(measure(counts, np.ones(len(counts))) if counts.ndim == 2 else measure(counts.sum(0)))


def _score(runs: Sequence[np.ndarray], measure: Measure) -> float:
    return float(np.mean([score_of(counts, measure) for counts in runs]))


def _scores(runs: Sequence[np.ndarray], measure: Measure, times: np.ndarray) -> np.ndarray:
    return np.mean(
        [measure(counts, times) if counts.ndim == 2 else measure(_sums(counts, times)) for counts in runs], axis=0
    )


def _sums(counts: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Sum counts ``[sentences, classes, 3]`` with each sentence repeated ``[resamples, sentences]`` times."""
    # In float64, for BLAS: the sums are whole numbers far below 2 ** 53.
    flat = times.astype(np.float64) @ counts.reshape(len(counts), -1).astype(np.float64)
    return flat.reshape(len(times), *counts.shape[1:])


def _draws(sentences: int, resamples: int, seed: int | Sequence[int]) -> Iterator[np.ndarray]:
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
            f"counts have the shapes {sorted(shapes)}; expected one shape for all runs, with at least one sentence"
        )
    if resamples < 1:
        raise ValueError(f"resamples={resamples}; expected at least 1")
