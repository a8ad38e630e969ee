"""What was meant: only a name that is like the word is called the nearest."""

from __future__ import annotations

import pytest

from hf_afro.nearest import nearest


@pytest.mark.parametrize(
    ("word", "known", "every", "told"),
    [
        ("lerning_rate", ("epochs", "learning_rate"), False, "the nearest is 'learning_rate'"),
        ("nre", ("ner", "pos"), True, "the nearest is 'ner' of ner, pos"),
        ("half", ("full", "lora", "frozen"), False, "expected one of full, lora, frozen"),
        ("half", (), True, "there is none to choose from"),
        (3, tuple("abc"), True, "expected one of a, b, c"),
    ],
)
def test_a_hint(word, known, every, told):
    assert nearest(word, known, every=every) == told


def test_a_long_list_is_cut():
    names = [f"setting_{number}" for number in range(100)]
    assert nearest("?", names).endswith("setting_29 and 70 more")
