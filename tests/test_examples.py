"""The examples as a user starts them: plainly, by `uv run`, torchrun and `accelerate launch` with two processes."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import XLMRobertaForMaskedLM

from tests.conftest import tiny_config
from tests.texts import AFRICAN

ROOT = Path(__file__).resolve().parents[1]
PLAIN = [sys.executable]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
ACCELERATE = [
    *(sys.executable, "-m", "accelerate.commands.launch"),
    *"--multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no".split(),
]

# In the environment of the tests, which has everything: nothing is downloaded, and a missing requirement is an error.
UV = ["uv", "run", "--active", "--offline", "--no-python-downloads"]

pytestmark = pytest.mark.examples


@pytest.fixture(scope="module")
def folder(tmp_path_factory, _tokenizer):
    """Text and a model to start from."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "texts").mkdir()
    for code, sentences in AFRICAN.items():
        (folder / "texts" / f"{code}.txt").write_text("\n".join(sentences * 3), "utf-8")
    torch.manual_seed(0)
    XLMRobertaForMaskedLM(tiny_config(len(_tokenizer), num_hidden_layers=4)).save_pretrained(folder / "model")
    _tokenizer.save_pretrained(folder / "model")
    return folder


def run(script: str, start: list[str], *options: str, **variables: str) -> subprocess.CompletedProcess:
    settings = ["--use_cpu", "--max_steps", "2", "--max_length", "32"]
    settings += ["--per_device_train_batch_size", "4", "--disable_tqdm", "True"]
    environment = {
        **os.environ,
        **variables,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "CUDA_VISIBLE_DEVICES": "",
    }
    return subprocess.run(
        [*start, str(ROOT / "examples" / script), *options, *settings],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("start", [PLAIN, TORCHRUN], ids=["plain", "torchrun"])
def test_maft(folder, tmp_path, start):
    options = ["--model_name_or_path", str(folder / "model"), "--text", str(folder / "texts")]
    done = run("maft.py", start, *options, "--output_dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "eval_results.json").read_text())
    assert metrics["eval_swa_bits_per_byte"] > 0
    assert (tmp_path / "model.safetensors").is_file()
    assert (tmp_path / "tokenizer.json").is_file()


@pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed")
@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="the tests run in no virtual environment")
@pytest.mark.skipif(
    not any(importlib.metadata.distributions(name="hf_afro")), reason="hf_afro is not installed in the environment"
)
def test_uv_runs_a_script_with_the_requirements_of_its_header(folder, tmp_path):
    options = ["--model_name_or_path", str(folder / "model"), "--text", str(folder / "texts")]
    where = {"VIRTUAL_ENV": sys.prefix, "UV_CACHE_DIR": str(tmp_path / "cache")}
    done = run("maft.py", UV, *options, "--output_dir", str(tmp_path / "out"), **where)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "model.safetensors").is_file()
    script = (ROOT / "examples" / "maft.py").read_text("utf-8")
    lacking = tmp_path / "lacking.py"
    lacking.write_text(script.replace('"datasets>=4.0"', '"datasets>=400.0"'), "utf-8")
    done = run(str(lacking), UV, *options, "--output_dir", str(tmp_path / "other"), **where)
    assert done.returncode != 0
    assert "datasets>=400.0" in done.stderr


@pytest.mark.parametrize("start", [PLAIN, ACCELERATE], ids=["plain", "accelerate"])
def test_distill(folder, tmp_path, start):
    options = ["--teacher", str(folder / "model"), "--text", str(folder / "texts"), "--embedding_size", "8"]
    done = run("distill.py", start, *options, "--output_dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["model_type"], config["embedding_size"], config["num_hidden_layers"]) == ("afro-student", 8, 2)
    assert json.loads((tmp_path / "eval_results.json").read_text())["eval_swa_loss"] > 0


def test_sweep(folder, tmp_path):
    options = ["--teacher", str(folder / "model"), "--text", str(folder / "texts"), "--fit_steps", "2"]
    options += ["--sweep_layers", "3", "4", "--sweep_heads", "8"]
    done = run("sweep.py", PLAIN, *options, "--output_dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "sweep.json").read_text())
    assert {(result["teacher_layer"], result["num_relation_heads"]) for result in results} == {(3, 8), (4, 8)}
    bits = [result["bits_per_byte"] for result in results]
    assert bits == sorted(bits)
    assert bits[0] > 0


def test_a_start_that_is_silently_one_process_is_refused(folder, tmp_path):
    options = ["--model_name_or_path", str(folder / "model"), "--text", str(folder / "texts")]
    # As accelerate launch --cpu.
    asked = {"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    done = run("maft.py", PLAIN, *options, "--output_dir", str(tmp_path), **asked)
    assert done.returncode == 1
    assert "asked for several processes and started one" in done.stderr
    assert not list(tmp_path.iterdir())
