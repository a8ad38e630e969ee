"""A recipe runs what is not up to date and nothing else, and goes on where it was cut short to the same end."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil

import pytest
from transformers import AutoModelForMaskedLM, AutoTokenizer, TrainerCallback

from hf_afro.corpora.cleaning_report import CleaningReport
from hf_afro.recipes import RecipeError, load_recipe, run_recipe
from hf_afro.recipes.folders import RUN_FILE
from hf_afro.recipes.manifest import MANIFEST
from hf_afro.recipes.runner import CONTINUED, DONE, LOCK_FILE, TO_CONTINUE, TO_RUN, UNKNOWN, UP_TO_DATE
from hf_afro.recipes.stages import StageContext, training
from hf_afro.recipes.stages.evaluation import read_reports
from tests.recipes.conftest import facts_of_card

STAGES = ["corpora", "teacher", "count", "prune", "maft", "distill", "fit", "evaluate", "report", "card"]


@pytest.fixture(scope="module")
def load(tiny_file, data):
    def load(*words):
        return load_recipe(str(tiny_file), ["--data", str(data), *words])

    return load


@pytest.fixture(scope="module")
def finished(load, tmp_path_factory):
    """The output of a whole run; not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    results = run_recipe(load(), folder)
    assert [(result.name, result.status) for result in results] == [(name, DONE) for name in STAGES]
    return folder


@pytest.fixture
def run_folder(finished, tmp_path):
    """A copy of it."""
    return shutil.copytree(finished, tmp_path / "tiny")


def statuses(results) -> dict[str, str]:
    return {result.name: result.status for result in results}


def ran(results) -> list[str]:
    return [result.name for result in results if result.status not in (UP_TO_DATE,)]


def bits(folder) -> dict[str, float]:
    reports = read_reports(folder / "evaluate").values()
    return {report.name: report.mean("bits_per_byte", "bits_per_byte") for report in reports}


def test_every_stage_leaves_a_whole_folder_that_anybody_can_load(finished):
    assert sorted(path.name for path in finished.iterdir()) == sorted([*STAGES, RUN_FILE, LOCK_FILE])
    for name in ("teacher", "prune", "maft", "distill", "fit"):
        model = AutoModelForMaskedLM.from_pretrained(finished / name)
        assert len(AutoTokenizer.from_pretrained(finished / name)) == model.config.vocab_size
        assert not list((finished / name).glob("checkpoint-*"))
    for name in ("teacher", "maft", "distill", "fit"):
        shares = json.loads((finished / name / training.METRICS_FILE).read_text())["unknown_share"]
        assert shares
        assert max(shares.values()) < 0.01
    assert (finished / "report" / "index.html").is_file()
    assert (finished / "card" / "README.md").is_file()
    assert set(bits(finished)) == {"teacher", "pruned", "adapted", "student"}


def test_a_manifest_says_what_a_stage_was_made_from(finished):
    manifest = json.loads((finished / "maft" / MANIFEST).read_text())
    pruned = json.loads((finished / "prune" / MANIFEST).read_text())
    assert manifest["inputs"]["prune"] == pruned["key"]
    assert manifest["settings"]["learning_rate"] == 1e-3
    assert {"hf_afro", "torch", "transformers"} <= set(manifest["versions"])
    assert manifest["seconds"] >= 0
    assert "model.safetensors" in manifest["files"]
    assert json.loads((finished / "corpora" / MANIFEST).read_text())["outside"]


def test_a_second_run_does_nothing(load, run_folder):
    before = {path: path.stat().st_mtime_ns for path in run_folder.glob("*/*")}
    results = run_recipe(load(), run_folder)
    assert ran(results) == []
    assert {path: path.stat().st_mtime_ns for path in run_folder.glob("*/*")} == before


def test_a_changed_setting_reruns_its_stage_and_what_reads_it(load, run_folder):
    foreseen = run_recipe(load("--distill.seed", "1"), run_folder, dry_run=True)
    assert ran(foreseen) == ["distill", "fit", "evaluate", "report", "card"]
    results = run_recipe(load("--report.title", "Other"), run_folder)
    assert ran(results) == ["report"]
    assert "Other" in (run_folder / "report" / "index.html").read_text("utf-8")


