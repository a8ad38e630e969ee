"""The kinds of task there are: what has a label, a word, a text or a pair of texts, and what a score is made of."""

from __future__ import annotations

from dataclasses import dataclass

from hf_afro.nearest import nearest

OUTSIDE = "O"


@dataclass(frozen=True)
class TaskKind:
    """What a task is made of.

    Attributes:
        tagged: Whether every word has a label; else a whole text has one.
        spans: Whether the labels are tags of IOB2, scored as entities.
        pairs: Whether an example is two texts.
        main_metric: What the best epoch is chosen by, and what papers print first.
    """

    tagged: bool
    spans: bool
    pairs: bool
    main_metric: str


_SPANS = TaskKind(tagged=True, spans=True, pairs=False, main_metric="entity_f1")
_TAGS = TaskKind(tagged=True, spans=False, pairs=False, main_metric="accuracy")
_TEXTS = TaskKind(tagged=False, spans=False, pairs=False, main_metric="weighted_f1")
_PAIRS = TaskKind(tagged=False, spans=False, pairs=True, main_metric="accuracy")

KINDS: dict[str, TaskKind] = {
    "ner": _SPANS,
    "pos": _TAGS,
    "topic": _TEXTS,
    "sentiment": _TEXTS,
    "nli": _PAIRS,
    # For a set of one's own that is none of these.
    "spans": _SPANS,
    "tags": _TAGS,
    "texts": _TEXTS,
    "pairs": _PAIRS,
}
TASKS = tuple(KINDS)


def kind_of(task: str) -> TaskKind:
    """Return what a task is made of.

    Raises:
        ValueError: If there is no such task; the message names those there are and the nearest.
    """
    if task in KINDS:
        return KINDS[task]
    raise ValueError(f"unknown task {task!r}; {nearest(task, TASKS, every=True)}")
