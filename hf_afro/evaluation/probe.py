"""`fit_probe`: classify texts by a logistic regression on the vectors of an encoder that stays as it is.

Texts with several labels get one regression per label, and numbers a linear one (ridge).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_afro.evaluation.data.task_data import TaskData
from hf_afro.evaluation.fitted import Fitted
from hf_afro.evaluation.metrics import task_scores
from hf_afro.evaluation.sentence_vectors import sentence_vectors
from hf_afro.tasks import TaskKind, kind_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hf_afro.evaluation.presets import FineTuningSettings

STRENGTHS = (1.0, 10.0, 100.0, 1000.0)
"""Values of C that are tried, the inverse of the regularisation. Vectors of length 1 need large ones."""
_MOST_STEPS = 1000


@dataclass(frozen=True, eq=False, kw_only=True)
class Probe(Fitted):
    """A logistic regression on the vectors of an encoder.

    Attributes:
        settings: How texts are encoded: its `of_vectors` is used.
        classifier: The regression, on vectors less `centre`; for several labels or a number, see `fit_probe`.
        centre: The mean of the training vectors, ``[features]``.
    """

    settings: FineTuningSettings
    classifier: Any
    centre: np.ndarray

    def predict(self, data: TaskData, split: str = "test") -> list[Any]:
        """Return the predicted answer to each text of a split, in the form of `TaskData.gold`.

        Args:
            data: The task in any language, with the probe's labels.
            split: Of the task.

        Raises:
            ValueError: If the labels of data and probe differ.
        """
        if data.labels != self.labels:
            raise ValueError(f"{data.dataset} has the labels {data.labels}; expected the probe's, {self.labels}")
        features = features_of(self.model, self.tokenizer, data, split, self.settings) - self.centre
        return _answers(data.kind, self.classifier.predict(features))


def fit_probe(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TaskData,
    settings: FineTuningSettings,
    seed: int = 0,
) -> Probe:
    """Fit a multinomial logistic regression to the vectors of the training texts.

    Texts with several labels get a binary one for each, whose labels are those above a probability of 0.5. Numbers get
    a linear regression with the penalty 1 / C.

    The strength of regularisation is chosen on dev by the task's main metric; of equal ones the strongest is kept.

    Args:
        model: The encoder, with or without a head; not changed.
        tokenizer: Its tokenizer.
        data: A task that labels texts or pairs of texts.
        settings: Its `of_vectors` is used.
        seed: Without effect, as nothing is drawn at random; fine-tuning has one in its place.

    Raises:
        ValueError: If the task labels words.
    """
    check_probe(data.task)
    started = time.perf_counter()
    train, dev = (features_of(model, tokenizer, data, split, settings) for split in ("train", "dev"))
    # The optimum is the same without the common part, as the intercept is free, and found in fewer steps.
    centre = train.mean(0)
    fitted, scores = [], []
    for strength in STRENGTHS:
        classifier = _regression(data.kind, strength)
        fitted.append(classifier.fit(train - centre, np.array(list(data.splits["train"]["label"]))))
        found = _answers(data.kind, classifier.predict(dev - centre))
        scores.append(task_scores(data.task, data.labels, data.gold("dev"), found)[data.kind.main_metric])
    best = int(np.argmax(scores))
    return Probe(
        model=model,
        tokenizer=tokenizer,
        settings=settings,
        labels=data.labels,
        classifier=fitted[best],
        centre=centre,
        dev_scores=tuple(scores),
        best_epoch=best + 1,
        seconds=time.perf_counter() - started,
    )


def _regression(kind: TaskKind, strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.multiclass import OneVsRestClassifier

    if kind.regression:
        return Ridge(alpha=1 / strength)
    logistic = LogisticRegression(C=strength, max_iter=_MOST_STEPS)
    return OneVsRestClassifier(logistic) if kind.multi_label else logistic


def _answers(kind: TaskKind, predicted: np.ndarray) -> list[Any]:
    if kind.multi_label:  # 0 or 1 per label; without the second axis if there is only one label
        return [np.flatnonzero(own).tolist() for own in predicted.reshape(len(predicted), -1)]
    return predicted.tolist()


def check_probe(task: str) -> None:
    """Refuse a task that labels words, which have no vector of their own here.

    Raises:
        ValueError: If it is one.
    """
    if kind_of(task).tagged:
        raise ValueError(
            f"{task} labels words, and a probe classifies the vectors of texts; expected a task of texts or pairs, or "
            "another adaptation, such as frozen"
        )


def features_of(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TaskData,
    split: str,
    settings: FineTuningSettings,
) -> np.ndarray:
    """Return the features of a split: the vector of each text, and for a pair u and v also |u - v| and u * v.

    Args:
        model: The encoder.
        tokenizer: Its tokenizer.
        data: The task.
        split: Of the task.
        settings: See `fit_probe`.

    Returns:
        float32 ``[examples, width]``, or ``[examples, 4 * width]`` for pairs.

    References:
        Conneau et al. 2017, *Supervised Learning of Universal Sentence Representations*, for the features of pairs.
    """
    rows = data.splits[split]
    first = sentence_vectors(model, tokenizer, rows["text"], **settings.of_vectors)
    if not data.kind.pairs:
        return first
    second = sentence_vectors(model, tokenizer, rows["text_pair"], **settings.of_vectors)
    return np.concatenate([first, second, np.abs(first - second), first * second], axis=1)
