"""Sizes estimated from configurations alone: no weights are read and nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForMaskedLM, PretrainedConfig, TrainingArguments

from hf_afro.families import positions_of
from hf_afro.pretrained import load_tokenizer
from hf_afro.steps.step import Plan
from hf_afro.students.building import empty_model

# UTF-8 bytes per token of XLM-R in news in African languages; good enough to tell hours from days.
_BYTES_PER_TOKEN = 3.5


def of_model(config: PretrainedConfig | None, note: str = "", **more: Any) -> Plan:
    """Return the plan of a step that writes a model with a configuration, which may be unknown."""
    if config is None:
        return Plan(note=note or "sizes not declared", **more)
    return Plan(note, vocabulary=config.vocab_size, parameters=parameters_of(config), model=config, **more)


def parameters_of(config: PretrainedConfig) -> int:
    """Return how many parameters the masked language model of a configuration has, tied ones once."""
    return empty_model(config).num_parameters()


def outside(place: str) -> Plan:
    """Return the plan of a model or tokenizer that already exists; of a folder, its sizes."""
    if not (Path(place) / "config.json").is_file():
        return Plan()
    config = AutoConfig.from_pretrained(place)
    # A student's positions are counted from the padding id of the tokenizer, whatever the configuration says.
    padding = load_tokenizer(place).pad_token_id
    if padding is not None:
        config.pad_token_id = padding
    return of_model(config if type(config) in AutoModelForMaskedLM._model_mapping else None, "sizes of its folder")


def of_training(config: Any, arguments: TrainingArguments, model: PretrainedConfig | None, text: Plan | None) -> Plan:
    """Return the plan of a training: the model it writes, its steps and tokens.

    Args:
        config: The settings of the step.
        arguments: Of the trainer, with `max_length`.
        model: The configuration of the model that is trained, if it is known.
        text: The plan of the text, if an earlier stage prepares it.

    Raises:
        ValueError: If sequences are longer than the model takes, or the text lacks a language that is named.
    """
    check_languages(config.languages, text)
    longest = None if model is None else positions_of_config(model)
    if longest is not None and arguments.max_length > longest:  # type: ignore[attr-defined]
        raise ValueError(
            f"max_length is {arguments.max_length}; the model takes {longest} tokens: set max_length to {longest} or "  # type: ignore[attr-defined]
            "less"
        )
    batch = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps
    tokens_per_step = batch * arguments.max_length  # type: ignore[attr-defined]
    if arguments.max_steps > 0:
        return of_model(model, steps=arguments.max_steps, tokens=arguments.max_steps * tokens_per_step)
    epochs = f"{arguments.num_train_epochs:g} epochs"
    size = None if text is None else text.text_bytes
    if size is None or config.languages is not None:
        return of_model(model, epochs)
    tokens = int(size / _BYTES_PER_TOKEN * arguments.num_train_epochs)
    note = f"{epochs}, steps estimated from the size of the text"
    return of_model(model, note, steps=max(1, tokens // tokens_per_step), tokens=tokens)


def check_languages(wanted: Sequence[str] | None, text: Plan | None) -> None:
    """Refuse languages that the text of an earlier stage does not have.

    Args:
        wanted: Languages by ISO 639-3 code; None for all.
        text: The plan of the text.

    Raises:
        ValueError: If one is missing.
    """
    if text is None or text.languages is None:
        return
    if missing := [code for code in wanted or () if code not in text.languages]:
        raise ValueError(f"there is no text in {', '.join(missing)}; there is text in {', '.join(text.languages)}")


def positions_of_config(config: PretrainedConfig) -> int | None:
    """Return how many tokens a model takes at most; None if its configuration sets no limit."""
    return positions_of(empty_model(config))
