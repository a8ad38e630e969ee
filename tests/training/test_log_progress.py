"""What both trainers log of their progress, and the permissions of what they save."""

from __future__ import annotations

import copy
import logging
import os
import stat

import pytest

from hf_afro import progress_log
from tests.training.recipes import distill_trainer, maft_trainer, teacher_of


def first(model, tokenizer, output_dir, **settings):
    return maft_trainer(copy.deepcopy(model), tokenizer, output_dir, **settings)


def second(model, tokenizer, output_dir, **settings):
    return distill_trainer(teacher_of(tokenizer), tokenizer, output_dir, **settings)


TRAINERS = pytest.mark.parametrize(
    ("trainer_of", "name"), [(first, "MAFT"), (second, "distillation")], ids=["maft", "distill"]
)


@TRAINERS
def test_a_resumed_run_logs_its_own_steps(model, tokenizer, tmp_path, trainer_of, name, monkeypatch, caplog):
    saving = {"save_strategy": "steps", "save_steps": 2}
    trainer_of(model, tokenizer, tmp_path, max_steps=2, **saving).train()
    monkeypatch.setattr(progress_log, "EVERY", 0.0)
    caplog.set_level(logging.INFO, "hf_afro.progress_log")
    trainer_of(model, tokenizer, tmp_path, max_steps=4, **saving).train(resume_from_checkpoint=True)
    lines = [record.getMessage() for record in caplog.records if record.name == "hf_afro.progress_log"]
    assert [line.partition(", ")[0] for line in lines] == [f"{name}: 3 of 4 steps", f"{name}: 4 of 4 steps"]


@TRAINERS
def test_what_is_saved_has_the_permissions_of_other_files(model, tokenizer, tmp_path, trainer_of, name):
    """The library safetensors 0.8 writes its files for their owner alone."""
    former = os.umask(0o022)
    private = [tmp_path / "final" / ".env", tmp_path / "final" / "keys" / "id_rsa"]
    for path in private:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    try:
        trainer = trainer_of(model, tokenizer, tmp_path, max_steps=1, save_strategy="steps", save_steps=1)
        trainer.train()
        trainer.save_model(str(tmp_path / "final"))
    finally:
        os.umask(former)
    weights = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.safetensors"))
    assert weights == ["checkpoint-1/model.safetensors", "final/model.safetensors"]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()}
    assert [modes.pop(path) for path in private] == [0o600, 0o600]
    assert set(modes.values()) == {0o644}
