"""Suggestions in errors name a known name only if it is similar, and unwanted log records are dropped."""

from __future__ import annotations

import logging

import pytest

from hf_afro.messages import counted, filtered_log, nearest


@pytest.mark.parametrize(
    ("word", "known", "every", "told"),
    [
        ("lerning_rate", ("epochs", "learning_rate"), False, "did you mean 'learning_rate'?"),
        ("nre", ("ner", "pos"), True, "did you mean 'ner'? Expected one of ner, pos"),
        ("half", ("full", "lora", "frozen"), False, "expected one of full, lora, frozen"),
        ("half", (), True, "there is none to choose from"),
        (3, tuple("abc"), True, "expected one of a, b, c"),
    ],
)
def test_a_suggestion(word, known, every, told):
    assert nearest(word, known, every=every) == told


def test_a_long_list_is_cut():
    names = [f"setting_{number}" for number in range(100)]
    assert nearest("?", names).endswith("setting_29 and 70 more")


def test_a_number_has_its_noun():
    assert [counted(number, "set") for number in (0, 1, 2000)] == ["0 sets", "1 set", "2,000 sets"]


def test_unwanted_records_are_dropped_inside_the_block(caplog):
    logger = logging.getLogger("another.library")
    with filtered_log("another.library", lambda record: "noise" not in record.getMessage()):
        logger.warning("noise")
        logger.warning("news")
    logger.warning("noise after")
    assert caplog.messages == ["news", "noise after"]
