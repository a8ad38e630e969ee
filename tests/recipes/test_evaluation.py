"""The stage `evaluate` measures on the tasks that were taken out of the text, and on no others."""

from __future__ import annotations

import dataclasses
import json

import pytest

from hf_afro.recipes import load_recipe, run_recipe
from hf_afro.recipes.plan import plan_recipe
from hf_afro.recipes.progress import Progress
from hf_afro.recipes.stages import StageContext
from hf_afro.recipes.stages.evaluation import read_reports, run_evaluate

TRANSFER = """\
name: transfer
base:
  model: {model}
tasks:
  ner: {{folder: sample, languages: [amh, swa]}}
evaluate:
  models: {{m: base}}
  tasks: tasks
  preset: small
  seeds: [1, 2]
  {more}
  ner: {{epochs: 1, max_length: 32, max_train: 32}}
"""


@pytest.fixture
def saved_model(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    return tmp_path / "m"


def recipe_with(folder, model, more):
    (folder / "transfer.yaml").write_text(TRANSFER.format(model=model, more=more), "utf-8")
    return load_recipe(folder / "transfer.yaml")


def test_tasks_that_are_others_by_now_are_refused(tmp_path):
    recipe = load_recipe("quickstart")
    (result,) = run_recipe(dataclasses.replace(recipe, stages=recipe.stages[:1]), tmp_path)
    file = result.folder / "tasks.json"
    found = json.loads(file.read_text("utf-8"))
    found[1]["fingerprint"] = "of other examples"
    file.write_text(json.dumps(found), "utf-8")
    context = StageContext(recipe, recipe.stage("evaluate"), tmp_path, tmp_path, Progress(1, "", show=False))
    with pytest.raises(ValueError, match=r"ner in swa is no longer what tasks read; remove .*tasks and run again"):
        run_evaluate(context)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft reads it
@pytest.mark.parametrize(
    ("more", "runs", "together", "sources"),
    [
        ("transfer: [sw]\n  adaptation: lora", 2, {()}, {"swa"}),
        ("joint: true\n  efficiency: true", 2, {("amh", "swa")}, set()),
        ("preset: small", 4, {()}, set()),
    ],
)
def test_what_is_trained_on_is_planned_and_done(saved_model, tmp_path, more, runs, together, sources):
    recipe = recipe_with(tmp_path, saved_model, more.replace("preset: small", "save_models: false"))
    assert f"2 sets, 2 seeds: {runs} runs" in str(plan_recipe(recipe))
    result = run_recipe(recipe, tmp_path / "run")[-1]
    (report,) = read_reports(result.folder).values()
    assert {score.together for score in report.scores} == together
    assert {score.source for score in report.transfer} == sources
    assert ("latency_ms" in report.model) == ("efficiency" in more)
    assert report.settings["ner/swa"]["adaptation"] == ("lora" if "lora" in more else "full")


@pytest.mark.parametrize(
    ("more", "says"),
    [("transfer: [swa]", ""), ("save_models: false", "tir has no train.txt or")],
    ids=["zero shot", "all"],
)
def test_a_language_that_is_measured_on_alone_needs_no_train(saved_model, tmp_path, more, says):
    for language, splits in (("swa", ("train", "dev", "test")), ("tir", ("test",))):
        (tmp_path / "made" / language).mkdir(parents=True)
        for split in splits:
            (tmp_path / "made" / language / f"{split}.txt").write_text("Eshe B-PER\nyupo O\n\nKano B-LOC\n", "utf-8")
    recipe = TRANSFER.replace("sample, languages: [amh, swa]", f"{tmp_path}/made, languages: [swa, tir]")
    (tmp_path / "transfer.yaml").write_text(recipe.format(model=saved_model, more=more), "utf-8")
    recipe = load_recipe(tmp_path / "transfer.yaml")
    if says:
        # Said by the stage that reads the tasks, which is the first, and not after hours of training.
        with pytest.raises(FileNotFoundError, match=says):
            run_recipe(recipe, tmp_path / "run")
        assert not (tmp_path / "run" / "evaluate").exists()
        return
    (report,) = read_reports(run_recipe(recipe, tmp_path / "run")[-1].folder).values()
    assert {(score.source, score.language) for score in report.transfer} == {("swa", "tir")}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("transfer: [swa, swh]", "'swa' and 'swh' are one language"),
        ("transfer: [yor]", "transfer has yor; tasks has tasks in amh, swa"),
        ("transfer: [amh]\n  joint: true", "a task has only one; leave it out"),
        ("adaptation: half", "adaptation is 'half'; expected one of full, lora, frozen"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(saved_model, tmp_path, more, says):
    with pytest.raises(ValueError, match=says):
        plan_recipe(recipe_with(tmp_path, saved_model, more))
