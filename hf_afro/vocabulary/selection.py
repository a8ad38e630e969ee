"""select_tokens: choose the pieces worth keeping so that no language starves, within a budget."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_afro.languages import find_language, script_names
from hf_afro.unknown_text import warn_of_unknown
from hf_afro.version import __version__
from hf_afro.vocabulary.counts import TokenCounts
from hf_afro.vocabulary.coverage import coverage_curve, measure_coverage
from hf_afro.vocabulary.mapping import VocabularyMap
from hf_afro.vocabulary.scripts import character_ids, scripts_in
from hf_afro.vocabulary.tokenizers.backend import kind_named
from hf_afro.vocabulary.tokenizers.table import Needs, TokenizerTable

logger = logging.getLogger(__name__)


def select_tokens(
    counts: TokenCounts,
    budget: int | None = None,
    *,
    coverage: float = 0.9995,
    smoothing: float = 0.3,
    scripts: Iterable[str] | None = None,
    keep_characters: bool = True,
    extra_tokens: Iterable[str] = (),
    drop_tokens: Iterable[str] = (),
    strict: bool = False,
) -> VocabularyMap:
    """Choose the tokens to keep.

    Kept whatever happens are the special and added tokens, what the tokenizer's kind cannot do without, the pieces
    that were defined for SentencePiece and not learnt (mT5's sentinels), the single characters of the scripts wanted
    and `extra_tokens`. A token that is merged out of others never comes without them:
    they are taken first, seen or not. Then, again and again, the language that is covered least
    gets its most frequent token not kept yet, until all reach the floor or the budget is spent. What is left of the
    budget goes to the tokens that are most frequent when the languages are sampled with p proportional to n^smoothing.
    The order is fixed before the budget is looked at, so a larger budget never takes a token away.

    Args:
        counts: Counts of the languages to serve.
        budget: Size of the new vocabulary in tokens; None for just what the floor needs. Tokens never seen are not
            added, so the result may be smaller.
        coverage: The floor: share of the running tokens of each language to keep as they are, of those that the
            tokenizer knows, 0 to 1. What it does not know no budget can keep, so that a language with 60 % of unknown
            tokens reaches any floor with 40 % of its tokens; the provenance gives the coverage over all running tokens
            and the share of unknown ones, and a high share is warned of.
        smoothing: Exponent of the sizes of the languages for the rest of the budget: 1 as they are, 0 all alike.
        scripts: Scripts whose characters are kept, by their Unicode names, ISO 15924 codes or usual spellings; None
            for those that `hf_afro.languages` gives for the languages counted, and, where it knows none for a
            language, those found in its text. Digits, punctuation and marks that all scripts share are kept with any,
            and with none (``()``).
        keep_characters: Whether to keep the single characters of the scripts.
        extra_tokens: Pieces to keep besides, spelt as in the vocabulary.
        drop_tokens: Pieces not to keep however often they occur, and with them all that are merged out of them; spelt
            as in the vocabulary. Single characters can be dropped too.
        strict: Raise where a language stays below the floor, instead of warning.

    Returns:
        The map; its provenance says how each language fares, which are below the floor, and the smallest budget that
        would do.

    Raises:
        ValueError: If an argument is out of range, there is no such script, a language has no tokens, a token to keep
            or drop does not exist, one to drop must be kept, the budget does not even hold what must be kept, or, with
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
    dropped = _with_what_they_make(_ids_of(counts.table, drop_tokens, "drop_tokens"), len(counts.table), needs)
    reasons = _must_keep(counts, named if keep_characters else None, extra, dropped, needs)
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
    """Return what was counted, and with which versions it was chosen from."""
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
    """Return the scripts of the counted languages: from `hf_afro.languages`, or, if unknown there, from the text."""
    found: set[str] = set()
    for language in counts.languages:
        try:
            known = find_language(language).scripts
        except ValueError:  # what was counted need not be called by a code
            known = ()
        found.update(known or scripts_in(counts.table, counts.of(language)[None]))
    return tuple(sorted(found))


def _ids_of(table: TokenizerTable, tokens: Iterable[str], name: str) -> list[int]:
    """Return the ids of pieces that the caller names."""
    if isinstance(tokens, str):
        raise ValueError(f"{name} is one str, {tokens!r}; expected an iterable of pieces")
    wanted = list(tokens)
    ids = {piece: index for index, piece in enumerate(table.pieces)} if wanted else {}
    missing = [token for token in wanted if token not in ids]
    if missing:
        raise ValueError(
            f"not in the vocabulary: {', '.join(map(repr, missing))}; {name} are spelt as pieces, "
            "the mark of a word's start included"
        )
    return [ids[token] for token in wanted]


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
    """Warn of the languages below the floor, or, if strict, raise."""
    kept = "what is kept" if budget is None else f"a budget of {budget} tokens"
    enough = "no budget would do, because of drop_tokens"
    if smallest is not None:
        enough = f"the smallest budget that would do is {smallest}"
    message = f"{kept} leaves {', '.join(below)} below the coverage floor of {coverage:.4%}; {enough}"
    if strict:
        raise ValueError(message)
    logger.warning(message)


def _with_what_they_make(unwanted: list[int], size: int, needs: Needs) -> np.ndarray:
    """Mark tokens and all that are merged out of them, ``[size]`` bool."""
    dropped = np.zeros(size, dtype=bool)
    dropped[unwanted] = True
    if unwanted:
        for token in range(size):
            dropped[token] |= any(dropped[part] for part in needs(token))
    return dropped


def _must_keep(
    counts: TokenCounts, scripts: tuple[str, ...] | None, extra: list[int], dropped: np.ndarray, needs: Needs
) -> dict[str, np.ndarray]:
    """Return the ids that are kept whatever the counts say, by reason."""
    table = counts.table
    reasons: dict[str, Any] = {"special": table.always_kept}
    # Of pieces that would do alike, one that is not to be dropped.
    reasons |= kind_named(table.kind).companions(table, np.where(dropped, -1, counts.counts.sum(axis=0)))
    if scripts is not None:
        reasons["characters"] = [one for one in character_ids(table, scripts).tolist() if not dropped[one]]
    if extra:
        reasons["extra"] = extra
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
                "the list, with the pieces it is merged out of"
            )


