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
r"""Distil a teacher into a student half as deep and half as wide by self-attention relations (MiniLMv2).

One process:

    python examples/distill.py --teacher runs/maft --text texts --output_dir runs/student --max_steps 1000

Many GPUs (and with --use_cpu after the script's name, many CPU processes):

    accelerate launch --multi_gpu --num_processes 8 --num_machines 1 --mixed_precision no --dynamo_backend no \
        examples/distill.py --teacher runs/maft --text texts --output_dir runs/student
    torchrun --standalone --nproc_per_node 8 examples/distill.py ...

The student's head and the end of its last layer learn nothing here: fit them afterwards, with examples/maft.py on
`runs/student` for a few hundred steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from datasets import Dataset
from transformers import AutoModelForMaskedLM, AutoTokenizer, HfArgumentParser

from hf_afro import RelationDistillTrainer, RelationDistillTrainingArguments, build_student
from hf_afro.corpora import prepare_corpora, read_corpora
from hf_afro.training import check_processes, leave_process_group


@dataclass
class ScriptArguments:
    """What the script needs beside the trainer's settings."""

    text: str = field(metadata={"help": "Folder with a text file a language."})
    teacher: str = field(metadata={"help": "The teacher, with its tokenizer."})
    embedding_size: int | None = field(
        default=None, metadata={"help": "Width of the student's token table, where it is narrower than the student."}
    )


def main() -> None:
    script, args = HfArgumentParser((ScriptArguments, RelationDistillTrainingArguments)).parse_args_into_dataclasses()
    check_processes(args)

    with args.main_process_first():
        corpora = prepare_corpora(read_corpora(script.text))
    tokenizer = AutoTokenizer.from_pretrained(script.teacher, trust_remote_code=False)
    teacher = AutoModelForMaskedLM.from_pretrained(script.teacher, dtype=torch.float32, trust_remote_code=False)
    student = build_student(
        teacher,
        tokenizer=tokenizer,
        num_hidden_layers=teacher.config.num_hidden_layers // 2,
        hidden_size=teacher.config.hidden_size // 2,
        embedding_size=script.embedding_size,
        seed=args.seed,
    )
    trainer = RelationDistillTrainer(
        model=student,
        teacher_model=teacher,
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
