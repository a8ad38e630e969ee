"""Simple baselines: naive Bayes over a bag of words, and the most frequent tag of every token."""

from __future__ import annotations

import math
from collections import Counter, defaultdict


def naive_bayes(train: list[tuple[str, str]], texts: list[str]) -> list[str]:
    """Labels of the texts by multinomial naive Bayes over white-space words, with one added to every count."""
    words: dict[str, Counter[str]] = defaultdict(Counter)
    for text, label in train:
        words[label].update(text.casefold().split())
    vocabulary = len(set().union(*words.values()))
    totals = {label: sum(counts.values()) + vocabulary for label, counts in words.items()}
    priors = Counter(label for _, label in train)

    def score(label: str, text: str) -> float:
        counts = words[label]
        return math.log(priors[label]) + sum(
            math.log((counts[word] + 1) / totals[label]) for word in text.casefold().split()
        )

    return [max(sorted(words), key=lambda label, text=text: score(label, text)) for text in texts]


def commonest_tags(
    train: list[list[tuple[str, str]]], sentences: list[list[tuple[str, str]]]
) -> list[list[tuple[str, str]]]:
    """The sentences with each token's commonest tag in training, O where training has not seen it."""
    tags: dict[str, Counter[str]] = defaultdict(Counter)
    for sentence in train:
        for token, tag in sentence:
            tags[token][tag] += 1
    best = {token: counts.most_common(1)[0][0] for token, counts in tags.items()}
    return [[(token, best.get(token, "O")) for token, _ in sentence] for sentence in sentences]


def entities(sentences: list[list[tuple[str, str]]]) -> set[tuple[int, int, int, str]]:
    """Entities of IOB2 tags as (sentence, first token, token after the last, type)."""
    found = set()
    for number, sentence in enumerate(sentences):
        tags = [tag for _, tag in sentence] + ["O"]
        start = None
        for index, tag in enumerate(tags):
            if start is not None and not tag.startswith("I-"):
                found.add((number, start, index, tags[start][2:]))
                start = None
            if tag.startswith("B-"):
                start = index
    return found


def f1(expected: set, found: set) -> float:
    """F1 of two sets, 0 where they share nothing."""
    return 2 * len(expected & found) / (len(expected) + len(found)) if expected or found else 0.0
