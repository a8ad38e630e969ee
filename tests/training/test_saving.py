"""However a run ends, the last complete checkpoint stays, is found, and leads to the same weights."""

from __future__ import annotations

import copy
import json
import logging
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import SafetensorError
from transformers import TrainerCallback

from hf_afro.checkpoints import MARK_FILE, checkpoints_in, fault_of, last_checkpoint
from hf_afro.training import saving
from tests.cli.test_bad_input import files_of_at_most
from tests.training.tiny_trainers import (
    PROJECTED,
    StopAt,
    checksum,
    distill_trainer,
    maft_trainer,
    streamed_maft_trainer,
    teacher_of,
)


def first(model, tokenizer, output_dir, **settings):
    return maft_trainer(copy.deepcopy(model), tokenizer, output_dir, **settings)


def second(model, tokenizer, output_dir, **settings):
    return distill_trainer(teacher_of(tokenizer), tokenizer, output_dir, **settings)


def streamed(model, tokenizer, output_dir, **settings):
    return streamed_maft_trainer(copy.deepcopy(model), tokenizer, output_dir, **settings)


def projected(model, tokenizer, output_dir, **settings):
    return distill_trainer(teacher_of(tokenizer), tokenizer, output_dir, **PROJECTED, **settings)


TRAINERS = pytest.mark.parametrize(
    "trainer_of", [first, second, streamed, projected], ids=["maft", "distill", "streamed", "projected"]
)
SAVING = {"save_strategy": "steps", "save_steps": 2, "max_steps": 8, "per_device_train_batch_size": 4}


def names(folder) -> list[str]:
    return [path.name for path in checkpoints_in(folder)]


@TRAINERS
def test_resumes_from_the_last_complete_checkpoint(model, tokenizer, tmp_path, trainer_of):
    unbroken = trainer_of(model, tokenizer, tmp_path / "unbroken", **SAVING)
    unbroken.train()
    broken = trainer_of(model, tokenizer, tmp_path / "broken", callbacks=[StopAt(6)], **SAVING)
    broken.train()
    os.truncate(tmp_path / "broken" / "checkpoint-6" / "optimizer.pt", 1000)
    assert last_checkpoint(tmp_path / "broken") == str(tmp_path / "broken" / "checkpoint-4")
    resumed = trainer_of(model, tokenizer, tmp_path / "broken", **SAVING)
    torch.manual_seed(7)
    result = resumed.train(resume_from_checkpoint=True)
    assert checksum(resumed.model) == checksum(unbroken.model) != checksum(broken.model)
    assert fault_of(tmp_path / "broken" / "checkpoint-6") is None  # written over
    seen = unbroken.tokens_seen.by_language
    assert resumed.tokens_seen.by_language == seen
    assert sorted(seen) == ["amh", "ara", "hau", "swa", "yor"]
    assert {name: value for name, value in result.metrics.items() if "seen" in name} == {
        "train_tokens_seen": sum(seen.values()),
        **{f"train_tokens_seen_{language}": count for language, count in seen.items()},
    }
    # One figure a log; by language they are in what `train` returns.
    assert not [name for entry in resumed.state.log_history for name in entry if name.startswith("tokens_seen_")]
    logged = [entry["tokens_seen"] for entry in resumed.state.log_history if "tokens_seen" in entry]
    assert logged == sorted(logged)
    assert logged[-1] == sum(seen.values())


def test_tokens_seen_are_those_of_the_samples(model, tokenizer, tmp_path):
    trainer = first(model, tokenizer, tmp_path, max_steps=2, language_alpha=0.3)
    batches = list(trainer.get_train_dataloader())[:2]
    expected = {
        language: sum(int(one["attention_mask"][one["language"] == index].sum()) for one in batches)
        for index, language in enumerate(trainer.train_dataset.languages)
    }
    trainer.train()
    assert trainer.tokens_seen.by_language == expected


@pytest.mark.parametrize("asked", [True, "True"], ids=["value", "word"])
def test_starts_from_the_beginning_where_nothing_is_complete(model, tokenizer, tmp_path, caplog, asked):
    trainer = first(model, tokenizer, tmp_path, **SAVING | {"max_steps": 2})
    trainer.train(resume_from_checkpoint=asked)
    assert "holds no complete checkpoint; training starts from the beginning" in caplog.text
    assert trainer.state.global_step == 2


