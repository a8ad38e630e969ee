"""A step leaves a whole folder or nothing, resumes what was cut short, and never takes away what is not its own."""

from __future__ import annotations

import os

import pytest

from hf_afro.steps import records
from hf_afro.steps.records import RECORD_FILE, Record
from hf_afro.steps.running import DONE, RESUMED, UP_TO_DATE, check_inputs, run_step
from hf_afro.steps.step import Outcome
from tests.steps.small import Config, interrupt, make, names, save_checkpoint, step_of, write_result

KINDS = pytest.mark.parametrize("resumable", [True, False])


def fail(config, folder):
    (folder / "result").write_text("half")
    raise KeyError


def test_the_folder_appears_at_the_end_with_its_record(tmp_path):
    target = tmp_path / "deep" / "out"

    def run(config, folder):
        assert not target.exists()
        return write_result(config, folder)

    finished = make(target, run)
    assert (finished.status, finished.text) == (DONE, "one line")
    assert names(target) == [RECORD_FILE, "result"]
    assert names(target.parent) == ["out"]
    record = Record.load(target)
    assert record == finished.record
    assert (record.step, record.settings["steps"], record.facts) == ("small", 3, {"lines": 1})
    assert record.is_whole(target)


@KINDS
def test_an_error_leaves_nothing(tmp_path, resumable):
    with pytest.raises(KeyError):
        make(tmp_path / "out", fail, resumable=resumable)
    assert names(tmp_path) == []


def test_an_error_takes_the_folders_above_with_it(tmp_path):
    (tmp_path / "there").mkdir()
    target = tmp_path / "there" / "deep" / "er" / "out"

    def fail_beside(config, folder):
        (tmp_path / "there" / "deep" / "thesis.tex").write_text("")
        raise KeyError

    with pytest.raises(KeyError):
        make(target, fail)
    assert names(tmp_path / "there") == []
    with pytest.raises(KeyError):
        make(target, fail_beside)
    assert names(tmp_path / "there" / "deep") == ["thesis.tex"]


@KINDS
def test_an_error_in_writing_the_record_leaves_nothing(tmp_path, monkeypatch, resumable):
    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records, "write_whole", full)
    with pytest.raises(OSError, match="No space"):
        make(tmp_path / "out", resumable=resumable)
    assert names(tmp_path) == []


