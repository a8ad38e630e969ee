"""Lines that teach nothing are taken out of adaptation text, and every one of them is counted by its reason."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import regex

from hf_afro.corpora.cleaning_report import DUPLICATE, EMPTY, NO_LETTER, TOO_SHORT, Tally
from hf_afro.corpora.decontamination import LINES_AT_ONCE, EvaluationSentences, in_batches

# Numbers and punctuation of every script, symbols (currency, emoji) and white space hold no letter.
_LETTER = regex.compile(r"\p{L}")


def reason_to_drop(line: str, min_tokens: int = 6) -> str | None:
    """Say why a line is dropped for what it holds, None where it stays.

    A line goes when it is empty, when it has no letter of any script (only numbers, punctuation, symbols), or when it
    has fewer tokens than asked for. Tokens are parts between white space, so a script that is written without spaces,
    as Chinese is, wants `min_tokens=1`.

    Args:
        line: One line, without its line feed.
        min_tokens: The fewest white-space tokens of a line that stays.

    Returns:
        `EMPTY`, `NO_LETTER`, `TOO_SHORT` or None, in this order of precedence.

    References:
        Alabi et al., "Adapting pre-trained language models to African languages via multilingual adaptive
        fine-tuning", COLING 2022, section 3.1.
    """
    tokens = line.split(maxsplit=min_tokens)
    if not tokens:
        return EMPTY
    if not _LETTER.search(line):
        return NO_LETTER
    return TOO_SHORT if len(tokens) < min_tokens else None


class Verdict(NamedTuple):
    """What becomes of a line.

    Attributes:
        text: The line, in normal form C where that is asked for.
        reason: Why it is dropped; None where it stays.
        sets: The evaluation sets that it holds something of.
    """

    text: str
    reason: str | None
    sets: tuple[str, ...] = ()


@dataclass(frozen=True)
class LineRules:
    """What is asked of every line by itself, the same on one machine and on many.

    Attributes:
        min_tokens: See `reason_to_drop`.
        nfc: Bring lines to Unicode normal form C, before anything is compared.
        evaluation: The evaluation sentences; they are asked before the rest, so that the count of leaked sentences
            does not depend on the other settings.
    """

    min_tokens: int = 6
    nfc: bool = False
    evaluation: EvaluationSentences | None = None

    def judge(self, lines: Sequence[str]) -> list[Verdict]:
        """Judge lines, each by itself: however text is cut into batches, the verdicts are the same."""
        texts = [unicodedata.normalize("NFC", line) for line in lines] if self.nfc else lines
        leaks = [None] * len(texts) if self.evaluation is None else self.evaluation.find(texts)
        return [
            Verdict(text, reason_to_drop(text, self.min_tokens)) if leak is None else Verdict(text, *leak)
            for text, leak in zip(texts, leaks, strict=True)
        ]


class Seen:
    """Knows the lines that came before, character by character, by 16 bytes a line."""

    def __init__(self) -> None:
        self._digests: set[bytes] = set()

    def __call__(self, text: str) -> bool:
        """Tell whether a line came before, and remember it."""
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if digest in self._digests:
            return True
        self._digests.add(digest)
        return False


def clean(
    lines: Iterable[str],
    tally: Tally,
    *,
    min_tokens: int = 6,
    nfc: bool = False,
    drop_duplicates: bool = False,
    evaluation: EvaluationSentences | None = None,
) -> Iterator[str]:
    """Yield the lines that stay, counting those that do not while going through them.

    Args:
        lines: The lines of one language; one is read at a time, and a thousand where there are evaluation sentences.
        tally: Is added to.
        min_tokens: See `LineRules`.
        nfc: See `LineRules`.
        drop_duplicates: Drop a line that came before, character by character.
        evaluation: See `LineRules`.

    Yields:
        Lines, unchanged but for `nfc`.
    """
    rules = LineRules(min_tokens, nfc, evaluation)
    seen = Seen()
    for batch in in_batches(lines, LINES_AT_ONCE if evaluation else 1):
        for text, reason, sets in rules.judge(batch):
            if reason is None and drop_duplicates and seen(text):
                reason = DUPLICATE  # noqa: PLW2901
            tally.add(text, reason, sets)
            if reason is None:
                yield text
