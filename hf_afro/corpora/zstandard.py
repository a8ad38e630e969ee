"""Whether a Zstandard file is whole, by walking over its blocks without decompressing them.

Decompressors that stream, Arrow's among them, take a file that was cut off for one that ends there: half a corpus
would pass for all of it.

References:
    Collet and Kucherawy, "Zstandard Compression and the 'application/zstd' Media Type", RFC 8878, sections 3.1.1 and
    3.1.2.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_FRAME = 0xFD2FB528
_SKIPPABLE = 0x184D2A50  # and the 15 numbers after it
_RUN_LENGTH = 1
_DICTIONARY_ID_BYTES = (0, 1, 2, 4)
_CONTENT_SIZE_BYTES = (0, 2, 4, 8)


def check_whole(path: Path) -> None:
    """Refuse a file that is no Zstandard file or ends within a frame.

    Raises:
        EOFError: If the file ends too early.
        OSError: If something else than a frame begins where one is expected.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < size:
            magic = _number(file, 4)
            if magic == _FRAME:
                _skip_frame(file)
            elif magic & ~0xF == _SKIPPABLE:
                file.seek(_number(file, 4), 1)
            else:
                raise OSError(f"no Zstandard frame begins at byte {file.tell() - 4}")
        if file.tell() > size:
            raise EOFError("the file ends within a frame")


def _skip_frame(file: BinaryIO) -> None:
    descriptor = _number(file, 1)
    single_segment, checksum = descriptor >> 5 & 1, descriptor >> 2 & 1
    content_size = _CONTENT_SIZE_BYTES[descriptor >> 6] or single_segment
    file.seek((1 - single_segment) + _DICTIONARY_ID_BYTES[descriptor & 3] + content_size, 1)
    last = 0
    while not last:
        block = _number(file, 3)
        last, kind, size = block & 1, block >> 1 & 3, block >> 3
        file.seek(1 if kind == _RUN_LENGTH else size, 1)
    file.seek(4 * checksum, 1)


def _number(file: BinaryIO, size: int) -> int:
    data = file.read(size)
    if len(data) < size:
        raise EOFError("the file ends within a frame")
    return int.from_bytes(data, "little")
