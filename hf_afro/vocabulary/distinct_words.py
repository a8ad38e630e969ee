"""From lines to their distinct words and how often each occurs: in Arrow, outside Python's lock and compact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow
import pyarrow.compute as compute

from hf_afro.vocabulary.counts import TextSize
from hf_afro.vocabulary.words import WordCut

# Words are encoded side by side in texts of this many, because each encoding costs as much as several words.
_WORDS_A_TEXT = 256
_SCHEMA = pyarrow.schema([("word", pyarrow.string()), ("count", pyarrow.int64())])


class CutLines(NamedTuple):
    """What lines were cut into.

    Attributes:
        words: Columns ``word`` and ``count``; a word that is tokenised with the space before it begins with one.
        whole: The lines that must not be cut.
        size: Of all the lines.
    """

    words: pyarrow.Table
    whole: list[str]
    size: TextSize


def cut_lines(lines: pyarrow.StringArray, cut: WordCut | None) -> CutLines:
    """Cut lines into words, those apart in which something reaches across a space; all lines where `cut` is None."""
    characters, utf8_bytes = compute.sum(compute.utf8_length(lines)), byte_size(lines)
    crossing = pyarrow.array(np.ones(len(lines), dtype=bool)) if cut is None else cut.crosses(lines)
    whole = lines.filter(crossing)
    parts = compute.split_pattern(lines.filter(compute.invert(crossing)), " ")
    if cut is not None and cut.with_space:
        first = compute.list_element(parts, 0).value_counts()
        other = compute.list_slice(parts, 1).flatten().value_counts()
        spaced = compute.binary_join_element_wise("", other.field(0), " ")
        words = pyarrow.concat_tables([_table(first.field(0), first.field(1)), _table(spaced, other.field(1))])
    else:
        counted = parts.flatten().value_counts()
        words = _table(counted.field(0), counted.field(1))
        words = words.filter(compute.not_equal(words["word"], ""))  # between two spaces
    number = compute.sum(words["count"]).as_py() or 0
    number += compute.sum(compute.count_substring_regex(whole, "[^ ]+")).as_py() or 0
    return CutLines(words, whole.to_pylist(), TextSize(len(lines), number, characters.as_py() or 0, utf8_bytes))


def byte_size(lines: pyarrow.StringArray) -> int:
    """Return the bytes of lines in UTF-8, line ends not counted."""
    return compute.sum(compute.binary_length(lines)).as_py() or 0


def _table(words: pyarrow.StringArray, counts: pyarrow.Int64Array) -> pyarrow.Table:
    return pyarrow.table([words, counts], schema=_SCHEMA)


def merge(tables: Sequence[pyarrow.Table]) -> pyarrow.Table:
    """Return one table in which every word stands once, with the sum of its counts."""
    if len(tables) < 2:
        return tables[0] if tables else _SCHEMA.empty_table()
    grouped = pyarrow.concat_tables(tables).group_by("word").aggregate([("count", "sum")])
    return _table(grouped["word"], grouped["count_sum"])


def weighted_texts(words: pyarrow.Table, *, with_space: bool) -> Iterator[tuple[str, int]]:
    """Yield texts to be encoded that hold every word once, each with the count of all its words.

    Words share a text where their counts are equal.

    Args:
        words: What `merge` returns.
        with_space: The words that stood behind another begin with a space; each of the others, the first of their
            lines, has a text of its own.
    """
    if not with_space:
        yield from _joined(words, " ", _WORDS_A_TEXT)
        return
    spaced = compute.starts_with(words["word"], " ")
    yield from _joined(words.filter(spaced), "", _WORDS_A_TEXT)
    yield from _joined(words.filter(compute.invert(spaced)), "", 1)


def _joined(words: pyarrow.Table, between: str, words_a_text: int) -> Iterator[tuple[str, int]]:
    # Neighbours in the alphabet take the same way through the tokenizer's pieces: a sixth of its time less.
    words = words.sort_by([("count", "ascending"), ("word", "ascending")])
    counts = words["count"].to_numpy()
    runs = np.flatnonzero(np.diff(counts, prepend=0, append=0))  # where another count begins, and the end
    starts = [np.arange(start, end, words_a_text) for start, end in zip(runs[:-1], runs[1:], strict=True)]
    if not starts:
        return
    offsets = np.append(np.concatenate(starts), len(counts)).astype(np.int32)
    texts = pyarrow.ListArray.from_arrays(offsets, words["word"].combine_chunks())
    for text, count in zip(compute.binary_join(texts, between), counts[offsets[:-1]].tolist(), strict=True):
        yield text.as_py(), count
