"""Intervals and paired tests, from counts and from files of predictions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import accuracy_score, f1_score

from hf_afro.evaluation.data.task_data import make_task_data
from hf_afro.evaluation.metrics import task_scores
from hf_afro.evaluation.predictions import read_predictions, write_predictions
from hf_afro.evaluation.significance import (
    MEASURES,
    _ranks,
    accuracy,
    approximate_randomisation,
    bootstrap_drop,
    bootstrap_interval,
    compare,
    macro_f1,
    micro_f1,
    paired_bootstrap,
    pearson,
    score_of,
    spearman,
    task_counts,
)
from tests.evaluation.conftest import make

TAGS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")


def random_tags(seed: int, sentences: int = 200, classes: int = 5) -> list[list[int]]:
    draw = np.random.default_rng(seed)
    sizes = np.random.default_rng(0).integers(1, 20, size=sentences)
    return [draw.integers(0, classes, size=size).tolist() for size in sizes]


def answers(right: list[bool]) -> np.ndarray:
    """Counts of texts of two classes, all of class 0, with the given answers."""
    return task_counts("topic", ("a", "b"), [0] * len(right), [0 if one else 1 for one in right])


def test_counts_by_hand():
    right, predicted = [[3, 4, 0, 1], [0, 0]], [[3, 4, 0, 3], [1, 0]]
    assert task_counts("ner", TAGS, right, predicted)[:, 0].tolist() == [[1, 2, 2], [0, 1, 0]]
    assert task_counts("topic", ("a", "b"), [0, 1], [0, 0]).tolist() == [
        [[1, 1, 1], [0, 0, 0]],
        [[0, 1, 0], [0, 0, 1]],
    ]
    with pytest.raises(ValueError, match="sentence 0 has 2 references and 1 predictions"):
        task_counts("pos", TAGS, [[0, 0]], [[0]])


@pytest.mark.parametrize("seed", range(3))
def test_sums_of_counts_give_the_scores_of_seqeval_and_scikit_learn(seed):
    right, predicted = random_tags(seed), random_tags(seed + 10)
    entity = task_scores("ner", TAGS, right, predicted)["entity_f1"]
    assert micro_f1(task_counts("ner", TAGS, right, predicted).sum(0)) == pytest.approx(entity, abs=1e-15)
    # A class that neither has does not count in the macro average.
    labels = (*TAGS, "X")
    sums = task_counts("pos", labels, right, predicted).sum(0)
    flat = [sum(own, []) for own in (right, predicted)]
    for name, score in (
        ("macro_f1", f1_score(*flat, average="macro")),
        ("weighted_f1", f1_score(*flat, average="weighted")),
        ("accuracy", accuracy_score(*flat)),
    ):
        assert MEASURES[name](sums) == pytest.approx(score, abs=1e-15)


def test_nothing_to_divide_by_is_zero():
    assert micro_f1(np.zeros((1, 3))) == macro_f1(np.zeros((2, 3))) == accuracy(np.zeros((2, 3))) == 0


def test_the_interval_is_that_of_resampled_sentences():
    right, predicted = random_tags(1, sentences=40), random_tags(2, sentences=40)
    counts = task_counts("ner", TAGS, right, predicted)
    interval = bootstrap_interval([counts], micro_f1, resamples=50, seed=3)
    draw = np.random.default_rng(3)
    places = draw.integers(0, 40, size=(50, 40))
    slow = [
        task_scores("ner", TAGS, [right[one] for one in own], [predicted[one] for one in own])["entity_f1"]
        for own in places
    ]
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])), abs=1e-12)
    assert interval.low < interval.score < interval.high
    assert interval == bootstrap_interval([counts], micro_f1, resamples=50, seed=3)
    assert interval != bootstrap_interval([counts], micro_f1, resamples=50, seed=4)


def test_the_interval_of_a_share_is_as_wide_as_its_standard_error_says():
    counts = answers([True] * 300 + [False] * 100)
    interval = bootstrap_interval([counts], accuracy, resamples=4000)
    half = 1.96 * (0.75 * 0.25 / 400) ** 0.5
    assert interval.score == 0.75
    assert (interval.low, interval.high) == pytest.approx((0.75 - half, 0.75 + half), abs=0.005)


def test_runs_are_averaged_within_a_resample():
    one, other = answers([True, False]), answers([False, True])
    interval = bootstrap_interval([one, other], accuracy, resamples=100)
    # In every resample one run is correct where the other is wrong.
    assert (interval.score, interval.low, interval.high) == (0.5, 0.5, 0.5)


def test_randomisation_by_hand():
    # Three texts that only one model gets right: of the 8 ways to swap, 2 differ by as much.
    first, second = answers([True] * 3), answers([False] * 3)
    compared = approximate_randomisation([first], [second], accuracy, resamples=8000)
    assert compared.difference == 1
    assert compared.p_value == pytest.approx(0.25, abs=0.02)
    # Ten: 2 of 1,024.
    ten = approximate_randomisation([answers([True] * 10)], [answers([False] * 10)], accuracy, resamples=20000)
    assert ten.p_value == pytest.approx(2 / 1024, abs=0.0015)


def test_models_that_answer_alike_do_not_differ():
    counts = answers([True, False] * 20)
    for test in (approximate_randomisation, paired_bootstrap):
        compared = test([counts], [counts], accuracy)
        assert (compared.difference, compared.p_value) == (0, 1)


def test_the_paired_bootstrap_by_hand():
    # One text of n is answered better: it is missing from a resample with (1 - 1/n) ** n, and the difference is zero.
    first, second = answers([True] * 10), answers([True] * 9 + [False])
    compared = paired_bootstrap([first], [second], accuracy, resamples=8000)
    assert compared.difference == pytest.approx(0.1)
    assert compared.p_value == pytest.approx(2 * 0.9**10, abs=0.03)
    clear = paired_bootstrap([answers([True] * 50)], [answers([False] * 50)], accuracy, resamples=999)
    assert clear.p_value == 2 / 1000
    turned = paired_bootstrap([second], [first], accuracy, resamples=8000)
    assert (turned.difference, turned.p_value) == (-compared.difference, compared.p_value)


def test_large_sets_are_drawn_in_blocks_with_the_same_result(monkeypatch):
    first, second = answers([True] * 30 + [False] * 10), answers([True, False] * 20)
    results = []
    for block in (1 << 22, 100):
        monkeypatch.setattr("hf_afro.evaluation.significance._BLOCK", block)
        results.append(
            (bootstrap_interval([first], accuracy), paired_bootstrap([first], [second], accuracy, resamples=77))
        )
    assert results[0] == results[1]


def test_what_cannot_be_compared_is_refused():
    counts = answers([True])
    with pytest.raises(ValueError, match="expected one shape for all runs"):
        paired_bootstrap([counts], [answers([True, False])], accuracy)
    with pytest.raises(ValueError, match="with at least one sentence"):
        bootstrap_interval([answers([])], accuracy)
    with pytest.raises(ValueError, match="1 and 2 runs"):
        approximate_randomisation([counts], [counts, counts], accuracy)
    with pytest.raises(ValueError, match=r"confidence=95; expected a share"):
        bootstrap_interval([counts], accuracy, confidence=95)
    with pytest.raises(ValueError, match="resamples=0"):
        bootstrap_interval([counts], accuracy, resamples=0)


ROWS = {
    "train": [(f"a{index}", "x" if index % 3 else "y") for index in range(20)],
    "dev": [("z", "x")],
    "test": [(f"{'A' if index < 10 else 'b'}{index}", ("x", "y")[index % 2]) for index in range(40)],
}
TEXTS = make_task_data("topic", "swa", "set/swa", ROWS)


def written(tmp_path, name: str, data, *answers):
    predicted = {seed: list(own) for seed, own in enumerate(answers, start=1)}
    return read_predictions(tmp_path / name / write_predictions(tmp_path / name, data, predicted))


def test_what_was_written_is_read_and_scores_the_same(tmp_path):
    data = make("ner")
    gold = data.gold()
    worse = [[0] * len(tags) if index % 2 else list(tags) for index, tags in enumerate(gold)]
    predictions = written(tmp_path, "one", data, worse)
    assert list(predictions.predicted) == ["1"]
    interval = bootstrap_interval(predictions.counts("ner"), micro_f1)
    assert interval.score == pytest.approx(task_scores("ner", data.labels, gold, worse)["entity_f1"], abs=1e-15)
    assert interval.low < interval.score < interval.high


def test_what_train_has_is_left_out(tmp_path):
    answers = [label if index < 10 else 1 - label for index, label in enumerate(TEXTS.gold())]
    predictions = written(tmp_path, "one", TEXTS, answers)
    assert sum(predictions.in_train) == 10
    assert bootstrap_interval(predictions.counts("topic"), accuracy).score == 0.25
    assert bootstrap_interval(predictions.counts("topic", deduplicated=True), accuracy).score == 0


@pytest.mark.parametrize("method", ["randomisation", "bootstrap"])
def test_two_models_differ_or_do_not(tmp_path, method):
    gold = TEXTS.gold()
    right = written(tmp_path, "right", TEXTS, gold, gold)
    # Only one class is ever predicted, so that the files know different labels.
    flat = written(tmp_path, "flat", TEXTS, [0] * 40, [0] * 40)
    compared = compare(right, flat, "topic", "accuracy", method=method)
    assert compared.difference == 0.5
    assert compared.p_value < 0.01
    assert compare(right, right, "topic", method=method).p_value == 1
    assert compare(flat, right, "topic", "accuracy", method=method).difference == -0.5


def test_two_samples_of_one_set_are_not_taken_for_each_other(tmp_path):
    """They may have the same labels in the same order; older versions numbered a sample from 0."""
    rows = {split: [(f"{split}{index}", "xy"[index % 2]) for index in range(40)] for split in ("train", "dev", "test")}
    data = make_task_data("topic", "swa", "set/swa", rows)
    samples = [
        dataclasses.replace(
            data, splits={**data.splits, "test": data.splits["test"].select(own)}, numbers={"test": list(own)}
        )
        for own in (range(10, 20), range(20, 30))
    ]
    first, second = (written(tmp_path, str(index), own, own.gold()) for index, own in enumerate(samples))
    assert first.index == tuple(range(10, 20))
    with pytest.raises(ValueError, match="their numbers .* differ"):
        compare(first, second, "topic")
    older = dataclasses.replace(second, index=tuple(range(10)))
    assert compare(first, older, "topic").difference == 0


def test_what_cannot_be_compared_is_named(tmp_path):
    one = written(tmp_path, "one", TEXTS, TEXTS.gold())
    other = written(tmp_path, "other", TEXTS.limited(test=20), [0] * 20)
    with pytest.raises(ValueError, match="not evaluated on the same examples"):
        compare(one, other, "topic")
    with pytest.raises(
        ValueError, match="unknown metric 'entity_f1' for topic; expected macro_f1 or weighted_f1 or accur"
    ):
        compare(one, one, "topic", "entity_f1")
    with pytest.raises(ValueError, match="unknown method 't-test'"):
        compare(one, one, "topic", method="t-test")
    path = tmp_path / "bad.jsonl"
    path.write_text('{"index": 0, "gold": "x", "predicted": {"1": "x"}}\n', "utf-8")
    with pytest.raises(ValueError, match="do not say which examples train has"):
        read_predictions(path).counts("topic", deduplicated=True)
    for content, message in (
        (
            '{"gold": "x", "predicted": {"1": "x"}}\n{"gold": "x", "predicted": {"2": "x"}}\n',
            "line 2: seeds 2; expected 1",
        ),
        ('{"gold": "x"}\n', "line 1: not a prediction"),
        ("[1]\n", "line 1: not a prediction"),
        ("", "is empty"),
    ):
        path.write_text(content, "utf-8")
        with pytest.raises(ValueError, match=message):
            read_predictions(path)


def numbers(count: int, seed: int, noise: float) -> np.ndarray:
    """Correct numbers of eleven values, and predictions with some noise, so rounded that some tie."""
    gold = np.random.default_rng(0).integers(0, 11, size=count) / 10
    return np.stack([gold, (gold + noise * np.random.default_rng(seed).normal(size=count)).round(1)], axis=1)


def test_correlations_of_a_resample_are_those_of_scipy_on_the_examples_drawn():
    own, draw = numbers(40, 1, 0.3), np.random.default_rng(2)
    drawn = draw.integers(0, 40, size=(5, 40))
    times = np.stack([np.bincount(one, minlength=40) for one in drawn])
    for measure, theirs in ((pearson, scipy.stats.pearsonr), (spearman, scipy.stats.spearmanr)):
        expected = [theirs(*own[one].T).statistic for one in drawn]
        np.testing.assert_allclose(measure(own, times), expected, atol=1e-12)
    # Of 10, 10, 20, 30 the two tens share ranks 1 and 2.
    assert _ranks(np.array([10, 20, 20, 30]), np.array([2, 1, 0, 1])).tolist() == [1.5, 3, 3, 4]


def test_a_constant_has_no_correlation():
    constant = np.stack([np.arange(9.0), np.full(9, 0.1)], axis=1)
    assert pearson(constant, np.ones(9)) == spearman(constant, np.ones(9)) == 0


def test_an_interval_of_a_correlation_holds_it_and_is_narrower_for_more_examples():
    few, many = (bootstrap_interval([numbers(count, 1, 0.3)], spearman) for count in (50, 800))
    assert few.low < few.score < few.high
    assert many.high - many.low < (few.high - few.low) / 2
    assert few.score == pytest.approx(scipy.stats.spearmanr(*numbers(50, 1, 0.3).T).statistic)


@pytest.mark.parametrize("measure", [pearson, spearman])
def test_correlations_are_tested_by_swapping_and_by_resampling(measure):
    good, alike, bad = (numbers(120, *way) for way in ((1, 0.1), (2, 0.1), (3, 0.8)))
    for test in (approximate_randomisation, paired_bootstrap):
        told = test([good], [bad], measure)
        assert told.difference == pytest.approx(score_of(good, measure) - score_of(bad, measure))
        assert told.p_value < 0.01
        assert test([good], [alike], measure).p_value > 0.05
        assert test([good], [good], measure).p_value == 1
    # Two examples can be swapped in four ways; half of them change the sign, none the size.
    one, other = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])
    assert approximate_randomisation([one], [other], pearson, resamples=400).p_value == pytest.approx(0.5, abs=0.1)


def test_the_drop_by_hand():
    first, second = answers([True] * 4), answers([True, True, True, False])
    drop = bootstrap_drop([first], [second], accuracy)
    assert drop.score == 0.25
    assert (drop.low, drop.high) == (0, 0.75)
    assert bootstrap_drop([first], [first], accuracy).high == 0


def test_predictions_with_several_labels_and_with_numbers_are_kept_and_compared(tmp_path):
    for task, answer in (("emotion", lambda own: []), ("regression", lambda own: 1 - own)):
        data = make(task)
        gold = data.gold()
        first = read_predictions(tmp_path / write_predictions(tmp_path, data, {1: gold}))
        assert first.gold == first.predicted["1"]
        worse = [answer(own) if index % 4 else own for index, own in enumerate(gold)]
        second = read_predictions(tmp_path / write_predictions(tmp_path, data, {1: worse}))
        told = compare(first, second, task)
        scores = [task_scores(task, data.labels, gold, own)[data.kind.main_metric] for own in (gold, worse)]
        assert told.difference == pytest.approx(scores[0] - scores[1])
        assert told.p_value < 0.05
    assert first.gold[0] in (0.1, 0.5, 0.9)
    with pytest.raises(ValueError, match="unknown metric 'accuracy' for regression; expected pearson or spearman"):
        compare(first, second, "regression", "accuracy")
