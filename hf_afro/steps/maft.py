"""The step `maft`: a masked language model adapted to the languages of some text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForMaskedLM, PreTrainedModel, PreTrainedTokenizerBase, set_seed
from transformers.hf_argparser import HfArg

from hf_afro.messages import nearest
from hf_afro.model_folders import HOW_MADE
from hf_afro.pretrained import load_config, load_encoder_config, load_model, load_tokenizer
from hf_afro.steps.parsing import check_arguments
from hf_afro.steps.plans import of_training
from hf_afro.steps.settings import Model
from hf_afro.steps.step import Outcome, Plan, Step
from hf_afro.steps.text import TextConfig, datasets_of, prepare_text
from hf_afro.steps.training import can_resume, facts_of, gain_table, train, trainer_arguments
from hf_afro.training import MAFTTrainer, MAFTTrainingArguments

DESCRIPTION = """\
Adapt a masked language model to the languages of your text (MAFT).

Training continues as the model was pretrained, on monolingual text of many languages at once: one model serves all of
them. The text is cleaned as in the paper (Alabi et al., 2022), and what --exclude names is removed from it.

  hf-afro maft --model pruned --text texts --exclude test_sentences.txt --output_dir adapted \\
      --num_train_epochs 3 --learning_rate 5e-5 --per_device_train_batch_size 10

On several GPUs: accelerate launch --module hf_afro.cli.main maft ...
An interrupted run resumes when the same command is repeated.

Output: the model and its tokenizer, metrics.json (bits per byte of held-out text before and after, by language),
cleaning.json and cleaning.md (lines read and dropped, by reason), history.json and the trainer's checkpoints.
"""


@dataclass(frozen=True, kw_only=True)
class Config(TextConfig):
    """The model, its text, and the trainer's arguments."""

    model: Model = HfArg(help="folder of a model with its tokenizer, or its name on the Hub")
    from_scratch: bool = HfArg(default=False, help="train the architecture from random weights")
    config_overrides: str | None = HfArg(
        default=None, help="with --from_scratch: changes of the model's configuration, as in hidden_size=384,..."
    )
    no_checkpoints: bool = HfArg(default=False, help="remove the trainer's checkpoints once the training is done")
    arguments: dict[str, Any] = field(default_factory=dict)


def check(config: Config) -> None:
    """Refuse overrides without `from_scratch`.

    Raises:
        ValueError: If there are any.
    """
    if config.config_overrides and not config.from_scratch:
        raise ValueError("--config_overrides changes the architecture, so it needs --from_scratch")


def run(config: Config, folder: Path) -> Outcome:
    """Clean, train, evaluate and save.

    Raises:
        ValueError: If a setting is impossible, or the text or model is not suitable for training.
    """
    arguments = trainer_arguments(MAFTTrainingArguments, config.arguments, folder)
    load_encoder_config(config.model)
    tokenizer = load_tokenizer(config.model)
    text = prepare_text(config, arguments.seed)
    model = load_masked_lm(config, tokenizer, arguments.seed)
    return adapt(model, tokenizer, text, arguments, folder, keep_checkpoints=not config.no_checkpoints)


def adapt(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    text: Any,
    arguments: MAFTTrainingArguments,
    folder: Path,
    *,
    keep_checkpoints: bool,
    remove: Path | None = None,
) -> Outcome:
    """Train a masked language model on prepared text, and save it with its figures; then remove a folder."""
    trainer = MAFTTrainer(
        model=model,
        args=arguments,
        train_dataset=datasets_of(text.train),
        eval_dataset=datasets_of(text.evaluation) or None,
        processing_class=tokenizer,
    )
    metrics = train(trainer, text, folder, keep_checkpoints=keep_checkpoints, remove=remove)
    facts = facts_of(trainer, metrics, "bits_per_byte")
    return Outcome(facts, gain_table(metrics, text, "bits_per_byte", "bits per byte"))


def load_masked_lm(config: Config, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """Return the model in fp32, or one of its architecture with random weights.

    Raises:
        ValueError: If there is no such model, or `config_overrides` does not fit it.
    """
    if not config.from_scratch:
        # The default of transformers is the checkpoint's own dtype, and fp16 weights do not train.
        return load_model(config.model, auto_class="AutoModelForMaskedLM", seed=seed, dtype=torch.float32)
    own = load_config(config.model)
    overrides = config.config_overrides or ""
    for name, sign, _ in (part.partition("=") for part in overrides.split(",") if part):
        if not hasattr(own, name):
            hint = nearest(name, own.to_dict())
            raise ValueError(f"--config_overrides {overrides}: the configuration has no {name!r}; {hint}")
        if not sign:
            raise ValueError(f"--config_overrides {overrides}: {name} has no value; expected {name}=...")
    for name in HOW_MADE:  # it describes the model whose weights are not used
        if hasattr(own, name):
            delattr(own, name)
    set_seed(seed)
    try:
        if overrides:  # an empty text would be an error
            own.update_from_string(overrides)
        if tokenizer.pad_token_id is not None:  # a new model counts positions from what its text is padded with
            own.pad_token_id = tokenizer.pad_token_id
        return AutoModelForMaskedLM.from_config(own, dtype=torch.float32)  # whatever its weights were saved in
    except (ValueError, TypeError) as error:  # what a configuration refuses is the user's mistake
        asked = f"--config_overrides {overrides}" if overrides else "--from_scratch"
        raise ValueError(f"{asked}: {error}") from error


def plan(config: Config, inputs: Mapping[str, Plan]) -> Plan:
    """Estimate sizes, steps and tokens."""
    arguments = check_arguments(MAFTTrainingArguments, config.arguments)
    return of_training(config, arguments, inputs["model"].model, inputs.get("text"))


STEP = Step(
    name="maft",
    description=DESCRIPTION,
    config=Config,
    arguments=MAFTTrainingArguments,
    run=run,
    gives="model",
    check=check,
    can_resume=can_resume,
    plan=plan,
)
