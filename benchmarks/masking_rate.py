r"""How many tokens to mask, and whether whole words: bits a byte of held-out text after equal steps on real text.

    python -m benchmarks.masking_rate --text corpora --tokenizer xlm-roberta-base [--steps 1500] [--rates 0.15 0.2 0.3]

A small model trains from the same random weights on the same rows for the same steps, once with each rate and, with
`--whole_words`, once more with whole words masked at each. Evaluation masks 15 % of the words whatever the training
did, the same words for all. `--seeds` repeats all of it; the spread over seeds says what a difference is worth.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
from itertools import islice
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoTokenizer, PrinterCallback, XLMRobertaConfig, XLMRobertaForMaskedLM

from hf_afro import MAFTTrainer, MAFTTrainingArguments, count_tokens, prune_vocabulary, select_tokens

SHAPE = {"num_hidden_layers": 4, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", required=True, help="folder with a text file a language")
    parser.add_argument("--tokenizer", required=True, help="folder of XLM-R's tokenizer, which is pruned to --budget")
    parser.add_argument("--languages", nargs="+", default=["swa", "yor", "amh", "hau"])
    parser.add_argument("--lines", type=int, default=8000, help="lines of each language to train on")
    parser.add_argument("--held_out", type=int, default=200, help="lines of each language before those")
    parser.add_argument("--budget", type=int, default=12_000)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.15, 0.2, 0.3])
    parser.add_argument("--whole_words", action="store_true", help="each rate with whole words masked, too")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--learning_rate", type=float, default=5e-4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    train, held_out = {}, {}
    for code in args.languages:
        with (Path(args.text) / f"{code}.txt").open(encoding="utf-8", newline="\n") as text:
            lines = [line.strip() for line in islice(text, args.held_out + args.lines)]
        held_out[code], train[code] = lines[: args.held_out], lines[args.held_out :]
    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    blank = XLMRobertaForMaskedLM(XLMRobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=514, **SHAPE))
    keep = select_tokens(count_tokens(train, tokenizer), budget=args.budget)
    tokenizer = prune_vocabulary(blank, tokenizer, keep).tokenizer
    print(f"vocabulary of {len(tokenizer):,}, {args.steps} steps of {args.batch} x {args.length}, seeds {args.seeds}")
    for whole_words in (False, True) if args.whole_words else (False,):
        for rate in args.rates:
            of_seeds = [bits_after(rate, whole_words, seed, tokenizer, train, held_out, args) for seed in args.seeds]
            means = {name: statistics.fmean(one[name] for one in of_seeds) for name in ("mean", *args.languages)}
            spread = max(one["mean"] for one in of_seeds) - min(one["mean"] for one in of_seeds)
            figures = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
            print(
                f"  {rate:.0%}{' whole words' if whole_words else '':12}  {figures}  spread {spread:.4f}", flush=True
            )


def bits_after(rate, whole_words, seed, tokenizer, train, held_out, args) -> dict[str, float]:
    """Train from random weights; return bits a byte by language, and their mean."""
    torch.manual_seed(seed)
    model = XLMRobertaForMaskedLM(XLMRobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=514, **SHAPE))
    with tempfile.TemporaryDirectory() as folder:
        trainer = MAFTTrainer(
            model=model,
            args=MAFTTrainingArguments(
                output_dir=folder,
                max_length=args.length,
                mlm_probability=rate,
                whole_word_masking=whole_words,
                max_steps=args.steps,
                per_device_train_batch_size=args.batch,
                learning_rate=args.learning_rate,
                warmup_steps=0.06,
                save_strategy="no",
                logging_strategy="no",
                use_cpu=not torch.cuda.is_available(),
                disable_tqdm=True,
                seed=seed,
            ),
            train_dataset={code: Dataset.from_dict({"text": lines}) for code, lines in train.items()},
            eval_dataset={code: Dataset.from_dict({"text": lines}) for code, lines in held_out.items()},
            processing_class=tokenizer,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        metrics = trainer.evaluate()
    return {"mean": metrics["eval_bits_per_byte"], **{c: metrics[f"eval_{c}_bits_per_byte"] for c in args.languages}}


if __name__ == "__main__":
    main()
