"""The metrics on answers that are known by hand, offline, combined, and as JSON."""

from __future__ import annotations

import json

import evaluate
import pytest

from hf_afro.tasks.metrics import ClassificationScores, EntityF1, classification_scores, entity_scores


def test_an_entity_counts_where_type_start_and_end_are_right():
    right = [["B-PER", "I-PER", "O", "B-LOC"], ["B-ORG", "O"]]
    predicted = [["B-PER", "I-PER", "O", "B-ORG"], ["B-ORG", "I-ORG"]]
    # One of three right, three predicted.
    assert entity_scores(right, predicted) == pytest.approx(
        {"entity_f1": 1 / 3, "entity_precision": 1 / 3, "entity_recall": 1 / 3}
    )


def test_adjacent_entities_of_one_type_are_two_and_an_i_alone_starts_one():
    assert entity_scores([["B-PER", "B-PER"]], [["B-PER", "I-PER"]])["entity_f1"] == 0
    assert entity_scores([["B-PER", "O"]], [["I-PER", "O"]])["entity_f1"] == 1
    assert entity_scores([["B-PER", "B-LOC"]], [["B-PER", "I-LOC"]])["entity_f1"] == 1


def test_all_o_is_zero_and_does_not_warn(recwarn):
    assert entity_scores([["B-PER", "O"]], [["O", "O"]]) == {
        "entity_f1": 0.0,
        "entity_precision": 0.0,
        "entity_recall": 0.0,
    }
    assert not recwarn.list


def test_classes_by_hand():
    # Class 0: precision 1/2, recall 1, F1 2/3. Class 1: 0. Class 2: 1. Right: 1, 1 and 2 times.
    scores = classification_scores([0, 1, 2, 2], [0, 0, 2, 2])
    assert scores == pytest.approx(
        {"macro_f1": (2 / 3 + 0 + 1) / 3, "weighted_f1": (2 / 3 + 2) / 4, "accuracy": 3 / 4}
    )


@pytest.mark.parametrize("function", [entity_scores, classification_scores])
def test_nothing_and_unequal_numbers_are_refused(function):
    with pytest.raises(ValueError, match="0 right answers and 0 predicted"):
        function([], [])
    with pytest.raises(ValueError, match="1 right answers and 2 predicted"):
        function([["O"]], [["O"], ["O"]])


def test_sentences_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="sentence 1 has 1 right tags and 2 predicted"):
        entity_scores([["O"], ["O"]], [["O"], ["O", "O"]])


def test_the_classes_of_evaluate_give_the_same_in_one_go_and_in_batches():
    metric = EntityF1()
    right, predicted = [["B-PER", "O"], ["B-LOC"]], [["B-PER", "O"], ["O"]]
    for one, other in zip(right, predicted, strict=True):
        metric.add_batch(references=[one], predictions=[other])
    scores = metric.compute()
    assert scores == entity_scores(right, predicted) == EntityF1().compute(references=right, predictions=predicted)
    assert json.loads(json.dumps(scores)) == scores


def test_metrics_combine():
    both = evaluate.combine([ClassificationScores(), ClassificationScores()], force_prefix=True)
    scores = both.compute(references=[0, 1], predictions=[0, 1])
    assert len(scores) == 6
    assert all(type(value) is float for value in scores.values())
    assert evaluate.combine([EntityF1()]).compute(references=[["O"]], predictions=[["O"]])["entity_f1"] == 0.0
