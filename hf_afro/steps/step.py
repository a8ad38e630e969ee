"""`Step`: one piece of work with its settings, which is a command and a stage of recipes alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@dataclass(frozen=True)
class Outcome:
    """The outcome of a step.

    Attributes:
        facts: Figures that JSON can hold; they are kept in the record of the folder.
        text: What a command prints.
        exit_code: What the command returns: 0, or 1 if what it checked is wrong.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    exit_code: int = 0


@dataclass(frozen=True)
class Plan:
    """Description of a run, as far as it is known before anything runs.

    Attributes:
        note: A remark on these figures.
        vocabulary: Rows of the embedding of the model it writes.
        parameters: Of that model.
        steps: Optimizer steps, on one device.
        tokens: Tokens trained on in total, if every sequence is full.
        model: The configuration of the model it writes.
        text_bytes: Size of the text it writes, before cleaning.
        languages: Of the text it writes, as ISO 639-3 codes; None if they are not known.
        held_out: Whether part of that text is held out.
        sets: The languages of each task it writes, as far as they are known.
        places: Where the sets of each task are, as the step `tasks` takes them.
        evaluation: The settings of an evaluation: what it evaluates goes on cards, and may teach in a later one.
    """

    note: str = ""
    vocabulary: int | None = None
    parameters: int | None = None
    steps: int | None = None
    tokens: int | None = None
    model: PretrainedConfig | None = None
    text_bytes: int | None = None
    languages: tuple[str, ...] | None = None
    held_out: bool = True
    sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    evaluation: Any = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One piece of work.

    Attributes:
        name: Of the command and of the stage.
        description: What it does; the first line is the summary.
        config: The dataclass of its settings.
        run: Does the work: takes the settings and an empty folder to write to, or one that `can_resume` approved
            of; None where none was given and `needs_folder` is false.
        gives: The kind of its result, by which later stages of a recipe find it: model, text, counts, ...
        arguments: The class of further settings, given by name in the field `arguments` of the settings.
        positional: The setting whose values may stand before all options.
        check: Refuses what is known to be impossible before anything is read; takes the settings.
        can_resume: Tells whether a folder holds interrupted work that can be resumed; without it the step starts over.
        keeps_work: Tells by the settings whether interrupted work is kept for `can_resume` to judge; it always is if
            there is none.
        preview: Takes the settings and returns what `--dry_run` prints; the step then writes nothing. Without it the
            command has no such option.
        plan: Estimates sizes; takes the settings and the plans of what each setting names.
        shows_names: Whether its output contains the names of its inputs.
        needs_folder: Whether a command has to be given a folder to write to.
    """

    name: str
    description: str
    config: type
    run: Callable[[Any, Any], Outcome]
    gives: str = ""
    arguments: type | None = None
    positional: str | None = None
    check: Callable[[Any], None] | None = None
    can_resume: Callable[[Path], bool] | None = None
    keeps_work: Callable[[Any], bool] | None = None
    preview: Callable[[Any], str] | None = None
    plan: Callable[[Any, Mapping[str, Plan]], Plan] | None = None
    shows_names: bool = False
    needs_folder: bool = True

    @property
    def trains(self) -> bool:
        """Whether it takes a trainer's arguments, and so may run in several processes."""
        from transformers import TrainingArguments

        return self.arguments is not None and issubclass(self.arguments, TrainingArguments)