@dataclass(frozen=True)
class SelectionOrder:
    """The order in which tokens are taken in.

    Attributes:
        ids: Old ids beyond those that must be kept, the first to be taken first; every token seen is among them, and
            what a token needs stands before it.
        for_floor: How many of them all languages need to reach the floor, or to come as near as they can.
        reaches_floor: Whether all reach it; only tokens that are never to be kept stand in the way of that.
    """

    ids: np.ndarray
    for_floor: int
    reaches_floor: bool


def selection_order(
    counts: TokenCounts, must: np.ndarray, coverage: float, smoothing: float, needs: Needs, dropped: np.ndarray
) -> SelectionOrder:
    """Put all tokens seen, but those dropped, in the order in which they are worth keeping; see `select_tokens`."""
    known = counts.counts.astype(np.float64)
    known[:, list(counts.table.lost_ids)] = 0
    totals = known.sum(axis=1)
    shares = known / np.maximum(totals, 1)[:, None]
    taken = np.zeros(known.shape[1], dtype=bool)
    taken[must] = True
    known[:, dropped] = 0  # of their languages' totals still, but nothing that could be taken
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
    """Mark a token as taken, and before it what it needs; return those that were not taken yet."""
    new = [one for one in (*needs(token), token) if not taken[one]]
    taken[new] = True
    return new


def _raise_the_least_covered(
    known: np.ndarray, totals: np.ndarray, taken: np.ndarray, coverage: float, needs: Needs
) -> tuple[list[int], bool]:
    """Take tokens for the language covered least until all reach the floor; marks them in `taken`.

    Returns:
        The tokens in the order taken, and whether the floor was reached: a language whose tokens are all taken is
        left where it is.
    """
    ranks = [np.argsort(-row, kind="stable") for row in known]
    place = [0] * len(known)
    covered = known[:, taken].sum(axis=1)  # whole numbers, so sums are exact in float64
    columns = np.ascontiguousarray(known.T)
    first: list[int] = []
    exhausted = totals == 0  # nothing known to cover
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
