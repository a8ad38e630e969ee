"""Training killed at random moments, some of them inside a save, ends in the weights of the run that was not.

Every run is a process of its own, killed once by SIGKILL and started again by the same call, which finds the last
whole checkpoint by itself.

python -m benchmarks.kills [--kills 20] [--in_save 5] [--kind maft|streaming|distill|states] [--steps 120] [--seed 0]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from benchmarks.tiny_runs import KINDS, checksum, tokenizer, trainer
from hf_afro.checkpoints import MARK_FILE, checkpoints_in, last_checkpoint

RESULT = "checksum.txt"


def train(kind: str, tokens: PreTrainedTokenizerBase, folder: Path, steps: int, save_steps: int) -> None:
    """What every process does, the first time and after a kill."""
    torch.set_num_threads(1)
    with open(folder / "log.txt", "a") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
    run = trainer(
        kind,
        tokens,
        folder,
        width=128,
        max_steps=steps,
        save_strategy="steps",
        save_steps=save_steps,
        save_total_limit=1,
    )
    run.train(resume_from_checkpoint=True)
    (folder / RESULT).write_text(checksum(run.model))


def is_saving(folder: Path) -> bool:
    """Say whether a checkpoint is being written: there is its folder, and no mark in it."""
    return any(not (path / MARK_FILE).exists() for path in checkpoints_in(folder))


def kill_in_save(process: multiprocessing.Process, folder: Path, saves: int, moments: random.Random) -> bool:
    """Kill a process within its n-th save, after a random part of it; say whether it was still saving."""
    wait_for, seen, was_saving = moments.randint(1, saves), 0, False
    while process.is_alive():
        saving = is_saving(folder)
        seen += saving and not was_saving
        was_saving = saving
        if saving and seen >= wait_for:
            time.sleep(moments.uniform(0.0, 0.02))
            process.kill()
            process.join()
            return is_saving(folder)
        time.sleep(0.0005)
    return False


def kill_at(process: multiprocessing.Process, seconds: float) -> bool:
    """Kill a process after a time; say whether it was still at work."""
    process.join(seconds)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="runs that are killed, once each")
    parser.add_argument("--in_save", type=int, default=5, help="how many of them within a save")
    parser.add_argument("--kind", choices=KINDS, default="maft")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--save_steps", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    tokens, moments = tokenizer(), random.Random(args.seed)
    context = multiprocessing.get_context("fork")  # a fresh interpreter would spend most of the time on imports

    def started(folder: Path) -> multiprocessing.Process:
        folder.mkdir(exist_ok=True)
        process = context.Process(target=train, args=(args.kind, tokens, folder, args.steps, args.save_steps))
        process.start()
        return process

    with tempfile.TemporaryDirectory() as root:
        unbroken, begin = Path(root) / "unbroken", time.monotonic()
        started(unbroken).join()
        seconds = time.monotonic() - begin
        expected = (unbroken / RESULT).read_text()
        print(f"unbroken: {args.steps} steps in {seconds:.1f} s, weights {expected[:16]}", flush=True)
        same = 0
        for number in range(args.kills):
            inside = number < args.in_save
            killed, tries = False, 0
            while not killed:
                folder, tries = Path(root) / f"{number}-{tries}", tries + 1
                process = started(folder)
                if inside:
                    killed = kill_in_save(process, folder, args.steps // args.save_steps - 1, moments)
                else:
                    killed = kill_at(process, moments.uniform(0.02, 0.98) * seconds)
            left = last_checkpoint(folder)
            started(folder).join()
            found = (folder / RESULT).read_text()
            same += found == expected
            where = "inside a save" if inside else "at a random moment"
            from_where = "the start" if left is None else Path(left).name
            equal = "the same" if found == expected else "OTHERS"
            print(f"kill {number + 1} {where}: went on from {from_where}, weights {found[:16]}, {equal}", flush=True)
    print(f"{same} of {args.kills} checksums are the unbroken run's")
    sys.exit(same != args.kills)


if __name__ == "__main__":
    main()
