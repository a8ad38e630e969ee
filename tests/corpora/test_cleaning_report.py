"""Cleaning reports are merged, saved, loaded and shown."""

from __future__ import annotations

import pytest

from hf_afro.corpora.cleaning_report import (
    DUPLICATE,
    EMPTY,
    EVALUATION,
    OVERLAP,
    READ,
    TOO_SHORT,
    CleaningReport,
    Tally,
    cleaning_page,
    save_report,
)


def tally(kept, **dropped):
    """Return a tally of lines of two words and seven bytes: the number kept, and the number dropped by reason."""
    made = Tally()
    for reason, count in {None: kept, **{REASONS[name]: count for name, count in dropped.items()}}.items():
        for _ in range(count):
            made.add("a bcdef", reason, ["ner/swa"] if reason in (EVALUATION, OVERLAP) else ())
    return made


REASONS = {"empty": EMPTY, "short": TOO_SHORT, "duplicate": DUPLICATE, "leaked": EVALUATION, "overlap": OVERLAP}


def report():
    tallies = {"swa": tally(5, empty=2, short=1, leaked=1, overlap=1), "yor": tally(4)}
    return CleaningReport.from_tallies(tallies, settings={"min_tokens": 6}, fingerprints={"swa": "f1", "yor": "f2"})


def test_report_says_what_stayed():
    assert report().read == {"swa": 10, "yor": 4}
    assert report().kept == {"swa": 5, "yor": 4}
    assert report().kept_words == {"swa": 10, "yor": 8}
    assert report().kept_bytes == {"swa": 35, "yor": 28}
    assert report().dropped == {"swa": {EMPTY: 2, EVALUATION: 1, OVERLAP: 1, TOO_SHORT: 1}, "yor": {}}
    assert report().leaked == {"swa": 2, "yor": 0}
    assert report().leaks == {"swa": {"ner/swa": 2}, "yor": {}}


def test_reports_of_shards_add_up():
    other = CleaningReport.from_tallies(
        {"swa": tally(3, empty=1, duplicate=1), "amh": tally(3)},
        settings={"min_tokens": 6},
        fingerprints={"swa": "f3", "amh": "f4"},
    )
    merged = report().merge(other)
    assert merged == other.merge(report()) == CleaningReport.merged([report(), other])
    assert merged.read == {"amh": 3, "swa": 15, "yor": 4}
    assert merged.dropped["swa"] == {DUPLICATE: 1, EMPTY: 3, EVALUATION: 1, OVERLAP: 1, TOO_SHORT: 1}
    assert merged.kept == {"amh": 3, "swa": 8, "yor": 4}
    assert merged.kept_bytes == {"amh": 21, "swa": 56, "yor": 28}
    assert merged.words["swa"] == {READ: 30, DUPLICATE: 2, EMPTY: 6, EVALUATION: 2, OVERLAP: 2, TOO_SHORT: 2}
    assert merged.fingerprints == {"amh": ("f4",), "swa": ("f1", "f3"), "yor": ("f2",)}
    with pytest.raises(ValueError, match="differ in settings"):
        merged.merge(CleaningReport(read={}, dropped={}, settings={"min_tokens": 1}))
    with pytest.raises(ValueError, match="no cleaning reports to merge"):
        CleaningReport.merged([])


def test_report_is_saved_and_loaded(tmp_path):
    save_report(report(), tmp_path)
    path = tmp_path / "cleaning.json"
    assert CleaningReport.load(path) == report()
    assert (tmp_path / "cleaning.md").read_text("utf-8") == cleaning_page(report())
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["cleaning.json", "cleaning.md"]
    for content in ("{", "[]", '{"read": {}}', '{"fingerprints": {}, "unknown": 1}'):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"cleaning.json is not a cleaning report"):
            CleaningReport.load(path)


def test_a_report_of_an_earlier_version_is_read(tmp_path):
    """It only counted lines."""
    path = tmp_path / "cleaning.json"
    path.write_text('{"read": {"swa": 3}, "dropped": {"swa": {"empty": 1}}, "fingerprints": {}, "version": "0.1"}')
    old = CleaningReport.load(path)
    assert old.kept == {"swa": 2}
    assert "| swa | 3 | 2 | 66.7% | 0 | 0 | 0.00 | 0.00 |" in cleaning_page(old)


def test_the_page_has_every_figure():
    page = cleaning_page(report()).splitlines()
    assert "| swa | 10 | 5 | 50.0% | 20 | 10 | 0.00 | 0.00 |" in page
    assert "| all | 14 | 9 | 64.3% | 28 | 18 | 0.00 | 0.00 |" in page
    assert f"| language | {EMPTY} | {EVALUATION} | {OVERLAP} | {TOO_SHORT} | all |" in page
    assert "| swa | 2 | 1 | 1 | 1 | 5 |" in page
    assert "| swa | 2 |" in page
    assert "- min_tokens: 6" in page
