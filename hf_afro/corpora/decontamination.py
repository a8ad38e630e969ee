"""Evaluation sentences are kept out of adaptation text, however they were tokenised, cased or spaced.

A line goes if it is an evaluation sentence, if it holds one, or if it shares eight words in a row with any.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, repeat
from typing import NamedTuple, TypeVar

import numpy as np

from hf_afro.corpora.cleaning_report import CONTAINS, EVALUATION, OVERLAP, Tally

OVERLAP_WORDS = 8
"""So many words in a row that a line shares with an evaluation sentence give it away."""

CONTAINED_WORDS, CONTAINED_LETTERS = 5, 10
"""Evaluation sentences of so many words and letters are looked for within lines; shorter ones are turns of phrase."""

LINES_AT_ONCE = 1000

Item = TypeVar("Item")

_NOT_TEXT = "PSZC"  # punctuation, symbols, separators, controls: the first letters of their Unicode categories
# Odd multipliers, one a place in a run of words, so that the hash of a run depends on the order; of numpy's generator.
_PLACES = np.random.default_rng(8).integers(2**63, size=OVERLAP_WORDS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


class _TextAlone(dict[int, str | None]):
    """A table for `str.translate`, filled as characters turn up; more than twice as fast as a regular expression."""

    def __missing__(self, character: int) -> str | None:
        category = unicodedata.category(chr(character))
        kept = None if category[0] == "C" and category != "Cc" else " " if category[0] in _NOT_TEXT else chr(character)
        self[character] = kept
        return kept


_TEXT_ALONE = _TextAlone()


def comparable_words(sentence: str) -> list[str]:
    """Return the words of a sentence: NFC, case folded, punctuation and symbols taken for spaces.

    So ``10 , 000`` and ``10,000`` are two words both, as are ``ng ' ombe`` and ``ng'ombe``. Marks stay, since tone and
    vowel marks tell words apart; what is invisible (joiners, byte order marks) goes. In scripts without spaces a
    word is all that stands between punctuation.
    """
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", sentence).casefold())
    return folded.translate(_TEXT_ALONE).split()


def comparable(sentence: str) -> str:
    """Return what two spellings of one sentence share: its `comparable_words` without the spaces.

    Named-entity sets store a sentence as tokens joined by spaces, ``Rais Magufuli , jana``, where running text has
    ``Rais Magufuli, jana``; so spaces cannot take part.
    """
    return "".join(comparable_words(sentence))


class Leak(NamedTuple):
    """What a line has of evaluation sets.

    Attributes:
        reason: `EVALUATION` where it is a sentence of them, `CONTAINS` where it holds one, else `OVERLAP`.
        sets: The names of the sets, sorted.
    """

    reason: str
    sets: tuple[str, ...]


class _Runs(NamedTuple):
    """Runs of `OVERLAP_WORDS`, by hash: rising, uint64 ``[runs]``, and the set each is of, an index, ``[runs]``."""

    keys: np.ndarray
    sets: np.ndarray

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the index of each key that is there, once for each set that has it, and that set, ``[found]``."""
        first = np.searchsorted(self.keys, keys)
        # Few are there, and only of these it is asked how often.
        there = np.flatnonzero(self.keys[np.minimum(first, len(self.keys) - 1)] == keys)
        first = first[there]
        times = np.searchsorted(self.keys, keys[there], side="right") - first
        within = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
        return np.repeat(there, times), self.sets[np.repeat(first, times) + within]


