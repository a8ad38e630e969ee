"""A recipe runs what is not up to date and nothing else, and resumes where it was cut short, with the same result."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil

import pytest
from transformers import AutoModelForMaskedLM, AutoTokenizer

from hf_afro.cards import CardFacts
from hf_afro.cli.main import main
from hf_afro.corpora.cleaning_report import CleaningReport
from hf_afro.progress_log import LogProgress
from hf_afro.recipes import RecipeError, load_recipe, run_recipe
from hf_afro.recipes.runner import LOCK_FILE, NEEDS_DATA, TO_RESUME, TO_RUN
from hf_afro.reports.evaluation_report import load_reports
from hf_afro.steps import training
from hf_afro.steps.card import made_facts
from hf_afro.steps.plans import parameters_of
from hf_afro.steps.records import RECORD_FILE, Record
from hf_afro.steps.report import expanded
from hf_afro.steps.running import DONE, RESUMED, UP_TO_DATE

STAGES = ["prepare", "pretrain", "count", "prune", "maft", "distill", "maft-fit", "evaluate", "report", "card"]
WEIGHTS = "model.safetensors"


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
    return [result.name for result in results if result.status != UP_TO_DATE]


def first(recipe, count: int):
    """The recipe of its first stages."""
    return dataclasses.replace(recipe, stages=recipe.stages[:count])


def bits(folder) -> dict[str, float]:
    reports = [one.report for one in load_reports(expanded([str(folder / "evaluate")]))]
    return {report.name: report.mean("bits_per_byte", "bits_per_byte") for report in reports}


def test_every_stage_leaves_a_whole_folder_that_anybody_can_load(finished):
    assert sorted(path.name for path in finished.iterdir()) == sorted([*STAGES, RECORD_FILE, LOCK_FILE])
    for name in ("pretrain", "prune", "maft", "distill", "maft-fit"):
        model = AutoModelForMaskedLM.from_pretrained(finished / name)
        assert len(AutoTokenizer.from_pretrained(finished / name)) == model.config.vocab_size
        assert not [path for path in (finished / name).iterdir() if path.is_dir()]
    for name in ("pretrain", "maft", "distill", "maft-fit"):
        shares = json.loads((finished / name / training.METRICS_FILE).read_text())["unknown_share"]
        assert shares
        assert max(shares.values()) < 0.01
    assert (finished / "report" / "index.html").is_file()
    assert (finished / "card" / "README.md").read_text("utf-8").count("tiny")
    assert list(bits(finished)) == ["teacher", "pruned", "adapted", "student"]


def test_a_record_says_what_a_stage_was_made_from(finished):
    record, pruned = Record.load(finished / "maft"), Record.load(finished / "prune")
    assert list(record.inputs["model"].values()) == [pruned.key]
    assert record.settings["arguments"]["learning_rate"] == 1e-3
    assert {"hf_afro", "torch", "transformers"} <= set(record.versions)
    assert record.seconds >= 0
    assert WEIGHTS in record.files


def test_a_stage_is_the_command_with_the_same_settings(finished, tmp_path, capsys):
    """Both are one function of the same settings; the command's folder is the stage's, under another name."""
    words = ["--model", finished / "pretrain", "--counts", finished / "count", "--held_out", finished / "prepare"]
    assert main(["prune", *map(str, words), "--budget", "250", "--output_dir", str(tmp_path / "pruned")]) == 0
    capsys.readouterr()
    assert Record.load(tmp_path / "pruned").key == Record.load(finished / "prune").key
    assert (tmp_path / "pruned" / WEIGHTS).read_bytes() == (finished / "prune" / WEIGHTS).read_bytes()


def test_a_second_run_does_nothing(load, run_folder):
    assert ran(run_recipe(load(), run_folder)) == []  # which notes that the folder was moved
    before = {path: path.stat().st_mtime_ns for path in run_folder.glob("*/*")}
    assert ran(run_recipe(load(), run_folder)) == []
    assert {path: path.stat().st_mtime_ns for path in run_folder.glob("*/*")} == before


def test_a_changed_setting_reruns_its_stage_and_those_that_read_it(load, run_folder):
    foreseen = run_recipe(load("--distill.seed", "1"), run_folder, dry_run=True)
    assert ran(foreseen) == ["distill", "maft-fit", "evaluate", "report", "card"]
    assert ran(run_recipe(load("--report.title", "Other"), run_folder)) == ["report"]
    assert "Other" in (run_folder / "report" / "index.html").read_text("utf-8")


def test_changed_text_reruns_all_and_moved_text_nothing(tiny_file, data, run_folder, tmp_path):
    moved = shutil.copytree(data, tmp_path / "elsewhere")
    recipe = load_recipe(str(tiny_file), ["--data", str(moved)])
    assert ran(run_recipe(recipe, run_folder)) == []
    with (moved / "text" / "swa.txt").open("a", encoding="utf-8") as file:
        file.write("Habari mpya zimefika mjini leo asubuhi.\n")
    assert ran(run_recipe(recipe, run_folder, dry_run=True)) == STAGES


def test_a_missing_folder_of_data_is_found_in_a_dry_run_too(tiny_file, tmp_path):
    recipe = load_recipe(str(tiny_file), ["--data", str(tmp_path / "typo")])
    for dry_run in (True, False):
        with pytest.raises(
            FileNotFoundError, match="--data .*typo is not a folder; expected the one with the recipe's"
        ):
            run_recipe(recipe, tmp_path / "out", dry_run=dry_run)
    assert not (tmp_path / "out").exists()


def test_a_result_that_lost_a_file_is_made_again(load, run_folder):
    (run_folder / "report" / "index.html").unlink()
    assert ran(run_recipe(load(), run_folder)) == ["report"]
    assert (run_folder / "report" / "index.html").is_file()


def test_what_was_edited_or_added_by_hand_is_kept_beside_with_a_warning(load, run_folder, caplog):
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
        assert "tiny" in (card / "README.md").read_text("utf-8")
        assert not (card / "notes.txt").exists()
    assert ran(run_recipe(load(), run_folder)) == []


def test_what_was_added_stays_where_nothing_runs_and_hidden_files_do_not_count(load, run_folder):
    (run_folder / "report" / "notes.txt").write_text("to remember")
    (run_folder / "card" / ".DS_Store").write_text("x")
    assert ran(run_recipe(load(), run_folder)) == []
    assert (run_folder / "report" / "notes.txt").is_file()
    assert ran(run_recipe(load("--card.licence", "mit"), run_folder)) == ["card"]
    assert not list(run_folder.glob("*.edited-*"))


def test_cards_and_pages_know_how_models_were_made_where_the_whole_run_was_moved(load, run_folder, tmp_path, capsys):
    run_recipe(load(), run_folder)
    moved = run_folder.rename(tmp_path / "moved")
    words = ["card", moved / "evaluate", "--model", moved / "maft-fit", "--output_dir", tmp_path / "card"]
    assert main([*map(str, words)]) == 0
    told, first = (CardFacts.load(path / "card_facts.json") for path in (tmp_path / "card", moved / "card"))
    assert told == dataclasses.replace(first, model_name="student")
    assert main(["report", str(moved / "evaluate"), "--output_dir", str(tmp_path / "page")]) == 0
    assert "maft-fit" in (tmp_path / "page" / "index.html").read_text("utf-8")


def test_a_stage_under_another_name_is_the_same_work_and_shown_under_that_name(tiny_file, data, run_folder, tmp_path):
    (tmp_path / "renamed.yaml").write_text(tiny_file.read_text("utf-8").replace("maft-fit", "maft-more"), "utf-8")
    (run_folder / "maft-fit").rename(run_folder / "maft-more")
    results = run_recipe(load_recipe(str(tmp_path / "renamed.yaml"), ["--data", str(data)]), run_folder)
    assert ran(results) == ["card"]
    assert "maft-more" in (run_folder / "card" / "README.md").read_text("utf-8")


def test_a_model_may_be_measured_under_two_names(load, run_folder):
    models = ["--evaluate.models", "teacher=pretrain", "again=pretrain", "student=maft-fit"]
    run_recipe(load(*models), run_folder)
    assert list(bits(run_folder)) == ["teacher", "again", "student"]
    assert "again" in (run_folder / "card" / "README.md").read_text("utf-8")


class Killed(BaseException):
    """Stands for a process that ends at once."""


@pytest.fixture
def killed(load, monkeypatch):
    """Run the recipe until a training has done its third step."""

    def kill(self, args, state, control, **others):
        if state.global_step == 3:
            raise Killed

    def run(folder):
        with monkeypatch.context() as patch:
            patch.setattr(LogProgress, "on_step_end", kill)
            with pytest.raises(Killed):
                run_recipe(load(), folder)

    return run


def test_a_killed_training_resumes_from_its_checkpoint_to_the_same_weights(load, finished, run_folder, killed):
    for name in STAGES[STAGES.index("maft") :]:
        shutil.rmtree(run_folder / name)
    killed(run_folder)
    assert (run_folder / "maft.unfinished" / "checkpoint-2").is_dir()
    assert not (run_folder / "maft").exists()
    assert statuses(run_recipe(load(), run_folder, dry_run=True))["maft"] == TO_RESUME
    # A checkpoint that was being written when the process ended does not count.
    cut_short = run_folder / "maft.unfinished" / "checkpoint-3"
    cut_short.mkdir()
    (cut_short / WEIGHTS).write_bytes(b"half")
    results = statuses(run_recipe(load(), run_folder))
    assert results["maft"] == RESUMED
    assert results["distill"] == DONE
    assert (run_folder / "maft" / WEIGHTS).read_bytes() == (finished / "maft" / WEIGHTS).read_bytes()
    assert bits(run_folder) == bits(finished)
    assert not list(run_folder.glob("*.unfinished"))


def test_a_training_killed_after_its_last_step_resumes_there(load, finished, run_folder, monkeypatch):
    shutil.rmtree(run_folder / "maft")
    whole = training.write_whole

    def killed(path, text):
        if path.name == training.METRICS_FILE:
            raise Killed
        whole(path, text)

    monkeypatch.setattr(training, "write_whole", killed)
    with pytest.raises(Killed):
        run_recipe(load(), run_folder)
    assert (run_folder / "maft.unfinished" / "checkpoint-4").is_dir()
    monkeypatch.setattr(training, "write_whole", whole)
    assert ran(run_recipe(load(), run_folder)) == ["maft"]
    assert (run_folder / "maft" / WEIGHTS).read_bytes() == (finished / "maft" / WEIGHTS).read_bytes()


def test_what_is_left_of_a_stage_that_starts_over_is_no_hindrance(load, run_folder):
    facts = json.loads((run_folder / "prune" / RECORD_FILE).read_text())
    (run_folder / "prune").rename(run_folder / "prune.unfinished")
    (run_folder / "prune.unfinished" / RECORD_FILE).write_text(json.dumps({**facts, "files": None}))
    (run_folder / "prune.unfinished" / "model").mkdir()
    (run_folder / "prune.unfinished" / "model" / "config.json").write_text("{")
    results = statuses(run_recipe(load(), run_folder))
    assert results["prune"] == DONE
    assert results["maft"] == UP_TO_DATE


def test_what_is_left_of_other_settings_is_not_resumed(load, run_folder, killed):
    shutil.rmtree(run_folder / "maft")
    killed(run_folder)
    other = load("--maft.learning_rate", "1e-4")
    assert statuses(run_recipe(other, run_folder, dry_run=True))["maft"] == TO_RUN


def test_a_finished_stage_that_was_not_yet_moved_is_moved(load, run_folder):
    (run_folder / "maft").rename(run_folder / "maft.unfinished")
    results = statuses(run_recipe(load(), run_folder))
    assert results["maft"] == RESUMED
    assert results["distill"] == UP_TO_DATE


def test_a_stage_killed_while_it_was_moved_is_whole_and_hides_nothing(load, run_folder):
    shutil.copytree(run_folder / "maft", run_folder / "maft.unfinished.replaced")
    (run_folder / "prune").rename(run_folder / "prune.unfinished")
    shutil.copytree(run_folder / "prune.unfinished", run_folder / "prune.unfinished.replaced")
    assert set(ran(run_recipe(load(), run_folder))) <= {"prune"}
    assert not [path for path in run_folder.iterdir() if ".unfinished" in path.name]


def test_what_a_killed_run_was_writing_is_removed(load, run_folder):
    left = run_folder / f".{RECORD_FILE}.0123456789abcdef.part"
    left.write_text("{")
    assert ran(run_recipe(load(), run_folder)) == []
    assert not left.exists()


def test_a_run_killed_at_its_first_file_is_no_hindrance(load, tmp_path):
    (tmp_path / LOCK_FILE).touch()
    (tmp_path / f".{RECORD_FILE}.0123456789abcdef.part").write_text("{")
    with pytest.raises(ValueError, match="nothing is left of"):  # which is the first stage's failure
        run_recipe(load("--prepare.min_tokens", "1000"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([RECORD_FILE, LOCK_FILE])


def test_a_stage_that_fails_before_a_checkpoint_leaves_nothing(load, tmp_path):
    with pytest.raises(ValueError, match="does not hold the") as caught:
        run_recipe(load("--prune.budget", "5"), tmp_path / "out")
    assert caught.value.__notes__[0].startswith("stage prune: ")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [RECORD_FILE, LOCK_FILE, "prepare", "count", "pretrain"]
    )


def test_a_failure_of_the_first_stage_takes_new_folders_with_it_and_leaves_an_empty_one_empty(load, tmp_path):
    (tmp_path / "there").mkdir()
    for folder in (tmp_path / "deep" / "er" / "out", tmp_path / "there"):
        with pytest.raises(ValueError, match="nothing is left of") as caught:
            run_recipe(load("--prepare.min_tokens", "1000"), folder)
        assert caught.value.__notes__[0].startswith("stage prepare: ")
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


def test_a_checkpoint_cut_short_is_not_kept(load, run_folder, monkeypatch):
    shutil.rmtree(run_folder / "prune")

    def full(config, folder):
        (folder / "checkpoint-2").mkdir()
        (folder / "checkpoint-2" / WEIGHTS).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    recipe = load()
    stages = [
        dataclasses.replace(stage, step=dataclasses.replace(stage.step, run=full)) if stage.name == "prune" else stage
        for stage in recipe.stages
    ]
    with pytest.raises(OSError, match="No space"):
        run_recipe(dataclasses.replace(recipe, stages=tuple(stages)), run_folder)
    assert not list(run_folder.glob("*.unfinished"))


def test_a_dry_run_writes_nothing_and_needs_no_data(tiny_file, tmp_path):
    results = run_recipe(load_recipe(str(tiny_file)), tmp_path / "out", dry_run=True)
    assert list(tmp_path.iterdir()) == []
    assert {result.status for result in results} == {NEEDS_DATA}
    plans = {result.name: result.plan for result in results}
    assert plans["pretrain"].parameters == parameters_of(plans["pretrain"].model) > 0
    assert plans["maft"].tokens == 4 * 4 * 32
    with pytest.raises(
        RecipeError, match=r"line 3: prepare reads \$\{data\}/text; name the folder of data with --data"
    ):
        run_recipe(load_recipe(str(tiny_file)), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_plan_agrees_with_what_comes_out(load, finished):
    sized = [result for result in run_recipe(load(), finished, dry_run=True) if result.plan.parameters is not None]
    assert [result.name for result in sized] == ["pretrain", "prune", "maft", "distill", "maft-fit"]
    for result in sized:
        model = AutoModelForMaskedLM.from_pretrained(result.folder)
        planned = result.plan.model
        planned.vocab_size = model.config.vocab_size
        assert parameters_of(planned) == model.num_parameters() <= result.plan.parameters


def test_a_missing_file_is_found_before_anything_runs(load, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"line 6: pretrain: --tokenizer .*nowhere does not exist"):
        run_recipe(load("--pretrain.tokenizer", str(tmp_path / "nowhere")), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--distill.student", "layers=1,hidden_size=48"], r"line \d+: distill: hidden_size 48 is wider than the tea"),
        (
            ["--distill.num_relation_heads", "3"],
            r"distill: num_relation_heads is 3, which does not divide both",
        ),
        (["--distill.teacher_layer", "3"], r"distill: teacher_layer is 3; the teacher has 2"),
        (["--maft.max_length", "33"], r"maft: max_length is 33; the model takes 32 tokens"),
        (["--prepare.eval_lines", "0"], r"evaluate: text is 'prepare', which holds no lines out \(eval_lines is 0\)"),
        (["--card.model", "distill"], r"card: model is 'distill', which evaluate does not measure; expected one of"),
        (
            ["--maft-fit.languages", "ibo"],
            r"line \d+: maft-fit: there is no text in ibo; there is text in amh, swa, yor",
        ),
        (["--evaluate.languages", "swa", "hau"], r"evaluate: there is no text in hau; there is text in amh, swa, yor"),
        (["--count.languages", "hau"], r"count: there is no text in hau"),
        (["--prepare.languages", "hau"], r"line 3: prepare: .*hau"),
    ],
)
def test_what_is_known_to_be_impossible_is_refused_before_anything_runs(load, tmp_path, words, message):
    with pytest.raises(RecipeError, match=message):
        run_recipe(load(*words), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_not_touched(load, tmp_path):
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(ValueError, match="is not empty and was not made by hf-afro run"):
        run_recipe(load(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_that_holds_what_is_read_is_refused(load, run_folder):
    with pytest.raises(ValueError, match=r"line 6: pretrain reads .*maft, which is in --output_dir .*; name another"):
        run_recipe(load("--pretrain.tokenizer", str(run_folder / "maft")), run_folder)


def test_text_that_is_not_utf8_is_skipped_on_request(data, tiny_file, tmp_path):
    copied = shutil.copytree(data, tmp_path / "data")
    (copied / "text" / "hau.txt").write_bytes(b"caf\xe9\n" + "Malami ya ce ɗalibai su karanta littafi.\n".encode() * 9)
    words = ["--data", str(copied), "--prepare.errors"]
    with pytest.raises(ValueError, match=r"hau\.txt, line 1"):
        run_recipe(load_recipe(str(tiny_file), [*words, "fail"]), tmp_path / "out")
    (result,) = run_recipe(first(load_recipe(str(tiny_file), [*words, "skip"]), 1), tmp_path / "out")
    assert result.facts["languages"] == 4


def test_a_student_is_distilled_without_held_out_lines(load, tmp_path):
    recipe = load("--prepare.eval_lines", "0", "--distill.languages", "swa")
    assert run_recipe(first(recipe, STAGES.index("distill") + 1), tmp_path / "out")[-1].status == DONE


def test_lines_beyond_max_lines_are_counted_as_left_out(load, tmp_path):
    (result,) = run_recipe(first(load("--prepare.max_lines", "5"), 1), tmp_path / "out")
    report = CleaningReport.load(result.folder / "cleaning.json")
    assert result.facts["lines_kept"] == sum(report.kept.values()) == 15
    assert report.dropped["swa"]["beyond max_lines"] > 5


@pytest.mark.parametrize(
    ("model", "head"),
    [("prune", "kept"), ("maft", "kept"), ("distill", "untrained"), ("maft-fit", "fitted_after_distillation")],
)
def test_a_card_has_the_languages_trained_on_and_what_became_of_the_head(load, finished, tmp_path, model, head):
    loaded = load_reports(expanded([str(finished / "evaluate")]))[0].report
    facts = made_facts(CardFacts.of_report(loaded), dataclasses.replace(loaded, model={}), finished / model)
    assert (facts.languages, facts.head) == (("amh", "swa", "yor"), head)
    assert facts.from_scratch
    assert list(facts.settings)[0] == "prepare"


def test_a_card_has_the_languages_that_were_trained_on_last(load, run_folder):
    run_recipe(load("--maft-fit.languages", "yor"), run_folder)
    facts = CardFacts.load(run_folder / "card" / "card_facts.json")
    assert (facts.model_name, facts.languages, facts.searched) == ("tiny", ("yor",), 0)


def test_two_runs_in_one_folder_are_refused(load, run_folder):
    with (run_folder / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another run is writing"):
            run_recipe(load(), run_folder)


def test_several_processes_are_refused(load, tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="a recipe runs in one process"):
        run_recipe(load(), tmp_path / "out")
