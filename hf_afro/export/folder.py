"""Checks and the record `export.json`, shared by all forms of export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from hf_afro.files import write_whole
from hf_afro.version import __version__

EXPORT_FILE = "export.json"
"""Record of an export: its form, the class of the model, versions, and what the form adds, such as differences."""


def check_no_adapters(model: PreTrainedModel) -> None:
    """Raise `ValueError` for a model with PEFT adapters, which no form of export can hold."""
    if getattr(model, "peft_config", None):
        raise ValueError("the model carries adapters; merge them first with merge_and_unload()")


def check_student(model: PreTrainedModel, form: str) -> None:
    """Raise `ValueError` for a model that is no student, in forms that are for students only."""
    if model.config.model_type != "afro-student":
        raise ValueError(
            f"the model is of type {model.config.model_type}, which loads with transformers alone: "
            f"use it as it is; the form {form} is for an afro-student"
        )


def write_record(folder: Path, form: str, model: PreTrainedModel, **facts: Any) -> dict[str, Any]:
    """Write `export.json` into the folder of an exported model and return its content.

    Args:
        folder: The folder.
        form: Name of the form, as `hf-afro export --to` takes it.
        model: The model that was written.
        **facts: What else is recorded of this form.
    """
    record = {"to": form, "class": type(model).__name__, "versions": {"hf_afro": __version__}, **facts}
    write_whole(folder / EXPORT_FILE, json.dumps(record, indent=1) + "\n")
    return record
