"""Templates become sentences, and the names in them keep their tags through any tokenization."""

from __future__ import annotations

import random

import pytest

from hf_afro.sample.filling import Sentence, fill, pick

SLOTS = {
    "given": ["Asha"],
    "person": ["{given} Kimaro"],
    "place": ["Dar es Salaam"],
    "date": ["12 March"],
    "thing": ["posta"],
    "organisation": ["Shirika la Maji"],
}


def filled(template: str) -> Sentence:
    return fill(template, SLOTS, random.Random(0), held_out=False)


def test_names_are_tagged_in_iob2():
    assert filled("{person} went to {place}, on {date}.").tagged() == [
        ("Asha", "B-PER"),
        ("Kimaro", "I-PER"),
        ("went", "O"),
        ("to", "O"),
        ("Dar", "B-LOC"),
        ("es", "I-LOC"),
        ("Salaam", "I-LOC"),
        (",", "O"),
        ("on", "O"),
        ("12", "B-DATE"),
        ("March", "I-DATE"),
        (".", "O"),
    ]


def test_names_side_by_side_stay_two():
    assert [tag for _, tag in filled("{person} {person}").tagged()] == ["B-PER", "I-PER", "B-PER", "I-PER"]


def test_a_prefix_belongs_to_the_name():
    slots = {"place": ["ሐዋሳ"]}
    assert fill("ከ{place} መጡ።", slots, random.Random(0), held_out=False).tagged() == [
        ("ከሐዋሳ", "B-LOC"),
        ("መጡ", "O"),
        ("።", "O"),
    ]


def test_words_with_marks_and_apostrophes_stay_whole():
    tokens = [token for token, _ in Sentence("'Yan wasa sun ba da'awa, ọ́fíìsì ẹ̀yẹ n'ụlọ márùn-ún!").tagged()]
    assert tokens == ["'Yan", "wasa", "sun", "ba", "da'awa", ",", "ọ́fíìsì", "ẹ̀yẹ", "n'ụlọ", "márùn-ún", "!"]


def test_only_the_sentence_begins_with_a_capital():
    assert filled("{thing} iko karibu na {thing}.").text == "Posta iko karibu na posta."
    assert filled("{thing} iko {place}.").tagged()[0] == ("Posta", "O")


def test_an_unknown_slot_names_the_template_and_the_slots():
    with pytest.raises(ValueError, match=r"'in \{town\}' has a slot 'town'; expected one of given, person, place"):
        filled("in {town}")


@pytest.mark.parametrize(("count", "seen", "kept"), [(8, 6, 2), (4, 3, 1), (3, 3, 3), (1, 1, 1)])
def test_the_last_quarter_is_held_out(count, seen, kept):
    values = [str(n) for n in range(count)]
    generator = random.Random(0)
    assert {pick(values, generator, False) for _ in range(200)} == set(values[:seen])
    assert {pick(values, generator, True) for _ in range(200)} == set(values[-kept:])
