"""`hf-afro report`: the page and the tables it writes, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from hf_afro.cli.main import main
from hf_afro.corpora.cleaning_report import CleaningReport
from hf_afro.reports import EvalReport
from hf_afro.reports.evaluation_report import load_reports
from hf_afro.reports.score_tables import comparison_table
from hf_afro.steps.records import Record
from hf_afro.steps.report import difference_tables, work_before
from hf_afro.vocabulary import count_tokens, select_tokens
from hf_afro.vocabulary.mapping import MAP_FILE
from tests.reports.examples import score, three
from tests.texts import SENTENCES


@pytest.fixture
def reports(tmp_path) -> list[str]:
    return [str(one.save(tmp_path / "scores" / one.name).parent) for one in three()]


@pytest.fixture
def trained(tmp_path) -> str:
    folder = tmp_path / "adapted"
    (folder / "checkpoint-9").mkdir(parents=True)
    (folder / "checkpoint-10").mkdir()
    CleaningReport({"swa": 1_000}, {"swa": {"too few tokens": 321}}).save(folder / "cleaning.json")
    for steps in (9, 10):
        history = [{"step": step, "loss": 4.0 - step / 10} for step in range(1, steps + 1)]
        state = folder / f"checkpoint-{steps}" / "trainer_state.json"
        state.write_text(json.dumps({"log_history": history}), "utf-8")
    return str(folder)


def test_it_writes_the_page_and_the_tables_and_shows_them(reports, tmp_path, capsys):
    out = tmp_path / "report"
    assert main(["report", *reports, "--title", "My models", "--output_dir", str(out)]) == 0
    tables = [f"tables.{ending}" for ending in ("csv", "md", "tex", "txt")]
    assert sorted(path.name for path in out.iterdir()) == ["hf_afro_run.json", "index.html", *tables]
    assert "| Hausa (hau) |" in (out / "tables.md").read_text("utf-8")
    assert r"\toprule" in (out / "tables.tex").read_text("utf-8")
    entities = str(comparison_table(three(), "ner"))
    assert entities in (out / "tables.txt").read_text("utf-8")
    shown = capsys.readouterr().out
    assert entities in shown
    assert shown.endswith(f"written to {out}\n")
    assert "<title>My models</title>" in (out / "index.html").read_text("utf-8")


def test_what_other_commands_left_goes_into_the_page(reports, trained, tokenizer, tmp_path):
    pruned, out = str(tmp_path), tmp_path / "report"
    select_tokens(count_tokens(SENTENCES, tokenizer), 400).save(tmp_path / MAP_FILE)
    options = ["--pruned", pruned, "--trained", trained, "--output_dir", str(out)]
    assert main(["report", *reports, *options]) == 0
    page = (out / "index.html").read_text("utf-8")
    assert "Coverage of the vocabulary" in page
    # The last checkpoint is the one of ten steps, not the one whose name sorts last: ten marks, and the legend's.
    plot = page.split("<strong>Loss: adapted")[1].split("</svg>")[0]
    assert len(re.findall(r"<use [^>]*fill: var\(--s0", plot)) == 11
    assert "321" in page


def test_models_with_predictions_are_compared(tmp_path, capsys):
    """A model that is right in all beside two that are wrong in every second: one of them is itself."""
    gold = ["x", "y"] * 30
    answers = {"first": gold[:-30] + ["x"] * 30, "same": gold[:-30] + ["x"] * 30, "better": gold, "elsewhere": gold}
    paths = []
    for name, own in answers.items():
        folder = tmp_path / name
        (folder / "predictions").mkdir(parents=True)
        right = gold if name != "elsewhere" else gold[::-1]
        lines = [json.dumps({"gold": one, "predicted": {"1": answer}}) for one, answer in zip(right, own, strict=True)]
        (folder / "predictions" / "topic-swa.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
        scores = (score("swa", (0.5,), task="topic", metric="weighted_f1"),)
        EvalReport(name, {}, scores, predictions={"topic/swa": "predictions/topic-swa.jsonl"}).save(folder)
        paths.append(str(folder))
    assert main(["report", *paths, "--output_dir", str(tmp_path / "report")]) == 0
    shown = capsys.readouterr().out
    assert "News topics, weighted F1: difference from first" in shown
    line = next(line for line in shown.split("difference from first")[1].splitlines() if line.startswith("Swahili"))
    assert line.split("  ")[1].strip() == "+0.0 (p 1.000)"
    assert "+26.7 (p < 0.001)" in line
    assert line.endswith("–")
    assert "difference from first" in (tmp_path / "report" / "index.html").read_text("utf-8")


def test_a_joined_report_is_compared_by_the_predictions_of_its_parts(tmp_path, capsys):
    """The topics of the first model lie in its second folder."""
    gold = ["x", "y"] * 30
    paths = []
    for name, task, answers in (("a", "ner", None), ("a", "topic", gold[:-30] + ["x"] * 30), ("b", "topic", gold)):
        folder = tmp_path / f"{name}-{task}"
        (folder / "predictions").mkdir(parents=True)
        predictions = {}
        if answers is not None:
            lines = [json.dumps({"gold": g, "predicted": {"1": one}}) for g, one in zip(gold, answers, strict=True)]
            (folder / "predictions" / "topic-swa.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
            predictions = {"topic/swa": "predictions/topic-swa.jsonl"}
        scores = (score("swa", (0.5,), task=task, metric="entity_f1" if task == "ner" else "weighted_f1"),)
        own = EvalReport(name, {}, scores, provenance={"encoder_fingerprint": name}, predictions=predictions)
        paths.append(str(own.save(folder).parent))
    assert main(["report", *paths, "--output_dir", str(tmp_path / "report")]) == 0
    shown = capsys.readouterr().out
    assert "a (a-ner)" not in shown
    assert "+26.7 (p < 0.001)" in shown.split("difference from a")[1]


def measured(tmp_path, folder: str, dataset: str, answers: list[str], numbers: range = range(60)) -> str:
    """The folder of a report of news topics, by a model that is named by the first part of the folder's name."""
    place = tmp_path / folder
    place.mkdir()
    facts = zip(numbers, ["x", "y"] * 30, answers, strict=True)
    lines = [json.dumps({"index": index, "gold": gold, "predicted": {"1": one}}) for index, gold, one in facts]
    (place / "swa.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    name = folder.partition("-")[0]
    own = score("swa", (0.5,), task="topic", metric="weighted_f1", dataset=dataset)
    found = {"encoder_fingerprint": name}
    EvalReport(name, {}, (own,), provenance=found, predictions={"topic/swa": "swa.jsonl"}).save(place)
    return str(place)


def test_samples_of_other_examples_are_a_dash(tmp_path):
    """Their right labels are the same, and their numbers are not."""
    right, flat = ["x", "y"] * 30, ["x"] * 60
    paths = [
        measured(tmp_path, name, "news/swa", own, range(start, start + 60))
        for name, own, start in (("a", flat, 3), ("b", right, 5), ("c", right, 3))
    ]
    (table,) = difference_tables(load_reports(paths))
    assert [cell.text for cell in table.rows[0]] == ["Swahili (swa)", "–", "+66.7 (p < 0.001)"]


@pytest.mark.parametrize(
    "names", [("a-news", "a-sib", "b-sib"), ("a-sib", "a-news", "b-sib"), ("b-sib", "a-news", "a-sib")]
)
def test_each_set_of_a_joined_report_is_compared_whatever_the_order(tmp_path, names):
    right, flat = ["x", "y"] * 30, ["x"] * 60
    paths = {
        "a-news": measured(tmp_path, "a-news", "masakhanews/swa", right, range(9, 69)),
        "a-sib": measured(tmp_path, "a-sib", "sib200/swa", flat),
        "b-sib": measured(tmp_path, "b-sib", "sib200/swa", right),
    }
    (table,) = difference_tables(load_reports([paths[name] for name in names]))
    difference = "-66.7 (p < 0.001)" if names[0] == "b-sib" else "+66.7 (p < 0.001)"
    assert [[cell.text for cell in row] for row in table.rows] == [["Swahili (swa), sib200/swa test", difference]]


def test_joined_reports_are_compared_set_by_set(tmp_path):
    """Both sets have the same labels in the same order."""
    right, flat = ["x", "y"] * 30, ["x"] * 60
    paths = [
        measured(tmp_path, folder, dataset, answers)
        for folder, dataset, answers in (
            ("a-1", "sib200/swa", flat),
            ("a-2", "masakhanews/swa", right),
            ("b-1", "masakhanews/swa", right),
            ("b-2", "sib200/swa", right),
            ("c-1", "masakhanews/swa", right),
        )
    ]
    (table,) = difference_tables(load_reports(paths))
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["Swahili (swa), masakhanews/swa test", "+0.0 (p 1.000)", "+0.0 (p 1.000)"],
        ["Swahili (swa), sib200/swa test", "+66.7 (p < 0.001)", "–"],
    ]


