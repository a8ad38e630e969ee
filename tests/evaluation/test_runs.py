"""Runs: several processes, one killed in the middle, progress, and the start of a process."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
import torch

from hf_afro.evaluation import processes
from hf_afro.evaluation.runs import Progress
from hf_afro.evaluation.task_evaluation import evaluate_model
from tests.evaluation.conftest import make

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("swa", "yor", "hau")
TABLE = """
import sys
from transformers import AutoModelForMaskedLM, AutoTokenizer
from hf_afro.evaluation import FineTuningSettings, evaluate_model
from tests.evaluation.conftest import make

if __name__ == "__main__":
    import torch
    torch.set_num_threads(1)
    model, out, processes = sys.argv[1:]
    evaluate_model(
        AutoModelForMaskedLM.from_pretrained(model),
        AutoTokenizer.from_pretrained(model),
        [make(task, code) for task in ("ner", "topic") for code in ("swa", "yor", "hau")],
        name="tiny", output_dir=out, seeds=(1, 2), processes=int(processes),
        settings=FineTuningSettings(max_length=32, batch_size=8, epochs=4, learning_rate=2e-3),
        on_run=lambda what, done, total: print(done, total, what, flush=True),
    )
"""


@pytest.fixture
def folder(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def start(folder, out, processes=1) -> subprocess.Popen[str]:
    (folder.parent / "table.py").write_text(TABLE, "utf-8")
    command = [sys.executable, str(folder.parent / "table.py"), str(folder), str(out), str(processes)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}  # the script imports tests
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def scores_in(out):
    return json.loads((out / "evaluation_report.json").read_text("utf-8"))["scores"]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_table_goes_on_with_what_is_missing_and_gives_the_same(folder, tmp_path, processes):
    whole = start(folder, tmp_path / "whole")
    told, errors = whole.communicate(timeout=300)
    assert whole.returncode == 0, errors
    assert [line.split()[:2] for line in told.splitlines()] == [[str(done), "12"] for done in range(1, 13)]
    broken = start(folder, tmp_path / "broken", processes)
    for line in broken.stdout:
        if line.startswith("5 "):
            break
    os.kill(broken.pid, signal.SIGKILL)
    broken.wait()
    time.sleep(1)  # for its children to end
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "broken" / "runs").glob("*.json")}
    assert 5 <= len(kept) < 12
    time.sleep(2)
    # No process has outlived the one that was killed.
    assert kept.keys() == {path.name for path in (tmp_path / "broken" / "runs").glob("*.json")}
    again = start(folder, tmp_path / "broken", processes)
    told, errors = again.communicate(timeout=300)
    assert again.returncode == 0, errors
    lines = told.splitlines()
    assert sum(line.endswith("made before") for line in lines) == len(kept)
    assert len(lines) == 12
    assert not (tmp_path / "broken" / "runs").exists()
    assert scores_in(tmp_path / "broken") == scores_in(tmp_path / "whole")
    for file in (tmp_path / "whole" / "predictions").iterdir():
        assert file.read_bytes() == (tmp_path / "broken" / "predictions" / file.name).read_bytes()


@pytest.fixture
def one_thread():
    """Sums depend on the number of threads, and each of two processes has half of them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_two_processes_give_what_one_gives(one_thread, model, tokenizer, quick, tmp_path):
    data = [make("topic", "swa"), make("ner", "yor")]
    told = []
    reports = [
        evaluate_model(
            model,
            tokenizer,
            data,
            name="tiny",
            output_dir=tmp_path / str(processes),
            settings=quick.replace(epochs=2),
            seeds=(1,),
            processes=processes,
            save_models=True,
            on_run=lambda *what: told.append(what),
        )
        for processes in (1, 2)
    ]
    assert reports[0].scores == reports[1].scores
    assert [(done, total) for _, done, total in told] == [(1, 2), (2, 2)] * 2
    assert ["left" in what for what, *_ in told] == [True, False] * 2
    for kept in (tmp_path / "1" / "models").iterdir():
        other = tmp_path / "2" / "models" / kept.name / "model.safetensors"
        assert (kept / "model.safetensors").read_bytes() == other.read_bytes()


class Killed:
    """A pool whose processes are killed."""

    def __init__(self, *_):
        pass

    def submit(self, *_):
        future = Future()
        future.set_exception(BrokenProcessPool())
        return future

    def shutdown(self, **_):
        pass


def test_a_killed_process_is_reported(model, tokenizer, quick, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "ProcessPoolExecutor", Killed)
    data = [make("topic", "swa"), make("topic", "yor")]
    with pytest.raises(RuntimeError, match="one of 2 processes was killed"):
        evaluate_model(
            model, tokenizer, data, name="tiny", output_dir=tmp_path, settings=quick, seeds=(1,), processes=2
        )


def test_the_time_left_is_that_of_the_runs_made_here():
    told = []
    progress = Progress([1.0, 1.0, 2.0, 4.0], lambda *what: told.append(what))
    progress.taken(0, "a")
    progress.begin()
    progress.started -= 10
    progress.made(1, "b")
    assert told == [("a, made before", 1, 4), ("b; about 61 s left", 2, 4)]
    progress.made(3, "c")
    progress.made(2, "d")
    assert told[-1] == ("d", 4, 4)


@pytest.mark.parametrize(("visible", "seen"), [(None, ["0", "1", "0"]), ("3,5", ["3", "5", "3"])])
def test_each_process_sees_one_gpu_and_logs_as_the_first_one_does(visible, seen, monkeypatch, tmp_path, caplog):
    caplog.set_level(logging.WARNING, "hf_afro")  # and put back afterwards
    told = []
    monkeypatch.setattr(processes, "prepare", lambda *facts: told.append(facts))
    places = queue.Queue()
    for place in range(3):
        places.put(place)
    for expected in seen:
        with monkeypatch.context() as patch:
            if visible is None:
                patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
            else:
                patch.setenv("CUDA_VISIBLE_DEVICES", visible)
            processes.begin(places, 2, 2, "saved", "print", tmp_path, logging.INFO)
            assert os.environ["CUDA_VISIBLE_DEVICES"] == expected
    assert told == [(2, "saved", "print", tmp_path)] * 3
    assert logging.getLogger("hf_afro.progress_log").isEnabledFor(logging.INFO)


def test_importing_it_looks_for_no_gpu():
    code = (
        "import torch\nasked = []\nfor name in ('is_available', 'device_count', 'init', '_lazy_init'):\n"
        "    setattr(torch.cuda, name, lambda *_, name=name: asked.append(name))\n"
        "import hf_afro.evaluation.processes\nprint(asked)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_the_first_process_waits_for_nobody():
    assert multiprocessing.parent_process() is None
    processes.end_with_parent()
