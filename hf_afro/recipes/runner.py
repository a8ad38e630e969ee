"""`run_recipe`: run the stages in order, skip those that are up to date, and resume interrupted ones."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm
from transformers.utils import logging as transformers_logging

from hf_afro.files import is_leftover, locked, parents_made, remove_leftovers, write_whole
from hf_afro.recipes.recipe import DATA, Recipe, RecipeError, Stage
from hf_afro.steps.plans import outside
from hf_afro.steps.records import RECORD_FILE, Record
from hf_afro.steps.running import UP_TO_DATE, check_inputs, run_step, unfinished
from hf_afro.steps.settings import inputs_of, place_of
from hf_afro.steps.step import Plan
from hf_afro.version import __version__

logger = logging.getLogger(__name__)

TO_RUN, TO_RESUME, NEEDS_DATA = "to run", "to resume", "needs --data"
LOCK_FILE = ".lock"


@dataclass(frozen=True)
class StageResult:
    """The result of a stage, or what it would be.

    Attributes:
        name: Of the stage.
        step: The name of its step.
        status: `up to date`, `done` or `resumed`; in a dry run `up to date`, `to run`, `to resume` or, if the
            recipe's folder of data is not named, `needs --data`.
        seconds: How long it took when it ran; None if it has not.
        plan: Its sizes as planned.
        folder: Where its result is or would be.
        facts: Its figures; empty in a dry run.
    """

    name: str
    step: str
    status: str
    seconds: float | None
    plan: Plan
    folder: Path
    facts: Mapping[str, Any] = field(default_factory=dict)


def run_recipe(
    recipe: Recipe,
    output_dir: str | os.PathLike[str],
    *,
    dry_run: bool = False,
    overwrite: bool = False,
    show_progress: bool = False,
) -> tuple[StageResult, ...]:
    """Run a recipe, or return what would run.

    Every stage writes a folder of its own, ``<output_dir>/<stage>``. A stage is run if there is no such folder, or if
    its settings, a file it reads or a stage it reads has changed since. Interrupted stages are resumed.

    Args:
        recipe: From `load_recipe`.
        output_dir: A folder of an earlier run, or a new one.
        dry_run: Write nothing and run nothing.
        overwrite: Start over, whatever exists.
        show_progress: Whether to show a bar of the stages.

    Raises:
        RecipeError: If the recipe cannot work, or its data is not named.
        FileNotFoundError: If its folder of data or a file it reads does not exist. Both are found before anything
            runs.
        ValueError: If the folder holds other things, or another run is writing to it.
    """
    root = Path(output_dir)
    if recipe.data is not None and not Path(recipe.data).is_dir():
        raise FileNotFoundError(
            f"--data {recipe.data} is not a folder; expected the one with the recipe's text and tasks"
        )
    plans = plan_recipe(recipe)
    if dry_run:
        return tuple(_foresee(recipe, root, plans))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            "a recipe runs in one process, and several were launched; launch `hf-afro maft` and `hf-afro distill` "
            "with accelerate instead, or start hf-afro run without it"
        )
    _check_root(root)
    configs = {stage.name: _checked(recipe, stage, root) for stage in recipe.stages}
    results: list[StageResult] = []
    with _held(root, recipe), tqdm(recipe.stages, desc=recipe.name, disable=not show_progress, leave=False) as bar:
        for stage in bar:
            folder, began = root / stage.name, time.monotonic()
            logger.info("%s: started", stage.name)
            try:
                with _quiet(show_progress):
                    done = run_step(stage.step, configs[stage.name], folder, overwrite=overwrite, owned=True)
            except BaseException as error:
                if stage.place not in str(error):
                    error.add_note(f"stage {stage.name}: {stage.place}")
                raise
            if done.status != UP_TO_DATE:
                logger.info("%s: %s in %.0f s", stage.name, done.status, time.monotonic() - began)
            facts, plan = done.record.facts, plans[stage.name]
            results.append(
                StageResult(stage.name, stage.step.name, done.status, done.record.seconds, plan, folder, facts)
            )
    return tuple(results)


def plan_recipe(recipe: Recipe) -> dict[str, Plan]:
    """Return the plan of every stage by its name, in order.

    Raises:
        RecipeError: If a stage cannot work; the message names it with its line.
    """
    plans: dict[str, Plan] = {}
    for stage in recipe.stages:
        if stage.step.plan is None:
            plans[stage.name] = Plan()
            continue
        inputs: dict[str, Plan] = {}
        for name, marker, values in inputs_of(stage.config):
            place = place_of(values[0])
            inputs[name] = plans[place] if place in plans else outside(place) if marker.gives == "model" else Plan()
        try:
            plans[stage.name] = stage.step.plan(stage.config, inputs)
        except RecipeError:
            raise
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{stage.place}: {stage.name}: {error}") from error
        except ValueError as error:
            raise RecipeError(f"{stage.place}: {stage.name}: {error}") from error
    return plans


def _checked(recipe: Recipe, stage: Stage, root: Path) -> Any:
    """Return the settings of a stage with the folders of those it reads, after refusing what is known to be wrong."""
    config = stage.config_in(root)
    made_here = tuple(str(root / one.name) for one in recipe.stages)
    for name, marker, values in inputs_of(stage.config):
        for place in map(place_of, values):
            if DATA in place:
                raise RecipeError(
                    f"{stage.place}: {stage.name} reads {place}; name the folder of data with --data FOLDER"
                )
            if place not in stage.inputs.get(name, ()) and Path(place).exists() and not marker.replaceable:
                if Path(place).resolve().is_relative_to(root.resolve()):
                    raise RecipeError(
                        f"{stage.place}: {stage.name} reads {place}, which is in --output_dir {root}; name another"
                    )
    try:
        check_inputs(stage.step, config, root / stage.name, made_here=made_here)
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(f"{stage.place}: {stage.name}: {error}") from error
    return config


def _foresee(recipe: Recipe, root: Path, plans: Mapping[str, Plan]) -> Iterator[StageResult]:
    """Yield whether each stage would run; it would if a stage it reads would."""
    statuses: dict[str, str] = {}
    for stage in recipe.stages:
        folder = root / stage.name
        status, former = TO_RUN, Record.load(folder)
        needed = [statuses[name] for name in stage.needs]
        if NEEDS_DATA in needed or any(DATA in value for _, _, values in inputs_of(stage.config) for value in values):
            status = NEEDS_DATA
        elif all(one == UP_TO_DATE for one in needed):
            begun = Record.begun(stage.step, stage.config_in(root))
            left = Record.load(unfinished(folder))
            if former is not None and former.key == begun.key and former.is_whole(folder):
                status = UP_TO_DATE
            elif left is not None and left.key == begun.key and stage.step.can_resume is not None:
                status = TO_RESUME
        statuses[stage.name] = status
        seconds = former.seconds if status == UP_TO_DATE and former is not None else None
        yield StageResult(stage.name, stage.step.name, status, seconds, plans[stage.name], folder)


def _check_root(root: Path) -> None:
    """Refuse a folder that holds something else."""
    for parent in root.parents:
        if parent.exists() and not parent.is_dir():
            raise ValueError(f"--output_dir {root} cannot be made: {parent} is a file; name another")
    if root.is_file():
        raise ValueError(f"--output_dir {root} is a file; name a folder")
    others = root.is_dir() and any(path.name != LOCK_FILE and not is_leftover(path) for path in root.iterdir())
    run_file = root / RECORD_FILE
    if others and not (run_file.is_file() and '"recipe"' in run_file.read_text("utf-8")):
        raise ValueError(f"--output_dir {root} is not empty and was not made by hf-afro run; name another")


@contextlib.contextmanager
def _held(root: Path, recipe: Recipe) -> Iterator[None]:
    """Lock the folder, so that no second run writes into it, and remove it again if nothing was written.

    Raises:
        ValueError: If another run holds it.
    """
    fresh = not root.exists() or not any(root.iterdir())
    with parents_made(root / LOCK_FILE), contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(root / LOCK_FILE))
        except BlockingIOError as error:
            raise ValueError(f"another run is writing {root}; wait for it, or name another") from error
        remove_leftovers(root)
        facts = {"recipe": recipe.source, "hf_afro_version": __version__}
        try:
            write_whole(root / RECORD_FILE, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
            yield
        finally:
            if fresh and not any(path.is_dir() for path in root.iterdir()):
                for name in (RECORD_FILE, LOCK_FILE):
                    (root / name).unlink(missing_ok=True)


@contextlib.contextmanager
def _quiet(is_terminal: bool) -> Iterator[None]:
    """Turn off the bars of loading and writing within, and let the log pass above those that are shown."""
    shown = not datasets.are_progress_bars_disabled(), transformers_logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    try:
        with logging_redirect_tqdm() if is_terminal else contextlib.nullcontext():
            yield
    finally:
        if shown[0]:
            datasets.enable_progress_bars()
        if shown[1]:
            transformers_logging.enable_progress_bar()
