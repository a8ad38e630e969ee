"""Cleaning: each reason to drop a line, in several scripts, and complete counts."""

from __future__ import annotations

import pytest

from hf_afro.corpora.cleaning import LineRules, clean, reason_to_drop
from hf_afro.corpora.cleaning_report import CONTAINS, DUPLICATE, EMPTY, EVALUATION, NO_LETTER, READ, TOO_SHORT, Tally
from hf_afro.corpora.decontamination import EvaluationSentences
from hf_afro.corpora.reading import read_corpora
from tests.texts import SENTENCES


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", EMPTY),
        (" \t\u00a0\u2028", EMPTY),
        ("12 345 6.789 10 11 12 13", NO_LETTER),
        ("... -- !!! ??? «» “” —", NO_LETTER),
        ("። ፣ ፤ ፥ ፦ ፧ ፨ ፡", NO_LETTER),
        ("፩ ፪ ፫ ፬ ፭ ፮ ፯ ፼", NO_LETTER),
        ("٠ ١ ٢ ٣ ٤ ٥ ٦ ٧ ، ؟ ؛", NO_LETTER),
        ("$ 100 € 20 + 5 % 😀 ☃ 7", NO_LETTER),
        ("߀ ߁ ߂ ߃ ߄ ߅ ߆", NO_LETTER),
        ("Mvua kubwa ilinyesha jana usiku", TOO_SHORT),
        ("Mvua  kubwa\u00a0ilinyesha jana \r usiku ", TOO_SHORT),
        ("ሰላም ለዓለም ሁሉ ።", TOO_SHORT),
        ("Mvua kubwa ilinyesha jana usiku sana", None),
        ("1 2 3 4 5 a", None),
        ("፩ ፪ ፫ ፬ ፭ ሰላም", None),
        ("ߞ ߊ ߲ ߞ ߊ ߲ ߓ", None),
    ],
)
def test_reasons(line, reason):
    assert reason_to_drop(line) == reason


def test_the_shortest_line_is_a_choice():
    assert reason_to_drop("Habari yako", min_tokens=2) is None
    assert reason_to_drop("Habari", min_tokens=2) == TOO_SHORT
    assert reason_to_drop("人人生而自由", min_tokens=1) is None


def test_every_line_is_counted_once():
    kept = SENTENCES["swa"][:2]
    lines = ["", kept[0], "1 2 3 4 5 6", "Habari yako", kept[0], kept[1]]
    tally = Tally()
    assert list(clean(lines, tally, drop_duplicates=True)) == kept
    assert tally.lines == {READ: 6, EMPTY: 1, NO_LETTER: 1, TOO_SHORT: 1, DUPLICATE: 1}
    tally = Tally()
    assert list(clean(lines, tally)) == [kept[0], kept[0], kept[1]]
    assert tally.lines == {READ: 6, EMPTY: 1, NO_LETTER: 1, TOO_SHORT: 1}


def test_lines_are_read_one_at_a_time():
    def lines():
        yield SENTENCES["swa"][0]
        raise RuntimeError("read too far")

    tally = Tally()
    assert next(clean(lines(), tally)) == SENTENCES["swa"][0]
    assert tally.lines[READ] == 1


def test_normal_form_is_only_brought_about_where_asked():
    decomposed = "O\u0323jo\u0301 ńlá rọ̀ ní alẹ́ àná"
    assert list(clean([decomposed], Tally())) == [decomposed]
    composed = "\u1ecc" + "jó" + decomposed[5:]
    tally = Tally()
    assert list(clean([decomposed, composed], tally, nfc=True, drop_duplicates=True)) == [composed]
    assert tally.lines[DUPLICATE] == 1


def test_evaluation_sentences_are_counted_before_anything_else():
    tally = Tally()
    evaluation = EvaluationSentences.of({"test": ["Habari yako"]})
    assert list(clean(["Habari yako", "Habari zako"], tally, evaluation=evaluation)) == []
    assert tally.lines == {READ: 2, EVALUATION: 1, TOO_SHORT: 1}
    assert tally.words == {READ: 4, EVALUATION: 2, TOO_SHORT: 2}
    assert tally.num_bytes == {READ: 22, EVALUATION: 11, TOO_SHORT: 11}
    assert tally.leaks == {"test": 1}


def test_a_line_is_judged_by_itself():
    """The verdict on a line does not depend on its batch."""
    evaluation = EvaluationSentences.of({"test": SENTENCES["swa"][:2]})
    rules = LineRules(min_tokens=4, nfc=True, evaluation=evaluation)
    lines = [*SENTENCES["swa"], f"Alisema: {SENTENCES['swa'][0]} Kisha akaondoka.", "", "Habari", "12 13"] * 3
    whole = rules.judge(lines)
    assert whole == [verdict for line in lines for verdict in rules.judge([line])]
    assert [verdict.reason for verdict in whole[:3]] == [EVALUATION, EVALUATION, None]
    assert whole[len(SENTENCES["swa"])].reason == CONTAINS


def test_real_text_is_cleaned_as_the_paper_does(shared_data):
    tally = Tally()
    kept = sum(1 for _ in clean(read_corpora(shared_data / "corpora", ["amh"])["amh"], tally))
    assert tally.lines == {READ: 13_559, NO_LETTER: 12, TOO_SHORT: 335}
    assert kept == 13_212