def test_tokens_are_counted_on_where_the_trainer_restores_callbacks(model, tokenizer, tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 1, "max_steps": 2, "per_device_train_batch_size": 4}
    unbroken = first(model, tokenizer, tmp_path, **saving)
    unbroken.train()
    resumed = first(model, tokenizer, tmp_path, restore_callback_states_from_checkpoint=True, **saving)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert resumed.tokens_seen.by_language == unbroken.tokens_seen.by_language


def test_a_broken_checkpoint_that_is_named_is_refused(model, tokenizer, tmp_path):
    trainer = first(model, tokenizer, tmp_path, **SAVING | {"max_steps": 4})
    trainer.train()
    (tmp_path / "checkpoint-4" / "rng_state.pth").unlink()
    with pytest.raises(ValueError, match=r"checkpoint-4 is not a .* rng_state.pth is missing; .*checkpoint-2"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))


def test_a_checkpoint_of_another_trainer_is_resumed_when_it_is_named(model, tokenizer, tmp_path):
    first(model, tokenizer, tmp_path, **SAVING | {"max_steps": 4}).train()
    (tmp_path / "checkpoint-4" / MARK_FILE).unlink()
    path = tmp_path / "checkpoint-4" / "trainer_state.json"
    state = json.loads(path.read_text())
    del state["stateful_callbacks"]["TokensSeen"]
    path.write_text(json.dumps(state))
    trainer = first(model, tokenizer, tmp_path, **SAVING)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert trainer.state.global_step == 8


def test_checkpoints_of_a_former_run_are_not_resumed(model, tokenizer, tmp_path):
    first(model, tokenizer, tmp_path, **SAVING).train()
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-4", "checkpoint-6", "checkpoint-8"]
    first(model, tokenizer, tmp_path, callbacks=[StopAt(2)], **SAVING).train()
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")


class Look(TrainerCallback):
    """Notes which checkpoints are whole whenever one has been written but for its mark."""

    def __init__(self) -> None:
        self.found = []

    def on_save(self, args, state, control, **parts):
        whole = last_checkpoint(Path(args.output_dir))
        self.found.append((state.global_step, whole and whole.rpartition("-")[2]))


def test_an_older_one_is_removed_only_once_the_new_one_is_whole(model, tokenizer, tmp_path):
    look = Look()  # given to the trainer, so it is called before the trainer's own
    trainer = first(model, tokenizer, tmp_path, callbacks=[look], save_total_limit=1, **SAVING)
    given = trainer.args
    trainer.train()
    assert look.found == [(2, None), (4, "2"), (6, "4"), (8, "6")]
    assert names(tmp_path) == ["checkpoint-8"]
    assert given.save_total_limit is None


class FillTheDisk(TrainerCallback):
    """Lets no file grow beyond some kB from a step on."""

    def __init__(self, step: int, limit) -> None:
        self.step, self.limit = step, limit

    def on_step_end(self, args, state, control, **parts):
        if state.global_step == self.step:
            self.limit.__enter__()


@pytest.mark.parametrize("size", [40_000, 250_000], ids=["model", "optimizer"])
def test_a_full_disk_keeps_the_last_good_checkpoint(model, tokenizer, tmp_path, size):
    limit = files_of_at_most(size)
    trainer = first(model, tokenizer, tmp_path, callbacks=[FillTheDisk(4, limit)], save_total_limit=1, **SAVING)
    try:
        with pytest.raises((OSError, RuntimeError, SafetensorError)):
            trainer.train()
    finally:
        limit.__exit__(None, None, None)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")
    resumed = first(model, tokenizer, tmp_path, save_total_limit=1, **SAVING)
    resumed.train(resume_from_checkpoint=True)
    unbroken = first(model, tokenizer, tmp_path / "unbroken", **SAVING)
    unbroken.train()
    assert checksum(resumed.model) == checksum(unbroken.model)
    assert names(tmp_path) == ["checkpoint-8"]


