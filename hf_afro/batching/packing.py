"""Tokenizing the texts of one language, and making samples of them: packing, cutting, or ready rows of ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class TokenRows:
    """Rows of token ids of different lengths in one flat array: documents before packing, samples after it.

    Attributes:
        tokens: The concatenated ids, int32 ``[total]``.
        offsets: The beginning of each row, and the total at the end, int64 ``[rows + 1]``.
    """

    tokens: np.ndarray
    offsets: np.ndarray

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[int]]) -> TokenRows:
        """Concatenate rows of ids, lists or arrays."""
        parts = [np.asarray(row, dtype=np.int32) for row in rows]
        return cls.from_flat(np.concatenate(parts) if parts else np.empty(0, np.int32), [len(part) for part in parts])

    @classmethod
    def from_flat(cls, tokens: np.ndarray, lengths: Sequence[int] | np.ndarray) -> TokenRows:
        """Split a flat array of ids, ``[total]``, into rows of the given lengths, ``[rows]``, without copying."""
        offsets: np.ndarray = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(tokens, offsets)

    @property
    def lengths(self) -> np.ndarray:
        """The length of each row, int64 ``[rows]``."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} is out of range; there are {len(self)} rows")
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]


def tokenize_corpus(
    source: Any, tokenizer: PreTrainedTokenizerBase, *, column: str = "text", batch_size: int = 1000
) -> TokenRows:
    """Tokenize texts without special tokens and without truncation.

    Args:
        source: An iterable of texts, or a `datasets.Dataset` or `IterableDataset`.
        tokenizer: A tokenizer backed by the tokenizers library; not modified.
        column: The column of texts of a dataset.
        batch_size: Texts tokenized at a time, on all cores.

    Returns:
        One row per text, in order; empty texts give empty rows.

    Raises:
        TypeError: If the tokenizer is not backed by the tokenizers library, or a text is not a string.
        ValueError: If the dataset has no such column.
    """
    tokens: list[np.ndarray] = []
    lengths: list[int] = []
    with plain_backend(tokenizer) as backend:
        for texts in _batches(source, column, batch_size):
            for text in texts:
                if not isinstance(text, str):
                    raise TypeError(f"{column!r} has a value of type {type(text).__name__}: {text!r}; expected str")
            rows = [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]
            lengths.extend(map(len, rows))
            tokens.append(np.concatenate([np.asarray(row, dtype=np.int32) for row in rows]))
    return TokenRows.from_flat(np.concatenate(tokens) if tokens else np.empty(0, np.int32), lengths)


