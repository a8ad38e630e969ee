"""Two real processes under FSDP2 take the step of one, teacher and student sharded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("fully_sharded.py")


STUDENTS = ("xlm-roberta", "modernbert")


def test_loss_and_gradients_are_those_of_whole_models(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(SCRIPT.parents[2]),
        "CUDA_VISIBLE_DEVICES": "",
    }
    run = subprocess.run(
        [*command, "-m", "tests.training.fully_sharded", str(tmp_path), *STUDENTS],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    furthest = json.loads((tmp_path / "furthest.json").read_text())
    assert set(furthest) == set(STUDENTS)
    for off in furthest.values():
        assert off["loss"] < 1e-5
        assert off["gradient"] < 1e-4
