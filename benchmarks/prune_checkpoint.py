"""Seconds and peak memory of pruning a checkpoint file by file, beside a copy of the result and pruning in memory.

python -m benchmarks.prune_checkpoint --tokenizer xlm-roberta-base --textpruner venv/bin/python
python -m benchmarks.prune_checkpoint --tokenizer xlm-roberta-base --large

XLM-R-base in size (250,002 x 768, 12 layers, fp32, random weights), or XLM-R-large (250,002 x 1024, 24 layers) in
shards of 1 GB, to 70,000 tokens drawn at random. Each side runs in a process of its own, in turn, the files in the
system's cache; seconds are without imports, and peak memory is that above a bare start, which has the same imports
and has done nothing. "weights only" is the part of prune_checkpoint that a copy does too: the rest loads, prunes,
saves and verifies the tokenizer, and reads all weights back. The last column is the ratio to the copy that is, or is
not, forced to the disk as the side is. TextPruner runs in an environment with transformers 4.57, whose interpreter is
named.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.timing import peak_memory

KEPT = 70_000
MIB = 1 << 20
TEXTPRUNER = """
import json, sys, time
from textpruner import GeneralConfig, VocabularyPruner
from transformers import XLMRobertaForMaskedLM, XLMRobertaTokenizer

def peak():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))) / 1024