@contextmanager
def plain_backend(tokenizer: PreTrainedTokenizerBase) -> Iterator[Tokenizer]:
    """Yield the `tokenizers.Tokenizer` of a tokenizer, with truncation and padding turned off temporarily.

    Raises:
        TypeError: If there is none, because the tokenizer is written in Python.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise TypeError(
            f"{type(tokenizer).__name__} is not backed by the tokenizers library; expected a tokenizer with a "
            "`backend_tokenizer`, which AutoTokenizer returns for models with a tokenizer.json"
        )
    truncation, padding = backend.truncation, backend.padding
    backend.no_truncation()
    backend.no_padding()
    try:
        yield backend
    finally:
        if truncation is not None:
            backend.enable_truncation(**truncation)
        if padding is not None:
            backend.enable_padding(**padding)


def boundary_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int | None, int | None]:
    """Return the ids that a tokenizer adds before and after a single sentence, None if it adds none.

    Raises:
        ValueError: If it adds more than one on a side.
    """
    ids = list(tokenizer("")["input_ids"])
    if not ids:
        return None, None
    if len(ids) == 2:
        return ids[0], ids[1]
    if len(ids) == 1:
        # The side of a single id is seen from the tokens of a word.
        return (ids[0], None) if tokenizer("a")["input_ids"][0] == ids[0] else (None, ids[0])
    raise ValueError(
        f"the tokenizer encodes an empty text as {ids}; expected at most one special token before and one after it"
    )


def ready_rows(
    dataset: Any, max_length: int, *, end: int | None = None, column: str = "input_ids", batch_size: int = 1000
) -> TokenRows:
    """Read rows of ids that are ready samples, special tokens included.

    Args:
        dataset: An iterable of rows of ids, or a `datasets.Dataset` or `IterableDataset`.
        max_length: The most tokens of a row.
        end: The id that ends a sequence, where each row has to be a single one; None where it need not.
        column: The column of ids of a dataset.
        batch_size: Rows read at a time.

    Raises:
        ValueError: If a row is empty, longer than `max_length` or several sequences, or the dataset has no such
            column.
    """
    rows = TokenRows.from_rows(row for batch in _batches(dataset, column, batch_size) for row in batch)
    for index in np.flatnonzero((rows.lengths == 0) | (rows.lengths > max_length))[:1].tolist():
        raise ValueError(
            f"row {index} of {column!r} has {rows.lengths[index]} tokens; expected 1 to {max_length}. Cut the rows "
            "first, or use a 'text' column instead, which is tokenized and cut for you"
        )
    if end is not None:
        for place in np.setdiff1d(np.flatnonzero(rows.tokens == end), rows.offsets[1:] - 1)[:1].tolist():
            index = int(np.searchsorted(rows.offsets, place, "right")) - 1
            raise ValueError(
                f"row {index} of {column!r} holds {end}, the end of a sequence, before its last token: it is several "
                "sequences, but sentence vectors need one for each row. Split the rows, or use a 'text' column instead"
            )
    return rows


def pack(documents: TokenRows, max_length: int, bos: int | None, eos: int | None) -> TokenRows:
    """Join the documents of one language and cut them into chunks of equal length.

    The documents are concatenated with `eos` between them and cut so that every chunk has room for its own `bos` and
    `eos`. All chunks but the last are `max_length` long, and no token is lost. Empty documents are skipped.

    Args:
        documents: Ids without special tokens.
        max_length: Tokens per chunk, special tokens included.
        bos: The id at the beginning of every chunk (`<s>`, `[CLS]`), or None.
        eos: The id at the end of every chunk and between documents (`</s>`, `[SEP]`), or None.

    Returns:
        The chunks, ``[max_length]`` each, the last one shorter.

    Raises:
        ValueError: If `max_length` leaves no room for a token.
    """
    room = _room(max_length, bos, eos)
    documents = _without_empty(documents)
    stream = documents.tokens
    if eos is not None and len(documents):
        stream = _wrap(stream, documents.lengths, None, eos).tokens[:-1]  # between them, so not after the last
    full, tail = divmod(len(stream), room)
    return _wrap(stream, [room] * full + [tail] * (tail > 0), bos, eos)


def pack_on(
    carry: np.ndarray, documents: TokenRows, max_length: int, bos: int | None, eos: int | None, *, begun: bool
) -> tuple[TokenRows, np.ndarray]:
    """Pack documents batch by batch; the chunks of all batches together are those of `pack`.

    Args:
        carry: The tokens left over by the previous batch, int32 ``[tokens]``.
        documents: The next batch; see `pack` for this and the following arguments.
        max_length: Tokens per chunk, special tokens included.
        bos: The id at the beginning of every chunk, or None.
        eos: The id at the end of every chunk and between documents, or None.
        begun: Whether there was a non-empty document before.

    Returns:
        The full chunks, and the tokens left over, which `pack_rest` makes a chunk of at the end.

    Raises:
        ValueError: If `max_length` leaves no room for a token.
    """
    room = _room(max_length, bos, eos)
    documents = _without_empty(documents)
    stream = documents.tokens
    if eos is not None and len(documents):
        stream = _wrap(stream, documents.lengths, eos, None).tokens[int(not begun) :]
    stream = np.concatenate([carry.astype(np.int32), stream])
    full = len(stream) // room
    return _wrap(stream[: full * room], [room] * full, bos, eos), stream[full * room :]


def pack_rest(carry: np.ndarray, bos: int | None, eos: int | None) -> TokenRows:
    """Return the last chunk, made of the tokens that `pack_on` left over; no chunk if there are none."""
    return _wrap(carry, [len(carry)] if len(carry) else [], bos, eos)


def cut(documents: TokenRows, max_length: int, bos: int | None, eos: int | None) -> TokenRows:
    """Make one row per document, or several if it is longer than `max_length`.

    Args:
        documents: Ids without special tokens; empty documents are skipped.
        max_length: The most tokens of a row, special tokens included.
        bos: See `pack`.
        eos: See `pack`.

    Returns:
        The rows, each with `bos` and `eos`; all rows of a document but its last are `max_length` long.

    Raises:
        ValueError: If `max_length` leaves no room for a token.
    """
    room = _room(max_length, bos, eos)
    documents = _without_empty(documents)
    pieces: np.ndarray = -(-documents.lengths // room)
    lengths: np.ndarray = np.full(int(pieces.sum()), room, dtype=np.int64)
    last = np.cumsum(pieces) - 1
    lengths[last] = documents.lengths - (pieces - 1) * room
    return _wrap(documents.tokens, lengths, bos, eos)


def _batches(source: Any, column: str, batch_size: int) -> Iterator[list[Any]]:
    """Yield lists of values of a dataset's column or of an iterable."""
    if not hasattr(source, "column_names"):
        iterator = iter(source)
        while batch := list(islice(iterator, batch_size)):
            yield batch
        return
    # A streamed dataset may not know its columns before the first row.
    if source.column_names is not None and column not in source.column_names:
        raise ValueError(f"the dataset has the columns {source.column_names}; expected one named {column!r}")
    for batch in source.with_format(None).iter(batch_size):
        if column not in batch:
            raise ValueError(f"the dataset has the columns {sorted(batch)}; expected one named {column!r}")
        yield list(batch[column])


def _room(max_length: int, bos: int | None, eos: int | None) -> int:
    specials = (bos is not None) + (eos is not None)
    if max_length <= specials:
        raise ValueError(f"max_length is {max_length}, with {specials} special tokens; expected more than {specials}")
    return max_length - specials


def _without_empty(documents: TokenRows) -> TokenRows:
    lengths = documents.lengths
    return TokenRows.from_flat(documents.tokens, lengths[lengths > 0])


def _wrap(stream: np.ndarray, body_lengths: Sequence[int] | np.ndarray, bos: int | None, eos: int | None) -> TokenRows:
    """Cut a stream into bodies of the given lengths and add `bos` and `eos` to each."""
    lengths: np.ndarray = np.asarray(body_lengths, dtype=np.int64)
    front, back = int(bos is not None), int(eos is not None)
    rows = TokenRows.from_flat(np.empty(len(stream) + (front + back) * len(lengths), np.int32), lengths + front + back)
    begin = 0
    # In blocks of rows, since the positions take several times the memory of the tokens.
    for first in range(0, len(lengths), _ROWS_AT_ONCE):
        block = lengths[first : first + _ROWS_AT_ONCE]
        total = int(block.sum())
        # A token moves right by the special tokens of all earlier bodies and by the `bos` of its own.
        moved = np.repeat(np.arange(len(block)), block) * (front + back) + front
        rows.tokens[int(rows.offsets[first]) + np.arange(total) + moved] = stream[begin : begin + total]
        begin += total
    if bos is not None:
        rows.tokens[rows.offsets[:-1]] = bos
    if eos is not None:
        rows.tokens[rows.offsets[1:] - 1] = eos
    return rows
