"""Each reason to drop a line, in several scripts, and reports that add up."""

from __future__ import annotations

from collections import Counter

import pytest

from hf_afro.corpora.cleaning import (
    DUPLICATE,
    EMPTY,
    EVALUATION,
    NO_LETTER,
    READ,
    TOO_SHORT,
    CleaningReport,
    clean,
    reason_to_drop,
)
from hf_afro.corpora.sources import read_corpora
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
    counts: Counter[str] = Counter()
    assert list(clean(lines, counts, drop_duplicates=True)) == kept
    assert counts == {READ: 6, EMPTY: 1, NO_LETTER: 1, TOO_SHORT: 1, DUPLICATE: 1}
    counts.clear()
    assert list(clean(lines, counts)) == [kept[0], kept[0], kept[1]]
    assert counts == {READ: 6, EMPTY: 1, NO_LETTER: 1, TOO_SHORT: 1}


def test_lines_are_read_one_at_a_time():
    def lines():
        yield SENTENCES["swa"][0]
        raise RuntimeError("read too far")

    counts: Counter[str] = Counter()
    assert next(clean(lines(), counts)) == SENTENCES["swa"][0]
    assert counts[READ] == 1


def test_normal_form_is_only_brought_about_where_asked():
    decomposed = "O\u0323jo\u0301 ńlá rọ̀ ní alẹ́ àná"
    assert list(clean([decomposed], Counter())) == [decomposed]
    composed = "\u1ecc" + "jó" + decomposed[5:]
    counts: Counter[str] = Counter()
    assert list(clean([decomposed, composed], counts, nfc=True, drop_duplicates=True)) == [composed]
    assert counts[DUPLICATE] == 1


def test_evaluation_sentences_are_counted_before_anything_else():
    counts: Counter[str] = Counter()
    assert list(clean(["Habari yako", "Habari zako"], counts, evaluation={"Habari yako"})) == []
    assert counts == {READ: 2, EVALUATION: 1, TOO_SHORT: 1}


def report():
    counts = {"swa": Counter({READ: 10, EMPTY: 2, TOO_SHORT: 1}), "yor": Counter({READ: 4})}
    return CleaningReport.from_counts(counts, settings={"min_tokens": 6}, fingerprints={"swa": "f1", "yor": "f2"})


def test_report_says_what_stayed():
    assert report().kept == {"swa": 7, "yor": 4}
    assert report().dropped == {"swa": {EMPTY: 2, TOO_SHORT: 1}, "yor": {}}


def test_reports_of_shards_add_up():
    other = CleaningReport.from_counts(
        {"swa": Counter({READ: 5, EMPTY: 1, DUPLICATE: 1}), "amh": Counter({READ: 3})},
        settings={"min_tokens": 6},
        fingerprints={"swa": "f3", "amh": "f4"},
    )
    merged = report().merge(other)
    assert merged == other.merge(report())
    assert merged.read == {"amh": 3, "swa": 15, "yor": 4}
    assert merged.dropped == {"amh": {}, "swa": {EMPTY: 3, TOO_SHORT: 1, DUPLICATE: 1}, "yor": {}}
    assert merged.kept == {"amh": 3, "swa": 10, "yor": 4}
    assert merged.fingerprints == {"amh": ("f4",), "swa": ("f1", "f3"), "yor": ("f2",)}
    with pytest.raises(ValueError, match="differ in settings"):
        merged.merge(CleaningReport(read={}, dropped={}, settings={"min_tokens": 1}))


def test_report_is_saved_and_loaded(tmp_path):
    path = tmp_path / "cleaning.json"
    report().save(path)
    assert CleaningReport.load(path) == report()
    assert [entry.name for entry in tmp_path.iterdir()] == ["cleaning.json"]
    for content in ("{", "[]", '{"read": {}}', '{"fingerprints": {}, "unknown": 1}'):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"cleaning.json is not a cleaning report"):
            CleaningReport.load(path)


def test_real_text_is_cleaned_as_the_paper_does(shared_data):
    counts: Counter[str] = Counter()
    kept = sum(1 for _ in clean(read_corpora(shared_data / "corpora", ["amh"])["amh"], counts))
    assert counts == {READ: 13_559, NO_LETTER: 12, TOO_SHORT: 335}
    assert kept == 13_212
