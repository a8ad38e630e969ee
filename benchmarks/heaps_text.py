"""Text of any size that grows as real text does: a real corpus goes on with its own words and ever new ones.

Words that have not occurred come ever more rarely as a text grows, by Heaps' law: V(n) = K n^b distinct of n words. K
and b are fitted to the second half of the corpus. After its end a word is new with the probability K b n^(b-1), and
otherwise drawn from all running words before it, new ones too (Simon's model). A new word is the first half of one
that occurred once and the second half of another, so that it is about as long and as hard to split as such words are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

Fit = tuple[float, float]


def fit_heaps(ids: np.ndarray) -> Fit:
    """Return K and b of V(n) = K n^b, fitted to the second half of running words in a least-squares sense."""
    _, first = np.unique(ids, return_index=True)
    new = np.zeros(len(ids), dtype=bool)
    new[first] = True
    distinct = np.cumsum(new)
    places = np.linspace(len(ids) // 2, len(ids) - 1, 200).astype(int)
    exponent, constant = np.polyfit(np.log(places + 1), np.log(distinct[places]), 1)
    return math.exp(constant), exponent


def write_grown(corpus: Path, target: Path, size: int, seed: int) -> tuple[Fit, int, int]:
    """Write a corpus and what it grows to.

    Args:
        corpus: A file of lines.
        target: The file to write.
        size: Bytes of it, about; the corpus is written whole.
        seed: For what is drawn.

    Returns:
        K and b, running words and distinct words written.
    """
    generator = np.random.default_rng(seed)
    lines = [line.split(" ") for line in corpus.read_text("utf-8").split("\n") if line.strip()]
    known: dict[str, int] = {}
    ids = np.array([known.setdefault(word, len(known)) for line in lines for word in line if word], dtype=np.int64)
    words = list(known)
    fit = fit_heaps(ids)
    lengths = np.array([sum(map(bool, line)) for line in lines])
    numbers = np.bincount(ids)
    rare = np.flatnonzero(numbers == numbers.min())
    new_words = _new_words(words, rare, known, generator)
    written = 0
    total = int(len(ids) * size / corpus.stat().st_size)
    with target.open("w", encoding="utf-8", newline="\n") as file:
        written += file.write("\n".join(" ".join(line) for line in lines) + "\n")
        start = len(ids)
        while start < total:
            # All at once what is drawn from the words before this part, which doubles the text at most.
            length = min(start, total - start)
            part = ids[generator.integers(0, start, length)]
            chance = fit[0] * fit[1] * np.arange(start, start + length, dtype=float) ** (fit[1] - 1)
            new = np.flatnonzero(generator.random(length) < chance)
            part[new] = np.arange(len(words), len(words) + len(new))
            words += [next(new_words) for _ in new]
            _write_lines(file, part, words, lengths, generator)
            ids = np.concatenate([ids, part])
            start += length
    return fit, len(ids), len(words)


def _new_words(
    words: list[str], once: np.ndarray, known: dict[str, int], generator: np.random.Generator
) -> Iterator[str]:
    """Yield words that are not known, without end; they are known from then on."""
    while True:
        for one, other in generator.choice(once, (10_000, 2)).tolist():
            first, second = words[one], words[other]
            word = first[: (len(first) + 1) // 2] + second[len(second) // 2 :]
            while word in known:
                word += words[generator.choice(once)]
            known[word] = len(known)
            yield word


def _write_lines(file, ids: np.ndarray, words: list[str], lengths: np.ndarray, generator: np.random.Generator) -> None:
    """Write running words in lines as long as those of the corpus."""
    drawn = np.cumsum(generator.choice(lengths, len(ids) // max(1, int(lengths.mean())) + 1))
    ends = [*drawn[drawn < len(ids)].tolist(), len(ids)]
    start = 0
    for end in ends:
        file.write(" ".join([words[one] for one in ids[start:end].tolist()]) + "\n")
        start = end
