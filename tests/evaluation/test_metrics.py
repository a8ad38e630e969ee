"""Metrics on examples scored by hand, offline, combined, and as JSON."""

from __future__ import annotations

import json
from collections import Counter, defaultdict

import evaluate
import numpy as np
import pytest
import scipy.stats
import seqeval.metrics
import sklearn.metrics

from hf_afro.evaluation.data.loading import load_task
from hf_afro.evaluation.metrics import (
    ClassificationScores,
    EntityF1,
    TagScores,
    classification_scores,
    entity_scores,
    tag_scores,
    task_scores,
)


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
    with pytest.raises(ValueError, match="0 references and 0 predictions"):
        function([], [])
    with pytest.raises(ValueError, match="1 references and 2 predictions"):
        function([["O"]], [["O"], ["O"]])


def test_sentences_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="sentence 1 has 1 references and 2 predictions"):
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


def test_metrics_of_tags_combine_with_those_of_entities():
    right, predicted = [["B-PER", "O"], ["B-LOC"]], [["B-PER", "O"], ["O"]]
    scores = evaluate.combine([EntityF1(), TagScores()]).compute(references=right, predictions=predicted)
    assert scores == {**entity_scores(right, predicted), **tag_scores(right, predicted)}
    assert scores["accuracy"] == pytest.approx(2 / 3)


def check_entities(right: list[list[str]], predicted: list[list[str]]) -> None:
    scores = entity_scores(right, predicted)
    assert scores["entity_f1"] == seqeval.metrics.f1_score(right, predicted)
    assert scores["entity_precision"] == seqeval.metrics.precision_score(right, predicted)
    assert scores["entity_recall"] == seqeval.metrics.recall_score(right, predicted)
    # And by hand: spans of the tags, counted without a library.
    own, other = (
        [(index, *span) for index, tags in enumerate(all_) for span in spans(tags)] for all_ in (right, predicted)
    )
    common = len(set(own) & set(other))
    assert scores["entity_f1"] == pytest.approx(2 * common / (len(own) + len(other)), abs=1e-15)


def spans(tags: list[str]) -> list[tuple[str, int, int]]:
    found, start = [], None
    for place, tag in enumerate([*tags, "O"]):
        before = tags[place - 1] if place else "O"
        if before != "O" and (tag == "O" or tag[0] == "B" or tag[2:] != before[2:]):
            found.append((before[2:], start, place))
        if tag != "O" and (before == "O" or tag[0] == "B" or tag[2:] != before[2:]):
            start = place
    return found


def check_classes(right: list, predicted: list) -> None:
    scores = classification_scores(right, predicted)
    report = sklearn.metrics.classification_report(right, predicted, output_dict=True, zero_division=0)
    assert scores["accuracy"] == sklearn.metrics.accuracy_score(right, predicted)
    assert scores["weighted_f1"] == pytest.approx(report["weighted avg"]["f1-score"], abs=1e-15)
    assert scores["macro_f1"] == pytest.approx(report["macro avg"]["f1-score"], abs=1e-15)


@pytest.mark.parametrize("seed", range(5))
def test_random_predictions_score_as_by_seqeval_and_scikit_learn(seed):
    draw = np.random.default_rng(seed)
    labels = ["O", "O", "O", *(f"{letter}-{kind}" for letter in "BI" for kind in ("PER", "LOC", "ORG"))]
    right = [draw.choice(labels, size=size).tolist() for size in draw.integers(1, 30, size=300)]
    predicted = [[tag if draw.random() < 0.6 else str(draw.choice(labels)) for tag in tags] for tags in right]
    check_entities(right, predicted)
    classes = draw.integers(0, 7, size=500).tolist()
    check_classes(classes, [one if draw.random() < 0.5 else int(draw.integers(0, 9)) for one in classes])
    flat = [[tag for tags in own for tag in tags] for own in (right, predicted)]
    assert tag_scores(right, predicted) == classification_scores(*flat)


@pytest.mark.parametrize(("folder", "language"), [("masakhaner1", "swa"), ("masakhaner2", "hau")])
def test_predictions_of_real_entities_score_as_by_seqeval(shared_data, folder, language):
    # Each word gets the tag it has most often in train.
    data = load_task("ner", shared_data / "ner" / folder, language)
    seen: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for tokens, tags in zip(data.texts("train"), data.gold("train"), strict=True):
        for token, tag in zip(tokens, tags, strict=True):
            seen[token][tag] += 1
    answers = [
        [seen[token].most_common(1)[0][0] if token in seen else 0 for token in tokens] for tokens in data.texts()
    ]
    right, predicted = ([[data.labels[tag] for tag in tags] for tags in own] for own in (data.gold(), answers))
    check_entities(right, predicted)
    scores = task_scores("ner", data.labels, data.gold(), answers)
    assert scores == entity_scores(right, predicted)
    assert 0.3 < scores["entity_f1"] < 0.9


@pytest.mark.parametrize(
    ("task", "folder", "language"),
    [("topic", "topic/masakhanews", "yor"), ("sentiment", "sentiment/afrisenti", "swa")],
)
def test_predictions_of_real_texts_score_as_by_scikit_learn(shared_data, task, folder, language):
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB

    data = load_task(task, shared_data / folder, language)
    words = CountVectorizer()
    model = MultinomialNB().fit(words.fit_transform(data.texts("train")), data.gold("train"))
    answers = model.predict(words.transform(data.texts())).tolist()
    check_classes(data.gold(), answers)
    assert len(set(answers)) > 1


def test_several_labels_by_hand():
    right, predicted = [[0], [0, 1], [], [1]], [[0], [0], [], [1, 2]]
    # F1 of the labels: 1, 2/3, and 0 for one that is only predicted; a fourth occurs nowhere and does not count.
    scores = task_scores("emotion", ("a", "b", "c", "d"), right, predicted)
    assert scores == pytest.approx({"macro_f1": (1 + 2 / 3 + 0) / 3, "micro_f1": 3 / 4})
    columns = [[[label in own for label in range(3)] for own in side] for side in (right, predicted)]
    for average in ("macro", "micro"):
        theirs = sklearn.metrics.f1_score(*columns, average=average, zero_division=0)
        assert scores[f"{average}_f1"] == pytest.approx(theirs)
    assert task_scores("emotion", ("a",), [[], []], [[], []]) == {"macro_f1": 0, "micro_f1": 0}


def test_correlations_by_hand():
    # Deviations -1.5, -0.5, 0.5, 1.5 against -0.5, -1.5, 1.5, 0.5: 3 / 5.
    assert task_scores("regression", ("number",), [1, 2, 3, 4], [2, 1, 4, 3]) == pytest.approx(
        {"pearson": 0.6, "spearman": 0.6}
    )
    scores = task_scores("relatedness", ("number",), [1, 2, 3, 4], [20, 10, 400, 300])
    assert scores["spearman"] == pytest.approx(0.6)
    assert scores["pearson"] == pytest.approx(scipy.stats.pearsonr([1, 2, 3, 4], [20, 10, 400, 300])[0])
    # A model that always answers alike has no correlation.
    assert task_scores("regression", ("number",), [1, 2, 3], [0.1, 0.1, 0.1]) == {"pearson": 0, "spearman": 0}
    with pytest.raises(ValueError, match="3 references and 2 predictions"):
        task_scores("regression", ("number",), [1, 2, 3], [1, 2])