def test_translations_found_are_compared_on_the_same_pairs_only(tmp_path):
    """The first finds half of 60 in one direction, the others all; the last was measured on other pairs."""
    paths = []
    for name, found, fingerprint in (("a", 30, "one"), ("b", 60, "one"), ("c", 60, "two")):
        place = tmp_path / name
        place.mkdir()
        lines = [
            json.dumps(
                {"gold": line, "predicted": {"from_language": line if line <= found else 0, "into_language": line}}
            )
            for line in range(1, 61)
        ]
        (place / "swa.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
        own = score("swa", (0.5,), task="bitext", metric="accuracy_at_1", seeds=(), fingerprint=fingerprint)
        EvalReport(name, {}, (own,), predictions={"bitext/swa": "swa.jsonl"}).save(place)
        paths.append(str(place))
    (table,) = difference_tables(load_reports(paths[:2]))
    assert table.title == "Bitext retrieval, accuracy at 1: difference from a"
    # half of them in one of two directions
    assert [cell.text for cell in table.rows[0]] == ["Swahili (swa)", "+25.0 (p < 0.001)"]
    assert difference_tables(load_reports(paths)) == ()


def test_predictions_outside_a_report_are_not_read(tmp_path, refused):
    (tmp_path / "secret").write_text('{"gold": "x", "predicted": {"1": "x"}}\n', "utf-8")
    paths = []
    for name in ("first", "second"):
        scores = (score("swa", (0.5,), task="topic", metric="weighted_f1"),)
        own = EvalReport(name, {}, scores, predictions={"topic/swa": "../secret"})
        paths.append(str(own.save(tmp_path / name).parent))
    assert "outside its folder: '../secret'" in refused("report", *paths, "--output_dir", tmp_path / "report")


def test_two_reports_of_one_model_are_told_apart_by_their_folders(reports, tmp_path, capsys):
    other = tmp_path / "joint"
    shutil.copytree(reports[0], other)
    assert main(["report", reports[0], str(other), "--output_dir", str(tmp_path / "page")]) == 0
    printed = capsys.readouterr().out
    assert f"teacher ({Path(reports[0]).name})" in printed
    assert "teacher (joint)" in printed


def test_mistakes(refused, reports, tmp_path):
    out = tmp_path / "report"
    nowhere, empty = str(tmp_path / "nowhere"), tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "other.json").write_text("{}", "utf-8")
    for words, message in (
        ([nowhere], "nowhere does not exist"),
        ([str(empty)], "empty/evaluation_report.json does not exist"),
        ([str(tmp_path / "other.json")], "other.json is not an evaluation report of format 3"),
        ([reports[0], reports[0]], "several reports are named teacher (teacher)"),
        ([reports[0], "--pruned", nowhere], "nowhere does not exist"),
        ([reports[0], "--trained", str(empty)], "cleaning.json does not exist; --trained takes"),
        ([], "the following arguments are required: --reports"),
    ):
        assert message in refused("report", *words, "--output_dir", out)
        assert not out.exists()


