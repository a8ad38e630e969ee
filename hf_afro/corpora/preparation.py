"""From read corpora to what a trainer takes: cleaned, freed of evaluation sentences, a part held out."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hf_afro.corpora.cleaning import CleaningReport, clean
from hf_afro.corpora.decontamination import EvaluationSentences
from hf_afro.corpora.sources import TextSource

HELD_OUT = "held out, or the same as a line held out"
"""Among the reasons of a cleaning report."""


@dataclass(frozen=True)
class PreparedCorpora:
    """Text ready to be trained and evaluated on.

    Attributes:
        train: The lines of each language.
        evaluation: Sentences held out, by language; those given where any were.
        report: What was read and dropped, by language and reason.
    """

    train: dict[str, list[str]]
    evaluation: dict[str, list[str]]
    report: CleaningReport


def prepare_corpora(
    sources: Mapping[str, TextSource],
    *,
    evaluation: Mapping[str, Iterable[str]] | None = None,
    held_out_lines: int = 200,
    excluded: Iterable[str] = (),
    min_tokens: int = 6,
    drop_duplicates: bool = False,
    seed: int = 0,
) -> PreparedCorpora:
    """Clean the text of every language, and make sure that nothing evaluated on is trained on.

    Lines that are only numbers or punctuation or are too short are dropped; so is every line that says what a
    sentence of the evaluation, of the lines held out or of `excluded` says, in any language.

    Args:
        sources: What `read_corpora` or `load_hub` gave.
        evaluation: Sentences to evaluate on, by language. None: lines of the corpora themselves are held out.
        held_out_lines: How many lines of each language to hold out then, a tenth of its lines at most; 0 for none.
        excluded: Sentences of other evaluation sets, to be taken out.
        min_tokens: Lines of fewer white-space tokens are dropped; 6 in the paper.
        drop_duplicates: Whether a line is dropped that came before in its language.
        seed: Chooses the lines held out: those whose hash with it is smallest, so that they stay the same when text
            is added.

    Raises:
        ValueError: If nothing is left of a language.

    References:
        Alabi et al., COLING 2022, section 3, for the cleaning.
    """
    given = {} if evaluation is None else {code: list(filter(str.strip, lines)) for code, lines in evaluation.items()}
    unwanted = EvaluationSentences.of({**given, "excluded": excluded})
    counts: dict[str, Counter[str]] = {language: Counter() for language in sources}
    lines = {
        language: list(
            clean(
                source,
                counts[language],
                min_tokens=min_tokens,
                drop_duplicates=drop_duplicates,
                evaluation=unwanted,
            )
        )
        for language, source in sources.items()
    }
    if evaluation is None:
        given = {language: chosen for language in lines if (chosen := hold_out(lines[language], held_out_lines, seed))}
    held_out = EvaluationSentences.of(given)
    train = {language: [line for line in own if line not in held_out] for language, own in lines.items()}
    for language, source in sources.items():
        counts[language][HELD_OUT] = len(lines[language]) - len(train[language])
        if not train[language]:
            raise ValueError(
                f"nothing is left of {source.origin} after cleaning: {dict(counts[language])}; give the language more "
                f"text, leave it out, or lower min_tokens, now {min_tokens}"
            )
    settings = {"min_tokens": min_tokens, "drop_duplicates": drop_duplicates, "evaluation_sentences": len(unwanted)}
    fingerprints = {language: source.fingerprint for language, source in sources.items()}
    return PreparedCorpora(
        train, given, CleaningReport.from_counts(counts, settings=settings, fingerprints=fingerprints)
    )


def hold_out(lines: list[str], count: int, seed: int) -> list[str]:
    """Choose the lines of one language to hold out.

    Args:
        lines: The lines.
        count: How many different ones; a tenth of the lines at most.
        seed: Changes which.
    """

    def rank(line: str) -> bytes:
        return hashlib.blake2b(f"{seed} {line}".encode(), digest_size=16).digest()

    return heapq.nsmallest(min(count, len(lines) // 10), sorted(set(lines)), key=rank)
