"""`SetDescription`: where a set of one's own lies and what is what in it, written in a few lines of YAML.

```yaml
name: council
task: ner                       # ner, pos, topic, sentiment, nli; or spans, tags, texts, pairs
files:
  train: "{language}/train.conll"
  dev: "{language}/dev.conll"
  test: "{language}/test.conll"
languages: {swa: kiswahili}     # what stands for {language}; see below
columns: {tokens: 0, tags: 3}   # names in tables, places in CoNLL
scheme: iob1
labels: {PERSON: PER, PLACE: LOC, MISC: O}
```

`languages:` says which languages the set has. A mapping gives what stands in the place of `{language}` for each:
`{swa: kiswahili}`. A list gives codes that stand there as they are written: `[swh_Latn, gaz_Latn]`. Without it any
language is tried, in the place of `{language}` first the code as it is asked for, then the others there are for that
language (ISO 639-3, the tag, aliases, ISO 639-1), and the first is taken whose test split exists.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hf_afro.evaluation.data.examples import Columns, Labels
from hf_afro.evaluation.data.formats import SCHEMES, ConllForm
from hf_afro.evaluation.data.kinds import kind_of
from hf_afro.evaluation.data.tables import TableForm
from hf_afro.files import read_limited
from hf_afro.languages import find_language, find_languages
from hf_afro.nearest import nearest

FORMATS = ("conll", "tsv", "csv", "jsonl", "parquet")
_SUFFIXES = {".txt": "conll", ".iob": "conll", ".bio": "conll", ".json": "jsonl", ".ndjson": "jsonl"}
_SPLITS = ("train", "dev", "test")
_LONGEST = 1 << 20  # bytes
_WORDS = {"tab": "\t", "space": " ", "comma": ",", "semicolon": ";"}


@dataclass(frozen=True)
class SetDescription:
    """A set of one task, in files a split or in a repository of the Hub.

    Attributes:
        name: What it is called.
        task: A name of `hf_afro.evaluation.data.kinds.KINDS`.
        files: The file of each split, `{language}` standing for the language; on the Hub a pattern.
        format: `conll`, `tsv`, `csv`, `jsonl` or `parquet`; by default what the files end in.
        languages: By ISO 639-3 code, what stands in the place of `{language}`; empty for any language, see `names_of`.
        columns: Of a table, see `Columns`.
        separator: Between columns: a character, or `tab`, `space`, `comma`, `semicolon`.
        quoted: Whether quotes have a meaning in `tsv` and `csv`.
        header: Names of the columns of a table that does not begin with them.
        places: Of `conll`, the places of token and tag, from 0 or from the end; None for the only two.
        scheme: Of tags: `iob2`, `iob1`, `bioes` or `none`.
        comment: What lines of `conll` begin with that are no part of a sentence.
        labels: From labels as written to what they are called.
        unseen_labels: Whether dev and test may have labels that train has not.
        repository: On the Hub; empty for files.
        revision: Of the repository.
    """

    name: str
    task: str
    files: Mapping[str, str]
    format: str = ""
    languages: Mapping[str, str] = field(default_factory=dict)
    columns: Columns = Columns()
    separator: str = ""
    quoted: bool = True
    header: tuple[str, ...] = ()
    places: tuple[int, int] | None = None
    scheme: str = ""
    comment: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    unseen_labels: bool = False
    repository: str = ""
    revision: str = ""

    def __post_init__(self) -> None:
        kind = kind_of(self.task)
        missing = [split for split in _SPLITS if split not in self.files]
        if missing:
            raise ValueError(f"{self.name}: `files:` has no {', '.join(missing)}; a set needs {', '.join(_SPLITS)}")
        _known("split", list(self.files), _SPLITS, self.name)
        if self.format_of("test") not in FORMATS:
            raise ValueError(
                f"{self.name}: {self.files['test']!r} ends in no format; say `format:`, {_either(FORMATS)}"
            )
        scheme = self.scheme or ("iob2" if kind.spans else "none")
        if scheme not in SCHEMES or (scheme == "none") == kind.spans:
            fitting = [name for name in SCHEMES if (name == "none") != kind.spans]
            raise ValueError(f"{self.name}: scheme is {scheme!r}; of {self.task} expected {_either(fitting)}")
        object.__setattr__(self, "scheme", scheme)
        if self.format_of("test") == "conll" and not kind.tagged:
            raise ValueError(f"{self.name}: conll has a label a word, and {self.task} one a text; expected a table")

    def format_of(self, split: str) -> str:
        """Return the format of a split's file."""
        suffix = Path(self.files[split]).suffix.lower()
        return self.format or _SUFFIXES.get(suffix, suffix.removeprefix("."))

    def names_of(self, language: str) -> tuple[str, ...]:
        """Return what may stand for a language in the names of files: what is said, or any of its codes.

        Args:
            language: In any code, which comes first where any will do.

        Raises:
            ValueError: If the set has not that language.
        """
        known = find_language(language)
        code = known.iso639_3
        if self.languages and code not in self.languages:
            raise ValueError(f"{self.name} has no {code}; its languages are {', '.join(self.languages)}")
        if self.languages:
            return (self.languages[code],)
        if not any("{language}" in file for file in self.files.values()):
            return (code,)
        bare = known.tag.partition("_")[0]
        codes = (language.strip(), code, known.tag, bare, *known.aliases, known.iso639_1)
        return tuple(dict.fromkeys(name for name in codes if name))

    def file_of(self, split: str, name: str) -> str:
        """Return the file of a split, or the pattern on the Hub, with a name in the place of the language."""
        return self.files[split].replace("{language}", name)

    @property
    def conll_form(self) -> ConllForm:
        """How lines of tagged words are read."""
        # A tab that is said to be the separator leaves spaces in tokens; spaces are blanks of any kind and number.
        separator = None if self.separator in ("", " ") else self.separator
        if self.places is None:
            return ConllForm(separator=separator, scheme=self.scheme, comment=self.comment)
        return ConllForm(*self.places, None, separator, self.scheme, self.comment)

    @property
    def table_form(self) -> TableForm:
        """How tables are read."""
        return TableForm(self.format_of("test"), self.separator, self.quoted, self.header)

    @property
    def label_form(self) -> Labels:
        """How labels are written."""
        return Labels(self.labels, self.scheme)


