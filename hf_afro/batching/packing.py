"""Rows of token ids of one language, and the two ways to make samples of documents: packing and cutting."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class TokenRows:
    """Rows of token ids of different lengths, in one flat array; documents before packing, samples after it.

    Attributes:
        tokens: All ids one after another, int32, ``[total]``.
        offsets: Where each row begins, and the total at the end, int64, ``[rows + 1]``.
    """

    tokens: np.ndarray
    offsets: np.ndarray

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[int]]) -> TokenRows:
        """Copy rows of ids, each a list or an array, into the flat form."""
        parts = [np.asarray(row, dtype=np.int32) for row in rows]
        return cls.from_flat(np.concatenate(parts) if parts else np.empty(0, np.int32), [len(part) for part in parts])

    @classmethod
    def from_flat(cls, tokens: np.ndarray, lengths: Sequence[int] | np.ndarray) -> TokenRows:
        """Cut a flat array of ids, ``[total]``, into rows of the lengths given, ``[rows]``, without a copy."""
        offsets: np.ndarray = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(tokens, offsets)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64, ``[rows]``."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} asked for; there are {len(self)} rows")
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]


def pack(documents: TokenRows, max_length: int, bos: int | None, eos: int | None) -> TokenRows:
    """Join the documents of one language and cut them into chunks of equal length.

    The documents, with `eos` between them, form one stream; it is cut into bodies that leave room for `bos` and `eos`
    around each, so every chunk but the last is `max_length` long and no token is lost. Empty documents are left out.

    Args:
        documents: Ids without special tokens.
        max_length: Tokens of a chunk, special tokens included.
        bos: The id in front of every chunk (`<s>`, `[CLS]`), or None for tokenizers without one.
        eos: The id after every chunk and between documents (`</s>`, `[SEP]`), or None.

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
    """Go on packing a stream whose documents come bit by bit; the chunks of all bits are those of `pack`.

    Args:
        carry: What the bits before left over, int32 ``[tokens]``.
        documents: The next bit; see `pack` for this and what follows.
        max_length: Tokens of a chunk, special tokens included.
        bos: The id in front of every chunk, or None.
        eos: The id after every chunk and between documents, or None.
        begun: Whether a document that is not empty came before.

    Returns:
        The full chunks, and what is left over: shorter than a chunk, and the last one once no more comes, see
        `pack_rest`.

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
    """Return the last chunk of a stream, of what `pack_on` left over; no chunk where nothing is left."""
    return _wrap(carry, [len(carry)] if len(carry) else [], bos, eos)


def cut(documents: TokenRows, max_length: int, bos: int | None, eos: int | None) -> TokenRows:
    """Keep every document a row of its own, cut into several where it is longer than a row may be.

    Args:
        documents: Ids without special tokens; empty ones are left out.
        max_length: The most tokens of a row, special tokens included.
        bos: See `pack`.
        eos: See `pack`.

    Returns:
        The rows, each in `bos` and `eos`; all pieces of a document but its last are `max_length` long.

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


def _room(max_length: int, bos: int | None, eos: int | None) -> int:
    specials = (bos is not None) + (eos is not None)
    if max_length <= specials:
        raise ValueError(
            f"max_length is {max_length}, of which {specials} are special tokens; expected more than that"
        )
    return max_length - specials


def _without_empty(documents: TokenRows) -> TokenRows:
    lengths = documents.lengths
    return TokenRows.from_flat(documents.tokens, lengths[lengths > 0])


def _wrap(stream: np.ndarray, body_lengths: Sequence[int] | np.ndarray, bos: int | None, eos: int | None) -> TokenRows:
    """Cut a stream into bodies of the lengths given and put `bos` and `eos` around each."""
    lengths: np.ndarray = np.asarray(body_lengths, dtype=np.int64)
    front, back = int(bos is not None), int(eos is not None)
    rows = TokenRows.from_flat(np.empty(len(stream) + (front + back) * len(lengths), np.int32), lengths + front + back)
    begin = 0
    # In blocks of rows, since the places take several times the memory of the tokens.
    for first in range(0, len(lengths), _ROWS_AT_ONCE):
        block = lengths[first : first + _ROWS_AT_ONCE]
        total = int(block.sum())
        # A token moves right by the special tokens of the bodies before its own, and by the one in front of its own.
        moved = np.repeat(np.arange(len(block)), block) * (front + back) + front
        rows.tokens[int(rows.offsets[first]) + np.arange(total) + moved] = stream[begin : begin + total]
        begin += total
    if bos is not None:
        rows.tokens[rows.offsets[:-1]] = bos
    if eos is not None:
        rows.tokens[rows.offsets[1:] - 1] = eos
    return rows
