"""Predictions read again from their files: intervals, comparisons of two models, and files that are none."""

from __future__ import annotations

import dataclasses

import pytest

from hf_afro.evaluation.comparison import compare, interval_of, read_predictions
from hf_afro.evaluation.data.task_data import make_task_data
from hf_afro.evaluation.metrics import task_scores
from hf_afro.evaluation.predictions import Run, write_predictions
from tests.evaluation.conftest import make

ROWS = {
    "train": [(f"a{index}", "x" if index % 3 else "y") for index in range(20)],
    "dev": [("z", "x")],
    "test": [(f"{'A' if index < 10 else 'b'}{index}", ("x", "y")[index % 2]) for index in range(40)],
}
TEXTS = make_task_data("topic", "swa", "set/swa", ROWS)


def written(tmp_path, name: str, data, *answers):
    runs = {seed: Run(list(own), (), 1, 0.0) for seed, own in enumerate(answers, start=1)}
    return read_predictions(tmp_path / name / write_predictions(tmp_path / name, data, runs))


def test_what_was_written_is_read_and_scores_the_same(tmp_path):
    data = make("ner")
    gold = data.gold()
    worse = [[0] * len(tags) if index % 2 else list(tags) for index, tags in enumerate(gold)]
    predictions = written(tmp_path, "one", data, worse)
    assert list(predictions.predicted) == ["1"]
    interval = interval_of(predictions, "ner")
    assert interval.score == pytest.approx(task_scores("ner", data.labels, gold, worse)["entity_f1"], abs=1e-15)
    assert interval.low < interval.score < interval.high


def test_what_train_has_is_left_out(tmp_path):
    answers = [label if index < 10 else 1 - label for index, label in enumerate(TEXTS.gold())]
    predictions = written(tmp_path, "one", TEXTS, answers)
    assert sum(predictions.in_train) == 10
    assert interval_of(predictions, "topic", "accuracy").score == 0.25
    assert interval_of(predictions, "topic", "accuracy", deduplicated=True).score == 0


@pytest.mark.parametrize("method", ["randomisation", "bootstrap"])
def test_two_models_differ_or_do_not(tmp_path, method):
    gold = TEXTS.gold()
    right = written(tmp_path, "right", TEXTS, gold, gold)
    # One class alone is ever answered, so that each file knows other labels.
    flat = written(tmp_path, "flat", TEXTS, [0] * 40, [0] * 40)
    compared = compare(right, flat, "topic", "accuracy", method=method)
    assert compared.difference == 0.5
    assert compared.p_value < 0.01
    assert compare(right, right, "topic", method=method).p_value == 1
    assert compare(flat, right, "topic", "accuracy", method=method).difference == -0.5


def test_two_samples_of_one_set_are_not_taken_for_each_other(tmp_path):
    """They may have the same labels in the same order; what an older version wrote counts a sample from 0."""
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
    with pytest.raises(ValueError, match="no measure 'entity_f1' of topic; expected macro_f1 or weighted_f1 or accur"):
        compare(one, one, "topic", "entity_f1")
    with pytest.raises(ValueError, match="no method 't-test'"):
        compare(one, one, "topic", method="t-test")
    path = tmp_path / "bad.jsonl"
    path.write_text('{"index": 0, "gold": "x", "predicted": {"1": "x"}}\n', "utf-8")
    with pytest.raises(ValueError, match="do not say what train has"):
        interval_of(read_predictions(path), "topic", deduplicated=True)
    for content, message in (
        (
            '{"gold": "x", "predicted": {"1": "x"}}\n{"gold": "x", "predicted": {"2": "x"}}\n',
            "line 2: seeds 2; expected 1",
        ),
        ('{"gold": "x"}\n', "line 1: no prediction"),
        ("[1]\n", "line 1: no prediction"),
        ("", "is empty"),
    ):
        path.write_text(content, "utf-8")
        with pytest.raises(ValueError, match=message):
            read_predictions(path)
