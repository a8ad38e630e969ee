"""Streaming: endless samples of languages that are read as needed and can be resumed from any sample.

Every process computes the same order and reads all streams, but makes batches only of its own positions. So the global
batch does not depend on the number of processes, and no sample is used twice. The price is that every process
tokenizes the text; rows of ready ids cost almost nothing.

The documents of a language are read, tokenized and packed in order, and again from the beginning in the next pass.
Every sample carries its `Place`: all that another process needs to continue from there with the same result.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any

import datasets
import numpy as np
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from hf_afro.batching.counter_random import SHUFFLE_BLOCK, SHUFFLE_EPOCH, permutation
from hf_afro.batching.mixing import SampleKey, quotas_of
from hf_afro.batching.packing import TokenRows, boundary_ids, cut, pack_on, pack_rest, ready_rows, tokenize_corpus

logger = logging.getLogger(__name__)

BLOCK = 256
"""Samples of a language that are read ahead and shuffled together."""

_ROUND = 64  # windows after which every language has its share, to within one sample
_ID_BITS = 40  # bits of a sample id for the number within its language

DOCUMENTS_AT_ONCE = 256
"""Documents read and tokenized at a time."""


@dataclass(frozen=True)
class StreamSchedule:
    """The language and the number of its sample at every position of an endless order, known without reading.

    Attributes:
        weights: The relative weight of each language, by ISO 639-3 code.
        window: Samples per optimizer step.
        steps: The number of optimizer steps, which are one epoch to the Trainer.
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
        """All steps."""
        return self.steps

    @property
    def windows_per_round(self) -> int:
        """Windows per round: 64, or more if that is too few for one sample of every language."""
        return max(_ROUND, -(-len(self.weights) // self.window))

    @property
    def quotas(self) -> list[int]:
        """Samples of each language per round, at least one."""
        return quotas_of(list(self.weights.values()), self.windows_per_round * self.window)

    def windows(self, epoch: int) -> Iterator[np.ndarray]:
        """Yield the keys of each step, ``[window, 2]``: the index of the language and the number of its sample."""
        quotas = np.asarray(self.quotas)
        begin = epoch * self.steps
        for step in range(begin, begin + self.steps):
            turn, within = divmod(step, self.windows_per_round)
            if within == 0 or step == begin:
                languages = np.repeat(np.arange(len(quotas)), quotas)
                numbers = np.concatenate([turn * quota + np.arange(quota) for quota in quotas])
                order = permutation(self.seed, SHUFFLE_EPOCH, turn, 1, len(languages))
                # Only the languages are shuffled; the numbers of each stay in order, since streams are read in order.
                languages = languages[order]
                places = np.argsort(languages, kind="stable")
                keys = np.empty((len(languages), 2), dtype=np.int64)
                keys[places] = np.stack([languages[places], numbers], axis=1)
            yield keys[within * self.window : (within + 1) * self.window]


@dataclass(frozen=True)
class Place:
    """The position of a sample in a stream.

    Attributes:
        pass_index: The number of complete passes before.
        documents: Documents of this pass read before the batch of documents that the sample comes from.
        begun: Whether one of them was not empty.
        carry: The ids they left over, which are packed with the following ones.
        within: Samples of the same batch before this one.
        samples: Samples of the stream before this one, over all passes.
        dataset: The state of the `datasets` object before the batch.
        digest: A hash of the batch's documents, which shows whether the text is resumed at the right place.
    """

    pass_index: int = 0
    documents: int = 0
    begun: bool = False
    carry: tuple[int, ...] = ()
    within: int = 0
    samples: int = 0
    dataset: dict[str, Any] | None = None
    digest: str = ""

    def to_json(self) -> str:
        """Return the place as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Place:
        """Parse the result of `to_json`."""
        fields = json.loads(text)
        return cls(**{**fields, "carry": tuple(fields["carry"])})


@dataclass(frozen=True)
class TextRows:
    """Tokenizes texts, and packs them like `pack` or cuts them like `cut`.

    Attributes:
        tokenizer: The tokenizer of the model.
        max_length: The most tokens of a sample, special tokens included.
        packing: Whether to pack.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    packing: bool = True
    ids: tuple[int | None, int | None] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", boundary_ids(self.tokenizer))

    def rows(self, documents: Sequence[Any], carry: np.ndarray, *, begun: bool) -> tuple[TokenRows, np.ndarray, bool]:
        """Return the full samples, the ids left over, and whether any document so far was not empty."""
        tokens = tokenize_corpus(documents, self.tokenizer)
        if not self.packing:
            return cut(tokens, self.max_length, *self.ids), carry, begun
        rows, carry = pack_on(carry, tokens, self.max_length, *self.ids, begun=begun)
        return rows, carry, begun or bool(tokens.lengths.any())

    def rest(self, carry: np.ndarray) -> TokenRows:
        """Return the last sample of a pass, if any ids are left over."""
        return pack_rest(carry, *self.ids)


@dataclass(frozen=True)
class ReadyRows:
    """Takes rows of ids as samples, see `ready_rows`.

    Attributes:
        max_length: The most tokens of a row.
        end: The id that ends a sequence, where each row has to be a single one; None where it need not.
    """

    max_length: int
    end: int | None = None

    def rows(self, documents: Sequence[Any], carry: np.ndarray, *, begun: bool) -> tuple[TokenRows, np.ndarray, bool]:
        """See `TextRows`."""
        return ready_rows(documents, self.max_length, end=self.end), carry, begun

    def rest(self, carry: np.ndarray) -> TokenRows:
        """See `TextRows`."""
        return TokenRows.from_rows([])


class LanguageStream:
    """The endless samples of one language.

    Args:
        dataset: The documents, read in their order. If `datasets` shuffles them, it must have a seed.
        column: The column of documents.
        maker: Makes samples of the documents.
    """

    def __init__(
        self, dataset: datasets.Dataset | datasets.IterableDataset, column: str, maker: TextRows | ReadyRows
    ) -> None:
        if isinstance(dataset, datasets.Dataset):
            dataset = dataset.to_iterable_dataset()
        self.dataset = dataset
        self.column = column
        self.maker = maker

    def samples_from(self, place: Place) -> Iterator[tuple[Place, np.ndarray]]:
        """Yield all samples from a place on, endlessly, each with its own place.

        Raises:
            ValueError: If the text is empty, or differs at the place from what it was.
        """
        number, skip = place.samples, place.within
        while True:
            before = number
            for start, rows in self._batches(place):
                for index in range(skip, len(rows)):
                    yield replace(start, within=index, samples=number), rows[index]
                    number += 1
                skip = 0
            if number == before and place.documents == 0:
                raise ValueError("the text has no tokens to train on; add text, or leave the language out")
            place = Place(pass_index=place.pass_index + 1, samples=number)

    def _batches(self, place: Place) -> Iterator[tuple[Place, TokenRows]]:
        """Yield the samples of each batch of documents in a pass, with the place of the batch."""
        carry: np.ndarray = np.asarray(place.carry, dtype=np.int32)
        documents, begun = place.documents, place.begun
        for state, batch in self._documents(place):
            start = Place(
                place.pass_index, documents, begun, tuple(carry.tolist()), dataset=state, digest=_digest(batch)
            )
            rows, carry, begun = self.maker.rows(batch, carry, begun=begun)
            yield start, rows
            documents += len(batch)
        # At the place of the last sample no documents are left to read, only the ids carried over.
        yield Place(place.pass_index, documents, begun, tuple(carry.tolist())), self.maker.rest(carry)

    def _documents(self, place: Place) -> Iterator[tuple[dict[str, Any] | None, list[Any]]]:
        """Yield batches of documents from a place on, each with the state of the dataset before it."""
        reader, rows, batch = self._read_on(place)
        documents = place.documents + len(batch)
        if batch:
            yield place.dataset, batch
        while True:
            state = copy.deepcopy(reader.state_dict()) if documents else None
            batch = self._next(rows)
            if not batch:
                return
            documents += len(batch)
            yield state, batch

    def _read_on(self, place: Place) -> tuple[datasets.IterableDataset, Iterator[dict[str, Any]], list[Any]]:
        """Return a reader at a place, its rows, and the batch at the place if its digest is known."""
        if place.dataset is not None:
            reader = self._reader(place.pass_index)
            reader.load_state_dict(copy.deepcopy(place.dataset))
            rows: Iterator[dict[str, Any]] = iter(reader)
            batch = self._next(rows)
            if _digest(batch) == place.digest:
                return reader, rows, batch
            # The state lacks the buffer of shuffled rows: then all rows are read again, but not tokenized.
            logger.info("the dataset cannot be resumed from its state; reading %d rows again", place.documents)
        reader = self._reader(place.pass_index)
        rows = islice(iter(reader), place.documents, None)
        if not place.digest:
            return reader, rows, []
        batch = self._next(rows)
        if _digest(batch) != place.digest:
            raise ValueError(
                f"the text from row {place.documents} on differs from when the checkpoint was saved; use the same one "
                "in the same order (if shuffled, with a seed)"
            )
        return reader, rows, batch

    def _reader(self, pass_index: int) -> datasets.IterableDataset:
        """Return a reader at the beginning of a pass."""
        # `with_format` returns a new dataset; a copy would share its state with the original.
        reader = self.dataset.with_format(None)
        reader.set_epoch(pass_index)
        return reader

    def _next(self, rows: Iterator[dict[str, Any]]) -> list[Any]:
        return [row[self.column] for row in islice(rows, DOCUMENTS_AT_ONCE)]


def _digest(documents: Sequence[Any]) -> str:
    return hashlib.blake2b(
        json.dumps(documents, default=lambda array: array.tolist()).encode(), digest_size=16
    ).hexdigest()


class StreamedSamples(Dataset[dict[str, Any]]):
    """The samples of all languages as a torch dataset, indexed by the keys of a `StreamSchedule`.

    Samples are shuffled within blocks of 256 of their language. Access to a later sample reads up to it; access to a
    sample before the current block starts over.

    Args:
        streams: One stream per language.
        seed: The seed of the order within blocks.
        block: Samples that are shuffled together.
    """

    def __init__(self, streams: Mapping[str, LanguageStream], seed: int = 0, block: int = BLOCK) -> None:
        self.streams = dict(sorted(streams.items()))
        self.languages = tuple(self.streams)
        self.seed = seed
        self.block = block
        self.resume_from({})

    def resume_from(self, places: Mapping[str, str]) -> None:
        """Set the place that each language is read from; by default its beginning.

        Args:
            places: Places at the beginning of a block, as returned by `__getitem__`, by language.
        """
        starts = {language: Place.from_json(text) for language, text in places.items()}
        self._readers = [
            _BlockReader(self.streams[language], starts.get(language, Place()), self.seed, index, self.block)
            for index, language in enumerate(self.languages)
        ]

    def __getitem__(self, key: SampleKey) -> dict[str, Any]:
        """Return one sample.

        Args:
            key: The index of the language and the number of the sample in it.

        Returns:
            `input_ids` (``[length]``), `pass_index`, `sample_id`, `language` (an index into `languages`) and
            `stream`: the place to resume from, for this sample and all later ones.
        """
        language, number = key
        try:
            place, row, start = self._readers[language].sample(number)
        except ValueError as error:
            raise ValueError(f"{self.languages[language]}: {error}") from error
        return {
            "input_ids": row,
            "pass_index": place.pass_index,
            "sample_id": (language << _ID_BITS) + place.samples,
            "language": language,
            "stream": start,
        }


class _BlockReader:
    """The current block of one language."""

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
        """Return the place and the ids of a sample, and the place of its block as JSON."""
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
