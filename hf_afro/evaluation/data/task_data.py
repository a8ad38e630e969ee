"""`TaskData`: the examples of one task in one language, what was repaired in them, and a fingerprint."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from datasets import Dataset

from hf_afro.evaluation.data.conll import OUTSIDE, Example, Repairs
from hf_afro.tasks import TaskKind, kind_of

SPLITS = ("train", "dev", "test")
AND = "+"
"""Between the codes of languages that a model is trained on jointly."""
NUMBER = "number"
"""The name of the one output of a model that returns a number."""
_FINGERPRINT = 2  # raise whenever what a fingerprint is made of changes
_RARE = 20  # labels listed in a message


@dataclass(frozen=True, eq=False)
class TaskData:
    """One task in one language, ready for fine-tuning and evaluation.

    Attributes:
        task: A name in `hf_afro.tasks.KINDS`, such as `ner` or `topic`.
        language: ISO 639-3 code; of the result of `joined`, several with `AND` between them.
        dataset: The name of the set with the language, such as `masakhaner1/swa`.
        labels: The names of the labels, by id. For spans these are IOB2 tags with `O` first; for other tags the most
            frequent comes first, since words without a token get label 0.
        splits: `train`, `dev` and `test`; of a task that is only measured, `test` and whatever else exists. Tagged
            tasks have the columns `tokens` (strings) and `tags` (ids, one per token); the others `text` and `label`,
            and `text_pair` for pairs. A label is an id; or 0.0 or 1.0 for each of `labels`, where a text may have
            several; or a number.
        repairs: How often each thing was repaired or dropped while reading, by name, over all splits, and the examples
            that two splits share.
        files: The file of each split.
        numbers: By split, the number of each example in its file, from 0; missing where that is its position.
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
        """The kind of the task."""
        return kind_of(self.task)

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the test split."""
        return self.fingerprint_of("test")

    def fingerprint_of(self, split: str) -> str:
        """Return the SHA-256 of a split's examples in order, with their labels by name.

        Labels count by name because their ids depend on the other splits.
        """
        digest = hashlib.sha256(json.dumps([_FINGERPRINT, self.task]).encode())
        column = "tags" if self.kind.tagged else "label"
        for row, answer in zip(self.splits[split], self.gold(split), strict=True):
            own = {**row, column: named(self.kind, self.labels, answer)}
            digest.update(json.dumps(own, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def gold(self, split: str = "test") -> list[Any]:
        """Return the correct answers of a split.

        They are label ids: one list per sentence for tagged tasks, one list per text where texts have several labels,
        otherwise one per text; or numbers.
        """
        answers = list(self.splits[split]["tags" if self.kind.tagged else "label"])
        if self.kind.multi_label:
            return [[label for label, there in enumerate(own) if there] for own in answers]
        return answers

    def numbers_of(self, split: str = "test") -> Sequence[int]:
        """Return the number of each example of a split in the file it was read from."""
        return self.numbers.get(split, range(len(self.splits[split])))

    def texts(self, split: str = "test") -> list[Any]:
        """Return the inputs of a split: lists of words, texts, or tuples of two texts."""
        rows = self.splits[split]
        if self.kind.tagged:
            return list(rows["tokens"])
        return list(zip(rows["text"], rows["text_pair"], strict=True)) if self.kind.pairs else list(rows["text"])

    def sentences(self, split: str = "test") -> list[str]:
        """Return the running text of a split, words joined by spaces: what adaptation text must not contain."""
        texts = self.texts(split)
        if self.kind.pairs:
            return [part for pair in texts for part in pair]
        return [" ".join(words) for words in texts] if self.kind.tagged else texts

    def seen_in_train(self, split: str = "test", trained: TaskData | None = None) -> np.ndarray:
        """Return for each example of a split whether train has its text, ignoring case, spaces and punctuation.

        Args:
            split: Of this task.
            trained: The task whose training split is searched, if not this one.
        """
        return seen_in((trained or self).texts("train"), self.texts(split))

    def limited(self, seed: int = 0, **sizes: int | None) -> TaskData:
        """Return the task with a random sample of at most so many examples per split, in their original order.

        Args:
            seed: Of the sample.
            **sizes: By split, such as ``train=1000``; None for all. Splits that do not exist are ignored.
        """
        splits, numbers = dict(self.splits), dict(self.numbers)
        for name in sizes.keys() & splits.keys():
            split, size = splits[name], sizes[name]
            chosen = sampled_places(len(split), size, seed)
            if len(chosen) < len(split):
                splits[name] = split.select(chosen)
                before = self.numbers_of(name)
                numbers[name] = [before[index] for index in chosen]
        return dataclasses.replace(self, splits=splits, numbers=numbers)


def sampled_places(count: int, most: int | None, seed: int = 0) -> Sequence[int]:
    """Return the places of a random sample of at most so many of `count` things, in order; None for all."""
    if most is None or most >= count:
        return range(count)
    return np.sort(np.random.default_rng(seed).choice(count, size=most, replace=False)).tolist()


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
    """Make a `TaskData` from examples with labels by name.

    Args:
        task: A name in `hf_afro.tasks.KINDS`.
        language: ISO 639-3 code.
        dataset: The name of the set.
        examples: By split: (tokens, tags) for tagged tasks, ((text, text), label) for pairs, otherwise (text, label).
            Instead of a label, a list of labels where texts have several, or a number.
        repairs: What was repaired while reading.
        files: The file of each split.
        unseen_labels: Whether dev and test may have labels that train lacks. They are counted; no model can predict
            them.
        trained: Whether a model is trained on it. Otherwise it is only measured, by models trained on other languages,
            and needs only `test`, with any labels.
        numbers: By split, the number of each example in its file, from 0; by default its position.

    Raises:
        ValueError: If the task is unknown, a required split is missing or empty, there are fewer than two labels, two
            labels differ only in case, or a split has a label that train lacks.
    """
    kind = kind_of(task)
    rows = {split: list(examples.get(split, ())) for split in SPLITS}
    needed = SPLITS if trained else ("test",)
    empty = [split for split in needed if not rows[split]]
    if empty:
        hint = "" if "test" in empty else ". A language that is only measured needs test alone: see `transfer`"
        raise ValueError(f"{dataset} has no examples in {', '.join(empty)}; {task} needs {', '.join(needed)}{hint}")
    rows = {split: own for split, own in rows.items() if own}
    counted = Counter(repairs or {})
    names = {split: _label_counts(kind, own) for split, own in rows.items()}
    compared = [split for split in ("dev", "test") if split in rows and "train" in rows]
    for split in compared:
        extra = sorted(set(names[split]) - set(names["train"]))
        if extra and trained and not unseen_labels:
            raise ValueError(
                f"{dataset}: {split} has the labels {', '.join(extra[:_RARE])}, which train lacks; it has "
                f"{', '.join(sorted(names['train'])[:_RARE])}. Correct the labels or remove those examples"
            )
        if extra:
            counted[f"{split} labels that train lacks"] = sum(names[split][label] for label in extra)
        _count_shared(split, rows, counted)
    labels = _label_map(kind, names)
    _check_labels(dataset, labels, least=2 if trained and not (kind.multi_label or kind.regression) else 1)
    splits = {split: _dataset(kind, labels, own) for split, own in rows.items()}
    moved = {split: own for split, own in (numbers or {}).items() if [*own] != [*range(len(own))]}
    return TaskData(task, language, dataset, labels, splits, dict(counted), dict(files or {}), moved)


def joined(data: Sequence[TaskData]) -> TaskData:
    """Concatenate one task in several languages, for joint training.

    The best epoch is then chosen on the dev examples of all, and the labels are those of all. Labels of dev or test
    that no training split has are counted among the repairs.

    Raises:
        ValueError: If there are fewer than two languages, several tasks, or labels that differ only in case.
    """
    tasks, languages = {one.task for one in data}, [one.language for one in data]
    if len(tasks) != 1 or len(set(languages)) < max(2, len(languages)):
        raise ValueError(
            f"joint training has {', '.join(sorted(tasks)) or 'no task'} in {', '.join(languages) or 'no language'}; "
            "it expects one task in two or more different languages"
        )
    sets = list(dict.fromkeys(one.dataset.partition("/")[0] for one in data))
    return make_task_data(
        data[0].task,
        AND.join(languages),
        f"{AND.join(sets)}/{AND.join(languages)}",
        {split: [example for one in data for example in _examples(one, split)] for split in SPLITS},
        files={f"{one.language} {split}": file for one in data for split, file in one.files.items()},
        unseen_labels=True,
    )


def _examples(data: TaskData, split: str) -> list[Example]:
    """Return the examples of a split with their labels by name."""
    answers = [named(data.kind, data.labels, answer) for answer in data.gold(split)]
    return list(zip(data.texts(split), answers, strict=True))


def named(kind: TaskKind, labels: Sequence[str], answer: Any) -> Any:
    """Return an answer with the names of labels in place of their ids; a number stays one."""
    if kind.regression:
        return answer
    return [labels[label] for label in answer] if kind.lists_labels else labels[answer]


def exact_key(text: Any) -> Any:
    """Return a key that only identical inputs share: a text, or a tuple of words or of two texts."""
    return text if isinstance(text, str) else tuple(text)


def loose_key(text: Any) -> Any:
    """Return a key that inputs share if they are the same but for case, spaces and punctuation.

    AfriSenti's test split is lower-cased and without punctuation in three languages, its train split is not. A text
    without a letter or digit, such as one of emoji, only equals itself.
    """
    if isinstance(text, str):
        folded = unicodedata.normalize("NFKC", text).casefold()
        # Marks are kept: in Yoruba tone distinguishes words.
        kept = "".join(character for character in folded if unicodedata.category(character)[0] in "LMN")
        return unicodedata.normalize("NFC", kept) or text
    return loose_key(" ".join(text)) if isinstance(text, list) else tuple(loose_key(part) for part in text)


def seen_in(train: Iterable[Any], other: Iterable[Any], *, exact: bool = False) -> np.ndarray:
    """Return for each input of `other` whether it is in `train`, whatever its label.

    Args:
        train: Strings, lists of words, or pairs of strings.
        other: The same.
        exact: Whether case, spaces and punctuation count.
    """
    key = exact_key if exact else loose_key
    known = {key(text) for text in train}
    return np.fromiter((key(text) in known for text in other), dtype=bool)


def _count_shared(split: str, rows: Mapping[str, list[Example]], counted: Counter[str]) -> None:
    """Count the examples of a split whose text train has too: exactly, loosely, and with another label."""
    train, own = ([text for text, _ in rows[name]] for name in ("train", split))
    exact, loose = seen_in(train, own, exact=True), seen_in(train, own)
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


def _label_counts(kind: TaskKind, rows: list[Example]) -> Counter[str]:
    """Count the labels of examples; for spans the types, since an I- tag may be missing from a split."""
    if kind.regression:
        return Counter()
    if kind.multi_label:
        return Counter(str(label) for _, own in rows for label in own)
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
    if kind.regression:
        return (NUMBER,)
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
        raise ValueError(f"{dataset} has only the labels {labels}; expected at least two to tell apart")
    by_form: dict[str, str] = {}
    for label in labels:
        other = by_form.setdefault(label.casefold().strip(), label)
        if other != label:
            raise ValueError(
                f"{dataset} has the labels {other!r} and {label!r}, which differ only in case; spell them alike, or "
                "map one to the other with `labels:` in a description of the set"
            )


def _dataset(kind: TaskKind, labels: tuple[str, ...], rows: list[Any]) -> Dataset:
    ids = {label: index for index, label in enumerate(labels)}
    if kind.tagged:
        return Dataset.from_dict(
            {"tokens": [tokens for tokens, _ in rows], "tags": [[ids[tag] for tag in tags] for _, tags in rows]}
        )
    label: list[Any]
    if kind.regression:
        label = [float(number) for _, number in rows]
    elif kind.multi_label:
        given = [{str(name) for name in own} for _, own in rows]
        label = [[float(name in own) for name in labels] for own in given]
    else:
        label = [ids[str(label)] for _, label in rows]
    if not kind.pairs:
        return Dataset.from_dict({"text": [text for text, _ in rows], "label": label})
    first, second = ([pair[side] for pair, _ in rows] for side in (0, 1))
    return Dataset.from_dict({"text": first, "text_pair": second, "label": label})
