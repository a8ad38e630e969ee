"""The order and content of global batches: one process, two real ones, and a run that was stopped halfway.

The tiny model is trained for as many steps in each way, and what it was given is compared row by row: masked ids and
labels, in their order. Two processes are started by torchrun.

python -m benchmarks.global_batches [--steps 1000] [--kinds maft streaming]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, TrainerCallback

from benchmarks.tiny_runs import tokenizer, trainer
from hf_afro.training import leave_process_group


class Watch:
    """Notes a hash of every row that a trainer is given, step by step."""

    def __init__(self, run: Any) -> None:
        self.steps: list[list[str]] = []
        self._own = run.get_batch_samples
        self._world_size = run.args.world_size
        run.get_batch_samples = self._get_batch_samples

    def _get_batch_samples(self, *arguments: Any) -> Any:
        batches, count = self._own(*arguments)
        own = [[self._hash(batch, row) for row in range(len(batch["input_ids"]))] for batch in batches]
        ranks: list[Any] = [own]
        if self._world_size > 1:
            ranks = [None] * self._world_size
            torch.distributed.all_gather_object(ranks, own)
        self.steps.append([row for number in range(len(own)) for rank in ranks for row in rank[number]])
        return batches, count

    def _hash(self, batch: dict[str, torch.Tensor], row: int) -> str:
        tokens = batch["attention_mask"][row].bool()
        content = torch.cat([batch["input_ids"][row][tokens], batch["labels"][row][tokens]])
        return hashlib.blake2b(content.numpy().tobytes(), digest_size=12).hexdigest()


class Stop(TrainerCallback):
    """Ends training after a step with a checkpoint, as SIGTERM does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """Save and stop."""
        if state.global_step == self.step:
            control.should_save = control.should_training_stop = True


def batches_of(kind: str, tokens: Any, folder: Path, steps: int, **settings: Any) -> list[list[str]]:
    """Train, and return the hashes of the rows of every step."""
    resume = settings.pop("resume", False)
    run = trainer(kind, tokens, folder, width=8, max_steps=steps, **settings)
    watch = Watch(run)
    run.train(resume_from_checkpoint=resume)
    return watch.steps


def in_two_processes(kind: str, folder: Path, steps: int) -> list[list[str]]:
    """Start this file by torchrun, and read what it wrote."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    own = ["benchmarks.global_batches", "--steps", str(steps), "--kinds", kind, "--child", str(folder)]
    done = subprocess.run([*command, *own], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads((folder / "steps.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000, help="global batches")
    parser.add_argument("--kinds", nargs="+", choices=("maft", "streaming"), default=["maft", "streaming"])
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is not None:
        tokens = AutoTokenizer.from_pretrained(args.child)
        split = {"processes": 2, "gradient_accumulation_steps": 2}
        steps = batches_of(args.kinds[0], tokens, args.child / "two", args.steps, **split)
        if int(os.environ["RANK"]) == 0:
            (args.child / "steps.json").write_text(json.dumps(steps))
        return
    torch.set_num_threads(1)
    different = 0
    for kind in args.kinds:
        with tempfile.TemporaryDirectory() as folder:
            tokens = tokenizer()
            tokens.save_pretrained(folder)
            place, half = Path(folder), args.steps // 2
            one = batches_of(kind, tokens, place / "one", args.steps)
            stopped = batches_of(kind, tokens, place / "stopped", args.steps, callbacks=[Stop(half)])
            ways = {
                "2 processes": in_two_processes(kind, place, args.steps),
                f"stopped after {half}": stopped
                + batches_of(kind, tokens, place / "stopped", args.steps, resume=True),
            }
        rows = sum(map(len, one))
        print(
            f"{kind}: {len(one)} global batches, {rows} rows, {len({row for step in one for row in step})} different"
        )
        for name, found in ways.items():
            same = sum(left == right for left, right in zip(one, found, strict=True))
            different += args.steps - same
            print(f"  {name:20} {same} of {args.steps} batches are those of 1 process")
    sys.exit(different > 0)


if __name__ == "__main__":
    main()
    leave_process_group()