def read_description(path: str | os.PathLike[str]) -> SetDescription:
    """Read a description from YAML.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no YAML, or says what cannot be; the message names the nearest right word.
    """
    try:
        facts = yaml.safe_load(read_limited(path, _LONGEST))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(facts, dict):
        raise ValueError(f"{path} holds no description; expected `name:`, `task:` and `files:`")
    return describe(facts, str(path))


def describe(facts: Mapping[str, Any], source: str = "the description") -> SetDescription:
    """Make a description of what YAML holds; see the module for the keys.

    Raises:
        ValueError: If a key or a value cannot be; the message names the nearest right word.
    """
    fields = [one.name for one in dataclasses.fields(SetDescription) if one.name != "places"]
    _known("key", list(facts), fields, source)
    needed = [name for name in ("name", "task", "files") if not facts.get(name)]
    if needed:
        raise ValueError(f"{source}: no {', '.join(needed)}; a description needs name, task and files")
    values = dict(facts)
    for name in ("name", "task", "format", "separator", "scheme", "comment", "repository", "revision"):
        if name in values and not isinstance(values[name], str):
            raise ValueError(f"{source}: {name} is {values[name]!r}; expected text")
    for name in ("quoted", "unseen_labels"):
        if name in values and not isinstance(values[name], bool):
            raise ValueError(f"{source}: {name} is {values[name]!r}; expected true or false")
    values["separator"] = _WORDS.get(values.get("separator", ""), values.get("separator", ""))
    values["files"] = _texts(values["files"], "files", source)
    values["languages"] = _languages(values.get("languages") or {}, source)
    values["labels"] = _label_names(values.get("labels") or {}, source)
    values["header"] = tuple(values.get("header") or ())
    columns = values.pop("columns", None) or {}
    if not isinstance(columns, dict):
        raise ValueError(f"{source}: columns is {columns!r}; expected such as {{text: tweet, label: label}}")
    return SetDescription(**values, **_columns(columns, source))


def _columns(columns: dict[str, Any], source: str) -> dict[str, Any]:
    known = [one.name for one in dataclasses.fields(Columns)]
    _known("column", list(columns), known, source)
    numbers = {name: place for name, place in columns.items() if isinstance(place, int)}
    if numbers:
        if set(columns) - set(numbers) or set(numbers) - {"tokens", "tags"}:
            raise ValueError(f"{source}: columns are {columns}; expected names, or places of tokens and tags")
        return {"places": (numbers.get("tokens", 0), numbers.get("tags", -1))}
    text = columns.get("text")
    named = {**columns, **({} if text is None else {"text": (text,) if isinstance(text, str) else tuple(text)})}
    wrong = [name for name, value in named.items() if name != "text" and not isinstance(value, str)]
    if wrong:
        raise ValueError(f"{source}: the column of {wrong[0]} is {named[wrong[0]]!r}; expected a name")
    return {"columns": Columns(**named)}


def _languages(languages: Any, source: str) -> dict[str, str]:
    pairs = languages if isinstance(languages, dict) else {code: code for code in _list(languages, source)}
    found = find_languages(str(code) for code in pairs)
    return {code: str(folder) for code, folder in zip(found, pairs.values(), strict=True)}


def _list(value: Any, source: str) -> list[Any]:
    if isinstance(value, list):
        return value
    raise ValueError(f"{source}: languages is {value!r}; expected a list of codes, or a mapping from codes")


def _label_names(labels: Any, source: str) -> dict[str, str]:
    if isinstance(labels, list):
        labels = dict(enumerate(labels))
    if not isinstance(labels, dict):
        raise ValueError(f"{source}: labels is {labels!r}; expected such as {{0: negative, 1: positive}}")
    for word in (*labels, *labels.values()):
        if isinstance(word, bool) or not isinstance(word, str | int):
            raise ValueError(
                f"{source}: labels has {word!r}; YAML reads words such as no and on so, put them in quotes"
            )
    return {str(label): str(name) for label, name in labels.items()}


def _texts(value: Any, name: str, source: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError(f"{source}: {name} is {value!r}; expected a text each, by split")
    return value


def _known(what: str, names: list[Any], known: Any, source: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{source}: no {what} {name!r}; {nearest(name, known)}")


def _either(names: Any) -> str:
    return " or ".join([", ".join([*names][:-1]), [*names][-1]]) if len(names) > 1 else next(iter(names))
