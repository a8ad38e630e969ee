"""Reading text: one `TextSource` per language, from files in a folder or from a dataset on the Hub.

Files are plain text, JSON lines or Parquet; text and JSON lines may be compressed by gzip or Zstandard.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import logging
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast, get_args

import pyarrow
from pyarrow.parquet import ParquetFile

from hf_afro.languages import find_language, find_languages

logger = logging.getLogger(__name__)

Errors = Literal["fail", "replace", "skip"]
"""Handling of bytes that are not UTF-8."""

SUFFIXES = (".txt", ".txt.gz", ".txt.zst", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FIELD = "text"


@dataclass(frozen=True)
class TextSource:
    """The text of one language, read line by line and any number of times, never held in memory as a whole.

    Lines end at line feeds only, since running text holds U+2028, U+0085 and carriage returns. Empty lines are
    yielded.

    Attributes:
        language: ISO 639-3 code.
        origin: A path, or a dataset with its configuration and split, for messages and provenance.
        open: Returns a new iterator over the lines.
        plain_bytes: The size of the text if it is in plain files, None if it is unknown before reading.
    """

    language: str
    origin: str
    open: Callable[[], Iterator[str]] = field(repr=False, compare=False)
    plain_bytes: int | None = field(default=None, repr=False, compare=False)

    def __iter__(self) -> Iterator[str]:
        return self.open()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all lines in UTF-8, each with a line feed, so that it does not depend on the file format.

        The first access reads the whole text.
        """
        digest = hashlib.sha256()
        for line in self:
            digest.update(line.encode())
            digest.update(b"\n")
        return digest.hexdigest()


def read_corpora(
    source: str | os.PathLike[str], languages: Iterable[str] | None = None, *, errors: Errors = "fail"
) -> dict[str, TextSource]:
    """Open the texts of a folder with one file per language: ``swa.txt``, ``yor.jsonl.gz``, ``amh.parquet``.

    The source may also be one such file. If the folder has no text files, its subfolders named by a language are read
    instead; their files are the parts of a text, in order of name: ``swa/part-1.txt``, ``swa/part-2.txt``.

    Files are named by a language code of any kind. Text files hold one sentence, paragraph or document per line;
    `.jsonl` and `.parquet` have a field `text`, which may hold several lines. Other files are ignored.

    Args:
        source: The folder, or a file.
        languages: The languages to open, in any code; None for all.
        errors: Handling of bytes that are not UTF-8: `fail` raises an error with file and line, `replace` inserts
            U+FFFD, `skip` skips the line.

    Returns:
        One source per language, sorted by ISO 639-3 code.

    Raises:
        FileNotFoundError: If the source does not exist.
        ValueError: If a code is unknown, a language is missing, empty or named twice, or bytes are not UTF-8.
    """
    check_errors(errors)
    folder = Path(source)
    if not folder.is_dir() and not folder.is_file():
        raise FileNotFoundError(f"{folder} does not exist; expected a folder with files such as swa.txt")
    wanted = None if languages is None else find_languages(languages)
    there = [folder] if folder.is_file() else sorted(folder.iterdir())
    texts = [path for path in there if suffix_of(path) and path.is_file()]
    texts = texts or [path for path in there if path.is_dir() and _parts(path)]
    _warn_of_unread(folder, [path.name for path in there if path not in texts])
    places: dict[str, Path] = {}
    for path in texts:
        language = _language_of(path)
        if language in places:
            raise ValueError(f"{places[language]} and {path} both hold {language!r}; keep one, or join them")
        places[language] = path
    missing = sorted(set(wanted or ()) - set(places))
    if missing or not places:
        held = ", ".join(sorted(places)) or f"no file named <language> with one of {', '.join(SUFFIXES)}"
        raise ValueError(f"{folder} has no text for {', '.join(missing) or 'any language'}; it holds {held}")
    return {
        language: _open_source(language, path, errors)
        for language, path in sorted(places.items())
        if wanted is None or language in wanted
    }


def load_hub(
    repository: str,
    languages: Iterable[str] | Mapping[str, str],
    *,
    split: str = "train",
    column: str = "text",
    streaming: bool = False,
    revision: str | None = None,
) -> dict[str, TextSource]:
    """Open the texts of a dataset with one configuration per language, by `datasets.load_dataset`.

    Args:
        repository: The name on the Hub, or a local folder that `load_dataset` opens.
        languages: The configurations, if they are named by language codes; or a mapping of language to configuration.
        split: The split to read.
        column: The column of texts, which may have several lines.
        streaming: Read over the network instead of downloading first.
        revision: A commit, tag or branch; only a commit makes the text reproducible.

    Returns:
        One source per language, sorted by ISO 639-3 code.

    Raises:
        ValueError: If a code is unknown or named twice, a language is empty, or there is no such column.
    """
    from datasets import load_dataset

    names = dict(languages) if isinstance(languages, Mapping) else {code: code for code in languages}
    sources: dict[str, TextSource] = {}
    for language, code in find_languages(names).items():
        name = names[code]
        dataset = load_dataset(repository, name, split=split, streaming=streaming, revision=revision)
        origin = f"{repository}/{name}:{split}" + (f"@{revision}" if revision else "")
        if dataset.column_names is not None and column not in dataset.column_names:
            raise ValueError(f"{origin} has the columns {dataset.column_names}; expected one named {column!r}")
        sources[language] = _checked(TextSource(language, origin, partial(_dataset_lines, dataset, column, origin)))
    return dict(sorted(sources.items()))


