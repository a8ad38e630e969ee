"""The datatrove pipeline gives the result of one process, for any number of tasks."""

from __future__ import annotations

import gzip
import json
from functools import partial
from itertools import chain

import pytest

from hf_afro.corpora import EvaluationSentences, LanguageCheck, LineRules, Tally, clean, read_corpora
from hf_afro.corpora.cleaning_report import CleaningReport
from hf_afro.files import is_leftover
from hf_afro.vocabulary import TokenCounts, count_tokens
from tests.texts import SENTENCES

pytest.importorskip("datatrove", reason="needs datatrove, of the extra `cluster`")

from datatrove.executor import LocalPipelineExecutor  # noqa: E402

from hf_afro.corpora import cluster  # noqa: E402

LEAKED = {"ner/swa": SENTENCES["swa"][:2], "ner/yor": SENTENCES["yor"][:1]}


@pytest.fixture
def folder(tmp_path):
    """Text of three languages in five files of three kinds."""
    text = tmp_path / "text"
    (text / "sw").mkdir(parents=True)
    lines = [*SENTENCES["swa"], "", "12 13 14", f"Alisema: {SENTENCES['swa'][0]} Ndiyo."]
    (text / "sw" / "a.txt").write_text("\n".join(lines), "utf-8")
    (text / "sw" / "b.jsonl").write_text(json.dumps({"text": "\n".join(lines[::-1])}), "utf-8")
    (text / "sw" / "c.txt.gz").write_bytes(gzip.compress("\n".join(lines[2:]).encode()))
    (text / "yor.txt").write_text("\n".join(SENTENCES["yor"]), "utf-8")
    (text / "amh.txt").write_text("\n".join(SENTENCES["amh"]), "utf-8")
    return text


def in_one_process(folder, rules, tokenizer):
    """Return the report and the counts of all files without the pipeline."""
    from hf_afro.corpora.reading import read_lines

    texts = {
        "amh": [folder / "amh.txt"],
        "swa": sorted((folder / "sw").iterdir()),
        "yor": [folder / "yor.txt"],
    }
    tallies = {code: Tally() for code in texts}
    kept = {
        code: list(
            clean(
                chain.from_iterable(map(read_lines, files)),
                tallies[code],
                min_tokens=rules.min_tokens,
                nfc=rules.nfc,
                evaluation=rules.evaluation,
            )
        )
        for code, files in texts.items()
    }
    settings = {"min_tokens": rules.min_tokens, "nfc": rules.nfc, "evaluation_sentences": len(rules.evaluation)}
    return CleaningReport.from_tallies(tallies, settings=settings), count_tokens(kept, tokenizer), kept


@pytest.mark.parametrize(("tasks", "workers"), [(1, 1), (3, 1), (7, 2)])
def test_tasks_add_up_to_one_process(folder, tmp_path, tokenizer, tasks, workers):
    """Seven tasks for five files: two have nothing to do."""
    rules = LineRules(min_tokens=4, nfc=True, evaluation=EvaluationSentences.of(LEAKED))
    out = tmp_path / "out"
    steps = cluster.clean_steps(folder, out, rules, count=partial(count_tokens, tokenizer=tokenizer))
    logs = str(tmp_path / "logs")
    LocalPipelineExecutor(steps, tasks=tasks, workers=workers, logging_dir=logs).run()
    report, counts, kept = in_one_process(folder, rules, tokenizer)
    assert cluster.collect_reports(out) == CleaningReport.load(out / "cleaning.json") == report
    assert report.leaks["swa"]["ner/swa"] > 3
    first, *rest = [TokenCounts.load(path) for path in sorted((out / "counts").iterdir())]
    for part in rest:
        first = first.merge(part)
    assert first.fingerprint == counts.fingerprint
    assert first.sizes == counts.sizes
    for code, lines in kept.items():
        files = sorted((out / "text" / code).iterdir())
        assert "".join(path.read_text("utf-8") for path in files) == "".join(f"{line}\n" for line in lines)
    assert {code: list(text) for code, text in read_corpora(out / "text").items()} == kept


def by_capitals(lines):
    """A classifier that takes lines of many capitals for English."""
    return [("eng_Latn" if line[:9].isupper() else "swh_Latn", 0.9) for line in lines]


