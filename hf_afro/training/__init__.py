"""Two trainers on top of Hugging Face's: MAFT adapts a model to languages, relation distillation shrinks it."""

from __future__ import annotations

from hf_afro.training.arguments import (
    MAFTTrainingArguments as MAFTTrainingArguments,
    RelationDistillTrainingArguments as RelationDistillTrainingArguments,
)
from hf_afro.training.distill import RelationDistillTrainer as RelationDistillTrainer
from hf_afro.training.maft import MAFTTrainer as MAFTTrainer
from hf_afro.training.processes import check_processes as check_processes, leave_process_group as leave_process_group
