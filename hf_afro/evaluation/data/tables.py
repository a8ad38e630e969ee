"""Tables of examples: rows of TSV, CSV, JSON lines, Parquet and `datasets`, and examples made from their columns.

TSV, CSV and JSON lines are read here and not through `datasets`, which reports neither the line of a fault nor what it
changed (quotes, byte order marks, repeated headers, `NA` read as missing).
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_afro.evaluation.data.conll import OUTSIDE, SCHEMES, Example, Repairs, Tagged, read_text, repaired_sentence
from hf_afro.messages import counted
from hf_afro.tasks import TaskKind

_NO_OR_YES = {"0": False, "1": True, "0.0": False, "1.0": True, "False": False, "True": True}

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
        text_pair: The second text of a pair. The column of the first, if it holds both with a line feed between them.
        label: The label; or several, as a list or with commas between them; or the number.
        labels: For tasks with several labels, one column per label in place of `label`, each 0 or 1. A file that
            lacks some of them is counted among the repairs.
        tokens: The words of a sentence: a list, or a text with spaces between words.
        tags: Their tags, in the same form.
        spans: In place of `tokens` and `tags`, the spans of `text`: a list of objects with `label`, and `start` and
            `end`, in characters; see `words_with_spans`.
    """

    text: tuple[str, ...] = ("text",)
    text_pair: str = "text_pair"
    label: str = "label"
    labels: tuple[str, ...] = ()
    tokens: str = "tokens"
    tags: str = "tags"
    spans: str = ""

    def needed(self, kind: TaskKind) -> tuple[str, ...]:
        """Return the columns that examples of a kind of task need; labels come last."""
        if kind.tagged:
            return (*self.text, self.spans) if self.spans else (self.tokens, self.tags)
        texts = (*self.text, self.text_pair) if kind.pairs else self.text
        return tuple(dict.fromkeys((*texts, *(() if self.labels else (self.label,)))))


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
    examples: list[Example] = []
    example: Example | None
    for number, (place, row) in enumerate(rows):
        missing = [name for name in columns.needed(kind) if name not in row]
        if missing:
            raise ValueError(
                f"{place}: has the columns {', '.join(map(str, row))}; expected {', '.join(missing)}. Name them with "
                "`columns:` in a description of the set"
            )
        if not kind.tagged:
            example = _labelled(place, row, kind, columns, labels, repairs)
        elif columns.spans:
            example = _with_spans(place, row, columns, labels, repairs)
        else:
            example = _tagged(place, row, columns, labels, repairs)
        if example is not None:
            examples.append(example)
            if numbers is not None:
                numbers.append(number)
    return examples


def _labelled(
    place: str, row: Mapping[str, Any], kind: TaskKind, columns: Columns, labels: Labels, repairs: Repairs
) -> Example | None:
    """Return a text or a pair with its label, its labels or its number; None without text."""
    text = _pair(place, row, columns) if kind.pairs else _joined(place, row, columns.text)
    answer: Any
    if kind.regression:
        answer = _number(place, row[columns.label])
    elif kind.multi_label:
        answer = _several(place, row, columns, labels, repairs)
    else:
        answer = labels.name(_written(place, row[columns.label], repairs), place)
    if all(text) if kind.pairs else text:
        return text, answer
    repairs["pairs with a missing text dropped" if kind.pairs else "rows without text dropped"] += 1
    return None


def _pair(place: str, row: Mapping[str, Any], columns: Columns) -> tuple[str, str]:
    if columns.text != (columns.text_pair,):
        return _joined(place, row, columns.text), _joined(place, row, (columns.text_pair,))
    both = _joined(place, row, columns.text)
    parts = both.split("\n") if both else ["", ""]
    if len(parts) != 2:
        raise ValueError(
            f"{place}: {columns.text_pair!r} holds {counted(len(parts), 'line')}; expected the two texts of a pair "
            "with one line feed between them"
        )
    first, second = (part if part.strip() else "" for part in parts)
    return first, second


