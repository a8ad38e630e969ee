"""Which pieces are single characters of the scripts wanted, by Unicode Script and Script_Extensions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import regex

from hf_afro.languages import script_names
from hf_afro.vocabulary.tokenizers.backend import kind_named
from hf_afro.vocabulary.tokenizers.table import TokenizerTable

# A script is found in counted text when it writes this share of the running tokens of some language.
FOUND_SHARE = 0.01


def script_pattern(scripts: Iterable[str]) -> regex.Pattern[str]:
    """Return a pattern that matches one character used in any of the scripts, or in all scripts.

    A character counts for a script by Script_Extensions, so that the Arabic comma counts for N'Ko too and the
    modifier apostrophe for Latin. Common characters (digits, most punctuation, emoji) and all inherited marks match
    whatever the scripts are; those that Script_Extensions limits to other scripts, such as the ideographic comma, do
    not.

    Args:
        scripts: As `hf_afro.languages.script_names` takes them, such as ``"Latin"`` or ``"Ethiopic"``.

    Raises:
        ValueError: If Unicode has no such script.
    """
    wanted = (*script_names(scripts), "Common", "Inherited")
    extensions = "".join(rf"\p{{Script_Extensions={script}}}" for script in wanted)
    return regex.compile(rf"[{extensions}\p{{Script=Inherited}}]")


def single_characters(table: TokenizerTable) -> dict[str, list[int]]:
    """Return the ids whose piece is one character, with or without the mark of its place in a word, by character."""
    bare_text = kind_named(table.kind).bare_text
    specials = set(table.special_ids)
    characters: dict[str, list[int]] = {}
    for index, piece in enumerate(table.pieces):
        text = bare_text(piece)
        if len(text) == 1 and index not in specials:
            characters.setdefault(text, []).append(index)
    return characters


def character_ids(table: TokenizerTable, scripts: Iterable[str]) -> np.ndarray:
    """Return the ids that make every character of the scripts wanted writable, ascending int64.

    They are the pieces of one such character. A character that no piece stands for alone, yet longer pieces hold,
    keeps all pieces that hold it: text with it could be split before, so it must be afterwards. Where such a
    character would be spelt in bytes, that is not needed.

    Args:
        table: The tokenizer's pieces.
        scripts: See `script_pattern`.
    """
    wanted = script_pattern(scripts)
    kept = {index for character, ids in single_characters(table).items() if wanted.match(character) for index in ids}
    if not table.byte_fallback:
        kept.update(_only_inside(table, wanted))
    return np.array(sorted(kept), dtype=np.int64)


def _only_inside(table: TokenizerTable, wanted: regex.Pattern[str]) -> list[int]:
    """Return the ids of pieces with a wanted character that has, for its place in a word, no piece of its own."""
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
    """Return the scripts that write at least one percent of some language's running tokens, sorted.

    Args:
        table: The tokenizer's pieces.
        counts: Running tokens, ``[languages, size]``.
    """
    seen = np.flatnonzero(counts.sum(axis=0))
    bare_text = kind_named(table.kind).bare_text
    specials = set(table.special_ids)
    totals: dict[str, np.ndarray] = {}
    for index in seen.tolist():
        script = None if index in specials else _script_of(bare_text(table.pieces[index]))
        if script is not None:
            totals[script] = totals.get(script, 0) + counts[:, index]
    running = np.maximum(counts.sum(axis=1), 1)
    return tuple(sorted(name for name, total in totals.items() if np.any(total >= FOUND_SHARE * running)))


def _script_of(text: str) -> str | None:
    """Return the script of the first letter, among those of the table below; None where there is no letter."""
    letter = next((character for character in text if character.isalpha()), None)
    if letter is None:
        return None
    match = _ANY_SCRIPT.match(letter)
    return match.lastgroup if match is not None else None


# The scripts a multilingual vocabulary has pieces for, and those of Africa.
_SCRIPTS = (
    "Latin Cyrillic Arabic Ethiopic Greek Hebrew Armenian Georgian Han Hangul Hiragana Katakana Bopomofo Devanagari "
    "Bengali Gurmukhi Gujarati Oriya Tamil Telugu Kannada Malayalam Sinhala Thai Lao Tibetan Myanmar Khmer Mongolian "
    "Thaana Syriac Nko Tifinagh Vai Coptic Adlam Bamum Osmanya Mende_Kikakui Bassa_Vah Medefaidrin Garay"
).split()
_ANY_SCRIPT = regex.compile("|".join(rf"(?P<{name}>\p{{Script={name}}})" for name in _SCRIPTS))
