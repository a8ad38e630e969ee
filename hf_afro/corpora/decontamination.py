"""Evaluation sentences are kept out of adaptation text, however they were tokenised, cased or spaced."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass

from hf_afro.corpora.cleaning import EVALUATION, READ

_NOT_TEXT = "PSZC"  # punctuation, symbols, separators, controls: the first letters of their Unicode categories


class _TextAlone(dict[int, int | None]):
    """A table for `str.translate`, filled as characters turn up; more than twice as fast as a regular expression."""

    def __missing__(self, character: int) -> int | None:
        kept = None if unicodedata.category(chr(character))[0] in _NOT_TEXT else character
        self[character] = kept
        return kept


_TEXT_ALONE = _TextAlone()


def comparable(sentence: str) -> str:
    """Return what two spellings of one sentence share: NFC, case folded, no punctuation, symbols or white space.

    Named-entity sets store a sentence as tokens joined by spaces, ``Rais Magufuli , jana``, where running text has
    ``Rais Magufuli, jana``; so spaces cannot take part. Marks stay, since tone and vowel marks tell words apart.
    """
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", sentence).casefold())
    return folded.translate(_TEXT_ALONE)


@dataclass(frozen=True)
class EvaluationSentences:
    """The sentences of evaluation sets, to ask whether a line is one of them: ``line in sentences``.

    One pool for all languages: a sentence that turns up in the text of another language has leaked all the same.

    Attributes:
        keys: The sentences as `comparable` makes them.
    """

    keys: frozenset[str]

    @classmethod
    def of(cls, sentences: Mapping[str, Iterable[str]] | Iterable[str]) -> EvaluationSentences:
        """Collect sentences, by language or in one pool.

        Args:
            sentences: Plain sentences, or tokens joined by spaces; a mapping of language to such, or one iterable.
                A sentence without a letter, mark or digit can't be told from another and is left out.

        Raises:
            TypeError: If a string stands where an iterable of strings is expected.
        """
        pools = list(sentences.values()) if isinstance(sentences, Mapping) else [sentences]
        if any(isinstance(pool, str) for pool in pools):
            raise TypeError("a string was given where sentences were expected; put it into a list")
        return cls(frozenset(key for pool in pools for key in map(comparable, pool) if key))

    def __contains__(self, line: object) -> bool:
        return isinstance(line, str) and comparable(line) in self.keys

    def __len__(self) -> int:
        return len(self.keys)


def decontaminate(lines: Iterable[str], evaluation: Container[str], counts: Counter[str]) -> Iterator[str]:
    """Yield the lines that are no evaluation sentence, and change nothing else.

    Where text is cleaned too, give `evaluation` to `clean` instead, so that one counter tells the whole story.

    Args:
        lines: The lines of one language.
        evaluation: What knows the evaluation sentences.
        counts: Is added to, as in `clean`.
    """
    for line in lines:
        counts[READ] += 1
        if line in evaluation:
            counts[EVALUATION] += 1
        else:
            yield line
