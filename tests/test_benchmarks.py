"""Every benchmark runs, at a size that says nothing about speed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(name: str, *options: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"benchmarks.{name}", *options]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "sides"), [("relation_loss", ["reference", "chunked"]), ("maft_step", ["stock head", "masked only"])]
)
def test_timings_print_every_side_and_its_ratio(name, sides):
    printed = run(name, "--small")
    for side in sides:
        assert any(line.strip().startswith(side) and line.endswith("x") for line in printed.splitlines())


def test_pruning_a_checkpoint_prints_seconds_and_memory():
    printed = run("prune_checkpoint", "--small", "--repeats", "1", "--sides", "weights only")
    figures = printed.splitlines()[-1].removeprefix("weights only").split()
    assert len(figures) == 5
    assert float(figures[3]) > float(figures[4]) >= 0


@pytest.mark.slow
def test_the_run_on_real_text(shared_data, tmp_path):
    printed = run(
        "real_text",
        "--small",
        *("--tokenizer", str(shared_data / "xlm-roberta-base"), "--text", str(shared_data / "corpora")),
        *("--exclude", str(shared_data / "ner"), "--output_dir", str(tmp_path)),
    )
    assert "teacher" in printed
    assert (tmp_path / "figures.json").is_file()


@pytest.mark.slow
def test_the_real_vocabulary(shared_data):
    printed = run(
        "real_vocabulary",
        *("--tokenizer", str(shared_data / "xlm-roberta-base"), "--text", str(shared_data / "corpora")),
        *("--budgets", "50000"),
    )
    assert "50,000 tokens" in printed
    assert "hidden_difference=0.0, logit_difference=0.0" in printed
