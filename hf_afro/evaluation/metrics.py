"""Metrics: entity F1, and macro F1, weighted F1 and accuracy, as plain functions and as `evaluate.Metric` classes.

`evaluate.load` downloads the code of a metric from the Hub. These work without a network, combine with others through
`evaluate.combine`, and return values that can be written as JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import evaluate
from datasets import Features, List, Value

from hf_afro.evaluation.significance import MEASURES, score_of, task_counts
from hf_afro.tasks import kind_of


def entity_scores(references: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> dict[str, float]:
    """Score named entities. An entity is correct if its type, start and end are.

    Entities are read from the tags as conlleval does: an I- that follows no span of its type starts one. This is the
    default mode of seqeval, which the papers' numbers were made with. Where every span starts with B-, as in
    references repaired on loading, it equals the strict mode.

    Args:
        references: The correct IOB2 tags, one list per sentence.
        predictions: The predicted tags, in the same shape.

    Returns:
        `entity_f1`, `entity_precision` and `entity_recall`, micro-averaged over all entities, in [0, 1]; 0 where the
        denominator is 0.

    Raises:
        ValueError: If the numbers of sentences or tags differ.
    """
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    _check_words(references, predictions)
    precision, recall, f1, _ = precision_recall_fscore_support(
        [list(tags) for tags in references], [list(tags) for tags in predictions], average="micro", zero_division=0
    )
    return {"entity_f1": float(f1), "entity_precision": float(precision), "entity_recall": float(recall)}


def classification_scores(references: Sequence[Any], predictions: Sequence[Any]) -> dict[str, float]:
    """Score classes.

    Args:
        references: The correct classes.
        predictions: As many predicted classes.

    Returns:
        `macro_f1`, the unweighted mean over the classes that occur in either; `weighted_f1`, weighted by how often a
        class is correct; `accuracy`; all in [0, 1].

    Raises:
        ValueError: If their numbers differ or are 0.
    """
    from sklearn.metrics import accuracy_score, f1_score

    _check_lengths(references, predictions)
    return {
        "macro_f1": float(f1_score(references, predictions, average="macro", zero_division=0)),
        "weighted_f1": float(f1_score(references, predictions, average="weighted", zero_division=0)),
        "accuracy": float(accuracy_score(references, predictions)),
    }


def tag_scores(references: Sequence[Sequence[Any]], predictions: Sequence[Sequence[Any]]) -> dict[str, float]:
    """Score word tags such as parts of speech: `classification_scores` over the words of all sentences.

    Args:
        references: The correct tags, one list per sentence.
        predictions: The predicted tags, in the same shape.

    Raises:
        ValueError: If the numbers of sentences or tags differ, or there is no word.
    """
    _check_words(references, predictions)
    flat = [[tag for tags in sentences for tag in tags] for sentences in (references, predictions)]
    return classification_scores(*flat)


def task_scores(
    task: str, labels: Sequence[str], references: Sequence[Any], predictions: Sequence[Any]
) -> dict[str, float]:
    """Score the predictions of a task by label id.

    Args:
        task: A name in `hf_afro.tasks.KINDS`.
        labels: The names of the labels, by id.
        references: The correct answers, in the form of `TaskData.gold`: ids; lists of ids for sentences, and for texts
            with several labels; or numbers.
        predictions: The predicted answers, in the same form.

    Returns:
        The metrics by name. With several labels, `macro_f1` is the mean over the labels that occur in references or
        predictions, and `micro_f1` that of all together; correlations are in [-1, 1], and 0 if one side is constant.

    Raises:
        ValueError: If the task is unknown or the numbers differ.
    """
    kind = kind_of(task)
    if kind.multi_label or kind.regression:
        _check_lengths(references, predictions)
        counts = task_counts(task, labels, references, predictions)
        return {metric: score_of(counts, MEASURES[metric]) for metric in kind.metrics}
    if kind.spans:
        return entity_scores(*([[labels[tag] for tag in tags] for tags in own] for own in (references, predictions)))
    return tag_scores(references, predictions) if kind.tagged else classification_scores(references, predictions)


def _check_words(references: Sequence[Sequence[Any]], predictions: Sequence[Sequence[Any]]) -> None:
    _check_lengths(references, predictions)
    for index, (correct, predicted) in enumerate(zip(references, predictions, strict=True)):
        if len(correct) != len(predicted):
            raise ValueError(
                f"sentence {index} has {len(correct)} references and {len(predicted)} predictions; expected as many"
            )


def _check_lengths(references: Sequence[Any], predictions: Sequence[Any]) -> None:
    if len(references) != len(predictions) or not len(references):
        raise ValueError(
            f"{len(references)} references and {len(predictions)} predictions; expected the same number, at least one"
        )


class _OwnMetric(evaluate.Metric):
    """A metric that keeps its inputs in memory by default."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"keep_in_memory": True, **settings})


class EntityF1(_OwnMetric):
    """Entity precision, recall and F1 of IOB2 tags; see `entity_scores`.

    Example:
        >>> EntityF1().compute(references=[["B-PER", "O"]], predictions=[["B-PER", "O"]])["entity_f1"]
        1.0
    """

    def _info(self) -> evaluate.MetricInfo:
        tags = List(Value("string"))
        return evaluate.MetricInfo(
            description="Micro-averaged precision, recall and F1 of named entities, as conlleval counts them.",
            citation="Ramshaw and Marcus 1995; Tjong Kim Sang and De Meulder 2003; seqeval, Nakayama 2018",
            inputs_description="predictions and references: one list of IOB2 tags per sentence",
            features=Features({"predictions": tags, "references": tags}),
        )

    def _compute(self, predictions: list[list[str]], references: list[list[str]]) -> dict[str, float]:
        return entity_scores(references, predictions)


class ClassificationScores(_OwnMetric):
    """Macro F1, weighted F1 and accuracy; see `classification_scores`.

    Example:
        >>> ClassificationScores().compute(references=[0, 1, 1], predictions=[0, 1, 1])["macro_f1"]
        1.0
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Macro F1, weighted F1 and accuracy of classes.",
            citation="scikit-learn, Pedregosa et al. 2011",
            inputs_description="predictions and references: class ids",
            features=Features({"predictions": Value("int64"), "references": Value("int64")}),
        )

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        return classification_scores(references, predictions)


class TagScores(_OwnMetric):
    """Macro F1, weighted F1 and accuracy over words; see `tag_scores`.

    Example:
        >>> TagScores().compute(references=[["NOUN", "VERB"]], predictions=[["NOUN", "VERB"]])["accuracy"]
        1.0
    """

    def _info(self) -> evaluate.MetricInfo:
        tags = List(Value("string"))
        return evaluate.MetricInfo(
            description="Macro F1, weighted F1 and accuracy of word tags.",
            citation="scikit-learn, Pedregosa et al. 2011",
            inputs_description="predictions and references: one list of tags per sentence",
            features=Features({"predictions": tags, "references": tags}),
        )

    def _compute(self, predictions: list[list[str]], references: list[list[str]]) -> dict[str, float]:
        return tag_scores(references, predictions)
