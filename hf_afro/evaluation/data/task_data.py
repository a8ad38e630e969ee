"""`TaskData`: the examples of one task in one language, with what was repaired in them and a fingerprint."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from datasets import Dataset

from hf_afro.evaluation.data.duplicates import exact_key, seen_in
from hf_afro.evaluation.data.formats import Example, Repairs
from hf_afro.evaluation.data.kinds import OUTSIDE, TASKS, TaskKind, kind_of

__all__ = ["OUTSIDE", "SPLITS", "TASKS", "TaskData", "make_task_data"]

SPLITS = ("train", "dev", "test")
_FINGERPRINT = 2  # to be raised whenever what a fingerprint is made of changes
_RARE = 20  # labels named in a message, at most


@dataclass(frozen=True, eq=False)
class TaskData:
    """One task in one language, ready to fine-tune and evaluate on.

    Attributes:
        task: A name of `hf_afro.evaluation.data.kinds.KINDS`, such as `ner`, `pos`, `topic`, `sentiment` or `nli`.
        language: ISO 639-3 code; of what `hf_afro.evaluation.data.joining.joined` made, several with a + between them.
        dataset: What the data is called, such as `masakhaner1/swa`.
        labels: The names of the labels, by id; of spans the tags of IOB2 with `O` first, of other tags the commonest
            first, since label 0 is what a word gets that no piece stands for.
        splits: `train`, `dev` and `test`; of a task that is only measured on, `test` and what else there is. Tagged
            tasks have the columns `tokens` (strings) and `tags` (ids, one a token); the others `text` and `label`
            (id), and `text_pair` if examples are pairs.
        repairs: How many times each thing was repaired or dropped while reading, by name, over all splits, and the
            examples that two splits share.
        files: The file each split was read from.
        numbers: By split, the number of each example in its file, from 0; nothing where that is its place.
    """

    task: str
    language: str
    dataset: str
    labels: tuple[str, ...]
    splits: Mapping[str, Dataset]
    repairs: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @property
    def kind(self) -> TaskKind:
        """What the task is made of."""
        return kind_of(self.task)

    @cached_property
    def fingerprint(self) -> str:
        """Of the examples evaluated on: the test split."""
        return self.fingerprint_of("test")

    def fingerprint_of(self, split: str) -> str:
        """Return the SHA-256 of a split's examples in order, with their labels by name.

        So it is the same whatever else was read with them; ids differ where other splits have other labels.
        """
        digest = hashlib.sha256(json.dumps([_FINGERPRINT, self.task]).encode())
        for row in self.splits[split]:
            if self.kind.tagged:
                named = {**row, "tags": [self.labels[tag] for tag in row["tags"]]}
            else:
                named = {**row, "label": self.labels[row["label"]]}
            digest.update(json.dumps(named, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def gold(self, split: str = "test") -> list[Any]:
        """Return the right labels of a split by id: a list a sentence if words are tagged, else one id a text."""
        return list(self.splits[split]["tags" if self.kind.tagged else "label"])

    def numbers_of(self, split: str = "test") -> Sequence[int]:
        """Return the number of each example of a split in the file it was read from, whatever was left out of it."""
        return self.numbers.get(split, range(len(self.splits[split])))

    def texts(self, split: str = "test") -> list[Any]:
        """Return what a split's labels are of: lists of words, texts, or tuples of two texts."""
        rows = self.splits[split]
        if self.kind.tagged:
            return list(rows["tokens"])
        return list(zip(rows["text"], rows["text_pair"], strict=True)) if self.kind.pairs else list(rows["text"])

    def sentences(self, split: str = "test") -> list[str]:
        """Return a split's running text, words joined by spaces: what adaptation text must not hold."""
        texts = self.texts(split)
        if self.kind.pairs:
            return [part for pair in texts for part in pair]
        return [" ".join(words) for words in texts] if self.kind.tagged else texts

    def seen_in_train(self, split: str = "test", trained: TaskData | None = None) -> np.ndarray:
        """Tell for each example of a split whether train holds its text, case, spaces and punctuation apart.

        Args:
            split: Of this task.
            trained: Whose training split is meant, if not this one's.

        Returns:
            Booleans, one an example, in order; `hf_afro.evaluation.data.duplicates` makes scores without them.
        """
        return seen_in((trained or self).texts("train"), self.texts(split))

    def limited(self, seed: int = 0, **sizes: int | None) -> TaskData:
        """Return the same task with at most so many examples of a split, chosen by the seed and kept in order.

        Args:
            seed: Of the choice.
            **sizes: By split, such as ``train=1000``; None for all. A split that is not there is passed over.
        """
        splits, numbers = dict(self.splits), dict(self.numbers)
        for name in sizes.keys() & splits.keys():
            split, size = splits[name], sizes[name]
            if size is not None and size < len(split):
                chosen = np.sort(np.random.default_rng(seed).choice(len(split), size=size, replace=False))
                splits[name] = split.select(chosen)
                before = self.numbers_of(name)
                numbers[name] = [before[index] for index in chosen.tolist()]
        return dataclasses.replace(self, splits=splits, numbers=numbers)


