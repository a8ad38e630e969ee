"""A run that is killed at any moment, by a signal that nothing can catch, resumes and ends as an unbroken one."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.slow


def command(tiny_file, data, folder) -> list[str]:
    own = [sys.executable, "-m", "hf_afro.cli.main", "run", str(tiny_file), "--data", str(data)]
    # Many short steps and checkpoints, so that there is much to be cut short.
    more = [
        "--pretrain.max_steps",
        "40",
        "--maft.max_steps",
        "40",
        "--distill.max_steps",
        "20",
        "--distill.save_steps",
        "2",
    ]
    return [*own, *more, "--output_dir", str(folder)]


def outcome(tiny_file, data, folder) -> str:
    """The table of scores that a run ends in, without what differs by nature."""
    done = subprocess.run(command(tiny_file, data, folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("Bits per byte")[2].partition("written to")[0]


@pytest.fixture(scope="module")
def unbroken(tiny_file, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken") / "out"
    start = time.monotonic()
    table = outcome(tiny_file, data, folder)
    assert "mean of 3" in table
    return table, time.monotonic() - start


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_moments(tiny_file, data, unbroken, tmp_path, seed):
    table, seconds = unbroken
    moments = random.Random(seed)
    for _ in range(2):
        process = subprocess.Popen(
            command(tiny_file, data, tmp_path / "out"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(moments.uniform(0.2, 1.0) * seconds)
        process.kill()
        process.wait()
    assert outcome(tiny_file, data, tmp_path / "out") == table
    assert not [name for name in os.listdir(tmp_path / "out") if name.endswith(".unfinished")]
