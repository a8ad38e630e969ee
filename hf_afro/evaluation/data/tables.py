"""Tables of examples: TSV, CSV, JSON lines and Parquet, each row a mapping from column to value with its place."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_afro.evaluation.data.formats import Repairs, read_text

Row = tuple[str, dict[str, Any]]
"""Where a row stands, for messages, and its values by column."""


@dataclass(frozen=True)
class TableForm:
    """How a table is written.

    Attributes:
        format: `tsv`, `csv`, `jsonl` or `parquet`.
        separator: Between columns; by default a tab for `tsv` and a comma for `csv`.
        quoted: Whether a quote has a meaning, and cells may hold line feeds; for `tsv` and `csv`.
        header: The names of the columns where the file does not begin with them.
    """

    format: str
    separator: str = ""
    quoted: bool = True
    header: tuple[str, ...] = ()


def read_rows(path: Path, form: TableForm, repairs: Repairs) -> Iterator[Row]:
    """Yield the rows of a table.

    Args:
        path: The file.
        form: How it is written.
        repairs: What was repaired is counted here.

    Raises:
        ValueError: If it cannot be read as what it should be; the message names the line.
    """
    if form.format == "parquet":
        yield from _parquet_rows(path)
    elif form.format == "jsonl":
        yield from _json_rows(path, read_text(path, repairs))
    else:
        yield from _separated_rows(path, form, read_text(path, repairs), repairs)


def header_of(path: Path, separator: str = "\t") -> list[str]:
    """Return the names of the columns that a TSV or CSV begins with, as they are written."""
    line = read_text(path, Repairs()).partition("\n")[0].rstrip("\r")
    return line.split(separator)


def _separated_rows(path: Path, form: TableForm, text: str, repairs: Repairs) -> Iterator[Row]:
    separator = form.separator or {"tsv": "\t", "csv": ","}[form.format]
    rows = _quoted(path, text, separator) if form.quoted else _plain(text, separator)
    header = list(form.header)
    for number, row in rows:
        if not header:
            header = _checked_header(path, row, separator, repairs)
        elif [cell.strip() for cell in row] == header:
            repairs["headers repeated among the rows left out"] += 1
        elif len(row) != len(header):
            raise ValueError(f"{path}, line {number}: {len(row)} columns; expected {len(header)}, as in the header")
        elif form.quoted and separator == "\t" and any("\n" in cell and "\t" in cell for cell in row):
            raise ValueError(
                f"{path}, line {number}: a quoted cell that holds line feeds and tabs, so a quote is missing or stray "
                "and rows would be lost; quotes inside quotes are doubled, or say `quoted: false`"
            )
        else:
            yield f"{path}, line {number}", dict(zip(header, row, strict=True))


def _checked_header(path: Path, row: list[str], separator: str, repairs: Repairs) -> list[str]:
    header = [cell.strip() for cell in row]
    if header != row:
        repairs["names of columns with spaces around them"] += 1
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise ValueError(f"{path}, line 1: the column {', '.join(map(repr, twice))} is there twice; name each once")
    return header


def _plain(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.removesuffix("\r")
        if line:
            yield number, line.split(separator)


def _quoted(path: Path, text: str, separator: str) -> list[tuple[int, list[str]]]:
    """Return the rows, each with the number of its last line."""
    # The limit is the module's own, for all of Python; an article may be longer. It is put back before anybody sees a
    # row: a generator would keep it for as long as it is not closed.
    limit = csv.field_size_limit(len(text) + 1)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        return [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}; quotes inside quotes are doubled") from error
    finally:
        csv.field_size_limit(limit)


def _json_rows(path: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{path}, line {number}: no JSON ({error.msg} at column {error.colno}); expected an object a line"
            ) from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number}: received {line[:80]!r}; expected an object a line")
        yield f"{path}, line {number}", row


def _parquet_rows(path: Path) -> Iterator[Row]:
    from datasets import Dataset
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import read_table

    try:
        table = read_table(path)
    except (ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} is no Parquet file that can be read: {error}") from error
    yield from dataset_rows(Dataset(table), str(path))


def dataset_rows(rows: Any, source: str) -> Iterator[Row]:
    """Yield the rows of a `datasets.Dataset`, the numbers of a `ClassLabel` by their names.

    Args:
        rows: The dataset.
        source: What it is called in messages.
    """
    features = {name: getattr(feature, "feature", feature) for name, feature in rows.features.items()}
    for index, row in enumerate(rows, start=1):
        yield (
            f"{source}, row {index}",
            {name: _named(value, getattr(features[name], "names", None)) for name, value in row.items()},
        )


def _named(value: Any, names: list[str] | None) -> Any:
    """The names of a number of a `ClassLabel`, or of a list of them; other values as they are."""
    if names is None or value is None:
        return value
    if isinstance(value, list):
        return [_named(one, names) for one in value]
    # The Hub has -1 where the labels of a test split are kept secret.
    return names[value] if 0 <= value < len(names) else None