class SendSigterm(TrainerCallback):
    """Sends this process SIGTERM, twice, in the middle of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_pre_optimizer_step(self, args, state, control, **parts):
        if state.global_step == self.step - 1:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)


@TRAINERS
def test_sigterm_saves_and_stops(model, tokenizer, tmp_path, trainer_of):
    settings = {"max_steps": 5}  # without any other checkpoint
    trainer = trainer_of(model, tokenizer, tmp_path, callbacks=[SendSigterm(3)], **settings)
    with pytest.raises(SystemExit) as left:
        trainer.train()
    assert left.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-3")
    resumed = trainer_of(model, tokenizer, tmp_path, **settings)
    resumed.train(resume_from_checkpoint=True)
    unbroken = trainer_of(model, tokenizer, tmp_path / "unbroken", **settings)
    unbroken.train()
    assert checksum(resumed.model) == checksum(unbroken.model)


class SendSigtermAtTheEnd(TrainerCallback):
    """Sends it when no step is left to end in."""

    def on_train_end(self, args, state, control, **parts):
        os.kill(os.getpid(), signal.SIGTERM)


@TRAINERS
def test_sigterm_after_the_last_step_stops_too(model, tokenizer, tmp_path, trainer_of):
    trainer = trainer_of(model, tokenizer, tmp_path, callbacks=[SendSigtermAtTheEnd()], **SAVING)
    with pytest.raises(SystemExit) as left:
        trainer.train()
    assert left.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert trainer.state.global_step == trainer.state.max_steps


def test_a_handler_of_the_users_own_stays(model, tokenizer, tmp_path):
    received = []
    signal.signal(signal.SIGTERM, lambda *_: received.append(1))
    try:
        trainer = first(model, tokenizer, tmp_path, callbacks=[SendSigterm(2)])
        trainer.train()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert received == [1, 1]
    assert trainer.state.global_step == 4


EVERY_STEP = {"save_strategy": "steps", "save_steps": 1, "max_steps": 2}
MISSING = "There were missing keys in the checkpoint model loaded: {}."


@pytest.fixture
def warnings_of_trainer(caplog):
    logger = logging.getLogger("transformers.trainer")
    logger.addHandler(caplog.handler)  # the root of transformers does not propagate
    yield caplog
    logger.removeHandler(caplog.handler)


def test_resuming_does_not_warn_of_tied_keys(model, tokenizer, tmp_path, warnings_of_trainer):
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    first = maft_trainer(copy.deepcopy(model), tokenizer, tmp_path, callbacks=[StopAt(1)], **EVERY_STEP)
    first.train()
    maft_trainer(copy.deepcopy(model), tokenizer, tmp_path, **EVERY_STEP).train(resume_from_checkpoint=True)
    assert "missing keys" not in warnings_of_trainer.text


def test_missing_keys_are_warned_of(model, warnings_of_trainer):
    logger = logging.getLogger("transformers.trainer")
    tied = ["lm_head.decoder.weight", "lm_head.decoder.bias"]
    both = "roberta.embeddings.word_embeddings.weight"
    for missing in ([*tied, "lm_head.dense.weight"], [tied[0], both], ["of.another.model"]):
        with saving.tied_keys_not_missing(model):
            logger.warning(MISSING.format(missing))
        assert MISSING.format(missing) in warnings_of_trainer.text
    with saving.tied_keys_not_missing(model):
        logger.warning(MISSING.format(tied))
    assert MISSING.format(tied) not in warnings_of_trainer.text
    logger.warning(MISSING.format(tied))  # and the filter is gone afterwards
    assert MISSING.format(tied) in warnings_of_trainer.text


class Evaluated:
    """What `evaluate_before` asks of a trainer, on one of two processes."""

    def __init__(self, is_main: bool) -> None:
        self.args = SimpleNamespace(world_size=2)
        self.is_main = is_main

    def is_world_process_zero(self) -> bool:
        return self.is_main

    def evaluate(self) -> dict[str, float]:
        return {"eval_loss": 2.0}


@pytest.mark.parametrize("is_main", [True, False])
@pytest.mark.parametrize("there", [None, {"eval_loss": 1.0}])
@pytest.mark.parametrize("seen", [None, {"eval_loss": 1.0}])
def test_all_processes_do_what_the_main_one_finds(tmp_path, monkeypatch, is_main, there, seen):
    """Another one may see the file early or late; evaluation waits for all."""

    def broadcast(found):
        if not is_main:
            found[0] = there
        sent.append(list(found))

    sent = []
    monkeypatch.setattr(saving, "broadcast_object_list", broadcast)
    on_disk = there if is_main else seen
    if on_disk is not None:
        (tmp_path / saving.BEFORE_FILE).write_text(json.dumps(on_disk))
    assert saving.evaluate_before(Evaluated(is_main), tmp_path) == (there or {"eval_loss": 2.0})
    assert sent == [[there]]
    written = (tmp_path / saving.BEFORE_FILE).is_file()
    assert written == (is_main or on_disk is not None)
