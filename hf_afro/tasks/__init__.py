"""Tasks: entities, parts of speech, topics, sentiment, inference and sets of one's own, fine-tuned and scored."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_afro.tasks.bits_per_byte import bits_per_byte_scores
    from hf_afro.tasks.data import TaskData, make_task_data
    from hf_afro.tasks.descriptions import SetDescription, read_description
    from hf_afro.tasks.duplicates import deduplicated_scores
    from hf_afro.tasks.encoding_cache import encode_with_cache
    from hf_afro.tasks.evaluation import evaluate_model
    from hf_afro.tasks.facts import model_facts
    from hf_afro.tasks.finetuning import FineTuned, finetune
    from hf_afro.tasks.heads import save_finetuned
    from hf_afro.tasks.hub_sets import load_hub_task
    from hf_afro.tasks.loading import load_described, load_task
    from hf_afro.tasks.metrics import ClassificationScores, EntityF1, TagScores
    from hf_afro.tasks.presets import FineTuningSettings, preset
    from hf_afro.tasks.resampling import (
        approximate_randomisation,
        bootstrap_interval,
        paired_bootstrap,
        task_counts,
    )

__all__ = [
    "ClassificationScores",
    "EntityF1",
    "FineTuned",
    "FineTuningSettings",
    "SetDescription",
    "TagScores",
    "TaskData",
    "approximate_randomisation",
    "bits_per_byte_scores",
    "bootstrap_interval",
    "deduplicated_scores",
    "encode_with_cache",
    "evaluate_model",
    "finetune",
    "load_described",
    "load_hub_task",
    "load_task",
    "make_task_data",
    "model_facts",
    "paired_bootstrap",
    "preset",
    "read_description",
    "save_finetuned",
    "task_counts",
]

_FILES = {
    "bits_per_byte": "bits_per_byte_scores",
    "data": "TaskData make_task_data",
    "descriptions": "SetDescription read_description",
    "duplicates": "deduplicated_scores",
    "encoding_cache": "encode_with_cache",
    "evaluation": "evaluate_model",
    "facts": "model_facts",
    "finetuning": "FineTuned finetune",
    "heads": "save_finetuned",
    "hub_sets": "load_hub_task",
    "loading": "load_described load_task",
    "metrics": "ClassificationScores EntityF1 TagScores",
    "presets": "FineTuningSettings preset",
    "resampling": "approximate_randomisation bootstrap_interval paired_bootstrap task_counts",
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for: the presets need no torch, fine-tuning does."""
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
