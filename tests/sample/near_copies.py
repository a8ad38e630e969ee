"""Sentences that share more than half of their words, which templates would make."""

from __future__ import annotations

from itertools import combinations


def near_copies(lines: list[str]) -> list[tuple[int, int]]:
    words = [set(line.casefold().split()) for line in lines]
    return [
        (a, b)
        for a, b in combinations(range(len(lines)), 2)
        if 2 * len(words[a] & words[b]) > len(words[a] | words[b])
    ]
