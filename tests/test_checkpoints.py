"""A checkpoint counts only once all of it is on the disk: whatever is missing, short or broken, it does not."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from hf_afro.checkpoints import MARK_FILE, checkpoints_in, fault_of, last_checkpoint, mark_whole, rotate, unmark


def write_checkpoint(folder, step: int, *, marked: bool = True):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    save_file({"a": torch.ones(3, 5), "b": torch.zeros(0)}, path / "model.safetensors", {"format": "pt"})
    for name in ("optimizer.pt", "rng_state_0.pth", "rng_state_1.pth"):
        torch.save({"step": step, "moments": torch.ones(300)}, path / name)
    (path / "trainer_state.json").write_text(f'{{"global_step": {step}}}')
    if marked:
        mark_whole(path)
    return path


def test_the_whole_one_of_the_most_steps_is_found(tmp_path):
    assert last_checkpoint(tmp_path) is None
    for step in (2, 10):
        write_checkpoint(tmp_path, step)
    write_checkpoint(tmp_path, 12, marked=False)
    (tmp_path / "checkpoint-final").mkdir()
    (tmp_path / "checkpoint-14").mkdir()
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    assert [path.name for path in checkpoints_in(tmp_path)] == [f"checkpoint-{step}" for step in (2, 10, 12, 14)]


FILES = ("model.safetensors", "optimizer.pt", "rng_state_0.pth", "rng_state_1.pth", "trainer_state.json", MARK_FILE)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("marked", [True, False])
def test_no_file_may_be_missing_cut_short_or_empty(tmp_path, name, marked):
    path = write_checkpoint(tmp_path, 4, marked=marked)
    assert (fault_of(path) is None) == marked
    assert fault_of(path, marked=False) is None
    if not marked and name == MARK_FILE:
        return
    content = (path / name).read_bytes()
    for size in (len(content) - 2, len(content) // 2, 5, 0):
        (path / name).write_bytes(content[:size])
        assert fault_of(path, marked=False) is not None, size
    (path / name).unlink()
    # A file that the mark does not tell of is not missed: without a mark, only the trainer's state is known of.
    judged_by_the_mark = marked and name != MARK_FILE
    assert (fault_of(path, marked=judged_by_the_mark) is None) == (
        not judged_by_the_mark and name != "trainer_state.json"
    )


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "trainer_state.json"])
def test_a_file_of_the_right_size_that_does_not_parse_is_found(tmp_path, name):
    path = write_checkpoint(tmp_path, 4)
    (path / name).write_bytes(bytes(len((path / name).read_bytes())))
    assert fault_of(path).startswith(f"{name} cannot be read")


def test_what_is_being_written_has_no_mark(tmp_path):
    path = write_checkpoint(tmp_path, 4)
    unmark(path)
    unmark(path)
    assert "so the checkpoint is not complete" in fault_of(path)


def test_rotation_keeps_whole_ones_and_counts_no_others(tmp_path):
    for step in (2, 4, 6, 8):
        write_checkpoint(tmp_path, step)
    write_checkpoint(tmp_path, 7, marked=False)
    rotate(tmp_path, 2, ())
    assert [path.name for path in checkpoints_in(tmp_path)] == ["checkpoint-6", "checkpoint-8"]
    write_checkpoint(tmp_path, 3)  # a run that began anew: the last saved is the last, whatever its number
    rotate(tmp_path, 2, (tmp_path / "checkpoint-6",))
    assert [path.name for path in checkpoints_in(tmp_path)] == ["checkpoint-3", "checkpoint-6"]
    rotate(tmp_path, 1, ())
    assert [path.name for path in checkpoints_in(tmp_path)] == ["checkpoint-3"]


def test_rotation_does_not_count_one_that_broke_after_it_was_marked(tmp_path):
    for step in (2, 4, 6):
        write_checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-4" / "model.safetensors").unlink()
    rotate(tmp_path, 2, ())
    assert [path.name for path in checkpoints_in(tmp_path)] == ["checkpoint-2", "checkpoint-6"]