def _number(place: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{place}: the number is {value!r}; expected one such as 0.5")
    return number


def _several(
    place: str, row: Mapping[str, Any], columns: Columns, labels: Labels, repairs: Repairs
) -> tuple[str, ...]:
    """Return the names of a text's labels, sorted, each once."""
    written: list[Any] = []
    if columns.labels:
        there = [name for name in columns.labels if name in row]
        if not there:
            raise ValueError(f"{place}: has the columns {', '.join(row)}; expected {', '.join(columns.labels)}")
        for name in columns.labels:
            if name not in row:
                repairs[f"rows without the column {name!r}"] += 1
            elif str(row[name]).strip() not in _NO_OR_YES:
                raise ValueError(f"{place}: {name!r} is {row[name]!r}; expected 0 or 1")
            elif _NO_OR_YES[str(row[name]).strip()]:
                written.append(name)
    elif isinstance(value := row[columns.label], str):
        written = [part for part in value.split(",") if part.strip()]
    elif value is not None and not isinstance(value, list):
        raise ValueError(f"{place}: the labels are {value!r}; expected a list, or names with commas between them")
    else:
        written = value or []
    return tuple(sorted({labels.name(_written(place, one, repairs), place) for one in written}))


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


def _with_spans(
    place: str, row: Mapping[str, Any], columns: Columns, labels: Labels, repairs: Repairs
) -> Tagged | None:
    text, spans = _joined(place, row, columns.text), []
    if not isinstance(row[columns.spans], list):
        raise ValueError(f"{place}: {columns.spans!r} is {row[columns.spans]!r}; expected a list of spans")
    for span in row[columns.spans]:
        # INJONGO's are called bytes and count characters.
        names = ("start_byte", "limit_byte") if isinstance(span, dict) and "start_byte" in span else ("start", "end")
        try:
            start, end, name = int(span[names[0]]), int(span[names[1]]), str(span["label"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{place}: a span is {span!r}; expected start, end and label") from error
        tag = labels.tag(f"B-{name}", place)
        if not SCHEMES["iob2"].fullmatch(tag):
            raise ValueError(f"{place}: the label {name!r} of a span has a space; name it with `labels:`")
        spans += [] if tag == OUTSIDE else [(start, end, tag[2:])]
    tokens, tags = words_with_spans(text, spans, repairs)
    return repaired_sentence(tokens, tags, repairs)


def words_with_spans(
    text: str, spans: Iterable[tuple[int, int, str]], repairs: Repairs
) -> tuple[list[str], list[str]]:
    """Split a text into words and tag those that spans touch, in IOB2.

    Words are found without looking at the spans, as they are in text without any: a span that begins or ends inside
    a word (after a prefix, for example) takes the whole word. This, spans without a word, and spans that overlap an
    earlier one, which are left out, are counted.

    Args:
        text: The text.
        spans: Start, end and label of each, in characters.
        repairs: Counts what was repaired.
    """
    places = word_places(text)
    tags = [OUTSIDE] * len(places)
    for start, end, label in sorted(spans):
        touched = [word for word, (first, last) in enumerate(places) if first < end and last > start]
        if not touched:
            repairs["spans without a word left out"] += 1
            continue
        if any(tags[word] != OUTSIDE for word in touched):
            repairs["spans that overlap another left out"] += 1
            continue
        if places[touched[0]][0] < start or places[touched[-1]][1] > end:
            repairs["spans widened to whole words"] += 1
        for word in touched:
            tags[word] = f"{'B' if word == touched[0] else 'I'}-{label}"
    return [text[first:last] for first, last in places], tags


def word_places(text: str) -> list[tuple[int, int]]:
    """Return start and end of each word: text between white space, less the punctuation and symbols at its ends.

    Each of those is a word of its own. Marks inside a word, as in `ng'ombe` and `dị-iche`, stay.
    """
    places = []
    for match in re.finditer(r"\S+", text):
        start, end = match.span()
        while start < end and _is_punctuation(text[start]):
            places.append((start, start + 1))
            start += 1
        last = end
        while end > start and _is_punctuation(text[end - 1]):
            end -= 1
        if start < end:
            places.append((start, end))
        places += [(place, place + 1) for place in range(end, last)]
    return places


def split_words(line: str) -> list[str]:
    """Split a sentence into the words of `word_places`."""
    return [line[start:end] for start, end in word_places(line)]


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"
