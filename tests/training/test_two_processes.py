"""Two real processes under DDP take the steps of one, for both trainers and any accumulation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, XLMRobertaForMaskedLM

from tests.conftest import tiny_config
from tests.training.fully_sharded import SHARDED_STUDENTS
from tests.training.tiny_trainers import (
    HYBRID,
    PROJECTED,
    WINDOW,
    adapter_maft_trainer,
    distill_trainer,
    global_batches,
    maft_trainer,
    steps_of,
    streamed_maft_trainer,
    teacher_of,
    uneven_sentences,
)

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # by peft

SCRIPT = Path(__file__).with_name("two_processes.py")
DISTILLED = {"distill": {}, "hybrid": HYBRID, "projected": PROJECTED}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("two_processes")


@pytest.fixture(scope="module")
def of_two_processes(_tokenizer, folder):
    torch.manual_seed(0)
    XLMRobertaForMaskedLM(tiny_config(len(_tokenizer))).save_pretrained(folder)
    _tokenizer.save_pretrained(folder)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(SCRIPT)]
    root = str(SCRIPT.parents[2])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root, "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run([*command, str(folder)], env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads((folder / "steps.json").read_text())


@pytest.fixture(scope="module")
def of_one_process(of_two_processes, folder):
    """What each trainer does alone, whole batches at once."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = {}
    for name in ("maft", *DISTILLED, "streamed", "adapter"):
        model = AutoModelForMaskedLM.from_pretrained(folder)
        own = {"eval_dataset": uneven_sentences()}
        if name in DISTILLED:
            trainer = distill_trainer(teacher_of(tokenizer), tokenizer, folder / "one", **own, **DISTILLED[name])
        else:
            make = {"maft": maft_trainer, "streamed": streamed_maft_trainer, "adapter": adapter_maft_trainer}[name]
            trainer = make(model, tokenizer, folder / "one", **own)
        found[name] = {
            "evaluation": trainer.evaluate(),
            "steps": steps_of(trainer),
            "tokens_seen": trainer.tokens_seen.by_language,
            "batches": global_batches(trainer, 4) if name in ("maft", "streamed") else None,
        }
    return found


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("name", ["maft", *DISTILLED, "streamed", "adapter"])
def test_steps_and_evaluation_are_those_of_one_process(of_two_processes, of_one_process, name, accumulation):
    expected, found = of_one_process[name], of_two_processes[f"{name} {accumulation}"]
    assert len(found["steps"]) == 4
    assert np.allclose(found["steps"], expected["steps"], rtol=1e-5, atol=0)
    figures = [key for key in expected["evaluation"] if key.endswith(("_loss", "_bits_per_byte", "_unknown_share"))]
    assert len(figures) >= 3
    for key in figures:
        assert found["evaluation"][key] == pytest.approx(expected["evaluation"][key], rel=1e-5)
    assert found["tokens_seen"] == expected["tokens_seen"]
    assert len(found["tokens_seen"]) == 5


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("name", ["maft", "streamed"])
def test_the_global_batches_are_those_of_one_process(of_two_processes, of_one_process, name, accumulation):
    expected, found = of_one_process[name]["batches"], of_two_processes[f"{name} {accumulation}"]["batches"]
    assert found == expected
    assert [len(step) for step in found] == [WINDOW] * 4


def test_a_model_sharded_by_fsdp2_takes_the_steps_of_one_process(of_two_processes, folder):
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForMaskedLM.from_pretrained(folder)
    steps = steps_of(maft_trainer(model, tokenizer, folder / "whole", lr_scheduler_type="constant"))
    assert np.allclose(of_two_processes["sharded"], steps, rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["maft", "distill"])
def test_sharded_models_with_unequal_shares_measure_what_one_process_does(of_two_processes, of_one_process, name):
    found, expected = of_two_processes["sharded evaluations"][name], of_one_process[name]["evaluation"]
    losses = [key for key in expected if key.endswith("_loss")]
    assert len(losses) >= 4
    for key in losses:
        assert found[key] == pytest.approx(expected[key], rel=1e-5)


@pytest.mark.parametrize("name", SHARDED_STUDENTS)
def test_a_sharded_teacher_and_student_take_the_steps_of_whole_ones(of_two_processes, name):
    off = of_two_processes["sharded distillation"][name]
    assert off["loss"] < 1e-5
    assert off["gradient"] < 1e-4


def test_both_processes_end_in_the_same_weights(of_two_processes):
    for name, found in of_two_processes.items():
        assert name.startswith("sharded") or len(set(found["checksums"])) == 1
