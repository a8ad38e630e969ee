"""`run_recipe`: one stage after the other, each only where it is not up to date, and from where it was cut short."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from hf_afro.checkpoints import BROKEN_FOLDER, last_checkpoint
from hf_afro.files import (
    finish_move,
    is_leftover,
    move_into_place,
    parents_made,
    remove_leftovers,
    unused_name,
    write_whole,
)
from hf_afro.recipes import manifest
from hf_afro.recipes.folders import RUN_FILE, check_place, held
from hf_afro.recipes.plan import StagePlan, plan_recipe
from hf_afro.recipes.progress import Progress
from hf_afro.recipes.recipe import KINDS, Recipe, Stage, paths_of
from hf_afro.recipes.schema import RecipeError
from hf_afro.recipes.stages.context import StageContext
from hf_afro.version import __version__

logger = logging.getLogger(__name__)

UP_TO_DATE, DONE, CONTINUED = "up to date", "done", "continued"
TO_RUN, TO_CONTINUE, UNKNOWN = "to run", "to continue", "needs --data"
LOCK_FILE = ".lock"


@dataclass(frozen=True)
class StageResult:
    """What became of a stage, or would.

    Attributes:
        name: Of the stage.
        kind: Of the stage.
        status: `UP_TO_DATE`, `DONE` or `CONTINUED`; in a dry run `UP_TO_DATE`, `TO_RUN`, `TO_CONTINUE` or, where
            the recipe's folder of data is not named, `UNKNOWN`.
        seconds: What it took when it ran; None where it has not.
        plan: Its sizes as planned.
        facts: What it found out; empty in a dry run.
        folder: Where its result is or would be.
    """

    name: str
    kind: str
    status: str
    seconds: float | None
    plan: StagePlan
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
    """Run a recipe, or say what would run.

    Every stage writes a folder of its own, `<output_dir>/<stage>`, with a manifest. A stage is run where there is no
    such folder, or its settings, a file it reads or a stage it reads has changed since. What is left of a run that was
    cut short is gone on with: trainers from their last whole checkpoint, evaluation from the last fine-tuning run.
    A folder in which files were changed or added by hand is not replaced but kept as `<stage>.edited-1`, and so on.

    Args:
        recipe: From `load_recipe`.
        output_dir: A folder of an earlier run, or a new one.
        dry_run: Write nothing and run nothing.
        overwrite: Begin from the start, whatever there is.
        show_progress: Whether to show two bars, of the whole and of the stage at work.

    Raises:
        RecipeError: If the recipe cannot work, or its data is not named.
        FileNotFoundError: If a file it reads does not exist. Both are found before anything runs.
        ValueError: If the folder holds other things, or another run is at work in it.
    """
    root = Path(output_dir)
    plans = plan_recipe(recipe)
    if dry_run:
        return tuple(_foresee(recipe, root, plans))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            "a recipe runs in one process, and several were launched; launch `hf-afro maft` and `hf-afro distill` "
            "by accelerate instead, or start hf-afro run without it"
        )
    keys, outside = _keys(recipe)
    _check_root(root)
    _check_apart(root, recipe)
    results: list[StageResult] = []
    with _locked(root, recipe), Progress(len(recipe.stages), recipe.name, show_progress) as progress:
        for stage in recipe.stages:
            folder = root / stage.name
            status, began = UP_TO_DATE, time.monotonic()
            finish_move(_unfinished(folder), folder)
            if overwrite or not manifest.is_finished(folder, keys[stage.name]):
                progress.begin(stage.name)
                if not show_progress:
                    logger.info("%s: begun", stage.name)
                described = manifest.describe(stage, keys[stage.name], keys, outside[stage.name])
                with _quiet():
                    status = _run_stage(recipe, stage, root, described, progress, afresh=overwrite)
                logger.info("%s: %s in %.0f s", stage.name, status, time.monotonic() - began)
            progress.end()
            made = manifest.read(folder) or {}
            results.append(
                StageResult(
                    stage.name, stage.kind, status, made["seconds"], plans[stage.name], folder, made.get("facts", {})
                )
            )
    return tuple(results)


def _keys(recipe: Recipe) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Return the key of every stage and the fingerprints of the files it reads."""
    outside = {stage.name: manifest.outside_fingerprints(stage) for stage in recipe.stages}
    keys: dict[str, str] = {}
    for stage in recipe.stages:
        keys[stage.name] = manifest.key_of(recipe, stage, keys, outside[stage.name])
    return keys, outside


def _foresee(recipe: Recipe, root: Path, plans: Mapping[str, StagePlan]) -> Iterator[StageResult]:
    keys: dict[str, str] = {}
    for stage in recipe.stages:
        folder = root / stage.name
        status = UNKNOWN
        with contextlib.suppress(_NoData):
            keys[stage.name] = _key_if_known(recipe, stage, keys)
            if manifest.is_finished(folder, keys[stage.name]):
                status = UP_TO_DATE
            elif (manifest.read(_unfinished(folder)) or {}).get("key") == keys[stage.name]:
                status = TO_CONTINUE if KINDS[stage.kind].resumes else TO_RUN
            else:
                status = TO_RUN
        seconds = (manifest.read(folder) or {}).get("seconds") if status == UP_TO_DATE else None
        yield StageResult(stage.name, stage.kind, status, seconds, plans[stage.name], folder)


