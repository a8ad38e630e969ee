r"""count_tokens beside encode_batch of every line: seconds, peak memory, and whether the counts are the same.

    python -m benchmarks.counting --tokenizer xlm-roberta-base --text corpora
    python -m benchmarks.counting --tokenizer xlm-roberta-base --text corpora --sizes 250 1000 --work_dir /tmp/grown

Without `--sizes` the text is counted as it is, otherwise cut or grown to so many MB, smaller ones being the beginning
of the largest; `heaps_text.py` says how text is grown. Every run is a process of its own that reads the files line by
line, and the sides take turns. Seconds are given by the clock and, since others may use the machine, of all cores
together. Where a text is larger than `--whole_up_to`, encode_batch gets only every so many lines of it and its seconds
are multiplied by the share of bytes: `part` says so, and counts of that part are compared.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from benchmarks.heaps_text import write_grown
from hf_afro.corpora import read_corpora
from hf_afro.vocabulary import count_tokens

SIDES = ("encode_batch", "encode_batch_fast", "count_tokens")
LINES_A_BATCH = 1000
MB = 1_000_000


class Lines:
    """Every so many lines of a file, read again each time, up to a share of its bytes."""

    def __init__(self, source, share: float, every: int) -> None:
        self.source, self.every = source, every
        self.limit = share * Path(source.origin).stat().st_size
        self.bytes = 0

    def __iter__(self) -> Iterator[str]:
        read = self.bytes = 0
        for number, line in enumerate(self.source):
            size = len(line.encode()) + 1
            read += size
            if number % self.every == 0:
                self.bytes += size
                yield line
            if read >= self.limit:
                return


def measure(args: argparse.Namespace) -> None:
    """Run one side in this process, save its counts, and print what it took as JSON."""
    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    texts = {code: Lines(source, args.share, args.every) for code, source in read_corpora(args.text).items()}
    Path("/proc/self/clear_refs").write_text("5")  # the peak of loading the tokenizer is forgotten
    bare = peak_memory()
    start, cpu = time.perf_counter(), time.process_time()
    if args.side == "count_tokens":
        counts = count_tokens(texts, tokenizer).counts
    else:
        encode = getattr(tokenizer.backend_tokenizer, args.side)
        counts = np.stack([by_lines(texts[code], encode, len(tokenizer)) for code in sorted(texts)])
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    np.save(args.save, counts)
    size = sum(text.bytes for text in texts.values())
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak_memory(), "bare": bare, "bytes": size}))


def by_lines(lines: Lines, encode, old_size: int) -> np.ndarray:
    """Count as anyone would today: batches of lines, encoded on all cores."""
    row = np.zeros(old_size, dtype=np.int64)
    rest = iter(lines)
    while batch := list(itertools.islice(rest, LINES_A_BATCH)):
        for encoding in encode(batch, add_special_tokens=False):
            np.add.at(row, np.array(encoding.ids, dtype=np.int64), 1)
    return row


def peak_memory() -> int:
    """Return the most memory this process has held since that was last reset, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 // MB


def run_side(args: argparse.Namespace, side: str, text: Path, share: float, every: int, save: Path) -> dict:
    command = [sys.executable, "-m", "benchmarks.counting", "--tokenizer", args.tokenizer, "--text", str(text)]
    command += ["--side", side, "--share", str(share), "--every", str(every), "--save", str(save)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(args: argparse.Namespace, text: Path, megabytes: float, name: str) -> None:
    """Print one row for each side: medians over the rounds."""
    total = sum(Path(source.origin).stat().st_size for source in read_corpora(text).values())
    share = min(1.0, megabytes * MB / total)
    every = max(1, -int(-megabytes // args.whole_up_to))
    results: dict[str, list[dict]] = {side: [] for side in args.sides}
    with tempfile.TemporaryDirectory() as folder:
        saves = {side: Path(folder) / f"{side}.npy" for side in SIDES}
        part = Path(folder) / "part.npy"
        for _ in range(args.rounds):
            for side in args.sides:
                own_every = 1 if side == "count_tokens" else every
                results[side].append(run_side(args, side, text, share, own_every, saves[side]))
        if every > 1:
            run_side(args, "count_tokens", text, share, every, part)
        ours = np.load(part if every > 1 else saves["count_tokens"])
        for side in args.sides:
            if side != "count_tokens" and not np.array_equal(np.load(saves[side]), ours):
                raise SystemExit(f"{name}: the counts of {side} differ")
    counted = results["count_tokens"]
    fastest, least = (statistics.median(one[key] for one in counted) for key in ("seconds", "cpu"))
    for side, rounds in results.items():
        scale = counted[0]["bytes"] / rounds[0]["bytes"]
        seconds, cpu = (statistics.median(one[key] for one in rounds) * scale for key in ("seconds", "cpu"))
        peak, bare = max(one["peak"] for one in rounds), rounds[0]["bare"]
        shown = f"part 1/{every}, x {scale:.3f}" if scale > 1 else "whole"
        print(
            f"{name:>8} {counted[0]['bytes'] / MB:7.1f} MB  {side:18} {seconds:8.2f} s  {seconds / fastest:5.2f}x"
            f"  {cpu:8.2f} s of cores  {cpu / least:5.2f}x"
            f"  peak {peak:5d} MB ({bare} before counting)  {shown}",
            flush=True,
        )
    print(f"{name:>8} counts identical; load {os.getloadavg()}", flush=True)


def grow(args: argparse.Namespace, megabytes: float) -> Path:
    """Return a folder of the corpora grown to so many MB, all by the same factor; made where it is not there."""
    folder = Path(args.work_dir) / f"{megabytes:.0f}"
    if (folder / "done").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    files = {code: Path(source.origin) for code, source in read_corpora(args.text).items()}
    factor = megabytes * MB / sum(file.stat().st_size for file in files.values())
    for number, (code, file) in enumerate(files.items()):
        grown = write_grown(file, folder / f"{code}.txt", int(file.stat().st_size * factor), seed=number)
        (constant, exponent), running, distinct = grown
        print(f"  {code}: V = {constant:.2f} n^{exponent:.3f}; {running:,} words, {distinct:,} distinct", flush=True)
    (folder / "done").touch()
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", required=True, help="folder of a tokenizer, XLM-R's")
    parser.add_argument("--text", required=True, help="folder with a text file a language")
    parser.add_argument("--sizes", type=float, nargs="*", default=[], help="MB to cut or grow the text to")
    parser.add_argument("--work_dir", help="where grown text is kept, to be deleted afterwards")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--whole_up_to", type=float, default=500, help="MB that encode_batch is given at most")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--share", type=float, default=1.0, help=argparse.SUPPRESS)
    parser.add_argument("--every", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--save", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        measure(args)
        return
    own = sum(Path(source.origin).stat().st_size for source in read_corpora(args.text).values()) / MB
    for megabytes in args.sizes or [own]:
        if megabytes > own and not args.work_dir:
            parser.error("--work_dir is needed for text larger than --text")
        text = grow(args, max(args.sizes)) if megabytes > own else Path(args.text)
        compare(args, text, megabytes, f"{megabytes:.0f} MB")


if __name__ == "__main__":
    main()
