"""Decontamination: dropping lines that leak evaluation sentences, regardless of tokenization, case and spaces.

A line is dropped if it is an evaluation sentence, contains one, or shares eight consecutive words with one.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, repeat
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from hf_afro.corpora.cleaning_report import CONTAINS, EVALUATION, OVERLAP, Tally
from hf_afro.corpora.reading import SUFFIXES, Errors, read_lines, suffix_of

OVERLAP_WORDS = 8
"""A line that shares this many consecutive words with an evaluation sentence is dropped."""

CONTAINED_WORDS, CONTAINED_LETTERS = 5, 10
"""The fewest words and letters of an evaluation sentence that is searched for within lines."""

GLUED_LETTERS = 24
"""Sentences of at least this many letters are found inside words too, since text from the web often lacks the space
between two sentences."""

LINES_AT_ONCE = 1000

Item = TypeVar("Item")

_NOT_TEXT = "PSZC"  # first letters of Unicode categories: punctuation, symbols, separators, controls
# Where a sentence ends inside a text: closing marks of Latin, Arabic and Ge'ez script, then white space.
_SENTENCE_END = re.compile(r"(?<=[.!?؟።፧])\s+")
_TOKEN_AND_TAG = re.compile(r"\S+\s+(O|[BI]-[A-Z]+)")
# One odd multiplier per position in a run of words, so that the hash of the run depends on their order.
_PLACES = np.random.default_rng(8).integers(2**63, size=OVERLAP_WORDS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


class _TextAlone(dict[int, str | None]):
    """A table for `str.translate`, filled on demand; more than twice as fast as a regular expression."""

    def __missing__(self, character: int) -> str | None:
        category = unicodedata.category(chr(character))
        kept = None if category[0] == "C" and category != "Cc" else " " if category[0] in _NOT_TEXT else chr(character)
        self[character] = kept
        return kept


_TEXT_ALONE = _TextAlone()


def comparable_words(sentence: str) -> list[str]:
    """Return the words of a sentence in a comparable form: NFC, case-folded, punctuation and symbols as spaces.

    ``10 , 000`` and ``10,000`` are both two words, and so are ``ng ' ombe`` and ``ng'ombe``. Marks are kept, because
    tone and vowel marks distinguish words; invisible characters (joiners, byte order marks) are removed. In scripts
    without spaces a word is everything between punctuation.
    """
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", sentence).casefold())
    return folded.translate(_TEXT_ALONE).split()


def comparable(sentence: str) -> str:
    """Return the `comparable_words` of a sentence without spaces, the same for all tokenizations of the sentence.

    Named-entity sets store sentences as tokens joined by spaces, ``Rais Magufuli , jana``, where running text has
    ``Rais Magufuli, jana``.
    """
    return "".join(comparable_words(sentence))


class Leak(NamedTuple):
    """A line that matches evaluation sets.

    Attributes:
        reason: `EVALUATION` if it is one of their sentences, `CONTAINS` if it contains one, else `OVERLAP`.
        sets: The names of the sets, sorted.
    """

    reason: str
    sets: tuple[str, ...]


class _Runs(NamedTuple):
    """Sorted hashes of runs of `OVERLAP_WORDS` words, uint64 ``[runs]``, and the index of the set of each."""

    keys: np.ndarray
    sets: np.ndarray

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the index of each key that is present, once per set that has it, and that set, ``[found]`` each."""
        first = np.searchsorted(self.keys, keys)
        # Few keys are present, so only those are counted.
        there = np.flatnonzero(self.keys[np.minimum(first, len(self.keys) - 1)] == keys)
        first = first[there]
        times = np.searchsorted(self.keys, keys[there], side="right") - first
        within = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
        return np.repeat(there, times), self.sets[np.repeat(first, times) + within]


