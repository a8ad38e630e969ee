"""Who starves: select_tokens beside ranking all languages' text by pooled frequency, at the same budgets.

python -m benchmarks.starvation --tokenizer xlm-roberta-base --text corpora --budgets 20000 30000 50000 60000

Counted on 49 of every 50 lines; the fiftieth is held out, encoded whole by the original and by each pruned tokenizer.
Three mixtures: the corpora as they are, all cut to the size of the smallest, and English ten times over. Three
choices: `floors`, which is select_tokens; `pooled`, what trimming tools do (special tokens, then the most frequent of
all text together); `pooled, characters`, the same with the characters that select_tokens keeps too, to tell what the
ranking does from what the characters do. A language starves where less than 95 % of its held-out tokens are kept.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging

import numpy as np
from transformers import AutoTokenizer

from hf_afro.corpora import read_corpora
from hf_afro.files import write_whole
from hf_afro.languages import languages_in
from hf_afro.vocabulary import TokenCounts, VocabularyMap, count_tokens, report_on_text, select_tokens
from hf_afro.vocabulary.scripts import character_ids
from hf_afro.vocabulary.selection import measure_coverage
from hf_afro.vocabulary.tokenizers.backend import backend_state
from hf_afro.vocabulary.tokenizers.cutting import prune_tokenizer

HELD_OUT_EVERY = 50
STARVING = 0.95


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", required=True, help="the tokenizer to prune, XLM-R's")
    parser.add_argument("--text", required=True, help="folder with a text file a language")
    parser.add_argument("--budgets", type=int, nargs="+", default=[20_000, 30_000, 50_000, 60_000])
    parser.add_argument("--json", metavar="FILE", help="write every figure there too")
    args = parser.parse_args()
    logging.getLogger("hf_afro").setLevel(logging.ERROR)  # who is below the floor is what this prints

    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    lines = {code: list(source) for code, source in read_corpora(args.text, languages_in("afroxlmr")).items()}
    counted = {code: [line for i, line in enumerate(own) if i % HELD_OUT_EVERY] for code, own in lines.items()}
    held_out = {code: own[::HELD_OUT_EVERY] for code, own in lines.items()}
    held_out_counts = count_tokens(held_out, tokenizer)
    as_they_are = count_tokens(counted, tokenizer)
    mixtures = {
        "as they are": as_they_are,
        "equal sizes": count_tokens(cut_to_equal_sizes(counted), tokenizer),
        "English ten times over": times(as_they_are, "eng", 10),
    }
    figures = []
    for mixture, counts in mixtures.items():
        for budget in args.budgets:
            choices = {
                "floors": select_tokens(counts, budget),
                "pooled": pooled(counts, budget, scripts=()),
                "pooled, characters": pooled(counts, budget, scripts=select_tokens(counts).provenance["scripts"]),
            }
            figures += [
                {"mixture": mixture, "budget": budget, "choice": name, "size": len(keep), "languages": own}
                for name, keep in choices.items()
                for own in [judge(keep, tokenizer, held_out, held_out_counts)]
            ]
            print_budget(figures[-len(choices) :])
    if args.json:
        write_whole(args.json, json.dumps(figures, indent=1) + "\n")


def cut_to_equal_sizes(texts: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the first lines of each language, up to the bytes of the smallest."""
    size = min(sum(len(line.encode()) for line in own) for own in texts.values())
    cut = {}
    for code, own in texts.items():
        ends = np.cumsum([len(line.encode()) for line in own])
        cut[code] = own[: int(np.searchsorted(ends, size, side="right"))]
    return cut


def times(counts: TokenCounts, language: str, factor: int) -> TokenCounts:
    """Return the counts as if one language's text had been given several times."""
    more = counts.counts.copy()
    more[counts.languages.index(language)] *= factor
    return dataclasses.replace(counts, counts=more)


def pooled(counts: TokenCounts, budget: int, scripts) -> VocabularyMap:
    """Keep special tokens, the characters of the scripts, and the most frequent of all languages' text together."""
    table = counts.table
    must = {*table.special_ids, table.unknown_id, *character_ids(table, scripts).tolist()} if scripts else set()
    must |= {*table.special_ids, table.unknown_id}
    frequency = counts.counts.sum(axis=0)
    frequency[list(must)] = 0
    ranked = np.argsort(-frequency, kind="stable")[: min(budget - len(must), np.count_nonzero(frequency))]
    old_ids = np.sort(np.concatenate([np.fromiter(must, dtype=np.int64), ranked]))
    return VocabularyMap(old_ids, len(table), table.unknown_id, table.fingerprint)


def judge(keep: VocabularyMap, tokenizer, held_out, held_out_counts: TokenCounts) -> dict[str, dict[str, float]]:
    """Return each language's share of held-out tokens kept, unknown rate and pieces a word, before and after."""
    kept = measure_coverage(held_out_counts, keep.old_ids)
    pruned = prune_tokenizer(tokenizer, backend_state(tokenizer), keep)
    split = report_on_text(held_out, tokenizer, pruned, keep, scripts=())
    return {
        code: {
            "coverage": kept[code].coverage,
            "unknown_before": one.old_unknown_rate,
            "unknown_after": one.new_unknown_rate,
            "pieces_a_word_before": one.old_tokens_per_word,
            "pieces_a_word_after": one.new_tokens_per_word,
        }
        for code, one in split.items()
    }


def print_budget(figures) -> None:
    """Print the choices of one mixture and budget side by side."""
    first = figures[0]
    print(
        f"\n{first['mixture']}, budget {first['budget']:,}: "
        + ", ".join(f"{f['choice']} {f['size']:,}" for f in figures)
    )
    print("       before |" + "".join(f"{f['choice']:^36}|" for f in figures))
    print("       <unk>  |" + "   coverage      <unk>  longer words |" * len(figures))
    for code in first["languages"]:
        row = f"  {code}  {first['languages'][code]['unknown_before']:7.3%} |"
        for own in (figure["languages"][code] for figure in figures):
            longer = own["pieces_a_word_after"] / own["pieces_a_word_before"] - 1
            row += f"   {own['coverage']:8.3%}   {own['unknown_after']:8.3%}  {longer:12.2%} |"
        print(row)
    for figure in figures:
        languages = figure["languages"]
        starving = [code for code, own in languages.items() if own["coverage"] < STARVING]
        least = min(languages, key=lambda code: languages[code]["coverage"])
        print(
            f"  {figure['choice']:20} least covered {least} {languages[least]['coverage']:.3%}, "
            f"starving: {', '.join(starving) or 'none'}"
        )


if __name__ == "__main__":
    main()
