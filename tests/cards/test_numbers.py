"""The check of a card's numbers: finds one that was changed or added, whatever the form, and no honest one."""

from __future__ import annotations

import dataclasses
import re

import pytest

from hf_afro.cards import CardFacts, render_card
from hf_afro.cards.numbers import numbers_in, unexplained_numbers
from tests.cards.test_facts import FACTS
from tests.reports.examples import report, three

REPORTS = [report("student"), report("teacher")]


def test_numbers_are_seen_in_every_form_and_names_are_none():
    text = "F1 of 87.4 ± 0.5 over 1,113.2 MB, 5e-05, -3; base-70k, ISO 639-3, v1.2.3 [2] 20, and 7."
    assert numbers_in(text) == ["87.4", "0.5", "1,113.2", "5e-05", "-3", "20", "7"]


def test_blocks_of_code_are_left_out():
    assert numbers_in("1\n```python\n2\n```\n3\n") == ["1", "3"]
    assert numbers_in(r"4.2 \[7\] 5 [8]") == ["4.2", "5"]


@pytest.mark.parametrize("facts", [FACTS, CardFacts("a")])
def test_an_honest_card_has_no_unexplained_number(facts):
    card = render_card(three(), facts)
    assert len(numbers_in(card)) > 50
    assert unexplained_numbers(card, three(), facts) == []


def test_the_mean_without_a_collapsed_run_is_explained():
    student = report("student")
    scores = [dataclasses.replace(score, collapsed=(1,)) if score.note else score for score in student.scores]
    reports = [dataclasses.replace(student, scores=tuple(scores)), report("teacher")]
    card = render_card(reports, FACTS)
    assert "seed 1 collapsed; 85.5 without" in card
    assert unexplained_numbers(card, reports, FACTS) == []


def test_every_number_that_is_changed_is_found():
    card = render_card(REPORTS, FACTS)
    body = re.sub(r"^```.*?^```$", "", card, flags=re.M | re.S)
    for number in dict.fromkeys(numbers_in(body)):
        at = re.search(rf"(?<![\w.,-]){re.escape(number)}(?![\w-]|[.,]\d)", card)
        changed = card[: at.start()] + "31337" + card[at.end() :]
        assert unexplained_numbers(changed, REPORTS, FACTS) == ["31337"], number


@pytest.mark.parametrize("claim", ["It reaches 99.9 F1.", "Trained on 2,000,000 tokens.", "13 % better", "0.9312"])
def test_a_claim_that_was_added_is_found(claim):
    card = render_card(REPORTS, FACTS)
    assert unexplained_numbers(f"{card}\n{claim}\n", REPORTS, FACTS) == numbers_in(claim)


def test_figures_of_another_model_do_not_explain_those_of_this_one():
    card = render_card(REPORTS, FACTS)
    assert unexplained_numbers(card, REPORTS[:1], FACTS)
