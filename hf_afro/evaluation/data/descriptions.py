"""`SetDescription`: the location and layout of a set of your own, written in a few lines of YAML.

```yaml
name: council
task: ner                       # a name in hf_afro.tasks.KINDS
files:
  train: "{language}/train.conll"
  dev: "{language}/dev.conll"
  test: "{language}/test.conll"
languages: {swa: kiswahili}     # replaces {language}; see below
columns: {tokens: 0, tags: 3}   # names in tables (see `Columns`), numbers in CoNLL
scheme: iob1
labels: {PERSON: PER, PLACE: LOC, MISC: O}
```

`languages:` lists the languages of the set. A mapping gives the text that replaces `{language}` for each, such as
`{swa: kiswahili}`; a list gives codes that are used as written, such as `[swh_Latn, gaz_Latn]`. Without it any
language is accepted, and its codes are tried in turn: the code as requested, then ISO 639-3, the tag, aliases and
ISO 639-1 and, in a folder, any other code of it that a file is named by. The first one whose test split exists is
taken.
"""

from __future__ import annotations

import dataclasses
import glob
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hf_afro.evaluation.data.conll import SCHEMES, ConllForm
from hf_afro.evaluation.data.tables import Columns, Labels, TableForm
from hf_afro.evaluation.data.task_data import SPLITS
from hf_afro.files import read_limited
from hf_afro.languages import Language, find_language, find_languages
from hf_afro.messages import nearest
from hf_afro.tasks import kind_of

FORMATS = ("conll", "tsv", "csv", "jsonl", "parquet")
_SUFFIXES = {".txt": "conll", ".iob": "conll", ".bio": "conll", ".json": "jsonl", ".ndjson": "jsonl"}
_LONGEST = 1 << 20  # bytes
_WORDS = {"tab": "\t", "space": " ", "comma": ",", "semicolon": ";"}


@dataclass(frozen=True)
class SetDescription:
    """A set for one task, in local files or in a repository on the Hub.

    Attributes:
        name: Its name in reports.
        task: A name in `hf_afro.tasks.KINDS`.
        files: The file of each split, with `{language}` for the language; on the Hub a pattern.
        format: `conll`, `tsv`, `csv`, `jsonl` or `parquet`; by default from the suffix of the files.
        languages: By ISO 639-3 code, the replacement of `{language}`; empty for any language, see `names_of`.
        columns: The columns of a table.
        separator: Between columns: a character, or `tab`, `space`, `comma`, `semicolon`.
        quoted: Whether cells of `tsv` and `csv` may be quoted.
        header: The names of the columns, for tables without a header line.
        places: The columns of token and tag in `conll`, from 0 or from the end; None for the only two.
        scheme: Of the tags: `iob2`, `iob1`, `bioes` or `none`; by default `iob2` for spans.
        comment: Prefix of lines to skip in `conll`.
        labels: From labels as written to the names to use.
        unseen_labels: Whether dev and test may have labels that train lacks.
        repository: On the Hub; empty for local files.
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
        missing = [split for split in SPLITS if split not in self.files]
        if missing:
            raise ValueError(f"{self.name}: `files:` lacks {', '.join(missing)}; expected {', '.join(SPLITS)}")
        _check_known("split", list(self.files), SPLITS, self.name)
        if self.format_of("test") not in FORMATS:
            raise ValueError(
                f"{self.name}: the format of {self.files['test']!r} is unknown; set `format:` to {_either(FORMATS)}"
            )
        scheme = self.scheme or ("iob2" if kind.spans else "none")
        if scheme not in SCHEMES or (scheme == "none") == kind.spans:
            fitting = [name for name in SCHEMES if (name == "none") != kind.spans]
            raise ValueError(f"{self.name}: scheme is {scheme!r}; expected {_either(fitting)} for {self.task}")
        object.__setattr__(self, "scheme", scheme)
        if self.format_of("test") == "conll" and not kind.tagged:
            raise ValueError(f"{self.name}: conll has one label per word, but {self.task} one per text; use a table")

    def format_of(self, split: str) -> str:
        """Return the format of a split's file."""
        suffix = Path(self.files[split]).suffix.lower()
        return self.format or _SUFFIXES.get(suffix, suffix.removeprefix("."))

    def names_of(self, language: Language, given: str = "") -> tuple[str, ...]:
        """Return what may replace `{language}` in file names: the one given in `languages`, or any of its codes.

        Args:
            language: The language.
            given: The code that was asked for, which is tried first where any will do.

        Raises:
            ValueError: If the set lacks the language.
        """
        code = language.iso639_3
        if self.languages:
            if code not in self.languages:
                raise ValueError(f"{self.name} has no {code}; its languages are {', '.join(self.languages)}")
            return (self.languages[code],)
        if not any("{language}" in file for file in self.files.values()):
            return (code,)
        bare = language.tag.partition("_")[0]
        codes = (given.strip(), code, language.tag, bare, *language.aliases, language.iso639_1)
        return tuple(dict.fromkeys(name for name in codes if name))

    def names_in(self, folder: Path, language: Language, given: str = "") -> tuple[str, ...]:
        """Return `names_of` a language, then every other code of it that test files in a folder are named by."""
        names = self.names_of(language, given)
        if self.languages:
            return names
        others = [name for name in self.files_in(folder, "test") if name and _is_code_of(language, name)]
        return tuple(dict.fromkeys([*names, *others]))

    def files_in(self, folder: Path, split: str) -> dict[str, Path]:
        """Return the files of a split in a folder, by what replaces `{language}` in their names, sorted."""
        pattern, language = str(folder / self.files[split]), re.escape("{language}")
        form = re.escape(pattern).replace(language, "(?P<name>[^/]+)", 1).replace(language, "(?P=name)")
        found = {}
        for path in sorted(glob.glob(glob.escape(pattern).replace("{language}", "*"))):
            if match := re.fullmatch(form, path):
                found[match.groupdict().get("name", "")] = Path(path)
        return found

    def file_of(self, split: str, name: str) -> str:
        """Return the file or pattern of a split, with `{language}` replaced by a name."""
        return self.files[split].replace("{language}", name)

    @property
    def conll_form(self) -> ConllForm:
        """The layout of CoNLL files."""
        # An explicit tab leaves spaces in tokens; an explicit space is any white space.
        separator = None if self.separator in ("", " ") else self.separator
        if self.places is None:
            return ConllForm(separator=separator, scheme=self.scheme, comment=self.comment)
        return ConllForm(*self.places, None, separator, self.scheme, self.comment)

    @property
    def table_form(self) -> TableForm:
        """The layout of tables."""
        return TableForm(self.format_of("test"), self.separator, self.quoted, self.header)

    @property
    def label_form(self) -> Labels:
        """The names of labels."""
        return Labels(self.labels, self.scheme)


