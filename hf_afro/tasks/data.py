"""`TaskData`: the examples of one task in one language, with what was repaired in them and a fingerprint."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from datasets import Dataset

from hf_afro.tasks.formats import Example, Repairs, Tagged

TASKS = ("ner", "topic", "sentiment")
SPLITS = ("train", "dev", "test")
OUTSIDE = "O"


@dataclass(frozen=True, eq=False)
class TaskData:
    """One task in one language, ready to fine-tune and evaluate on.

    Attributes:
        task: `ner`, `topic` or `sentiment`.
        language: ISO 639-3 code.
        dataset: What the data is called, such as `masakhaner1/swa`.
        labels: The names of the labels, by id; of `ner` the tags of IOB2 with `O` first.
        splits: `train`, `dev` and `test`. `ner` has the columns `tokens` (strings) and `tags` (ids, one a token), the
            others `text` and `label` (id).
        repairs: How many times each thing was repaired or dropped while reading, by name, over all splits, and the
            examples that two splits share.
        files: The file each split was read from.
    """

    task: str
    language: str
    dataset: str
    labels: tuple[str, ...]
    splits: Mapping[str, Dataset]
    repairs: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """Of the examples evaluated on: the test split and the names of the labels."""
        return self.fingerprint_of("test")

    def fingerprint_of(self, split: str) -> str:
        """Return the SHA-256 of a split's examples in order, with their labels by name."""
        digest = hashlib.sha256(json.dumps([self.task, self.labels]).encode())
        for row in self.splits[split]:
            digest.update(json.dumps(row, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def gold(self, split: str = "test") -> list[Any]:
        """Return the right labels of a split by id: a list a sentence for `ner`, else one id a text."""
        return list(self.splits[split]["tags" if self.task == "ner" else "label"])

    def sentences(self, split: str = "test") -> list[str]:
        """Return a split's running text, the tokens of `ner` joined by spaces: what adaptation text must not hold."""
        if self.task == "ner":
            return [" ".join(tokens) for tokens in self.splits[split]["tokens"]]
        return list(self.splits[split]["text"])

    def limited(self, seed: int = 0, **sizes: int | None) -> TaskData:
        """Return the same task with at most so many examples of a split, chosen by the seed and kept in order.

        Args:
            seed: Of the choice.
            **sizes: By split, such as ``train=1000``; None for all.
        """
        splits = dict(self.splits)
        for name, size in sizes.items():
            split = splits[name]
            if size is not None and size < len(split):
                chosen = np.random.default_rng(seed).choice(len(split), size=size, replace=False)
                splits[name] = split.select(np.sort(chosen))
        return dataclasses.replace(self, splits=splits)


def make_task_data(
    task: str,
    language: str,
    dataset: str,
    examples: Mapping[str, Iterable[Example]],
    repairs: Repairs | None = None,
    files: Mapping[str, str] | None = None,
) -> TaskData:
    """Put examples with labels by name together, and take the map of labels from them.

    Args:
        task: `ner`, `topic` or `sentiment`.
        language: ISO 639-3 code.
        dataset: What the data is called.
        examples: By split: (tokens, tags) for `ner`, (text, label) else.
        repairs: What was repaired while reading.
        files: The file each split was read from.

    Raises:
        ValueError: If a split is missing or empty, there are fewer than two labels, or a split has a label that the
            training split has not, which no model could learn.
    """
    rows = {split: list(examples.get(split, ())) for split in SPLITS}
    empty = [split for split in SPLITS if not rows[split]]
    if empty:
        raise ValueError(f"{dataset} has no examples in {', '.join(empty)}; {task} needs {', '.join(SPLITS)}")
    names = {split: _names(task, rows[split]) for split in SPLITS}
    for split in ("dev", "test"):
        extra = sorted(names[split] - names["train"])
        if extra:
            raise ValueError(
                f"{dataset}: {split} has the labels {', '.join(extra)}, which train has not; it has "
                f"{', '.join(sorted(names['train']))}. Correct the labels, or leave those examples out"
            )
    labels = _label_map(task, names["train"])
    if len(labels) < 2:
        raise ValueError(f"{dataset} has the labels {labels} only; there is nothing to tell apart")
    counted = Counter(repairs or {})
    for split in ("dev", "test"):
        shared = shared_examples(rows["train"], rows[split])
        if shared:
            counted[f"{split} examples also in train"] = shared
    splits = {split: _dataset(task, labels, rows[split]) for split in SPLITS}
    return TaskData(task, language, dataset, labels, splits, dict(counted), dict(files or {}))


def shared_examples(train: list[Example], other: list[Example]) -> int:
    """Return how many examples of `other` have the very text of one in `train`, whatever their labels."""
    known = {_key(text) for text, _ in train}
    return sum(_key(text) in known for text, _ in other)


def _key(text: Any) -> Any:
    return text if isinstance(text, str) else tuple(text)


def _names(task: str, rows: list[Example]) -> set[str]:
    """The labels of some examples; of tags the types, since I- is not everywhere."""
    if task != "ner":
        return {str(label) for _, label in rows}
    return {tag.partition("-")[2] for _, tags in rows for tag in tags if tag != OUTSIDE}


def _label_map(task: str, names: set[str]) -> tuple[str, ...]:
    if task != "ner":
        return tuple(sorted(names))
    return (OUTSIDE, *(f"{prefix}-{name}" for name in sorted(names) for prefix in "BI"))


def _dataset(task: str, labels: tuple[str, ...], rows: list[Example]) -> Dataset:
    ids = {label: index for index, label in enumerate(labels)}
    if task == "ner":
        tagged: list[Tagged] = rows  # type: ignore[assignment]
        return Dataset.from_dict(
            {"tokens": [tokens for tokens, _ in tagged], "tags": [[ids[tag] for tag in tags] for _, tags in tagged]}
        )
    return Dataset.from_dict({"text": [text for text, _ in rows], "label": [ids[str(label)] for _, label in rows]})
