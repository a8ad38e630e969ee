"""Where text comes from: one value a language that yields its lines, from files in a folder or from the Hub."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from hf_afro.corpora.files import SUFFIXES, Errors, check_errors, read_lines, suffix_of
from hf_afro.languages import find_language, find_languages

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextSource:
    """The text of one language, line by line, as often as wanted; never held in memory as a whole.

    A line ends at a line feed only: running text holds U+2028, U+0085 and carriage returns. Empty lines are yielded.

    Attributes:
        language: ISO 639-3.
        origin: Where the text is, for messages and provenance: a path, or a dataset with its configuration and split.
        open: Gives a fresh iterator over the lines.
        plain_bytes: The size of the text where it lies in plain files, None where that is not known before it is read.
    """

    language: str
    origin: str
    open: Callable[[], Iterator[str]] = field(repr=False, compare=False)
    plain_bytes: int | None = field(default=None, repr=False, compare=False)

    def __iter__(self) -> Iterator[str]:
        return self.open()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all lines in UTF-8, each with a line feed: the same text has the same one in any container.

        The text is gone through once, when the fingerprint is first asked for.
        """
        digest = hashlib.sha256()
        for line in self:
            digest.update(line.encode())
            digest.update(b"\n")
        return digest.hexdigest()


def read_corpora(
    source: str | os.PathLike[str], languages: Iterable[str] | None = None, *, errors: Errors = "fail"
) -> dict[str, TextSource]:
    """Open the texts of a folder that holds one file a language: ``swa.txt``, ``yor.jsonl.gz``, ``amh.parquet``.

    One such file by itself will do too. Where no file of the folder is text, its folders named by a language are
    read, all files in one being parts of a text, by name: ``swa/part-1.txt``, ``swa/part-2.txt``.

    The name before the suffix is a language code of any kind. Text files hold a line a sentence, paragraph or
    document; `.jsonl` and `.parquet` have a field `text`, and a text of several lines gives several lines. `.gz` and
    `.zst` may follow `.txt` and `.jsonl`. Files of other kinds are left alone.

    Args:
        source: The folder, or a file.
        languages: The languages wanted, in any code; all of the folder where None.
        errors: What is done with bytes that are not UTF-8: `fail` names file and line, `replace` puts U+FFFD, `skip`
            leaves the line out.

    Returns:
        One source a language, by ISO 639-3 code, sorted.

    Raises:
        FileNotFoundError: If there is no such folder or file.
        ValueError: If a code is unknown, a language is missing, empty, or named or there twice, or bytes are not
            UTF-8.
    """
    check_errors(errors)
    folder = Path(source)
    if not folder.is_dir() and not folder.is_file():
        raise FileNotFoundError(f"{folder} is no folder; expected one that holds files such as swa.txt")
    wanted = None if languages is None else find_languages(languages)
    there = [folder] if folder.is_file() else sorted(folder.iterdir())
    texts = [path for path in there if suffix_of(path) and path.is_file()]
    texts = texts or [path for path in there if path.is_dir() and _parts(path)]
    _tell_unread(folder, [path.name for path in there if path not in texts])
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
        language: _opened(language, path, errors)
        for language, path in sorted(places.items())
        if wanted is None or language in wanted
    }


def _tell_unread(folder: Path, names: list[str]) -> None:
    """Warn of those files and folders that are not read although a language's code is their name."""
    unread = [name for name in names if _is_code(name.partition(".")[0])]
    if unread:
        logger.warning(
            "%s: %s not read; text is in files that end in %s, or, where there is none, in folders of such files",
            folder,
            ", ".join(unread),
            ", ".join(SUFFIXES),
        )


def _is_code(name: str) -> bool:
    try:
        return bool(find_language(name))
    except ValueError:
        return False


def _parts(path: Path) -> list[Path]:
    """Return the files of a language's text: the file itself, or those in its folder."""
    if path.is_file():
        return [path]
    return sorted(part for part in path.iterdir() if suffix_of(part) and part.is_file())


def _opened(language: str, path: Path, errors: Errors) -> TextSource:
    parts = _parts(path)
    is_plain = all(part.suffix.lower() == ".txt" for part in parts)
    size = sum(part.stat().st_size for part in parts) if is_plain else None
    return _checked(TextSource(language, str(path), partial(_lines_of, parts, errors), size))


def _lines_of(parts: list[Path], errors: Errors) -> Iterator[str]:
    for part in parts:
        yield from read_lines(part, errors)


def load_hub(
    repository: str,
    languages: Iterable[str] | Mapping[str, str],
    *,
    split: str = "train",
    column: str = "text",
    streaming: bool = False,
    revision: str | None = None,
) -> dict[str, TextSource]:
    """Open the texts of a dataset that has one configuration a language, through `datasets.load_dataset`.

    Args:
        repository: The name on the Hub, or a local folder that `load_dataset` opens.
        languages: The configurations wanted, where they are named by a language code; or language to configuration.
        split: The split that is read.
        column: The column that holds the text; a text of several lines gives several lines.
        streaming: Read over the network while going through it, instead of a download first.
        revision: The commit, tag or branch; a commit makes the text repeatable.

    Returns:
        One source a language, by ISO 639-3 code, sorted.

    Raises:
        ValueError: If a code is unknown or named twice, a language is empty, or there is no such column.
    """
    # A second to import, and reading files needs none of it.
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


def _dataset_lines(dataset: Any, column: str, origin: str) -> Iterator[str]:
    for batch in dataset.with_format(None).iter(1000):
        for text in batch[column]:
            if not isinstance(text, str):
                raise ValueError(f"{origin} holds {text!r} in {column!r}; expected strings only")
            yield from text.split("\n")


def _language_of(path: Path) -> str:
    code = path.name if path.is_dir() else path.name[: -len(suffix_of(path) or "")]
    try:
        return find_language(code).iso639_3
    except ValueError as error:
        kind = "folder of text" if path.is_dir() else "text file"
        raise ValueError(
            f"{path}: a {kind} is named by its language. {error} Rename it, or move it out of the folder."
        ) from error


def _checked(source: TextSource) -> TextSource:
    """Refuse a source without any text, having read no further than to the first word."""
    if any(line.strip() for line in source):
        return source
    raise ValueError(f"{source.origin} has no text for {source.language!r}; leave the language out or give it text")
