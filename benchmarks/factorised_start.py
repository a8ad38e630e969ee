r"""Measure what a factorised embedding costs after fine-tuning, if its start is weighted by token frequency or not.

    python -m benchmarks.factorised_start --model pruned --counts counts --data masakhaner1 --output_dir runs/factors

Each model is a copy of the encoder whose word embeddings have a lower rank: its layers are the encoder's own, so a
difference in F1 is the embedding's. The first row is the encoder at full width. `counts` is what the encoder was
pruned with. Each model and seed is a report in a folder of its own, so an interrupted benchmark resumes, and
`python -m benchmarks.seed_table` joins the seeds.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from transformers import AutoModel, AutoTokenizer

from hf_afro import TokenCounts, build_student
from hf_afro.evaluation import FineTuningSettings, evaluate_model, load_task
from hf_afro.reports.evaluation_report import REPORT_FILE
from hf_afro.vocabulary.mapping import VocabularyMap


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of a pruned encoder")
    parser.add_argument("--counts", type=Path, required=True, help="folder of the counts it was pruned with")
    parser.add_argument("--data", required=True, help="folder of MasakhaNER, with one folder per language")
    parser.add_argument("--languages", nargs="+", default=["swa"])
    parser.add_argument("--ranks", type=int, nargs="+", default=[96, 128])
    parser.add_argument("--layers", type=int, help="by default all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--bf16", action="store_true", help="mixed precision in training")
    parser.add_argument("--output_dir", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    args = parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    data = [load_task("ner", args.data, language) for language in args.languages]
    settings = FineTuningSettings(epochs=args.epochs, learning_rate=args.learning_rate, bf16=args.bf16)
    encoder, tokenizer = AutoModel.from_pretrained(args.model), AutoTokenizer.from_pretrained(args.model)
    counts = TokenCounts.load(args.counts).pooled()[VocabularyMap.load(args.model).old_ids]
    layers = args.layers or encoder.config.num_hidden_layers
    rows = {"full width": (None, None)} | {
        f"rank {rank}, {kind}": (rank, weights)
        for rank in args.ranks
        for kind, weights in (("plain", None), ("weighted", counts))
    }
    for name, (rank, weights) in rows.items():
        folder_name = name.replace(", ", "-").replace(" ", "-")
        encoder_folder = args.output_dir / "encoders" / folder_name
        if not encoder_folder.is_dir():
            student = build_student(
                encoder, tokenizer=tokenizer, num_hidden_layers=layers, embedding_size=rank, counts=weights
            )
            print(name, student.config.built_from, flush=True)
            student.save_pretrained(encoder_folder)
            tokenizer.save_pretrained(encoder_folder)
        for seed in args.seeds:
            folder = args.output_dir / str(seed) / folder_name
            if not (folder / REPORT_FILE).is_file():
                evaluate_model(
                    str(encoder_folder),
                    None,
                    data,
                    name=name,
                    output_dir=folder,
                    settings=settings,
                    seeds=[seed],
                    joint=len(data) > 1,
                )


if __name__ == "__main__":
    main()
