"""The step `base`: a pretrained model for a recipe to start from, at one commit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from huggingface_hub import snapshot_download
from transformers import AutoConfig, PretrainedConfig
from transformers.hf_argparser import HfArg

from hf_afro.pretrained import check_folder, load_encoder_config, load_tokenizer
from hf_afro.steps.plans import of_model, outside, parameters_of
from hf_afro.steps.records import RECORD_FILE
from hf_afro.steps.settings import Input, StepConfig
from hf_afro.steps.step import Outcome, Plan, Step

DESCRIPTION = """\
Name a pretrained model to start from, at one commit.

  hf-afro base --model FacebookAI/xlm-roberta-base --revision e73636d --output_dir base

Output: a folder of links to the model's files, here or in the cache of the Hub; nothing is copied.
"""
_OTHER_WEIGHTS = ["*.h5", "*.msgpack", "*.ot", "*.onnx", "*.onnx_data", "*.tflite"]


@dataclass(frozen=True, kw_only=True)
class Config(StepConfig):
    """The model."""

    model: Annotated[str, Input(is_model=True, must_exist=False)] = HfArg(
        help="folder of a model with its tokenizer, or its name on the Hub"
    )
    revision: str | None = HfArg(
        default=None, help="commit, tag or branch on the Hub; a commit makes the run repeatable"
    )
    architecture: dict | str | None = HfArg(
        default=None,
        help="the contents of its config.json, so that a dry run knows its sizes before anything is downloaded, as in "
        '{"model_type": "xlm-roberta", "hidden_size": 768}; checked against the model',
    )

    def __post_init__(self) -> None:
        """Read a declared architecture."""
        super().__post_init__()
        given = self.architecture
        architecture = json.loads(given) if isinstance(given, str) else given
        object.__setattr__(self, "architecture", architecture)
        if architecture is not None:
            declared(architecture)


def declared(architecture: Mapping[str, object]) -> PretrainedConfig:
    """Return the configuration of a declared architecture; what it leaves out has the default of its model type.

    Raises:
        ValueError: If it names no model type, or one that is unknown.
    """
    settings = dict(architecture)
    model_type = settings.pop("model_type", None)
    if model_type is None:
        raise ValueError("architecture has no model_type; expected one such as xlm-roberta")
    return AutoConfig.for_model(str(model_type), **settings)


def run(config: Config, folder: Path) -> Outcome:
    """Link the model's files after checking that they are a model with its tokenizer, and the one declared.

    Raises:
        ValueError: If they are not.
    """
    revision = {} if config.revision is None else {"revision": config.revision}
    is_local = Path(config.model).is_dir()
    own = load_encoder_config(config.model, **({} if is_local else revision))
    source = (
        Path(config.model)
        if is_local
        else Path(snapshot_download(config.model, ignore_patterns=_OTHER_WEIGHTS, **revision))
    )
    for path in sorted(source.iterdir()):
        # Folders are modules of sentence-transformers, or checkpoints of a trainer, which are not the model.
        if path.name != RECORD_FILE and not path.name.startswith("checkpoint-"):
            (folder / path.name).symlink_to(path.resolve())
    check_folder(folder)
    tokens = len(load_tokenizer(str(folder)))
    if tokens > own.vocab_size:
        raise ValueError(
            f"the tokenizer of {config.model} has {tokens} tokens but the model has {own.vocab_size} rows, so they "
            "do not belong together; load both from the same folder"
        )
    for name, value in (config.architecture or {}).items():  # type: ignore[union-attr]
        if getattr(own, name, None) != value:
            raise ValueError(
                f"architecture declares {name}={value!r}, and {config.model} has {getattr(own, name, None)!r}; "
                "correct the declaration"
            )
    facts = {"vocabulary": own.vocab_size, "parameters": parameters_of(own), "model": config.model}
    commit = getattr(own, "_commit_hash", None) or config.revision
    return Outcome(facts | ({"revision": commit} if commit else {}))


def plan(config: Config, inputs: Mapping[str, Plan]) -> Plan:
    """Estimate the sizes from its folder, else from the declaration."""
    if Path(config.model).is_dir():
        check_folder(Path(config.model))
        return outside(config.model)
    if config.architecture is None:
        return Plan("sizes not declared")
    return of_model(declared(config.architecture), "sizes as declared")  # type: ignore[arg-type]


STEP = Step(name="base", description=DESCRIPTION, config=Config, run=run, gives="model", plan=plan)