def test_the_record_stays_readable_where_it_cannot_be_written_again(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "out", interrupt, resumable=True)

    def full(path, text, **how):
        with path.open("w") as file:
            file.write(text[: len(text) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_text", full)
        with pytest.raises(OSError, match="No space"):
            make(tmp_path / "out", resumable=True)
    assert names(tmp_path / "out.unfinished") == ["checkpoint-2", RECORD_FILE]
    assert make(tmp_path / "out", resumable=True).status == RESUMED


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "out").mkdir()
    make(tmp_path / "out")
    assert names(tmp_path / "out") == [RECORD_FILE, "result"]
    assert names(tmp_path) == ["out"]


def test_a_filled_folder_is_refused_and_with_overwrite_replaced_whole(tmp_path):
    def other(config, folder):
        (folder / "other").write_text("")
        return Outcome()

    make(tmp_path / "out")
    with pytest.raises(ValueError, match="out is finished already, by `hf-afro small`: use it as it is, name a new"):
        make(tmp_path / "out", other)
    assert names(tmp_path / "out") == [RECORD_FILE, "result"]
    with pytest.raises(KeyError):
        make(tmp_path / "out", fail, overwrite=True)
    assert names(tmp_path / "out") == [RECORD_FILE, "result"]
    (tmp_path / "out.replaced").mkdir()  # of somebody else
    make(tmp_path / "out", other, overwrite=True)
    assert names(tmp_path / "out") == [RECORD_FILE, "other"]
    assert names(tmp_path) == ["out", "out.replaced"]


def test_overwrite_touches_no_folder_of_somebody_else(tmp_path):
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(ValueError, match="was not made by hf-afro"):
        make(tmp_path, overwrite=True)
    assert names(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize("overwrite", [True, False])
def test_an_unfinished_folder_of_somebody_else_is_not_touched(tmp_path, overwrite):
    (tmp_path / "out.unfinished").mkdir()
    (tmp_path / "out.unfinished" / "thesis.tex").write_text("half of it")
    with pytest.raises(ValueError, match="was not made by hf-afro; move it away"):
        make(tmp_path / "out", resumable=True, overwrite=overwrite)
    make(tmp_path / "out", overwrite=overwrite)  # which works elsewhere
    assert names(tmp_path / "out.unfinished") == ["thesis.tex"]


def test_a_target_that_is_or_lies_below_a_file_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(ValueError, match="is a file; name a new folder"):
        make(tmp_path / "thesis.tex")
    with pytest.raises(ValueError, match=r"cannot be made: .*thesis\.tex is a file; name another folder"):
        make(tmp_path / "thesis.tex" / "deep" / "out")


def test_another_process_than_the_main_one_moves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    folders = []
    make(tmp_path / "out", lambda config, folder: folders.append(folder) or Outcome(), resumable=True)
    assert folders == [tmp_path / "out.unfinished"]
    assert names(tmp_path) == []


def test_several_processes_are_for_trainers(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="small runs in one process; start it without accelerate launch"):
        make(tmp_path / "out")


@KINDS
def test_a_second_run_into_one_folder_is_refused_and_disturbs_nothing(tmp_path, resumable):
    target = tmp_path / "deep" / "out"

    def run(config, folder):
        (folder / "result").write_text("1")
        for overwrite in (False, True):
            with pytest.raises(ValueError, match=r"another run is writing .*out; wait for it, or name another folder"):
                make(target, resumable=resumable, overwrite=overwrite)
        assert make(tmp_path / "other").status == DONE  # which does not wait
        return Outcome()

    make(target, run, resumable=resumable)
    assert names(target) == [RECORD_FILE, "result"]
    assert names(target.parent) == ["out"]


@KINDS
@pytest.mark.parametrize("overwrite", [True, False])
def test_what_appears_at_the_target_meanwhile_is_not_replaced_and_the_result_is_kept(tmp_path, resumable, overwrite):
    (tmp_path / "out.finished-1").mkdir()

    def run(config, folder):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.tex").write_text("all of it")
        return write_result(config, folder)

    with pytest.raises(ValueError, match=r"out (is not empty|was not made by hf-afro).*is in .*out\.finished-2"):
        make(tmp_path / "out", run, resumable=resumable, overwrite=overwrite)
    assert names(tmp_path / "out") == ["thesis.tex"]
    assert names(tmp_path / "out.finished-2") == [RECORD_FILE, "result"]
    assert names(tmp_path) == ["out", "out.finished-1", "out.finished-2"]


def killed(work) -> None:
    """Do some work in a process of its own, which has to end by `os._exit(9)`."""
    process = os.fork()
    if process == 0:
        try:
            work()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 9


def dying(config, folder):
    (folder / "other").write_text("other")
    os._exit(9)


@KINDS
@pytest.mark.parametrize("moves", [1, 2], ids=["once the former is aside", "once the new one is in place"])
def test_a_run_killed_while_it_moved_its_result_has_left_it(tmp_path, resumable, moves):
    def other(config, folder):
        (folder / "other").write_text("other")
        return Outcome()

    def work():
        replace, left = os.replace, [moves]

        def dying_replace(source, place):
            replace(source, place)
            left[0] -= os.path.isdir(place)
            if not left[0]:
                os._exit(9)

        os.replace = dying_replace
        make(tmp_path / "out", other, resumable=resumable, overwrite=True)

    make(tmp_path / "out")
    killed(work)
    assert (tmp_path / "out").exists() == (moves == 2)
    with pytest.raises(ValueError, match="is finished already"):
        make(tmp_path / "out", resumable=resumable)
    assert names(tmp_path / "out") == [RECORD_FILE, "other"]
    make(tmp_path / "out", resumable=resumable, overwrite=True)
    assert names(tmp_path) == ["out"]


@KINDS
def test_what_a_killed_run_was_writing_is_removed_by_the_next(tmp_path, resumable):
    killed(lambda: make(tmp_path / "out", dying, resumable=resumable))
    assert len(names(tmp_path)) == 2  # the folder and its lock, which holds nobody up
    make(tmp_path / "out", resumable=resumable)
    assert names(tmp_path / "out") == [RECORD_FILE, "result"]
    assert names(tmp_path) == ["out"]


def test_a_run_killed_before_it_moved_its_result_is_only_moved(tmp_path):
    def work():
        os.replace = lambda source, place, replace=os.replace: (
            os._exit(9) if os.path.isdir(source) else replace(source, place)
        )
        make(tmp_path / "out", resumable=True)

    killed(work)
    assert make(tmp_path / "out", fail, resumable=True).status == RESUMED
    assert names(tmp_path / "out") == [RECORD_FILE, "result"]


def interrupted(target, *, checkpoint: bool = True, **settings) -> None:
    def run(config, folder):
        if checkpoint:
            save_checkpoint(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as interruption:
        make(target, run, resumable=True, **settings)
    kept = f"; {target}.unfinished/checkpoint-2 is kept, and the same command resumes from it"
    assert str(interruption.value) == (kept if checkpoint else "")


def test_an_interrupted_run_with_a_checkpoint_is_resumed(tmp_path):
    interrupted(tmp_path / "out")
    assert names(tmp_path) == ["out.unfinished"]
    # What a killed run was writing does not reach the result; and this setting changes nothing of it.
    (tmp_path / "out.unfinished" / f".{RECORD_FILE}.0123456789abcdef.part").write_text("{")
    assert make(tmp_path / "out", resumable=True, processes=2).status == RESUMED
    assert names(tmp_path / "out") == ["checkpoint-2", RECORD_FILE, "result"]


def test_an_interrupted_run_without_a_checkpoint_leaves_nothing(tmp_path):
    interrupted(tmp_path / "out", checkpoint=False)
    assert names(tmp_path) == []


def test_an_interrupted_run_is_not_resumed_with_other_settings(tmp_path):
    interrupted(tmp_path / "out")
    message = (
        r"cannot resume .*out\.unfinished: its settings differ in steps \(then 3, now 4\); .*--overwrite to start"
    )
    with pytest.raises(ValueError, match=message):
        make(tmp_path / "out", resumable=True, steps=4)
    assert names(tmp_path) == ["out.unfinished"]
    make(tmp_path / "out", resumable=True, steps=4, overwrite=True)
    assert names(tmp_path / "out") == [RECORD_FILE, "result"]


def test_an_interrupted_run_of_another_step_is_not_resumed(tmp_path):
    interrupted(tmp_path / "out")
    step = step_of(resumable=True)
    object.__setattr__(step, "name", "other")
    with pytest.raises(ValueError, match="is unfinished work of `hf-afro small`; repeat that command"):
        run_step(step, Config(), tmp_path / "out")


@pytest.mark.parametrize("name", ["text", "model", "parts"])
def test_an_interrupted_run_is_not_resumed_on_other_content(tmp_path, name):
    path = tmp_path / "input" / "swa.txt"
    path.parent.mkdir()
    path.write_text("former")
    place = str(tmp_path / "input")
    settings = {name: [place] if name == "parts" else place}
    interrupted(tmp_path / "out", **settings)
    path.write_text("latter")
    with pytest.raises(ValueError, match=rf"its settings differ in the content of --{name}; .*--overwrite to start"):
        make(tmp_path / "out", resumable=True, **settings)
    path.write_text("former")
    assert make(tmp_path / "out", resumable=True, **settings).status == RESUMED


def test_an_owned_folder_is_made_anew_where_it_is_not_up_to_date(tmp_path, caplog):
    """As those of a recipe, which asks nobody before it replaces what it made."""
    assert make(tmp_path / "out", owned=True).status == DONE
    assert make(tmp_path / "out", fail, owned=True).status == UP_TO_DATE
    assert make(tmp_path / "out", owned=True, steps=4).status == DONE
    assert names(tmp_path) == ["out"]
    (tmp_path / "out" / "note.txt").write_text("of mine")
    (tmp_path / "out" / ".DS_Store").write_text("")
    assert make(tmp_path / "out", owned=True, steps=5).status == DONE
    assert names(tmp_path / "out.edited-1") == [".DS_Store", RECORD_FILE, "note.txt", "result"]
    assert "note.txt changed or added by hand; kept in" in caplog.text
    assert names(tmp_path) == ["out", "out.edited-1"]
    (tmp_path / "out" / "result").unlink()
    assert make(tmp_path / "out", owned=True, steps=5).status == DONE


def test_an_owned_folder_of_other_settings_is_begun_anew(tmp_path):
    interrupted(tmp_path / "out")
    assert make(tmp_path / "out", resumable=True, owned=True, steps=4).status == DONE
    assert names(tmp_path / "out") == [RECORD_FILE, "result"]


@pytest.mark.parametrize("parts", [("out",), ("out", "counts.npz"), ("out.unfinished", "checkpoint-8")])
@pytest.mark.parametrize("name", ["text", "model", "parts"])
def test_what_is_read_is_never_replaced(tmp_path, parts, name):
    path = tmp_path.joinpath(*parts)
    path.mkdir(parents=True)
    settings = {name: [str(path)] if name == "parts" else str(path)}
    with pytest.raises(ValueError, match=f"would replace what --{name} .* reads; name another folder"):
        make(tmp_path / "deep" / ".." / "out", overwrite=True, **settings)


def test_what_does_not_exist_is_refused_before_any_work(tmp_path):
    step = step_of(fail)
    check_inputs(step, Config(model="FacebookAI/xlm-roberta-base", text="sample"))
    check_inputs(step, Config(text="made/by/an/earlier/stage"), made_here=("made/by/an/earlier/stage",))
    for settings, error, message in (
        ({"text": "nowhere"}, FileNotFoundError, "--text nowhere does not exist"),
        ({"parts": [str(tmp_path), "nowhere"]}, FileNotFoundError, "--parts nowhere does not exist"),
        ({"model": "./nowhere"}, ValueError, r"--model \./nowhere: there is no such folder"),
        ({"model": "/no/where"}, ValueError, "--model /no/where: there is no such folder"),
    ):
        with pytest.raises(error, match=message):
            make(tmp_path / "out", fail, **settings)
    assert names(tmp_path) == []


def test_that_the_hub_is_asked_for_a_model_is_said_before_the_wait_and_once(tmp_path, caplog):
    (tmp_path / "here").mkdir()
    with caplog.at_level("INFO", logger="hf_afro"):
        for number, model in enumerate(("someone/there", "someone/there", str(tmp_path / "here"))):
            make(tmp_path / f"out-{number}", model=model)
    said = "there is no folder someone/there here; asking the Hub (with HF_HUB_OFFLINE=1 only its cache here)"
    assert caplog.messages == [said]
