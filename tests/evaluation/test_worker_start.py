"""How a process begins: which GPU it sees, and that it ends with the one that started it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
import subprocess
import sys

import pytest

from hf_afro.evaluation import worker_start, workers


@pytest.mark.parametrize(("visible", "seen"), [(None, ["0", "1", "0"]), ("3,5", ["3", "5", "3"])])
def test_each_process_sees_one_gpu_and_logs_as_the_first_one_does(visible, seen, monkeypatch, tmp_path, caplog):
    caplog.set_level(logging.WARNING, "hf_afro")  # and put back afterwards
    told = []
    monkeypatch.setattr(workers, "prepare", lambda *facts: told.append(facts))
    places = queue.Queue()
    for place in range(3):
        places.put(place)
    for expected in seen:
        with monkeypatch.context() as patch:
            if visible is None:
                patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
            else:
                patch.setenv("CUDA_VISIBLE_DEVICES", visible)
            worker_start.begin(places, 2, 2, "saved", "print", tmp_path, logging.INFO)
            assert os.environ["CUDA_VISIBLE_DEVICES"] == expected
    assert told == [(2, "saved", "print", tmp_path)] * 3
    assert logging.getLogger("hf_afro.progress_log").isEnabledFor(logging.INFO)


def test_importing_it_looks_for_no_gpu():
    code = (
        "import torch\nasked = []\nfor name in ('is_available', 'device_count', 'init', '_lazy_init'):\n"
        "    setattr(torch.cuda, name, lambda *_, name=name: asked.append(name))\n"
        "import hf_afro.evaluation.worker_start\nprint(asked)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_the_first_process_waits_for_nobody():
    assert multiprocessing.parent_process() is None
    worker_start.end_with_parent()
