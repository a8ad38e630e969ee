"""EvalReport: checks of scores, selection and means, saving and loading, and joining the reports of one model."""

from __future__ import annotations

import dataclasses
import json
import statistics

import pytest

from hf_afro.reports import EvalReport, load_reports
from hf_afro.reports.evaluation_report import REPORT_FILE, are_of_one_model, join_reports
from tests.reports.examples import crossed, report, score, three


def test_the_mean_and_the_spread_are_over_the_seeds():
    assert score(values=(0.5, 0.6, 0.7)).mean == pytest.approx(0.6)
    assert score(values=(0.5, 0.6, 0.7)).spread == pytest.approx(0.1)
    assert score(values=(0.5,)).spread is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"values": ()}, "has no value"),
        ({"values": (0.5,), "seeds": (1, 2)}, "has 1 values and the seeds"),
        ({"collapsed": (3,)}, "collapsed is \\(3,\\)"),
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
    with pytest.raises(ValueError, match="not a complete evaluation report"):
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
        ('{"format": 1, "name": "a"}', "not a complete evaluation report: 'scores'"),
        ('{"format": 1, "name": "a", "model": {}, "scores": [], "speed": 9}', "unexpected keyword argument 'speed'"),
        (
            '{"format": 1, "name": "a", "model": {}, "scores": [{"values": [], "seeds": []}]}',
            "not a complete evaluation",
        ),
    ],
)
def test_a_file_that_is_no_report_is_refused_by_name(tmp_path, text, message):
    file = tmp_path / REPORT_FILE
    file.write_text(text, "utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        EvalReport.load(file)
    assert str(file) in str(caught.value)


def test_transfer_survives_its_file_and_stands_apart(tmp_path):
    teacher = crossed()
    teacher.save(tmp_path)
    assert EvalReport.load(tmp_path) == teacher
    with pytest.raises(ValueError, match="expected scores with a source language in `transfer`"):
        dataclasses.replace(teacher, scores=teacher.transfer)


def test_names_in_any_script_stay_readable_in_the_file(tmp_path):
    file = EvalReport("ጥናት", {}, (score(),)).save(tmp_path)
    assert "ጥናት" in file.read_text("utf-8")
    assert json.loads(file.read_text("utf-8"))["format"] == 3


NER = EvalReport(
    "student",
    {"parameters": 5},
    (score("swa"), score("yor")),
    settings={"ner/swa": {"epochs": 5}},
    provenance={"encoder_fingerprint": "e", "data": {"ner/swa": {"sizes": 1}}, "command": "a"},
    versions={"hf_afro": "1", "torch": "2"},
    predictions={"ner/swa": "predictions/ner-swa.jsonl"},
)
TOPIC = dataclasses.replace(
    NER,
    model={"parameters": 5, "latency_ms": 2.5},
    scores=(score("swa", task="topic"), score("swa")),
    settings={"topic/swa": {"epochs": 9}},
    provenance={"encoder_fingerprint": "e", "data": {"topic/swa": {"sizes": 2}}, "command": "b"},
    versions={"hf_afro": "1", "torch": "3"},
)


def with_provenance(report: EvalReport, **facts) -> EvalReport:
    return dataclasses.replace(report, provenance={**report.provenance, **facts})


def test_a_report_is_of_one_model_by_name_and_encoder():
    assert are_of_one_model(NER, TOPIC)
    assert not are_of_one_model(NER, with_provenance(TOPIC, encoder_fingerprint="f"))
    assert not are_of_one_model(NER, dataclasses.replace(TOPIC, name="student with LoRA"))
    unknown = dataclasses.replace(NER, provenance={})
    assert not are_of_one_model(unknown, unknown)


def test_what_was_measured_in_both_is_in_one():
    joined = join_reports(NER, TOPIC)
    assert joined.scores == (score("swa"), score("yor"), score("swa", task="topic"))
    assert joined.model == {"parameters": 5, "latency_ms": 2.5}
    assert joined.settings == {"ner/swa": {"epochs": 5}, "topic/swa": {"epochs": 9}}
    assert joined.provenance == {
        "encoder_fingerprint": "e",
        "data": {"ner/swa": {"sizes": 1}, "topic/swa": {"sizes": 2}},
        "command": "a",
    }
    assert joined.versions == {"hf_afro": "1", "torch": "2 and 3"}
    assert joined.predictions == {}


def test_the_same_figure_with_two_values_keeps_them_apart():
    other = dataclasses.replace(TOPIC, scores=(score("swa", values=(0.5, 0.61)),))
    assert join_reports(NER, other) is None
    together = dataclasses.replace(TOPIC, scores=(score("swa", together=("swa", "yor")),))
    assert join_reports(NER, together) is None
    transfer = dataclasses.replace(NER, transfer=(score("swa", source="yor"),))
    changed = dataclasses.replace(NER, transfer=(score("swa", values=(0.1,), source="yor"),))
    assert join_reports(transfer, changed) is None
    assert join_reports(transfer, NER).transfer == transfer.transfer


def test_two_sets_of_one_task_keep_their_settings():
    other = dataclasses.replace(
        NER, scores=(score("swa", values=(0.9,), dataset="masakhaner2/swa"),), settings={"ner/swa": {"epochs": 7}}
    )
    joined = join_reports(NER, other)
    assert [one.dataset for one in joined.select(task="ner", language="swa")] == ["example/swa", "masakhaner2/swa"]
    assert joined.settings == {"ner/swa": {"epochs": 5}, "ner/swa, MasakhaNER 2.0": {"epochs": 7}}


def test_reports_are_loaded_from_folders_and_files(tmp_path):
    folders = [one.save(tmp_path / one.name).parent for one in three()]
    loaded = load_reports([folders[0], folders[1] / REPORT_FILE, str(folders[2])])
    assert [one.report for one in loaded] == list(three())
    assert loaded[1].parts == ((three()[1], folders[1]),)


def test_reports_of_one_model_are_joined_and_others_of_its_name_named_after_their_folders(tmp_path):
    other = dataclasses.replace(TOPIC, scores=(score("swa", values=(0.5, 0.61)),))
    folders = [one.save(tmp_path / name).parent for name, one in (("a", NER), ("b", TOPIC), ("c", other))]
    joined, apart = load_reports(folders)
    assert (joined.report.name, apart.report.name) == ("student (a)", "student (c)")
    assert [folder for _, folder in joined.parts] == folders[:2]
    again = NER.save(tmp_path / "deep" / "c").parent
    with pytest.raises(ValueError, match=r"several reports are named student \(c\); rename them"):
        load_reports([folders[2], again])
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; expected the output of `hf-afro evaluate`"):
        load_reports([tmp_path / "nowhere"])