def make_task_data(
    task: str,
    language: str,
    dataset: str,
    examples: Mapping[str, Iterable[Example]],
    repairs: Repairs | None = None,
    files: Mapping[str, str] | None = None,
    *,
    unseen_labels: bool = False,
    trained: bool = True,
    numbers: Mapping[str, Sequence[int]] | None = None,
) -> TaskData:
    """Put examples with labels by name together, and take the map of labels from them.

    Args:
        task: A name of `hf_afro.evaluation.data.kinds.KINDS`.
        language: ISO 639-3 code.
        dataset: What the data is called.
        examples: By split: (tokens, tags) if words are tagged, ((text, text), label) for pairs, (text, label) else.
        repairs: What was repaired while reading.
        files: The file each split was read from.
        unseen_labels: Whether dev and test may have labels that train has not; they are counted, and no model will
            get them right.
        trained: Whether it is to be trained on. Else it is measured on by models trained in other languages, and
            `test` is all that has to be there, with whatever labels.
        numbers: By split, the number of each example in its file, from 0; by default its place.

    Raises:
        ValueError: If the task is unknown, a split that is needed is missing or empty, there are fewer than two
            labels, two labels differ only in case, or a split has a label that the training split has not, which no
            model could learn.
    """
    kind = kind_of(task)
    rows = {split: list(examples.get(split, ())) for split in SPLITS}
    needed = SPLITS if trained else ("test",)
    empty = [split for split in needed if not rows[split]]
    if empty:
        hint = "" if "test" in empty else ". What is only measured on needs test alone: see `transfer` (--transfer)"
        raise ValueError(f"{dataset} has no examples in {', '.join(empty)}; {task} needs {', '.join(needed)}{hint}")
    rows = {split: own for split, own in rows.items() if own}
    counted = Counter(repairs or {})
    names = {split: _names(kind, own) for split, own in rows.items()}
    compared = [split for split in ("dev", "test") if split in rows and "train" in rows]
    for split in compared:
        extra = sorted(set(names[split]) - set(names["train"]))
        if extra and trained and not unseen_labels:
            raise ValueError(
                f"{dataset}: {split} has the labels {', '.join(extra[:_RARE])}, which train has not; it has "
                f"{', '.join(sorted(names['train'])[:_RARE])}. Correct the labels, or leave those examples out"
            )
        if extra:
            counted[f"{split} labels that train has not"] = sum(names[split][label] for label in extra)
    labels = _label_map(kind, names)
    _check_labels(dataset, labels, least=2 if trained else 1)
    texts = {split: [text for text, _ in own] for split, own in rows.items()}
    for split in compared:
        _count_shared(split, rows, texts, counted)
    splits = {split: _dataset(kind, labels, own) for split, own in rows.items()}
    moved = {split: own for split, own in (numbers or {}).items() if [*own] != [*range(len(own))]}
    return TaskData(task, language, dataset, labels, splits, dict(counted), dict(files or {}), moved)


def _count_shared(split: str, rows: Mapping[str, list[Example]], texts: Mapping[str, list[Any]], counted: Any) -> None:
    """Count the examples of a split whose text train has, those that only look different, and those at odds."""
    exact = seen_in(texts["train"], texts[split], exact=True)
    loose = seen_in(texts["train"], texts[split])
    label_of = {exact_key(text): label for text, label in rows["train"]}
    at_odds = sum(
        label != label_of[exact_key(text)] for (text, label), seen in zip(rows[split], exact, strict=True) if seen
    )
    for what, count in (
        (f"{split} examples also in train", exact.sum()),
        (f"{split} examples also in train but for case, spaces or punctuation", (loose & ~exact).sum()),
        (f"{split} examples also in train with another label", at_odds),
    ):
        if count:
            counted[what] = int(count)


def _names(kind: TaskKind, rows: list[Example]) -> Counter[str]:
    """The labels of some examples and how often they occur; of spans the types, since I- is not everywhere."""
    if not kind.tagged:
        return Counter(str(label) for _, label in rows)
    tags = Counter(tag for _, own in rows for tag in own)
    if not kind.spans:
        return tags
    types: Counter[str] = Counter()
    for tag, count in tags.items():
        if tag != OUTSIDE:
            types[tag.partition("-")[2]] += count
    return types


def _label_map(kind: TaskKind, names: Mapping[str, Counter[str]]) -> tuple[str, ...]:
    known = sorted(set().union(*names.values()))
    if kind.spans:
        return (OUTSIDE, *(f"{prefix}-{name}" for name in known for prefix in "BI"))
    if not kind.tagged or not known:
        return tuple(known)
    counts = names.get("train", names["test"])
    commonest = min(known, key=lambda name: (-counts[name], name))
    return (commonest, *(name for name in known if name != commonest))


def _check_labels(dataset: str, labels: tuple[str, ...], least: int) -> None:
    if len(labels) < least:
        raise ValueError(f"{dataset} has the labels {labels} only; there is nothing to tell apart")
    by_form: dict[str, str] = {}
    for label in labels:
        other = by_form.setdefault(label.casefold().strip(), label)
        if other != label:
            raise ValueError(
                f"{dataset} has the labels {other!r} and {label!r}, which differ in case only; spell them alike, or "
                "map one to the other with `labels:` in the set's description"
            )


def _dataset(kind: TaskKind, labels: tuple[str, ...], rows: list[Any]) -> Dataset:
    ids = {label: index for index, label in enumerate(labels)}
    if kind.tagged:
        return Dataset.from_dict(
            {"tokens": [tokens for tokens, _ in rows], "tags": [[ids[tag] for tag in tags] for _, tags in rows]}
        )
    label = [ids[str(label)] for _, label in rows]
    if not kind.pairs:
        return Dataset.from_dict({"text": [text for text, _ in rows], "label": label})
    first, second = ([pair[side] for pair, _ in rows] for side in (0, 1))
    return Dataset.from_dict({"text": first, "text_pair": second, "label": label})