def test_changed_text_reruns_all_and_moved_text_nothing(load, data, tiny_file, run_folder, tmp_path):
    moved = shutil.copytree(data, tmp_path / "elsewhere")
    recipe = load_recipe(str(tiny_file), ["--data", str(moved)])
    assert ran(run_recipe(recipe, run_folder, dry_run=True)) == []
    with (moved / "text" / "swa.txt").open("a", encoding="utf-8") as file:
        file.write("Habari mpya zimefika mjini leo asubuhi.\n")
    assert ran(run_recipe(recipe, run_folder, dry_run=True)) == STAGES


def test_a_result_that_lost_a_file_is_made_again(load, run_folder):
    (run_folder / "report" / "index.html").unlink()
    assert ran(run_recipe(load(), run_folder)) == ["report"]
    assert (run_folder / "report" / "index.html").is_file()


def test_what_was_edited_or_added_by_hand_is_kept_beside_and_said(load, run_folder, caplog):
    card = run_folder / "card"
    for number, text in ((1, "mine"), (2, "mine again")):
        (card / "README.md").write_text(text)
        (card / "notes.txt").write_text("to remember")
        with caplog.at_level("WARNING", logger="hf_afro"):
            assert ran(run_recipe(load(), run_folder)) == ["card"]
        kept = run_folder / f"card.edited-{number}"
        assert f"card: README.md, notes.txt changed or added by hand; kept in {kept}" in caplog.text
        assert (kept / "README.md").read_text() == text
        assert (kept / "notes.txt").is_file()
        assert "Bits a byte" in (card / "README.md").read_text("utf-8")
        assert not (card / "notes.txt").exists()
    assert ran(run_recipe(load(), run_folder)) == []


def test_what_was_added_stays_where_nothing_runs_and_hidden_files_are_nobodys_work(load, run_folder):
    (run_folder / "report" / "notes.txt").write_text("to remember")
    (run_folder / "card" / ".DS_Store").write_text("x")
    assert ran(run_recipe(load(), run_folder)) == []
    assert (run_folder / "report" / "notes.txt").is_file()
    assert ran(run_recipe(load("--card.license", "mit"), run_folder)) == ["card"]
    assert not list(run_folder.glob("*.edited-*"))


def test_a_stage_under_another_name_is_the_same_work_and_shown_under_that_name(tiny_file, data, run_folder, tmp_path):
    renamed = tiny_file.read_text("utf-8").replace("fit:", "fit-more:").replace(": fit", ": fit-more")
    (tmp_path / "renamed.yaml").write_text(renamed, "utf-8")
    (run_folder / "fit").rename(run_folder / "fit-more")
    results = run_recipe(load_recipe(str(tmp_path / "renamed.yaml"), ["--data", str(data)]), run_folder)
    assert ran(results) == ["report", "card"]
    assert "fit-more" in (run_folder / "report" / "index.html").read_text("utf-8")
    assert "fit-more" in (run_folder / "card" / "README.md").read_text("utf-8")


def test_a_recipe_under_another_name_says_so_in_page_and_card(load, run_folder):
    assert ran(run_recipe(load("--name", "other"), run_folder, dry_run=True)) == ["report", "card"]
    assert ran(run_recipe(load("--description", "other"), run_folder)) == ["report", "card"]


def test_a_model_may_be_measured_under_two_names(load, run_folder):
    models = "{teacher: teacher, again: teacher, student: fit}"
    run_recipe(load("--evaluate.models", models), run_folder)
    assert list(bits(run_folder)) == list(read_reports(run_folder / "evaluate")) == ["teacher", "again", "student"]
    assert "again" in (run_folder / "card" / "README.md").read_text("utf-8")


class Killed(BaseException):
    """Stands for a process that ends at once."""


def killed_at(monkeypatch, step: int) -> None:
    class Killer(TrainerCallback):
        def on_step_end(self, args, state, control, **others):
            if state.global_step == step:
                raise Killed

    kept = training.StepProgress

    def both(progress):
        return Killer()

    monkeypatch.setattr(training, "StepProgress", both)
    return kept


