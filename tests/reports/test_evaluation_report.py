"""EvalReport: what a score refuses, how scores are chosen and averaged, and that a report survives its file."""

from __future__ import annotations

import json
import statistics

import pytest

from hf_afro.reports import EvalReport
from hf_afro.reports.evaluation_report import REPORT_FILE
from tests.reports.examples import report, score


def test_the_mean_and_the_spread_are_over_the_seeds():
    assert score(values=(0.5, 0.6, 0.7)).mean == pytest.approx(0.6)
    assert score(values=(0.5, 0.6, 0.7)).spread == pytest.approx(0.1)
    assert score(values=(0.5,)).spread is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"values": ()}, "has no value"),
        ({"values": (0.5,), "seeds": (1, 2)}, "has 1 values and seeds"),
        ({"collapsed": (3,)}, "collapsed in \\(3,\\)"),
        ({"values": (0.5, float("nan"))}, "expected finite numbers"),
    ],
)
def test_a_score_refuses_values_that_do_not_fit_its_seeds(wrong, message):
    with pytest.raises(ValueError, match=message):
        score(**wrong)


def test_the_mean_without_the_runs_that_collapsed_stands_beside_the_one_with_them():
    assert score(values=(0.0, 0.6, 0.8), collapsed=(1,)).sound_mean == pytest.approx(0.7)
    assert score(values=(0.0, 0.6, 0.8), collapsed=(1,)).mean == pytest.approx(1.4 / 3)
    assert score(values=(0.5, 0.6)).sound_mean is None
    assert score(values=(0.0, 0.0), collapsed=(1, 2)).sound_mean is None


def test_a_report_of_the_former_format_is_read(tmp_path):
    student = report("student")
    file = student.save(tmp_path)
    facts = json.loads(file.read_text("utf-8"))
    facts["format"] = 1
    del facts["transfer"]
    for one in facts["scores"]:
        for name in ("interval", "collapsed", "source"):
            del one[name]
    file.write_text(json.dumps(facts), "utf-8")
    assert EvalReport.load(file) == student


@pytest.mark.parametrize("interval", [[1], [1, 2, 3], "ab", 3, [None, 1]])
def test_an_interval_that_is_none_is_refused(interval, tmp_path):
    file = report("student").save(tmp_path)
    facts = json.loads(file.read_text("utf-8"))
    facts["scores"][0]["interval"] = interval
    file.write_text(json.dumps(facts), "utf-8")
    with pytest.raises(ValueError, match="not a whole evaluation report"):
        EvalReport.load(file)


def test_scores_are_chosen_by_task_language_and_metric():
    teacher = report("teacher")
    assert {one.language for one in teacher.select(task="ner")} == {"amh", "hau", "swa"}
    (chosen,) = teacher.select(task="topic", metric="macro_f1")
    assert chosen.language == "hau"
    assert teacher.select() == teacher.scores
    assert teacher.select(language="zul") == ()


def test_every_language_counts_the_same_in_the_mean():
    teacher = report("teacher")
    means = [statistics.fmean(one.values) for one in teacher.select(task="ner")]
    assert teacher.mean("ner", "entity_f1") == pytest.approx(sum(means) / 3)
    assert teacher.mean("sentiment", "weighted_f1") is None


def test_a_report_survives_its_file(tmp_path):
    student = report("student")
    file = student.save(tmp_path / "deep" / "folder")
    assert EvalReport.load(file) == EvalReport.load(file.parent) == student
    assert [path.name for path in file.parent.iterdir()] == [REPORT_FILE]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "not an evaluation report of format 3"),
        ('{"format": 4, "name": "a"}', "not an evaluation report of format 3"),
        ("{", "is not an evaluation report: "),
        ('{"format": 1, "name": "a"}', "not a whole evaluation report: 'scores'"),
        ('{"format": 1, "name": "a", "model": {}, "scores": [], "speed": 9}', "unexpected keyword argument 'speed'"),
        ('{"format": 1, "name": "a", "model": {}, "scores": [{"values": [], "seeds": []}]}', "not a whole evaluation"),
    ],
)
def test_a_file_that_is_no_report_is_refused_by_name(tmp_path, text, message):
    file = tmp_path / REPORT_FILE
    file.write_text(text, "utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        EvalReport.load(file)
    assert str(file) in str(caught.value)


def test_names_in_any_script_stay_readable_in_the_file(tmp_path):
    file = EvalReport("ጥናት", {}, (score(),)).save(tmp_path)
    assert "ጥናት" in file.read_text("utf-8")
    assert json.loads(file.read_text("utf-8"))["format"] == 3
