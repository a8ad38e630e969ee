# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "hf_afro",
#     "torch>=2.4",
#     "transformers>=5.20",
#     "datasets>=4.0",
# ]
#
# [tool.hf-jobs]
# flavor = "a10g-large"
# timeout = "24h"
# secrets = ["HF_TOKEN"]
# ///
r"""Find the teacher layer and the number of relation heads that make the best student.

    python examples/sweep.py --teacher runs/maft --text texts --output_dir runs/sweep --max_steps 500 \
        --sweep_layers 10 11 12 --sweep_heads 24 48

Relation losses of different layers or heads cannot be compared. So the head of each student is fitted by the same
short run of MAFT, and students are ranked by bits per byte on held-out text. All start from the same weights and see
the same text in the same order. The results are written to `sweep.json` in the output folder, the best student first.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForMaskedLM, AutoTokenizer, HfArgumentParser

from hf_afro import (
    MAFTTrainer,
    MAFTTrainingArguments,
    RelationDistillTrainer,
    RelationDistillTrainingArguments,
    build_student,
)
from hf_afro.corpora import prepare_corpora, read_corpora


@dataclass
class ScriptArguments:
    """Arguments of the script, beside those of the distillation."""

    text: str = field(metadata={"help": "Folder with one text file per language."})
    teacher: str = field(metadata={"help": "The teacher, with its tokenizer."})
    sweep_layers: list[int] = field(metadata={"help": "Layers of the teacher to try, counted from 1."})
    sweep_heads: list[int] = field(metadata={"help": "Numbers of relation heads to try."})
    fit_steps: int = field(default=200, metadata={"help": "Steps of MAFT that fit the head of each student."})


def main() -> None:
    script, args = HfArgumentParser((ScriptArguments, RelationDistillTrainingArguments)).parse_args_into_dataclasses()
    corpora = prepare_corpora(read_corpora(script.text))
    tokenizer = AutoTokenizer.from_pretrained(script.teacher, trust_remote_code=False)
    teacher = AutoModelForMaskedLM.from_pretrained(script.teacher, dtype=torch.float32, trust_remote_code=False)
    first = build_student(
        teacher,
        tokenizer=tokenizer,
        num_hidden_layers=teacher.config.num_hidden_layers // 2,
        hidden_size=teacher.config.hidden_size // 2,
        seed=args.seed,
    )
    shared = {
        "train_dataset": {code: Dataset.from_dict({"text": lines}) for code, lines in corpora.train.items()},
        "eval_dataset": {code: Dataset.from_dict({"text": lines}) for code, lines in corpora.evaluation.items()},
        "processing_class": tokenizer,
    }
    results = []
    for layer, heads in itertools.product(script.sweep_layers, script.sweep_heads):
        folder = Path(args.output_dir) / f"layer-{layer}-heads-{heads}"
        own = dataclasses.replace(args, teacher_layer=layer, num_relation_heads=heads, output_dir=str(folder))
        student = copy.deepcopy(first)
        distillation = RelationDistillTrainer(student, teacher, own, **shared)
        distillation.train()
        relation_loss = distillation.evaluate()["eval_loss"]
        distillation.terms.remove()  # its hooks on teacher and student
        fit_args = MAFTTrainingArguments(
            output_dir=str(folder / "fit"),
            max_steps=script.fit_steps,
            max_length=args.max_length,
            per_device_train_batch_size=args.per_device_train_batch_size,
            save_strategy="no",
            seed=args.seed,
            use_cpu=args.use_cpu,
        )
        fit = MAFTTrainer(student, fit_args, **shared)
        fit.train()
        result = {"teacher_layer": layer, "num_relation_heads": heads, "relation_loss": relation_loss}
        results.append(result | {"bits_per_byte": fit.evaluate()["eval_bits_per_byte"]})
        print(results[-1])
    results.sort(key=lambda result: result["bits_per_byte"])
    Path(args.output_dir, "sweep.json").write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
