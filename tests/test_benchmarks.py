"""Every benchmark runs, at a size that says nothing about speed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.heaps_text import write_grown
from tests.texts import SENTENCES
from tests.vocabulary.kinds import EXAMPLES

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


def test_the_table_of_pruning():
    options = ("--families", "WordPiece", "--classes", "seq2seq", "tokens", "--size", "2500")
    printed = run("pruning_table", *options).splitlines()
    assert [line.count("| equal | in range |") for line in printed[2:4]] == [1, 1]
    assert printed[-1] == "0 rows with something wrong"


def test_pruning_a_checkpoint_prints_seconds_and_memory():
    printed = run("prune_checkpoint", "--small", "--repeats", "1", "--sides", "weights only")
    figures = printed.splitlines()[-1].removeprefix("weights only").split()
    assert len(figures) == 5
    assert float(figures[3]) > float(figures[4]) >= 0


@pytest.mark.slow
def test_faults_of_the_hub_are_told_and_leave_no_part_of_a_push():
    printed = run("hub_faults", "--sequences", "2")
    assert "commit, 401: unchanged" in printed
    assert "commit, lost: complete" in printed
    assert "2 sequences" in printed
    assert "0 with a part of a push" in printed


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


@pytest.mark.slow
def test_counting_prints_every_side_and_that_the_counts_are_equal(tmp_path):
    """At sizes that cut the text and grow it, and where encode_batch gets a part."""
    (tmp_path / "text").mkdir()
    for language, lines in SENTENCES.items():
        (tmp_path / "text" / f"{language}.txt").write_text("\n".join(lines), "utf-8")
    EXAMPLES["bert, cased"].make().save_pretrained(tmp_path / "tokenizer")
    printed = run(
        "counting",
        *("--tokenizer", str(tmp_path / "tokenizer"), "--text", str(tmp_path / "text"), "--rounds", "1"),
        *("--sizes", "0.005", "0.2", "--work_dir", str(tmp_path / "grown"), "--whole_up_to", "0.1"),
    )
    for side in ("encode_batch ", "encode_batch_fast ", "count_tokens "):
        assert sum(f"MB  {side}" in line for line in printed.splitlines()) == 2
    assert printed.count("counts identical") == 2
    assert "part 1/2" in printed


def test_text_grows_by_heaps_law(tmp_path):
    """Words drawn by Simon's model from a text whose words are new ever more rarely."""
    generator = np.random.default_rng(0)
    ids = (generator.zipf(1.5, 20_000) - 1).tolist()
    lines = [" ".join(f"w{one:08}x" for one in ids[at : at + 10]) for at in range(0, len(ids), 10)]
    (tmp_path / "swa.txt").write_text("\n".join(lines))
    size = (tmp_path / "swa.txt").stat().st_size
    (constant, exponent), running, distinct = write_grown(tmp_path / "swa.txt", tmp_path / "out.txt", 8 * size, seed=1)
    words = (tmp_path / "out.txt").read_text().split()
    assert len(words) == running == pytest.approx(160_000, rel=0.01)
    assert len(set(words)) == distinct
    assert distinct == pytest.approx(constant * running**exponent, rel=0.05)
    assert (tmp_path / "out.txt").read_text().startswith((tmp_path / "swa.txt").read_text())
    assert 0 < exponent < 1
