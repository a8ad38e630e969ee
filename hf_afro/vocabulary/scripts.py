"""Find the tokens that are single characters of given scripts, by Unicode Script and Script_Extensions."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable

import numpy as np
import regex

from hf_afro.languages import script_names
from hf_afro.vocabulary.tokenizers.backend import kind_named
from hf_afro.vocabulary.tokenizers.table import TokenizerTable

# A language uses a script if at least this share of its tokens is written in it.
FOUND_SHARE = 0.01


def script_pattern(scripts: Iterable[str]) -> regex.Pattern[str]:
    """Return a pattern that matches one character of any of the scripts, or one that all scripts share.

    Characters belong to scripts by Script_Extensions, so the Arabic comma also belongs to N'Ko and the modifier
    apostrophe to Latin. Common characters (digits, most punctuation, emoji) and all inherited marks always match,
    except those that Script_Extensions limits to other scripts, such as the ideographic comma.

    Args:
        scripts: As `hf_afro.languages.script_names` takes them, such as ``"Latin"`` or ``"Ethiopic"``.

    Raises:
        ValueError: If Unicode has no such script.
    """
    wanted = (*script_names(scripts), "Common", "Inherited")
    extensions = "".join(rf"\p{{Script_Extensions={script}}}" for script in wanted)
    return regex.compile(rf"[{extensions}\p{{Script=Inherited}}]")


def single_characters(table: TokenizerTable) -> dict[str, list[int]]:
    """Return the ids of single-character tokens by character, with and without the mark of their place in a word."""
    bare_text = kind_named(table.kind).bare_text
    specials = set(table.special_ids)
    characters: dict[str, list[int]] = {}
    for index, piece in enumerate(table.pieces):
        text = bare_text(piece)
        if len(text) == 1 and index not in specials:
            characters.setdefault(text, []).append(index)
    return characters


def character_ids(table: TokenizerTable, scripts: Iterable[str]) -> np.ndarray:
    """Return the ids needed to write every character of some scripts, ascending int64.

    These are the tokens that are one such character. If a character has no token of its own but is part of longer
    ones, all tokens that contain it are returned, unless it can be spelt in bytes.

    Args:
        table: The tokens of the tokenizer.
        scripts: See `script_pattern`.
    """
    wanted = script_pattern(scripts)
    kept = {index for character, ids in single_characters(table).items() if wanted.match(character) for index in ids}
    if not table.byte_fallback:
        kept.update(_only_inside(table, wanted))
    return np.array(sorted(kept), dtype=np.int64)


def _only_inside(table: TokenizerTable, wanted: regex.Pattern[str]) -> list[int]:
    """Return the ids of tokens with a wanted character that has no token of its own for its place in a word."""
    kind, specials = kind_named(table.kind), set(table.special_ids)
    ordinary = {piece: index for index, piece in enumerate(table.pieces) if index not in specials}
    lacking: dict[str, bool] = {}
    found = []
    for piece, index in ordinary.items():
        letters = kind.letters(piece)
        for letter in letters:
            if letter not in lacking:
                lacking[letter] = letter not in ordinary and wanted.match(kind.bare_text(letter)) is not None
        if any(lacking[letter] for letter in letters):
            found.append(index)
    return found


def scripts_in(table: TokenizerTable, counts: np.ndarray) -> tuple[str, ...]:
    """Return the scripts of at least one percent of the tokens of some language, sorted.

    Args:
        table: The tokens of the tokenizer.
        counts: Number of occurrences, ``[languages, size]``.
    """
    seen = np.flatnonzero(counts.sum(axis=0))
    bare_text = kind_named(table.kind).bare_text
    specials = set(table.special_ids)
    totals: dict[str, np.ndarray] = {}
    for index in seen.tolist():
        script = None if index in specials else script_of(bare_text(table.pieces[index]))
        if script is not None:
            totals[script] = totals.get(script, 0) + counts[:, index]
    running = np.maximum(counts.sum(axis=1), 1)
    return tuple(sorted(name for name, total in totals.items() if np.any(total >= FOUND_SHARE * running)))


def script_of(text: str) -> str | None:
    """Return the script of the first letter, if it is one of `_SCRIPTS`; None without a letter."""
    letter = next((character for character in text if character.isalpha()), None)
    return None if letter is None else _script_of_letter(letter)


def main_script(line: str) -> str | None:
    """Return the script in which most words of a line begin; None if no word has a letter of `_SCRIPTS`."""
    found = Counter(filter(None, map(script_of, line.split())))
    return found.most_common(1)[0][0] if found else None


@functools.cache
def _script_of_letter(letter: str) -> str | None:
    match = _ANY_SCRIPT.match(letter)
    return match.lastgroup if match is not None else None


# Scripts of multilingual vocabularies and of Africa.
_SCRIPTS = (
    "Latin Cyrillic Arabic Ethiopic Greek Hebrew Armenian Georgian Han Hangul Hiragana Katakana Bopomofo Devanagari "
    "Bengali Gurmukhi Gujarati Oriya Tamil Telugu Kannada Malayalam Sinhala Thai Lao Tibetan Myanmar Khmer Mongolian "
    "Thaana Syriac Nko Tifinagh Vai Coptic Adlam Bamum Osmanya Mende_Kikakui Bassa_Vah Medefaidrin Garay"
).split()
_ANY_SCRIPT = regex.compile("|".join(rf"(?P<{name}>\p{{Script={name}}})" for name in _SCRIPTS))
