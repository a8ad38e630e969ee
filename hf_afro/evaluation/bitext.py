"""Bitext retrieval: find the translation of each sentence of parallel text by its vector, in both directions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_afro.evaluation.data.parallel import ParallelText
from hf_afro.evaluation.sentence_vectors import sentence_vectors
from hf_afro.evaluation.significance import accuracy, bootstrap_interval
from hf_afro.reports import Score
from hf_afro.tasks import BITEXT, metrics_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DIRECTIONS = ("from_language", "into_language")
"""The sentence of the language is given and its translation is searched for, or the other way round."""
_ROWS = 1024  # sentences compared with all others at a time


@dataclass(frozen=True, eq=False)
class BitextRetrieval:
    """The sentences that a model found.

    Attributes:
        text: What was searched.
        nearest: By direction, the place of the nearest sentence of the other language, int64 ``[pairs]``; the
            translation is at the sentence's own place.
    """

    text: ParallelText
    nearest: dict[str, np.ndarray]

    def scores(self) -> tuple[Score, ...]:
        """Return accuracy at 1, the share of sentences whose translation is the nearest one.

        Returns:
            Their mean over both directions, then each direction, with 95 % bootstrap intervals over the pairs; the
            sentences that are searched stay the same.
        """
        places = np.arange(len(self.text.pairs))
        counts = np.ones((len(places), len(DIRECTIONS), 3), dtype=np.int64)  # correct, predicted, reference
        for index, direction in enumerate(DIRECTIONS):
            counts[:, index, 0] = self.nearest[direction] == places
        parts = (counts, *(counts[:, [index]] for index in range(len(DIRECTIONS))))
        intervals = [bootstrap_interval([part], accuracy) for part in parts]
        return tuple(
            Score(
                task=BITEXT,
                language=self.text.language,
                metric=metric,
                values=(interval.score,),
                seeds=(),
                n=len(places),
                split="test",
                dataset=self.text.dataset,
                fingerprint=self.text.fingerprint,
                interval=(interval.low, interval.high),
            )
            for metric, interval in zip(metrics_of(BITEXT), intervals, strict=True)
        )

    def predictions(self) -> Iterator[dict[str, Any]]:
        """Yield a line per pair as files of predictions have them: lines of the files stand for labels."""
        numbers = self.text.numbers
        for place, number in enumerate(numbers):
            found = {direction: numbers[nearest[place]] for direction, nearest in self.nearest.items()}
            yield {"index": number, "gold": number, "predicted": found}


def bitext_retrieval(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: ParallelText, **settings: Any
) -> BitextRetrieval:
    """Find the translation of each sentence among all translations, by the cosine of their vectors, and vice versa.

    Nothing is trained. The more pairs, the harder it is, so only figures on the same pairs can be compared.

    Args:
        model: An encoder, with any head; not changed.
        tokenizer: Its tokenizer.
        text: From `read_parallel`.
        **settings: Of `sentence_vectors`, such as `pooling` and `prompt`, for both languages.

    Raises:
        ValueError: See `sentence_vectors`.
        FloatingPointError: See `sentence_vectors`.

    References:
        Artetxe and Schwenk 2019, *Massively Multilingual Sentence Embeddings*, section 4.3 (Tatoeba).
    """
    first, second = (sentence_vectors(model, tokenizer, own, **settings) for own in zip(*text.pairs, strict=True))
    return BitextRetrieval(text, {"from_language": nearest(first, second), "into_language": nearest(second, first)})


def nearest(queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Return the place of the nearest candidate of each query.

    The right one is at the query's own place. It has to be nearer than all others: one that is as near counts against
    it, so that a model that gives all sentences the same vector finds none. Of other ties the first is returned.

    Args:
        queries: Of length 1, ``[pairs, width]``.
        candidates: Of length 1, ``[pairs, width]``.

    Returns:
        int64 ``[pairs]``.
    """
    found = np.empty(len(queries), dtype=np.int64)
    for start in range(0, len(queries), _ROWS):
        places = np.arange(start, min(start + _ROWS, len(queries)))
        cosines = queries[places] @ candidates.T  # [rows, pairs]
        rows = np.arange(len(places))
        own = cosines[rows, places]
        cosines[rows, places] = -np.inf
        other = cosines.argmax(1)
        found[places] = np.where(own > cosines[rows, other], places, other)
    return found