@dataclass(frozen=True, eq=False)
class EvaluationSentences:
    """The sentences of evaluation sets, to ask what a line has of them: ``line in sentences``, or `find`.

    One pool for all languages: a sentence that turns up in the text of another language has leaked all the same.

    Attributes:
        names: The names of the sets.
        equal: The sets of each sentence, by what `comparable` makes of it.
        held: The sentences looked for within lines, as `equal` has them, by their first `CONTAINED_LETTERS`.
        words: Every word of the sentences with runs, and a number for it.
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
            sentences: Plain sentences, or tokens joined by spaces; a mapping of the name of a set to such, or one
                iterable. A sentence without a letter, mark or digit can't be told from another and is left out.
            parts: By set, parts of those sentences that are taken out where they stand alone in a line: the
                paragraphs of an article.

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
                    raise TypeError("a string was given where sentences were expected; put it into a list")
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
        """Return these sentences and those of further sets, of other names."""
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
        """Tell whether a line is one of the sentences, as a whole."""
        return isinstance(line, str) and comparable(line) in self.equal

    def __len__(self) -> int:
        return len(self.equal)

    def find(self, lines: Sequence[str]) -> list[Leak | None]:
        """Say of each line what it has of the evaluation sets, None where it has nothing.

        Args:
            lines: Any number; a thousand at once cost a third of what they cost one by one.
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
        """Yield the sentences that a line holds from the start of a word to the end of one.

        Letters are compared, not words: a text may write as one word what a sentence writes as two.
        """
        letters = "".join(words)
        ends = list(accumulate(map(len, words)))
        for start in (0, *ends[:-1]):
            for sentence in self.held.get(letters[start : start + CONTAINED_LETTERS], ()):
                if letters.startswith(sentence, start) and start + len(sentence) in ends:
                    yield sentence

    def _shared_runs(self, by_line: Sequence[Sequence[str]]) -> Iterator[tuple[int, int]]:
        """Yield the line and the set of every run of words that both have."""
        if not len(self.runs.keys):
            return
        numbers: list[int] = []
        starts: list[int] = []
        for own in by_line:
            starts.append(len(numbers))
            numbers.extend(map(self.words.get, own, repeat(0)))  # type: ignore[arg-type]
            numbers.append(0)  # no run goes from line to line, nor over a word that no evaluation sentence has
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
    """A number for every word asked for, never 0: the same in every process, so that what holds them can travel."""

    def __missing__(self, word: str) -> int:
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self[word] = number = int.from_bytes(digest, "little") or 1
        return number


def _keys(ids: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Hash the runs of `OVERLAP_WORDS` that begin at the places, uint64 ``[places]``; sums wrap around."""
    keys: np.ndarray = np.zeros(len(places), dtype=np.uint64)
    for offset in range(OVERLAP_WORDS):
        keys += ids[places + offset] * _PLACES[offset]
    return keys


def _merged(parts: Sequence[_Runs]) -> _Runs:
    """Sort the runs of all parts, each once a set."""
    keys = np.concatenate([np.zeros(0, dtype=np.uint64), *(part.keys for part in parts)])
    sets = np.concatenate([np.zeros(0, dtype=np.int32), *(part.sets for part in parts)]).astype(np.int32)
    order = np.lexsort((sets, keys))
    keys, sets = keys[order], sets[order]
    first = np.concatenate([[True], (keys[1:] != keys[:-1]) | (sets[1:] != sets[:-1])])[: len(keys)]
    return _Runs(keys[first], sets[first])


def in_batches(lines: Iterable[Item], size: int = LINES_AT_ONCE) -> Iterator[list[Item]]:
    """Yield the lines, or whatever else, in lists of so many, the last one shorter."""
    rest = iter(lines)
    while batch := list(islice(rest, size)):
        yield batch


def decontaminate(lines: Iterable[str], evaluation: EvaluationSentences, tally: Tally) -> Iterator[str]:
    """Yield the lines that have nothing of an evaluation set, and change nothing else.

    Where text is cleaned too, give `evaluation` to `clean` instead, so that one tally tells the whole story.

    Args:
        lines: The lines of one language; read a thousand at a time.
        evaluation: The evaluation sentences.
        tally: Is added to.
    """
    for batch in in_batches(lines):
        for line, leak in zip(batch, evaluation.find(batch), strict=True):
            tally.add(line, *(leak or (None,)))
            if leak is None:
                yield line
