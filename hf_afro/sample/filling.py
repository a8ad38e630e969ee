"""A template with slots becomes a sentence, with the tags of the names that were filled in."""

from __future__ import annotations

import random
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import regex

ENTITIES = {"person": "PER", "man": "PER", "woman": "PER", "organisation": "ORG", "place": "LOC", "date": "DATE"}
"""The slots whose values are named entities, with the type that MasakhaNER gives them; other slots have none."""

# Letters with their marks stay together, as do the parts of a word around an apostrophe or a hyphen; a Hausa or
# Oromo word may begin with the apostrophe.
_TOKEN = regex.compile(r"['’]?[\p{L}\p{M}\p{N}]+(?:['’\-][\p{L}\p{M}\p{N}]+)*|[^\s]")


@dataclass(frozen=True)
class Sentence:
    """A filled template.

    Attributes:
        text: The sentence, its first letter a capital.
        spans: Start, end (characters of the text, the end excluded) and type of every entity, in order.
    """

    text: str
    spans: tuple[tuple[int, int, str], ...] = ()

    def tagged(self) -> list[tuple[str, str]]:
        """Split the sentence into tokens, each with its tag in IOB2.

        A prefix that is written together with a name belongs to the token and so to the entity, as it does in the
        published Amharic data.
        """
        pairs = []
        last = None
        for match in _TOKEN.finditer(self.text):
            span = next((s for s in self.spans if match.start() < s[1] and s[0] < match.end()), None)
            tag = "O" if span is None else f"{'I' if span == last else 'B'}-{span[2]}"
            pairs.append((match.group(), tag))
            last = span
        return pairs


def pick(values: Sequence[str], generator: random.Random, held_out: bool) -> str:
    """Choose from the last quarter of the values, which is held out, or from what stands before it.

    Fewer than four values have nothing held out and are all chosen from. Only `Random.random` is asked, the one
    method whose values Python keeps from version to version.
    """
    cut = len(values) - len(values) // 4
    pool = values[cut:] if held_out and cut < len(values) else values[:cut]
    return pool[int(generator.random() * len(pool))]


def fill(template: str, slots: Mapping[str, Sequence[str]], generator: random.Random, held_out: bool) -> Sentence:
    """Fill every slot of a template with a value, and begin the sentence with a capital.

    Args:
        template: Text with slots, such as ``"{person} lives in {place}."``.
        slots: The values of each slot; a value may have slots of its own.
        generator: Draws the values.
        held_out: Take values that the training split never sees, see `pick`.

    Raises:
        ValueError: If the template names a slot that has no values.
    """
    text, spans = _filled(template, slots, generator, held_out)
    return Sentence(text[:1].upper() + text[1:], spans)


def _filled(
    template: str, slots: Mapping[str, Sequence[str]], generator: random.Random, held_out: bool
) -> tuple[str, tuple[tuple[int, int, str], ...]]:
    """Return the filled text and its spans; the values of slots inside a value are no spans of their own."""
    text = ""
    spans: list[tuple[int, int, str]] = []
    for literal, slot, _, _ in string.Formatter().parse(template):
        text += literal
        if slot is None:
            continue
        if slot not in slots:
            raise ValueError(f"the template {template!r} has a slot {slot!r}; expected one of {', '.join(slots)}")
        value, _ = _filled(pick(slots[slot], generator, held_out), slots, generator, held_out)
        if slot in ENTITIES:
            spans.append((len(text), len(text) + len(value), ENTITIES[slot]))
        text += value
    return text, tuple(spans)
