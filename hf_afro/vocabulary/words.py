"""When may a line be cut at its spaces and the pieces be counted word by word? Only where nothing looks across."""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

import pyarrow
import pyarrow.compute
import regex

from hf_afro.vocabulary.tokenizers.steps import flat_steps

# Normalisers that look at one character, with the marks on it, at a time.
_CHARACTER_NORMALIZERS = frozenset({"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents"})
# Those that look at one grapheme cluster, or drop characters, or put spaces; so that a word does not see its
# neighbours, yet the spaces between words need not come out as they went in.
_WORD_NORMALIZERS = _CHARACTER_NORMALIZERS | {"Precompiled", "Nmt", "BertNormalizer"}
# Pre-tokenizers that cut at all white space and take it away.
_DROP_SPACES = frozenset({"WhitespaceSplit", "Whitespace", "BertPreTokenizer"})
# Pre-tokenizers that, after a split at white space, work inside each part.
_STAY_INSIDE = _DROP_SPACES | {"Digits", "Punctuation"}
_SPACE_MARK = "\u2581"

# Characters that join what stands before them (a space included) to one grapheme cluster, and one class that joins
# what stands after. Categories are added to the cluster classes because the Unicode version of the tokenizers library
# is not ours: an unassigned character may have become a mark.
_JOINS_LEFT = r"[\p{GCB=Extend}\p{GCB=SpacingMark}\p{GCB=ZWJ}\p{M}\p{Cf}\p{Cn}\p{Co}]"
_JOINS_RIGHT = r"[\p{GCB=Prepend}\p{Cf}\p{Cn}\p{Co}]"
# White space, and what a normaliser could make nothing or a space of.
_NO_LETTER = r"[\s\p{Z}\p{C}]"
# Beyond the first plane all but the emoji (without the skin tones, which extend) counts as joining.
_JOINS_BEYOND = r"\x{10000}-\x{1f2ff}\x{1f3fb}-\x{1f3ff}\x{1fb00}-\x{10ffff}"
# The only characters of which NFC makes ASCII ones: the Kelvin sign, the Greek question mark and varia.
_BECOME_ASCII = r"[\x{212a}\x{37e}\x{1fef}]"


@dataclass(frozen=True)
class WordCut:
    """How lines are cut into words that are tokenised the same apart as in their line.

    Attributes:
        crossing: A pattern of RE2, found in the lines in which something may reach across a space.
        with_space: A word is tokenised with the space before it, so that the first word of a line is a thing apart.
    """

    crossing: str
    with_space: bool

    def crosses(self, lines: pyarrow.StringArray) -> pyarrow.BooleanArray:
        """Tell for each line whether it must be encoded whole."""
        return pyarrow.compute.match_substring_regex(lines, self.crossing)


def word_cut(state: dict[str, Any]) -> WordCut | None:
    """Return how a tokenizer lets lines be cut at their spaces (U+0020), None where it does not; that is always safe.

    Words are cut where the tokenizer splits at white space first and its other steps stay inside a word (XLM-R, BERT),
    where it turns each space into a mark at which it splits (SentencePiece as Unigram), and where each space opens a
    part (byte-level BPE) or no merge joins a space to what stands before it (Gemma). In the latter three a space must
    stand alone between two words to be a cut.

    The words are to be encoded without the added tokens: lines that hold the text of one cross.

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
    if opens or (not others and _is_gemma(state["model"], normalizers, first)):
        return WordCut("|".join([_crossing(alone=True), *added]), with_space=True)
    return None


def _stays_inside(step: dict[str, Any]) -> bool:
    if step["type"] == "Metaspace":
        return step["prepend_scheme"] in ("always", "never")  # "first" treats the first word of a line apart
    return step["type"] in _STAY_INSIDE


def _added_tokens(tokens: list[dict[str, Any]], normalizers: set[str]) -> list[str] | None:
    """Return patterns for the lines that could hold an added token, None where that cannot be told from the line."""
    patterns = [re.sub(r"[^\w]", lambda sign: rf"\x{{{ord(sign[0]):x}}}", token["content"]) for token in tokens]
    normalized = [token["content"] for token in tokens if token["normalized"]]
    if not normalized or not normalizers:
        return patterns
    if normalizers == {"NFC"} and all(content.isascii() for content in normalized):
        return [*patterns, _BECOME_ASCII]
    return None


def _is_gemma(model: dict[str, Any], normalizers: list[dict[str, Any]], first: dict[str, Any]) -> bool:
    """Say whether a BPE model sees whole lines with marked spaces and never joins a mark to what stands before it."""
    marked = [{"type": "Replace", "pattern": {"String": " "}, "content": _SPACE_MARK}]
    # Nothing is left to split at once spaces are marked.
    whole = first["type"] is None or (first["type"] == "Split" and first["pattern"] == {"String": " "})
    if model["type"] != "BPE" or normalizers != marked or not whole or model.get("ignore_merges"):
        return False
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix") or _SPACE_MARK not in model["vocab"]:
        return False
    merges = (merge if isinstance(merge, list) else merge.split(" ") for merge in model["merges"])
    return all(right[0] != _SPACE_MARK or left[-1] == _SPACE_MARK for left, right in merges)


@functools.cache
def _crossing(alone: bool) -> str:
    """Return a pattern for lines with a space, or an end, that a character beside it may join.

    Args:
        alone: Spaces also cross that do not stand alone between two words.
    """
    characters = "".join(chr(code) for code in range(0x10000) if not 0xD800 <= code <= 0xDFFF)
    left, right = set(regex.findall(_JOINS_LEFT, characters)), set(regex.findall(_JOINS_RIGHT, characters))
    if alone:
        odd = {_SPACE_MARK, *regex.findall(_NO_LETTER, characters), *filter(str.isspace, characters)}
        odd |= {one for one in characters if " " in unicodedata.normalize("NFKC", one)}
        left, right = left | odd, right | odd
    # A line feed in a line is no end of it to RE2.
    pattern = f"(?:^| ){_spelt(left)}|{_spelt(right)}(?: |$)"
    return f"{pattern}|^$" if alone else pattern


def _spelt(characters: set[str]) -> str:
    """Spell a class of characters of the first plane, and all that join beyond it, as ranges."""
    ranges: list[list[int]] = []
    for code in sorted(map(ord, characters)):
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    spelt = (rf"\x{{{low:x}}}-\x{{{high:x}}}" for low, high in ranges)
    return f"[{''.join(spelt)}{_JOINS_BEYOND}]"
