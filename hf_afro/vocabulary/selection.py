"""Select the tokens to keep within a budget so that every language stays covered, and measure coverage."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from hf_afro.languages import find_language, script_names
from hf_afro.tokenizer_checks import warn_of_unknown
from hf_afro.version import __version__
from hf_afro.vocabulary.counting import ReadTokenizer, count_as_read
from hf_afro.vocabulary.counts import TokenCounts
from hf_afro.vocabulary.mapping import VocabularyMap
from hf_afro.vocabulary.scripts import character_ids, scripts_in
from hf_afro.vocabulary.tokenizers.backend import kind_named
from hf_afro.vocabulary.tokenizers.table import Needs, TokenizerTable

logger = logging.getLogger(__name__)

_CURVE_POINTS = 24


def select_tokens(
    counts: TokenCounts,
    budget: int | None = None,
    *,
    coverage: float = 0.9995,
    smoothing: float = 0.3,
    scripts: Iterable[str] | None = None,
    keep_characters: bool = True,
    extra_tokens: Iterable[str] = (),
    keep_texts: Iterable[str] = (),
    tokenizer: PreTrainedTokenizerBase | None = None,
    drop_tokens: Iterable[str] = (),
    strict: bool = False,
) -> VocabularyMap:
    """Choose the tokens to keep.

    Always kept are special and added tokens, tokens that the kind of tokenizer needs, user-defined SentencePiece
    tokens (such as mT5's sentinels), the single characters of the scripts, `extra_tokens` and the tokens of
    `keep_texts`. A token that is merged from others is kept only with them. Then the language with the lowest coverage
    gets its most frequent token that is not kept yet, repeatedly, until all languages reach the floor or the budget is
    used up. The rest of the budget goes to the most frequent tokens when languages are sampled with p proportional to
    n^smoothing. The order does not depend on the budget, so a larger budget never removes a token.

    Args:
        counts: Counts of the languages to serve.
        budget: Size of the new vocabulary; None for the smallest one that reaches the floor. Tokens that do not occur
            are not added, so the result may be smaller.
        coverage: The coverage floor: share of each language's known tokens to keep, 0 to 1. Unknown tokens are left
            out, because no budget can keep them; the provenance gives the coverage of all tokens and the share of
            unknown ones, and a high share is warned about.
        smoothing: Exponent of the sizes of the languages for the rest of the budget: 1 for their own sizes, 0 for
            equal sizes.
        scripts: Scripts whose characters are kept, by Unicode name, ISO 15924 code or usual spelling; None for the
            scripts that `hf_afro.languages` lists for the languages or, for unknown languages, those of their text.
            Digits, punctuation and marks that all scripts share are always kept, even with ``()``.
        keep_characters: Whether to keep the single characters of the scripts.
        extra_tokens: More tokens to keep, spelt as in the vocabulary.
        keep_texts: Texts whose tokens are all kept, so that they are split as before: prompts such as ``query: ``. The
            provenance records how many they are and their fingerprint, but not the texts.
        tokenizer: The tokenizer of the counts; needed for `keep_texts` alone.
        drop_tokens: Tokens never to keep, with all tokens merged from them, spelt as in the vocabulary. Single
            characters can be dropped too.
        strict: Raise an error instead of a warning if a language stays below the floor.

    Returns:
        The map. Its provenance has the coverage of each language, the languages below the floor, and the smallest
        budget that would be enough.

    Raises:
        ValueError: If an argument is out of range, a script does not exist, a language has no tokens, a token to keep
            or drop does not exist, one to drop must be kept, the budget is smaller than what must be kept, or, with
            `strict`, a language stays below the floor.

    Example:
        >>> keep = select_tokens(counts, budget=70_000)
        >>> keep.provenance["below_floor"]
        []
    """
    _check(counts, budget, coverage, smoothing)
    named = script_names(scripts) if scripts is not None else wanted_scripts(counts)
    needs = kind_named(counts.table.kind).needs(counts.table)
    extra = _ids_of(counts.table, extra_tokens, "extra_tokens")
    texts = _given(keep_texts, "keep_texts", "texts")
    of_texts = _ids_in(texts, counts.table, tokenizer)
    dropped = _with_what_they_make(_ids_of(counts.table, drop_tokens, "drop_tokens"), len(counts.table), needs)
    reasons = _must_keep(
        counts, named if keep_characters else None, {"extra": extra, "texts": of_texts}, dropped, needs
    )
    _check_dropped(counts.table, reasons, dropped)
    must = np.unique(np.concatenate(list(reasons.values())))
    _check_holds(budget, must, reasons, named)
    order = selection_order(counts, must, coverage, smoothing, needs, dropped)
    enough = len(must) + order.for_floor
    smallest = enough if order.reaches_floor else None
    size = enough if budget is None else min(budget, len(must) + len(order.ids))
    if budget is not None and size < budget:
        logger.info("only %d tokens occur or must be kept; the budget of %d is not used up", size, budget)
    chosen = order.ids[: size - len(must)]
    kept = np.sort(np.concatenate([must, chosen]))
    report = measure_coverage(counts, kept, must=must, floor=coverage)
    warn_of_unknown({name: one.unknown_rate for name, one in report.items()})
    below = [name for name, one in report.items() if not one.reaches_floor]
    if below:
        _tell_who_starves(below, budget, coverage, smallest, strict)
    provenance = {
        "languages": list(counts.languages),
        "scripts": list(named),
        "budget": budget,
        "coverage_floor": coverage,
        "smoothing": smoothing,
        "keep_characters": keep_characters,
        "old_size": len(counts.table),
        "new_size": len(kept),
        "must_keep": {name: len(ids) for name, ids in reasons.items()},
        **({"keep_texts": {"texts": len(texts), "fingerprint": _fingerprint_of(texts)}} if texts else {}),
        "dropped": int(np.count_nonzero(dropped)),
        "below_floor": below,
        "smallest_budget": smallest,
        "coverage": {name: one.as_dict() for name, one in report.items()},
        "curve": coverage_curve(counts, must, chosen),
        **_origin(counts),
    }
    table = counts.table
    return VocabularyMap(kept, len(table), table.unknown_id, table.fingerprint, provenance)


def _origin(counts: TokenCounts) -> dict[str, Any]:
    """Return the part of the provenance about the counts and the library versions."""
    return {
        "counts_fingerprint": counts.fingerprint,
        "counted": counts.provenance,
        "sizes": {language: dataclasses.asdict(size) for language, size in counts.sizes.items()},
        "versions": {"hf_afro": __version__, **_library_versions()},
    }


@functools.cache
def _library_versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("tokenizers", "transformers", "numpy", "regex")}


def _check(counts: TokenCounts, budget: int | None, coverage: float, smoothing: float) -> None:
    if not 0 <= coverage <= 1:
        raise ValueError(f"coverage is a share of running tokens, 0 to 1; received {coverage}")
    if not 0 <= smoothing <= 1:
        raise ValueError(f"smoothing is an exponent from 0 to 1; received {smoothing}")
    if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int) or budget < 1):
        raise ValueError(f"budget is a number of tokens, at least 1, or None; received {budget!r}")
    if not counts.languages:
        raise ValueError("there are no languages in the counts; expected at least one")
    empty = [language for language, total in counts.total.items() if not total]
    if empty:
        raise ValueError(f"no tokens were counted for {', '.join(empty)}; give text or leave the language out")


def wanted_scripts(counts: TokenCounts) -> tuple[str, ...]:
    """Return the scripts of the counted languages: from `hf_afro.languages` or, if unknown there, from their text."""
    found: set[str] = set()
    for language in counts.languages:
        try:
            known = find_language(language).scripts
        except ValueError:  # the name need not be a language code
            known = ()
        found.update(known or scripts_in(counts.table, counts.of(language)[None]))
    return tuple(sorted(found))


def _ids_of(table: TokenizerTable, tokens: Iterable[str], name: str) -> list[int]:
    """Return the ids of tokens given by the caller."""
    wanted = _given(tokens, name, "tokens")
    ids = {piece: index for index, piece in enumerate(table.pieces)} if wanted else {}
    missing = [token for token in wanted if token not in ids]
    if missing:
        raise ValueError(
            f"not in the vocabulary: {', '.join(map(repr, missing))}; {name} are spelt as tokens, "
            "the mark of a word's start included"
        )
    return [ids[token] for token in wanted]


def _given(values: Iterable[str], name: str, what: str) -> list[str]:
    if isinstance(values, str):
        raise ValueError(f"{name} is one str, {values!r}; expected an iterable of {what}")
    return list(values)


def _ids_in(texts: list[str], table: TokenizerTable, tokenizer: PreTrainedTokenizerBase | None) -> list[int]:
    """Return the ids that texts are split into."""
    if not texts:
        return []
    if tokenizer is None:
        raise ValueError("keep_texts needs the tokenizer that splits them; pass tokenizer=, that of the counts")
    counted = count_as_read({"keep_texts": texts}, ReadTokenizer.read(tokenizer))
    if counted.table.fingerprint != table.fingerprint:
        raise ValueError(
            f"the tokenizer ({len(counted.table)} tokens) is not that of the counts ({len(table)} tokens); pass the "
            "one that the text was counted with"
        )
    return np.flatnonzero(counted.counts[0]).tolist()


def _fingerprint_of(texts: list[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:32]


def _check_holds(
    budget: int | None, must: np.ndarray, reasons: dict[str, np.ndarray], scripts: tuple[str, ...]
) -> None:
    if budget is not None and budget < len(must):
        sizes = ", ".join(f"{name} {len(ids)}" for name, ids in reasons.items())
        raise ValueError(
            f"a budget of {budget} does not hold the {len(must)} tokens that must be kept ({sizes}); give at least "
            f"{len(must)}, fewer scripts than {', '.join(scripts)} (scripts=, --scripts), or keep none of their "
            "characters unasked (keep_characters=False, --no_characters)"
        )


def _tell_who_starves(
    below: list[str], budget: int | None, coverage: float, smallest: int | None, strict: bool
) -> None:
    """Warn about languages below the floor, or raise if `strict`."""
    kept = "what is kept" if budget is None else f"a budget of {budget} tokens"
    enough = "no budget would do, because of drop_tokens"
    if smallest is not None:
        enough = f"the smallest budget that would do is {smallest}"
    message = f"{kept} leaves {', '.join(below)} below the coverage floor of {coverage:.4%}; {enough}"
    if strict:
        raise ValueError(message)
    logger.warning(message)


def _with_what_they_make(unwanted: list[int], size: int, needs: Needs) -> np.ndarray:
    """Mark tokens and all tokens merged from them, ``[size]`` bool."""
    dropped = np.zeros(size, dtype=bool)
    dropped[unwanted] = True
    if unwanted:
        for token in range(size):
            dropped[token] |= any(dropped[part] for part in needs(token))
    return dropped


def _must_keep(
    counts: TokenCounts,
    scripts: tuple[str, ...] | None,
    given: dict[str, list[int]],
    dropped: np.ndarray,
    needs: Needs,
) -> dict[str, np.ndarray]:
    """Return the ids that are always kept, by reason; those that the caller asks for are given by theirs."""
    table = counts.table
    reasons: dict[str, Any] = {"special": table.always_kept}
    # Of equivalent tokens, prefer one that is not dropped.
    reasons |= kind_named(table.kind).companions(table, np.where(dropped, -1, counts.counts.sum(axis=0)))
    if scripts is not None:
        reasons["characters"] = [one for one in character_ids(table, scripts).tolist() if not dropped[one]]
    reasons |= {name: ids for name, ids in given.items() if ids}
    kept = {one for ids in reasons.values() for one in ids}
    parts = {part for one in kept for part in needs(int(one))} - kept
    if parts:
        reasons["parts"] = list(parts)
    return {name: np.unique(np.asarray(value, dtype=np.int64)) for name, value in reasons.items()}


def _check_dropped(table: TokenizerTable, reasons: dict[str, np.ndarray], dropped: np.ndarray) -> None:
    for reason, ids in reasons.items():
        both = [table.pieces[one] for one in ids[dropped[ids]].tolist()]
        if both:
            raise ValueError(
                f"drop_tokens would drop what must be kept ({reason}): {', '.join(map(repr, both[:10]))}; take it off "
                "the list, with the tokens it is merged from"
            )


@dataclass(frozen=True)
class SelectionOrder:
    """The order in which tokens are selected.

    Attributes:
        ids: Old ids besides those that must be kept, in the order of selection: every token that occurs, each after
            the tokens it needs.
        for_floor: Number of them needed until all languages reach the floor, or come as close as they can.
        reaches_floor: Whether all reach it, which only dropped tokens can prevent.
    """

    ids: np.ndarray
    for_floor: int
    reaches_floor: bool


def selection_order(
    counts: TokenCounts, must: np.ndarray, coverage: float, smoothing: float, needs: Needs, dropped: np.ndarray
) -> SelectionOrder:
    """Order all tokens that occur and are not dropped by priority; see `select_tokens`."""
    known = counts.counts.astype(np.float64)
    known[:, list(counts.table.lost_ids)] = 0
    totals = known.sum(axis=1)
    shares = known / np.maximum(totals, 1)[:, None]
    taken = np.zeros(known.shape[1], dtype=bool)
    taken[must] = True
    known[:, dropped] = 0  # still part of their languages' totals, but not selectable
    shares[:, dropped] = 0
    first, reaches_floor = _raise_the_least_covered(known, totals, taken, coverage, needs)
    weights = np.maximum(totals, 1) ** smoothing
    worth = (weights / weights.sum()) @ shares
    worth[taken] = 0
    order = list(first)
    for token in np.argsort(-worth, kind="stable")[: np.count_nonzero(worth)].tolist():
        order += _take(token, taken, needs)
    return SelectionOrder(np.array(order, dtype=np.int64), len(first), reaches_floor)


def _take(token: int, taken: np.ndarray, needs: Needs) -> list[int]:
    """Mark a token and the tokens it needs as taken; return the new ones, needed ones first."""
    new = [one for one in (*needs(token), token) if not taken[one]]
    taken[new] = True
    return new


def _raise_the_least_covered(
    known: np.ndarray, totals: np.ndarray, taken: np.ndarray, coverage: float, needs: Needs
) -> tuple[list[int], bool]:
    """Take tokens for the language with the lowest coverage until all reach the floor; mark them in `taken`.

    Returns:
        The tokens in order, and whether all languages reached the floor; one whose tokens are all taken stays below.
    """
    ranks = [np.argsort(-row, kind="stable") for row in known]
    place = [0] * len(known)
    covered = known[:, taken].sum(axis=1)  # integers, so sums in float64 are exact
    columns = np.ascontiguousarray(known.T)
    first: list[int] = []
    exhausted = totals == 0  # no known tokens
    divisors = np.maximum(totals, 1)
    while not exhausted.all():
        least = int(np.argmin(np.where(exhausted, np.inf, covered / divisors)))
        if covered[least] >= coverage * totals[least]:
            break
        rank, row = ranks[least], known[least]
        while place[least] < len(rank) and taken[rank[place[least]]]:
            place[least] += 1
        if place[least] == len(rank) or not row[rank[place[least]]]:
            exhausted[least] = True
            continue
        new = _take(int(rank[place[least]]), taken, needs)
        first += new
        for token in new:
            covered += columns[token]
    return first, bool(np.all(covered >= coverage * totals))


@dataclass(frozen=True)
class LanguageCoverage:
    """The coverage of one language.

    Attributes:
        running_tokens: Number of tokens of its text in the old vocabulary.
        coverage: Share of them that is kept, 0 to 1; unknown tokens are not covered.
        unknown_rate: Share of unknown tokens before pruning, 0 to 1. It and `coverage` add up to 1 if everything is
            kept.
        tokens_per_word: Tokens per word before pruning (fertility).
        tokens_seen: Number of distinct tokens in its text.
        kept_for_it_alone: Number of selected tokens that occur in no other counted language.
        reaches_floor: Whether the kept share of its known tokens reaches the floor.
    """

    running_tokens: int
    coverage: float
    unknown_rate: float
    tokens_per_word: float
    tokens_seen: int
    kept_for_it_alone: int
    reaches_floor: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the values as a dict for JSON."""
        return dataclasses.asdict(self)


def measure_coverage(
    counts: TokenCounts, old_ids: np.ndarray, *, must: np.ndarray | None = None, floor: float = 0.0
) -> dict[str, LanguageCoverage]:
    """Measure how a selection of tokens covers each language of some counts by the same tokenizer.

    Args:
        counts: The counts, of the same or other text than was selected from.
        old_ids: The old ids kept.
        must: Old ids that were always kept, which do not count for `kept_for_it_alone`.
        floor: The coverage floor, 0 to 1.
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
            tokens_per_word=running / max(counts.sizes[language].words, 1),
            tokens_seen=int(np.count_nonzero(row)),
            kept_for_it_alone=int(np.count_nonzero(free & (row > 0) & (in_languages == 1))),
            reaches_floor=covered >= floor * known,
        )
    return report


def coverage_curve(counts: TokenCounts, must: np.ndarray, chosen: np.ndarray) -> dict[str, Any]:
    """Return the coverage of smaller budgets, for plotting.

    Args:
        counts: The counts selected from.
        must: Old ids that are always kept.
        chosen: The other old ids in the order of selection.

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
