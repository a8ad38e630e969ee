"""The two trainers, thin over Hugging Face's: MAFT adapts a model to languages, relation distillation shrinks it."""

from __future__ import annotations

from hf_afro.training.arguments import MAFTTrainingArguments, RelationDistillTrainingArguments
from hf_afro.training.distill import RelationDistillTrainer
from hf_afro.training.maft import MAFTTrainer
from hf_afro.training.processes import check_processes, leave_process_group
from hf_afro.training.sweep import SweepResult, sweep_relations

__all__ = [
    "MAFTTrainer",
    "MAFTTrainingArguments",
    "RelationDistillTrainer",
    "RelationDistillTrainingArguments",
    "SweepResult",
    "check_processes",
    "leave_process_group",
    "sweep_relations",
]
