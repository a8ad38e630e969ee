"""safetensors files read and written in pieces: some tensors with fewer rows, the others as they are.

The format: eight bytes of length, a header in JSON that gives each tensor's type, shape and place, then the tensors'
bytes side by side. Everything is read with `read` into one buffer and never mapped, so that memory stays that of the
buffer however large the file is.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import FileIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

# Bytes at once. For a large write Linux fetches large pages, which can take longer than the copying itself: 560 MB
# took 0.2 s in pieces of 256 KiB and 1.9 s in pieces of 4 MiB (ext4, Linux 6).
_PIECE = 1 << 18
_LONGEST_HEADER = 100_000_000  # that of the safetensors library
# The bits of an exponent, which are all set where a number is infinite or none.
_EXPONENTS: dict[str, tuple[type[np.unsignedinteger[Any]], int]] = {
    "F16": (np.uint16, 0x7C00),
    "BF16": (np.uint16, 0x7F80),
    "F32": (np.uint32, 0x7F80_0000),
    "F64": (np.uint64, 0x7FF0_0000_0000_0000),
}
_ITEM_SIZES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies in a file.

    Attributes:
        dtype: Type, in safetensors' spelling, such as ``BF16``.
        shape: Its shape.
        start: First byte, from the beginning of the file.
        size: Bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


@dataclass(frozen=True)
class SafetensorsFile:
    """A file whose header was read and found sound.

    Attributes:
        path: The file.
        tensors: Its tensors by name, in the order of their bytes.
        metadata: What else the header holds.
    """

    path: Path
    tensors: dict[str, StoredTensor]
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RowsKept:
    """Which rows of a tensor are kept.

    Attributes:
        axis: The axis of the rows; all axes before it have one entry, so that rows lie side by side in the file.
        old_rows: Rows kept, ascending, ``[new_rows]`` int64.
    """

    axis: int
    old_rows: np.ndarray

    def shape_of(self, old: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape that a tensor has with these rows."""
        return (*old[: self.axis], len(self.old_rows), *old[self.axis + 1 :])


def read_header(path: str | os.PathLike[str]) -> SafetensorsFile:
    """Read where the tensors of a file lie.

    Raises:
        ValueError: If the file is no safetensors file, is cut short, holds bytes of no tensor, or holds a type whose
            items are no whole bytes or are not known.
    """
    path = Path(path)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        end_of_file = os.fstat(file.fileno()).st_size
        if not 2 <= length <= min(_LONGEST_HEADER, end_of_file - 8):
            raise ValueError(f"{path} is no safetensors file, or is cut short; copy it again")
        try:
            header = json.loads(file.read(length))
            metadata = header.pop("__metadata__", {})
            tensors = {name: _stored(one, 8 + length) for name, one in header.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} has a header that cannot be read ({error}); copy it again") from error
    tensors = dict(sorted(tensors.items(), key=lambda pair: (pair[1].start, pair[1].size)))
    place = 8 + length
    for name, one in tensors.items():
        if one.start != place:
            raise ValueError(f"{path} holds {name} at byte {one.start}, expected {place}; copy it again")
        place += one.size
    if place != end_of_file:
        raise ValueError(f"{path} has {end_of_file} bytes, its header says {place}: it is cut short; copy it again")
    return SafetensorsFile(path, tensors, metadata)


def _stored(entry: Mapping[str, Any], offset: int) -> StoredTensor:
    start, end = entry["data_offsets"]
    dtype, shape = entry["dtype"], tuple(entry["shape"])
    if dtype not in _ITEM_SIZES:
        raise ValueError(f"tensors of type {dtype} are not supported; expected one of {', '.join(_ITEM_SIZES)}")
    if end - start != prod(shape) * _ITEM_SIZES[dtype]:
        raise ValueError(f"{end - start} bytes for a tensor {list(shape)} of type {dtype}")
    return StoredTensor(dtype, shape, offset + start, end - start)


