"""The settings of a trainer, read from what a command line holds beyond the command's own options."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import importlib.util
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

if TYPE_CHECKING:
    from transformers import TrainingArguments

Arguments = TypeVar("Arguments", bound="TrainingArguments")


def parse_settings(
    kind: type[Arguments], settings: Sequence[str], output_dir: Path, own_options: Sequence[str] = ()
) -> Arguments:
    """Return a trainer's arguments from words such as ``["--learning_rate", "3e-5"]``.

    Args:
        kind: The class of arguments; every field of it is a setting.
        settings: The words that the command itself did not know.
        output_dir: Where the trainer writes; not a setting, since the command decides it.
        own_options: Names of the command's own options, to name the nearest right one among them too.

    Raises:
        ValueError: If a setting is unknown, the message naming the nearest, its value is not possible, or several
            processes were launched that would not work together.
    """
    from transformers import HfArgumentParser

    from hf_afro.training import check_processes

    class Parser(HfArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise ValueError(message)

    parser = Parser(kind, allow_abbrev=False, add_help=False)
    words = [*settings, "--output_dir", str(output_dir)]
    try:
        parsed, unknown = parser.parse_args_into_dataclasses(
            words, return_remaining_strings=True, look_for_args_file=False
        )
    except (ValueError, TypeError, ImportError) as error:
        # What TrainingArguments refuses is the user's, though the library raises it.
        raise ValueError(f"{error}; the settings are the fields of {kind.__name__}") from error
    if unknown:
        names = [field.name for field in dataclasses.fields(kind) if field.init]
        raise ValueError(_describe_unknown(unknown[0], [*names, *own_options], kind.__name__))
    if parsed.resume_from_checkpoint is not None:
        raise ValueError(
            f"--resume_from_checkpoint {parsed.resume_from_checkpoint}: a run that was interrupted goes on by itself "
            "when the same command is given again; to train on from another's checkpoint, name it as the model"
        )
    check_processes(parsed)
    return parsed


def check_names(settings: Sequence[str], own_settings: Collection[str], own_options: Sequence[str], kind: str) -> None:
    """Refuse a misspelt setting at once: `parse_settings` knows better, but takes seconds to import what it needs.

    The fields of `transformers.TrainingArguments` are read from the text of its module.

    Args:
        settings: The words that the command itself did not know.
        own_settings: The settings beyond those of transformers.
        own_options: Names of the command's own options.
        kind: What the class of arguments is called.

    Raises:
        ValueError: As `parse_settings` does.
    """
    known = {*own_settings, *_stock_settings()}
    for word in settings:
        name = word.removeprefix("--").partition("=")[0].replace("-", "_")
        if word.startswith("--") and not {name, name.removeprefix("no_")} & known:
            raise ValueError(_describe_unknown(word, [*known, *own_options], kind))


def _stock_settings() -> list[str]:
    transformers = importlib.util.find_spec("transformers")  # is found, and not imported
    assert transformers is not None
    assert transformers.submodule_search_locations is not None
    path = Path(transformers.submodule_search_locations[0]) / "training_args.py"
    classes = (node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.ClassDef))
    return [
        statement.target.id
        for node in classes
        if node.name == "TrainingArguments"
        for statement in node.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    ]


def _describe_unknown(word: str, known: Sequence[str], kind: str) -> str:
    if not word.startswith("--"):
        return f"{word!r} stands alone; expected --name value, the names being the fields of {kind}"
    name = word.removeprefix("--").partition("=")[0].replace("-", "_")
    nearest = difflib.get_close_matches(name, sorted(known), n=1)
    hint = f"; the nearest is --{nearest[0]}" if nearest else ""
    return f"{word} is neither an option of this command nor a field of {kind}{hint}"
