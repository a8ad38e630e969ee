"""Files and folders are written atomically, and no temporary files remain."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hf_afro.files import (
    finish_move,
    folder_written_whole,
    is_leftover,
    locked,
    move_into_place,
    open_up_weights,
    remove_leftovers,
    remove_leftovers_of,
    write_whole,
    written_whole,
)


@pytest.fixture
def umask(request):
    """The umask that the test asks for, while it runs."""
    former = os.umask(request.param)
    yield request.param
    os.umask(former)


@pytest.fixture(params=[False, True], ids=["new", "existing"])
def target(request, tmp_path) -> Path:
    """A path where a file is, or is not yet."""
    path = tmp_path / "facts.json"
    if request.param:
        path.write_text("former")
    return path


def state(folder: Path) -> dict[str, bytes | None]:
    """All that is below a folder: a file's bytes, None for a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def fail_after(part: bytes, path: Path, error: type[BaseException]) -> None:
    with written_whole(path) as beside:
        beside.write_bytes(part)
        raise error


def no_space(*_) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_takes_its_place_only_at_the_end(target):
    before = state(target.parent)
    with written_whole(target) as beside:
        assert beside.parent == target.parent  # a move from another disk would be a copy
        beside.write_bytes(b"new")
        assert {name: data for name, data in state(target.parent).items() if name != beside.name} == before
    assert state(target.parent) == {target.name: b"new"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_writer_that_fails_changes_nothing(target, error):
    before = state(target.parent)
    with pytest.raises(error):
        fail_after(b"half", target, error)
    assert state(target.parent) == before


def test_text_that_cannot_be_encoded_changes_nothing(target):
    before = state(target.parent)
    with pytest.raises(UnicodeEncodeError):
        write_whole(target, "a" * 100_000 + "\udc80")
    assert state(target.parent) == before


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_late_changes_nothing(target, call, monkeypatch):
    before = state(target.parent)
    monkeypatch.setattr(os, call, no_space)
    with pytest.raises(OSError, match="No space left"):
        write_whole(target, "new")
    assert state(target.parent) == before


def test_the_bytes_are_on_the_disk_before_the_file_is_moved(target, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor):
        order.append(("fsync", os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))
        fsync(descriptor)

    def replaced(source, destination):
        order.append(("replace", os.stat(source).st_ino, os.stat(source).st_size))
        replace(source, destination)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    write_whole(target, "new")
    inode = target.stat().st_ino
    assert order == [("fsync", inode, 3), ("replace", inode, 3)]


def test_a_killed_writer_leaves_the_former_file_and_what_can_be_told_as_its_own(target):
    before = state(target.parent)

    def write_and_die():
        with folder_written_whole(f"{target}-folder", "mark") as folder, written_whole(target) as own:
            (folder / "mark").write_bytes(b"half")
            own.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)

    writer = multiprocessing.get_context("fork").Process(target=write_and_die)
    writer.start()
    writer.join(60)
    assert writer.exitcode == -signal.SIGKILL
    left = {name: data for name, data in state(target.parent).items() if name not in before}
    assert sorted(left.values(), key=repr) == [None, b"half", b"half"]
    assert before.items() <= state(target.parent).items()
    remove_leftovers(target.parent)
    assert state(target.parent) == before


def test_what_others_call_part_is_no_leftover(tmp_path):
    names = [".part", "a.part", ".a.part", ".a.0123456789abcdef", "a.0123456789abcdef.part", ".a.0123.part"]
    for name in names:
        (tmp_path / name).touch()
    assert not any(is_leftover(tmp_path / name) for name in names)
    remove_leftovers(tmp_path)
    assert sorted(state(tmp_path)) == sorted(names)


def test_leftovers_are_found_below(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "deep" / "er"):
        (folder / ".facts.json.0123456789abcdef.part").write_bytes(b"half")
    remove_leftovers(tmp_path)
    assert state(tmp_path) == {"deep": None, "deep/er": None}


def test_two_writers_at_once_do_not_mix(target):
    with written_whole(target) as first, first.open("wb") as file:
        file.write(b"first, and longer")
        write_whole(target, "second")
        assert target.read_bytes() == b"second"
    assert state(target.parent) == {target.name: b"first, and longer"}


def test_text_is_utf8_with_its_line_ends_as_they_are(target):
    write_whole(target, "ṣé\r\nbẹ́ẹ̀\n\u2028")
    assert target.read_bytes() == "ṣé\r\nbẹ́ẹ̀\n\u2028".encode()


