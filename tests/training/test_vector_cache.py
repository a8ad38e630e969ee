"""The teacher's vectors kept on disk: the same training with a teacher asked once a row, and what is refused."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections import namedtuple
from functools import partial

import numpy as np
import pytest
import torch

from hf_afro.training.capture import TeacherCapture
from hf_afro.training.vector_cache import FACTS_FILE, VectorCache
from tests.training.recipes import StopAt, checksum, distill_trainer, student_of, teacher_of, text_datasets

PASSES = {"num_train_epochs": 3, "max_steps": -1, "logging_steps": 1}


def trained(tokenizer, folder, cache=None, **more):
    trainer = distill_trainer(
        teacher_of(tokenizer),
        tokenizer,
        folder,
        teacher_cache_dir=None if cache is None else str(cache),
        **PASSES,
        **more,
    )
    asked = []
    trainer.terms.teacher_capture.encoder.register_forward_pre_hook(lambda *_: asked.append(1))
    trainer.train(resume_from_checkpoint=True if more.get("save_strategy") == "steps" else None)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return trainer, losses, len(asked)


@pytest.mark.parametrize("packing", [True, False])
def test_training_is_the_same_and_the_teacher_is_asked_once_a_row(tokenizer, tmp_path, packing):
    _, expected, all_steps = trained(tokenizer, tmp_path / "plain", packing=packing)
    _, losses, asked = trained(tokenizer, tmp_path / "cached", tmp_path / "cache", packing=packing)
    assert len(losses) == all_steps
    assert np.allclose(losses, expected, rtol=1e-5, atol=0)
    assert 0 < asked < all_steps
    _, again, none = trained(tokenizer, tmp_path / "again", tmp_path / "cache", packing=packing)
    assert none == 0
    assert np.allclose(again, expected, rtol=1e-5, atol=0)


def test_a_run_gone_on_with_ends_in_the_weights_of_an_unbroken_one(tokenizer, tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 2}
    unbroken, *_ = trained(tokenizer, tmp_path / "unbroken", tmp_path / "cache", **saving)
    trained(tokenizer, tmp_path / "broken", tmp_path / "other", callbacks=[StopAt(4)], **saving)
    resumed, *_ = trained(tokenizer, tmp_path / "broken", tmp_path / "other", **saving)
    assert checksum(resumed.model) == checksum(unbroken.model)


def test_several_layers_and_a_half_teacher_are_read_as_they_were_given(tokenizer, tmp_path):
    teacher = teacher_of(tokenizer).to(torch.bfloat16)
    samples = distill_trainer(teacher_of(tokenizer), tokenizer, tmp_path, packing=False).train_dataset
    cache = VectorCache(tmp_path / "cache", samples, teacher, [2, 1], torch.bfloat16)
    capture = TeacherCapture(teacher, [1, 2])
    numbers = torch.tensor([3, 0, 7])
    rows = [samples[0, int(number)]["input_ids"] for number in numbers]
    ids, mask = padded(rows, "right")
    given = cache(numbers, mask, lambda: capture(ids, mask))
    for side in ("right", "left"):
        own = padded(rows, side)[1].bool()
        read = cache(numbers, own, lambda: pytest.fail("the teacher was asked"))
        for layer in (1, 2):
            for relation in ("query", "key", "value"):
                vectors = read[layer][relation]
                assert vectors.dtype == torch.bfloat16
                assert torch.equal(vectors[own], given[layer][relation][mask.bool()])
                assert not vectors[~own].any()


def padded(rows, side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask of some rows, one column wider than the longest."""
    mask = torch.zeros(len(rows), max(map(len, rows)) + 1, dtype=torch.int64)
    ids = torch.ones_like(mask)
    for line, row in enumerate(rows):
        place = slice(len(row)) if side == "right" else slice(mask.shape[1] - len(row), None)
        mask[line, place] = 1
        ids[line, place] = torch.from_numpy(row.astype(np.int64))
    return ids, mask


