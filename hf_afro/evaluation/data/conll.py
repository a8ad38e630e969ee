"""CoNLL files of tagged words, and the tag schemes IOB2, IOB1 and BIOES.

Nothing is changed silently: every repair and every dropped example is counted by name, and what cannot be read raises
an error that names file and line. Text is not normalised. Only a line feed ends a line, since news text holds U+2028.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OUTSIDE = "O"

Tagged = tuple[list[str], list[str]]
"""The tokens of a sentence and their tags by name."""

Example = tuple[Any, Any]
"""(text, label), ((text, text), label), or a tagged sentence; labels by name."""

Repairs = Counter[str]

SCHEMES = {
    "iob2": re.compile(r"O|[BI]-\S+"),
    "iob1": re.compile(r"O|[BI]-\S+"),
    "bioes": re.compile(r"O|[BIESLU]-\S+"),
    "none": re.compile(r"\S+"),
}
"""Pattern of a tag by scheme. IOB1 uses B- only between two spans of one type; `bioes` accepts BILOU letters too."""

_MARK = "\ufeff"
_LONGEST_TOKEN = 1000  # characters; the longest in the published sets has fewer than 80
_DOCUMENT = "-DOCSTART-"


@dataclass(frozen=True)
class ConllForm:
    """The layout of a CoNLL file.

    Attributes:
        tokens: Column of the token, from 0.
        tags: Column of the tag; -1 is the last.
        columns: The number of columns per line; None for any number that holds the two.
        separator: Between columns; None for spaces and tabs.
        scheme: Of the tags, a name in `SCHEMES`.
        comment: Prefix of lines to skip; empty for none.
    """

    tokens: int = 0
    tags: int = -1
    columns: int | None = 2
    separator: str | None = None
    scheme: str = "iob2"
    comment: str = ""


def read_text(path: Path, repairs: Repairs) -> str:
    """Return the text of a file without its byte order mark.

    Raises:
        ValueError: If the file is empty, is not UTF-8, holds a NUL byte, or ends its lines in bare carriage returns;
            the message names the line.
    """
    raw = path.read_bytes()
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{path} is UTF-16, as its first bytes say; convert the file to UTF-8")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: not UTF-8 ({error.reason}); convert the file to UTF-8") from error
    if text.startswith(_MARK):
        repairs["byte order marks dropped"] += 1
        text = text.removeprefix(_MARK)
    if not text.strip():
        raise ValueError(f"{path} is empty; expected examples")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"{path}, line {line}: contains a NUL byte; the file is damaged, download or write it again")
    if "\r" in text and "\n" not in text:
        raise ValueError(f"{path}: lines end in bare carriage returns; convert them to line feeds")
    if "\r\n" in text and path.suffix.lower() != ".csv":  # RFC 4180 asks for them there
        repairs["files with CRLF line endings"] += 1
    return text


def read_conll(
    path: Path,
    repairs: Repairs,
    form: ConllForm | None = None,
    rename: Callable[[str, str], str] | None = None,
    numbers: list[int] | None = None,
) -> list[Tagged]:
    """Read sentences with one token and its tag per line, separated by blank lines.

    A `-DOCSTART-` line ends a sentence and is left out. Spans that start with I- are changed to start with B-, as
    evaluation counts them. Lines without a token are dropped with their tags, and so are sentences made of such lines.

    Args:
        path: The file.
        repairs: Counts what was repaired.
        form: The layout; by default token and IOB2 tag, separated by a space or a tab.
        rename: Maps a tag, given with its place in the file, to the name to use.
        numbers: Receives, for each sentence returned, its number in the file, from 0, counting dropped ones.

    Raises:
        ValueError: If a line lacks a column, its tag is not in the scheme, or its token is implausibly long; or see
            `read_text`.
    """
    form = form or ConllForm()
    sentences: list[Tagged] = []
    met = 0
    tokens: list[str] = []
    tags: list[str] = []
    for number, line in enumerate([*read_text(path, repairs).split("\n"), ""], start=1):
        line = line.removesuffix("\r")
        if form.comment and line.startswith(form.comment):
            repairs["comment lines left out"] += 1
            continue
        starts_document = _starts_document(line, form)
        if line.strip() and not starts_document:
            token, tag = _token_and_tag(path, number, line, form, rename)
            tokens.append(token)
            tags.append(tag)
            continue
        if starts_document:
            repairs["document start lines left out"] += 1
        elif line:
            repairs["white-space lines taken as the end of a sentence"] += 1
        if tokens:
            sentence = repaired_sentence(tokens, tags, repairs, form.scheme)
            if sentence is not None:
                sentences.append(sentence)
                if numbers is not None:
                    numbers.append(met)
            met += 1
        tokens, tags = [], []
    return sentences


def _token_and_tag(
    path: Path, number: int, line: str, form: ConllForm, rename: Callable[[str, str], str] | None
) -> tuple[str, str]:
    columns, place = _columns(line, form), f"{path}, line {number}"
    example = "a tag" if form.scheme == "none" else "a tag such as O, B-PER or I-PER"
    received = f"{place}: received {line[:80]!r}; expected 'token tag' with {example}"
    wanted = form.columns or max(at + 1 if at >= 0 else -at for at in (form.tokens, form.tags))
    if form.columns and len(columns) > wanted:
        raise ValueError(
            f"{received}, not {len(columns)} columns; name the two to read with `columns:` in a description of the set"
        )
    if len(columns) < wanted:
        raise ValueError(received)
    token, tag = columns[form.tokens].strip(), columns[form.tags].strip()
    if rename is not None:
        tag = rename(tag, place)
    if not SCHEMES[form.scheme].fullmatch(tag):
        raise ValueError(received)
    if len(token) > _LONGEST_TOKEN:
        raise ValueError(
            f"{place}: a token of {len(token)} characters; expected one word per line of at most {_LONGEST_TOKEN} "
            "characters. Are line feeds missing?"
        )
    return token, tag


def _starts_document(line: str, form: ConllForm) -> bool:
    """Tell whether the first column or that of the token is the mark of a new document."""
    columns = _columns(line, form)
    return _DOCUMENT in (one.strip() for one in (*columns[:1], *columns[form.tokens :][:1]))


def _columns(line: str, form: ConllForm) -> list[str]:
    if form.separator is not None:
        return line.split(form.separator)
    # An empty first column is a missing token; elsewhere several spaces count as one.
    return re.split(r"[ \t]+", line.rstrip())


def repaired_sentence(
    tokens: Sequence[str], tags: Sequence[str], repairs: Repairs, scheme: str = "iob2"
) -> Tagged | None:
    """Drop empty tokens and make every span start with B-; None where nothing is left.

    Args:
        tokens: The tokens of a sentence.
        tags: One tag per token.
        repairs: Counts what was repaired.
        scheme: Of the tags, a name in `SCHEMES`. The result is IOB2, or the tags themselves for `none`.
    """
    # Before the drop and after it: a dropped line may have separated two spans, or have held the start of one.
    tags = to_iob2(tags, scheme, repairs)
    kept = [(token, tag) for token, tag in zip(tokens, tags, strict=True) if token.strip()]
    if len(kept) < len(tokens):
        repairs["lines without a token dropped"] += len(tokens) - len(kept)
    if not kept:
        repairs["sentences without a token dropped"] += 1
        return None
    left = [tag for _, tag in kept]
    return [token for token, _ in kept], left if scheme == "none" else _spans_from_b(left, repairs)


def to_iob2(tags: Sequence[str], scheme: str, repairs: Repairs) -> list[str]:
    """Convert the tags of a sentence from a scheme of `SCHEMES` to IOB2; those of `none` stay as they are.

    Spans that break their scheme by starting with I- are counted in `repairs`. In IOB1 every span may start so.
    """
    if scheme == "none":
        return list(tags)
    if scheme == "bioes":
        letters = {"S": "B", "U": "B", "E": "I", "L": "I"}
        tags = [tag if tag == OUTSIDE else letters.get(tag[0], tag[0]) + tag[1:] for tag in tags]
    return _spans_from_b(tags, Repairs() if scheme == "iob1" else repairs)


def _spans_from_b(tags: Sequence[str], repairs: Repairs) -> list[str]:
    """Make every span start with B-, counting those that did not."""
    repaired: list[str] = []
    previous = OUTSIDE
    for tag in tags:
        if tag.startswith("I-") and previous[2:] != tag[2:]:
            repairs["spans starting with I- changed to B-"] += 1
            tag = f"B-{tag[2:]}"
        repaired.append(tag)
        previous = tag
    return repaired
