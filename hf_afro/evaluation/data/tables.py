"""Tables of examples: rows of TSV, CSV, JSON lines, Parquet and `datasets`, and examples made from their columns.

TSV, CSV and JSON lines are read here and not through `datasets`, which reports neither the line of a fault nor what it
changed (quotes, byte order marks, repeated headers, `NA` read as missing).
"""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_afro.evaluation.data.conll import OUTSIDE, SCHEMES, Example, Repairs, Tagged, read_text, repaired_sentence
from hf_afro.messages import counted
from hf_afro.tasks import TaskKind

Row = tuple[str, dict[str, Any]]
"""The place of a row, for messages, and its values by column."""


@dataclass(frozen=True)
class TableForm:
    """The layout of a table.

    Attributes:
        format: `tsv`, `csv`, `jsonl` or `parquet`.
        separator: Between columns of `tsv` and `csv`; a tab and a comma by default.
        quoted: Whether cells of `tsv` and `csv` may be quoted and then hold line feeds.
        header: The names of the columns, for files without a header line.
    """

    format: str
    separator: str = ""
    quoted: bool = True
    header: tuple[str, ...] = ()


@dataclass(frozen=True)
class Columns:
    """The names of the columns that make an example.

    Attributes:
        text: The text; several columns are joined by line feeds, empty ones skipped.
        text_pair: The second text of a pair.
        label: The label.
        tokens: The words of a sentence: a list, or a text with spaces between words.
        tags: Their tags, in the same form.
    """

    text: tuple[str, ...] = ("text",)
    text_pair: str = "text_pair"
    label: str = "label"
    tokens: str = "tokens"
    tags: str = "tags"

    def needed(self, kind: TaskKind) -> tuple[str, ...]:
        """Return the columns that examples of a kind of task need; labels come last."""
        if kind.tagged:
            return self.tokens, self.tags
        return (*self.text, self.text_pair, self.label) if kind.pairs else (*self.text, self.label)


@dataclass(frozen=True)
class Labels:
    """The names of labels.

    Attributes:
        names: From labels as written to the names to use; empty to keep them as written. For spans these are whole
            tags or entity types, and a type named `O` is no span.
        scheme: Of the tags, a name in `hf_afro.evaluation.data.conll.SCHEMES`.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    scheme: str = "iob2"

    def name(self, label: str, place: str) -> str:
        """Return the name of a label.

        Raises:
            ValueError: If there are names, but none for this label; the message gives the nearest.
        """
        if not self.names or label in self.names:
            return self.names.get(label, label)
        close = difflib.get_close_matches(label, self.names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{place}: no name for the label {label!r}; `labels:` has {', '.join(self.names)}{hint}")

    def tag(self, tag: str, place: str) -> str:
        """Return the name of a span's tag: of the whole tag, or its letter with the name of its type."""
        if not self.names or tag in self.names:
            return self.names.get(tag, tag)
        letter, dash, kind = tag.partition("-")
        if not dash:
            return tag if tag == OUTSIDE else self.name(tag, place)
        name = self.name(kind, place)
        return OUTSIDE if name == OUTSIDE else f"{letter}-{name}"


def read_rows(path: Path, form: TableForm, repairs: Repairs) -> Iterator[Row]:
    """Yield the rows of a table, counting what was repaired.

    Raises:
        ValueError: If the file is not in its format; the message names the line.
    """
    if form.format == "parquet":
        yield from _parquet_rows(path)
    elif form.format == "jsonl":
        yield from _json_rows(path, read_text(path, repairs))
    else:
        yield from _separated_rows(path, form, read_text(path, repairs), repairs)


def header_of(path: Path) -> list[str]:
    """Return the names of the columns in the first line of a TSV."""
    line = read_text(path, Repairs()).partition("\n")[0].rstrip("\r")
    return [name.strip() for name in line.split("\t")]


def _separated_rows(path: Path, form: TableForm, text: str, repairs: Repairs) -> Iterator[Row]:
    separator = form.separator or {"tsv": "\t", "csv": ","}[form.format]
    rows = _quoted(path, text, separator) if form.quoted else _unquoted(text, separator)
    header = list(form.header)
    for number, row in rows:
        if not header:
            header = _checked_header(path, row, repairs)
        elif [cell.strip() for cell in row] == header:
            repairs["repeated header rows left out"] += 1
        elif len(row) != len(header):
            raise ValueError(
                f"{path}, line {number}: {counted(len(row), 'column')}; expected {len(header)}, as in the header"
            )
        elif form.quoted and separator == "\t" and any("\n" in cell and "\t" in cell for cell in row):
            raise ValueError(
                f"{path}, line {number}: a quoted cell holds line feeds and tabs, so a quote is missing or stray and "
                "rows would be lost; double the quotes inside quotes, or set `quoted: false`"
            )
        else:
            yield f"{path}, line {number}", dict(zip(header, row, strict=True))


def _checked_header(path: Path, row: list[str], repairs: Repairs) -> list[str]:
    header = [cell.strip() for cell in row]
    if header != row:
        repairs["column names with spaces around them"] += 1
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise ValueError(f"{path}, line 1: the column {', '.join(map(repr, twice))} appears twice; name each once")
    return header