class TestRefusals:
    def test_what_changes_between_passes(self, tokenizer, tmp_path):
        for setting in ({"mlm_weight": 0.5}, {"objective": "hybrid"}):
            with pytest.raises(
                ValueError, match="keeps what is the same in every pass, and mlm_weight or logit_weight"
            ):
                distill_trainer(teacher_of(tokenizer), tokenizer, tmp_path, teacher_cache_dir="c", **setting)
        with pytest.raises(ValueError, match="and streaming reads other rows"):
            distill_trainer(
                teacher_of(tokenizer), tokenizer, tmp_path, teacher_cache_dir="c", streaming=True, language_alpha=0
            )

    @pytest.mark.parametrize("what", ["teacher", "text", "layers", "dtype"])
    def test_a_folder_of_something_else(self, tokenizer, tmp_path, what):
        teacher, cache = teacher_of(tokenizer), str(tmp_path / "cache")
        distill_trainer(copy.deepcopy(teacher), tokenizer, tmp_path, teacher_cache_dir=cache)
        before = sorted(path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir())
        changed = {}
        if what == "teacher":
            with torch.no_grad():
                teacher.base_model.embeddings.word_embeddings.weight[7, 0] += 1
        elif what == "text":
            changed["train_dataset"] = text_datasets(2)
        elif what == "layers":
            changed["teacher_layer"] = 1
        else:
            changed["teacher_dtype"] = "bfloat16"
        with pytest.raises(ValueError, match=rf"holds vectors of another ({what}|teacher and {what}); name another"):
            distill_trainer(
                teacher, tokenizer, tmp_path, model=student_of(tokenizer), teacher_cache_dir=cache, **changed
            )
        assert sorted(path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()) == before

    def test_a_folder_of_the_users_own(self, tokenizer, tmp_path):
        (tmp_path / "cache").mkdir()
        (tmp_path / "cache" / "notes.txt").write_text("mine")
        with pytest.raises(ValueError, match="is not empty and holds no teacher's vectors"):
            distill_trainer(teacher_of(tokenizer), tokenizer, tmp_path, teacher_cache_dir=str(tmp_path / "cache"))

    def test_a_folder_that_has_lost_a_part(self, tokenizer, tmp_path):
        cache = tmp_path / "cache"
        make = partial(distill_trainer, tokenizer=tokenizer, output_dir=tmp_path, teacher_cache_dir=str(cache))
        for name in ("vectors.bin", "filled.bin"):
            make(teacher_of(tokenizer))
            size = (cache / name).stat().st_size
            os.truncate(cache / name, size - 1)
            with pytest.raises(ValueError, match=rf"{name} has {size - 1} bytes, and had {size}.* remove the folder"):
                make(teacher_of(tokenizer))
            (cache / name).unlink()
            with pytest.raises(ValueError, match=f"{name} is missing; remove the folder"):
                make(teacher_of(tokenizer))
            shutil.rmtree(cache)
        make(teacher_of(tokenizer))
        (cache / FACTS_FILE).write_text("[]")
        with pytest.raises(ValueError, match="cannot be read"):
            make(teacher_of(tokenizer))
        shutil.rmtree(cache)
        cache.write_text("mine")
        with pytest.raises(ValueError, match="is a file; name a new folder"):
            make(teacher_of(tokenizer))

    def test_a_disk_without_room(self, tokenizer, tmp_path, monkeypatch):
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 10**6 - 1000, 1000))
        with pytest.raises(ValueError, match=r"tokens take \d+\.\d\d GB in .*, and 0\.00 GB are free; name a folder"):
            distill_trainer(teacher_of(tokenizer), tokenizer, tmp_path, teacher_cache_dir=str(tmp_path / "cache"))
        assert list((tmp_path / "cache").iterdir()) == []


def test_what_was_being_made_when_a_run_ended_is_made_again(tokenizer, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "vectors.bin").write_bytes(bytes(7))
    trainer = distill_trainer(teacher_of(tokenizer), tokenizer, tmp_path, teacher_cache_dir=str(cache))
    tokens = sum(int(rows.lengths.sum()) for rows in trainer.train_dataset.chunks.values())
    assert (cache / "vectors.bin").stat().st_size == tokens * 3 * 32 * 4


def test_what_is_not_finite_is_asked_for_again(tokenizer, tmp_path):
    teacher = teacher_of(tokenizer)
    samples = distill_trainer(teacher_of(tokenizer), tokenizer, tmp_path, packing=False).train_dataset
    cache = VectorCache(tmp_path / "cache", samples, teacher, [2], torch.float32)
    ids, mask = padded([samples[0, 0]["input_ids"], samples[0, 1]["input_ids"]], "right")
    given = TeacherCapture(teacher, [2])(ids, mask)
    broken = {2: {name: vectors.clone() for name, vectors in given[2].items()}}
    broken[2]["key"][1, 0, 0] = torch.nan
    asked = []
    for vectors in (broken, given, given):
        cache(torch.tensor([0, 1]), mask, lambda vectors=vectors: asked.append(1) or vectors)
    assert len(asked) == 2


def test_the_size_is_told_and_taken_at_once(tokenizer, tmp_path, caplog):
    with caplog.at_level("INFO", logger="hf_afro"):
        trainer = distill_trainer(
            teacher_of(tokenizer), tokenizer, tmp_path, teacher_cache_dir=str(tmp_path / "cache")
        )
    tokens = sum(int(rows.lengths.sum()) for rows in trainer.train_dataset.chunks.values())
    size = tokens * 3 * 32 * 4
    assert (tmp_path / "cache" / "vectors.bin").stat().st_size == size
    assert f"the teacher's vectors of {tokens:,} tokens take {size / 1e9:,.2f} GB" in caplog.text
    assert json.loads((tmp_path / "cache" / FACTS_FILE).read_text())["layers"] == [2]
