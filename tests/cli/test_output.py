"""A command leaves a whole folder or nothing, and never takes away what is not its own."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace

import pytest

from hf_afro.checkpoints import mark_whole
from hf_afro.cli import output
from hf_afro.cli.output import RUN_FILE, describe_run, differences, finished_folder, last_checkpoint, write_run_file
from hf_afro.version import __version__


def arguments(target, **more) -> Namespace:
    return Namespace(**{"command": "count", "output_dir": str(target), "overwrite": False, "text": "texts", **more})


def make(target, name="result", *, resumable=False, **more) -> None:
    with finished_folder(arguments(target, **more), resumable=resumable) as folder:
        (folder / name).write_text(name)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_folder_appears_at_the_end_with_what_was_run(tmp_path):
    target = tmp_path / "deep" / "out"
    with finished_folder(arguments(target)) as folder:
        (folder / "result").write_text("1")
        assert not target.exists()
    assert names(target) == [RUN_FILE, "result"]
    assert json.loads((target / RUN_FILE).read_text()) == {
        "command": "count",
        "arguments": {"output_dir": str(target), "text": "texts"},
        "hf_afro_version": __version__,
    }
    assert names(target.parent) == ["out"]


def test_an_error_leaves_nothing(tmp_path):
    def fail():
        with finished_folder(arguments(tmp_path / "out")) as folder:
            (folder / "result").write_text("1")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert names(tmp_path) == []


def test_an_error_takes_the_folders_above_with_it(tmp_path):
    (tmp_path / "there").mkdir()

    def fail(target, besides=None):
        with finished_folder(arguments(target)):
            if besides is not None:
                besides.write_text("")
            raise KeyError

    with pytest.raises(KeyError):
        fail(tmp_path / "there" / "deep" / "er" / "out")
    assert names(tmp_path / "there") == []
    with pytest.raises(KeyError):
        fail(tmp_path / "there" / "deep" / "er" / "out", tmp_path / "there" / "deep" / "thesis.tex")
    assert names(tmp_path / "there" / "deep") == ["thesis.tex"]


@pytest.mark.parametrize("resumable", [True, False])
def test_an_error_in_saying_what_was_run_leaves_nothing(tmp_path, monkeypatch, resumable):
    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(output, "write_whole", full)
    with pytest.raises(OSError, match="No space"), finished_folder(arguments(tmp_path / "out"), resumable=resumable):
        pass
    assert names(tmp_path) == []


def test_what_was_run_stays_readable_where_it_cannot_be_written_again(tmp_path, monkeypatch):
    interrupted(tmp_path / "out")
    monkeypatch.setattr("pathlib.Path.write_text", full_disk)
    with pytest.raises(OSError, match="No space"), finished_folder(arguments(tmp_path / "out"), resumable=True):
        pass
    monkeypatch.undo()
    assert names(tmp_path / "out.unfinished") == ["checkpoint-2", RUN_FILE]
    with finished_folder(arguments(tmp_path / "out"), resumable=True) as folder:
        assert last_checkpoint(folder) is not None


def full_disk(path, text, **how):
    with path.open("w") as file:
        file.write(text[: len(text) // 2])
    raise OSError(28, "No space left on device")


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(ValueError, match=r"cannot be made: .*thesis\.tex is a file; name another folder"):
        make(tmp_path / "thesis.tex" / "deep" / "out")


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "out").mkdir()
    make(tmp_path / "out")
    assert names(tmp_path / "out") == [RUN_FILE, "result"]
    assert names(tmp_path) == ["out"]


def test_a_filled_folder_is_refused_and_left_as_it_was(tmp_path):
    make(tmp_path / "out")
    with pytest.raises(ValueError, match="is not empty; name a new folder, or replace it with --overwrite"):
        make(tmp_path / "out", "other")
    assert names(tmp_path / "out") == [RUN_FILE, "result"]


def test_overwrite_replaces_the_whole_folder(tmp_path):
    make(tmp_path / "out")
    make(tmp_path / "out", "other", overwrite=True)
    assert names(tmp_path / "out") == [RUN_FILE, "other"]
    assert names(tmp_path) == ["out"]


def test_overwrite_keeps_the_former_folder_until_the_new_one_is_whole(tmp_path):
    make(tmp_path / "out")
    with pytest.raises(KeyError), finished_folder(arguments(tmp_path / "out", overwrite=True)):
        raise KeyError
    assert names(tmp_path / "out") == [RUN_FILE, "result"]


def test_overwrite_touches_no_folder_of_somebody_else(tmp_path):
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(ValueError, match="was not made by hf-afro"):
        make(tmp_path, overwrite=True)
    assert names(tmp_path) == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ValueError, match="is a file; name a new folder"):
        make(tmp_path / "out")


def test_another_process_than_the_main_one_moves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with finished_folder(arguments(tmp_path / "out"), resumable=True) as folder:
        assert folder == tmp_path / "out.unfinished"
    assert names(tmp_path) == []


def test_an_unfinished_folder_of_somebody_else_is_not_touched(tmp_path):
    (tmp_path / "out.unfinished").mkdir()
    (tmp_path / "out.unfinished" / "thesis.tex").write_text("half of it")
    with pytest.raises(ValueError, match="was not made by hf-afro; move it away"):
        with finished_folder(arguments(tmp_path / "out", overwrite=True), resumable=True):
            pass
    assert names(tmp_path / "out.unfinished") == ["thesis.tex"]


@pytest.mark.parametrize("resumable", [True, False])
def test_a_second_run_into_one_folder_is_refused_and_disturbs_nothing(tmp_path, resumable):
    target = tmp_path / "deep" / "out"
    with finished_folder(arguments(target), resumable=resumable) as folder:
        (folder / "result").write_text("1")
        for overwrite in (False, True):
            with pytest.raises(
                ValueError, match=r"another run is at work on .*out; wait for it, or name another folder"
            ):
                with finished_folder(arguments(target, overwrite=overwrite), resumable=resumable):
                    pass
        assert (folder / "result").is_file()
    assert names(target) == [RUN_FILE, "result"]
    assert names(target.parent) == ["out"]


@pytest.mark.parametrize("resumable", [True, False])
@pytest.mark.parametrize("overwrite", [True, False])
def test_what_appears_at_the_target_meanwhile_is_not_replaced_and_the_result_is_kept(tmp_path, resumable, overwrite):
    (tmp_path / "out.finished-1").mkdir()

    def run(target):
        with finished_folder(arguments(target, overwrite=overwrite), resumable=resumable) as folder:
            (folder / "result").write_text("1")
            target.mkdir()
            (target / "thesis.tex").write_text("all of it")

    with pytest.raises(ValueError, match=r"out (is not empty|was not made by hf-afro).*is in .*out\.finished-2"):
        run(tmp_path / "out")
    assert names(tmp_path / "out") == ["thesis.tex"]
    assert names(tmp_path / "out.finished-2") == [RUN_FILE, "result"]
    assert names(tmp_path) == ["out", "out.finished-1", "out.finished-2"]


KILLED = """
import os, sys
from argparse import Namespace
from hf_afro.cli.output import finished_folder

