"""Preparation of training text: cleaning, decontamination, near-duplicates, and held-out lines."""

from __future__ import annotations

import hashlib
import heapq
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_afro.corpora.cleaning import clean
from hf_afro.corpora.cleaning_report import NEAR_DUPLICATE, CleaningReport, Tally
from hf_afro.corpora.decontamination import EvaluationSentences
from hf_afro.corpora.language_identification import LanguageCheck
from hf_afro.corpora.near_duplicates import find_near_duplicates
from hf_afro.corpora.reading import TextSource

HELD_OUT = "held out, or the same as a line held out"
BEYOND = "beyond max_lines"
"""Reasons of a cleaning report, beside those of `cleaning_report`."""


@dataclass(frozen=True)
class PreparedCorpora:
    """Text for training and evaluation.

    Attributes:
        train: The training lines of each language.
        evaluation: The evaluation sentences of each language, given or held out.
        report: Counts of the lines read and dropped.
    """

    train: dict[str, list[str]]
    evaluation: dict[str, list[str]]
    report: CleaningReport


def prepare_corpora(
    sources: Mapping[str, TextSource],
    *,
    evaluation: Mapping[str, Iterable[str]] | None = None,
    held_out_lines: int = 200,
    excluded: EvaluationSentences | Iterable[str] = (),
    min_tokens: int = 6,
    nfc: bool = False,
    drop_duplicates: bool = False,
    near_duplicates: float | None = None,
    language_check: LanguageCheck | None = None,
    max_lines: int | None = None,
    seed: int = 0,
) -> PreparedCorpora:
    """Clean the text of every language, and keep everything that is evaluated on out of the training text.

    Dropped are lines that are empty, too short or without letters; lines in any language that match the evaluation
    sentences or `excluded` (see `EvaluationSentences`); with `language_check`, lines in another language than their
    file's; and copies of held-out lines.

    Args:
        sources: The result of `read_corpora` or `load_hub`.
        evaluation: Evaluation sentences by language. None: lines of the corpora are held out.
        held_out_lines: Lines of each language to hold out, at most a tenth of them; 0 for none.
        excluded: Further evaluation sentences to exclude from training.
        min_tokens: The fewest white-space tokens of a line; 6 in the paper.
        nfc: Whether to normalize text to Unicode normal form C.
        drop_duplicates: Whether to drop exact repetitions within a language.
        near_duplicates: Drop lines that are at least this similar to an earlier line of their language, such as 0.8;
            None keeps them. See `find_near_duplicates`.
        language_check: Drop lines that are not in the language of their source; None keeps them.
        max_lines: The most training lines of a language; the first ones are kept.
        seed: Seed of the choice of held-out lines, which have the smallest hashes, so that the choice is stable when
            text is added.

    Raises:
        ValueError: If nothing is left of a language, a setting is outside its range, or `language_check` does not
            know a language.

    References:
        Alabi et al., COLING 2022, section 3, for the cleaning.
    """
    if language_check is not None:
        language_check.check_knows(sources)
    given = {
        code: [unicodedata.normalize("NFC", line) if nfc else line for line in lines if line.strip()]
        for code, lines in (evaluation or {}).items()
    }
    others = excluded if isinstance(excluded, EvaluationSentences) else EvaluationSentences.of({"excluded": excluded})
    unwanted = others.and_of({f"evaluation text/{code}": lines for code, lines in given.items()})
    tallies = {language: Tally() for language in sources}
    rules: dict[str, Any] = {"min_tokens": min_tokens, "nfc": nfc, "drop_duplicates": drop_duplicates}
    lines: dict[str, list[str]] = {}
    for language, source in sources.items():
        kept = clean(
            source, tallies[language], evaluation=unwanted, language=language, language_check=language_check, **rules
        )
        lines[language] = list(kept)
        if near_duplicates is not None:
            marked = find_near_duplicates(lines[language], near_duplicates)
            lines[language] = _without(lines[language], marked, NEAR_DUPLICATE, tallies[language])
    if evaluation is None:
        given = {language: chosen for language in lines if (chosen := hold_out(lines[language], held_out_lines, seed))}
    held_out = EvaluationSentences.of(given)
    for language, source in sources.items():
        marked = np.array([line in held_out for line in lines[language]], dtype=bool)
        lines[language] = _without(lines[language], marked, HELD_OUT, tallies[language])
        if not lines[language]:
            raise ValueError(
                f"nothing is left of {source.origin} after cleaning: {dict(tallies[language].lines)}; add text, leave "
                f"the language out, or lower min_tokens, which is {min_tokens}"
            )
        if max_lines is not None:
            beyond = np.arange(len(lines[language])) >= max_lines
            lines[language] = _without(lines[language], beyond, BEYOND, tallies[language])
    report = CleaningReport.from_tallies(
        tallies,
        settings={
            **rules,
            "near_duplicates": near_duplicates,
            "evaluation_sentences": len(unwanted),
            **({} if language_check is None else language_check.settings),
        },
        fingerprints={language: source.fingerprint for language, source in sources.items()},
    )
    return PreparedCorpora(lines, given, report)


def _without(lines: list[str], marked: np.ndarray, reason: str, tally: Tally) -> list[str]:
    """Return the lines that are not marked, and count the others as dropped."""
    for index in np.flatnonzero(marked):
        tally.drop(lines[index], reason)
    return [line for line, out in zip(lines, marked, strict=True) if not out]


def hold_out(lines: list[str], count: int, seed: int) -> list[str]:
    """Choose distinct lines of one language to hold out: `count`, but at most a tenth of the lines."""

    def rank(line: str) -> bytes:
        return hashlib.blake2b(f"{seed} {line}".encode(), digest_size=16).digest()

    return heapq.nsmallest(min(count, len(lines) // 10), sorted(set(lines)), key=rank)