class _NoData(Exception):
    """A stage, or one that it reads, reads data that was not named."""


def _key_if_known(recipe: Recipe, stage: Stage, keys: Mapping[str, str]) -> str:
    if any(name not in keys for name in stage.needs):
        raise _NoData
    try:
        return manifest.key_of(recipe, stage, keys, manifest.outside_fingerprints(stage))
    except RecipeError as error:
        raise _NoData from error


def _run_stage(
    recipe: Recipe, stage: Stage, root: Path, described: Mapping[str, Any], progress: Progress, *, afresh: bool
) -> str:
    """Run one stage beside its place and move it there; return how it was."""
    work, target = _unfinished(root / stage.name), root / stage.name
    status = DONE
    if not afresh and manifest.is_finished(work, described["key"]):
        _put_in_place(work, target)  # the run before ended between the last two steps
        return CONTINUED
    same = KINDS[stage.kind].resumes and (manifest.read(work) or {}).get("key") == described["key"]
    if work.exists() and (afresh or not same):
        shutil.rmtree(work)
    if work.exists():
        status = CONTINUED
    began = time.monotonic()
    try:
        work.mkdir(exist_ok=True)
        manifest.write(work, described)
        work_of = getattr(import_module(f"hf_afro.recipes.stages.{KINDS[stage.kind].file}"), f"run_{stage.kind}")
        facts = work_of(StageContext(recipe, stage, work, root, progress))
        manifest.finish(work, described, time.monotonic() - began, facts)
    except BaseException as error:
        if not _worth_keeping(stage, work):
            shutil.rmtree(work)
        if stage.place not in str(error):
            error.add_note(f"stage {stage.name}: {stage.place}")
        raise
    _put_in_place(work, target)
    return status


def _put_in_place(work: Path, target: Path) -> None:
    """Move a finished stage to its name; a former one that somebody has worked in is kept under another."""
    edited = manifest.edited_files(target)
    if edited:
        aside = unused_name(target, "edited")
        os.replace(target, aside)
        names = ", ".join(edited[:3]) + (f" and {len(edited) - 3} more" if len(edited) > 3 else "")
        logger.warning("%s: %s changed or added by hand; kept in %s", target.name, names, aside)
    move_into_place(work, target)


def _worth_keeping(stage: Stage, work: Path) -> bool:
    """Tell whether what a stage that failed has left can be gone on with, or is to be looked at."""
    if stage.kind == "evaluate":
        return any(path.is_dir() for path in work.iterdir())
    return (work / BROKEN_FOLDER).is_dir() or last_checkpoint(work) is not None


def _unfinished(folder: Path) -> Path:
    return folder.with_name(folder.name + ".unfinished")


def _check_root(root: Path) -> None:
    """Refuse a folder that holds something else."""
    check_place(root)
    if root.is_file():
        raise ValueError(f"--output_dir {root} is a file; name a folder")
    run_file = root / RUN_FILE
    others = root.is_dir() and any(path.name != LOCK_FILE and not is_leftover(path) for path in root.iterdir())
    if others and not (run_file.is_file() and '"command": "run"' in run_file.read_text("utf-8")):
        raise ValueError(f"--output_dir {root} is not empty and was not made by hf-afro run; name another folder")


def _check_apart(root: Path, recipe: Recipe) -> None:
    """Refuse a folder that holds what the recipe reads: a stage of the same name would take its place."""
    for stage in recipe.stages:
        for path in paths_of(stage.settings):
            if Path(path).exists() and Path(path).resolve().is_relative_to(root.resolve()):
                raise ValueError(
                    f"{stage.place}: {stage.name} reads {path}, which is in --output_dir {root}; name another folder"
                )


@contextlib.contextmanager
def _locked(root: Path, recipe: Recipe) -> Iterator[None]:
    """Hold the folder, so that no second run writes into it, and take it away again where nothing was written."""
    fresh = not root.exists() or not any(root.iterdir())
    with parents_made(root / LOCK_FILE), held(root / LOCK_FILE, f"in {root}"):
        remove_leftovers(root)
        facts = {"command": "run", "arguments": {"recipe": recipe.source}, "hf_afro_version": __version__}
        try:
            write_whole(root / RUN_FILE, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
            yield
        finally:
            if fresh and not any(path.is_dir() for path in root.iterdir()):
                for name in (RUN_FILE, LOCK_FILE):
                    (root / name).unlink(missing_ok=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Turn off the libraries' own bars within, which would run across ours, and let the log pass above them."""
    import datasets
    from tqdm.contrib.logging import logging_redirect_tqdm
    from transformers.utils import logging as transformers_logging

    shown = datasets.are_progress_bars_disabled(), transformers_logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    try:
        with logging_redirect_tqdm():
            yield
    finally:
        if not shown[0]:
            datasets.enable_progress_bars()
        if shown[1]:
            transformers_logging.enable_progress_bar()