def test_a_killed_training_goes_on_from_its_checkpoint_to_the_same_weights(load, finished, run_folder, monkeypatch):
    for name in STAGES[STAGES.index("maft") :]:
        shutil.rmtree(run_folder / name)
    kept = killed_at(monkeypatch, 3)
    with pytest.raises(Killed):
        run_recipe(load(), run_folder)
    assert (run_folder / "maft.unfinished" / "checkpoint-2").is_dir()
    assert not (run_folder / "maft").exists()
    monkeypatch.setattr(training, "StepProgress", kept)
    assert statuses(run_recipe(load(), run_folder, dry_run=True))["maft"] == TO_CONTINUE
    # A checkpoint that was being written when the process ended does not count.
    cut_short = run_folder / "maft.unfinished" / "checkpoint-3"
    cut_short.mkdir()
    (cut_short / "model.safetensors").write_bytes(b"half")
    results = statuses(run_recipe(load(), run_folder))
    assert results["maft"] == CONTINUED
    assert results["distill"] == DONE
    weights = "model.safetensors"
    assert (run_folder / "maft" / weights).read_bytes() == (finished / "maft" / weights).read_bytes()
    assert bits(run_folder) == bits(finished)
    assert not list(run_folder.glob("*.unfinished"))


def test_a_training_killed_after_its_last_step_goes_on_from_there(load, finished, run_folder, monkeypatch):
    shutil.rmtree(run_folder / "maft")
    whole = StageContext.write_json

    def killed(self, name, facts):
        if name == training.METRICS_FILE:
            raise Killed
        whole(self, name, facts)

    monkeypatch.setattr(StageContext, "write_json", killed)
    with pytest.raises(Killed):
        run_recipe(load(), run_folder)
    assert (run_folder / "maft.unfinished" / "checkpoint-4").is_dir()
    monkeypatch.setattr(StageContext, "write_json", whole)
    assert ran(run_recipe(load(), run_folder)) == ["maft"]
    weights = "model.safetensors"
    assert (run_folder / "maft" / weights).read_bytes() == (finished / "maft" / weights).read_bytes()


def test_what_is_left_of_a_stage_that_starts_over_is_no_hindrance(load, run_folder):
    manifest = json.loads((run_folder / "prune" / MANIFEST).read_text())
    del manifest["files"]
    (run_folder / "prune").rename(run_folder / "prune.unfinished")
    (run_folder / "prune.unfinished" / MANIFEST).write_text(json.dumps(manifest))
    (run_folder / "prune.unfinished" / "model").mkdir()
    (run_folder / "prune.unfinished" / "model" / "config.json").write_text("{")
    results = statuses(run_recipe(load(), run_folder))
    assert results["prune"] == DONE
    assert results["maft"] == UP_TO_DATE


def test_what_is_left_of_other_settings_is_not_gone_on_with(load, run_folder, monkeypatch):
    shutil.rmtree(run_folder / "maft")
    kept = killed_at(monkeypatch, 3)
    with pytest.raises(Killed):
        run_recipe(load(), run_folder)
    monkeypatch.setattr(training, "StepProgress", kept)
    other = load("--maft.learning_rate", "1e-4")
    assert statuses(run_recipe(other, run_folder, dry_run=True))["maft"] == TO_RUN


def test_a_finished_stage_that_was_not_yet_moved_is_moved(load, run_folder):
    (run_folder / "maft").rename(run_folder / "maft.unfinished")
    results = statuses(run_recipe(load(), run_folder))
    assert results["maft"] == CONTINUED
    assert results["distill"] == UP_TO_DATE


def test_a_stage_killed_while_it_was_moved_is_whole_and_hides_nothing(load, run_folder):
    shutil.copytree(run_folder / "maft", run_folder / "maft.unfinished.replaced")
    (run_folder / "prune").rename(run_folder / "prune.unfinished")
    shutil.copytree(run_folder / "prune.unfinished", run_folder / "prune.unfinished.replaced")
    assert ran(run_recipe(load(), run_folder)) == []
    assert not [path for path in run_folder.iterdir() if ".unfinished" in path.name]


def test_what_a_killed_run_was_writing_is_removed(load, run_folder):
    left = [folder / f".{MANIFEST}.0123456789abcdef.part" for folder in (run_folder, run_folder / "maft")]
    for path in left:
        path.write_text("{")
    assert ran(run_recipe(load(), run_folder)) == []
    assert not any(path.exists() for path in left)


