"""Export of a student with its source code, for `trust_remote_code=True` where hf_afro is not installed."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hf_afro.export.folder import check_student, write_record
from hf_afro.files import write_whole
from hf_afro.students.registration import MODELS

_CODE = ("configuration_afro_student", "modeling_afro_student", "unpadding_afro_student")


def export_with_code(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
) -> dict[str, Any]:
    """Write a student with its code, and return the content of `export.json`.

    Raises:
        ValueError: If the model is no student.
    """
    check_student(model, "remote-code")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    add_remote_code(folder)
    return write_record(Path(folder), "remote-code", model)


def add_remote_code(folder: str | Path) -> None:
    """Add the students' code to the folder of a saved student, and refer to it from the configuration.

    The folder then loads with ``AutoModel.from_pretrained(folder, trust_remote_code=True)``, and with every head,
    where transformers is installed and hf_afro is not. Where hf_afro is imported, its own classes are used unless
    `trust_remote_code` is set. A second call updates the code.

    Args:
        folder: Folder of a saved student; its `config.json` is rewritten.

    Raises:
        FileNotFoundError: If there is no `config.json`.
        ValueError: If the folder holds another model, which needs no code.
    """
    config_file = Path(folder) / "config.json"
    if not config_file.is_file():
        raise FileNotFoundError(f"{config_file} does not exist; save the student there first, with save_pretrained")
    config = json.loads(config_file.read_text("utf-8"))
    if config.get("model_type") != "afro-student":
        raise ValueError(
            f"{config_file} is of a {config.get('model_type')!r} model; only an 'afro-student' needs code beside it, "
            "others load with transformers alone"
        )
    for name in _CODE:
        source = files("hf_afro.students").joinpath(f"{name}.py").read_text("utf-8")
        write_whole(Path(folder) / f"{name}.py", source)
    config["auto_map"] = {
        "AutoConfig": "configuration_afro_student.AfroStudentConfig",
        **{auto.__name__: f"modeling_afro_student.{model.__name__}" for auto, model in MODELS.items()},
    }
    write_whole(config_file, json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
