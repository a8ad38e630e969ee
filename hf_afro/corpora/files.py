"""Lines of one text file of any kind that is read: plain, JSON lines, Parquet, compressed or not."""

from __future__ import annotations

import gzip
import json
import logging
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, cast, get_args

from hf_afro.corpora.zstandard import check_whole

logger = logging.getLogger(__name__)

Errors = Literal["fail", "replace", "skip"]

SUFFIXES = (".txt", ".txt.gz", ".txt.zst", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FIELD = "text"


def check_errors(errors: str) -> None:
    """Refuse a way to treat broken bytes that does not exist.

    Raises:
        ValueError: If it is none of fail, replace and skip.
    """
    if errors not in get_args(Errors):
        raise ValueError(f"errors is {errors!r}; expected one of {', '.join(get_args(Errors))}")


def suffix_of(path: Path) -> str | None:
    """Return the suffix by which a file's kind is known, as it is written there, None for other files."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix) and not path.name.startswith("."):
            return path.name[-len(suffix) :]
    return None


def read_lines(path: Path, errors: Errors = "fail") -> Iterator[str]:
    """Yield the lines of a file, cut at line feeds alone.

    A byte order mark in front of the file is dropped, and so is one carriage return in front of a line feed or the
    end, as files from Windows have them; other carriage returns stay.

    Args:
        path: A file with one of `SUFFIXES`.
        errors: What is done with bytes that are not UTF-8; see `read_corpora`.

    Raises:
        ValueError: If bytes are not UTF-8 and `errors` is fail, a JSON line has no field `text` that is a string, or
            the file is damaged; the message names file and line.
    """
    suffix = (suffix_of(path) or "").lower()
    if suffix == ".parquet":
        yield from _parquet_lines(path, errors)
    elif suffix.startswith(".jsonl"):
        for number, line in _decoded(path, errors):
            if line.strip():
                yield from _json_text(path, number, line, errors)
    else:
        for _, line in _decoded(path, errors):
            yield line


def _decoded(path: Path, errors: Errors) -> Iterator[tuple[int, str]]:
    """Yield line number, from 1, and text."""
    skipped = 0
    for number, raw in _raw_lines(path):
        line = raw.removesuffix(b"\n").removesuffix(b"\r")
        if number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        try:
            yield number, line.decode("utf-8", "replace" if errors == "replace" else "strict")
        except UnicodeDecodeError as error:
            if errors == "fail":
                raise ValueError(
                    f"{path}, line {number}: byte {error.start} of the line is not UTF-8 ({error.reason}). Convert "
                    "the file to UTF-8, or choose errors='replace' or errors='skip'"
                ) from error
            skipped += 1
    if skipped:
        logger.warning("%s: %d lines that are not UTF-8 were skipped", path, skipped)


def _raw_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        with _open(path) as file:
            for number, raw in enumerate(file, start=1):
                yield number, raw
    except (FileNotFoundError, PermissionError):
        raise
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read after line {number}: {error}. Copy or download it again") from error


def _open(path: Path) -> BinaryIO:
    openers: dict[str, Callable[[Path], BinaryIO]] = {".gz": _open_gzip, ".zst": _open_zstandard}
    return openers.get(path.suffix.lower(), lambda plain: plain.open("rb"))(path)


def _open_gzip(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path, "rb"))


def _open_zstandard(path: Path) -> BinaryIO:
    # Python itself reads Zstandard from 3.14 on; Arrow, which `datasets` needs anyway, has always done so.
    import io

    import pyarrow

    check_whole(path)
    return io.BufferedReader(pyarrow.input_stream(str(path), compression="zstd"))


def _json_text(path: Path, number: int, line: str, errors: Errors) -> Iterator[str]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{path}, line {number}: not JSON ({error}); expected an object a line") from error
    text = record.get(_FIELD) if isinstance(record, dict) else None
    if not isinstance(text, str):
        raise ValueError(f"{path}, line {number}: expected an object with a string {_FIELD!r}, received {line[:80]!r}")
    if "\\u" in line and not _is_utf8(text):
        if errors == "fail":
            raise ValueError(
                f"{path}, line {number}: an escape stands for half a character, which UTF-8 cannot hold. Repair the "
                "file, or choose errors='replace' or errors='skip'"
            )
        if errors == "skip":
            logger.warning("%s, line %d: half a character; the line was skipped", path, number)
            return
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    yield from text.split("\n")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _row_lines(path: Path, row: int, raw: bytes, errors: Errors) -> list[str]:
    try:
        return raw.decode("utf-8", "replace" if errors == "replace" else "strict").split("\n")
    except UnicodeDecodeError as error:
        if errors == "fail":
            raise ValueError(
                f"{path}, row {row}: byte {error.start} of the text is not UTF-8 ({error.reason}). Repair the file, "
                "or choose errors='replace' or errors='skip'"
            ) from error
        logger.warning("%s, row %d: not UTF-8; the row was skipped", path, row)
        return []


def _parquet_lines(path: Path, errors: Errors) -> Iterator[str]:
    # A tenth of a second to import, for this one kind of file.
    import pyarrow
    from pyarrow.parquet import ParquetFile

    row = 0
    try:
        with ParquetFile(path) as file:
            if _FIELD not in file.schema_arrow.names:
                raise ValueError(f"{path} has the columns {file.schema_arrow.names}; expected one named {_FIELD!r}")
            kind = file.schema_arrow.field(_FIELD).type
            kind = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
            if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
                raise ValueError(f"{path}: the column {_FIELD!r} holds {kind}; expected strings")
            for batch in file.iter_batches(columns=[_FIELD]):
                # As bytes: what a file calls strings need not be UTF-8, and Arrow does not look.
                for raw in batch.column(0).cast(kind).cast(pyarrow.large_binary()).to_pylist():
                    row += 1
                    if raw is None:
                        raise ValueError(f"{path}, row {row}: no text; expected a string")
                    yield from _row_lines(path, row, raw, errors)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path} is no whole Parquet file: {error}") from error