def _unquoted(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.removesuffix("\r")
        if line:
            yield number, line.split(separator)


def _quoted(path: Path, text: str, separator: str) -> list[tuple[int, list[str]]]:
    """Return the rows, each with the number of its last line."""
    # The limit is global to Python's csv module, and an article may be longer. It is restored before any row is
    # returned; a generator would hold it for as long as it is open.
    limit = csv.field_size_limit(len(text) + 1)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        return [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}; double the quotes inside quotes") from error
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
                f"{path}, line {number}: invalid JSON ({error.msg} at column {error.colno}); expected one object per "
                "line"
            ) from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number}: received {line[:80]!r}; expected one object per line")
        yield f"{path}, line {number}", row


def _parquet_rows(path: Path) -> Iterator[Row]:
    from datasets import Dataset
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import read_table

    try:
        table = read_table(path)
    except (ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from error
    yield from dataset_rows(Dataset(table), str(path))


def dataset_rows(rows: Any, source: str) -> Iterator[Row]:
    """Yield the rows of a `datasets.Dataset`, with the numbers of a `ClassLabel` replaced by its names.

    Args:
        rows: The dataset.
        source: Its name in messages.
    """
    features = {name: getattr(feature, "feature", feature) for name, feature in rows.features.items()}
    for index, row in enumerate(rows, start=1):
        yield (
            f"{source}, row {index}",
            {name: _class_names(value, getattr(features[name], "names", None)) for name, value in row.items()},
        )


def _class_names(value: Any, names: list[str] | None) -> Any:
    if names is None or value is None:
        return value
    if isinstance(value, list):
        return [_class_names(one, names) for one in value]
    # The Hub has -1 where the labels of a test split are kept secret.
    return names[value] if 0 <= value < len(names) else None


def examples_of(
    rows: Iterable[Row],
    kind: TaskKind,
    columns: Columns,
    labels: Labels,
    repairs: Repairs,
    numbers: list[int] | None = None,
) -> list[Example]:
    """Make examples from rows, leaving out those without text.

    Args:
        rows: The rows of a table.
        kind: The kind of task.
        columns: The columns that hold text and labels.
        labels: The names of labels.
        repairs: Counts what was repaired or left out.
        numbers: Receives the number of each example among the rows, from 0.

    Raises:
        ValueError: If a row lacks a column or a label, has a value of the wrong type, or has more or fewer tags than
            words; the message names the line.
    """
    make = _tagged if kind.tagged else _pair if kind.pairs else _text
    examples: list[Example] = []
    for number, (place, row) in enumerate(rows):
        missing = [name for name in columns.needed(kind) if name not in row]
        if missing:
            raise ValueError(
                f"{place}: has the columns {', '.join(map(str, row))}; expected {', '.join(missing)}. Name them with "
                "`columns:` in a description of the set"
            )
        example = make(place, row, columns, labels, repairs)
        if example is not None:
            examples.append(example)
            if numbers is not None:
                numbers.append(number)
    return examples


def _text(place: str, row: Mapping[str, Any], columns: Columns, labels: Labels, repairs: Repairs) -> Example | None:
    text = _joined(place, row, columns.text)
    label = labels.name(_written(place, row[columns.label], repairs), place)
    if text:
        return text, label
    repairs["rows without text dropped"] += 1
    return None


def _pair(place: str, row: Mapping[str, Any], columns: Columns, labels: Labels, repairs: Repairs) -> Example | None:
    pair = _joined(place, row, columns.text), _joined(place, row, (columns.text_pair,))
    label = labels.name(_written(place, row[columns.label], repairs), place)
    if all(pair):
        return pair, label
    repairs["pairs with a missing text dropped"] += 1
    return None


def _joined(place: str, row: Mapping[str, Any], names: tuple[str, ...]) -> str:
    parts = [row[name] for name in names if row[name] is not None]
    for name, part in zip(names, parts, strict=False):
        if not isinstance(part, str):
            raise ValueError(f"{place}: {name!r} is {part!r}, of type {type(part).__name__}; expected text")
    return "\n".join(part for part in parts if part.strip())


def _written(place: str, value: Any, repairs: Repairs) -> str:
    """Return a label as text; whole numbers and booleans may be labels, other numbers may not."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValueError(f"{place}: no label; add one or remove the row")
    if not isinstance(value, str):
        raise ValueError(f"{place}: the label is {value!r}, of type {type(value).__name__}; expected a name")
    if value != value.strip():
        repairs["labels with spaces around them"] += 1
    return value.strip()


def _tagged(place: str, row: Mapping[str, Any], columns: Columns, labels: Labels, repairs: Repairs) -> Tagged | None:
    tokens, written = (_listed(place, name, row[name]) for name in (columns.tokens, columns.tags))
    if len(tokens) != len(written):
        raise ValueError(f"{place}: {len(tokens)} words and {len(written)} tags; expected one tag per word")
    for token in tokens:
        if not isinstance(token, str):
            raise ValueError(f"{place}: a word is {token!r}, of type {type(token).__name__}; expected text")
    rename = labels.name if labels.scheme == "none" else labels.tag
    tags = [rename(_written(place, tag, repairs), place) for tag in written]
    wrong = next((tag for tag in tags if not SCHEMES[labels.scheme].fullmatch(tag)), None)
    if wrong is not None:
        raise ValueError(
            f"{place}: the tag {wrong!r} is not in the scheme {labels.scheme}; expected tags such as O, B-PER, I-PER. "
            "Name numbered labels with `labels:` in a description of the set"
        )
    return repaired_sentence(tokens, tags, repairs, labels.scheme)


def _listed(place: str, name: str, value: Any) -> list[Any]:
    if isinstance(value, str):
        return value.split()
    if isinstance(value, list):
        return value
    raise ValueError(f"{place}: {name!r} is {value!r}; expected a list, or a text with spaces between words")
