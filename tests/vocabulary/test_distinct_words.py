"""Lines are cut into distinct words, which are counted, merged and put into texts."""

from __future__ import annotations

from collections import Counter

import pyarrow
import pytest

from hf_afro.vocabulary import distinct_words
from hf_afro.vocabulary.distinct_words import cut_lines, merge, weighted_texts
from hf_afro.vocabulary.words import WordCut, word_cut
from tests.texts import SENTENCES
from tests.vocabulary.kinds import EXAMPLES, state_of

LINES = ["a b a", "b", "c  b", "", "a x"]
APART = WordCut("x", with_space=False)
WITH_SPACE = WordCut("x|  |^$", with_space=True)


def counted(words):
    assert len(set(words["word"].to_pylist())) == len(words)
    return dict(zip(words["word"].to_pylist(), words["count"].to_pylist(), strict=True))


def test_words_are_counted_and_crossing_lines_left_whole():
    words, whole, size = cut_lines(pyarrow.array(LINES), APART)
    assert counted(words) == {"a": 2, "b": 3, "c": 1}
    assert whole == ["a x"]
    assert (size.lines, size.words, size.characters, size.utf8_bytes) == (5, 8, 13, 13)


def test_a_word_with_its_space_is_another_than_the_first_of_a_line():
    words, whole, size = cut_lines(pyarrow.array(LINES), WITH_SPACE)
    assert counted(words) == {"a": 1, "b": 1, " b": 1, " a": 1}
    assert whole == ["c  b", "", "a x"]
    assert size.words == 8


def test_without_a_cut_all_lines_are_whole():
    words, whole, size = cut_lines(pyarrow.array(LINES), None)
    assert len(words) == 0
    assert whole == LINES
    assert size.words == 8


@pytest.mark.parametrize("cut", [APART, WITH_SPACE])
def test_merged_parts_are_the_whole(cut):
    parts = [cut_lines(pyarrow.array(part, pyarrow.string()), cut).words for part in (LINES[:2], LINES[2:], [])]
    assert counted(merge(parts)) == counted(cut_lines(pyarrow.array(LINES), cut).words)
    assert len(merge([])) == 0


@pytest.mark.parametrize("words_a_text", [1, 2, 256])
def test_texts_hold_every_word_with_its_count(monkeypatch, words_a_text):
    monkeypatch.setattr(distinct_words, "_WORDS_A_TEXT", words_a_text)
    lines = pyarrow.array([line for lines in SENTENCES.values() for line in lines])
    words = cut_lines(lines, APART).words
    texts = list(weighted_texts(words, with_space=False))
    assert max(len(text.split(" ")) for text, _ in texts) <= words_a_text
    assert Counter({word: count for text, count in texts for word in text.split(" ")}) == counted(words)


def test_texts_keep_the_space_of_a_word_and_the_first_of_lines_apart():
    words = cut_lines(pyarrow.array(["a b c", "d"]), WITH_SPACE).words
    assert sorted(weighted_texts(words, with_space=True)) == [(" b c", 1), ("a", 1), ("d", 1)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_plain_sentences_are_all_cut(name):
    """Else the tests of exactness would compare whole lines with whole lines."""
    lines = [line for language, lines in SENTENCES.items() for line in lines if line.isalpha() or " " in line]
    _, whole, _ = cut_lines(pyarrow.array(lines), word_cut(state_of(EXAMPLES[name].make())))
    assert len(whole) < len(lines) / 20
