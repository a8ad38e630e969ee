"""Tensors in and tensors out: small models of many classes, pruned in memory and file by file, as one table.

    python -m benchmarks.tensors_table

Each model is saved, pruned in both ways and read back from the safetensors files. A tensor counts as right if it is
there under its name with its bytes, or with the rows of the tokens kept where it has a row per token. A model that
cannot be run on token ids alone is only pruned file by file, as `hf-afro prune` does of its own accord.

  class         the class saved; the one that config.json names
  kind          what it is for
  tensors       stored by the source
  in memory     right after load_model, prune_vocabulary and save_pretrained
  file by file  right after prune_checkpoint
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from benchmarks.architectures import CLASSES, make
from hf_afro.corpora import read_corpora
from hf_afro.languages import languages_in
from hf_afro.pretrained import load_model, load_tokenizer
from hf_afro.sample import text_folder
from hf_afro.steps.pretrain import train_tokenizer
from hf_afro.vocabulary import VocabularyMap, count_tokens, prune_checkpoint, prune_vocabulary, select_tokens
from hf_afro.vocabulary.verify import NotComparable, check_comparable


@dataclass(frozen=True)
class Tensors:
    """What became of the tensors of one model.

    Attributes:
        stored: Tensors of the source.
        in_memory: How many came out right in memory; None where the model cannot be run.
        file_by_file: How many came out right file by file.
        wrong: Names of those lost, added or changed.
    """

    stored: int
    in_memory: int | None
    file_by_file: int
    wrong: tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = [name for names in CLASSES.values() for name in names]
    parser.add_argument("--classes", nargs="+", default=every, choices=every, metavar="CLASS", help="default: all")
    parser.add_argument("--size", type=int, default=1000, help="pieces of the tokenizer trained (default: 1000)")
    args = parser.parse_args()
    logging.disable_progress_bar()
    texts = {code: list(lines) for code, lines in read_corpora(text_folder(), languages_in("afroxlmr")).items()}
    tokenizer = train_tokenizer([line for lines in texts.values() for line in lines], args.size, 64)
    keep = select_tokens(count_tokens(dict(list(texts.items())[:3]), tokenizer), args.size * 4 // 5)
    sys.exit(1 if print_table(args.classes, tokenizer, keep) else 0)


def print_table(classes: Sequence[str], tokenizer: PreTrainedTokenizerBase, keep: VocabularyMap) -> int:
    """Print a row for each class, and return in how many something is wrong."""
    print("| class | kind | tensors | in memory | file by file | |")
    print("|" + " --- |" * 6)
    wrong = 0
    for kind, names in CLASSES.items():
        for name in [one for one in names if one in classes]:
            with tempfile.TemporaryDirectory() as folder:
                found = prune_both_ways(name, tokenizer, keep, Path(folder))
            in_memory = "not run" if found.in_memory is None else found.in_memory
            verdict = f"WRONG: {', '.join(found.wrong[:3])}" if found.wrong else "all"
            print(f"| {name} | {kind} | {found.stored} | {in_memory} | {found.file_by_file} | {verdict} |", flush=True)
            wrong += bool(found.wrong)
    print(f"\n{wrong} rows with something wrong")
    return wrong


def prune_both_ways(name: str, tokenizer: PreTrainedTokenizerBase, keep: VocabularyMap, folder: Path) -> Tensors:
    """Save a model of a class into a folder, prune it in both ways beside it, and compare what the files hold."""
    source = folder / "source"
    make(name, len(tokenizer)).save_pretrained(source)
    tokenizer.save_pretrained(source)
    wrong = set()
    model = load_model(str(source), all_heads=True)
    try:
        check_comparable(model)
    except NotComparable:
        in_memory = None
    else:
        pruned = prune_vocabulary(model, load_tokenizer(str(source)), keep)
        pruned.save_pretrained(folder / "in_memory")
        in_memory, differ = compare(source, folder / "in_memory", keep)
        wrong |= differ
    prune_checkpoint(source, keep, folder / "file_by_file")
    file_by_file, differ = compare(source, folder / "file_by_file", keep)
    return Tensors(
        len(load_file(source / "model.safetensors")), in_memory, file_by_file, tuple(sorted(wrong | differ))
    )


def compare(source: Path, pruned: Path, keep: VocabularyMap) -> tuple[int, set[str]]:
    """Return how many tensors of a source are right in a pruned folder, and the names of all that are not."""
    old, new = load_file(source / "model.safetensors"), load_file(pruned / "model.safetensors")
    rows = torch.from_numpy(keep.old_ids.copy())
    right = {name for name, tensor in old.items() if name in new and _is_right(tensor, new[name], rows, keep.old_size)}
    return len(right), (old.keys() | new.keys()) - right


def _is_right(old: torch.Tensor, new: torch.Tensor, rows: torch.Tensor, size: int) -> bool:
    expected = old.index_select(old.shape.index(size), rows) if size in old.shape else old
    return expected.dtype == new.dtype and torch.equal(expected, new)


if __name__ == "__main__":
    main()
