"""Rewrite safetensors files block by block, with fewer rows in some of their tensors, and compare the result.

A file consists of eight bytes with the length of the header, a header in JSON with each tensor's type, shape and
place, and the bytes of the tensors. Everything is read into one buffer and never mapped, so that memory does not
depend on the size of the file.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from hf_afro.pretrained.weights import ITEM_SIZES, SafetensorsFile, StoredTensor, read_header

# Bytes per read or write. For large writes Linux allocates large pages, which can take longer than copying: 560 MB
# took 0.2 s in blocks of 256 KiB and 1.9 s in blocks of 4 MiB (ext4, Linux 6).
_PIECE = 1 << 18

# Bits of the exponent, which are all set in infinities and NaN.
_EXPONENTS: dict[str, tuple[type[np.unsignedinteger[Any]], int]] = {
    "F16": (np.uint16, 0x7C00),
    "BF16": (np.uint16, 0x7F80),
    "F32": (np.uint32, 0x7F80_0000),
    "F64": (np.uint64, 0x7FF0_0000_0000_0000),
}


@dataclass(frozen=True)
class RowsKept:
    """The rows to keep of a tensor.

    Attributes:
        axis: The axis of the rows; all axes before it have size 1, so that each row is contiguous in the file.
        old_rows: The rows to keep in ascending order, ``[new_rows]`` int64.
    """

    axis: int
    old_rows: np.ndarray

    def shape_of(self, old: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a tensor with only these rows."""
        return (*old[: self.axis], len(self.old_rows), *old[self.axis + 1 :])


def write_with_rows(source: SafetensorsFile, target: Path, kept: Mapping[str, RowsKept]) -> SafetensorsFile:
    """Rewrite a file with fewer rows in some of its tensors.

    Order and metadata do not change, so the result is the file that the safetensors library would write.

    Args:
        source: The file to read.
        target: The file to write; see `force_to_disk`.
        kept: The rows to keep by tensor name; other tensors are copied.

    Returns:
        The written file, with its header read back.

    Raises:
        FloatingPointError: If a number to write is not finite.
    """
    shapes = {
        name: kept[name].shape_of(one.shape) if name in kept else one.shape for name, one in source.tensors.items()
    }
    sizes = {name: prod(shape) * ITEM_SIZES[source.tensors[name].dtype] for name, shape in shapes.items()}
    buffer = bytearray(max(8, _PIECE // 8 * 8))  # a whole number of items of any type
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
    return read_header(target)


def force_to_disk(path: Path) -> None:
    """Wait until the bytes of a file are on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _is_finite(piece: np.ndarray, dtype: str) -> bool:
    """Return whether all numbers are finite, which holds if no exponent has all bits set."""
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
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of eight
    return struct.pack("<Q", len(text)) + text


def first_difference(source: SafetensorsFile, target: SafetensorsFile, kept: Mapping[str, RowsKept]) -> str | None:
    """Read a written file back and compare every byte with its source.

    Rows are read one by one here, not in blocks as for writing, so that an error in the writing shows.

    Returns:
        The name of the first difference, or None.
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
    """Return whether two stored tensors have the same type, shape and bytes."""
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
    """Yield bytes of a file in blocks; each block is overwritten by the next one."""
    for place in range(start, start + size, len(buffer)):
        yield _read(file, place, memoryview(buffer)[: min(len(buffer), start + size - place)])


def _rows(file: FileIO, one: StoredTensor, kept: RowsKept, buffer: bytearray) -> Iterator[np.ndarray]:
    """Yield the rows kept, one block of old rows at a time; blocks without any are skipped."""
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
    """Fill a buffer from a position in a file and return it as an array of bytes.

    Raises:
        ValueError: If the file ends too early.
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
    """Write a whole block; a single system call may write less."""
    while rest:
        rest = rest[file.write(rest) :]
