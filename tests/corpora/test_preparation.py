"""Preparation: no evaluation text is in the training text, and every line is counted."""

from __future__ import annotations

import pytest

from hf_afro.corpora import prepare_corpora, read_corpora
from hf_afro.corpora.preparation import HELD_OUT, hold_out
from tests.texts import SENTENCES


@pytest.fixture
def sources(tmp_path):
    for code in ("swa", "yor"):
        lines = [f"{sentence} ({number})" for number in range(5) for sentence in SENTENCES[code]]
        (tmp_path / f"{code}.txt").write_text("\n".join([*lines, "moja mbili"]) + "\n", "utf-8")
    return read_corpora(tmp_path)


def test_every_line_is_trained_on_or_has_its_reason(sources):
    prepared = prepare_corpora(sources, held_out_lines=3)
    for code in ("swa", "yor"):
        assert len(prepared.evaluation[code]) == 3
        assert prepared.report.kept[code] == len(prepared.train[code])
        assert prepared.report.read[code] == 41
        assert prepared.report.dropped[code] == {HELD_OUT: 3, "too few tokens": 1}
        assert not set(prepared.evaluation[code]) & set(prepared.train[code])


def test_the_lines_held_out_are_few_and_stay_the_same(sources):
    lines = list(sources["swa"])
    assert len(hold_out(lines, 200, 0)) == 4  # a tenth of 41
    assert hold_out(lines, 3, 0) == hold_out(lines[::-1], 3, 0)
    assert hold_out(lines, 3, 0) != hold_out(lines, 3, 1)
    assert set(hold_out(lines, 3, 0)) <= set(hold_out([*lines, "Neno jipya kabisa limeongezwa hapa leo."], 4, 0))
    assert hold_out(lines, 0, 0) == []


def test_a_line_held_out_of_one_language_is_taken_out_of_all(tmp_path):
    lines = [f"{sentence} ({number})" for number in range(5) for sentence in SENTENCES["swa"]]
    for code in ("swa", "run"):
        (tmp_path / f"{code}.txt").write_text("\n".join(lines), "utf-8")
    prepared = prepare_corpora(read_corpora(tmp_path), held_out_lines=2)
    held_out = {line for own in prepared.evaluation.values() for line in own}
    for own in prepared.train.values():
        assert not held_out & set(own)


def test_sentences_given_are_evaluated_on_and_taken_out(sources):
    evaluation = {"swa": [f"{SENTENCES['swa'][0]} (0)", " "], "amh": SENTENCES["amh"]}
    prepared = prepare_corpora(sources, evaluation=evaluation, excluded=[f"{SENTENCES['yor'][0]} (1)"])
    assert prepared.evaluation == {"swa": evaluation["swa"][:1], "amh": SENTENCES["amh"]}
    assert evaluation["swa"][0] not in prepared.train["swa"]
    assert prepared.report.dropped["swa"]["evaluation sentence"] == 1
    assert prepared.report.dropped["yor"]["evaluation sentence"] == 1
    assert HELD_OUT not in prepared.report.dropped["swa"]


def test_nothing_left_says_why(sources):
    with pytest.raises(ValueError, match=r"nothing is left of .*swa.txt after cleaning: .*too few tokens"):
        prepare_corpora(sources, min_tokens=99)
