"""Characters belong to scripts by Script_Extensions, including marks and African letters."""

from __future__ import annotations

import numpy as np
import pytest

from hf_afro.vocabulary.scripts import character_ids, main_script, script_pattern, scripts_in
from hf_afro.vocabulary.tokenizers.table import TokenizerTable


def table(*pieces):
    return TokenizerTable("Unigram", ("<unk>", *pieces), np.zeros(len(pieces) + 1), 0, (0,), False, "fingerprint")


@pytest.mark.parametrize(
    ("character", "scripts", "matches"),
    [
        ("ẹ", ("Latin",), True),
        ("ɓ", ("Latin",), True),
        ("\u02bc", ("Latin",), True),  # modifier apostrophe
        ("\ua78c", ("Latin",), True),  # saltillo
        ("ǃ", ("Latin",), True),
        ("\u0301", ("Latin",), True),
        ("\u0323", ("Latin",), True),
        ("\u0342", ("Latin",), True),  # inherited, though its extensions name Greek alone
        ("1", ("Latin",), True),
        ("…", ("Ethiopic",), True),
        ("😀", ("Ethiopic",), True),
        ("ሀ", ("Ethiopic",), True),
        ("።", ("Ethiopic",), True),
        ("ሀ", ("Latin",), False),
        ("،", ("Nko",), True),  # the Arabic comma is N'Ko's too
        ("،", ("Latin",), False),
        ("ߊ", ("Nko",), True),
        ("ж", ("Latin", "Arabic"), False),
        ("、", ("Latin",), False),  # common, but of East Asian scripts alone
        ("中", ("Latin",), False),
    ],
)
def test_characters_of_scripts(character, scripts, matches):
    assert bool(script_pattern(scripts).match(character)) == matches


@pytest.mark.parametrize("name", ["Nko", "N'Ko", "NKo", "Nkoo"])
def test_a_script_is_found_by_every_spelling_of_its_name(name):
    assert script_pattern([name]).match("ߊ")
    assert not script_pattern([name]).match("a")


def test_single_characters_with_and_without_the_mark():
    found = character_ids(table("a", "\u2581a", "aa", "\u2581", "\u2581ж", "\u0301", "жж"), ("Latin",))
    assert found.tolist() == [1, 2, 4, 6]


def test_a_character_without_a_piece_of_its_own_keeps_those_that_hold_it():
    # "b" is only inside "ab" and "bc"; "c" is only at a word's start alone, so "bc" writes it too.
    found = character_ids(table("a", "ab", "\u2581c", "bc", "aa", "жa", "ж"), ("Latin",))
    assert found.tolist() == [1, 2, 3, 4]


def test_scripts_found_in_counts():
    pieces = table("ab", "\u2581ж", "ሀለ", "中", "1")
    counts = np.array([[5, 990, 0, 10, 9, 900], [0, 10, 10, 0, 0, 0]])
    assert scripts_in(pieces, counts) == ("Cyrillic", "Latin")


@pytest.mark.parametrize(
    ("line", "script"),
    [
        ("Abiy Ahmed ና ሌሎች", "Latin"),
        ("“ሰላም” ለዓለም, Addis!", "Ethiopic"),
        ("2026 — 15 %", None),
        ("", None),
    ],
)
def test_the_script_of_a_line_is_that_of_most_words(line, script):
    assert main_script(line) == script
