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
r"""Adapt a masked language model to the languages of a folder of text (MAFT), as a Hugging Face training script.

One process:

    python examples/maft.py --model_name_or_path xlm-roberta-base --text texts --output_dir runs/maft --max_steps 1000

Many GPUs (and with --use_cpu after the script's name, many CPU processes):

    accelerate launch --multi_gpu --num_processes 8 --num_machines 1 --mixed_precision no --dynamo_backend no \
        examples/maft.py --model_name_or_path xlm-roberta-base --text texts --output_dir runs/maft
    torchrun --standalone --nproc_per_node 8 examples/maft.py ...

`texts` holds a file a language, named by its code: swa.txt, yor.txt, a line a sentence or paragraph.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from datasets import Dataset
from transformers import AutoModelForMaskedLM, AutoTokenizer, HfArgumentParser

from hf_afro import MAFTTrainer, MAFTTrainingArguments
from hf_afro.corpora import prepare_corpora, read_corpora
from hf_afro.training import check_processes, leave_process_group


@dataclass
class ScriptArguments:
    """What the script needs beside the trainer's settings."""

    text: str = field(metadata={"help": "Folder with a text file a language."})
    model_name_or_path: str = field(metadata={"help": "Masked language model to adapt, with its tokenizer."})


class MyTrainer(MAFTTrainer):
    """A place for your own changes: any public hook of `transformers.Trainer` may be overridden."""


def main() -> None:
    script, args = HfArgumentParser((ScriptArguments, MAFTTrainingArguments)).parse_args_into_dataclasses()
    check_processes(args)

    with args.main_process_first():
        corpora = prepare_corpora(read_corpora(script.text))
    tokenizer = AutoTokenizer.from_pretrained(script.model_name_or_path, trust_remote_code=False)
    model = AutoModelForMaskedLM.from_pretrained(
        script.model_name_or_path, dtype=torch.float32, trust_remote_code=False
    )
    trainer = MyTrainer(
        model=model,
        args=args,
        train_dataset={code: Dataset.from_dict({"text": lines}) for code, lines in corpora.train.items()},
        eval_dataset={code: Dataset.from_dict({"text": lines}) for code, lines in corpora.evaluation.items()},
        processing_class=tokenizer,
    )
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    trainer.save_model()
    metrics = trainer.evaluate()
    trainer.save_metrics("eval", metrics)


if __name__ == "__main__":
    main()
    leave_process_group()
