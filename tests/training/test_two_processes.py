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
from tests.training.recipes import distill_trainer, maft_trainer, steps_of, teacher_of, uneven_sentences
from tests.training.two_processes import HYBRID

SCRIPT = Path(__file__).with_name("two_processes.py")


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


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("name", ["maft", "distill", "hybrid"])
def test_steps_and_evaluation_are_those_of_one_process(of_two_processes, folder, name, accumulation):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    held_out = uneven_sentences()
    if name == "maft":
        model = AutoModelForMaskedLM.from_pretrained(folder)
        trainer = maft_trainer(model, tokenizer, folder / "one", eval_dataset=held_out)
    else:
        terms = HYBRID if name == "hybrid" else {}
        trainer = distill_trainer(teacher_of(tokenizer), tokenizer, folder / "one", eval_dataset=held_out, **terms)
    expected = {"evaluation": trainer.evaluate(), "steps": steps_of(trainer)}
    found = of_two_processes[f"{name} {accumulation}"]
    assert len(found["steps"]) == 4
    assert np.allclose(found["steps"], expected["steps"], rtol=1e-5, atol=0)
    figures = [key for key in expected["evaluation"] if key.endswith(("_loss", "_bits_per_byte", "_unknown_share"))]
    assert len(figures) >= 3
    for key in figures:
        assert found["evaluation"][key] == pytest.approx(expected["evaluation"][key], rel=1e-5)


def test_both_processes_end_in_the_same_weights(of_two_processes):
    for found in of_two_processes.values():
        assert len(set(found["checksums"])) == 1
