"""From rows of a table to examples: which columns hold text and labels, and what is done about those that do not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hf_afro.evaluation.data.formats import SCHEMES, Example, Repairs, Tagged, repaired_sentence
from hf_afro.evaluation.data.kinds import TaskKind
from hf_afro.evaluation.data.tables import Row


@dataclass(frozen=True)
class Columns:
    """The names of the columns of a table.

    Attributes:
        text: Of the text; of several, those that hold something are joined by line feeds.
        text_pair: Of the second text, where examples are pairs.
        label: Of the label.
        tokens: Of the words of a sentence: a list, or a text with spaces between words.
        tags: Of their tags, in the same form.
    """

    text: tuple[str, ...] = ("text",)
    text_pair: str = "text_pair"
    label: str = "label"
    tokens: str = "tokens"
    tags: str = "tags"

    def needed(self, kind: TaskKind) -> tuple[str, ...]:
        """Return the columns that examples of a kind of task are made of."""
        if kind.tagged:
            return self.tokens, self.tags
        return (*self.text, self.text_pair, self.label) if kind.pairs else (*self.text, self.label)


@dataclass(frozen=True)
class Labels:
    """How labels are written.

    Attributes:
        names: From what stands in the file to what it is called here; of spans, whole tags or types alone, a type
            that is called `O` being no span. Empty for labels that are called what they are.
        scheme: Of tags, a name of `hf_afro.evaluation.data.formats.SCHEMES`.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    scheme: str = "iob2"

    def name(self, label: str, place: str) -> str:
        """Return what a label is called.

        Raises:
            ValueError: If there are names and none for it; the message gives the nearest.
        """
        if not self.names or label in self.names:
            return self.names.get(label, label)
        nearest = difflib.get_close_matches(label, self.names, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"{place}: no name for the label {label!r}; `labels:` has {', '.join(self.names)}{hint}")

    def tag(self, tag: str, place: str) -> str:
        """Return what a tag of spans is called: as a whole, or its letter with its type."""
        if not self.names or tag in self.names:
            return self.names.get(tag, tag)
        letter, dash, kind = tag.partition("-")
        if not dash:
            return tag if tag == "O" else self.name(tag, place)
        name = self.name(kind, place)
        return "O" if name == "O" else f"{letter}-{name}"


def examples_of(
    rows: Iterable[Row],
    kind: TaskKind,
    columns: Columns,
    labels: Labels,
    repairs: Repairs,
    numbers: list[int] | None = None,
) -> list[Example]:
    """Make examples of rows; rows without text are left out.

    Args:
        rows: The rows of a table.
        kind: What the task is made of.
        columns: Where text and labels stand.
        labels: How labels are written.
        repairs: What was repaired or left out is counted here.
        numbers: Gets the number of each example among the rows, from 0.

    Raises:
        ValueError: If a row has not the columns, no label, a value of another type than expected, or another number
            of tags than of words; the message names the line.
    """
    examples: list[Example] = []
    for number, (place, row) in enumerate(rows):
        missing = [name for name in columns.needed(kind) if name not in row]
        if missing:
            raise ValueError(
                f"{place}: has the columns {', '.join(map(str, row))}; expected {', '.join(missing)}. Name them with "
                "`columns:` in the set's description"
            )
        make = _tagged if kind.tagged else _pair if kind.pairs else _text
        example = make(place, row, columns, labels, repairs)
        if example is not None:
            examples.append(example)
            if numbers is not None:
                numbers.append(number)
    return examples


def _text(place: str, row: Mapping[str, Any], columns: Columns, labels: Labels, repairs: Repairs) -> Example | None:
    text = _joined(place, row, columns.text)
    label = _label(place, row[columns.label], labels, repairs)
    if text:
        return text, label
    repairs["rows without text dropped"] += 1
    return None


def _pair(place: str, row: Mapping[str, Any], columns: Columns, labels: Labels, repairs: Repairs) -> Example | None:
    pair = _joined(place, row, columns.text), _joined(place, row, (columns.text_pair,))
    label = _label(place, row[columns.label], labels, repairs)
    if all(pair):
        return pair, label
    repairs["pairs without one of their texts dropped"] += 1
    return None


def _joined(place: str, row: Mapping[str, Any], names: tuple[str, ...]) -> str:
    parts = [row[name] for name in names if row[name] is not None]
    for name, part in zip(names, parts, strict=False):
        if not isinstance(part, str):
            raise ValueError(f"{place}: {name!r} is {part!r}, of type {type(part).__name__}; expected text")
    return "\n".join(part for part in parts if part.strip())


def _label(place: str, value: Any, labels: Labels, repairs: Repairs) -> str:
    return labels.name(_written(place, value, repairs), place)


def _written(place: str, value: Any, repairs: Repairs) -> str:
    """A label as text: whole numbers and truth values may be labels, other numbers are none."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if value is None or value == "" or (isinstance(value, str) and not value.strip()):
        raise ValueError(f"{place}: no label; give one or leave the row out")
    if not isinstance(value, str):
        raise ValueError(f"{place}: the label is {value!r}, of type {type(value).__name__}; expected a name")
    if value != value.strip():
        repairs["labels with spaces around them"] += 1
    return value.strip()


def _tagged(place: str, row: Mapping[str, Any], columns: Columns, labels: Labels, repairs: Repairs) -> Tagged | None:
    tokens, written = (_listed(place, name, row[name]) for name in (columns.tokens, columns.tags))
    if len(tokens) != len(written):
        raise ValueError(f"{place}: {len(tokens)} words and {len(written)} tags; expected as many")
    for token in tokens:
        if not isinstance(token, str):
            raise ValueError(f"{place}: a word is {token!r}, of type {type(token).__name__}; expected text")
    tags = [_written(place, tag, repairs) for tag in written]
    plain = labels.scheme == "none"
    tags = [labels.name(tag, place) if plain else labels.tag(tag, place) for tag in tags]
    wrong = next((tag for tag in tags if not SCHEMES[labels.scheme].fullmatch(tag)), None)
    if wrong is not None:
        raise ValueError(
            f"{place}: the tag {wrong!r} is none of {labels.scheme}; expected such as O, B-PER, I-PER. Give numbers "
            "their names with `labels:` in the set's description"
        )
    return repaired_sentence(tokens, tags, repairs, labels.scheme)


def _listed(place: str, name: str, value: Any) -> list[Any]:
    if isinstance(value, str):
        return value.split()
    if isinstance(value, list):
        return value
    raise ValueError(f"{place}: {name!r} is {value!r}; expected a list, or a text with spaces between words")
