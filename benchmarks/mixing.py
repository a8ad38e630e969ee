r"""What smoothing the mixture does to each language: one model adapted with several alphas for the same steps.

    python -m benchmarks.mixing --tokenizer xlm-roberta-base --text corpora --exclude ner --output_dir runs/mixing

A language is sampled with p proportional to n^alpha: 1 keeps the texts' own sizes (the paper of MAFT), 0.3 raises
small languages as XLM-R's training did. Every run starts from the same random weights and takes the same number of
batches of 2,048 tokens. Compared in bits a byte of held-out sentences, by language, one that no run was trained on
among them. `--small` shows in a minute that it runs.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import time
from pathlib import Path

import torch
from datasets import Dataset

from benchmarks.real_text import LANGUAGES, adapt, entity_sentences, prune
from hf_afro.corpora import prepare_corpora, read_corpora

OUTSIDE_THE_MIX = "wol"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", required=True, help="the tokenizer to prune, XLM-R's")
    parser.add_argument("--text", required=True, help="folder with a text file a language")
    parser.add_argument("--exclude", help="folder of named-entity files (token SPACE tag) to take out of the text")
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--alphas", type=float, nargs="+", default=[1.0, 0.3])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--budget", type=int, default=30_000)
    parser.add_argument("--held_out", type=int, default=200, help="sentences a language that are evaluated on")
    parser.add_argument("--small", action="store_true", help="a few steps on a little text")
    args = parser.parse_args()
    if args.small:
        args.steps, args.held_out = 5, 5
    return args


def main() -> None:
    args = parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    start = time.monotonic()
    torch.manual_seed(0)

    corpora = prepare_corpora(
        read_corpora(args.text, [*LANGUAGES, OUTSIDE_THE_MIX]),
        held_out_lines=args.held_out,
        excluded=entity_sentences(args.exclude),
        drop_duplicates=True,
    )
    lines = {code: own[:100] if args.small else own for code, own in corpora.train.items() if code != OUTSIDE_THE_MIX}
    train, held_out = (
        {code: Dataset.from_dict({"text": own}) for code, own in part.items()} for part in (lines, corpora.evaluation)
    )
    pruned = prune(args, lines)
    figures = {"untrained": adapt(args, "untrained", 0, 1e-3, copy.deepcopy(pruned.model), pruned, train, held_out)}
    for alpha in args.alphas:
        name, model = f"alpha {alpha:g}", copy.deepcopy(pruned.model)
        figures[name] = adapt(
            args, name.replace(" ", "-"), args.steps, 1e-3, model, pruned, train, held_out, language_alpha=alpha
        )

    minutes = (time.monotonic() - start) / 60
    facts = {"minutes": minutes, "settings": vars(args), "figures": figures}
    (Path(args.output_dir) / "figures.json").write_text(json.dumps(facts, indent=1))
    print_table(figures, {code: sum(len(line.encode()) for line in own) for code, own in lines.items()})
    print(f"{args.steps} steps, {len(pruned.vocabulary_map)} tokens, {minutes:.1f} minutes")


def print_table(figures: dict[str, dict[str, float]], sizes: dict[str, int]) -> None:
    """Print bits a byte by language, the smallest text first, and below them the mean over the mix."""
    print(f"{'language':10}{'MB':>6}" + "".join(f"{name:>12}" for name in figures))
    for code in [*sorted(sizes, key=sizes.__getitem__), OUTSIDE_THE_MIX]:
        own = "".join(f"{run[f'eval_{code}_bits_per_byte']:12.3f}" for run in figures.values())
        print(f"{code:10}{sizes.get(code, 0) / 1e6:6.2f}" + own)
    means = (sum(run[f"eval_{code}_bits_per_byte"] for code in sizes) / len(sizes) for run in figures.values())
    print(f"{'mean of':10}{len(sizes):6}" + "".join(f"{mean:12.3f}" for mean in means))


if __name__ == "__main__":
    main()
