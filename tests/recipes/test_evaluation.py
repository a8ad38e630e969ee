"""The stage `evaluate` measures on the tasks whose sentences were removed from the text, and on no others."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from hf_afro.recipes import load_recipe, run_recipe
from hf_afro.recipes.runner import plan_recipe
from hf_afro.reports.evaluation_report import load_reports
from hf_afro.sample import write_tasks
from hf_afro.steps.report import expanded
from hf_afro.steps.running import UP_TO_DATE
from hf_afro.steps.tasks import TASKS_FILE, load_sets
from hf_afro.steps.text import SENTENCES

TRANSFER = """\
name: transfer
base:
  model: {model}
tasks:
  data: {{ner: sample}}
  languages: {{ner: [amh, swa]}}
evaluate:
  models: {{m: base}}
  preset: small
  seeds: [1, 2]
  {more}
  epochs: 1
  max_length: 32
  max_train: 32
  max_dev: 8
  max_test: 8
"""


@pytest.fixture
def saved_model(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    return tmp_path / "m"


def recipe_with(folder, model, more):
    (folder / "transfer.yaml").write_text(TRANSFER.format(model=model, more=more), "utf-8")
    return load_recipe(str(folder / "transfer.yaml"))


def report_of(result):
    (loaded,) = load_reports(expanded([str(result.folder)]))
    return loaded.report


def test_no_evaluation_sentence_stays_in_the_text(tmp_path):
    """Dev and test sentences of all tasks go, whole and as parts of lines; train sentences stay."""
    write_tasks(tmp_path / "sets", sizes={"train": 20, "dev": 4, "test": 4}, languages=["swa"])
    tasks = "\n".join(f"    {task}: {tmp_path}/sets/{task}" for task in ("ner", "topic"))
    (tmp_path / "r.yaml").write_text(
        f"name: r\ntasks:\n  data:\n{tasks}\nprepare:\n  text: {tmp_path}/text\n  min_tokens: 1\n  eval_lines: 0\n",
        "utf-8",
    )
    recipe = load_recipe(str(tmp_path / "r.yaml"))
    (listed,) = run_recipe(dataclasses.replace(recipe, stages=recipe.stages[:1]), tmp_path / "out")
    pairs = [json.loads(line) for line in (listed.folder / SENTENCES).read_text("utf-8").splitlines()]
    assert {dataset for dataset, _ in pairs} == {"ner/swa", "topic/swa"}
    kept = "Mstari huu haumo katika seti yoyote ya majaribio kabisa."
    (tmp_path / "text").mkdir()
    lines = [kept, *(sentence for _, text in pairs for sentence in text.split("\n"))]
    (tmp_path / "text" / "swa.txt").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    result = run_recipe(recipe, tmp_path / "out")[-1]
    assert (result.folder / "train" / "swa.txt").read_text("utf-8").splitlines() == [kept]
    assert result.facts["evaluation_lines_removed"] == len([line for line in lines[1:] if line.strip()])


def test_tasks_that_are_others_by_now_are_refused(tmp_path):
    recipe = load_recipe("quickstart")
    (result,) = run_recipe(dataclasses.replace(recipe, stages=recipe.stages[:1]), tmp_path)
    assert result.facts["sets"] == 4
    file = result.folder / TASKS_FILE
    found = json.loads(file.read_text("utf-8"))
    found[1]["fingerprint"] = "of other examples"
    file.write_text(json.dumps(found), "utf-8")
    with pytest.raises(ValueError, match=r"ner in swa is no longer what .*tasks says; run `hf-afro tasks` again"):
        load_sets(None, [str(result.folder)], None)


def test_sets_that_were_moved_are_read_where_they_are_now(saved_model, tmp_path):
    write_tasks(tmp_path / "sets", sizes={"train": 20, "dev": 4, "test": 4}, languages=["swa"])
    recipe = TRANSFER.replace("ner: sample", "ner: ${{data}}/ner").replace("[amh, swa]", "swa")
    file = tmp_path / "moved.yaml"
    file.write_text(
        recipe.replace("data: {{ner: $", "data:\n    ner: $")
        .replace("/ner}}", "/ner")
        .format(model=saved_model, more="joint: false"),
        "utf-8",
    )
    both = [load_recipe(str(file), ["--data", str(tmp_path / name)]) for name in ("sets", "elsewhere")]
    run_recipe(dataclasses.replace(both[0], stages=both[0].stages[:2]), tmp_path / "out")
    shutil.move(tmp_path / "sets", tmp_path / "elsewhere")
    results = {result.name: result.status for result in run_recipe(both[1], tmp_path / "out")}
    assert results["tasks"] == UP_TO_DATE


def test_a_teacher_may_be_evaluated_in_a_stage_of_its_own(saved_model, tmp_path):
    recipe_with(tmp_path, saved_model, "save_models: true\n  joint: true")
    text = (tmp_path / "transfer.yaml").read_text("utf-8").replace("{m: base}", "base\n  name: m")
    _, _, settings = text.partition("evaluate:\n")
    student = settings.replace("base\n  name: m", "{student: base}").replace("save_models: true", "teacher: evaluate")
    (tmp_path / "transfer.yaml").write_text(f"{text}evaluate-student:\n{student}", "utf-8")
    recipe = load_recipe(str(tmp_path / "transfer.yaml"))
    assert plan_recipe(recipe)["evaluate-student"].note == "2 models, 2 sets, 2 seeds: 4 runs"
    loaded = load_reports(expanded([str(run_recipe(recipe, tmp_path / "run")[-1].folder)]))
    assert [one.report.name for one in loaded] == ["student", "student-labels", "m"]
    assert loaded[0].report.provenance["distillation"] == {"teacher": "m"}


@pytest.mark.parametrize(
    ("teacher", "student", "message"),
    [
        ("models: base\n  seeds: [1, 2]", "", "stage that keeps no models; set its save_models to true"),
        ("models: {m: base}\n  save_models: true\n  seeds: [1, 2]", "", "a folder per model; give it one model"),
        ("models: base\n  save_models: true\n  seeds: [1]", "", "a stage without seed 2; give both stages the same"),
        ("models: base\n  save_models: true\n  seeds: [1, 2]", "joint: true", "a stage where joint is false; give"),
    ],
)
def test_a_stage_that_will_hold_no_teacher_is_refused_before_it_runs(saved_model, tmp_path, teacher, student, message):
    more = f"evaluate-student:\n  models: {{s: base}}\n  teacher: evaluate\n  seeds: [1, 2]\n  {student}\n"
    base, _, _ = TRANSFER.format(model=saved_model, more="").partition("evaluate:")
    (tmp_path / "two.yaml").write_text(f"{base}evaluate:\n  {teacher}\n{more}", "utf-8")
    with pytest.raises(ValueError, match=message):
        plan_recipe(load_recipe(str(tmp_path / "two.yaml")))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft reads it
@pytest.mark.parametrize(
    ("more", "runs", "together", "sources"),
    [
        ("transfer: [sw]\n  adaptation: lora", 2, {()}, {"swa"}),
        ("joint: true\n  efficiency: true", 2, {("amh", "swa")}, set()),
        ("save_models: false", 4, {()}, set()),
    ],
)
def test_what_is_trained_on_is_planned_and_done(saved_model, tmp_path, more, runs, together, sources):
    recipe = recipe_with(tmp_path, saved_model, more)
    assert plan_recipe(recipe)["evaluate"].note == f"1 model, 2 sets, 2 seeds: {runs} runs"
    report = report_of(run_recipe(recipe, tmp_path / "run")[-1])
    assert {score.together for score in report.scores} == together
    assert {score.source for score in report.transfer} == sources
    assert ("latency_ms" in report.model) == ("efficiency" in more)
    assert report.settings["ner/swa"]["adaptation"] == ("lora" if "lora" in more else "full")


@pytest.mark.parametrize(
    ("more", "message"),
    [("transfer: [swa]", ""), ("save_models: false", "line 7: evaluate: .*tir has no train.txt or")],
    ids=["zero shot", "all"],
)
def test_a_language_that_is_only_measured_on_needs_no_train_split(saved_model, tmp_path, more, message):
    for language, splits in (("swa", ("train", "dev", "test")), ("tir", ("test",))):
        (tmp_path / "made" / language).mkdir(parents=True)
        for split in splits:
            (tmp_path / "made" / language / f"{split}.txt").write_text("Eshe B-PER\nyupo O\n\nKano B-LOC\n", "utf-8")
    text = TRANSFER.replace("ner: sample", f"ner: {tmp_path}/made").replace("[amh, swa]", "[swa, tir]")
    (tmp_path / "transfer.yaml").write_text(text.format(model=saved_model, more=more), "utf-8")
    recipe = load_recipe(str(tmp_path / "transfer.yaml"))
    if message:
        with pytest.raises(FileNotFoundError, match=message):
            run_recipe(recipe, tmp_path / "run")
        assert not (tmp_path / "run").exists()
        return
    report = report_of(run_recipe(recipe, tmp_path / "run")[-1])
    assert {(score.source, score.language) for score in report.transfer} == {("swa", "tir")}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("transfer: [swa, swh]", "'swa' and 'swh' are one language"),
        ("transfer: [yor]", "transfer names yor, but no task is in that language"),
        ("transfer: [amh]\n  joint: true", "a task has only one; leave it out"),
        ("adaptation: half", "adaptation.*half"),
        ("tasks: nerr", "nerr"),
        ("text: sample\n  tasks: ner", "leave --text out"),
    ],
)
def test_what_is_impossible_is_refused_before_anything_runs(saved_model, tmp_path, more, message):
    with pytest.raises(ValueError, match=message):
        run_recipe(recipe_with(tmp_path, saved_model, more), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_language_that_a_set_has_not_is_refused_before_anything_runs(saved_model, tmp_path):
    (tmp_path / "made" / "swa").mkdir(parents=True)
    (tmp_path / "made" / "swa" / "test.txt").write_text("Eshe B-PER\nyupo O\n", "utf-8")
    text = TRANSFER.replace("ner: sample", f"ner: {tmp_path}/made").replace("[amh, swa]", "[swa, lug]")
    (tmp_path / "transfer.yaml").write_text(text.format(model=saved_model, more="joint: false"), "utf-8")
    with pytest.raises(ValueError, match="line 4: tasks: .*made has no folder for lug; its languages are: swa"):
        run_recipe(load_recipe(str(tmp_path / "transfer.yaml")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_described_set_and_every_kind_of_task_run(saved_model, tmp_path):
    """Parts of speech from a folder of CoNLL files, and pairs of sentences from a table as described."""
    home = tmp_path / "sets" / "pos" / "swa"
    home.mkdir(parents=True)
    for split in ("train", "dev", "test"):
        (home / f"{split}.txt").write_text("Eshe PROPN\nyupo VERB\n\nKano PROPN\n\nleo ADV\n", "utf-8")
        rows = "".join(f'{{"a": "Eshe yupo {n}", "b": "Eshe yupo", "c": {n % 2}}}\n' for n in range(4))
        (tmp_path / "sets" / f"swa-{split}.jsonl").write_text(rows, "utf-8")
    files = ", ".join(f"{split}: swa-{split}.jsonl" for split in ("train", "dev", "test"))
    described = f"task: nli\nname: entails\nfiles: {{{files}}}\ncolumns: {{text: a, text_pair: b, label: c}}\n"
    (tmp_path / "sets" / "entails.yaml").write_text(
        f"{described}labels: {{'0': 'no', '1': 'yes'}}\nlanguages: [swa]\n", "utf-8"
    )
    recipe = TRANSFER.replace("{{ner: sample}}", "[pos={sets}/pos, nli={sets}/entails.yaml]")
    recipe = recipe.replace("  languages: {{ner: [amh, swa]}}\n", "")
    text = recipe.format(model=saved_model, more="save_models: false", sets=tmp_path / "sets")
    (tmp_path / "kinds.yaml").write_text(text, "utf-8")
    report = report_of(run_recipe(load_recipe(str(tmp_path / "kinds.yaml")), tmp_path / "run")[-1])
    assert {(score.task, score.language) for score in report.scores} == {("pos", "swa"), ("nli", "swa")}


def distilled(folder, model, more):
    recipe = TRANSFER.replace("models: {{m: base}}", "teacher: base\n  {more}").replace("{more}\n  epochs", "epochs")
    (folder / "transfer.yaml").write_text(recipe.format(model=model, more=more), "utf-8")
    return load_recipe(str(folder / "transfer.yaml"))


def test_a_student_of_a_teachers_layers_is_distilled_in_a_recipe(saved_model, tmp_path):
    """And planned without its folder: it names no model."""
    text = tmp_path / "text"
    text.mkdir()
    for code in ("amh", "swa"):
        (text / f"{code}.txt").write_text("Mvua kubwa ilinyesha jana\nWakulima wanauza mahindi sokoni\n", "utf-8")
    recipe = distilled(tmp_path, saved_model, f"student_layers: 1\n  unlabelled: {text}")
    assert "3 models, the student has 1 layer, 2 sets, 2 seeds: 12 runs" in plan_recipe(recipe)["evaluate"].note
    result = run_recipe(recipe, tmp_path / "out")[-1]
    names = [one.report.name for one in load_reports(expanded([str(result.folder)]))]
    assert names == ["base-1-layers", "base-1-layers-labels", "base"]


def test_a_recipe_that_takes_more_layers_than_the_teacher_has_is_refused_before_it_runs(saved_model, tmp_path):
    with pytest.raises(ValueError, match="student_layers is 9; the teacher has 2"):
        plan_recipe(distilled(tmp_path, saved_model, "student_layers: 9"))
