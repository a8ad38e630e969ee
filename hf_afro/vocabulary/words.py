"""When may a line be cut at its spaces and the pieces be counted word by word? Only where nothing looks across."""

from __future__ import annotations

import bisect
import functools
import itertools
import re
from dataclasses import dataclass
from typing import Any

import regex

from hf_afro.vocabulary.tokenizers.steps import flat_steps

# Normalisers that look at one character or one grapheme cluster at a time, so that a word does not see its neighbours.
_LOCAL_NORMALIZERS = frozenset({"Precompiled", "Nmt", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents"})
# Pre-tokenizers that, after a split at white space, work inside each part.
_LOCAL_PRE_TOKENIZERS = frozenset({"WhitespaceSplit", "Digits", "Punctuation"})

# Characters that join what stands before them (a space included) to one grapheme cluster, and one class that joins
# what stands after. Categories are added to the cluster classes because the Unicode version of the tokenizers library
# is not ours: an unassigned character may have become a mark.
_JOINS_LEFT = r"[\p{GCB=Extend}\p{GCB=SpacingMark}\p{GCB=ZWJ}\p{M}\p{Cf}\p{Cn}\p{Co}]"
_JOINS_RIGHT = r"[\p{GCB=Prepend}\p{Cf}\p{Cn}\p{Co}]"
# Beyond the first plane `re` tries range after range, so there all but the emoji (without the skin tones, which
# extend) counts as joining.
_JOINS_BEYOND = "\U00010000-\U0001f2ff\U0001f3fb-\U0001f3ff\U0001fb00-\U0010ffff"


def cuts_at_spaces(state: dict[str, Any]) -> bool:
    """Say whether each part of a line between spaces is tokenised the same alone as inside the line.

    True for XLM-R and all tokenizers that split at white space first and whose other steps stay inside a word. Lines
    found by `CrossingLines` are the exceptions. False is always safe.

    Args:
        state: The tokenizer's backend in JSON form.
    """
    if state["model"].get("dropout"):
        return False
    for token in state["added_tokens"]:
        if token["normalized"] or re.search(r"\s", token["content"]):
            return False  # found in the normalised text, where a neighbour's characters could belong to it
    normalizers = flat_steps(state["normalizer"], "normalizers")
    if any(step["type"] not in _LOCAL_NORMALIZERS for step in normalizers):
        return False
    first, *others = flat_steps(state["pre_tokenizer"], "pretokenizers") or [{"type": None}]
    return first["type"] == "WhitespaceSplit" and all(_stays_inside(step) for step in others)


def _stays_inside(step: dict[str, Any]) -> bool:
    if step["type"] == "Metaspace":
        return step["prepend_scheme"] in ("always", "never")  # "first" treats the first word of a line apart
    return step["type"] in _LOCAL_PRE_TOKENIZERS


@dataclass(frozen=True)
class CrossingLines:
    """Tells which lines hold something that may reach across a space.

    These are lines with the text of an added token, which is cut out before anything else, and lines in which a part
    begins or ends with a character that makes one grapheme cluster with the space beside it: the Precompiled
    normaliser replaces whole clusters.

    Attributes:
        added: The texts of the added tokens.
        joins: Matches a space that the character before or after it may join.
    """

    added: tuple[str, ...]
    joins: re.Pattern[str]

    @classmethod
    def of(cls, state: dict[str, Any]) -> CrossingLines:
        """Build the test for a tokenizer's backend in JSON form."""
        left, right = _joining_classes()
        # The space stands first so that `re` can leap from space to space.
        joins = re.compile(rf" (?:{left}|(?<={right} ))")
        return cls(tuple(token["content"] for token in state["added_tokens"]), joins)

    def among(self, lines: list[str], joined: str) -> list[int]:
        """Return the positions of such lines, ascending.

        Args:
            lines: Any lines.
            joined: The same lines with one space before, between and after them, which is what gets searched.
        """
        places = [match.start() for match in self.joins.finditer(joined)]
        for content in self.added:
            place = joined.find(content)
            while place >= 0:
                places.append(place)
                place = joined.find(content, place + 1)
        if not places:
            return []
        ends = list(itertools.accumulate(len(line) + 1 for line in lines))  # where the space after each line is
        found = set()
        for place in places:
            position = bisect.bisect_left(ends, place)
            found.update((position, position + 1) if place == ends[position] else (position,))
        return sorted(position for position in found if position < len(lines))


@functools.cache
def _joining_classes() -> tuple[str, str]:
    """Spell the two classes as ranges for `re`, which searches several times faster than `regex`."""
    characters = "".join(chr(code) for code in range(0x10000) if not 0xD800 <= code <= 0xDFFF)
    classes = []
    for name in (_JOINS_LEFT, _JOINS_RIGHT):
        runs = (match.group() for match in regex.finditer(name + "+", characters))
        ranges = "".join(f"{re.escape(run[0])}-{re.escape(run[-1])}" for run in runs)
        classes.append(f"[{ranges}{_JOINS_BEYOND}]")
    return classes[0], classes[1]