target, resumable, moved = sys.argv[1], sys.argv[2] == "True", sys.argv[3]
replace = os.replace

def dying(source, place):
    replace(source, place)
    if str(source) == moved:
        os._exit(9)

os.replace = dying
args = Namespace(command="count", output_dir=target, overwrite=True, text="texts")
with finished_folder(args, resumable=resumable) as folder:
    (folder / "other").write_text("other")
    if not moved:
        os._exit(9)
"""


def kill(target, resumable=False, moved="") -> None:
    """Run a command in a process of its own that dies once it has moved something, or before it moves anything."""
    words = [sys.executable, "-c", KILLED, str(target), str(resumable), str(moved)]
    assert subprocess.run(words, check=False).returncode == 9


@pytest.mark.parametrize("resumable", [True, False])
def test_a_run_killed_while_it_moved_its_result_has_left_it(tmp_path, resumable):
    make(tmp_path / "out")
    kill(tmp_path / "out", resumable, moved=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="is not empty"):
        make(tmp_path / "out", resumable=resumable)
    assert names(tmp_path / "out") == [RUN_FILE, "other"]
    assert names(tmp_path) == ["out"]


def test_what_a_killed_run_was_writing_is_removed_by_the_next(tmp_path):
    kill(tmp_path / "out")
    assert len(names(tmp_path)) == 2  # the folder and its lock, which holds nobody up
    make(tmp_path / "out")
    assert names(tmp_path) == ["out"]


def test_runs_into_different_folders_do_not_wait_for_each_other(tmp_path):
    with finished_folder(arguments(tmp_path / "out")), finished_folder(arguments(tmp_path / "other")):
        pass
    assert names(tmp_path) == ["other", "out"]


def interrupted(target, checkpoint=True, **more) -> None:
    def train():
        with finished_folder(arguments(target, **more), resumable=True) as folder:
            if checkpoint:
                (folder / "checkpoint-2").mkdir()
                (folder / "checkpoint-2" / "trainer_state.json").write_text("{}")
                mark_whole(folder / "checkpoint-2")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as interruption:
        train()
    kept = f"; {target}.unfinished/checkpoint-2 is kept, and the same command goes on from there"
    assert str(interruption.value) == (kept if checkpoint else "")


def test_an_interrupted_run_with_a_checkpoint_is_gone_on_with(tmp_path):
    interrupted(tmp_path / "out")
    assert names(tmp_path) == ["out.unfinished"]
    with finished_folder(arguments(tmp_path / "out"), resumable=True) as folder:
        assert last_checkpoint(folder) == str(folder / "checkpoint-2")
    assert names(tmp_path / "out") == ["checkpoint-2", RUN_FILE]


def test_an_interrupted_run_without_a_checkpoint_leaves_nothing(tmp_path):
    interrupted(tmp_path / "out", checkpoint=False)
    assert names(tmp_path) == []


def test_an_interrupted_run_is_not_gone_on_with_under_other_arguments(tmp_path):
    interrupted(tmp_path / "out")
    with pytest.raises(ValueError, match=r"differs in text \(then texts, now others\); .*--overwrite to begin anew"):
        with finished_folder(arguments(tmp_path / "out", text="others"), resumable=True):
            pass
    assert names(tmp_path) == ["out.unfinished"]
    with finished_folder(arguments(tmp_path / "out", text="others", overwrite=True), resumable=True) as folder:
        assert last_checkpoint(folder) is None
    assert names(tmp_path / "out") == [RUN_FILE]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("text", "swa.txt"),
        ("eval_text", "yor.txt"),
        ("exclude", "news/test.txt"),
        ("model", "config.json"),
        ("teacher", "config.json"),
        ("student_model", "config.json"),
        ("vocabulary_map", ""),
    ],
)
def test_an_interrupted_run_is_not_gone_on_with_on_other_content(tmp_path, name, file):
    path = tmp_path / "input" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("former")
    given = {name: str(tmp_path / "input")}
    interrupted(tmp_path / "out", **given)
    path.write_text("latter")
    with pytest.raises(ValueError, match=rf"differs in what --{name} .*input holds; .*--overwrite to begin anew"):
        make(tmp_path / "out", resumable=True, **given)
    path.write_text("former")
    make(tmp_path / "out", resumable=True, **given)
    assert names(tmp_path / "out") == ["checkpoint-2", RUN_FILE, "result"]


def test_what_a_model_is_not_read_from_does_not_count(tmp_path):
    (tmp_path / "m" / "checkpoint-2").mkdir(parents=True)
    (tmp_path / "m" / "config.json").write_text("{}")
    interrupted(tmp_path / "out", model=str(tmp_path / "m"))
    (tmp_path / "m" / "checkpoint-2" / "optimizer.pt").write_text("large")
    make(tmp_path / "out", resumable=True, model=str(tmp_path / "m"))


def test_what_was_read_is_written_down_as_it_was_at_the_start(tmp_path):
    (tmp_path / "text").mkdir()
    with finished_folder(arguments(tmp_path / "out", text=str(tmp_path / "text")), resumable=True) as folder:
        before = json.loads((folder / RUN_FILE).read_text())["inputs"]
        (tmp_path / "text" / "swa.txt").write_text("added")
    assert json.loads((tmp_path / "out" / RUN_FILE).read_text())["inputs"] == before
    assert list(before) == ["text"]


def test_what_a_killed_run_was_writing_does_not_reach_the_result(tmp_path):
    interrupted(tmp_path / "out")
    (tmp_path / "out.unfinished" / f".{RUN_FILE}.0123456789abcdef.part").write_text("{")
    with finished_folder(arguments(tmp_path / "out"), resumable=True):
        pass
    assert names(tmp_path / "out") == ["checkpoint-2", RUN_FILE]


def test_what_is_run_is_written_whole_or_not_at_all(tmp_path):
    write_run_file(tmp_path, describe_run(arguments(tmp_path / "out")))
    before = (tmp_path / RUN_FILE).read_bytes()
    with pytest.raises(UnicodeEncodeError):
        write_run_file(tmp_path, describe_run(arguments(tmp_path / "out", text="\udc80")))  # a name that is not UTF-8
    assert (tmp_path / RUN_FILE).read_bytes() == before
    assert names(tmp_path) == [RUN_FILE]


def test_overwrite_takes_away_no_folder_of_a_similar_name(tmp_path):
    make(tmp_path / "out")
    (tmp_path / "out.replaced").mkdir()
    make(tmp_path / "out", "other", overwrite=True)
    assert names(tmp_path) == ["out", "out.replaced"]


def test_settings_that_changed_are_named_with_both_values(tmp_path):
    def run(*settings):
        return arguments(tmp_path / "out", settings=list(settings))

    former = describe_run(run("--max_steps", "20", "--learning_rate=1e-3", "--use_cpu"))
    assert differences(former, describe_run(run("--use_cpu", "--learning-rate", "1e-3", "--max_steps=20"))) == []
    assert differences(former, describe_run(run("--max_steps", "40", "--learning_rate", "1e-3"))) == [
        "max_steps (then 20, now 40)",
        "use_cpu (then given, now not given)",
    ]
