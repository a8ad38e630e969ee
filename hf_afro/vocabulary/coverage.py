"""How much of each language's text a choice of tokens leaves as it was."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_afro.vocabulary.counts import TokenCounts

_CURVE_POINTS = 24


@dataclass(frozen=True)
class LanguageCoverage:
    """How one language fares.

    Attributes:
        running_tokens: Tokens of its text, in the old vocabulary.
        coverage: Share of all of those whose piece is kept, 0 to 1; an unknown one is not covered.
        unknown_rate: Share of the running tokens that the old tokenizer did not know, 0 to 1. Coverage and this add up
            to 1 where everything is kept.
        tokens_a_word: Running tokens over words, before pruning.
        tokens_seen: Different tokens in its text.
        kept_for_it_alone: Tokens kept, not because they must be, that occur in no other language counted.
        reaches_floor: Whether the share kept of the tokens that the old tokenizer knew reaches the floor asked for:
            what it does not know no choice can keep.
    """

    running_tokens: int
    coverage: float
    unknown_rate: float
    tokens_a_word: float
    tokens_seen: int
    kept_for_it_alone: int
    reaches_floor: bool

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dataclasses.asdict(self)


def measure_coverage(
    counts: TokenCounts, old_ids: np.ndarray, *, must: np.ndarray | None = None, floor: float = 0.0
) -> dict[str, LanguageCoverage]:
    """Judge a choice of tokens on counts: those it was made from, or others of the same tokenizer.

    Args:
        counts: Counts of the languages to judge by.
        old_ids: Old ids kept.
        must: Old ids kept whatever the counts said; they are nobody's alone.
        floor: The share of its known tokens each language should keep, 0 to 1.
    """
    kept = np.zeros(len(counts.table), dtype=bool)
    kept[old_ids] = True
    free = kept.copy()
    if must is not None:
        free[must] = False
    in_languages = np.count_nonzero(counts.counts, axis=0)
    report = {}
    for language, row in zip(counts.languages, counts.counts, strict=True):
        running = int(row.sum())
        unknown = int(row[list(counts.table.lost_ids)].sum())
        known = running - unknown
        covered = int(row[kept].sum()) - unknown  # the unknown token is always kept
        report[language] = LanguageCoverage(
            running_tokens=running,
            coverage=covered / running if running else 1.0,
            unknown_rate=unknown / running if running else 0.0,
            tokens_a_word=running / max(counts.sizes[language].words, 1),
            tokens_seen=int(np.count_nonzero(row)),
            kept_for_it_alone=int(np.count_nonzero(free & (row > 0) & (in_languages == 1))),
            reaches_floor=covered >= floor * known,
        )
    return report


def coverage_curve(counts: TokenCounts, must: np.ndarray, chosen: np.ndarray) -> dict[str, Any]:
    """Return what smaller budgets would have covered, ready to be plotted.

    Args:
        counts: The counts selected from.
        must: Old ids kept whatever the budget.
        chosen: The other old ids kept, the first to be taken first.

    Returns:
        ``{"budgets": [points], "coverage": {language: [points]}}``; coverage as in `LanguageCoverage`.
    """
    taken = np.unique(np.linspace(0, len(chosen), _CURVE_POINTS).astype(int))
    curve: dict[str, list[float]] = {}
    for language, row in zip(counts.languages, counts.counts, strict=True):
        row, running = row.astype(np.float64), row.sum()
        row[list(counts.table.lost_ids)] = 0
        covered = row[must].sum() + np.concatenate([[0.0], np.cumsum(row[chosen])])
        curve[language] = [round(float(value), 6) for value in covered[taken] / max(running, 1)]
    return {"budgets": (len(must) + taken).tolist(), "coverage": curve}
