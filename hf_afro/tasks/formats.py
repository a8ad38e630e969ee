"""The forms the evaluation sets are published in, read as they are: CoNLL, and three kinds of TSV.

Nothing is changed in silence: every repair and every example left out is counted by name, and what cannot be read is
refused with its file and line. Text is not normalised. A line ends at a line feed alone, since news text holds U+2028.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

Tagged = tuple[list[str], list[str]]
"""The tokens of a sentence and their tags by name."""

Example = tuple[str, str] | Tagged
"""A text and its label by name, or a tagged sentence."""

Repairs = Counter[str]

TAG = re.compile(r"O|[BI]-\S+")
_MARK = "\ufeff"

# By the columns a header must have: where text and label stand in it, and whether quotes mean anything.
_FORMS: dict[tuple[str, ...], tuple[tuple[str, ...], str, bool]] = {
    ("category", "headline", "text"): (("headline", "text"), "category", True),  # MasakhaNEWS, `url` in most files
    ("text", "label"): (("text",), "label", True),  # ANTC
    ("tweet", "label"): (("tweet",), "label", False),  # AfriSenti
}


def read_text(path: Path, repairs: Repairs) -> str:
    """Return the text of a file, without its byte order mark.

    Raises:
        ValueError: If it is not UTF-8; the message names the line.
    """
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: not UTF-8 ({error.reason}); convert the file to UTF-8") from error
    if text.startswith(_MARK):
        repairs["byte order marks dropped"] += 1
        text = text.removeprefix(_MARK)
    return text


def read_conll(path: Path, repairs: Repairs) -> list[Tagged]:
    """Read sentences of lines `token SPACE tag` in IOB2, with an empty or white line after each.

    A span that starts with I- is made to start with B-, as evaluation counts it. A line without a token is dropped,
    its tag with it, and a sentence of such lines only too.

    Args:
        path: The file.
        repairs: What was repaired is counted here.

    Raises:
        ValueError: If a line has no tag of IOB2 at its end, or the file is not UTF-8.
    """
    sentences: list[Tagged] = []
    tokens: list[str] = []
    tags: list[str] = []
    for number, line in enumerate([*read_text(path, repairs).split("\n"), ""], start=1):
        if line.strip():
            token, tag = _token_and_tag(path, number, line)
            tokens.append(token)
            tags.append(tag)
            continue
        if line.removesuffix("\r"):
            repairs["white-space lines taken as the end of a sentence"] += 1
        if tokens:
            sentence = repaired_sentence(tokens, tags, repairs)
            if sentence is not None:
                sentences.append(sentence)
            tokens, tags = [], []
    return sentences


def _token_and_tag(path: Path, number: int, line: str) -> tuple[str, str]:
    token, _, tag = line.rstrip().replace("\t", " ").rpartition(" ")
    if not TAG.fullmatch(tag):
        raise ValueError(
            f"{path}, line {number}: received {line!r}; expected 'token tag' with a tag as O, B-PER, I-PER"
        )
    return token.strip(), tag


def repaired_sentence(tokens: Sequence[str], tags: Sequence[str], repairs: Repairs) -> Tagged | None:
    """Drop what has no token and let every span start with B-; None where nothing is left.

    Args:
        tokens: The tokens of a sentence.
        tags: The tags, one a token.
        repairs: What was repaired is counted here.
    """
    # Before the drop and after it: a line dropped may have parted two spans, or have held the start of one.
    tags = repaired_tags(tags, repairs)
    kept = [(token, tag) for token, tag in zip(tokens, tags, strict=True) if token.strip()]
    if len(kept) < len(tokens):
        repairs["lines without a token dropped"] += len(tokens) - len(kept)
    if not kept:
        repairs["sentences without a token dropped"] += 1
        return None
    return [token for token, _ in kept], repaired_tags([tag for _, tag in kept], repairs)


def repaired_tags(tags: Sequence[str], repairs: Repairs) -> list[str]:
    """Return the tags of a sentence with every span starting with B-, counting those that did not."""
    repaired: list[str] = []
    previous = "O"
    for tag in tags:
        if tag.startswith("I-") and previous[2:] != tag[2:]:
            repairs["spans that start with I- made to start with B-"] += 1
            tag = f"B-{tag[2:]}"
        repaired.append(tag)
        previous = tag
    return repaired


def read_tsv(path: Path, repairs: Repairs) -> list[tuple[str, str]]:
    """Read a table of texts and labels in the form of MasakhaNEWS, ANTC or AfriSenti, told apart by the header.

    MasakhaNEWS is `category headline text url`, quoted, with line feeds inside quotes, and gives the headline, a line
    feed and the text; ANTC is `text label`, quoted; AfriSenti is `tweet label`, where a quote is a character like any
    other. Rows without text are dropped.

    Args:
        path: The file.
        repairs: What was repaired is counted here.

    Raises:
        ValueError: If the header is of none of these forms, a row has another number of columns or no label, a quote
            is never closed, or the file is not UTF-8.
    """
    text = read_text(path, repairs)
    header = text.partition("\n")[0].rstrip("\r").split("\t")
    form = next((form for columns, form in _FORMS.items() if tuple(header[: len(columns)]) == columns), None)
    if form is None:
        forms = " or ".join(repr("\t".join(columns)) for columns in _FORMS)
        raise ValueError(f"{path} starts with {header[:5]}; expected the header {forms}")
    text_columns, label_column, quoted = form
    texts, label_at = [header.index(name) for name in text_columns], header.index(label_column)
    examples = []
    for number, row in _rows(path, text, quoted):
        if len(row) != len(header):
            raise ValueError(f"{path}, line {number}: {len(row)} columns; expected {len(header)}, as in the header")
        example = "\n".join(part for part in (row[index] for index in texts) if part.strip()), row[label_at].strip()
        if not example[1]:
            raise ValueError(f"{path}, line {number}: no label; give one or leave the row out")
        if example[0]:
            examples.append(example)
        else:
            repairs["rows without text dropped"] += 1
    return examples


def _rows(path: Path, text: str, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows after the header, each with the number of its last line."""
    if not quoted:
        for number, line in enumerate(text.split("\n"), start=1):
            if number > 1 and line.removesuffix("\r"):
                yield number, line.removesuffix("\r").split("\t")
        return
    # The limit is the module's own, for all of Python; an article may be longer, so it is put back afterwards.
    limit = csv.field_size_limit(len(text) + 1)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True)
        for index, row in enumerate(reader):
            if index and row:
                yield reader.line_num, row
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}; quotes inside quotes are doubled") from error
    finally:
        csv.field_size_limit(limit)