def test_the_languages_listed_are_those_the_models_were_made_for(tmp_path, tokenizer):
    """The text that a model was pruned and trained on may have more."""
    counts = count_tokens({code: SENTENCES[code] for code in ("hau", "swa")}, tokenizer)
    places = []
    for name, step, facts in (("adapted", "maft", {"tokens_seen": {"swa": 5, "yor": 5}}), ("cut", "prune", {})):
        (tmp_path / name).mkdir()
        CleaningReport({"amh": 9, "swa": 9}, {"amh": {}, "swa": {}}).save(tmp_path / name / "cleaning.json")
        select_tokens(counts, 400).save(tmp_path / name / MAP_FILE)
        Record(step, {}, {}, key=name, facts=facts).save(tmp_path / name)
        report = EvalReport(name, {}, (score("ibo"),), provenance={"model": str(tmp_path / name)})
        places.append(str(report.save(tmp_path / "scores" / name).parent))
    assert work_before(load_reports(places[:1]), None, ()).languages == ("swa", "yor")
    assert work_before(load_reports(places[1:]), None, ()).languages == ("hau", "swa")
    assert work_before(load_reports(places[1:]), None, [str(tmp_path / "adapted")]).languages == ("hau", "swa", "yor")
    assert main(["report", *places, "--output_dir", str(tmp_path / "page")]) == 0
    page = (tmp_path / "page" / "index.html").read_text("utf-8")
    languages = page.split("Languages covered")[1]
    assert [code for code in ("amh", "hau", "ibo", "swa", "yor") if f"<td>{code}</td>" in languages] == [
        "hau",
        "ibo",
        "swa",
        "yor",
    ]
