"""Files of tagged words as they are published: text in UTF-8, CoNLL, and the schemes of tags.

Nothing is changed in silence: every repair and every example left out is counted by name, and what cannot be read is
refused with its file and line. Text is not normalised. A line ends at a line feed alone, since news text holds U+2028.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_afro.evaluation.data.kinds import OUTSIDE

Tagged = tuple[list[str], list[str]]
"""The tokens of a sentence and their tags by name."""

Example = tuple[Any, Any]
"""A text and its label by name, a pair of texts and its label, or a tagged sentence."""

Repairs = Counter[str]

SCHEMES = {
    "iob2": re.compile(r"O|[BI]-\S+"),
    "iob1": re.compile(r"O|[BI]-\S+"),
    "bioes": re.compile(r"O|[BIESLU]-\S+"),
    "none": re.compile(r"\S+"),
}
"""What a tag looks like. IOB1 has a B- only between two spans of a type; BIOES has its letters, or those of BILOU."""

_MARK = "\ufeff"
_LONGEST_TOKEN = 1000  # characters; the longest of the published sets has fewer than 80
_DOCUMENT = "-DOCSTART-"


@dataclass(frozen=True)
class ConllForm:
    """How the lines of a file of tagged words are to be read.

    Attributes:
        tokens: The place of the token, from 0.
        tags: The place of the tag; -1 is the last.
        columns: How many columns a line has; None for two, or whatever it has if places are given.
        separator: What stands between columns; None for spaces and tabs.
        scheme: Of the tags, a name of `SCHEMES`.
        comment: What a line begins with that is no part of a sentence; empty for none.
    """

    tokens: int = 0
    tags: int = -1
    columns: int | None = 2
    separator: str | None = None
    scheme: str = "iob2"
    comment: str = ""


def read_text(path: Path, repairs: Repairs) -> str:
    """Return the text of a file, without its byte order mark.

    Raises:
        ValueError: If it is empty or not UTF-8, holds a NUL, or has lines that end in a carriage return alone; the
            message names the line.
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
        raise ValueError(f"{path}, line {line}: holds a NUL byte; the file is damaged, fetch or write it again")
    if "\r" in text and "\n" not in text:
        raise ValueError(f"{path}: its lines end in a carriage return alone; convert them to line feeds")
    if "\r\n" in text:
        repairs["files with line ends of CR LF"] += 1
    return text


def read_conll(
    path: Path,
    repairs: Repairs,
    form: ConllForm | None = None,
    rename: Callable[[str, str], str] | None = None,
    numbers: list[int] | None = None,
) -> list[Tagged]:
    """Read sentences of a token and its tag a line, with an empty or white line after each.

    A line that starts a document (`-DOCSTART-`) ends a sentence and is left out, whatever follows it. A span that
    starts with I- is made to start with B-, as evaluation counts it. A line without a token is dropped, its tag with
    it, and a sentence of such lines only too.

    Args:
        path: The file.
        repairs: What was repaired is counted here.
        form: How lines are read; by default token and tag of IOB2 with a space or a tab between.
        rename: Called with a tag and where it stands, for what it is to be called.
        numbers: Gets the number of each sentence returned among those of the file, from 0, dropped ones counted.

    Raises:
        ValueError: If a line has not the columns expected, no tag of the scheme, or a token that no word is as long
            as, or the file cannot be read; see `read_text`.
    """
    form = form or ConllForm()
    sentences: list[Tagged] = []
    met = 0
    tokens: list[str] = []
    tags: list[str] = []
    for number, line in enumerate([*read_text(path, repairs).split("\n"), ""], start=1):
        line = line.removesuffix("\r")
        if form.comment and line.startswith(form.comment):
            repairs["lines of comment left out"] += 1
            continue
        starts_document = _starts_document(line, form)
        if line.strip() and not starts_document:
            token, tag = _token_and_tag(path, number, line, form, rename)
            tokens.append(token)
            tags.append(tag)
            continue
        if starts_document:
            repairs["lines that start a document left out"] += 1
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
    told = "a tag" if form.scheme == "none" else "a tag as O, B-PER, I-PER"
    received = f"{place}: received {line[:80]!r}; expected 'token tag' with {told}"
    wanted = form.columns or max(at + 1 if at >= 0 else -at for at in (form.tokens, form.tags))
    if form.columns and len(columns) > wanted:
        raise ValueError(
            f"{received}, and not {len(columns)} columns; a description names the places of two with `columns:`"
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
            f"{place}: a token of {len(token)} characters; expected a word a line, at most "
            f"{_LONGEST_TOKEN} characters. Are line feeds missing?"
        )
    return token, tag


def _starts_document(line: str, form: ConllForm) -> bool:
    """Tell whether a line is the mark of a new document, in its first column or in that of the token."""
    columns = _columns(line, form)
    return _DOCUMENT in (one.strip() for one in (*columns[:1], *columns[form.tokens :][:1]))


def _columns(line: str, form: ConllForm) -> list[str]:
    if form.separator is not None:
        return line.split(form.separator)
    # A first column that is empty is a token that is missing; other spaces in a row are one.
    return re.split(r"[ \t]+", line.rstrip())


def repaired_sentence(
    tokens: Sequence[str], tags: Sequence[str], repairs: Repairs, scheme: str = "iob2"
) -> Tagged | None:
    """Drop what has no token and let every span start with B-; None where nothing is left.

    Args:
        tokens: The tokens of a sentence.
        tags: The tags, one a token.
        repairs: What was repaired is counted here.
        scheme: Of the tags, a name of `SCHEMES`; what comes out is IOB2, or the very tags of `none`.
    """
    # Before the drop and after it: a line dropped may have parted two spans, or have held the start of one.
    tags = to_iob2(tags, scheme, repairs)
    kept = [(token, tag) for token, tag in zip(tokens, tags, strict=True) if token.strip()]
    if len(kept) < len(tokens):
        repairs["lines without a token dropped"] += len(tokens) - len(kept)
    if not kept:
        repairs["sentences without a token dropped"] += 1
        return None
    left = [tag for _, tag in kept]
    return [token for token, _ in kept], left if scheme == "none" else repaired_tags(left, repairs)


def to_iob2(tags: Sequence[str], scheme: str, repairs: Repairs) -> list[str]:
    """Return tags of a scheme as tags of IOB2; those of `none` as they are.

    Args:
        tags: The tags of a sentence.
        scheme: A name of `SCHEMES`.
        repairs: Spans that do not start as the scheme has it are counted here. In IOB1 every span may start with I-,
            so there is none.
    """
    if scheme == "none":
        return list(tags)
    if scheme == "bioes":
        letters = {"S": "B", "U": "B", "E": "I", "L": "I"}
        tags = [tag if tag == OUTSIDE else letters.get(tag[0], tag[0]) + tag[1:] for tag in tags]
    return repaired_tags(tags, Repairs() if scheme == "iob1" else repairs)


def repaired_tags(tags: Sequence[str], repairs: Repairs) -> list[str]:
    """Return the tags of a sentence with every span starting with B-, counting those that did not."""
    repaired: list[str] = []
    previous = OUTSIDE
    for tag in tags:
        if tag.startswith("I-") and previous[2:] != tag[2:]:
            repairs["spans that start with I- made to start with B-"] += 1
            tag = f"B-{tag[2:]}"
        repaired.append(tag)
        previous = tag
    return repaired