def write_with_rows(source: SafetensorsFile, target: Path, kept: Mapping[str, RowsKept]) -> SafetensorsFile:
    """Write a file again with fewer rows in some of its tensors.

    Order and metadata stay, so that the file is the one that the safetensors library would write of such tensors.

    Args:
        source: The file to read.
        target: The file to write; its bytes are on the disk at the end.
        kept: The rows to keep, by name; other tensors are copied.

    Returns:
        The file written, its header read back.

    Raises:
        FloatingPointError: If a number that is written is not finite, from which nothing can be made.
    """
    shapes = {
        name: kept[name].shape_of(one.shape) if name in kept else one.shape for name, one in source.tensors.items()
    }
    sizes = {name: prod(shape) * _ITEM_SIZES[source.tensors[name].dtype] for name, shape in shapes.items()}
    buffer = bytearray(max(8, _PIECE // 8 * 8))  # whole numbers of any type
    with source.path.open("rb", buffering=0) as old, target.open("xb", buffering=0) as new:
        _write(new, memoryview(_header(source, shapes, sizes)))
        for name, one in source.tensors.items():
            pieces = _rows(old, one, kept[name], buffer) if name in kept else _bytes(old, one.start, one.size, buffer)
            for piece in pieces:
                if not _is_finite(piece, one.dtype):
                    raise FloatingPointError(
                        f"{name} of {source.path.parent} holds numbers that are not finite; expected weights of a "
                        "training that ended well: copy the model again, or take an earlier one"
                    )
                _write(new, piece.data.cast("B"))
        os.fsync(new.fileno())
    return read_header(target)


def _is_finite(piece: np.ndarray, dtype: str) -> bool:
    """Say whether no number of some bytes is infinite or none at all: whether no exponent has all bits set."""
    if dtype not in _EXPONENTS:
        return True
    kind, exponent = _EXPONENTS[dtype]
    return bool(((piece.reshape(-1).view(kind) & exponent) != exponent).all())


def _header(source: SafetensorsFile, shapes: Mapping[str, tuple[int, ...]], sizes: Mapping[str, int]) -> bytes:
    header: dict[str, Any] = {"__metadata__": source.metadata} if source.metadata else {}
    place = 0
    for name, one in source.tensors.items():
        header[name] = {"dtype": one.dtype, "shape": shapes[name], "data_offsets": [place, place + sizes[name]]}
        place += sizes[name]
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight
    return struct.pack("<Q", len(text)) + text


def first_difference(source: SafetensorsFile, target: SafetensorsFile, kept: Mapping[str, RowsKept]) -> str | None:
    """Compare a file with the one it was written from, each byte of it read back.

    Rows are looked up one by one here and not in blocks as they are written, so that a mistake there shows.

    Returns:
        What differs first, or None.
    """
    if list(source.tensors) != list(target.tensors) or source.metadata != target.metadata:
        return "the names of tensors, or the metadata"
    buffers = bytearray(_PIECE), bytearray(_PIECE)
    with source.path.open("rb", buffering=0) as old, target.path.open("rb", buffering=0) as new:
        for name, was in source.tensors.items():
            now = target.tensors[name]
            if name in kept:
                same = now.shape == kept[name].shape_of(was.shape) and _rows_equal(old, was, new, now, kept[name])
            else:
                pairs = zip(
                    _bytes(old, was.start, was.size, buffers[0]),
                    _bytes(new, now.start, now.size, buffers[1]),
                    strict=True,
                )
                same = now.shape == was.shape and all(np.array_equal(first, second) for first, second in pairs)
            if not same or was.dtype != now.dtype:
                return name
    return None


def same_tensor(first: tuple[SafetensorsFile, StoredTensor], second: tuple[SafetensorsFile, StoredTensor]) -> bool:
    """Say whether two stored tensors have the same type, shape and bytes."""
    (one_file, one), (other_file, other) = first, second
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    with one_file.path.open("rb", buffering=0) as left, other_file.path.open("rb", buffering=0) as right:
        pairs = zip(
            _bytes(left, one.start, one.size, bytearray(_PIECE)),
            _bytes(right, other.start, other.size, bytearray(_PIECE)),
            strict=True,
        )
        return all(np.array_equal(*pair) for pair in pairs)


def _rows_equal(old: FileIO, was: StoredTensor, new: FileIO, now: StoredTensor, kept: RowsKept) -> bool:
    width = was.size // was.shape[kept.axis]
    at_once = max(1, _PIECE // width)
    buffer = bytearray(at_once * width)
    for first in range(0, len(kept.old_rows), at_once):
        rows = kept.old_rows[first : first + at_once].tolist()
        expected = b"".join(os.pread(old.fileno(), width, was.start + row * width) for row in rows)
        found = _read(new, now.start + first * width, memoryview(buffer)[: len(rows) * width])
        if expected != found.tobytes():
            return False
    return True


def _bytes(file: FileIO, start: int, size: int, buffer: bytearray) -> Iterator[np.ndarray]:
    """Read bytes of a file into a buffer, piece by piece; each piece is gone when the next one is asked for."""
    for place in range(start, start + size, len(buffer)):
        yield _read(file, place, memoryview(buffer)[: min(len(buffer), start + size - place)])


def _rows(file: FileIO, one: StoredTensor, kept: RowsKept, buffer: bytearray) -> Iterator[np.ndarray]:
    """Read the rows kept, block by block of the old ones; a block without any is passed over."""
    width = one.size // one.shape[kept.axis]
    at_once = max(1, len(buffer) // width)
    if width > len(buffer):
        buffer = bytearray(width)
    bounds = range(0, one.shape[kept.axis] + at_once, at_once)
    cuts = np.searchsorted(kept.old_rows, bounds)
    for start, end in zip(cuts[:-1], cuts[1:], strict=True):
        if start == end:
            continue
        rows = kept.old_rows[start:end]
        span = int(rows[-1] - rows[0]) + 1
        block = _read(file, one.start + int(rows[0]) * width, memoryview(buffer)[: span * width])
        block = block.reshape(span, width)
        yield block if span == len(rows) else block.take(rows - rows[0], axis=0)


def _read(file: FileIO, start: int, into: memoryview) -> np.ndarray:
    """Fill a piece of memory from a place in a file and return it as bytes of an array.

    Raises:
        ValueError: If the file ends before.
    """
    file.seek(start)
    done = 0
    while done < len(into):
        count = file.readinto(into[done:])
        if not count:
            raise ValueError(f"{file.name} ended at byte {start + done} while it was read; copy it again")
        done += count
    return np.frombuffer(into, dtype=np.uint8)


def _write(file: FileIO, rest: memoryview) -> None:
    """Write all of a piece; the system may take a part of it at a time."""
    while rest:
        rest = rest[file.write(rest) :]