def is_description(path: Path) -> bool:
    """Tell whether a path is that of a set's description, which is a file of YAML."""
    return path.suffix.lower() in (".yaml", ".yml") and not path.is_dir()


def described_files(path: Path) -> list[Path]:
    """Return the data files on this machine that a set's description names; none if the path is something else.

    Raises:
        ValueError: If it is a description that cannot be read.
    """
    if not is_description(path) or (description := read_description(path)).repository:
        return []
    return [file for split in SPLITS for file in description.files_in(path.parent, split).values()]


def _is_code_of(language: Language, name: str) -> bool:
    try:
        return find_language(name).iso639_3 == language.iso639_3
    except ValueError:
        return False


def read_description(path: str | os.PathLike[str]) -> SetDescription:
    """Read a description from a YAML file.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not YAML, or a key or value is invalid; see `describe`.
    """
    try:
        facts = yaml.safe_load(read_limited(path, _LONGEST))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(facts, dict):
        raise ValueError(f"{path} holds no description; expected `name:`, `task:` and `files:`")
    return describe(facts, str(path))


def describe(facts: Mapping[str, Any], source: str = "the description") -> SetDescription:
    """Make a description from the content of its YAML; see the module for the keys.

    Raises:
        ValueError: If a key or value is invalid; for an unknown key the message names the nearest one.
    """
    fields = [one.name for one in dataclasses.fields(SetDescription) if one.name != "places"]
    _check_known("key", list(facts), fields, source)
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
    files = values["files"]
    if not isinstance(files, dict) or not all(isinstance(file, str) for file in files.values()):
        raise ValueError(f"{source}: files is {files!r}; expected one file name per split")
    values["separator"] = _WORDS.get(values.get("separator", ""), values.get("separator", ""))
    values["languages"] = _languages(values.get("languages") or {}, source)
    values["labels"] = _label_names(values.get("labels") or {}, source)
    values["header"] = tuple(values.get("header") or ())
    columns = values.pop("columns", None) or {}
    if not isinstance(columns, dict):
        raise ValueError(f"{source}: columns is {columns!r}; expected a mapping such as {{text: tweet, label: label}}")
    return SetDescription(**values, **_columns(columns, source))


def _columns(columns: dict[str, Any], source: str) -> dict[str, Any]:
    _check_known("column", list(columns), [one.name for one in dataclasses.fields(Columns)], source)
    numbers = {name: place for name, place in columns.items() if isinstance(place, int)}
    if numbers:
        if set(columns) - set(numbers) or set(numbers) - {"tokens", "tags"}:
            raise ValueError(f"{source}: columns are {columns}; expected names, or numbers for tokens and tags")
        return {"places": (numbers.get("tokens", 0), numbers.get("tags", -1))}
    named: dict[str, Any] = {}
    for name, value in columns.items():
        several = name in ("text", "labels")
        values = value if several and isinstance(value, list) else [value]
        if not values or not all(isinstance(one, str) for one in values):
            expected = "a name, or a list of names" if several else "a name"
            raise ValueError(f"{source}: the column of {name} is {value!r}; expected {expected}")
        named[name] = tuple(values) if several else value
    return {"columns": Columns(**named)}


def _languages(languages: Any, source: str) -> dict[str, str]:
    if not isinstance(languages, dict | list):
        raise ValueError(
            f"{source}: languages is {languages!r}; expected a list of codes, or a mapping from codes to folders"
        )
    pairs = languages if isinstance(languages, dict) else {code: code for code in languages}
    found = find_languages(str(code) for code in pairs)
    return {code: str(folder) for code, folder in zip(found, pairs.values(), strict=True)}


def _label_names(labels: Any, source: str) -> dict[str, str]:
    if isinstance(labels, list):
        labels = dict(enumerate(labels))
    if not isinstance(labels, dict):
        raise ValueError(
            f"{source}: labels is {labels!r}; expected a mapping such as {{0: negative, 1: positive}}, or a list"
        )
    for word in (*labels, *labels.values()):
        if isinstance(word, bool) or not isinstance(word, str | int):
            raise ValueError(
                f"{source}: labels has {word!r}; quote words such as no and on, which YAML reads as booleans"
            )
    return {str(label): str(name) for label, name in labels.items()}


def _check_known(what: str, names: list[Any], known: Sequence[str], source: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{source}: unknown {what} {name!r}; {nearest(name, known)}")


def _either(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]])