def test_a_run_killed_at_its_first_file_is_no_hindrance(load, tmp_path):
    (tmp_path / LOCK_FILE).touch()
    (tmp_path / f".{RUN_FILE}.0123456789abcdef.part").write_text("{")
    with pytest.raises(ValueError, match="nothing is left of"):  # which is the first stage's failure
        run_recipe(load("--corpora.min_tokens", "1000"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([RUN_FILE, LOCK_FILE])


def test_a_stage_that_fails_before_a_checkpoint_leaves_nothing(load, tmp_path):
    with pytest.raises(ValueError, match="does not hold the"):
        run_recipe(load("--prune.budget", "5"), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [RUN_FILE, LOCK_FILE, "corpora", "count", "teacher"]
    )


def test_a_failure_of_the_first_stage_leaves_nothing_at_all(load, tmp_path):
    with pytest.raises(ValueError, match="nothing is left of"):
        run_recipe(load("--corpora.min_tokens", "1000"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_writes_nothing_and_needs_no_data(tiny_file, tmp_path):
    results = run_recipe(load_recipe(str(tiny_file)), tmp_path / "out", dry_run=True)
    assert list(tmp_path.iterdir()) == []
    assert {result.status for result in results} == {UNKNOWN}
    plans = {result.name: result.plan for result in results}
    assert plans["teacher"].parameters == plans["teacher"].architecture.parameters > 0
    assert plans["maft"].tokens == 4 * 4 * 32
    with pytest.raises(
        RecipeError, match=r"line 3: corpora reads \$\{data\}/text; name the folder of data with --data"
    ):
        run_recipe(load_recipe(str(tiny_file)), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_plan_agrees_with_what_comes_out(load, finished):
    for result in run_recipe(load(), finished, dry_run=True):
        if result.plan.parameters is not None:
            model = AutoModelForMaskedLM.from_pretrained(result.folder)
            at_most = result.plan.parameters
            rows = model.config.vocab_size
            assert result.plan.architecture.with_(vocab_size=rows).parameters == model.num_parameters() <= at_most


def test_a_missing_file_is_found_before_anything_runs(load, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"line 6: teacher reads .*nowhere, which does not exist"):
        run_recipe(load("--teacher.tokenizer", str(tmp_path / "nowhere")), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--distill.hidden_size", "48"], r"line \d+: distill: hidden_size is 48; expected at most the teacher's 32"),
        (["--distill.num_relation_heads", "3"], r"distill: num_relation_heads is 3, .* legal are 1, 2, 4, 8, 16"),
        (["--distill.teacher_layer", "3"], r"distill: teacher_layer is 3; the teacher has 2"),
        (["--maft.max_length", "33"], r"maft: max_length is 33; the model takes 32 tokens"),
        (["--maft.arguments.fp1", "true"], r"maft: arguments\.fp1 is no field .*; the nearest is 'fp16'"),
        (["--corpora.held_out_lines", "0"], r"evaluate: text is 'corpora', which holds no lines out \(held_out_lines"),
        (["--maft.arguments.output_dir", "x"], r"maft: arguments\.output_dir is decided by the recipe; leave it out"),
        (["--maft.arguments.save_strategy", "no"], r"arguments\.save_strategy is decided by the recipe"),
        (["--card.model", "distill"], r"card: model is 'distill', which evaluate does not measure; expected one of"),
    ],
)
def test_what_can_be_known_to_be_impossible_is_known_before_anything_runs(load, tmp_path, words, message):
    with pytest.raises(RecipeError, match=message):
        run_recipe(load(*words), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_not_touched(load, tmp_path):
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(ValueError, match="is not empty and was not made by hf-afro run"):
        run_recipe(load(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_that_holds_what_is_read_is_refused(load, run_folder):
    with pytest.raises(
        ValueError, match=r"line 6: teacher reads .*maft, which is in --output_dir .*name another folder"
    ):
        run_recipe(load("--teacher.tokenizer", str(run_folder / "maft")), run_folder)


def test_a_failure_takes_the_folders_above_with_it_and_leaves_an_empty_one_empty(load, tmp_path):
    (tmp_path / "there").mkdir()
    for folder in (tmp_path / "deep" / "er" / "out", tmp_path / "there"):
        with pytest.raises(ValueError, match="nothing is left of") as caught:
            run_recipe(load("--corpora.min_tokens", "1000"), folder)
        assert caught.value.__notes__[0].startswith("stage corpora: ")
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


def test_a_checkpoint_cut_short_is_not_worth_keeping(load, run_folder, monkeypatch):
    shutil.rmtree(run_folder / "maft")

    def full(context):
        (context.folder / "checkpoint-2").mkdir()
        (context.folder / "checkpoint-2" / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training, "run_maft", full)
    with pytest.raises(OSError, match="No space"):
        run_recipe(load(), run_folder)
    assert not list(run_folder.glob("*.unfinished"))


def test_text_that_is_not_utf8_is_skipped_where_that_is_asked_for(load, data, tiny_file, tmp_path):
    copied = shutil.copytree(data, tmp_path / "data")
    (copied / "text" / "hau.txt").write_bytes(b"caf\xe9\n" + "Malami ya ce ɗalibai su karanta littafi.\n".encode() * 9)
    words = ["--data", str(copied), "--corpora.held_out_lines", "0", "--corpora.errors"]
    with pytest.raises(ValueError, match=r"hau\.txt, line 1"):
        run_recipe(load_recipe(str(tiny_file), [*words, "fail"]), tmp_path / "out")
    recipe = load_recipe(str(tiny_file), [*words, "skip"])
    only = dataclasses.replace(recipe, stages=recipe.stages[:1])
    (result,) = run_recipe(only, tmp_path / "out")
    assert result.facts["languages"] == 4


def test_languages_that_a_later_stage_names_are_looked_for_before_anything_is_trained(data, tiny_file, tmp_path):
    copied = shutil.copytree(data, tmp_path / "data")
    (copied / "text" / "hau.txt").write_text("Malami ya ce ɗalibai su karanta littafi.\n" * 9, "utf-8")
    for words, message in (
        (["--evaluate.languages", "swa, hau"], r"evaluate: corpora holds no lines of hau out; .* ten lines or more"),
        (["--fit.languages", "ibo"], r"line \d+: fit: corpora has no text of ibo; it has amh, hau, swa, yor"),
    ):
        with pytest.raises(RecipeError, match=message):
            run_recipe(load_recipe(str(tiny_file), ["--data", str(copied), *words]), tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_without_lines_held_out_a_student_is_distilled_all_the_same(load, tmp_path):
    recipe = load("--corpora.held_out_lines", "0", "--distill.languages", "swa")
    upto = dataclasses.replace(recipe, stages=recipe.stages[: STAGES.index("distill") + 1])
    assert run_recipe(upto, tmp_path / "out")[-1].status == DONE


def test_lines_beyond_those_wanted_are_counted_as_left_out(load, tmp_path):
    recipe = load("--corpora.max_lines", "5")
    (result,) = run_recipe(dataclasses.replace(recipe, stages=recipe.stages[:1]), tmp_path / "out")
    report = CleaningReport.load(result.folder / "cleaning.json")
    assert result.facts["lines_kept"] == sum(report.kept.values()) == 15
    assert report.dropped["swa"]["beyond max_lines"] > 5


@pytest.mark.parametrize(
    ("model", "head"),
    [("prune", "kept"), ("maft", "kept"), ("distill", "untrained"), ("fit", "fitted_after_distillation")],
)
def test_a_card_has_the_languages_trained_on_and_what_became_of_the_head(load, finished, model, head):
    words = ["--evaluate.models", f"{{one: {model}}}", "--card.model", model, "--count.languages", "swa"]
    facts = facts_of_card(load(*words), finished)
    assert (facts.languages, facts.head) == (("amh", "swa", "yor"), head)


def test_a_card_has_the_languages_that_were_trained_on_last(load, finished):
    assert facts_of_card(load("--teacher.languages", "swa"), finished).languages == ("amh", "swa", "yor")
    assert facts_of_card(load("--fit.languages", "yor"), finished).languages == ("yor",)


def test_two_runs_in_one_folder_are_refused(load, run_folder):
    import fcntl

    with (run_folder / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another run is at work"):
            run_recipe(load(), run_folder)


def test_several_processes_are_refused(load, tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="a recipe runs in one process"):
        run_recipe(load(), tmp_path / "out")
