"""From read corpora to what a trainer takes: cleaned, freed of evaluation sentences, a part held out."""

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
from hf_afro.corpora.near_duplicates import find_near_duplicates
from hf_afro.corpora.sources import TextSource

HELD_OUT = "held out, or the same as a line held out"
BEYOND = "beyond max_lines"
"""Among the reasons of a cleaning report, as `HELD_OUT`."""


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
    excluded: EvaluationSentences | Iterable[str] = (),
    min_tokens: int = 6,
    nfc: bool = False,
    drop_duplicates: bool = False,
    near_duplicates: float | None = None,
    max_lines: int | None = None,
    seed: int = 0,
) -> PreparedCorpora:
    """Clean the text of every language, and make sure that nothing evaluated on is trained on.

    Lines that are only numbers or punctuation or are too short are dropped; so is every line that has something of
    the evaluation sentences or of `excluded`, in any language (see `EvaluationSentences`), and every line that says
    what a line held out says.

    Args:
        sources: What `read_corpora` or `load_hub` gave.
        evaluation: Sentences to evaluate on, by language. None: lines of the corpora themselves are held out.
        held_out_lines: How many lines of each language to hold out then, a tenth of its lines at most; 0 for none.
        excluded: Other evaluation sentences, to be taken out.
        min_tokens: Lines of fewer white-space tokens are dropped; 6 in the paper.
        nfc: Whether text is brought to Unicode normal form C.
        drop_duplicates: Whether a line is dropped that came before in its language.
        near_duplicates: Whether a line is dropped that resembles an earlier one of its language: the least similarity,
            such as 0.8; see `hf_afro.corpora.near_duplicates.find_near_duplicates`. None keeps them.
        max_lines: The most lines of a language to train on, the first ones.
        seed: Chooses the lines held out: those whose hash with it is smallest, so that they stay the same when text
            is added.

    Raises:
        ValueError: If nothing is left of a language, or a setting is outside its range.

    References:
        Alabi et al., COLING 2022, section 3, for the cleaning.
    """
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
        lines[language] = list(clean(source, tallies[language], evaluation=unwanted, **rules))
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
                f"nothing is left of {source.origin} after cleaning: {dict(tallies[language].lines)}; give the "
                f"language more text, leave it out, or lower min_tokens, now {min_tokens}"
            )
        if max_lines is not None:
            beyond = np.arange(len(lines[language])) >= max_lines
            lines[language] = _without(lines[language], beyond, BEYOND, tallies[language])
    report = CleaningReport.from_tallies(
        tallies,
        settings={**rules, "near_duplicates": near_duplicates, "evaluation_sentences": len(unwanted)},
        fingerprints={language: source.fingerprint for language, source in sources.items()},
    )
    return PreparedCorpora(lines, given, report)


def _without(lines: list[str], marked: np.ndarray, reason: str, tally: Tally) -> list[str]:
    """Return the lines that are not marked, and count the others, which were counted as read before."""
    for index in np.flatnonzero(marked):
        tally.drop(lines[index], reason)
    return [line for line, out in zip(lines, marked, strict=True) if not out]


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
