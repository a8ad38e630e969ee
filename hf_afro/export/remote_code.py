"""The students' own source files beside a saved student, for `trust_remote_code=True` where hf_afro is missing."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from hf_afro.files import write_whole
from hf_afro.registration import MODELS

CODE = ("configuration_afro_student", "modeling_afro_student", "unpadding_afro_student")


def add_remote_code(folder: str | Path) -> None:
    """Put the students' code into the folder of a saved student, and say in its configuration what is where.

    The folder then loads with ``AutoModel.from_pretrained(folder, trust_remote_code=True)``, and so with every head,
    where transformers is installed and hf_afro is not. Where hf_afro is imported its own classes are taken unless
    `trust_remote_code` is set. Calling it again refreshes the code.

    Args:
        folder: Where a student was saved; its `config.json` is rewritten.

    Raises:
        FileNotFoundError: If there is no `config.json`.
        ValueError: If the folder holds another model, which needs no code of ours.
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
    for name in CODE:
        source = files("hf_afro.students").joinpath(f"{name}.py").read_text("utf-8")
        write_whole(Path(folder) / f"{name}.py", source)
    config["auto_map"] = {
        "AutoConfig": "configuration_afro_student.AfroStudentConfig",
        **{auto.__name__: f"modeling_afro_student.{model.__name__}" for auto, model in MODELS.items()},
    }
    write_whole(config_file, json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
