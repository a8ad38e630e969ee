"""The text that ships: enough of it, in the right script, clean, and our own."""

from __future__ import annotations

import unicodedata

import pytest
import regex

from hf_afro.corpora import read_corpora, reason_to_drop
from hf_afro.languages import find_language, languages_in
from hf_afro.sample import text_folder
from hf_afro.sample.tasks import Sentence
from tests.sample.near_copies import near_copies

AFRICAN = languages_in("afroxlmr")
TO_DROP = ("hin", "kor", "rus", "zho")
EVERY = [*AFRICAN, *TO_DROP]

# The letters without which the orthography is not the one speakers use.
SPECIAL = {
    "afr": "ëê",
    "fra": "éèàçœ",
    "hau": "ɓɗƙ",
    "ibo": "ịọụṅ",
    "orm": "'",
    "yor": "ẹọṣáàéèńǹ",
    "amh": "።፣፤",
    "mlg": "à",
}


def lines_of(language: str) -> list[str]:
    return (text_folder() / f"{language}.txt").read_text(encoding="utf-8").splitlines()


def test_every_language_is_there_and_no_other():
    assert {path.stem for path in text_folder().iterdir()} == set(EVERY)
    assert set(read_corpora(text_folder())) == set(EVERY)


@pytest.mark.parametrize("language", EVERY)
def test_there_are_enough_distinct_sentences(language):
    lines = lines_of(language)
    assert len(lines) >= 60
    assert len({line.casefold() for line in lines}) == len(lines)


@pytest.mark.parametrize("language", EVERY)
def test_cleaning_keeps_every_line(language):
    # Chinese is written without spaces.
    min_tokens = 1 if language == "zho" else 6
    assert [line for line in lines_of(language) if reason_to_drop(line, min_tokens)] == []


@pytest.mark.parametrize("language", EVERY)
def test_the_bytes_are_clean(language):
    raw = (text_folder() / f"{language}.txt").read_bytes()
    text = raw.decode("utf-8")
    assert b"\r" not in raw
    assert raw.endswith(b"\n")
    assert not raw.startswith(b"\xef\xbb\xbf")
    assert unicodedata.is_normalized("NFC", text)
    assert [line for line in text.splitlines() if line != " ".join(line.split())] == []
    assert [line for line in text.splitlines() if line[-1] not in ".።।。"] == []


@pytest.mark.parametrize("language", EVERY)
def test_the_letters_are_of_the_language_s_script(language):
    text = "".join(lines_of(language))
    letters = regex.findall(r"\p{L}", text)
    own = regex.findall(rf"(?=\p{{L}})\p{{Script={find_language(language).scripts[0]}}}", text)
    assert len(own) > 0.95 * len(letters)


@pytest.mark.parametrize("language", sorted(SPECIAL))
def test_the_special_letters_are_used(language):
    # A tone mark over a letter with an underdot is a character of its own, so letters are looked for apart.
    text = "".join(lines_of(language)).lower()
    assert [letter for letter in SPECIAL[language] if letter not in text] == []


@pytest.mark.parametrize("language", [language for language in EVERY if language != "zho"])
def test_no_sentence_is_nearly_another(language):
    assert near_copies(lines_of(language)) == []


def test_a_near_copy_would_be_seen():
    assert near_copies(["The old cat sat on the mat.", "The old dog sat on the mat.", "It rains."]) == [(0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("language", EVERY)
def test_nothing_is_copied_from_the_shared_data(shared_data, language):
    ours = lines_of(language)
    tokenized = [" ".join(token for token, _ in Sentence(line).tagged()) for line in ours]
    paths = [path for path in shared_data.rglob("*.t[xs][tv]") if language in (path.stem, path.parent.name)]
    assert paths or language in ("hin", "kor")
    for path in paths:
        text = path.read_text(encoding="utf-8", errors="replace")
        if "ner" in path.parts:
            text = " ".join(line.split(" ")[0] for line in text.splitlines())
        assert [line for line in (tokenized if "ner" in path.parts else ours) if line.rstrip(".።। ") in text] == []
