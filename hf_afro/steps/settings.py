"""Settings of the steps: fields of a dataclass, each described once by its type, default, help text and limits.

Command lines, `--config` files, recipes, `--help` and the reference of the docs are generated from these fields by
transformers' `HfArgumentParser`, which reads the type and the help text, and also takes the fields of the trainers'
arguments as they are. What it does not support is written into the type, as in ``Annotated[int, Limits(low=1)]``.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from hf_afro.languages import find_languages, languages_in

LANGUAGE_SETS = ("afroxlmr", "antc", "masakhaner1", "masakhaner2", "masakhanews", "afrisenti", "masakhapos")


@dataclass(frozen=True)
class Limits:
    """Bounds of a number, or of each number of a list; `low` and `high` are allowed, `above` and `below` are not."""

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None

    def describe(self) -> str:
        """Return the bounds in words, as in "at least 1 and at most 5"."""
        words = {"low": "at least", "high": "at most", "above": "more than", "below": "less than"}
        given = ((text, getattr(self, name)) for name, text in words.items())
        return " and ".join(f"{text} {limit:g}" for text, limit in given if limit is not None)

    def allow(self, value: float) -> bool:
        """Tell whether a number is within the bounds; NaN never is."""
        return (
            value == value
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


@dataclass(frozen=True)
class Input:
    """Marks a setting that names files or folders to read; their content, not their name, decides the result.

    Attributes:
        gives: The kind of result of an earlier stage that a recipe may name here, such as `model`.
        or_gives: Another kind that it may name.
        default: Whether a recipe that leaves the setting out uses the last such stage before it.
        is_model: Whether it is the folder of a model: subfolders, which are checkpoints, do not count, and an adapter
            in its place is refused.
        must_exist: Whether it is a file or folder on this machine, and never the name of something on the Hub.
        files: Returns the files that such a file names, as a set's description does; their content counts too.
        replaceable: Whether it may lie in the folder that is written, where the result replaces it.
        names: Names that may be given instead of a file or folder.
    """

    gives: str = ""
    or_gives: str = ""
    default: bool = False
    is_model: bool = False
    must_exist: bool = True
    files: Callable[[Path], list[Path]] | None = None
    replaceable: bool = False
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Languages:
    """Marks a list of languages: codes, tags and names of `LANGUAGE_SETS`, which commas may separate.

    The setting holds ISO 639-3 codes, so that whatever reads it compares codes and asks for no language.

    Attributes:
        or_all: Whether the word `all` may stand alone instead.
    """

    or_all: bool = False


@dataclass(frozen=True)
class Words:
    """Marks a list of names that commas may separate."""


@dataclass(frozen=True)
class NoEffect:
    """Marks a setting without effect on the result: work can be resumed and stays up to date if it changes."""


Model = Annotated[str, Input("model", default=True, is_model=True, must_exist=False)]
OptionalModel = Annotated[str | None, Input("model", is_model=True, must_exist=False)]
OptionalPath = Annotated[str | None, Input()]
OptionalLanguages = Annotated[list[str] | None, Languages()]


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """Base of the settings of a step; creating one checks every limit, and reads no file."""

    def __post_init__(self) -> None:
        """Check the limits, split lists of names, and turn languages into ISO 639-3 codes.

        Raises:
            ValueError: If a value is outside its limits, or a language is unknown or named twice.
        """
        for name, markers in markers_of(type(self)).items():
            if getattr(self, name) is not None:
                object.__setattr__(self, name, checked_value(name, getattr(self, name), markers))


def checked_value(name: str, value: Any, markers: tuple[Any, ...]) -> Any:
    """Return the value of a setting as a step sees it: checked, lists split, languages as ISO 639-3 codes.

    Raises:
        ValueError: If it is outside its limits, or a language is unknown or named twice.
    """
    for marker in markers:
        if isinstance(marker, Limits):
            _check_limits(name, value, marker)
        elif isinstance(marker, Words):
            value = split_words(name, value)
        elif isinstance(marker, Languages):
            words = split_words(name, value)
            value = words if marker.or_all and words == ["all"] else codes_of(words)
    return value


def markers_of(kind: type) -> dict[str, tuple[Any, ...]]:
    """Return the annotations of each field's type, by the field's name."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: getattr(hints[field.name], "__metadata__", ()) for field in dataclasses.fields(kind)}


def inputs_of(config: Any) -> Iterator[tuple[str, Input, list[str]]]:
    """Yield the settings that name something to read: name, marker and values; those not given are left out."""
    for name, markers in markers_of(type(config)).items():
        value = getattr(config, name)
        for marker in markers:
            if isinstance(marker, Input) and value not in (None, []):
                yield name, marker, value if isinstance(value, list) else [value]


def place_of(word: str) -> str:
    """Return the place in a value that may be given as ``name=place``."""
    name, equals, place = word.partition("=")
    return place if equals and is_folder_name(name) else word


def is_folder_name(word: str) -> bool:
    """Tell whether a word can be the name of a folder: letters, digits, `-`, `_` and, not first, `.`."""
    return word.replace("-", "").replace("_", "").replace(".", "").isalnum() and not word.startswith(".")


def split_words(name: str, value: list[str]) -> list[str]:
    """Return the words of a list whose entries may hold several with commas between them.

    Raises:
        ValueError: If there is none.
    """
    words = [word for entry in value for word in str(entry).replace(",", " ").split()]
    if not words:
        raise ValueError(f"{name} names nothing; expected names, or leave it out")
    return words


def codes_of(words: list[str]) -> list[str]:
    """Return the ISO 639-3 codes of language codes, tags and names of sets, in order and each once.

    Raises:
        ValueError: If a word is neither, or two codes name one language.
    """
    named = find_languages(word for word in words if word not in LANGUAGE_SETS)
    code_of = {word: code for code, word in named.items()}
    groups = (languages_in(word) if word in LANGUAGE_SETS else (code_of[word],) for word in words)
    return list(dict.fromkeys(code for group in groups for code in group))


def _check_limits(name: str, value: Any, limits: Limits) -> None:
    for one in value if isinstance(value, list) else [value]:
        if not limits.allow(one):
            raise ValueError(f"{name} is {one:g}; expected {limits.describe()}")
