"""Decide whether the lines of a tokenizer can be cut at spaces and tokenised word by word with the same result."""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

import pyarrow
import pyarrow.compute
import regex

from hf_afro.vocabulary.tokenizers.table import flat_steps

# Normalisers that work on one character with its marks at a time.
_CHARACTER_NORMALIZERS = frozenset({"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents"})
# Normalisers that work on one grapheme cluster, drop characters or insert spaces: words do not depend on their
# neighbours, but the spaces between them may change.
_WORD_NORMALIZERS = _CHARACTER_NORMALIZERS | {"Precompiled", "Nmt", "BertNormalizer"}
# Pre-tokenizers that split at all white space and remove it.
_DROP_SPACES = frozenset({"WhitespaceSplit", "Whitespace", "BertPreTokenizer"})
# Pre-tokenizers that work inside each part after a split at white space.
_STAY_INSIDE = _DROP_SPACES | {"Digits", "Punctuation"}
_SPACE_MARK = "\u2581"

# Characters that form one grapheme cluster with the character before them (even a space), and those that do so with
# the character after. Categories are added because the tokenizers library has another Unicode version, in which an
# unassigned character may be a mark.
_JOINS_LEFT = r"[\p{GCB=Extend}\p{GCB=SpacingMark}\p{GCB=ZWJ}\p{M}\p{Cf}\p{Cn}\p{Co}]"
_JOINS_RIGHT = r"[\p{GCB=Prepend}\p{Cf}\p{Cn}\p{Co}]"
# White space, and characters that a normaliser may remove or turn into a space.
_NO_LETTER = r"[\s\p{Z}\p{C}]"
# Beyond the first plane, all characters except emoji without skin tones are treated as joining.
_JOINS_BEYOND = r"\x{10000}-\x{1f2ff}\x{1f3fb}-\x{1f3ff}\x{1fb00}-\x{10ffff}"
# The only characters that NFC turns into ASCII: the Kelvin sign, the Greek question mark and varia.
_BECOME_ASCII = r"[\x{212a}\x{37e}\x{1fef}]"


@dataclass(frozen=True)
class WordCut:
    """A rule for cutting lines into words that are tokenised alone as in their line.

    Attributes:
        crossing: An RE2 pattern that matches lines in which something may reach across a space.
        with_space: Whether words are tokenised with the space before them, which the first word of a line lacks.
    """

    crossing: str
    with_space: bool

    def crosses(self, lines: pyarrow.StringArray) -> pyarrow.BooleanArray:
        """Return for each line whether it must be encoded whole."""
        return pyarrow.compute.match_substring_regex(lines, self.crossing)


def word_cut(state: dict[str, Any]) -> WordCut | None:
    """Return the rule for cutting the lines of a tokenizer at spaces (U+0020), or None, which is always safe.

    Lines can be cut if the tokenizer first splits at white space and its other steps stay inside a word (XLM-R, BERT),
    if it splits at a mark that replaces each space (SentencePiece Unigram), or if each space starts a part (byte-level
    BPE) or no merge joins a space to the character before it (Gemma). In the latter three only a single space between
    two words is a cut.

    Words must be encoded without added tokens, so lines that contain the text of one are encoded whole.

    Args:
        state: The tokenizer's backend in JSON form.
    """
    if state["model"].get("dropout"):
        return None
    normalizers = flat_steps(state["normalizer"], "normalizers")
    types = {step["type"] for step in normalizers}
    first, *others = flat_steps(state["pre_tokenizer"], "pretokenizers") or [{"type": None}]
    inside = all(_stays_inside(step) for step in others)
    added = _added_tokens(state["added_tokens"], types)
    if added is None:
        return None
    if first["type"] in _DROP_SPACES and inside and types <= _WORD_NORMALIZERS:
        return WordCut("|".join([_crossing(alone=False), *added]), with_space=False)
    marks = first["type"] == "Metaspace" and first["prepend_scheme"] == "always" and first["split"]
    if marks and inside and types <= _CHARACTER_NORMALIZERS:
        return WordCut("|".join([_crossing(alone=True), *added]), with_space=False)
    opens = first["type"] == "ByteLevel" and first["use_regex"] and not others and types <= {"NFC"}
    if opens or cuts_at_marks(state):
        return WordCut("|".join([_crossing(alone=True), *added]), with_space=True)
    return None


def _stays_inside(step: dict[str, Any]) -> bool:
    if step["type"] == "Metaspace":
        return step["prepend_scheme"] in ("always", "never")  # "first" treats the first word of a line differently
    return step["type"] in _STAY_INSIDE


def _added_tokens(tokens: list[dict[str, Any]], normalizers: set[str]) -> list[str] | None:
    """Return patterns of lines that may contain an added token; None if the line does not show it."""
    patterns = [re.sub(r"[^\w]", lambda sign: rf"\x{{{ord(sign[0]):x}}}", token["content"]) for token in tokens]
    normalized = [token["content"] for token in tokens if token["normalized"]]
    if not normalized or not normalizers:
        return patterns
    if normalizers == {"NFC"} and all(content.isascii() for content in normalized):
        return [*patterns, _BECOME_ASCII]
    return None


def cuts_at_marks(state: dict[str, Any]) -> bool:
    """Return whether a BPE model gets whole lines with marked spaces and no merge joins a mark to text before it.

    Each word with the marks before it is then split as it would be alone (Gemma, mmBERT).

    Args:
        state: The tokenizer's backend in JSON form.
    """
    model, normalizers = state["model"], flat_steps(state["normalizer"], "normalizers")
    steps = flat_steps(state["pre_tokenizer"], "pretokenizers")
    marked = [{"type": "Replace", "pattern": {"String": " "}, "content": _SPACE_MARK}]
    # There is nothing to split at after spaces are marked.
    whole = all(step["type"] == "Split" and step["pattern"] == {"String": " "} for step in steps)
    if model["type"] != "BPE" or normalizers != marked or not whole or model.get("ignore_merges"):
        return False
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix") or _SPACE_MARK not in model["vocab"]:
        return False
    merges = (merge if isinstance(merge, list) else merge.split(" ") for merge in model["merges"])
    return all(right[0] != _SPACE_MARK or left[-1] == _SPACE_MARK for left, right in merges)


@functools.cache
def _crossing(alone: bool) -> str:
    """Return a pattern of lines with a space or an end that may join an adjacent character.

    Args:
        alone: Whether spaces that are not alone between two words also match.
    """
    characters = "".join(chr(code) for code in range(0x10000) if not 0xD800 <= code <= 0xDFFF)
    left, right = set(regex.findall(_JOINS_LEFT, characters)), set(regex.findall(_JOINS_RIGHT, characters))
    if alone:
        odd = {_SPACE_MARK, *regex.findall(_NO_LETTER, characters), *filter(str.isspace, characters)}
        odd |= {one for one in characters if " " in unicodedata.normalize("NFKC", one)}
        left, right = left | odd, right | odd
    # In RE2 a line feed does not end a line.
    pattern = f"(?:^| ){_spelt(left)}|{_spelt(right)}(?: |$)"
    return f"{pattern}|^$" if alone else pattern


def _spelt(characters: set[str]) -> str:
    """Return a character class of ranges for characters of the first plane and all joining ones beyond."""
    ranges: list[list[int]] = []
    for code in sorted(map(ord, characters)):
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    spelt = (rf"\x{{{low:x}}}-\x{{{high:x}}}" for low, high in ranges)
    return f"[{''.join(spelt)}{_JOINS_BEYOND}]"
