"""Small tasks made of templates, which a tiny model learns in a few steps."""

from __future__ import annotations

import random

import pytest

from hf_afro.evaluation.data.task_data import TaskData, make_task_data
from hf_afro.evaluation.presets import FineTuningSettings

PEOPLE = "Amina Bello Chidi Dayo Eshe Femi".split()
PLACES = "Lagos Kano Mombasa Dakar Kigali Accra".split()
LINES = {
    "farming": "Wakulima wanauza mahindi na maharage sokoni {}",
    "rain": "Mvua kubwa ilinyesha jana usiku {}",
    "music": "Tunapenda kusikiliza muziki wa zamani {}",
}


def tagged(count: int, seed: int) -> list[tuple[list[str], list[str]]]:
    draw = random.Random(seed)
    examples = []
    for _ in range(count):
        between = "aliondoka mji wa".split()[: draw.randint(1, 3)]
        tokens = [draw.choice(PEOPLE), *between, draw.choice(PLACES), "jana"]
        examples.append((tokens, ["B-PER", *["O"] * len(between), "B-LOC", "O"]))
    return examples


def labelled(count: int, seed: int) -> list[tuple[str, str]]:
    draw = random.Random(seed)
    labels = [draw.choice(sorted(LINES)) for _ in range(count)]
    return [(LINES[label].format(draw.choice(PLACES)), label) for label in labels]


WORDS = {"farming": "mahindi", "rain": "mvua", "music": "muziki"}
VALUES = {"farming": 0.1, "rain": 0.5, "music": 0.9}


def with_several_labels(count: int, seed: int) -> list[tuple[str, list[str]]]:
    """A word for each label, of which there may be none."""
    draw = random.Random(seed)
    examples = []
    for _ in range(count):
        labels = [label for label in sorted(LINES) if draw.random() < 0.4]
        examples.append((" ".join(["Leo", *(WORDS[label] for label in labels)]), labels))
    return examples


def with_a_number(count: int, seed: int) -> list[tuple[str, float]]:
    return [(text, VALUES[label]) for text, label in labelled(count, seed)]


def with_a_number_for_two(count: int, seed: int) -> list[tuple[tuple[str, str], float]]:
    pairs = zip(with_a_number(count, seed), with_a_number(count, seed + 100), strict=True)
    return [((first, second), (one + other) / 2) for (first, one), (second, other) in pairs]


EXAMPLES = {
    "ner": tagged,
    "emotion": with_several_labels,
    "regression": with_a_number,
    "relatedness": with_a_number_for_two,
}


def make(task: str, language: str = "swa", train: int = 64, other: int = 16) -> TaskData:
    examples = EXAMPLES.get(task, labelled)
    sizes = {"train": train, "dev": other, "test": other}
    rows = {split: examples(size, seed) for seed, (split, size) in enumerate(sizes.items())}
    return make_task_data(task, language, f"made/{language}", rows)


@pytest.fixture
def ner() -> TaskData:
    return make("ner")


@pytest.fixture
def topic() -> TaskData:
    return make("topic")


@pytest.fixture
def quick() -> FineTuningSettings:
    return FineTuningSettings(max_length=32, batch_size=16, epochs=20, learning_rate=2e-3, patience=6)
