"""`hf-afro evaluate`: the report it leaves, the table it prints, and what it refuses."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from hf_afro import count_tokens, select_tokens
from hf_afro.cards import CardFacts
from hf_afro.cli.main import main
from hf_afro.evaluation import runs, task_evaluation
from hf_afro.evaluation.finetuning import finetune
from hf_afro.reports import EvalReport
from hf_afro.steps import evaluate
from hf_afro.steps.records import RECORD_FILE, Record
from hf_afro.steps.report import expanded
from tests.evaluation.conftest import labelled, tagged
from tests.reports.examples import score as example_score
from tests.texts import SENTENCES

QUICK = ("--preset", "small", "--epochs", 2, "--learning_rate=5e-3", "--max-length", 32)


@pytest.fixture
def data_folder(tmp_path):
    """A folder of entities and one of topics, in Swahili and Yoruba by name."""
    for language in ("swa", "yor"):
        ner, topic = (tmp_path / "data" / task / language for task in ("ner", "topic"))
        ner.mkdir(parents=True)
        topic.mkdir(parents=True)
        for seed, split in enumerate(("train", "dev", "test")):
            blocks = ("\n".join(map(" ".join, zip(*example, strict=True))) for example in tagged(32, seed))
            (ner / f"{split}.txt").write_text("\n\n".join(blocks) + "\n", "utf-8")
            lines = ("\t".join(example) for example in labelled(32, seed))
            (topic / f"{split}.tsv").write_text("text\tlabel\n" + "\n".join(lines) + "\n", "utf-8")
            (tmp_path / "data" / "emotion" / split).mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / "emotion" / split / f"{language}.csv").write_text(
                "id,text,joy,anger\n1,Nzuri sana,1,0\n2,Mbaya,0,1\n3,Leo,0,0\n", "utf-8"
            )
    return tmp_path / "data"


def words_of(model, out, *more) -> list[str]:
    return ["evaluate", *[str(word) for word in ("--model", model, "--output_dir", out, *more)]]


def test_a_task_gives_a_report_and_a_table(model_folder, data_folder, tmp_path, capsys):
    out = tmp_path / "scores"
    more = ("--task", "ner", "--data", data_folder / "ner", "--languages", "sw,yor", "--seeds", 1, 2, "--name", "tiny")
    assert main(words_of(model_folder, out, *more, "--save_models", *QUICK)) == 0
    report = EvalReport.load(out)
    assert report.name == "tiny"
    assert [score.language for score in report.select(metric="entity_f1")] == ["swa", "yor"]
    assert report.select(metric="entity_f1")[0].seeds == (1, 2)
    assert report.settings["ner/swa"]["max_length"] == 32
    assert report.model["bytes_on_disk"] > 4 * report.model["encoder_parameters"]
    assert (out / "predictions" / "ner-swa.jsonl").is_file()
    kept = {path.name for path in (out / "models").iterdir()}
    assert kept == {f"ner-{language}-{seed}" for language in ("swa", "yor") for seed in (1, 2)}
    header, swa, yor, mean, last = capsys.readouterr().out.splitlines()[-5:]
    assert header.split()[:3] == ["language", "examples", "entity_f1"]
    assert [line.split()[0] for line in (swa, yor, mean)] == ["swa", "yor", "mean"]
    assert float(mean.split()[2]) == pytest.approx(100 * report.mean("ner", "entity_f1"), abs=0.1)
    assert last == f"written to {out}"


def test_what_is_lost_on_changed_text_stands_below(model_folder, data_folder, tmp_path, capsys):
    out = tmp_path / "scores"
    more = ("--task", "topic", "--data", data_folder / "topic", "--languages", "swa", "--seeds", 1)
    assert main(words_of(model_folder, out, *more, "--perturb", "lower_case,no_diacritics", *QUICK)) == 0
    shown = capsys.readouterr().out
    assert "weighted_f1 lost on changed test text" in shown
    (row,) = [line for line in shown.splitlines() if line.split()[:2] == ["swa", "lower_case"]]
    (score,) = EvalReport.load(out).select(metric="weighted_f1_drop_lower_case")
    assert float(row.split()[2]) == pytest.approx(100 * score.mean, abs=0.1)
    assert "no_diacritics changes no text of this set" in shown
    assert main(["report", str(out), "--output_dir", str(tmp_path / "page")]) == 0
    assert "weighted F1 lost in lower case" in (tmp_path / "page" / "index.html").read_text("utf-8")


def test_an_interrupted_evaluation_goes_on(model_folder, data_folder, tmp_path, monkeypatch, capsys):
    def interrupt(text):
        if text.startswith("1 of 2"):
            raise KeyboardInterrupt

    out = tmp_path / "scores"
    more = ("--task", "topic", "--data", data_folder / "topic", "--languages", "swa", "--seeds", 1, 2)
    words = words_of(model_folder, out, *more, *QUICK)
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "say", interrupt)
        assert main(words) == 130
    assert (tmp_path / "scores.unfinished" / "runs" / "topic-swa-1.json").is_file()
    calls = []

    def noted(*args, **more):
        calls.append((args[-1], more["run_name"]))
        return finetune(*args, **more)

    monkeypatch.setattr(runs, "finetune", noted)
    assert main([*words, "--processes", "2"]) == 0  # which changes nothing of what comes out
    assert calls == [(2, f"{Path(model_folder).name}: topic swa, seed 2")]
    assert EvalReport.load(out).scores[0].seeds == (1, 2)
    assert sorted(path.name for path in out.iterdir()) == ["evaluation_report.json", RECORD_FILE, "predictions"]
    assert not (tmp_path / "scores.unfinished").exists()


def test_the_model_may_stand_by_itself(model_folder, data_folder, tmp_path, refused):
    out = tmp_path / "scores"
    more = ("--tasks", "topic", "--languages", "swa", "--seeds", 1, "--data", data_folder / "topic", *QUICK)
    assert main(["evaluate", str(model_folder), *map(str, more), "--output_dir", str(out)]) == 0
    assert EvalReport.load(out).name == Path(model_folder).name
    assert "--models is missing; expected folders of models" in refused(
        "evaluate", *more, "--output_dir", tmp_path / "none"
    )


def test_several_tasks_at_once(model_folder, data_folder, tmp_path, capsys, monkeypatch):
    """One is not there in every language; a folder of sets is looked into."""
    measured = {"latency_ms": 1.5, "sentences_per_second": 9.0, "measured_device": "cpu", "measured_threads": 1}
    # Which takes a process of its own; see tests/evaluation/test_efficiency.py.
    monkeypatch.setattr(task_evaluation, "measure_efficiency", lambda *given: measured)
    (data_folder / "topic" / "swa").rename(data_folder / "swa")
    (data_folder / "sets" / "topic").mkdir(parents=True)
    (data_folder / "topic").rename(data_folder / "sets" / "topic" / "news")
    (data_folder / "ner").rename(data_folder / "sets" / "ner")
    out = tmp_path / "scores"
    more = ("--tasks", "ner,topic", "--data", data_folder / "sets", "--languages", "swa,yor", "--seeds", 2)
    options = ("--efficiency", "--adaptation", "lora", "--max_train", 16, "--max_test", 8)
    assert main(words_of(model_folder, out, *more, *options, *QUICK)) == 0
    report = EvalReport.load(out)
    found = {(score.task, score.language) for score in report.scores}
    assert found == {("ner", "swa"), ("ner", "yor"), ("topic", "yor")}
    assert report.select(task="ner", metric="entity_f1")[0].seeds == (1, 2)
    assert report.settings["ner/swa"]["adaptation"] == "lora"
    # Named on the command line, the rate is what it says.
    assert report.settings["ner/swa"]["learning_rate"] == 5e-3
    assert report.model["latency_ms"] == 1.5
    printed = capsys.readouterr().out
    assert "topic has no data in swa" in printed
    assert "1.5 ms per sentence alone, 9.0 sentences per second" in printed
    (low, high) = report.select(task="topic", metric="weighted_f1")[0].interval
    assert f"{100 * low:.1f} to {100 * high:.1f}" in printed


def test_distillation_on_a_task_in_one_command(model_folder, data_folder, tmp_path, capsys):
    text = tmp_path / "news"
    text.mkdir()
    test = (data_folder / "topic" / "swa" / "test.tsv").read_text("utf-8").splitlines()[1].split("\t")[0]
    (text / "swa.txt").write_text(f"{test}\nWakulima wa Accra wanauza mahindi\nMvua ilinyesha Kano jana\n", "utf-8")
    out = tmp_path / "distilled"
    more = ("--tasks", "topic", "--data", data_folder / "topic", "--languages", "swa", "--seeds", 1, *QUICK)
    words = [
        "evaluate",
        "--teacher",
        model_folder,
        "--student_layers",
        1,
        "--unlabelled",
        text,
        *more,
        "--output_dir",
        out,
    ]
    assert main([str(word) for word in words]) == 0
    name = Path(model_folder).name
    student = f"{name}-1-layers"
    assert json.loads((out / "models.json").read_text()) == [student, f"{student}-labels", name]
    reports = {one: EvalReport.load(out / one) for one in (student, f"{student}-labels", name)}
    assert [report.model["layers"] for report in reports.values()] == [1, 1, 2]
    assert [report.settings["topic/swa"].get("logit_weight") for report in reports.values()] == [1.0, 0.0, None]
    told = reports[student].provenance["distillation"]
    assert told["lines_read"] == {"swa": 3}
    assert sum(told["lines_dropped"]["swa"].values()) == 1
    assert told["unlabelled_lines"] == 2
    assert not (out / name / "models").exists()
    printed = capsys.readouterr().out
    assert f"share of {name} kept" in printed
    assert f"difference from {student}\n" in printed
    # The whole output is one list of reports for what follows.
    assert main(["report", str(out), "--output_dir", str(tmp_path / "report")]) == 0
    tables = (tmp_path / "report" / "tables.txt").read_text("utf-8")
    assert f"share of {name} kept" in tables
    places = [str(out / one) for one in (student, f"{student}-labels", name)]
    assert main(["card", *places, "--licence", "mit", "--output_dir", str(tmp_path / "card")]) == 0
    card = (tmp_path / "card" / "README.md").read_text("utf-8")
    assert f"from the logits of the teacher {name}, and from its logits alone on at most 2 lines" in card
    assert "it started from 1 of the teacher's layers." in card
    assert "share of" in card


def test_a_teacher_that_learnt_nothing_is_warned_of_before_its_students_are_trained(
    model_folder, data_folder, tmp_path, capsys
):
    data = ("--data", f"topic={data_folder / 'topic'}", "--languages", "swa", "--seeds", 1, *QUICK)
    words = ("--teacher", model_folder, "--student_layers", 1, *data, "--learning_rate", 1e-9)
    assert main(list(map(str, ("evaluate", *words, "--output_dir", tmp_path / "out")))) == 0
    told = capsys.readouterr().out
    name = Path(model_folder).name
    warning = told.index(f"the teacher {name} learnt nothing of topic in swa and will teach nothing there")
    assert warning < told.index("-labels: topic swa, seed 1")
    assert "a run that collapsed learnt nothing: try another --learning_rate, or more --epochs" in told


def test_a_fine_tuned_model_has_a_card_of_its_own(model_folder, data_folder, tmp_path, tokenizer, refused):
    """Its encoder was cut to six languages; it is fine-tuned on one, and its score is that of its seed."""
    cut, scores = shutil.copytree(model_folder, tmp_path / "cut"), tmp_path / "scores"
    select_tokens(count_tokens(SENTENCES, tokenizer), 400).save(cut / "vocabulary_map.json")
    Record("prune", {}, {}, key="cut", files={}).save(cut)
    more = (
        "--tasks",
        "ner",
        "--data",
        data_folder / "ner",
        "--transfer",
        "swa",
        "--seeds",
        2,
        *QUICK,
        "--save_models",
    )
    assert main(words_of(cut, scores, *more, "--efficiency")) == 0
    told = ("--licence", "mit", "--output_dir")
    assert main(["card", str(scores), *told, str(tmp_path / "of_encoder")]) == 0
    assert set(CardFacts.load(tmp_path / "of_encoder").languages) == set(SENTENCES)
    model = str(scores / "models" / "ner-swa-2")
    assert main(["card", str(scores), "--model", model, *told, str(tmp_path / "card")]) == 0
    assert CardFacts.load(tmp_path / "card").languages == ("swa",)
    assert set(CardFacts.load(tmp_path / "card").vocabulary) == set(SENTENCES)
    card = ModelCard.load(tmp_path / "card" / "README.md")
    assert (card.data.pipeline_tag, card.data.library_name) == ("token-classification", "transformers")
    assert card.data.language == ["sw"]
    report = EvalReport.load(scores)
    (score,) = report.select(language="swa", metric="entity_f1")
    found = {result.metric_name: result for result in card.data.eval_results}["entity F1"]
    assert (found.metric_value, found.metric_args["seeds"]) == (round(score.values[1], 4), [2])
    assert "transfer, named entities, entity F1" in card.text
    assert "sentences per second" in card.text
    other = refused("card", scores, "--model", model_folder, *told, tmp_path / "other")
    assert f"--model {model_folder} is not among the models evaluated" in other


def test_a_student_given_by_itself_learns_from_an_evaluated_teacher(model_folder, data_folder, tmp_path, refused):
    more = ("--tasks", "topic", "--data", data_folder / "topic", "--languages", "swa", "--seeds", 1, *QUICK)
    teacher, out = tmp_path / "teacher", tmp_path / "out"
    assert main(words_of(model_folder, teacher, *more, "--save_models", "--name", "large")) == 0
    assert main(words_of(f"small={model_folder}", out, *more, "--teacher", teacher, "--logit_loss", "kl")) == 0
    assert json.loads((out / "models.json").read_text()) == ["small", "small-labels"]
    assert EvalReport.load(out / "small").provenance["distillation"] == {"teacher": "large"}
    # The report of the teacher is found by itself, at its place and beside what was moved.
    moved = tmp_path / "moved"
    moved.mkdir()
    assert expanded([str(out)]) == [str(out / "small"), str(out / "small-labels"), str(teacher)]
    assert expanded([str(out), str(teacher)]) == [str(out / "small"), str(out / "small-labels"), str(teacher)]
    assert main(["report", str(out / "small"), "--output_dir", str(tmp_path / "page")]) == 0
    assert "share of large kept" in (tmp_path / "page" / "tables.txt").read_text("utf-8")
    teacher.rename(moved / "teacher")
    assert expanded([str(out)]) == [str(out / "small"), str(out / "small-labels")]
    out.rename(moved / "out")
    assert expanded([str(moved / "out")])[2:] == [str(moved / "teacher")]
    (moved / "teacher").rename(teacher)
    (moved / "out").rename(out)
    again = words_of(f"small={model_folder}", tmp_path / "again", *more)[1:]
    # A missing teacher is found before anything is trained.
    assert "no fine-tuned model topic-swa-2" in refused("evaluate", *again, "--teacher", teacher, "--seeds", 2)
    assert not (tmp_path / "again.unfinished").exists()
    other = words_of(f"tiny={model_folder}", tmp_path / "again", *more)[1:]
    without = refused("evaluate", *other, "--teacher", out / "small")
    assert "holds a report and no models; evaluate the teacher again with --save_models" in without
    called = words_of(f"large={model_folder}", tmp_path / "again", *more, "--teacher", teacher)[1:]
    assert "teacher and student are both called large" in refused("evaluate", *called)
    assert "teachr" in refused("evaluate", *again, "--teacher", "teachr")
    probe = ("--teacher", teacher, "--adaptation", "probe")
    assert "cannot learn from --teacher" in refused("evaluate", *again[: -len(QUICK)], *probe)
    assert "--logit_loss needs --teacher" in refused("evaluate", *again, "--logit_loss", "kl")
    assert "--unlabelled needs --teacher" in refused("evaluate", *again, "--unlabelled", tmp_path)
    both = refused("evaluate", *again, "--teacher", teacher, "--student_layers", 1)
    assert "expected either --models, the students, or --student_layers" in both


def test_a_matrix_of_transfer(model_folder, data_folder, tmp_path, capsys):
    out = tmp_path / "scores"
    more = ("--tasks", "topic", "--data", f"topic={data_folder / 'topic'}", "--seeds", 1, "--transfer", "yor")
    assert main(words_of(model_folder, out, *more, *QUICK)) == 0
    report = EvalReport.load(out)
    assert {(score.source, score.language) for score in report.transfer} == {("yor", "swa")}
    assert "trained on the languages of the row" in capsys.readouterr().out
    assert main(words_of(model_folder, tmp_path / "all", *more, "--transfer", "all", *QUICK)) == 0
    report = EvalReport.load(tmp_path / "all")
    assert {(score.source, score.language) for score in report.transfer} == {("yor", "swa"), ("swa", "yor")}


def test_zero_shot_in_languages_without_a_train_split(model_folder, data_folder, tmp_path):
    """And beyond the table of languages."""
    (data_folder / "topic" / "yor").rename(data_folder / "topic" / "bem")
    for split in ("train", "dev"):
        (data_folder / "topic" / "bem" / f"{split}.tsv").unlink()
    more = ("--tasks", "topic", "--data", data_folder / "topic", "--seeds", 1, *QUICK, "--max_test", 8)
    assert main(words_of(model_folder, tmp_path / "scores", *more, "--transfer", "swa", "--languages", "swa,bem")) == 0
    report = EvalReport.load(tmp_path / "scores")
    assert {(score.source, score.language) for score in report.transfer} == {("swa", "bem")}
    kept = (tmp_path / "scores" / report.predictions["topic/bem from swa"]).read_text("utf-8").splitlines()
    table = (data_folder / "topic" / "bem" / "test.tsv").read_text("utf-8").splitlines()[1:]
    assert [table[json.loads(line)["index"]].split("\t")[1] for line in kept] == [
        json.loads(line)["gold"] for line in kept
    ]


def test_folders_that_are_no_languages_are_told(model_folder, data_folder, tmp_path, caplog):
    (data_folder / "topic" / "yor").rename(data_folder / "topic" / "bem")
    (data_folder / "topic" / "cache").mkdir()
    more = ("--tasks", "topic", "--data", data_folder / "topic", "--seeds", 1, *QUICK)
    assert main(words_of(model_folder, tmp_path / "scores", *more)) == 0
    assert "left out cache; the folder of a language is named by its code" in caplog.text
    assert {score.language for score in EvalReport.load(tmp_path / "scores").scores} == {"bem", "swa"}


def test_what_the_model_is_too_short_for_is_said(model_folder, data_folder, tmp_path, caplog):
    more = (
        "--task",
        "topic",
        "--data",
        data_folder / "topic",
        "--languages",
        "swa",
        "--seeds",
        1,
        "--preset",
        "small",
    )
    assert main(words_of(model_folder, tmp_path / "scores", *more, "--epochs", 1)) == 0
    assert "max_length 128 exceeds the model's 64 positions; longer texts are truncated" in caplog.text
    assert EvalReport.load(tmp_path / "scores").settings["topic/swa"]["max_length"] == 64


def test_languages_at_once(model_folder, data_folder, tmp_path, capsys):
    out = tmp_path / "scores"
    more = ("--tasks", "ner,topic", "--data", data_folder, "--seeds", 1, "--joint")
    assert main(words_of(model_folder, out, *more, *QUICK)) == 0
    report = EvalReport.load(out)
    assert {(score.task, score.language, score.together) for score in report.scores} == {
        (task, code, ("swa", "yor")) for task in ("ner", "topic") for code in ("swa", "yor")
    }
    printed = capsys.readouterr().out
    assert "1 of 2: ner swa+yor, seed 1" in printed
    assert printed.count("trained jointly on swa, yor") == 2
    assert main(["report", str(out), "--output_dir", str(tmp_path / "page")]) == 0
    assert "trained jointly on swa, yor" in (tmp_path / "page" / "index.html").read_text("utf-8")


def test_on_a_terminal_there_is_one_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    with evaluate._told_runs() as tell:
        for done in (1, 2, 3):
            tell(f"ner swa, seed {done}; about {9 - done} s left", done, 3)
    assert "\n" not in terminal.getvalue().rstrip("\n")
    assert "3 of 3: ner swa, seed 3; about 6 s left" in terminal.getvalue().rpartition("\r")[2]


def test_bits_a_byte_of_text(model_folder, text_folder, tmp_path, capsys):
    out = tmp_path / "bits"
    assert main(words_of(model_folder, out, "--task", "bits_per_byte", "--text", text_folder)) == 0
    report = EvalReport.load(out)
    assert [score.language for score in report.scores] == ["swa", "yor"]
    assert capsys.readouterr().out.splitlines()[-5].split()[:4] == ["language", "masked", "words", "bits_per_byte"]


def test_the_sample_is_text(model_folder, tmp_path):
    more = ("--task", "bits_per_byte", "--text", "sample", "--languages", "swa")
    assert main(words_of(model_folder, tmp_path / "bits", *more)) == 0
    assert [score.language for score in EvalReport.load(tmp_path / "bits").scores] == ["swa"]


@pytest.fixture
def parallel_folder(tmp_path):
    """Swahili and Yoruba whose translations are the sentences themselves, but for two that are mixed up."""
    for language in ("swa", "yor"):
        lines = SENTENCES[language][:6]
        (tmp_path / "mafand" / language).mkdir(parents=True)
        for code, own in ((language, lines), ("en", [*lines[:4], lines[5], lines[4]])):
            text = "".join(f"{line}\n" for line in own)
            (tmp_path / "mafand" / language / f"test.{code}").write_text(text, "utf-8")
    return tmp_path / "mafand"


def test_translations_that_are_found(model_folder, parallel_folder, tmp_path, capsys):
    out = tmp_path / "bitext"
    more = ("--tasks", "bitext", "--parallel", parallel_folder, "--prompt", "w: ", "--pooling", "cls")
    assert main(words_of(model_folder, out, *more)) == 0
    report = EvalReport.load(out)
    assert [score.language for score in report.select(metric="accuracy_at_1")] == ["swa", "yor"]
    assert report.mean("bitext", "accuracy_at_1") == pytest.approx(4 / 6)
    assert (report.settings["bitext/swa"]["prompt"], report.settings["bitext/swa"]["pooling"]) == ("w: ", "cls")
    assert (out / "predictions" / "bitext-yor.jsonl").is_file()
    header, swa = capsys.readouterr().out.splitlines()[-5:-3]
    assert header.split()[:3] == ["language", "pairs", "accuracy_at_1"]
    assert swa.split()[:3] == ["swa", "6", "66.67"]


def test_a_probe_that_collapsed_is_not_told_to_train_for_longer():
    metrics = ("weighted_f1", "macro_f1", "accuracy")
    scores = (example_score("swa", (0.1,), task="topic", metric=metric, collapsed=(1,)) for metric in metrics)
    told = evaluate.show(EvalReport("m", {}, tuple(scores), {"topic/swa": {"adaptation": "probe"}}))
    assert "a probe that collapsed finds nothing in the encoder's vectors: try --adaptation full" in told
    assert "--learning_rate" not in told


def test_a_probe_of_topics_beside_bits_and_bitext(model_folder, data_folder, text_folder, parallel_folder, tmp_path):
    out = tmp_path / "scores"
    tasks = ("--tasks", "topic,bitext,bits_per_byte", "--data", data_folder / "topic")
    more = ("--parallel", parallel_folder, "--text", text_folder, "--languages", "swa", "--max_test", 5)
    assert main(words_of(model_folder, out, *tasks, *more, "--adaptation", "probe", "--preset", "small")) == 0
    report = EvalReport.load(out)
    assert {score.task for score in report.scores} == {"topic", "bitext", "bits_per_byte"}
    assert report.settings["topic/swa"]["adaptation"] == "probe"
    assert "epochs" not in report.settings["topic/swa"]
    assert {score.n for score in report.select(task="bitext")} == {5}
    assert report.select(task="topic", metric="weighted_f1")[0].seeds == (1,)


def test_lines_that_are_not_utf8_are_skipped_where_that_is_asked_for(model_folder, text_folder, tmp_path):
    (text_folder / "swa.txt").write_bytes((text_folder / "swa.txt").read_bytes() + b"caf\xe9\n")
    more = ("--task", "bits_per_byte", "--text", text_folder)
    assert main(words_of(model_folder, tmp_path / "not", *more)) == 2
    assert main(words_of(model_folder, tmp_path / "bits", *more, "--errors", "skip")) == 0
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--task", "ner"), "--tasks ner needs --data FOLDER"),
        (("--task", "bits_per_byte", "--data", "topic"), "--tasks bits_per_byte needs --text FOLDER"),
        (("--task", "topic", "--data", "topic", "--text", "topic"), "leave --text out"),
        (("--task", "bits_per_byte", "--text", "topic", "--epochs", "3"), "trains nothing; leave --epochs out"),
        (("--task", "topic", "--data", "topic", "--epoch", "3"), "did you mean 'epochs'"),
        (("--task", "topic", "--data", "topic", "--adaption", "lora"), "did you mean 'adaptation'"),
        (
            ("--task", "topic", "--data", "topic", "--epochs", "many"),
            "--epochs: expected a whole number",
        ),
        (("--task", "topic", "--data", "topic", "--epochs", "0"), "epochs=0; expected a whole number"),
        (("--task", "topic", "--data", "topic", "--epochs"), "--epochs: expected one argument"),
        (("--task", "topic", "--data", "topic", "--seeds", "1", "1"), "each seed once"),
        (("--task", "topic", "--data", "topic", "--languages", "zul"), "has no folder for zul"),
        (("--task", "topic", "--data", "nowhere"), "nowhere"),
        (("--task", "topic", "--data", "topic", "--preset", "tiny"), "--preset: invalid choice: 'tiny'"),
        (
            ("--task", "topics", "--data", "topic"),
            "--tasks has 'topics'; did you mean 'topic'? Expected one of ner, topic",
        ),
        (("--task", "pos", "--data", "topic"), "has no train.txt"),
        (("--task", "topic", "--data", "topic", "--adaptation", "half"), "expected one of full, lora, frozen, probe"),
        (("--task", "topic", "--data", "topic", "--seeds", "4294967295"), "expected at most 100, or several seeds"),
        (("--task", "bits_per_byte", "--text", "topic", "--joint"), "trains nothing; leave --joint out"),
        (("--task", "bitext", "--text", "topic"), "--tasks bitext needs --parallel FOLDER"),
        (("--task", "topic", "--data", "topic", "--parallel", "ner"), "reads --data; leave --parallel out"),
        (("--task", "bitext", "--parallel", "ner", "--epochs", "3"), "bitext trains nothing; leave --epochs out"),
        (("--task", "bitext", "--parallel", "ner", "--pooling", "sum"), "pooling='sum'; expected one of mean, cls"),
        (("--task", "bitext", "--parallel", "ner"), "has the files test.txt for swa; expected two"),
        (("--task", "ner", "--data", "ner", "--adaptation", "probe"), "ner labels words, and a probe classifies"),
        (
            ("--task", "topic", "--data", "topic", "--adaptation", "probe", "--epochs", "3"),
            "--adaptation probe has no --epochs; leave it out",
        ),
        (
            ("--task", "topic", "--data", "topic", "--prompt", "query: "),
            "--prompt is for --adaptation probe and --tasks bitext",
        ),
        (("--task", "topic", "--data", "topic", "--languages", "swa", "--joint"), "expects one task in two or more"),
        (("--task", "topic", "--data", "topic", "--transfer"), "--transfer: expected at least one argument"),
        (("--task", "topic", "--data", "topic", "--processes", "0"), "processes is 0; expected at least 1"),
        (
            ("--task", "topic", "--data", "topic", "--transfer", "zul"),
            "--transfer names zul, and the data is in swa, yor",
        ),
        (("--task", "topic", "--data", "topic", "--transfer", "sw,swa"), "'sw' and 'swa' are one language"),
        (("--task", "topic", "--data", "topic", "--languages", "gaz_Latn,orm"), "are one language, Oromo (orm)"),
        (("--tasks", "topic,ner", "--data", "topic", "ner"), "name them by task, as in topic=topic"),
        (("--tasks", "topic,ner", "--data", "topic=topic"), "--data names no set for ner"),
        (("--tasks", "topic,ner", "--data", "topic"), "has no folder topic; expected one per task"),
        (("--task", "ner", "--data", "ner", "--perturb", "lower"), "'lower'; did you mean 'lower_case'?"),
        (("--task", "bitext", "--parallel", "ner", "--perturb", "lower_case"), "leave --perturb out"),
    ],
)
def test_mistakes_leave_nothing(refused, model_folder, data_folder, tmp_path, monkeypatch, more, message):
    monkeypatch.chdir(data_folder)
    assert message in refused(*words_of(model_folder, tmp_path / "out", *more))
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_loss_that_does_not_suit_the_task_is_refused_before_the_teacher_is_tuned(
    refused, model_folder, data_folder, tmp_path
):
    more = ("--task", "emotion", "--data", data_folder / "emotion", "--student_layers", 1, "--logit_loss", "kl")
    words = ["evaluate", "--teacher", model_folder, "--output_dir", tmp_path / "out", *more]
    assert "those of emotion do not; expected mse" in refused(*map(str, words))
    assert not (tmp_path / "out").exists()


def test_several_processes_are_refused(refused, model_folder, data_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    more = ("--task", "topic", "--data", data_folder / "topic")
    assert "runs in one process" in refused(*words_of(model_folder, tmp_path / "out", *more))