def test_folders_above_are_made(tmp_path):
    write_whole(str(tmp_path / "deep" / "er" / "facts.json"), "new")
    assert (tmp_path / "deep" / "er" / "facts.json").read_text() == "new"


def test_the_permissions_are_those_of_any_other_file(tmp_path):
    former = os.umask(0o027)
    try:
        write_whole(tmp_path / "file", "")
        with folder_written_whole(tmp_path / "folder", "mark"):
            pass
    finally:
        os.umask(former)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


def hold(path: Path) -> None:
    with locked(path):
        pass


def test_a_lock_is_held_by_one_at_a_time_and_given_back(tmp_path):
    path = tmp_path / "lock"
    with locked(path), pytest.raises(BlockingIOError):
        hold(path)
    hold(path)


def test_a_lock_whose_file_was_taken_away_is_no_lock(tmp_path):
    path = tmp_path / "lock"
    with locked(path):
        path.unlink()
        hold(path)  # a new file, and nobody holds that
    assert path.is_file()


def test_a_lock_taken_on_a_file_that_its_holder_takes_away_is_taken_anew(tmp_path, monkeypatch):
    import fcntl

    path, flock, calls = tmp_path / "lock", fcntl.flock, []

    def slow(descriptor, operation):
        if not calls:
            path.unlink()  # by the holder before, between this one's opening and locking
        calls.append(operation)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", slow)
    with locked(path):
        monkeypatch.undo()
        with pytest.raises(BlockingIOError):
            hold(path)
    assert len(calls) == 2


def folder_of(path: Path, **files: str) -> Path:
    path.mkdir()
    for name, text in files.items():
        (path / name).write_text(text)
    return path


def test_a_folder_of_the_same_making_is_replaced_whole(tmp_path):
    folder_of(tmp_path / "out", mark="1", stale="1")
    with folder_written_whole(tmp_path / "out", "mark") as beside:
        (beside / "mark").write_text("2")
        assert (tmp_path / "out" / "stale").is_file()
    assert state(tmp_path) == {"out": None, "out/mark": b"2"}


def test_a_folder_that_holds_other_things_is_refused(tmp_path):
    folder_of(tmp_path / "out", thesis="all of it")
    with pytest.raises(FileExistsError, match="holds no mark"), folder_written_whole(tmp_path / "out", "mark"):
        pass
    assert state(tmp_path) == {"out": None, "out/thesis": b"all of it"}


def test_a_folder_whose_writer_fails_stays_as_it_was(tmp_path):
    folder_of(tmp_path / "out", mark="1")
    with pytest.raises(UnicodeEncodeError), folder_written_whole(tmp_path / "out", "mark") as beside:
        (beside / "mark").write_text("\udc80", "utf-8")
    assert state(tmp_path) == {"out": None, "out/mark": b"1"}


def test_a_folder_that_cannot_be_moved_in_gives_its_place_back(tmp_path, monkeypatch):
    work, target = folder_of(tmp_path / "work", mark="2"), folder_of(tmp_path / "out", mark="1")
    before, replace = state(tmp_path), os.replace
    monkeypatch.setattr(os, "replace", lambda source, to: no_space() if source == work else replace(source, to))
    with pytest.raises(OSError, match="No space left"):
        move_into_place(work, target)
    assert state(tmp_path) == before


def test_a_folder_of_somebody_else_is_not_in_the_way(tmp_path):
    folder_of(tmp_path / "out.replaced", thesis="all of it")
    move_into_place(folder_of(tmp_path / "work", mark="2"), folder_of(tmp_path / "out", mark="1"))
    assert state(tmp_path) == {
        "out": None,
        "out/mark": b"2",
        "out.replaced": None,
        "out.replaced/thesis": b"all of it",
    }


MOMENTS = ["nothing moved", "former moved", "both moved"]


def killed_while_moving(work: Path, target: Path, moment: str, monkeypatch) -> None:
    """Move a folder into place, and die when so much of it is done."""
    calls, replace, rmtree = [], os.replace, shutil.rmtree

    def killed(*args, act=replace, **how):
        if len(calls) == MOMENTS.index(moment):
            raise Killed
        calls.append(args)
        act(*args, **how)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        patch.setattr(shutil, "rmtree", lambda *args, **how: killed(*args, act=rmtree, **how))
        with pytest.raises(Killed):
            move_into_place(work, target)


