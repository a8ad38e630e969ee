"""Random numbers as a pure function of where they are used: a counter-based generator without any state.

Philox maps a key and a counter to random bits. Here the key is the user's seed and the counter says what the numbers
are for, so a sample's mask can be recomputed in any process, worker or resumed run. Everything is derived from the raw
64-bit words, whose values numpy guarantees for ever; those of `Generator` may change between its versions.

References:
    Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import numpy as np

# What the numbers are for: the highest word of the counter, so that two uses never share a number.
SHUFFLE_LANGUAGE = 1
SHUFFLE_EPOCH = 2
MASK_TOKENS = 3
SHUFFLE_BLOCK = 4

_HIGHEST_SEED = 2**64 - 1


def random_words(seed: int, purpose: int, first: int, second: int, count: int) -> np.ndarray:
    """Return random 64-bit words that depend on the arguments alone.

    Args:
        seed: The user's seed, 0 to 2**64 - 1.
        purpose: One of the constants of this file.
        first: The first coordinate within the purpose, such as an epoch; not negative.
        second: The second coordinate, such as a sample id; not negative.
        count: How many words.

    Returns:
        Unsigned 64-bit integers, ``[count]``.

    Raises:
        ValueError: If the seed is negative or does not fit 64 bits.
    """
    if not 0 <= seed <= _HIGHEST_SEED:
        raise ValueError(f"seed is {seed}; expected an integer from 0 to {_HIGHEST_SEED}")
    # The lowest word of the counter is left to Philox, which counts the blocks of one call there.
    generator = np.random.Philox(
        key=np.array([seed, 0], dtype=np.uint64), counter=np.array([0, first, second, purpose], dtype=np.uint64)
    )
    return generator.random_raw(count)


def uniform(words: np.ndarray) -> np.ndarray:
    """Turn random words into doubles, uniform in [0, 1), of the same shape."""
    return (words >> np.uint64(11)) * 2.0**-53


def permutation(seed: int, purpose: int, first: int, second: int, count: int) -> np.ndarray:
    """Return a random order of ``range(count)`` that depends on the arguments alone.

    Args:
        seed: See `random_words`, as for the next three.
        purpose: One of the constants of this file.
        first: The first coordinate within the purpose.
        second: The second coordinate.
        count: How many things are put into an order.

    Returns:
        int64, ``[count]``.
    """
    # Stable, so that a tie between two words (one chance in 2**64 a pair) is still decided the same way everywhere.
    return np.argsort(random_words(seed, purpose, first, second, count), kind="stable")
