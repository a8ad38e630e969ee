r"""`MAFTTrainer` against the stock recipe for masked language models, whole trainings on real sentences.

    python -m benchmarks.maft_training --text corpora --tokenizer xlm-roberta-base [--rounds 3] [--steps 4]

The stock sides are transformers' own run_mlm.py: `DataCollatorForLanguageModeling` with every line a row, padded to
the longest of the batch (`--line_by_line`), and with lines joined and cut to `--length` (its `group_texts`); ours are
the same two, `packing=False` and `packing=True`. All train one model of XLM-R-base's shape with AdamW, from the same
weights, on the same lines; the sides take turns. Reported are seconds of `train()`, tokens a second (padding is no
token), and ratios within each pair. The vocabulary is the tokenizer's, or cut to `--budget` by pruning before.
"""

from __future__ import annotations

import argparse
import copy
import logging
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

import torch
from datasets import Dataset
from transformers import (
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from hf_afro import MAFTTrainer, MAFTTrainingArguments, count_tokens, prune_vocabulary, select_tokens

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", required=True, help="folder with a text file a language")
    parser.add_argument("--tokenizer", required=True, help="folder of XLM-R's tokenizer")
    parser.add_argument("--languages", nargs="+", default=["swa", "yor", "amh", "hau"])
    parser.add_argument("--lines", type=int, default=500, help="lines of each language")
    parser.add_argument("--budget", type=int, help="prune the vocabulary to so many tokens first")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="a tiny model: only shows that it runs")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    lines = {code: read(Path(args.text) / f"{code}.txt", args.lines) for code in args.languages}
    config = XLMRobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=514, **(SMALL if args.small else {}))
    torch.manual_seed(0)
    model = XLMRobertaForMaskedLM(config)
    if args.budget:
        pruned = prune_vocabulary(model, tokenizer, select_tokens(count_tokens(lines, tokenizer), budget=args.budget))
        model, tokenizer = pruned.model, pruned.tokenizer
    print(f"vocabulary of {len(tokenizer):,}, {args.steps} steps of {args.batch} rows, at most {args.length} tokens")
    for packing in (False, True):
        sides = {"stock recipe": stock_trainer, "MAFTTrainer": maft_trainer}
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        tokens: dict[str, int] = {}
        for _ in range(args.rounds):
            for name, build in sides.items():
                with tempfile.TemporaryDirectory() as folder:
                    took, tokens[name] = train(build(copy.deepcopy(model), tokenizer, lines, packing, folder, args))
                    seconds[name].append(took)
        print("lines packed into full rows" if packing else "a line a row")
        rates = {name: tokens[name] / statistics.median(seconds[name]) for name in sides}
        for name, rate in rates.items():
            print(
                f"  {name:16} {statistics.median(seconds[name]):8.2f} s  {tokens[name]:7,} tokens  "
                f"{rate:9.1f} tokens/s  {rate / rates['stock recipe']:5.2f}x"
            )


def read(path: Path, count: int) -> list[str]:
    """Return the first lines of a file."""
    with path.open(encoding="utf-8", newline="\n") as text:
        return [line.strip() for line in islice(text, count)]


def settings(folder: str, args: argparse.Namespace) -> dict[str, object]:
    """Settings that both sides share."""
    return {
        "output_dir": folder,
        "max_steps": args.steps,
        "per_device_train_batch_size": args.batch,
        "save_strategy": "no",
        "logging_strategy": "no",
        "use_cpu": not torch.cuda.is_available(),
        "disable_tqdm": True,
        "seed": 1,
    }


def maft_trainer(
    model: XLMRobertaForMaskedLM,
    tokenizer: PreTrainedTokenizerBase,
    lines: dict[str, list[str]],
    packing: bool,
    folder: str,
    args: argparse.Namespace,
) -> Trainer:
    """Our trainer on the lines."""
    return MAFTTrainer(
        model=model,
        args=MAFTTrainingArguments(max_length=args.length, packing=packing, **settings(folder, args)),
        train_dataset={code: Dataset.from_dict({"text": own}) for code, own in lines.items()},
        processing_class=tokenizer,
    )


def stock_trainer(
    model: XLMRobertaForMaskedLM,
    tokenizer: PreTrainedTokenizerBase,
    lines: dict[str, list[str]],
    packing: bool,
    folder: str,
    args: argparse.Namespace,
) -> Trainer:
    """The Trainer as run_mlm.py sets it up."""
    texts = [line for own in lines.values() for line in own if line]
    if packing:
        joined = [token for row in tokenizer(texts, return_special_tokens_mask=False)["input_ids"] for token in row]
        whole = len(joined) // args.length * args.length
        rows = [joined[at : at + args.length] for at in range(0, whole, args.length)]
    else:
        rows = tokenizer(texts, truncation=True, max_length=args.length)["input_ids"]
    return Trainer(
        model=model,
        args=TrainingArguments(**settings(folder, args)),
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15),
        train_dataset=Dataset.from_dict({"input_ids": rows}),
    )


def train(trainer: Trainer) -> tuple[float, int]:
    """Train; return seconds and how many tokens were trained on."""
    sizes: list[int] = []
    collate = trainer.data_collator

    def counting(examples: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        sizes.append(sum(len(example["input_ids"]) for example in examples))
        return collate(examples)

    trainer.data_collator = counting
    trainer.remove_callback(PrinterCallback)
    start = time.perf_counter()
    trainer.train()
    took = time.perf_counter() - start
    return took, sum(sizes[: trainer.args.max_steps])  # a loader may have read a batch ahead


if __name__ == "__main__":
    main()
