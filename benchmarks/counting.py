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
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from benchmarks.heaps_text import write_grown
from benchmarks.timing import peak_memory
from hf_afro.corpora import read_corpora
from hf_afro.vocabulary import count_tokens

SIDES = ("encode_batch", "encode_batch_fast", "count_tokens")
LINES_A_BATCH = 1000
MB = 1_000_000


def cut_files(text: Path, target: Path, share: float, every: int) -> Path:
    """Write a share of each file of a folder of text, or of that share every so many lines, and return the folder."""
    target.mkdir()
    for code, source in read_corpora(text).items():
        limit = share * Path(source.origin).stat().st_size
        with (target / f"{code}.txt").open("wb") as file:
            read = 0
            for number, line in enumerate(source):
                encoded = line.encode() + b"\n"
                if number % every == 0:
                    file.write(encoded)
                read += len(encoded)
                if read >= limit:
                    break
    return target


def size_of(text: Path) -> int:
    return sum(Path(source.origin).stat().st_size for source in read_corpora(text).values())


def measure(args: argparse.Namespace) -> None:
    """Run one side in this process, save its counts, and print what it took as JSON."""
    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    texts = read_corpora(args.text)
    Path("/proc/self/clear_refs").write_text("5")  # the peak of loading the tokenizer is forgotten
    bare = peak_memory() // MB
    start, cpu = time.perf_counter(), time.process_time()
    if args.side == "count_tokens":
        counts = count_tokens(texts, tokenizer).counts
    else:
        encode = getattr(tokenizer.backend_tokenizer, args.side)
        counts = np.stack([by_lines(texts[code], encode, len(tokenizer)) for code in sorted(texts)])
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    np.save(args.save, counts)
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak_memory() // MB, "bare": bare}))


def by_lines(lines: Iterable[str], encode, old_size: int) -> np.ndarray:
    """Count as anyone would today: batches of lines, encoded on all cores."""
    row = np.zeros(old_size, dtype=np.int64)
    rest = iter(lines)
    while batch := list(itertools.islice(rest, LINES_A_BATCH)):
        for encoding in encode(batch, add_special_tokens=False):
            np.add.at(row, np.array(encoding.ids, dtype=np.int64), 1)
    return row


def run_side(args: argparse.Namespace, side: str, text: Path, save: Path) -> dict:
    command = [sys.executable, "-m", "benchmarks.counting", "--tokenizer", args.tokenizer, "--text", str(text)]
    command += ["--side", side, "--save", str(save)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(args: argparse.Namespace, text: Path, megabytes: float, name: str) -> None:
    """Print one row for each side: medians over the rounds."""
    every = max(1, -int(-megabytes // args.whole_up_to))
    results: dict[str, list[dict]] = {side: [] for side in args.sides}
    with tempfile.TemporaryDirectory(dir=args.work_dir) as folder:
        share = megabytes * MB / size_of(text)
        whole = cut_files(text, Path(folder) / "whole", share, 1) if share < 1 else text
        part = cut_files(text, Path(folder) / "part", share, every) if every > 1 else whole
        saves = {side: Path(folder) / f"{side}.npy" for side in args.sides}
        for _ in range(args.rounds):
            for side in args.sides:
                results[side].append(run_side(args, side, whole if side == "count_tokens" else part, saves[side]))
        if every > 1:
            run_side(args, "count_tokens", part, saves["count_tokens"])
        ours = np.load(saves["count_tokens"])
        differing = [side for side in args.sides if not np.array_equal(np.load(saves[side]), ours)]
        if differing:
            raise SystemExit(f"{name}: the counts of {', '.join(differing)} differ")
        size, scale = size_of(whole), size_of(whole) / size_of(part)
    fastest, least = (statistics.median(one[key] for one in results["count_tokens"]) for key in ("seconds", "cpu"))
    for side, rounds in results.items():
        factor = 1.0 if side == "count_tokens" else scale
        seconds, cpu = (statistics.median(one[key] for one in rounds) * factor for key in ("seconds", "cpu"))
        peak, bare = max(one["peak"] for one in rounds), rounds[0]["bare"]
        shown = f"part 1/{every}, x {scale:.3f}" if factor > 1 else "whole"
        print(
            f"{name:>8} {size / MB:7.1f} MB  {side:18} {seconds:8.2f} s  {seconds / fastest:5.2f}x"
            f"  {cpu:8.2f} s of cores  {cpu / least:5.2f}x  peak {peak:5d} MB ({bare} before counting)  {shown}",
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
    factor = megabytes * MB / size_of(Path(args.text))
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
    parser.add_argument("--work_dir", help="where grown text is kept, and parts while they are used")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--whole_up_to", type=float, default=500, help="MB that encode_batch is given at most")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--save", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        measure(args)
        return
    own = size_of(Path(args.text)) / MB
    for megabytes in args.sizes or [own]:
        if megabytes > own and not args.work_dir:
            parser.error("--work_dir is needed for text larger than --text")
        text = grow(args, max(args.sizes)) if megabytes > own else Path(args.text)
        compare(args, text, megabytes, f"{megabytes:.0f} MB")


if __name__ == "__main__":
    main()
