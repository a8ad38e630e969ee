"""What `hf-afro compare` says of other tools' cuts, and of one by pooled frequency that starves a script.

python -m benchmarks.audit --text held_out --cuts xlmr=cuts/textpruner-xlmr bert=cuts/geotrend-bert
python -m benchmarks.audit --text held_out --pooled xlmr --counted counted --budget 8000 --output_dir cuts

A cut is given with the folder of its original, `original=cut`; `benchmarks/cut_with_peers.py` makes those of other
tools. `--pooled` keeps the most frequent tokens of all text together, without floors and characters, and audits that.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hf_afro.corpora import read_corpora
from hf_afro.pretrained import load_model, load_tokenizer
from hf_afro.steps.compare import tables
from hf_afro.vocabulary import compare_vocabularies, count_tokens, prune_vocabulary, select_tokens


def cut_by_pooled_frequency(original: str, counted: str, budget: int, output_dir: str) -> str:
    """Write a cut that keeps the most frequent tokens of all languages together, and return its folder."""
    model, tokenizer = load_model(original), load_tokenizer(original)
    counts = count_tokens({"all": [line for lines in read_corpora(counted).values() for line in lines]}, tokenizer)
    keep = select_tokens(counts, budget, coverage=0.0, smoothing=1.0, keep_characters=False)
    folder = Path(output_dir) / f"pooled-{Path(original).name}"
    prune_vocabulary(model, tokenizer, keep).save_pretrained(folder)
    return str(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", required=True, help="folder with one file per language, to compare on")
    parser.add_argument("--cuts", nargs="*", default=[], metavar="ORIGINAL=CUT", help="folders of models")
    parser.add_argument("--pooled", metavar="ORIGINAL", help="cut this model by pooled frequency, and audit that too")
    parser.add_argument("--counted", help="text to count for it")
    parser.add_argument("--budget", type=int, default=8_000, help="tokens to keep for it")
    parser.add_argument("--output_dir", default="cuts", help="folder for it")
    parser.add_argument("--tables", action="store_true", help="print every table, not the verdict alone")
    args = parser.parse_args()

    pairs = [tuple(pair.split("=", 1)) for pair in args.cuts]
    if args.pooled:
        pairs.append((args.pooled, cut_by_pooled_frequency(args.pooled, args.counted, args.budget, args.output_dir)))
    for original, cut in pairs:
        audit = compare_vocabularies(original, cut, read_corpora(args.text))
        if args.tables:
            print("\n\n".join(map(str, tables(audit))))
        print(f"\n{audit.cut}: {audit.verdict}")
        for finding in audit.findings[1:]:
            print(f"  - {finding}")
        for note in audit.notes:
            print(f"  - note: {note}")


if __name__ == "__main__":
    main()
