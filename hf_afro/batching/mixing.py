"""Mixing languages: the sample at every global position of training, for any number of processes.

A sample has a key ``(pass, sample id)``: ids count the samples of all languages consecutively, and the pass counts how
often the language was seen before. Order and keys depend on the seed and the sizes only; ranks, micro-batches and
workers decide which process reads which part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from torch.utils.data import Dataset, Sampler

from hf_afro.batching.counter_random import SHUFFLE_EPOCH, SHUFFLE_LANGUAGE, permutation
from hf_afro.batching.packing import TokenRows

SampleKey = tuple[int, int]
"""The pass over the language of a sample, and the sample's id."""


@dataclass(frozen=True)
class Mixture:
    """The order of the samples of several languages, each with its share.

    A language of n samples gets a share proportional to n^alpha. It has a fixed quota per epoch, by largest remainder
    and at least one sample. Its samples form an endless stream, reshuffled on every pass, and each epoch takes the
    next quota from it: a language with a quota below its size is still seen completely, over several epochs. An epoch
    is a whole number of windows, at least one, with about as many samples as there are.

    Attributes:
        sizes: The number of samples of each language, by ISO 639-3 code; sorted by code, so that the given order does
            not matter.
        window: Samples per optimizer step: processes x batch size x accumulation steps.
        seed: The seed of all orders, 0 to 2**64 - 1.
        alpha: 1 draws all samples equally often, as in the paper; 0.3 is XLM-R's smoothing; 0 draws all languages
            equally often.

    Raises:
        ValueError: If there is no language, one is empty, the window is not positive, or alpha is outside [0, 1].

    References:
        Conneau et al., "Unsupervised cross-lingual representation learning at scale", ACL 2020, section 3.1.
    """

    sizes: Mapping[str, int]
    window: int
    seed: int = 0
    alpha: float = 1.0

    def __post_init__(self) -> None:
        if not self.sizes:
            raise ValueError("sizes is empty; expected at least one language")
        for language, size in self.sizes.items():
            if size < 1:
                raise ValueError(f"language {language!r} has {size} samples; add text, or leave the language out")
        if self.window < 1:
            raise ValueError(f"window is {self.window}; expected processes x batch size x accumulation, at least 1")
        if not 0.0 <= self.alpha <= 1.0:
            raise ValueError(f"alpha is {self.alpha}; expected a number from 0 to 1")
        object.__setattr__(self, "sizes", dict(sorted(self.sizes.items())))

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes in the order of the sample ids."""
        return tuple(self.sizes)

    @property
    def num_samples(self) -> int:
        """The number of distinct samples."""
        return sum(self.sizes.values())

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps per epoch: whole windows, enough for one sample of every language."""
        return max(self.num_samples // self.window, -(-len(self.sizes) // self.window))

    @property
    def samples_per_epoch(self) -> int:
        """Samples per epoch over all processes."""
        return self.steps_per_epoch * self.window

    @property
    def quotas(self) -> dict[str, int]:
        """Samples of each language per epoch."""
        weights = [size**self.alpha for size in self.sizes.values()]
        return dict(zip(self.sizes, quotas_of(weights, self.samples_per_epoch), strict=True))

    def epoch(self, epoch: int) -> np.ndarray:
        """Return the keys of an epoch in global order.

        Args:
            epoch: The epoch, counted from 0; there is no last one.

        Returns:
            int64 ``[samples_per_epoch, 2]``: the pass and the sample id at every position. Step s of the epoch is in
            rows ``[s * window, (s + 1) * window)``.
        """
        parts = []
        offset = 0
        for index, (language, quota) in enumerate(self.quotas.items()):
            size = self.sizes[language]
            for number, begin, end in _passes(epoch * quota, quota, size):
                order = permutation(self.seed, SHUFFLE_LANGUAGE, index, number, size)[begin:end]
                parts.append(np.stack([np.full_like(order, number), order + offset], axis=1))
            offset += size
        keys = np.concatenate(parts)
        return keys[permutation(self.seed, SHUFFLE_EPOCH, epoch, 0, len(keys))]

    def windows(self, epoch: int) -> Iterator[np.ndarray]:
        """Yield the keys of each optimizer step of an epoch, int64 ``[window, 2]``."""
        yield from self.epoch(epoch).reshape(self.steps_per_epoch, self.window, 2)


class Order(Protocol):
    """The sample at every global position: a `Mixture` or a `StreamSchedule`."""

    @property
    def window(self) -> int:
        """Samples per optimizer step."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps per epoch."""

    def windows(self, epoch: int) -> Iterator[np.ndarray]:
        """Yield the keys of each optimizer step of an epoch, int64 ``[window, 2]``."""


def quotas_of(weights: Sequence[float], total: int) -> list[int]:
    """Share a total in proportion to weights, by largest remainder and with at least 1 each.

    Args:
        weights: Not negative, not all zero, at most `total` of them.
        total: The sum of the quotas.
    """
    quotas = largest_remainder(weights, total)
    while 0 in quotas:
        quotas[quotas.index(0)] += 1
        quotas[quotas.index(max(quotas))] -= 1
    return quotas


def largest_remainder(weights: Sequence[float], total: int) -> list[int]:
    """Share a total in proportion to weights: the integer parts, and the rest to the largest remainders.

    Args:
        weights: Not negative, not all zero.
        total: The sum of the shares.

    Returns:
        The shares; of equal remainders, the earlier one comes first.
    """
    # Fractions, because rounded floats may add up to more than the total.
    exact = [Fraction(weight) * total / sum(map(Fraction, weights)) for weight in weights]
    seats = [int(part) for part in exact]
    by_remainder = sorted(range(len(seats)), key=lambda index: seats[index] - exact[index])
    for index in by_remainder[: total - sum(seats)]:
        seats[index] += 1
    return seats


def _passes(start: int, count: int, size: int) -> Iterator[tuple[int, int, int]]:
    """Split `count` positions of an endless stream, from `start` on, into passes; yield pass, begin and end."""
    stop = start + count
    for number in range(start // size, -(-stop // size)):
        yield number, max(start - number * size, 0), min(stop - number * size, size)


class MixtureBatchSampler(Sampler[list[SampleKey]]):
    """Yields the micro-batches of one rank, as lists of sample keys, for the epoch chosen by `set_epoch`.

    Micro-batch g of step s on rank r holds the global positions ``((s * accumulation + g) * num_processes + r) *
    batch_size`` and the following `batch_size - 1`, so that a step has the same samples however its window is split.
    The sampler does its own sharding: a loader on top of it must not shard again.

    Args:
        mixture: The order of all samples.
        batch_size: Samples per micro-batch and process.
        rank: The rank of this process, from 0.
        num_processes: The number of processes.
        accumulation: Micro-batches per optimizer step.

    Raises:
        ValueError: If the product is not the mixture's window, or the rank is outside the processes.
    """

    def __init__(
        self, mixture: Order, batch_size: int, rank: int = 0, num_processes: int = 1, accumulation: int = 1
    ) -> None:
        if batch_size * num_processes * accumulation != mixture.window:
            raise ValueError(
                f"batch size {batch_size} x {num_processes} processes x accumulation {accumulation} is "
                f"{batch_size * num_processes * accumulation}, but the mixture's window is {mixture.window}; expected "
                "the same number"
            )
        if not 0 <= rank < num_processes:
            raise ValueError(f"rank is {rank}; expected 0 to {num_processes - 1} for {num_processes} processes")
        self.mixture = mixture
        self.batch_size = batch_size
        self.rank = rank
        self.num_processes = num_processes
        self.accumulation = accumulation
        self.drop_last = True
        self.epoch = 0

    @property
    def sampler(self) -> MixtureBatchSampler:
        """This object: accelerate finds a sampler behind its skipping wrapper only as `batch_sampler.sampler`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.mixture.steps_per_epoch * self.accumulation

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for keys in self.mixture.windows(self.epoch):
            mine = keys.reshape(self.accumulation, self.num_processes, self.batch_size, 2)[:, self.rank]
            for batch in mine.tolist():
                yield [(first, second) for first, second in batch]


class MixtureDataset(Dataset[dict[str, Any]]):
    """The samples of all languages as a map-style torch dataset, indexed by sample keys.

    Args:
        chunks: The samples of each language, by ISO 639-3 code, as returned by `pack` and `cut`.

    Raises:
        ValueError: If a language has no samples.
    """

    def __init__(self, chunks: Mapping[str, TokenRows]) -> None:
        self.chunks = dict(sorted(chunks.items()))
        for language, rows in self.chunks.items():
            if len(rows) == 0:
                raise ValueError(f"language {language!r} has no text to train on; add text, or leave the language out")
        self.languages = tuple(self.chunks)
        self._rows: list[TokenRows] = list(self.chunks.values())
        self._ends = np.cumsum([len(rows) for rows in self._rows])

    @property
    def sizes(self) -> dict[str, int]:
        """The number of samples of each language, for `Mixture`."""
        return {language: len(rows) for language, rows in self.chunks.items()}

    def language_of(self, sample_ids: np.ndarray) -> np.ndarray:
        """Return the language of each sample id, as an index into `languages`; int64, of the same shape."""
        return np.asarray(np.searchsorted(self._ends, sample_ids, side="right"))

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, key: SampleKey) -> dict[str, Any]:
        """Return one sample.

        Args:
            key: The pass and the sample id.

        Returns:
            `input_ids` (``[length]``), `pass_index`, `sample_id` and `language` (an index into `languages`).

        Raises:
            IndexError: If there is no sample with that id.
        """
        number, sample_id = key
        if not 0 <= sample_id < len(self):
            raise IndexError(f"sample id {sample_id} is out of range; there are {len(self)} samples")
        language = int(self.language_of(np.asarray(sample_id)))
        rows = self._rows[language]
        return {
            "input_ids": rows[sample_id - int(self._ends[language]) + len(rows)],
            "pass_index": number,
            "sample_id": sample_id,
            "language": language,
        }
