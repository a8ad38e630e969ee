"""A real tokenizer pruned to budgets on real text: exactness of what is reloaded, coverage and unknowns by language.

python -m benchmarks.real_vocabulary --tokenizer xlm-roberta-base --text corpora --budgets 50000 60000

The model is XLM-R's with random weights, two layers of width 64 and the full vocabulary. Counted
on 49 of every 50 lines; the fiftieth is held out, and judged by both tokenizers.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from transformers import AutoTokenizer, XLMRobertaConfig, XLMRobertaForMaskedLM

from benchmarks.timing import in_turn, print_ratios
from hf_afro.corpora import read_corpora
from hf_afro.languages import languages_in
from hf_afro.vocabulary import count_tokens, prune_vocabulary, report_on_text, select_tokens
from hf_afro.vocabulary.tokenizers.backend import plain_backend

HELD_OUT_EVERY = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", required=True, help="the tokenizer to prune, XLM-R's")
    parser.add_argument("--text", required=True, help="folder with a text file a language")
    parser.add_argument("--budgets", type=int, nargs="+", default=[50_000, 60_000])
    parser.add_argument("--time_counting", action="store_true", help="also time counting against encoding every line")
    args = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    lines = {code: list(source) for code, source in read_corpora(args.text, languages_in("afroxlmr")).items()}
    counted = {code: [line for i, line in enumerate(own) if i % HELD_OUT_EVERY] for code, own in lines.items()}
    held_out = {code: own[::HELD_OUT_EVERY] for code, own in lines.items()}
    if args.time_counting:
        time_counting(counted, tokenizer)
    counts = count_tokens(counted, tokenizer)
    torch.manual_seed(0)
    model = XLMRobertaForMaskedLM(
        XLMRobertaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=128,
            max_position_embeddings=514,
            type_vocab_size=1,
        )
    ).eval()
    for budget in args.budgets:
        pruned = prune_vocabulary(model, tokenizer, select_tokens(counts, budget))
        with tempfile.TemporaryDirectory() as folder:
            verification = pruned.save_pretrained(Path(folder) / "pruned")
        print_budget(
            budget, pruned, verification, report_on_text(held_out, tokenizer, pruned.tokenizer, pruned.vocabulary_map)
        )


def print_budget(budget, pruned, verification, on_held_out) -> None:
    provenance = pruned.vocabulary_map.provenance
    print(
        f"\nbudget {budget:,}: {len(pruned.vocabulary_map):,} tokens; for the floor {provenance['smallest_budget']:,}"
    )
    print(f"  reloaded and compared: {verification}")
    print("       coverage  unknown    alone | held out: lines alike  unknown before, after  pieces a word  new <unk>")
    for code, report in on_held_out.items():
        own = provenance["coverage"][code]
        print(
            f"  {code}  {own['coverage']:8.3%} {own['unknown_rate']:8.4%} {own['kept_for_it_alone']:8d} |"
            f" {report.lines_alike:21.2%}  {report.old_unknown_rate:9.4%} {report.new_unknown_rate:9.4%}"
            f"  {report.old_tokens_per_word:6.4f} {report.new_tokens_per_word:6.4f} {report.new_unknown:8d}"
        )


def time_counting(texts, tokenizer) -> None:
    """Count by distinct words, and by encoding every line, in turn."""
    backend = plain_backend(tokenizer)

    def encode_all():
        for own in texts.values():
            for start in range(0, len(own), 1000):
                backend.encode_batch_fast(own[start : start + 1000], add_special_tokens=False)

    sides = {"encode_batch over the lines": encode_all, "count_tokens": lambda: count_tokens(texts, tokenizer)}
    print_ratios("counting", in_turn(sides, repeats=3))


if __name__ == "__main__":
    main()
