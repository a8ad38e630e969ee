"""Parallel text: pairs of sentences with one meaning in two languages, as MAFAND-MT publishes them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_afro.corpora.reading import read_lines
from hf_afro.evaluation.data.task_data import sampled_places
from hf_afro.languages import find_language, find_languages
from hf_afro.reports.published_sets import key_of_folder
from hf_afro.tasks import BITEXT

EVALUATED = ("dev", "test")
"""The splits that nothing may be trained on."""
_SPLIT = "test"


@dataclass(frozen=True)
class ParallelText:
    """Sentences of a language and their translations.

    Attributes:
        language: ISO 639-3 code.
        other: ISO 639-3 code of the language of the translations.
        dataset: The name of the text with both languages, such as `mafand/swa-eng`.
        pairs: A sentence and its translation each. No sentence occurs twice, so that each has one right answer.
        numbers: The line of each pair in its files, from 0.
        left_out: How many lines were left out, by reason.
        files: The file of each language.
    """

    language: str
    other: str
    dataset: str
    pairs: Sequence[tuple[str, str]] = field(repr=False)
    numbers: Sequence[int] = field(repr=False)
    left_out: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The key of the text in a report, such as `bitext/swa`."""
        return f"{BITEXT}/{self.language}"

    @property
    def provenance(self) -> dict[str, Any]:
        """The provenance of the text, as reports hold it."""
        return {
            "dataset": self.dataset,
            "files": dict(self.files),
            "sizes": {_SPLIT: len(self.pairs)},
            "fingerprints": {_SPLIT: self.fingerprint},
            "left_out": dict(self.left_out),
        }

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the pairs in order."""
        return hashlib.sha256(json.dumps(self.pairs).encode()).hexdigest()

    def limited(self, size: int | None, seed: int = 0) -> ParallelText:
        """Return a random sample of at most so many pairs, in their original order; None for all."""
        chosen = sampled_places(len(self.pairs), size, seed)
        if len(chosen) == len(self.pairs):
            return self
        return dataclasses.replace(
            self,
            pairs=[self.pairs[index] for index in chosen],
            numbers=[self.numbers[index] for index in chosen],
        )


def read_parallel(folder: str | os.PathLike[str], languages: Iterable[str] | None = None) -> list[ParallelText]:
    """Read the test split of parallel text.

    Args:
        folder: One folder per language, named by its code, with two files of as many lines, named by the codes of
            their languages: ``swa/test.swa`` and ``swa/test.en``.
        languages: Only these, in any code; by default all.

    Returns:
        One text per language, sorted by code. Empty lines and sentences that occurred before are left out with their
        translation, and counted.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If a language is missing or there are none, or files are not as described.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder; expected one that holds folders such as swa")
    wanted = None if languages is None else find_languages(languages)
    found = {code: path for path in sorted(root.iterdir()) if path.is_dir() and (code := _code_of(path.name))}
    files = {code: own for code, path in found.items() if (own := _files_in(path))}
    missing = [code for code in wanted or () if code not in files]
    if missing or not files:
        there = ", ".join(files) or "none"
        raise ValueError(
            f"{root} has no parallel text for {', '.join(missing) or 'any language'}; its languages are: {there}. "
            "Expected two files per language, such as swa/test.swa and swa/test.en"
        )
    return [_read(root, code, own) for code, own in sorted(files.items()) if wanted is None or code in wanted]


def is_parallel(folder: str | os.PathLike[str]) -> bool:
    """Tell whether a folder holds parallel text, as `read_parallel` describes it."""
    root = Path(folder)
    folders = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    # Of a set with one file per split, the ending might be taken for a language: there is one called txt.
    return any(_code_of(path.name) in (files := _files_in(path)) and len(files) == 2 for path in folders)


def _code_of(name: str) -> str:
    """Return the ISO 639-3 code of a name; empty if it names no language."""
    try:
        return find_language(name).iso639_3
    except ValueError:
        return ""


def _files_in(folder: Path, split: str = _SPLIT) -> dict[str, Path]:
    """Return the files of a split by the code of their language."""
    return {code: path for path in sorted(folder.glob(f"{split}.*")) if (code := _code_of(path.suffix[1:]))}


def evaluated_sentences(folder: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Return the dev and test sentences of parallel text in both languages, by the name of the text.

    Raises:
        ValueError: If a file is not UTF-8.
    """
    root = Path(folder)
    found: dict[str, list[str]] = {}
    for path in sorted(path for path in root.iterdir() if path.is_dir() and _code_of(path.name)):
        for split in EVALUATED:
            for file in _files_in(path, split).values():
                found.setdefault(f"{key_of_folder(root)}/{_code_of(path.name)}", []).extend(read_lines(file))
    return found


def _read(root: Path, language: str, files: Mapping[str, Path]) -> ParallelText:
    names = ", ".join(path.name for path in files.values())
    if len(files) != 2 or language not in files:
        raise ValueError(
            f"{root} has the files {names} for {language}; expected two, {_SPLIT}.{language} and that of the "
            "translations, such as test.en"
        )
    other = next(code for code in files if code != language)
    first, second = ([line.strip() for line in read_lines(files[code])] for code in (language, other))
    if len(first) != len(second):
        raise ValueError(
            f"{files[language]} has {len(first):,} lines and {files[other]} {len(second):,}; expected as many, since "
            "a sentence and its translation are in the same line"
        )
    pairs: dict[int, tuple[str, str]] = {}
    seen: tuple[set[str], set[str]] = (set(), set())
    left_out: Counter[str] = Counter()
    for number, pair in enumerate(zip(first, second, strict=True)):
        if not all(pair):
            left_out["lines without a sentence or its translation"] += 1
        elif any(text in known for text, known in zip(pair, seen, strict=True)):
            left_out["sentences that occurred before"] += 1
        else:
            pairs[number] = pair
            for text, known in zip(pair, seen, strict=True):
                known.add(text)
    if len(pairs) < 2:
        raise ValueError(f"{files[language]} has {len(pairs)} pairs with a translation; expected at least 2")
    return ParallelText(
        language=language,
        other=other,
        dataset=f"{key_of_folder(root)}/{language}-{other}",
        pairs=list(pairs.values()),
        numbers=list(pairs),
        left_out=dict(left_out),
        files={code: f"{path.parent.name}/{path.name}" for code, path in files.items()},
    )
