"""Counter-based numbers: uniform, dependent on their arguments only, and the same in all versions."""

from __future__ import annotations

import numpy as np
import pytest

from hf_afro.batching.counter_random import MASK_TOKENS, SHUFFLE_EPOCH, permutation, random_words, uniform


def test_words_are_pinned():
    """Numpy guarantees the words of Philox4x64; a change would alter the masks of resumed runs."""
    assert random_words(42, MASK_TOKENS, 1, 2, 2).tolist() == PINNED


PINNED = [8552351048082143789, 14427996062857605470]


def test_every_coordinate_matters():
    base = (42, MASK_TOKENS, 1, 2)
    others = [(43, MASK_TOKENS, 1, 2), (42, SHUFFLE_EPOCH, 1, 2), (42, MASK_TOKENS, 2, 2), (42, MASK_TOKENS, 1, 3)]
    words = {tuple(random_words(*arguments, 4).tolist()) for arguments in [base, *others, base]}
    assert len(words) == 5


def test_a_longer_draw_begins_with_the_shorter():
    assert random_words(1, MASK_TOKENS, 0, 0, 10)[:3].tolist() == random_words(1, MASK_TOKENS, 0, 0, 3).tolist()


def test_uniform_is_in_range_and_even():
    values = uniform(random_words(7, MASK_TOKENS, 0, 0, 100_000))
    assert values.min() >= 0.0
    assert values.max() < 1.0
    counts = np.histogram(values, bins=10, range=(0, 1))[0]
    assert abs(counts - 10_000).max() < 5 * np.sqrt(10_000 * 0.9)
    assert uniform(np.array([2**64 - 1], dtype=np.uint64))[0] < 1.0


def test_permutation_holds_everything_once():
    order = permutation(3, SHUFFLE_EPOCH, 0, 0, 1000)
    assert sorted(order.tolist()) == list(range(1000))
    assert order.tolist() != list(range(1000))
    assert permutation(3, SHUFFLE_EPOCH, 0, 0, 0).tolist() == []


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_that_do_not_fit_are_refused(seed):
    with pytest.raises(ValueError, match="expected an integer from 0 to 18446744073709551615"):
        random_words(seed, MASK_TOKENS, 0, 0, 1)
