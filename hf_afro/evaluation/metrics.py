"""Entity F1, and macro and weighted F1 with accuracy: plain functions, and `evaluate.Metric` classes around them.

`evaluate.load` fetches the code of a metric from the Hub; these are here, work without a network and combine with
others by `evaluate.combine`. What they return can be written as JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import evaluate
from datasets import Features, List, Value

from hf_afro.evaluation.data.kinds import kind_of


def entity_scores(references: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> dict[str, float]:
    """Score named entities: an entity counts where its type, its start and its end are all right.

    Entities are read off the tags as conlleval does, so an I- that follows no span of its type starts one: that is
    seqeval's default mode, which the papers' numbers were made with. Where every span starts with B-, as in references
    that were repaired on loading, it is its strict mode too.

    Args:
        references: The right tags of IOB2, a list a sentence.
        predictions: The predicted tags, as many.

    Returns:
        `entity_f1`, `entity_precision` and `entity_recall`, micro-averaged over all entities, in [0, 1]; 0 where there
        is nothing to divide by.

    Raises:
        ValueError: If numbers of sentences or of tags differ.
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
        references: The right classes.
        predictions: The predicted classes, as many.

    Returns:
        `macro_f1`, the mean over the classes that occur in either, each counting the same; `weighted_f1`, weighted by
        how often a class is right; `accuracy`; all in [0, 1].

    Raises:
        ValueError: If their numbers differ or there is none.
    """
    from sklearn.metrics import accuracy_score, f1_score

    _check_lengths(references, predictions)
    return {
        "macro_f1": float(f1_score(references, predictions, average="macro", zero_division=0)),
        "weighted_f1": float(f1_score(references, predictions, average="weighted", zero_division=0)),
        "accuracy": float(accuracy_score(references, predictions)),
    }


def tag_scores(references: Sequence[Sequence[Any]], predictions: Sequence[Sequence[Any]]) -> dict[str, float]:
    """Score tags of words, such as parts of speech: `classification_scores` over the words of all sentences.

    Args:
        references: The right tags, a list a sentence.
        predictions: The predicted tags, as many.

    Raises:
        ValueError: If numbers of sentences or of tags differ, or there is no word.
    """
    _check_words(references, predictions)
    flat = [[tag for tags in sentences for tag in tags] for sentences in (references, predictions)]
    return classification_scores(*flat)


def task_scores(
    task: str, labels: Sequence[str], references: Sequence[Any], predictions: Sequence[Any]
) -> dict[str, float]:
    """Score predictions by label id, as the kind of the task asks for.

    Args:
        task: A name of `hf_afro.evaluation.data.kinds.KINDS`.
        labels: The names of the labels, by id.
        references: The right ids: a list a sentence if words are tagged, else one a text.
        predictions: The predicted ids, as many.

    Raises:
        ValueError: If the task is unknown or numbers differ.
    """
    kind = kind_of(task)
    if kind.spans:
        return entity_scores(*([[labels[tag] for tag in tags] for tags in own] for own in (references, predictions)))
    return tag_scores(references, predictions) if kind.tagged else classification_scores(references, predictions)


def _check_words(references: Sequence[Sequence[Any]], predictions: Sequence[Sequence[Any]]) -> None:
    _check_lengths(references, predictions)
    for index, (right, predicted) in enumerate(zip(references, predictions, strict=True)):
        if len(right) != len(predicted):
            raise ValueError(
                f"sentence {index} has {len(right)} right tags and {len(predicted)} predicted; expected one a word"
            )


def _check_lengths(references: Sequence[Any], predictions: Sequence[Any]) -> None:
    if len(references) != len(predictions) or not len(references):
        raise ValueError(
            f"{len(references)} right answers and {len(predictions)} predicted; expected as many, at least one"
        )


class _OwnMetric(evaluate.Metric):
    """A metric that keeps what it is given in memory, unless told otherwise."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"keep_in_memory": True, **settings})


class EntityF1(_OwnMetric):
    """Entity precision, recall and F1 of tags in IOB2; see `entity_scores`.

    Example:
        >>> EntityF1().compute(references=[["B-PER", "O"]], predictions=[["B-PER", "O"]])["entity_f1"]
        1.0
    """

    def _info(self) -> evaluate.MetricInfo:
        tags = List(Value("string"))
        return evaluate.MetricInfo(
            description="Micro-averaged precision, recall and F1 of named entities, as conlleval counts them.",
            citation="Ramshaw and Marcus 1995; Tjong Kim Sang and De Meulder 2003; seqeval, Nakayama 2018",
            inputs_description="predictions and references: a list of tags of IOB2 a sentence",
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
            description="Macro F1, weighted F1 and accuracy of the tags of words.",
            citation="scikit-learn, Pedregosa et al. 2011",
            inputs_description="predictions and references: a list of tags a sentence",
            features=Features({"predictions": tags, "references": tags}),
        )

    def _compute(self, predictions: list[list[str]], references: list[list[str]]) -> dict[str, float]:
        return tag_scores(references, predictions)
