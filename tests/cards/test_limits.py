"""Limits: stated if they apply, and only then."""

from __future__ import annotations

import dataclasses

from hf_afro.cards import CardFacts, TextSource
from hf_afro.cards.card_facts import HEADS
from hf_afro.cards.limits import FINE_TUNED, NO_HARMS, limits_of
from hf_afro.reports import EvalReport
from tests.cards.test_card_facts import FACTS
from tests.reports.examples import report, score


def said(facts: CardFacts, own: EvalReport | None = None) -> str:
    return "\n".join(limits_of(own or report("student"), facts))


def test_tasks_and_languages_that_were_not_measured_are_named():
    text = said(FACTS)
    assert "Tasks not measured: sentiment." in text
    assert "Languages not measured on any task: Yoruba (yor)." in text
    assert "News topics: not measured in Amharic (amh) and Swahili (swa)." in text
    assert "Bits per byte: not measured in Swahili (swa)." in text
    assert "Named entities: not measured" not in text


def test_a_student_whose_head_was_fitted_late_says_so():
    assert HEADS["fitted_after_distillation"] in said(FACTS)
    assert "distillation" not in said(dataclasses.replace(FACTS, head=""))


def test_a_collapsed_seed_is_said_once_for_all_metrics():
    note = {"note": "seed 1 collapsed"}
    own = EvalReport("a", {}, (score(**note), score(metric="accuracy", **note)))
    assert said(FACTS, own).count("Named entities, Swahili (swa): seed 1 collapsed.") == 1


def test_one_seed_is_admitted():
    assert "a single seed, so without a standard deviation: named entities." in said(
        FACTS, EvalReport("a", {}, (score(values=(0.5,)),))
    )
    assert "single seed" not in said(FACTS)
    probe = EvalReport("a", {}, (score(values=(0.5,)),), settings={"ner/swa": {"adaptation": "probe"}})
    assert "single seed" not in said(FACTS, probe)  # others would give the same


def test_what_is_not_recorded_of_the_text_is_said():
    assert "it may contain sentences of the evaluation sets" in said(CardFacts("a"))
    assert "it may contain" not in said(FACTS)
    assert "The training text and its licence are not recorded" in said(CardFacts("a"))
    assert "licence of this training text is not recorded: More." in said(FACTS)
    assert "licence" not in said(CardFacts("a", text=(TextSource("News", "mit"),)))


def test_where_no_sentence_leaked_it_is_said_how_many_were_searched_for():
    facts = CardFacts("a", removed={"swa": {"read": 5}})
    assert "how many were searched for is not recorded" in said(facts)
    assert "No evaluation sentences were searched for" in said(dataclasses.replace(facts, searched=0))
    found = said(dataclasses.replace(facts, searched=1440))
    assert "1,440 evaluation sentences were searched for in the training text; none was found." in found
    assert "searched for" not in said(dataclasses.replace(FACTS, searched=1440))  # where some were dropped


def test_bias_was_not_measured_and_that_is_always_said():
    assert NO_HARMS in said(FACTS)
    assert NO_HARMS in said(CardFacts("a"), EvalReport("a", {}, ()))


def test_what_fine_tuning_does_not_show_is_said_of_fine_tuned_scores_only():
    assert FINE_TUNED in said(FACTS)
    assert FINE_TUNED not in said(FACTS, EvalReport("a", {}, (score(values=(1.0,), seeds=(), task="bits_per_byte"),)))


def test_further_limits_come_last():
    assert limits_of(report("student"), FACTS)[-1] == "Made in a hurry."