class Killed(BaseException):
    """Nothing catches it."""


@pytest.mark.parametrize("moment", MOMENTS[1:])
def test_a_move_that_was_killed_is_finished(tmp_path, monkeypatch, moment):
    work, target = folder_of(tmp_path / "work", mark="2"), folder_of(tmp_path / "out", mark="1")
    killed_while_moving(work, target, moment, monkeypatch)
    finish_move(work, target)
    assert state(tmp_path) == {"out": None, "out/mark": b"2"}


def test_a_move_that_lost_its_new_folder_is_taken_back(tmp_path, monkeypatch):
    work, target = folder_of(tmp_path / "work", mark="2"), folder_of(tmp_path / "out", mark="1")
    killed_while_moving(work, target, "former moved", monkeypatch)
    shutil.rmtree(work)
    finish_move(work, target)
    assert state(tmp_path) == {"out": None, "out/mark": b"1"}


def test_where_no_move_was_begun_nothing_is_finished(tmp_path):
    folder_of(tmp_path / "work", mark="2")
    finish_move(tmp_path / "work", tmp_path / "out")
    assert state(tmp_path) == {"work": None, "work/mark": b"2"}


@pytest.mark.parametrize("moment", MOMENTS)
def test_of_a_folder_whose_writer_was_killed_while_it_moved_one_is_left(tmp_path, monkeypatch, moment):
    folder_of(tmp_path / "data", mark="1")
    work = folder_of(tmp_path / ".data.0123456789abcdef.part", mark="2")
    killed_while_moving(work, tmp_path / "data", moment, monkeypatch)
    remove_leftovers(tmp_path)
    assert state(tmp_path) == {"data": None, "data/mark": b"1" if moment == MOMENTS[0] else b"2"}


def test_what_was_left_beside_a_target_is_settled_and_nothing_else_is_touched(tmp_path, monkeypatch):
    for name in ("a.b", "a"):
        folder_of(tmp_path / name, mark="1")
        work = folder_of(tmp_path / f".{name}.0123456789abcdef.part", mark="2")
        killed_while_moving(work, tmp_path / name, "former moved", monkeypatch)
    folder_of(tmp_path / ".a.fedcba9876543210.part", mark="half")
    remove_leftovers_of(tmp_path / "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".a.b.0123456789abcdef.part",
        ".a.b.0123456789abcdef.part.replaced",
        "a",
    ]
    assert (tmp_path / "a" / "mark").read_text() == "2"


def save_weights(path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, path)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o027], indirect=True)
def test_weights_have_the_permissions_that_the_umask_gives(umask, tmp_path):
    """The library safetensors 0.8 writes its files for their owner alone."""
    with folder_written_whole(tmp_path / "model", "config.json") as work:
        (work / "config.json").write_text("{}")
        (work / "adapter").mkdir()
        save_weights(work / "model.safetensors")
        save_weights(work / "adapter" / "adapter_model.safetensors")
    with written_whole(tmp_path / "batch.safetensors") as work:
        save_weights(work)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in files} == dict.fromkeys(
        ("config.json", "model.safetensors", "adapter_model.safetensors", "batch.safetensors"), 0o666 & ~umask
    )


@pytest.mark.parametrize("umask", [0o022], indirect=True)
def test_a_file_that_may_be_run_stays_one_and_a_link_is_not_followed(umask, tmp_path):
    outside, work = tmp_path / "outside", tmp_path / "work"
    work.mkdir()
    for path in (outside, work / "run.sh"):
        path.write_text("x")
    outside.chmod(0o600)
    (work / "run.sh").chmod(0o700)
    (work / "link").symlink_to(outside)
    move_into_place(work, tmp_path / "done")
    assert stat.S_IMODE((tmp_path / "done" / "run.sh").stat().st_mode) == 0o744
    assert stat.S_IMODE(outside.stat().st_mode) == 0o600


@pytest.mark.parametrize("umask", [0o022], indirect=True)
def test_a_file_that_vanishes_meanwhile_is_no_failure(umask, tmp_path, monkeypatch):
    for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
        save_weights(tmp_path / name)
    gone, kept = sorted(tmp_path.iterdir())
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: iter([gone, kept]))
    gone.unlink()
    open_up_weights(tmp_path)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o644