def read_lines(path: Path, errors: Errors = "fail") -> Iterator[str]:
    """Yield the lines of a file, split at line feeds only.

    A byte order mark at the beginning is dropped, and one carriage return before a line feed or the end of the file,
    as Windows writes them; other carriage returns stay.

    Args:
        path: A file with one of `SUFFIXES`.
        errors: Handling of bytes that are not UTF-8; see `read_corpora`.

    Raises:
        ValueError: If bytes are not UTF-8 and `errors` is `fail`, a JSON line has no string in the field `text`, or
            the file is damaged; the message names file and line.
    """
    suffix = (suffix_of(path) or "").lower()
    if suffix == ".parquet":
        yield from _parquet_lines(path, errors)
    elif suffix.startswith(".jsonl"):
        for number, line in _decoded(path, errors):
            if line.strip():
                yield from _json_lines(path, number, line, errors)
    else:
        for _, line in _decoded(path, errors):
            yield line


def lines_of(parts: Iterable[Path], errors: Errors = "fail") -> Iterator[str]:
    """Yield the lines of several files; see `read_lines`."""
    for part in parts:
        yield from read_lines(part, errors)


def suffix_of(path: Path) -> str | None:
    """Return the suffix of a text file as it is written in its name, None for other and for hidden files."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix) and not path.name.startswith("."):
            return path.name[-len(suffix) :]
    return None


def check_errors(errors: str) -> None:
    """Raise a ValueError if `errors` is not one of `Errors`."""
    if errors not in get_args(Errors):
        raise ValueError(f"errors is {errors!r}; expected one of {', '.join(get_args(Errors))}")


def _warn_of_unread(folder: Path, names: list[str]) -> None:
    """Warn of files and folders that are not read although they are named by a language code."""
    unread = [name for name in names if _is_code(name.partition(".")[0])]
    if unread:
        logger.warning(
            "%s: %s not read; expected text in files ending in %s, or, if there are none, in subfolders of such files",
            folder,
            ", ".join(unread),
            ", ".join(SUFFIXES),
        )


def _is_code(name: str) -> bool:
    try:
        return bool(find_language(name))
    except ValueError:
        return False


def _language_of(path: Path) -> str:
    code = path.name if path.is_dir() else path.name[: -len(suffix_of(path) or "")]
    try:
        return find_language(code).iso639_3
    except ValueError as error:
        kind = "text folders" if path.is_dir() else "text files"
        raise ValueError(
            f"{path}: {kind} are named by their language. {error} Rename it, or move it out of the folder."
        ) from error


def _parts(path: Path) -> list[Path]:
    """Return the file itself, or the text files of a folder."""
    if path.is_file():
        return [path]
    return sorted(part for part in path.iterdir() if suffix_of(part) and part.is_file())


def _open_source(language: str, path: Path, errors: Errors) -> TextSource:
    parts = _parts(path)
    is_plain = all(part.suffix.lower() == ".txt" for part in parts)
    size = sum(part.stat().st_size for part in parts) if is_plain else None
    return _checked(TextSource(language, str(path), partial(lines_of, parts, errors), size))


def _dataset_lines(dataset: Any, column: str, origin: str) -> Iterator[str]:
    for batch in dataset.with_format(None).iter(1000):
        for text in batch[column]:
            if not isinstance(text, str):
                raise ValueError(f"{origin} has {text!r} in {column!r}; expected only strings")
            yield from text.split("\n")


def _checked(source: TextSource) -> TextSource:
    """Refuse a source without text, reading only up to the first word."""
    if any(line.strip() for line in source):
        return source
    raise ValueError(f"{source.origin} has no text for {source.language!r}; add text, or leave the language out")


def _decoded(path: Path, errors: Errors) -> Iterator[tuple[int, str]]:
    """Yield line numbers, counted from 1, and lines."""
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
        logger.warning("%s: skipped %d lines that are not UTF-8", path, skipped)


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
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return cast("BinaryIO", gzip.open(path, "rb"))
    if suffix == ".zst":  # Arrow reads files of several frames, and refuses one that ends within a frame
        return io.BufferedReader(pyarrow.input_stream(str(path), compression="zstd"))
    return path.open("rb")


def _json_lines(path: Path, number: int, line: str, errors: Errors) -> Iterator[str]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{path}, line {number}: not JSON ({error}); expected one object per line") from error
    text = record.get(_FIELD) if isinstance(record, dict) else None
    if not isinstance(text, str):
        raise ValueError(f"{path}, line {number}: expected an object with a string {_FIELD!r}, received {line[:80]!r}")
    if "\\u" in line and not _is_utf8(text):
        if errors == "fail":
            raise ValueError(
                f"{path}, line {number}: an escape is half of a surrogate pair, which is not a character. Repair the "
                "file, or choose errors='replace' or errors='skip'"
            )
        if errors == "skip":
            logger.warning("%s, line %d: skipped; an escape is half of a surrogate pair", path, number)
            return
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    yield from text.split("\n")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parquet_lines(path: Path, errors: Errors) -> Iterator[str]:
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
                # As bytes, since Arrow does not check that strings in a file are UTF-8.
                for raw in batch.column(0).cast(kind).cast(pyarrow.large_binary()).to_pylist():
                    row += 1
                    if raw is None:
                        raise ValueError(f"{path}, row {row}: no text; expected a string")
                    yield from _row_lines(path, row, raw, errors)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path} is not a complete Parquet file: {error}") from error


def _row_lines(path: Path, row: int, raw: bytes, errors: Errors) -> list[str]:
    try:
        return raw.decode("utf-8", "replace" if errors == "replace" else "strict").split("\n")
    except UnicodeDecodeError as error:
        if errors == "fail":
            raise ValueError(
                f"{path}, row {row}: byte {error.start} of the text is not UTF-8 ({error.reason}). Repair the file, "
                "or choose errors='replace' or errors='skip'"
            ) from error
        logger.warning("%s, row %d: skipped; the text is not UTF-8", path, row)
        return []