def test_lines_in_another_language_are_counted_by_all_tasks(folder, tmp_path):
    (folder / "sw" / "d.txt").write_text(SENTENCES["eng"][0].upper(), "utf-8")
    rules = LineRules(min_tokens=4, language_check=LanguageCheck(by_capitals))
    reports = []
    for tasks in (1, 3):
        out = tmp_path / f"out-{tasks}"
        LocalPipelineExecutor(
            cluster.clean_steps(folder, out, rules),
            tasks=tasks,
            workers=1,
            logging_dir=str(tmp_path / f"logs-{tasks}"),
        ).run()
        reports.append(cluster.collect_reports(out))
    assert reports[0] == reports[1]
    assert reports[0].found == {"amh": {"swa": 8}, "swa": {"eng": 1}, "yor": {"swa": 8}}
    assert reports[0].settings["language_id"] == "by_capitals"


def test_names_that_differ_by_a_dash_are_two_files(tmp_path):
    for name in ("sw/a/b.txt", "sw/a-b.txt", "sw/a%2Fb.txt"):
        path = tmp_path / "text" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{SENTENCES['swa'][0]} {name}\n", "utf-8")
    out = tmp_path / "out"
    steps = cluster.clean_steps(tmp_path / "text", out, LineRules())
    LocalPipelineExecutor(steps, tasks=1, logging_dir=str(tmp_path / "logs")).run()
    assert len(list((out / "text" / "swa").iterdir())) == 3


def test_reports_of_another_run_or_of_some_tasks_alone_are_not_added(folder, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="holds the reports of 0 of all tasks"):
        cluster.collect_reports(out)
    for tasks in (2, 3):
        steps = cluster.clean_steps(folder, out, LineRules())
        LocalPipelineExecutor(steps, tasks=tasks, workers=1, logging_dir=str(tmp_path / f"logs-{tasks}")).run()
    with pytest.raises(ValueError, match="reports of runs with 2, 3 tasks; remove all but those of the last run"):
        cluster.collect_reports(out)
    for path in (out / "reports").glob("*-of-00002.json"):
        path.unlink()
    (out / "reports" / "00001-of-00003.json").rename(tmp_path / "aside.json")
    with pytest.raises(ValueError, match="holds the reports of 2 of 3 tasks; run the pipeline again"):
        cluster.collect_reports(out)
    (tmp_path / "aside.json").rename(out / "reports" / "00001-of-00003.json")
    assert set(cluster.collect_reports(out).read) == {"amh", "swa", "yor"}


def test_what_ended_well_is_not_run_again(folder, tmp_path):
    (folder / "yor.txt").write_bytes(b"\xff\n")
    out, logs = tmp_path / "out", str(tmp_path / "logs")

    def run():
        steps = cluster.clean_steps(folder, out, LineRules())
        LocalPipelineExecutor(steps, tasks=5, workers=1, logging_dir=logs).run()

    with pytest.raises(ValueError, match=r"yor.txt, line 1: byte 0 of the line is not UTF-8"):
        run()
    done = {path: path.stat().st_mtime_ns for path in (out / "text").rglob("*.txt")}
    assert len(done) == 4
    assert not any(map(is_leftover, out.rglob("*")))
    (folder / "yor.txt").write_text("\n".join(SENTENCES["yor"]), "utf-8")
    run()
    after = {path: path.stat().st_mtime_ns for path in (out / "text").rglob("*.txt")}
    assert len(after) == 5
    assert done.items() <= after.items()
    assert set(cluster.collect_reports(out).read) == {"amh", "swa", "yor"}


def test_bad_folders_are_named(tmp_path):
    with pytest.raises(ValueError, match="has no text; expected files such as swa.txt or swa/part-1.jsonl.gz"):
        cluster.clean_steps(tmp_path, tmp_path / "out", LineRules())
    (tmp_path / "swahilli").mkdir()
    (tmp_path / "swahilli" / "a.txt").write_text("a", "utf-8")
    with pytest.raises(ValueError, match="unknown language 'swahilli'"):
        cluster.clean_steps(tmp_path, tmp_path / "out", LineRules())
    with pytest.raises(ValueError, match="errors is 'ignore'"):
        cluster.ReadLines(tmp_path, errors="ignore")
