"""Fine-tuning on entities against the stock recipe (`run_ner.py` of transformers), the same ragged sentences.

python -m benchmarks.finetuning_step --tokenizer FOLDER --data FOLDER [--language swa] [--sentences 64] [--rounds 3]
    [--max_length 164] [--width 384] [--layers 6] [--small]

`stock, fixed` pads every sentence to `--max_length`, as `run_ner.py --pad_to_max_length` does; `stock, by batch` to
the longest of a batch drawn at random, its default; `hf_afro` is `finetune`: batches of like length, only those rows
of the embedding that occur, the same loss and optimizer. A model of random weights is trained for one pass over the
same sentences. `hf_afro, distilled` learns from the logits of a teacher of twice the layers as well, which are
computed once, before the time that counts, and printed.

The sides take turns in one process; what counts is the time of training, tokenising left out, of
hf_afro with one dev sentence evaluated and its preparation, which the stock sides have not.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

from benchmarks.timing import print_ratios
from hf_afro.evaluation import FineTuned, FineTuningSettings, TaskData, finetune, load_task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", required=True, help="folder of a tokenizer")
    parser.add_argument("--data", required=True, help="folder of MasakhaNER")
    parser.add_argument("--language", default="swa")
    parser.add_argument("--sentences", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--max_length", type=int, default=164)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--small", action="store_true", help="a tiny model, one round: only shows that it runs")
    args = parser.parse_args()
    if args.small:
        args.width, args.layers, args.rounds, args.max_length = 32, 2, 1, 48
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    data = load_task("ner", args.data, args.language).limited(train=args.sentences, dev=1, test=1)
    model = encoder(tokenizer, args, args.layers)
    settings = FineTuningSettings(max_length=args.max_length, batch_size=args.batch_size, epochs=1)
    teacher = finetune(encoder(tokenizer, args, 2 * args.layers), tokenizer, data, settings, 1)
    lengths = [len(ids) for ids in tokenised(tokenizer, data, args.max_length, fixed=False)["input_ids"]]
    sides: dict[str, Callable[[], float]] = {
        "stock, fixed": lambda: stock(model, tokenizer, data, args, fixed=True),
        "stock, by batch": lambda: stock(model, tokenizer, data, args, fixed=False),
        "hf_afro": lambda: own(model, tokenizer, data, args),
        "hf_afro, distilled": lambda: own(model, tokenizer, data, args, teacher),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(args.rounds + 1):
        for name, side in sides.items():
            taken = side()
            if turn:
                seconds[name].append(taken)
    print_ratios(
        f"{len(lengths)} sentences of {args.language}, {statistics.fmean(lengths):.1f} tokens each, at most "
        f"{max(lengths)}; {args.layers} layers of {args.width}, {len(tokenizer):,} tokens; seconds a pass",
        {name: statistics.median(own) for name, own in seconds.items()},
    )
    for name, own_seconds in seconds.items():
        print(f"  {name:32} {len(lengths) / statistics.median(own_seconds):9.1f} sentences a second")
    started = time.perf_counter()
    teacher.logits(data.splits["train"])
    print(f"  the teacher's logits, once       {time.perf_counter() - started:9.4f} s")


def encoder(tokenizer: Any, args: argparse.Namespace, layers: int) -> Any:
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

    torch.manual_seed(0)
    return XLMRobertaForMaskedLM(
        XLMRobertaConfig(
            vocab_size=len(tokenizer),
            hidden_size=args.width,
            num_hidden_layers=layers,
            num_attention_heads=max(2, args.width // 32),
            intermediate_size=4 * args.width,
            max_position_embeddings=514,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def own(
    model: Any, tokenizer: Any, data: TaskData, args: argparse.Namespace, teacher: FineTuned | None = None
) -> float:
    """Return the seconds of a pass by `finetune`."""
    settings = FineTuningSettings(max_length=args.max_length, batch_size=args.batch_size, epochs=1)
    return finetune(model, tokenizer, data, settings, 1, teacher=teacher).seconds


def stock(model: Any, tokenizer: Any, data: TaskData, args: argparse.Namespace, *, fixed: bool) -> float:
    """Return the seconds of a pass as `run_ner.py` makes it."""
    import torch
    from transformers import (
        AutoModelForTokenClassification,
        DataCollatorForTokenClassification,
        PrinterCallback,
        Trainer,
        TrainingArguments,
    )

    config = type(model.config)(
        **{
            **model.config.to_dict(),
            "id2label": dict(enumerate(data.labels)),
            "label2id": {label: index for index, label in enumerate(data.labels)},
        }
    )
    classifier = AutoModelForTokenClassification.from_config(config)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=classifier,
            args=TrainingArguments(
                folder,
                per_device_train_batch_size=args.batch_size,
                num_train_epochs=1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                logging_strategy="no",
                dataloader_pin_memory=torch.cuda.is_available(),
            ),
            train_dataset=tokenised(tokenizer, data, args.max_length, fixed=fixed),
            data_collator=DataCollatorForTokenClassification(tokenizer),
        )
        trainer.remove_callback(PrinterCallback)
        started = time.perf_counter()
        trainer.train()
        return time.perf_counter() - started


def tokenised(tokenizer: Any, data: TaskData, max_length: int, *, fixed: bool) -> Any:
    """Return the training set as `tokenize_and_align_labels` of `run_ner.py` makes it."""

    def align(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        encoded = tokenizer(
            rows["tokens"],
            padding="max_length" if fixed else False,
            truncation=True,
            max_length=max_length,
            is_split_into_words=True,
        )
        encoded["labels"] = []
        for index, tags in enumerate(rows["tags"]):
            words = encoded.word_ids(index)
            first = [word if place == 0 or word != words[place - 1] else None for place, word in enumerate(words)]
            encoded["labels"].append([-100 if word is None else tags[word] for word in first])
        return encoded

    return data.splits["train"].map(align, batched=True, remove_columns=["tokens", "tags"])


if __name__ == "__main__":
    main()
