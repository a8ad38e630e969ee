"""One language's text as an endless stream of samples, read as it is needed and gone on with from any of them.

A document is read, tokenised and packed once, in order; at the end of the text it begins anew, with the next pass.
Each sample comes with its place: what has to be known to read on from there in another process, with the same result.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any, Protocol

import numpy as np
from datasets import Dataset, IterableDataset
from transformers import PreTrainedTokenizerBase

from hf_afro.batching.packing import TokenRows, cut, pack_on, pack_rest
from hf_afro.batching.tokenizing import boundary_ids, ready_rows, tokenize_corpus

logger = logging.getLogger(__name__)

DOCUMENTS_AT_ONCE = 256
"""Documents that are read and tokenised at a time."""


@dataclass(frozen=True)
class Place:
    """Where a sample stands in a stream.

    Attributes:
        pass_index: How often the text was gone through before.
        documents: Documents of this pass read before the batch of documents that the sample comes from.
        begun: Whether one of them was not empty.
        carry: Ids that they left over, to be packed with those that follow.
        within: Samples of the batch before this one.
        samples: Samples of the stream before this one, over all passes.
        dataset: `datasets`' own state before the batch.
        digest: Of the batch's documents; by it is known that the text is read on from the right place.
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
        """Return it as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Place:
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        return cls(**{**fields, "carry": tuple(fields["carry"])})


class RowMaker(Protocol):
    """Makes samples of documents that come bit by bit."""

    def rows(self, documents: Sequence[Any], carry: np.ndarray, *, begun: bool) -> tuple[TokenRows, np.ndarray, bool]:
        """Return the samples that are full, what is left over, and whether a document was not empty."""

    def rest(self, carry: np.ndarray) -> TokenRows:
        """Return the last sample of a pass, where something is left over."""


@dataclass(frozen=True)
class TextRows:
    """Tokenises texts, and packs them or leaves each a row of its own, as `pack` and `cut` do.

    Attributes:
        tokenizer: The model's.
        max_length: Tokens of a sample at most, special tokens included.
        packing: Whether to pack.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    packing: bool = True
    ids: tuple[int | None, int | None] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", boundary_ids(self.tokenizer))

    def rows(self, documents: Sequence[Any], carry: np.ndarray, *, begun: bool) -> tuple[TokenRows, np.ndarray, bool]:
        """See `RowMaker`."""
        tokens = tokenize_corpus(documents, self.tokenizer)
        if not self.packing:
            return cut(tokens, self.max_length, *self.ids), carry, begun
        rows, carry = pack_on(carry, tokens, self.max_length, *self.ids, begun=begun)
        return rows, carry, begun or bool(tokens.lengths.any())

    def rest(self, carry: np.ndarray) -> TokenRows:
        """See `RowMaker`."""
        return pack_rest(carry, *self.ids)


@dataclass(frozen=True)
class ReadyRows:
    """Takes rows of ids as they are, see `ready_rows`.

    Attributes:
        max_length: Tokens of a row at most.
    """

    max_length: int

    def rows(self, documents: Sequence[Any], carry: np.ndarray, *, begun: bool) -> tuple[TokenRows, np.ndarray, bool]:
        """See `RowMaker`."""
        return ready_rows(documents, self.max_length), carry, begun

    def rest(self, carry: np.ndarray) -> TokenRows:
        """See `RowMaker`."""
        return TokenRows.from_rows([])


class LanguageStream:
    """The endless samples of one language.

    Args:
        dataset: Read in its own order. One that is shuffled by `datasets` must have been given a seed.
        column: The column of documents.
        maker: Makes samples of them.
    """

    def __init__(self, dataset: Dataset | IterableDataset, column: str, maker: RowMaker) -> None:
        if isinstance(dataset, Dataset):
            dataset = dataset.to_iterable_dataset()
        self.dataset = dataset
        self.column = column
        self.maker = maker

    def samples_from(self, place: Place) -> Iterator[tuple[Place, np.ndarray]]:
        """Yield every sample from a place on, without an end, each with its own place.

        Raises:
            ValueError: If the text is empty, or at the place holds other text than it did.
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
                raise ValueError(
                    "the text has not a single token to train on; leave the language out, or give it text"
                )
            place = Place(pass_index=place.pass_index + 1, samples=number)

    def _batches(self, place: Place) -> Iterator[tuple[Place, TokenRows]]:
        """Yield the samples of each batch of documents of a pass, with the place of the batch."""
        carry: np.ndarray = np.asarray(place.carry, dtype=np.int32)
        documents, begun = place.documents, place.begun
        for state, batch in self._documents(place):
            start = Place(
                place.pass_index, documents, begun, tuple(carry.tolist()), dataset=state, digest=_digest(batch)
            )
            rows, carry, begun = self.maker.rows(batch, carry, begun=begun)
            yield start, rows
            documents += len(batch)
        # The place of the last sample has no documents left to read: only what was carried.
        yield Place(place.pass_index, documents, begun, tuple(carry.tolist())), self.maker.rest(carry)

    def _documents(self, place: Place) -> Iterator[tuple[dict[str, Any] | None, list[Any]]]:
        """Yield batches of documents from a place on, each with the dataset's state before it."""
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

    def _read_on(self, place: Place) -> tuple[IterableDataset, Iterator[dict[str, Any]], list[Any]]:
        """Return a reader that stands at a place, its rows, and where the place knows its batch, that batch read."""
        if place.dataset is not None:
            reader = self._reader(place.pass_index)
            reader.load_state_dict(copy.deepcopy(place.dataset))
            rows: Iterator[dict[str, Any]] = iter(reader)
            batch = self._next(rows)
            if _digest(batch) == place.digest:
                return reader, rows, batch
            # A buffer of shuffled rows is no part of the state: then all is read again, but not tokenised.
            logger.info("the dataset cannot go on from its state; %d rows are read again", place.documents)
        reader = self._reader(place.pass_index)
        rows = islice(iter(reader), place.documents, None)
        if not place.digest:
            return reader, rows, []
        batch = self._next(rows)
        if _digest(batch) != place.digest:
            raise ValueError(
                f"row {place.documents} of the text and those after it are not what they were when the checkpoint "
                "was saved; give the same text in the same order (shuffled with a seed, if at all)"
            )
        return reader, rows, batch

    def _reader(self, pass_index: int) -> IterableDataset:
        """Return a reader that stands at the beginning of a pass; the dataset itself keeps no state."""
        # Another format makes another dataset; a copy would share its state.
        reader = self.dataset.with_format(None)
        reader.set_epoch(pass_index)
        return reader

    def _next(self, rows: Iterator[dict[str, Any]]) -> list[Any]:
        return [row[self.column] for row in islice(rows, DOCUMENTS_AT_ONCE)]


def _digest(documents: Sequence[Any]) -> str:
    return hashlib.blake2b(
        json.dumps(documents, default=lambda array: array.tolist()).encode(), digest_size=16
    ).hexdigest()
