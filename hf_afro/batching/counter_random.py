"""Random numbers as a pure function of their use: a counter-based generator without state.

Philox maps a key and a counter to random bits. The key is the user's seed and the counter encodes the purpose of the
numbers, so that the mask of a sample can be recomputed in any process, worker or resumed run. Everything is derived
from the raw 64-bit words, which numpy guarantees to keep; the streams of `Generator` may change between versions.

References:
    Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import numpy as np

# Purposes: the highest word of the counter, so that two uses never share a number.
SHUFFLE_LANGUAGE = 1
SHUFFLE_EPOCH = 2
MASK_TOKENS = 3
SHUFFLE_BLOCK = 4

_HIGHEST_SEED = 2**64 - 1


def random_words(seed: int, purpose: int, first: int, second: int, count: int) -> np.ndarray:
    """Return random 64-bit words that depend on the arguments only.

    Args:
        seed: The user's seed, 0 to 2**64 - 1.
        purpose: One of the constants of this module.
        first: The first coordinate within the purpose, such as an epoch; not negative.
        second: The second coordinate, such as a sample id; not negative.
        count: The number of words.

    Returns:
        Unsigned 64-bit integers, ``[count]``.

    Raises:
        ValueError: If the seed is negative or does not fit 64 bits.
    """
    if not 0 <= seed <= _HIGHEST_SEED:
        raise ValueError(f"seed is {seed}; expected an integer from 0 to {_HIGHEST_SEED}")
    # Philox itself uses the lowest word of the counter to count the blocks of a call.
    generator = np.random.Philox(
        key=np.array([seed, 0], dtype=np.uint64), counter=np.array([0, first, second, purpose], dtype=np.uint64)
    )
    return generator.random_raw(count)


def uniform(words: np.ndarray) -> np.ndarray:
    """Convert random words to doubles, uniform in [0, 1), of the same shape."""
    return (words >> np.uint64(11)) * 2.0**-53


def permutation(seed: int, purpose: int, first: int, second: int, count: int) -> np.ndarray:
    """Return a random permutation of ``range(count)`` that depends on the arguments only.

    Args:
        seed: See `random_words`, also for the next three.
        purpose: One of the constants of this module.
        first: The first coordinate within the purpose.
        second: The second coordinate.
        count: The length of the permutation.

    Returns:
        int64, ``[count]``.
    """
    # Stable, so that even ties (one chance in 2**64 per pair) are decided the same way everywhere.
    return np.argsort(random_words(seed, purpose, first, second, count), kind="stable")
