"""Test examples that the training split holds too: which they are, and the scores without them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_afro.evaluation.metrics import task_scores

if TYPE_CHECKING:
    from hf_afro.evaluation.data.task_data import TaskData


DEDUPLICATED = "_deduplicated"
"""Behind the name of a metric: over the examples that train has not."""


def exact_key(text: Any) -> Any:
    """Return what two examples share if their text is the very same: a text, or a tuple of words or of two texts."""
    return text if isinstance(text, str) else tuple(text)


def loose_key(text: Any) -> Any:
    """Return what two examples share if their text is the same, case, spaces and punctuation apart.

    AfriSenti's test is lower-cased and without punctuation in three languages, and its train is not. A text without a
    letter or a number, such as one of emoji, is only ever itself.
    """
    if isinstance(text, str):
        folded = unicodedata.normalize("NFKC", text).casefold()
        # Marks are kept: in Yoruba a tone tells words apart.
        kept = "".join(character for character in folded if unicodedata.category(character)[0] in "LMN")
        return unicodedata.normalize("NFC", kept) or text
    return loose_key(" ".join(text)) if isinstance(text, list) else tuple(loose_key(part) for part in text)


def seen_in(train: Iterable[Any], other: Iterable[Any], *, exact: bool = False) -> np.ndarray:
    """Tell for each text of `other` whether it is one of `train`, whatever their labels.

    Args:
        train: Texts: strings, lists of words, or pairs of strings.
        other: The same.
        exact: Whether case, spaces and punctuation must be the same too.

    Returns:
        Booleans, one a text of `other`.
    """
    key = exact_key if exact else loose_key
    known = {key(text) for text in train}
    return np.fromiter((key(text) in known for text in other), dtype=bool)


def deduplicated_scores(data: TaskData, predicted: Sequence[Any], split: str = "test") -> tuple[dict[str, float], int]:
    """Score only what the training split does not hold, to stand beside the score of the whole split.

    Args:
        data: The task; its training split is the one trained on.
        predicted: Label ids for the whole split, as `FineTuned.predict` returns them.
        split: Which one.

    Returns:
        The scores by the names of the standard ones, empty where the training split holds every example, and the
        number of examples they are over.

    Raises:
        ValueError: If there are not as many predictions as examples.
    """
    gold, fresh = data.gold(split), ~data.seen_in_train(split)
    if len(predicted) != len(gold):
        raise ValueError(f"{len(predicted)} predictions for {len(gold)} examples of {split}; expected as many")
    kept = np.flatnonzero(fresh).tolist()
    if not kept:
        return {}, 0
    scores = task_scores(data.task, data.labels, [gold[index] for index in kept], [predicted[index] for index in kept])
    return scores, len(kept)