source, keep, target = sys.argv[1:]
bare, start = peak(), time.perf_counter()
model = XLMRobertaForMaskedLM.from_pretrained(source)
tokenizer = XLMRobertaTokenizer(source + "/sentencepiece.bpe.model")
pruner = VocabularyPruner(model, tokenizer, general_config=GeneralConfig(use_device="cpu", output_dir=target))
pruner.prune(additional_token_ids=json.load(open(keep, encoding="utf-8"))["old_ids"])
print("measured", time.perf_counter() - start, bare, peak())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", help="folder with XLM-R's tokenizer; needed but for --small")
    parser.add_argument("--large", action="store_true", help="the size of XLM-R-large, in shards")
    parser.add_argument("--small", action="store_true", help="a size that says nothing about speed")
    parser.add_argument("--sentencepiece", action="store_true", help="a source without tokenizer.json")
    parser.add_argument("--repeats", type=int, default=3, help="rounds, after one that is not counted")
    parser.add_argument("--textpruner", metavar="PYTHON", help="interpreter that has TextPruner and transformers 4.57")
    parser.add_argument("--sides", nargs="+", choices=[*SIDES], default=[*SIDES], help="which to run")
    parser.add_argument("--run", nargs=2, metavar=("SIDE", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        run_side(args.run[0], Path(args.run[1]), args)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = [f"--{flag}" for flag in ("large", "small", "sentencepiece") if getattr(args, flag)]
        settings += ["--tokenizer", args.tokenizer] if args.tokenizer else []
        sides = {side: [sys.executable, "-m", __spec__.name, *settings, "--run", side, name] for side in args.sides}
        if args.textpruner:
            words = [str(folder / "source"), str(folder / "keep.json"), str(folder / "out")]
            sides["TextPruner"] = [args.textpruner, "-c", TEXTPRUNER, *words]
        for made in ("make", "prune_checkpoint"):
            measured([sys.executable, "-m", __spec__.name, *settings, "--run", made, name])
        (folder / "out").rename(folder / "result")
        print_table(folder, repeat(sides, folder, args.repeats))


def repeat(sides: dict[str, list[str]], folder: Path, rounds: int) -> dict[str, list[tuple[float, ...]]]:
    """Run all sides in turn; the first round, which warms the cache, is not kept."""
    figures: dict[str, list[tuple[float, ...]]] = {side: [] for side in sides}
    for number in range(rounds + 1):
        for side, command in sides.items():
            figure = measured(command)
            shutil.rmtree(folder / "out")
            os.sync()  # no side pays for what another has written
            if number:
                figures[side].append(figure)
    return figures


def measured(command: list[str]) -> tuple[float, ...]:
    """Run a side; return its seconds, and its peak memory in MiB before and after the work."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:6])} failed:\n{done.stderr}")
    return tuple(map(float, done.stdout.rpartition("measured ")[2].split()[:3]))


def print_table(folder: Path, figures: dict[str, list[tuple[float, ...]]]) -> None:
    def size(name: str) -> float:
        return sum(path.stat().st_size for path in (folder / name).glob("*.safetensors")) / 1e6

    shards = len([*(folder / "source").glob("*.safetensors")])
    print(f"weights of {size('source'):,.0f} MB in {shards} files, {size('result'):,.0f} MB once pruned; medians")
    print(f"{'':28}{'seconds':>9} {'from':>7} {'to':>7} {'peak MiB':>9} {'over a bare start':>18} {'x copy':>7}")
    for side, rounds in figures.items():
        seconds = [one[0] for one in rounds]
        copies = figures.get("copy" if side in IN_THE_CACHE else "copy, to the disk")
        times = statistics.median(seconds) / statistics.median(one[0] for one in copies) if copies else math.nan
        peak = statistics.median(one[2] for one in rounds)
        over = statistics.median(one[2] - one[1] for one in rounds)
        print(
            f"{side:28}{statistics.median(seconds):9.2f} {min(seconds):7.2f} {max(seconds):7.2f} "
            f"{peak:9.0f} {over:18.0f} {times:7.2f}"
        )


def run_side(side: str, folder: Path, args: argparse.Namespace) -> None:
    """Do the work of one side in this process and print what it took."""
    if side == "make":
        make_source(folder, args)
        print("measured 0 0 0")
        return
    work = SIDES[side](folder)
    bare, start = peak_memory() / MIB, time.perf_counter()
    work()
    print("measured", time.perf_counter() - start, bare, peak_memory() / MIB)


def make_source(folder: Path, args: argparse.Namespace) -> None:
    """Write the checkpoint with its tokenizer, and the map."""
    import numpy as np
    import torch
    from transformers import AutoTokenizer, XLMRobertaConfig, XLMRobertaForMaskedLM

    from hf_afro.vocabulary import VocabularyMap
    from hf_afro.vocabulary.tokenizers.backend import read_table

    if args.small:
        from tests.vocabulary.kinds import unigram_with_bytes

        tokenizer = unigram_with_bytes()
    else:
        tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    width, layers = (32, 2) if args.small else (1024, 24) if args.large else (768, 12)
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 16 if args.small else width // 64,
        intermediate_size=4 * width,
        max_position_embeddings=514,
        type_vocab_size=1,
        pad_token_id=tokenizer.pad_token_id,
    )
    XLMRobertaForMaskedLM(config).save_pretrained(folder / "source", max_shard_size="1GB" if args.large else "50GB")
    tokenizer.save_pretrained(folder / "source")
    if not args.small:  # TextPruner reads the tokenizer from here
        shutil.copy(Path(args.tokenizer) / "sentencepiece.bpe.model", folder / "source")
    if args.sentencepiece:
        (folder / "source" / "tokenizer.json").unlink()
    table = read_table(tokenizer)
    special = [*table.special_ids, table.unknown_id]
    others = np.setdiff1d(np.arange(len(table)), special)
    kept = min(KEPT, len(table) // 2) - len({*special})
    old_ids = np.union1d(special, np.random.default_rng(0).choice(others, kept, replace=False))
    keep = VocabularyMap(old_ids, len(table), table.unknown_id, table.fingerprint)
    keep.save(folder / "keep.json")


def whole(folder: Path) -> Callable[[], object]:
    import transformers.models.xlm_roberta.modeling_xlm_roberta  # noqa: F401  (imported at first use otherwise)

    from hf_afro.vocabulary import VocabularyMap, prune_checkpoint

    return lambda: prune_checkpoint(folder / "source", VocabularyMap.load(folder / "keep.json"), folder / "out")


def weights_only(folder: Path) -> Callable[[], object]:
    import transformers.models.xlm_roberta.modeling_xlm_roberta  # noqa: F401

    from hf_afro.pretrained.weights import read_weights
    from hf_afro.vocabulary import VocabularyMap
    from hf_afro.vocabulary.checkpoint import model_without_weights, rows_kept
    from hf_afro.vocabulary.safetensors_rows import force_to_disk, write_with_rows
    from hf_afro.vocabulary.tensors import find_vocabulary_tensors

    def work() -> None:
        weights = read_weights(folder / "source")
        model, match = model_without_weights(folder / "source", weights)
        keep = VocabularyMap.load(folder / "keep.json")
        kept = rows_kept(model, match, find_vocabulary_tensors(model), weights.tensors, keep)
        (folder / "out").mkdir()
        for file in weights.files:
            write_with_rows(file, folder / "out" / file.path.name, kept)
            force_to_disk(folder / "out" / file.path.name)

    return work


def copy_result(folder: Path) -> Callable[[], object]:
    import hf_afro.vocabulary  # noqa: F401  (so that both sides begin alike)

    def work() -> None:
        (folder / "out").mkdir()
        for path in (folder / "result").glob("*.safetensors"):
            shutil.copyfile(path, folder / "out" / path.name)
            with (folder / "out" / path.name).open("rb+") as file:
                os.fsync(file.fileno())

    return work


def without_fsync(side: Callable[[Path], Callable[[], object]]) -> Callable[[Path], Callable[[], object]]:
    """Return a side whose writes stay in the system's cache."""

    def prepare(folder: Path) -> Callable[[], object]:
        os.fsync = lambda descriptor: None
        return side(folder)

    return prepare


def load_tokenizer(folder: Path) -> Callable[[], object]:
    import transformers.models.xlm_roberta.modeling_xlm_roberta  # noqa: F401

    import hf_afro.vocabulary  # noqa: F401

    def work() -> None:
        transformers.AutoTokenizer.from_pretrained(folder / "source")
        (folder / "out").mkdir()

    return work


def in_memory(folder: Path) -> Callable[[], object]:
    from transformers import AutoTokenizer, XLMRobertaForMaskedLM

    from hf_afro.vocabulary import VocabularyMap, prune_vocabulary

    def work() -> None:
        model = XLMRobertaForMaskedLM.from_pretrained(folder / "source")
        tokenizer = AutoTokenizer.from_pretrained(folder / "source")
        keep = VocabularyMap.load(folder / "keep.json")
        prune_vocabulary(model, tokenizer, keep).save_pretrained(folder / "out")

    return work


SIDES = {
    "copy": without_fsync(copy_result),
    "weights only": without_fsync(weights_only),
    "copy, to the disk": copy_result,
    "weights only, to the disk": weights_only,
    "loading the tokenizer only": load_tokenizer,
    "prune_checkpoint": whole,
    "prune_vocabulary": in_memory,
}

IN_THE_CACHE = ("copy", "weights only")

if __name__ == "__main__":
    main()
