"""`run_step`: run a step so that its folder is complete or does not exist, with locks and resuming.

A step writes beside its target, and the folder is moved into place when all is done. A step that can be resumed writes
to ``<output_dir>.unfinished``; others to a hidden folder, which the next run removes if it was left behind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hf_afro.checkpoints import BROKEN_FOLDER, last_checkpoint
from hf_afro.files import (
    beside,
    finish_move,
    locked,
    move_into_place,
    parents_made,
    remove_leftovers,
    remove_leftovers_of,
    unused_name,
)
from hf_afro.model_folders import check_not_adapter
from hf_afro.sample import SAMPLE
from hf_afro.steps import SUMMARIES, step_named
from hf_afro.steps.records import RECORD_FILE, Record
from hf_afro.steps.settings import Input, inputs_of, place_of
from hf_afro.steps.step import Step

logger = logging.getLogger(__name__)

UP_TO_DATE, DONE, RESUMED = "up to date", "done", "resumed"
UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class Finished:
    """A step that is done.

    Attributes:
        status: `DONE`, `RESUMED`, or `UP_TO_DATE` if there was nothing to do.
        record: What its folder was made from, and its figures.
        text: What a command prints.
        exit_code: What the command returns.
    """

    status: str
    record: Record
    text: str = ""
    exit_code: int = 0


def is_main_process() -> bool:
    """Tell whether this process writes and prints; `accelerate launch` and `torchrun` set the variable."""
    return int(os.environ.get("RANK", "0")) == 0


def say(text: str) -> None:
    """Print, from the main process only."""
    if is_main_process():
        print(text, flush=True)


def unfinished(target: Path) -> Path:
    """Return the folder beside a target in which a step that can be resumed works until it is done."""
    return target.with_name(target.name + UNFINISHED)


def run_step(
    step: Step, config: Any, output_dir: str | os.PathLike[str], *, overwrite: bool = False, owned: bool = False
) -> Finished:
    """Run a step, or resume it if the same step with the same settings was interrupted.

    Args:
        step: The step.
        config: Its settings.
        output_dir: The folder to write.
        overwrite: Replace what an earlier run left there, finished or not.
        owned: For a folder inside one of ours, such as a recipe's: an earlier result is replaced if it is out of date,
            and kept if it is up to date. A folder in which files were changed or added by hand is
            kept as ``<output_dir>.edited-1``, and so on.

    Raises:
        ValueError: If `output_dir` is not empty and may not be replaced, or is or contains an input; another run is
            writing to it; or the interrupted run there had other settings. If something appeared there while the step
            ran, the result is kept beside it, and the message says where.
        FileNotFoundError: If something to read does not exist.
    """
    target = Path(output_dir)
    check_inputs(step, config, target)
    if not owned:
        check_free(target, overwrite=overwrite)
    if not is_main_process():  # the main process makes and moves the folder
        outcome = step.run(config, unfinished(target))
        return Finished(DONE, Record(step.name, {}, {}, key=""), outcome.text, outcome.exit_code)
    with parents_made(target), only_run(target):
        finish_move(unfinished(target), target)
        remove_leftovers_of(target)
        if not owned:
            check_free(target, overwrite=overwrite)  # something may have appeared there meanwhile
        begun = Record.begun(step, config)
        former = Record.load(target)
        if owned and not overwrite and former is not None and former.key == begun.key and former.is_whole(target):
            if former.inputs != begun.inputs:  # the same content in another place, where later steps look for it
                former = dataclasses.replace(former, settings=begun.settings, inputs=begun.inputs)
                former.save(target)
            return Finished(UP_TO_DATE, former)
        return _run_beside(step, config, target, begun, overwrite=overwrite, owned=owned)


def _run_beside(step: Step, config: Any, target: Path, begun: Record, *, overwrite: bool, owned: bool) -> Finished:
    work, resumes = beside(target), False
    keeps_work = step.can_resume is not None and (step.keeps_work is None or step.keeps_work(config))
    if keeps_work:
        work = unfinished(target)
        if not owned:
            _check_unfinished(step, work, begun, overwrite=overwrite)
        left = Record.load(work)
        same = not overwrite and left is not None and left.key == begun.key
        if same and left is not None and left.is_whole(work):
            put_into_place(
                work, target, overwrite=overwrite, owned=owned
            )  # it was killed between the last two lines below
            return Finished(RESUMED, left)
        resumes = same and step.can_resume is not None and step.can_resume(work)
        if work.exists() and not resumes:
            shutil.rmtree(work)
    started = time.monotonic()
    try:
        work.mkdir(exist_ok=True)
        if keeps_work:  # other steps may need an empty folder
            remove_leftovers(work)
            begun.save(work)
        outcome = step.run(config, work)
        record = begun.finished(work, time.monotonic() - started, outcome.facts)
        record.save(work)
        put_into_place(work, target, overwrite=overwrite, owned=owned)
    except BaseException as error:
        _clean_up(step, work, error)
        raise
    return Finished(RESUMED if resumes else DONE, record, outcome.text, outcome.exit_code)


def _clean_up(step: Step, work: Path, error: BaseException) -> None:
    """Remove unfinished work, unless it can be resumed or holds the batches of a loss that was not finite."""
    if not work.is_dir():
        return
    record = Record.load(work)
    if record is not None and record.is_whole(work):  # it could not be moved; the same command does that
        return
    resumes = step.can_resume is not None and step.can_resume(work)
    broken = any(work.rglob(f"{BROKEN_FOLDER}/"))
    if not (resumes or broken):
        shutil.rmtree(work)
    elif resumes and isinstance(error, KeyboardInterrupt):
        checkpoint = last_checkpoint(work)
        kept = work if checkpoint is None else checkpoint
        raise KeyboardInterrupt(f"; {kept} is kept, and the same command resumes from it") from error


@contextlib.contextmanager
def only_run(target: Path) -> Iterator[None]:
    """Lock a target while the block runs, by a file beside it that is removed afterwards.

    Raises:
        ValueError: If another run holds it.
    """
    lock = target.with_name(f".{target.name}.lock")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(lock))
        except BlockingIOError as error:
            raise ValueError(f"another run is writing {target}; wait for it, or name another folder") from error
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def put_into_place(work: Path, target: Path, *, overwrite: bool, owned: bool) -> None:
    """Move a finished folder into place.

    Raises:
        ValueError: If something has appeared there meanwhile; the message says where the result is.
    """
    if owned:
        _keep_edited(target)
    else:
        try:
            check_free(target, overwrite=overwrite)
        except ValueError as error:
            kept = unused_name(target, "finished")
            os.replace(work, kept)
            raise ValueError(
                f"{error}; it was free when the command started, and the complete result is in {kept}"
            ) from error
    move_into_place(work, target)


def _keep_edited(target: Path) -> None:
    """Keep a folder with files edited by hand under another name."""
    former = Record.load(target)
    edited = [] if former is None else former.edited(target)
    if edited:
        aside = unused_name(target, "edited")
        os.replace(target, aside)
        names = ", ".join(edited[:3]) + (f" and {len(edited) - 3} more" if len(edited) > 3 else "")
        logger.warning("%s: %s changed or added by hand; kept in %s", target.name, names, aside)


def _check_unfinished(step: Step, work: Path, begun: Record, *, overwrite: bool) -> None:
    """Refuse to work if an earlier run left something that this one may neither resume nor remove.

    Raises:
        ValueError: If the folder is not ours, or the earlier run had other settings or read other content.
    """
    if not work.exists() or not any(work.iterdir()):
        return
    if not (work / RECORD_FILE).is_file():
        raise ValueError(f"{work} is where this run would write, and was not made by hf-afro; move it away")
    if overwrite:
        return
    left = Record.load(work)
    if left is None:
        raise ValueError(f"{work} is unfinished work of another version; pass --overwrite, or move it away")
    other = step_named(left.step) if left.step in SUMMARIES else step
    if not left.is_whole(work) and (other.can_resume is None or not other.can_resume(work)):
        return
    if left.step != begun.step:
        raise ValueError(
            f"{work} is unfinished work of `hf-afro {left.step}`; repeat that command, pass --overwrite, or move it "
            "away"
        )
    if left.key != begun.key:
        differing = ", ".join(left.differences(begun))
        raise ValueError(
            f"cannot resume {work}: its settings differ in {differing}; repeat the original settings, pass "
            "--overwrite to start over, or name another --output_dir"
        )


def check_free(target: Path, *, overwrite: bool) -> None:
    """Refuse a target that holds something, unless it may be overwritten and was made by a command of ours.

    Raises:
        ValueError: If so; the message says what to do.
    """
    if not target.name:
        raise ValueError(f"--output_dir {target} has no name of its own; name a new folder")
    for parent in target.parents:
        if parent.exists() and not parent.is_dir():
            raise ValueError(f"--output_dir {target} cannot be made: {parent} is a file; name another folder")
    if target.exists() and not target.is_dir():
        raise ValueError(f"--output_dir {target} is a file; name a new folder")
    if not target.exists() or not any(target.iterdir()):
        return
    former = Record.load(target)
    if not overwrite:
        if former is not None and former.is_whole(target):
            raise ValueError(
                f"--output_dir {target} is finished already, by `hf-afro {former.step}`: use it as it is, name a new "
                "folder, or replace it with --overwrite"
            )
        raise ValueError(f"--output_dir {target} is not empty; name a new folder, or replace it with --overwrite")
    if former is None:
        raise ValueError(f"--output_dir {target} was not made by hf-afro, so it is not overwritten; name a new folder")


def check_inputs(step: Step, config: Any, target: Path | None = None, made_here: tuple[str, ...] = ()) -> None:
    """Refuse impossible inputs, and settings that do not go together, before anything is read.

    Args:
        step: The step.
        config: Its settings.
        target: The folder that will be written.
        made_here: Places that earlier stages of the same recipe will have written by then.

    Raises:
        FileNotFoundError: If something that has to be on this machine does not exist.
        ValueError: If the folder of a model does not exist or is that of an adapter, or the target is or holds
            something that is read.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not step.trains:
        raise ValueError(f"{step.name} runs in one process; start it without accelerate launch or torchrun")
    for name, marker, values in inputs_of(config):
        for place in map(place_of, values):
            if place != SAMPLE and place not in (*made_here, *marker.names):
                _check_input(f"--{name} {place}", place, marker, target)
    if step.check is not None:
        step.check(config)


def _check_input(given: str, place: str, marker: Input, target: Path | None) -> None:
    path = Path(place)
    if not path.exists():
        if marker.must_exist:
            raise FileNotFoundError(f"{given} does not exist")
        if _is_path(place):
            raise ValueError(f"{given}: there is no such folder")
        if marker.is_model:
            _tell_of_hub(place)
        return
    homes = () if target is None else (target.resolve(), unfinished(target).resolve())
    if not marker.replaceable and any(path.resolve().is_relative_to(home) for home in homes):
        raise ValueError(f"--output_dir {target} would replace what {given} reads; name another folder")
    if marker.is_model and path.is_dir():
        check_not_adapter(path)


@cache
def _tell_of_hub(name: str) -> None:
    """Log once that a name is looked up on the Hub, which tries for long where there is no network."""
    logger.info("there is no folder %s here; asking the Hub (with HF_HUB_OFFLINE=1 only its cache here)", name)


def _is_path(name: str) -> bool:
    """Tell a path from a name on the Hub, which is ``model`` or ``owner/model``."""
    return Path(name).is_absolute() or name.startswith(("./", "../")) or name.rstrip("/").count("/") > 1
