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


def make(task: str, language: str = "swa", train: int = 64, other: int = 16) -> TaskData:
    examples = tagged if task == "ner" else labelled
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
