"""The losses once more, in float64 and explicit loops that share no code with the package; and random cases."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import torch


def softmax_of_head(left, right):
    """Softmax(A B^T / sqrt(d)) of one head of one sequence, a row at a time."""
    rows = []
    for of_row in left:
        scores = (right * of_row).sum(1) / math.sqrt(len(of_row))
        weights = np.exp(scores - scores.max())
        rows.append(weights / weights.sum())
    return np.array(rows)


def sequences_of(mask, ids):
    """Yield (row, places) of every sequence that holds a token."""
    for b in range(len(mask)):
        own = defaultdict(list)
        for place in np.flatnonzero(mask[b].numpy()):
            own[0 if ids is None else int(ids[b, place])].append(int(place))
        yield from ((b, places) for places in own.values())


def head_slice(vectors, head, heads):
    width = vectors.shape[-1] // heads
    return slice(head * width, (head + 1) * width)


def independent_loss(teacher, student, mask, heads, ids=None):
    """Value and gradients of the mean over sequences of KL / (heads x tokens).

    `teacher` and `student` are (A, B), the same tensor twice for a relation; of that the one gradient is the sum.
    """
    is_relation = student[0] is student[1]
    teacher, student = ([x.double().numpy() for x in pair] for pair in (teacher, student))
    gradients = [np.zeros_like(student[0]), np.zeros_like(student[1])]
    losses = []
    for b, places in sequences_of(mask, ids):
        total = 0.0
        for h in range(heads):
            of_teacher = softmax_of_head(*(x[b][places, head_slice(x, h, heads)] for x in teacher))
            own = head_slice(student[0], h, heads)
            a, k = (x[b][places, own] for x in student)
            of_student = softmax_of_head(a, k)
            for i, place in enumerate(places):
                total += (of_teacher[i] * np.log(of_teacher[i] / of_student[i])).sum()
                of_scores = (of_student[i] - of_teacher[i]) / math.sqrt(a.shape[1]) / (heads * len(places))
                gradients[0][b, place, own] += (of_scores[:, None] * k).sum(0)
                gradients[1][b, places, own] += of_scores[:, None] * a[i]
        losses.append(total / (heads * len(places)))
    count = max(1, len(losses))
    found = [gradients[0] + gradients[1]] if is_relation else gradients
    return sum(losses) / count, [gradient / count for gradient in found]


def independent_map_loss(teacher, student, mask, teacher_heads, student_heads, ids=None):
    """Value and gradients, for queries and keys, of the mean squared difference of attention maps."""
    teacher, student = ([x.double().numpy() for x in pair] for pair in (teacher, student))
    gradients = [np.zeros_like(student[0]), np.zeros_like(student[1])]
    losses = []
    for b, places in sequences_of(mask, ids):
        tokens = len(places)
        taught = np.zeros((tokens, tokens))
        for h in range(teacher_heads):
            taught += (
                softmax_of_head(*(x[b][places, head_slice(x, h, teacher_heads)] for x in teacher)) / teacher_heads
            )
        own = [head_slice(student[0], h, student_heads) for h in range(student_heads)]
        maps = [softmax_of_head(*(x[b][places, one] for x in student)) for one in own]
        difference = sum(maps) / student_heads - taught
        losses.append((difference**2).sum() / tokens**2)
        of_map = 2 * difference / tokens**2
        for one, of_head in zip(own, maps, strict=True):
            a, k = (x[b][places, one] for x in student)
            for i, place in enumerate(places):
                mean = (of_map[i] * of_head[i]).sum()
                of_scores = of_head[i] * (of_map[i] - mean) / math.sqrt(a.shape[1]) / student_heads
                gradients[0][b, place, one] += (of_scores[:, None] * k).sum(0)
                gradients[1][b, places, one] += of_scores[:, None] * a[i]
    count = max(1, len(losses))
    return sum(losses) / count, [gradient / count for gradient in gradients]


def random_mask(rng, batch, length):
    """A ragged mask: padding on the left, on the right, on both sides or none, and an empty row now and then."""
    mask = torch.zeros(batch, length, dtype=torch.long)
    for row in mask:
        tokens = length if rng.random() < 0.2 else int(rng.integers(0, length + 1))
        start = int(rng.choice([0, length - tokens, rng.integers(0, length - tokens + 1)]))
        row[start : start + tokens] = 1
    return mask


def random_case(seed, longest=40):
    """Vectors of teacher and student (two each), mask, heads and, for every third seed, ids of packed sequences."""
    rng = np.random.default_rng(seed)
    batch, length = int(rng.integers(1, 5)), int(rng.integers(1, longest))
    heads = int(rng.choice([1, 2, 3, 4, 8]))
    widths = [heads * int(rng.integers(1, 9)) for _ in range(2)]
    generator = torch.Generator().manual_seed(seed)
    teacher, student = ([torch.randn(batch, length, width, generator=generator) for _ in range(2)] for width in widths)
    mask = random_mask(rng, batch, length)
    ids = None
    if seed % 3 == 0:
        ids = torch.from_numpy(np.cumsum(rng.random((batch, length)) < 0.15, 1)) * 7 - 3
    return teacher, student, mask, heads, ids
