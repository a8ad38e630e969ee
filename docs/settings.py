"""The page `reference/settings.md`, written from the settings themselves: `python -m docs.settings`."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from transformers import TrainingArguments

from hf_afro.steps import SUMMARIES, step_named
from hf_afro.steps.settings import Input, Languages, Limits
from hf_afro.steps.step import Step

PAGE = Path(__file__).parent / "reference" / "settings.md"
INTRODUCTION = """\
# Settings

Every setting of every step, which is a command and a stage of recipes alike. This page is written by
`python -m docs.settings` from the same fields that the commands are made from.

- on the command line: `hf-afro prune --budget 50000`
- in a file for `--config`: `budget: 50000`
- in a recipe, below the name of the stage: `budget: 50000`; `hf-afro run RECIPE --prune.budget 50000` replaces it

In a recipe a setting of type *path* or *model* may name an earlier stage. Commands also take `--output_dir`,
`--overwrite`, `--config` and `--debug`. The steps that train take every field of
[`transformers.TrainingArguments`](https://huggingface.co/docs/transformers/main_classes/trainer#transformers.TrainingArguments)
as well, with its default.
"""
_WORDS = {int: "integer", float: "number", str: "text", bool: "true or false", dict: "JSON object"}


def page() -> str:
    """Return the page: one table per step."""
    return "\n".join([INTRODUCTION, *(_section(step_named(name)) for name in SUMMARIES)])


def _section(step: Step) -> str:
    rows = ["| setting | type | default | what it is |", "|---|---|---|---|"]
    rows += [_row(step.config, field, hint) for field, hint in _own_fields(step.config)]
    if step.arguments is not None:
        # The settings of fine-tuning replace those of the preset.
        default = None if issubclass(step.arguments, TrainingArguments) else "as the preset has it"
        rows += [_row(step.arguments, field, hint, default) for field, hint in _own_fields(step.arguments)]
    return "\n".join([f"## {step.name}\n", SUMMARIES[step.name], "", *rows, ""])


def _own_fields(kind: type) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    """Yield the fields that are settings, without those of transformers, with their types."""
    trains = issubclass(kind, TrainingArguments)
    stock = {field.name for field in dataclasses.fields(TrainingArguments)} if trains else {"arguments"}
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        if field.init and field.name not in stock:
            yield field, hints[field.name]


def _row(kind: type, field: dataclasses.Field[Any], hint: Any, default: str | None = None) -> str:
    help_text = str(field.metadata.get("help") or _documented(kind, field.name))
    help_text = help_text.replace("|", "\\|").replace("<", "&lt;").replace("%%", "%")
    return f"| `{field.name}` | {_type(hint)} | {_default(field) if default is None else default} | {help_text} |"


def _documented(kind: type, name: str) -> str:
    """Return what the docstring of a class says of a field; nothing where it says nothing."""
    found = re.search(rf"^ +{name}: ((?:.+\n)(?: {{12}}.+\n)*)", f"{kind.__doc__}\n", re.M)
    return " ".join(found[1].split()) if found else ""


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        value: Any = field.default_factory()
    elif field.default is dataclasses.MISSING:
        return "required"
    else:
        value = field.default
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"`{' '.join(map(str, value)) if isinstance(value, list | tuple) else value}`"


def _type(hint: Any) -> str:
    """Return a type in words, with its limits or choices."""
    markers: tuple[Any, ...] = ()
    if typing.get_origin(hint) is Annotated:
        hint, *rest = typing.get_args(hint)
        markers = tuple(rest)
    is_union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    kinds = typing.get_args(hint) if is_union else (hint,)
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    is_list = any(typing.get_origin(kind) is list for kind in kinds)
    words = _marked(markers, is_list=is_list) or " or ".join(dict.fromkeys(map(_plain, kinds)))
    limits = [marker.describe() for marker in markers if isinstance(marker, Limits)]
    return f"{words}, {limits[0]}" if limits else words


def _marked(markers: tuple[Any, ...], *, is_list: bool) -> str:
    for marker in markers:
        if isinstance(marker, Languages):
            return "languages"
        if isinstance(marker, Input):
            return ("models" if is_list else "model") if marker.is_model else ("paths" if is_list else "path")
    return ""


def _plain(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(kind))
    if typing.get_origin(kind) is list:
        return f"list of {_plain(*typing.get_args(kind))}"
    return _WORDS.get(typing.get_origin(kind) or kind, getattr(kind, "__name__", str(kind)))


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), "utf-8")
