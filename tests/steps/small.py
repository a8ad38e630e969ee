"""A step of a few files, that the tests of running and of records run in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from hf_afro.checkpoints import mark_whole
from hf_afro.steps.running import Finished, run_step
from hf_afro.steps.settings import Input, Limits, NoEffect, StepConfig
from hf_afro.steps.step import Outcome, Step
from hf_afro.steps.training import can_resume


@dataclass(frozen=True, kw_only=True)
class Config(StepConfig):
    """Something to read, and a number."""

    text: Annotated[str | None, Input()] = None
    model: Annotated[str | None, Input(is_model=True, must_exist=False)] = None
    parts: Annotated[list[str] | None, Input()] = None
    steps: Annotated[int, Limits(low=1)] = 3
    processes: Annotated[int, NoEffect()] = 1
    arguments: dict[str, Any] = field(default_factory=dict)


def write_result(config: Config, folder: Path) -> Outcome:
    """Write one small file."""
    (folder / "result").write_text(f"{config.steps} steps")
    return Outcome({"lines": 1}, "one line")


def save_checkpoint(folder: Path) -> None:
    """Leave a whole checkpoint, as a trainer does."""
    (folder / "checkpoint-2").mkdir()
    (folder / "checkpoint-2" / "trainer_state.json").write_text("{}")
    mark_whole(folder / "checkpoint-2")


def interrupt(config: Config, folder: Path) -> Outcome:
    """Leave a whole checkpoint, and be interrupted."""
    save_checkpoint(folder)
    raise KeyboardInterrupt


def step_of(run: Callable[[Any, Any], Outcome] = write_result, *, resumable: bool = False, **more: Any) -> Step:
    """Return the step of a function."""
    resume = can_resume if resumable else None
    return Step(name="small", description="Write.", config=Config, run=run, can_resume=resume, **more)


def make(
    target: Path,
    run: Callable[[Any, Any], Outcome] = write_result,
    *,
    resumable: bool = False,
    overwrite: bool = False,
    owned: bool = False,
    **settings: Any,
) -> Finished:
    """Run the step of a function into a folder."""
    step = step_of(run, resumable=resumable)
    return run_step(step, Config(**settings), target, overwrite=overwrite, owned=owned)


def names(folder: Path) -> list[str]:
    """Return the names of what is in a folder."""
    return sorted(path.name for path in folder.iterdir())
