"""Near-duplicates: lines that resemble an earlier one are marked, and no others."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from hf_afro.corpora.near_duplicates import BANDS, _pairs, band_keys, find_near_duplicates, similarity
from tests.texts import SENTENCES

LINE = "Rais wa nchi alisema jana jioni kuwa serikali itajenga shule mpya kumi katika kila wilaya ya mkoa huo."


def test_the_later_of_two_lines_is_marked():
    lines = [LINE, SENTENCES["swa"][0], f"  {LINE.upper()}!", LINE.replace("jana", "juzi"), SENTENCES["swa"][1]]
    assert find_near_duplicates(lines).tolist() == [False, False, True, True, False]
    assert find_near_duplicates(lines[::-1]).tolist() == [False, False, True, False, True]
    assert find_near_duplicates([]).tolist() == []


def test_similarity_is_counted_in_shingles():
    assert similarity("abcdefg", "ABC, defg.") == 1.0
    assert similarity("abcdefg", "abcdefh") == 2 / 4  # abcde, bcdef of abcde, bcdef, cdefg, cdefh
    assert similarity("ab", "cd") == 0.0
    assert similarity("ab", "ab!") == similarity("", "...") == 1.0


def test_none_is_marked_below_the_threshold():
    lines = [LINE, LINE.replace("jana jioni", "leo asubuhi")]
    alike = similarity(*lines)
    assert 0.6 < alike < 0.8
    assert find_near_duplicates(lines, alike).tolist() == [False, True]
    assert find_near_duplicates(lines, alike + 0.01).tolist() == [False, False]
    for threshold in (0.0, 1.1, float("nan")):
        with pytest.raises(ValueError, match="expected a similarity above 0 and at most 1"):
            find_near_duplicates(lines, threshold)


def test_nearly_every_copy_is_found():
    """600 copies with one of 20 words changed; some of them are below the threshold."""
    generator = np.random.default_rng(1)
    words = sorted({word for lines in SENTENCES.values() for line in lines for word in line.split()})
    originals = [" ".join(generator.choice(words, 20)) for _ in range(600)]
    copies = []
    for line in originals:
        own = line.split()
        own[generator.integers(20)] = str(generator.choice(words))
        copies.append(" ".join(own))
    alike = np.array([similarity(*pair) >= 0.8 for pair in zip(originals, copies, strict=True)])
    marked = find_near_duplicates([*originals, *copies])
    assert alike.sum() > 100
    assert not marked[:600].any()
    assert not marked[600:][~alike].any()
    assert marked[600:][alike].mean() > 0.99


def test_lines_of_one_template_take_little_memory():
    """All lines share most bands; memory grows with the pairs, 8 bytes each and twice that during sorting."""
    lines = [f"Bei ya mafuta ya taa leo mjini ni shilingi {number:05} kwa lita moja tu." for number in range(3_000)]
    keys = band_keys(lines)
    tracemalloc.start()
    try:
        pairs = sum(1 for _ in _pairs(keys))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert pairs > 4 * len(lines)
    assert peak < len(lines) * (24 * 8 * 3)


def test_keys_do_not_depend_on_the_batch_or_the_process():
    lines = [line for own in SENTENCES.values() for line in own] * 40  # more than one block of characters
    keys = band_keys(lines)
    assert keys.shape == (len(lines), BANDS)
    assert np.array_equal(keys[-3:], band_keys(lines[-3:]))
    assert len(np.unique(keys[:, 0])) == len(set(lines))
    assert band_keys([LINE])[0, :2].tolist() == [
        3003447792084495593,
        13309305269997554469,
    ]  # in another process


def test_lines_without_text_and_of_every_script():
    lines = [
        "",
        "...",
        "人人生而自由，在尊严和权利上一律平等。",
        "人人生而自由，在尊严和权利上一律平等",
        "\U0001f600",
        "a\ud800b",
    ]
    assert find_near_duplicates(lines).tolist() == [False, True, False, True, True, False]
