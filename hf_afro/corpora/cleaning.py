"""Cleaning: dropping lines that are empty, too short, without letters or in another language, counted by reason."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import regex

from hf_afro.corpora.cleaning_report import DUPLICATE, EMPTY, NO_LETTER, OTHER_LANGUAGE, TOO_SHORT, Tally
from hf_afro.corpora.decontamination import LINES_AT_ONCE, EvaluationSentences, in_batches
from hf_afro.corpora.language_identification import LanguageCheck

# Numbers and punctuation of any script, symbols (currency, emoji) and white space are not letters.
_LETTER = regex.compile(r"\p{L}")


def reason_to_drop(line: str, min_tokens: int = 6) -> str | None:
    """Return the reason to drop a line because of its content, None if it is kept.

    A line is dropped if it is empty, has no letter of any script (only numbers, punctuation, symbols), or has too few
    tokens. Tokens are separated by white space, so scripts written without spaces, such as Chinese, need
    `min_tokens=1`.

    Args:
        line: One line, without its line feed.
        min_tokens: The fewest white-space tokens of a line that is kept.

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
    """The decision on a line.

    Attributes:
        text: The line, in Unicode normal form C if `nfc` is set.
        reason: The reason to drop it; None if it is kept.
        sets: The evaluation sets that it matches.
        found: The language found in it, if that is the reason.
    """

    text: str
    reason: str | None
    sets: tuple[str, ...] = ()
    found: str | None = None


@dataclass(frozen=True)
class LineRules:
    """Rules that judge each line independently, so that they work on one machine and on a cluster alike.

    Attributes:
        min_tokens: See `reason_to_drop`.
        nfc: Whether to normalize lines to Unicode normal form C first.
        evaluation: Evaluation sentences. They are checked before the other rules, so that the count of leaks does not
            depend on the other settings.
        language_check: Whether lines are in the language of their file. It is asked last, about the lines that the
            other rules keep.
    """

    min_tokens: int = 6
    nfc: bool = False
    evaluation: EvaluationSentences | None = None
    language_check: LanguageCheck | None = None

    def judge(self, lines: Sequence[str], language: str = "") -> list[Verdict]:
        """Judge each line; the verdicts do not depend on how the text is batched.

        Args:
            lines: The lines.
            language: Their language, in any code; only `language_check` needs it.
        """
        texts = [unicodedata.normalize("NFC", line) for line in lines] if self.nfc else lines
        leaks = [None] * len(texts) if self.evaluation is None else self.evaluation.find(texts)
        verdicts = [
            Verdict(text, reason_to_drop(text, self.min_tokens)) if leak is None else Verdict(text, *leak)
            for text, leak in zip(texts, leaks, strict=True)
        ]
        if self.language_check is not None:
            kept = [place for place, verdict in enumerate(verdicts) if verdict.reason is None]
            judged = self.language_check.judge([texts[place] for place in kept], language)
            for place, (reason, found) in zip(kept, judged, strict=True):
                verdicts[place] = Verdict(texts[place], reason, found=found if reason == OTHER_LANGUAGE else None)
        return verdicts


def clean(
    lines: Iterable[str],
    tally: Tally,
    *,
    min_tokens: int = 6,
    nfc: bool = False,
    drop_duplicates: bool = False,
    evaluation: EvaluationSentences | None = None,
    language: str = "",
    language_check: LanguageCheck | None = None,
) -> Iterator[str]:
    """Yield the lines that are kept, and count all lines.

    Args:
        lines: The lines of one language; read one at a time, or 1,000 at a time if there are evaluation sentences
            or a language check.
        tally: The counts, updated in place.
        min_tokens: See `LineRules`.
        nfc: See `LineRules`.
        drop_duplicates: Whether to drop exact repetitions of an earlier line; this holds 16 bytes per distinct line.
        evaluation: See `LineRules`.
        language: Of the lines, in any code; only `language_check` needs it.
        language_check: See `LineRules`.

    Yields:
        Lines, unchanged except for `nfc`.
    """
    rules = LineRules(min_tokens, nfc, evaluation, language_check)
    seen: set[bytes] = set()
    for batch in in_batches(lines, LINES_AT_ONCE if evaluation or language_check else 1):
        for text, reason, sets, found in rules.judge(batch, language):
            if reason is None and drop_duplicates:
                digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
                if digest in seen:
                    reason = DUPLICATE  # noqa: PLW2901
                seen.add(digest)
            tally.add(text, reason, sets, found)
            if reason is None:
                yield text
