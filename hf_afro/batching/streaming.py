"""The samples of several streams in one order: which language stands at which position is known without reading.

Every process works out the same order and reads every stream, but makes batches of its own positions only. So the
global batch is the same for any number of processes, and no sample is given to two. The price is that text is
tokenised once a process; rows of ready ids cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from hf_afro.batching.counter_random import SHUFFLE_BLOCK, SHUFFLE_EPOCH, permutation
from hf_afro.batching.mixing import SampleKey, largest_remainder
from hf_afro.batching.streams import LanguageStream, Place

BLOCK = 256
"""Samples of a language that are read ahead and shuffled among each other."""

_ROUND = 64  # windows in which every language gets its share to within a sample
_ID_BITS = 40  # of a sample's id, for its number in its language


@dataclass(frozen=True)
class StreamSchedule:
    """Which language, and the how-manieth sample of it, stands at every position of an endless order.

    Attributes:
        weights: How often each language is drawn, up to a factor, by ISO 639-3 code.
        window: Samples of one optimizer step.
        steps: Optimizer steps that will be taken: one epoch, as the Trainer sees it.
        seed: The seed of the order.
    """

    weights: Mapping[str, float]
    window: int
    steps: int
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", dict(sorted(self.weights.items())))

    @property
    def steps_per_epoch(self) -> int:
        """All the steps there are."""
        return self.steps

    @property
    def windows_per_round(self) -> int:
        """Windows in which each language gets its share: 64, or as many as give every language a sample."""
        return max(_ROUND, -(-len(self.weights) // self.window))

    @property
    def quotas(self) -> list[int]:
        """Samples of each language in every round, at least one."""
        quotas = largest_remainder(list(self.weights.values()), self.windows_per_round * self.window)
        while 0 in quotas:
            quotas[quotas.index(0)] += 1
            quotas[quotas.index(max(quotas))] -= 1
        return quotas

    def windows(self, epoch: int) -> Iterator[np.ndarray]:
        """Yield the keys of each step: the index of the language and the number of its sample, ``[window, 2]``."""
        quotas = np.asarray(self.quotas)
        begin = epoch * self.steps
        for step in range(begin, begin + self.steps):
            turn, within = divmod(step, self.windows_per_round)
            if within == 0 or step == begin:
                languages = np.repeat(np.arange(len(quotas)), quotas)
                numbers = np.concatenate([turn * quota + np.arange(quota) for quota in quotas])
                order = permutation(self.seed, SHUFFLE_EPOCH, turn, 1, len(languages))
                # Shuffled are the languages; the numbers of each stay in order, since a stream is read in order.
                languages = languages[order]
                places = np.argsort(languages, kind="stable")
                keys = np.empty((len(languages), 2), dtype=np.int64)
                keys[places] = np.stack([languages[places], numbers], axis=1)
            yield keys[within * self.window : (within + 1) * self.window]


class StreamedSamples(Dataset[dict[str, Any]]):
    """The streams of all languages behind one door, asked for by the keys of a `StreamSchedule`.

    Samples are shuffled within blocks of 256 of their language. Asking for a later one reads up to it; asking for one
    before the block at hand begins anew.

    Args:
        streams: A stream a language.
        seed: The seed of the blocks' order.
        block: Samples that are shuffled among each other.
    """

    def __init__(self, streams: Mapping[str, LanguageStream], seed: int = 0, block: int = BLOCK) -> None:
        self.streams = dict(sorted(streams.items()))
        self.languages = tuple(self.streams)
        self.seed = seed
        self.block = block
        self.go_on_from({})

    def go_on_from(self, places: Mapping[str, str]) -> None:
        """Set where each language is read from; at its beginning where no place is given.

        Args:
            places: Of samples that begin a block, as `__getitem__` gave them, by language.
        """
        starts = {language: Place.from_json(text) for language, text in places.items()}
        self._shelves = [
            _Shelf(self.streams[language], starts.get(language, Place()), self.seed, index, self.block)
            for index, language in enumerate(self.languages)
        ]

    def __getitem__(self, key: SampleKey) -> dict[str, Any]:
        """Return one sample.

        Args:
            key: The index of the language and the number of the sample in it.

        Returns:
            `input_ids` (``[length]``), `pass_index`, `sample_id`, `language` (an index into `languages`) and
            `stream`: the place to read on from, for this sample and all that follow it.
        """
        language, number = key
        try:
            place, row, start = self._shelves[language].sample(number)
        except ValueError as error:
            raise ValueError(f"{self.languages[language]}: {error}") from error
        return {
            "input_ids": row,
            "pass_index": place.pass_index,
            "sample_id": (language << _ID_BITS) + place.samples,
            "language": language,
            "stream": start,
        }


class _Shelf:
    """The block of one language that is at hand."""

    def __init__(self, stream: LanguageStream, start: Place, seed: int, language: int, block: int) -> None:
        self.stream = stream
        self.start = start
        self.seed, self.language, self.block = seed, language, block
        self._number = -1
        self._samples: list[tuple[Place, np.ndarray]] = []
        self._order: list[int] = []
        self._start = ""
        self._reader: Iterator[tuple[Place, np.ndarray]] | None = None

    def sample(self, number: int) -> tuple[Place, np.ndarray, str]:
        """Return a sample's place and ids, and the place of its block as JSON."""
        block, within = divmod(number, self.block)
        if self._reader is None or block < self._number:
            known = self.start if self.start.samples <= block * self.block else Place()
            self._number = known.samples // self.block - 1
            self._reader = self.stream.samples_from(known)
        while self._number < block:
            self._samples = [next(self._reader) for _ in range(self.block)]
            self._number += 1
            order = permutation(self.seed, SHUFFLE_BLOCK, self.language, self._number, self.block)
            self._order, self._start = order.tolist(), self._samples[0][0].to_json()
        return (*self._samples[self._order[within]], self._start)
