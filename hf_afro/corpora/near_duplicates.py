"""Near-duplicate lines: candidates by MinHash, verified by the similarity of their shingles.

References:
    Broder, "On the resemblance and containment of documents", Compression and Complexity of Sequences 1997.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hf_afro.corpora.decontamination import comparable

SHINGLE = 5
"""Characters per shingle; short, for languages with many suffixes and for scripts without spaces."""

THRESHOLD = 0.8
BANDS, ROWS = 12, 4
"""Two lines are compared if one of their 12 bands of 4 minima is equal: with probability 1 - (1 - s^4)^12 at a
similarity s, which is 0.998 at 0.8 and 0.54 at 0.5."""

_CHARACTERS_AT_ONCE = 1 << 16  # small enough for the cache of a core
_GENERATOR = np.random.default_rng(5)
_PLACES = _GENERATOR.integers(2**63, size=SHINGLE, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_FACTORS = _GENERATOR.integers(2**31, size=BANDS * ROWS, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
_ADDENDS = _GENERATOR.integers(2**32, size=BANDS * ROWS, dtype=np.uint32)
_FOLD = _GENERATOR.integers(2**63, size=ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


def find_near_duplicates(lines: Sequence[str], threshold: float = THRESHOLD) -> np.ndarray:
    """Mark the lines that resemble an earlier one.

    The similarity of two lines is the Jaccard similarity of their shingles, runs of 5 characters, ignoring case,
    punctuation and spaces. MinHash chooses the pairs to compare, so a few pairs are missed, but no line below the
    threshold is marked. In each band a line is compared with the first and the latest earlier line of its bucket,
    even if those are marked themselves.

    Args:
        lines: The lines of one language. Beside them, 96 bytes per line and 8 bytes per compared pair are held; a line
            is compared with at most 24 others.
        threshold: The least similarity of near-duplicates, above 0 and at most 1; below 0.7 more pairs are missed.

    Returns:
        Whether each line is a near-duplicate, bool ``[lines]``; the first line of a group is never marked. The result
        is the same in every process.

    Raises:
        ValueError: If the threshold is outside its range.
    """
    if not 0.0 < threshold <= 1.0:
        raise ValueError(f"threshold is {threshold}; expected a similarity above 0 and at most 1")
    marked: np.ndarray = np.zeros(len(lines), dtype=bool)
    for one, other in _pairs(band_keys(lines)):
        if not marked[other] and similarity(lines[one], lines[other]) >= threshold:
            marked[other] = True
    return marked


def similarity(one: str, other: str) -> float:
    """Return the Jaccard similarity of the shingles of two lines, 0 to 1; it is 1 for two lines without text."""
    mine, theirs = _shingles(comparable(one)), _shingles(comparable(other))
    return len(mine & theirs) / len(mine | theirs)


def band_keys(lines: Sequence[str]) -> np.ndarray:
    """Return the keys of each line, uint64 ``[lines, 12]``: similar lines share one, others hardly ever."""
    parts = [_minima(texts).reshape(-1, BANDS, ROWS) for texts in _blocks(lines)]
    if not parts:
        return np.empty((0, BANDS), np.uint64)
    return np.concatenate([(part * _FOLD).sum(axis=2, dtype=np.uint64) for part in parts])


def _blocks(lines: Sequence[str]) -> Iterator[list[str]]:
    """Yield comparable lines in blocks of characters; the shortest are padded to one shingle."""
    block: list[str] = []
    size = 0
    for line in lines:
        text = comparable(line).ljust(SHINGLE, "\0")
        block.append(text)
        size += len(text)
        if size >= _CHARACTERS_AT_ONCE:
            yield block
            block, size = [], 0
    if block:
        yield block


def _minima(texts: Sequence[str]) -> np.ndarray:
    """Return the smallest hash of each text's shingles under each hash function, ``[texts, 48]``."""
    raw = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    lengths: np.ndarray = np.array([len(text) for text in texts])
    ends = np.cumsum(lengths)
    hashes = sum(raw[place : len(raw) - SHINGLE + 1 + place] * _PLACES[place] for place in range(SHINGLE))
    hashes ^= hashes >> np.uint64(31)  # finalizer of SplitMix64: the upper half depends on every bit
    hashes *= np.uint64(0x94D049BB133111EB)
    upper = (hashes >> np.uint64(32)).astype(np.uint32)
    # No shingle of a text begins at its last four characters.
    own: np.ndarray = np.ones(len(raw), dtype=bool)
    for back in range(1, SHINGLE):
        own[ends - back] = False
    upper = upper[own[: len(upper)]]
    counts = lengths - SHINGLE + 1
    starts = np.cumsum(counts) - counts
    minima: np.ndarray = np.empty((len(texts), BANDS * ROWS), dtype=np.uint32)
    drawn = np.empty_like(upper)
    for place, (factor, addend) in enumerate(zip(_FACTORS, _ADDENDS, strict=True)):
        np.multiply(upper, factor, out=drawn)
        drawn += addend
        minima[:, place] = np.minimum.reduceat(drawn, starts)
    return minima


def _pairs(keys: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the pairs of lines to compare without repetition, the earlier line first, sorted by the later line."""
    found: np.ndarray = np.empty(0, dtype=np.int64)  # later * lines + earlier
    for band in keys.T:
        order = np.argsort(band, kind="stable")
        same = band[order][1:] == band[order][:-1]
        leaders = np.where(np.concatenate([[True], ~same]), np.arange(len(order)), 0)
        leaders = order[np.maximum.accumulate(leaders)]
        places = np.flatnonzero(same)
        later = order[places + 1] * len(keys)
        found = np.unique(np.concatenate([found, later + order[places], later + leaders[places + 1]]))
    for code in found:
        later_line, earlier_line = divmod(int(code), len(keys))
        yield earlier_line, later_line


def _shingles(text: str) -> set[str]:
    text = text.ljust(SHINGLE, "\0")
    return {text[at : at + SHINGLE] for at in range(len(text) - SHINGLE + 1)}