@dataclass(frozen=True, eq=False)
class EvaluationSentences:
    """The sentences of evaluation sets, searched by ``line in sentences`` or by `find`.

    All languages share one pool, because a sentence in the text of another language has leaked as well.

    Attributes:
        names: The names of the sets.
        equal: The sets of each sentence, keyed by the `comparable` sentence.
        held: The keys of `equal` that are searched for within lines, by their first `CONTAINED_LETTERS` letters.
        words: The id of every word of sentences long enough for runs.
        runs: Every run of `OVERLAP_WORDS` words.
    """

    names: tuple[str, ...]
    equal: Mapping[str, tuple[int, ...]]
    held: Mapping[str, tuple[str, ...]]
    words: Mapping[str, int]
    runs: _Runs

    @classmethod
    def of(
        cls,
        sentences: Mapping[str, Iterable[str]] | Iterable[str],
        parts: Mapping[str, Iterable[str]] | None = None,
    ) -> EvaluationSentences:
        """Collect sentences, by set or in one pool.

        Args:
            sentences: Plain sentences, or tokens joined by spaces: one iterable, or a mapping from set names to
                iterables. Sentences without a letter, mark or digit are ignored.
            parts: By set, parts of those sentences that are matched only as a whole line, such as the paragraphs of
                an article.

        Raises:
            TypeError: If a string stands where an iterable of strings is expected.
        """
        pools = dict(sentences) if isinstance(sentences, Mapping) else {"evaluation": sentences}
        names = tuple(dict.fromkeys([*pools, *(parts or {})]))
        equal: dict[str, dict[int, None]] = defaultdict(dict)
        held: dict[str, set[str]] = defaultdict(set)
        words = _Numbers()
        found: list[_Runs] = []
        for given, whole in ((pools, True), (parts or {}, False)):
            for name, pool in given.items():
                if isinstance(pool, str):
                    raise TypeError("received a string; expected an iterable of sentences, so put it into a list")
                at = names.index(name)
                for own in filter(None, map(comparable_words, pool)):
                    letters = "".join(own)
                    equal[letters][at] = None
                    if whole and len(own) >= CONTAINED_WORDS and len(letters) >= CONTAINED_LETTERS:
                        held[letters[:CONTAINED_LETTERS]].add(letters)
                    if whole and len(own) >= OVERLAP_WORDS:
                        ids: np.ndarray = np.array([words[word] for word in own], dtype=np.uint64)
                        keys = _keys(ids, np.arange(len(ids) - OVERLAP_WORDS + 1))
                        found.append(_Runs(keys, np.full(len(keys), at)))
        return cls(
            names,
            {key: tuple(sorted(sets)) for key, sets in equal.items()},
            {start: tuple(sorted(own)) for start, own in held.items()},
            dict(words),
            _merged(found),
        )

    def and_of(self, sentences: Mapping[str, Iterable[str]]) -> EvaluationSentences:
        """Return these sentences together with those of further sets, which must have other names."""
        other = EvaluationSentences.of(sentences)
        if not len(other):
            return self
        shift = len(self.names)
        equal = dict(self.equal)
        for key, sets in other.equal.items():
            equal[key] = (*equal.get(key, ()), *(at + shift for at in sets))
        return EvaluationSentences(
            (*self.names, *other.names),
            equal,
            {
                start: tuple(sorted({*self.held.get(start, ()), *other.held.get(start, ())}))
                for start in sorted({*self.held, *other.held})
            },
            {**self.words, **other.words},
            _merged([self.runs, _Runs(other.runs.keys, other.runs.sets + shift)]),
        )

    def __contains__(self, line: object) -> bool:
        """Tell whether a whole line is one of the sentences."""
        return isinstance(line, str) and comparable(line) in self.equal

    def __len__(self) -> int:
        return len(self.equal)

    def find(self, lines: Sequence[str]) -> list[Leak | None]:
        """Find the leak of each line, None for lines without one.

        Args:
            lines: Any number of lines; batches of 1,000 take a third of the time of single lines.
        """
        if not self.equal:
            return [None] * len(lines)
        by_line = [comparable_words(line) for line in lines]
        hits: dict[int, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
        for index, own in enumerate(by_line):
            if (sets := self.equal.get("".join(own))) is not None:
                hits[index][EVALUATION].update(sets)
            for sentence in self._held_in(own):
                hits[index][CONTAINS].update(self.equal[sentence])
        for index, at in self._shared_runs(by_line):
            hits[index][OVERLAP].add(at)
        return [self._leak(hits[index]) if index in hits else None for index in range(len(lines))]

    def _held_in(self, words: Sequence[str]) -> Iterator[str]:
        """Yield the sentences that a line contains: long ones anywhere, others where words begin and end.

        Letters are compared instead of words, because a text may write one word where a sentence writes two.
        """
        letters = "".join(words)
        bounds = {0, *accumulate(map(len, words))}
        for start in range(len(letters) - CONTAINED_LETTERS + 1):
            for sentence in self.held.get(letters[start : start + CONTAINED_LETTERS], ()):
                if letters.startswith(sentence, start) and (
                    len(sentence) >= GLUED_LETTERS or (start in bounds and start + len(sentence) in bounds)
                ):
                    yield sentence

    def _shared_runs(self, by_line: Sequence[Sequence[str]]) -> Iterator[tuple[int, int]]:
        """Yield the line and the set of every shared run of words."""
        if not len(self.runs.keys):
            return
        numbers: list[int] = []
        starts: list[int] = []
        for own in by_line:
            starts.append(len(numbers))
            numbers.extend(map(self.words.get, own, repeat(0)))  # type: ignore[arg-type]
            numbers.append(0)  # runs do not cross lines or words that no evaluation sentence has
        ids: np.ndarray = np.array(numbers, dtype=np.uint64)
        known = np.concatenate([[0], np.cumsum(ids != 0)])
        places = np.flatnonzero(known[OVERLAP_WORDS:] - known[:-OVERLAP_WORDS] == OVERLAP_WORDS)
        found, sets = self.runs.find(_keys(ids, places))
        lines = np.searchsorted(starts, places[found], side="right") - 1
        yield from np.unique(np.stack([lines, sets], axis=1), axis=0).tolist()

    def _leak(self, hits: Mapping[str, set[int]]) -> Leak:
        reason = next(reason for reason in (EVALUATION, CONTAINS, OVERLAP) if reason in hits)
        return Leak(reason, tuple(sorted({self.names[at] for at in set().union(*hits.values())})))


class _Numbers(dict[str, int]):
    """Ids of words, assigned on demand: never 0, and the same in every process."""

    def __missing__(self, word: str) -> int:
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self[word] = number = int.from_bytes(digest, "little") or 1
        return number


def _keys(ids: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Hash the runs of `OVERLAP_WORDS` words that begin at `places`, uint64 ``[places]``; sums wrap around."""
    keys: np.ndarray = np.zeros(len(places), dtype=np.uint64)
    for offset in range(OVERLAP_WORDS):
        keys += ids[places + offset] * _PLACES[offset]
    return keys


def _merged(parts: Sequence[_Runs]) -> _Runs:
    """Sort the runs of all parts, without repetition within a set."""
    keys = np.concatenate([np.zeros(0, dtype=np.uint64), *(part.keys for part in parts)])
    sets = np.concatenate([np.zeros(0, dtype=np.int32), *(part.sets for part in parts)]).astype(np.int32)
    order = np.lexsort((sets, keys))
    keys, sets = keys[order], sets[order]
    first = np.concatenate([[True], (keys[1:] != keys[:-1]) | (sets[1:] != sets[:-1])])[: len(keys)]
    return _Runs(keys[first], sets[first])


def in_batches(lines: Iterable[Item], size: int = LINES_AT_ONCE) -> Iterator[list[Item]]:
    """Yield items in lists of `size`; the last one may be shorter."""
    rest = iter(lines)
    while batch := list(islice(rest, size)):
        yield batch


def decontaminate(lines: Iterable[str], evaluation: EvaluationSentences, tally: Tally) -> Iterator[str]:
    """Yield the lines that do not match an evaluation set, unchanged.

    To clean the text as well, pass `evaluation` to `clean` instead.

    Args:
        lines: The lines of one language; read 1,000 at a time.
        evaluation: The evaluation sentences.
        tally: The counts, updated in place.
    """
    for batch in in_batches(lines):
        for line, leak in zip(batch, evaluation.find(batch), strict=True):
            tally.add(line, *(leak or (None,)))
            if leak is None:
                yield line


def parts_of(texts: Iterable[str]) -> Iterator[str]:
    """Yield the paragraphs and sentences of texts: a news article is one text of a set and many lines of a corpus."""
    for text in texts:
        for paragraph in text.split("\n"):
            yield paragraph
            yield from _SENTENCE_END.split(paragraph)


def excluded_sentences(path: str | Path, errors: Errors = "fail") -> dict[str, Iterator[str]]:
    """Open the sentences of a text file, or of all text files in a folder and its subfolders, by file name.

    Args:
        path: The file or folder, with one sentence per line.
        errors: Handling of bytes that are not UTF-8; see `read_corpora`.

    Raises:
        FileNotFoundError: If the file or folder does not exist.
        ValueError: If a folder holds no text file, or a line is a token with its tag.
    """
    root = Path(path)
    if not root.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a file or folder of sentences to exclude")
    files = [root] if root.is_file() else sorted(own for own in root.rglob("*") if own.is_file() and suffix_of(own))
    if not files:
        raise ValueError(f"{path} has no sentences to exclude; expected files that end in {', '.join(SUFFIXES)}")
    home = root.parent if root.is_file() else root
    return {str(file.relative_to(home)): _sentences(file, errors) for file in files}


def _sentences(file: Path, errors: Errors) -> Iterator[str]:
    for number, line in enumerate(read_lines(file, errors), start=1):
        if _TOKEN_AND_TAG.fullmatch(line):
            raise ValueError(
                f"{file}, line {number} is a token with its tag; expected one sentence per line, its tokens joined by "
                "spaces"
            )
        if line.strip():
            yield line
