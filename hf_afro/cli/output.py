"""What a command leaves behind: a whole folder moved into place at the end, or nothing."""

from __future__ import annotations

import json
import os
import shutil
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hf_afro.checkpoints import BROKEN_FOLDER, last_checkpoint
from hf_afro.cli.content import fingerprints
from hf_afro.evaluation.predictions import has_runs
from hf_afro.files import (
    beside,
    finish_move,
    move_into_place,
    parents_made,
    remove_leftovers,
    remove_leftovers_of,
    unused_name,
    write_whole,
)
from hf_afro.recipes.folders import RUN_FILE, check_place, held
from hf_afro.version import __version__

__all__ = ["ADAPTER_MARK", "RUN_FILE", "finished_folder", "is_main_process", "last_checkpoint", "say"]

ADAPTER_MARK = "metrics.json"
"""Written last into the folder of a language's adapter."""


def is_main_process() -> bool:
    """Tell the process that writes and prints; the variable is set by `accelerate launch` and `torchrun`."""
    return int(os.environ.get("RANK", "0")) == 0


def say(text: str) -> None:
    """Print, from the main process only."""
    if is_main_process():
        print(text, flush=True)


@contextmanager
def finished_folder(args: Namespace, *, resumable: bool = False) -> Iterator[Path]:
    """Give a folder beside `args.output_dir` to write to, and move it into place once the block has ended well.

    Args:
        args: With `command`, `output_dir` and `overwrite`; written into the folder as `RUN_FILE`.
        resumable: For what takes long. The folder is ``<output_dir>.unfinished``, the same for every process; where
            the run does not end well but `can_go_on`, it is kept for the next run of the same command to go on with;
            where a loss was not finite, for a look at its batch.
            The main process makes and moves it: the others must not write before the process group has formed, and
            must be done before the main one leaves the block. A KeyboardInterrupt then says what is kept.

    Yields:
        The folder; empty, or with `RUN_FILE` and what an earlier run left where it is resumable.

    Raises:
        ValueError: If `output_dir` holds something and may not be replaced, another run is at work on it, or a run
            that was left unfinished there had other arguments. Where the folder was taken while the work went on, the
            result is kept beside it, and the message says where.
    """
    target = Path(args.output_dir)
    check_free(target, overwrite=args.overwrite)
    work = unfinished(target) if resumable else beside(target)
    if not is_main_process():
        yield work
        return
    run = describe_run(args, fingerprints(args) if resumable else None)
    with parents_made(target), only_run(target):
        finish_move(unfinished(target), target)
        remove_leftovers_of(target)
        check_free(target, overwrite=args.overwrite)  # which may be there only now
        if resumable:
            check_unfinished(work, run, overwrite=args.overwrite)
        try:
            begin(work, run, overwrite=args.overwrite, resumable=resumable)
            yield work
            write_run_file(work, run)
            put_into_place(work, target, overwrite=args.overwrite)
        except BaseException as error:
            broken = (work / BROKEN_FOLDER).is_dir() or any(work.glob(f"*/{BROKEN_FOLDER}/"))
            if work.exists() and not (resumable and (can_go_on(work) or broken)):
                shutil.rmtree(work)
            elif isinstance(error, KeyboardInterrupt) and can_go_on(work):
                checkpoint = last_checkpoint(work)
                what = work if checkpoint is None else checkpoint
                raise KeyboardInterrupt(f"; {what} is kept, and the same command goes on from there") from error
            raise


@contextmanager
def only_run(target: Path) -> Iterator[None]:
    """Hold a target while the block runs, by a file beside it that is gone afterwards.

    Raises:
        ValueError: If another run holds it.
    """
    lock = target.with_name(f".{target.name}.lock")
    with held(lock, f"on {target}"):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def put_into_place(work: Path, target: Path, *, overwrite: bool) -> None:
    """Move what is finished to its name, or to one beside it where something has appeared there meanwhile.

    Raises:
        ValueError: If so; the message says where the result is.
    """
    try:
        check_free(target, overwrite=overwrite)
    except ValueError as error:
        kept = unused_name(target, "finished")
        os.replace(work, kept)
        raise ValueError(f"{error}; it was free when the work began, and the whole result is in {kept}") from error
    move_into_place(work, target)


def unfinished(target: Path) -> Path:
    """Return the folder beside a target where a run that can be gone on with works."""
    return target.with_name(target.name + ".unfinished")


def can_go_on(work: Path) -> bool:
    """Tell whether a run has left something to go on from.

    That is a trainer's whole checkpoint, a language's adapter or a checkpoint of one, or fine-tuning that ended.
    """
    if last_checkpoint(work) is not None or has_runs(work):
        return True
    below = [path for path in work.iterdir() if path.is_dir()] if work.is_dir() else []
    return any((path / ADAPTER_MARK).is_file() or last_checkpoint(path) is not None for path in below)


def check_unfinished(work: Path, run: dict[str, Any], *, overwrite: bool) -> None:
    """Refuse to work where an earlier run has left something that this one may neither go on with nor remove.

    Raises:
        ValueError: If the folder is not of ours, or the earlier run had other arguments or read other content; the
            message names them.
    """
    if not work.exists():
        return
    if not (work / RUN_FILE).is_file():
        raise ValueError(f"{work} is where this run would write, and was not made by hf-afro; move it away")
    if overwrite or not can_go_on(work):
        return
    differing = differences(json.loads((work / RUN_FILE).read_text("utf-8")), run)
    if differing:
        raise ValueError(
            f"{work} is an unfinished run that differs in {', '.join(differing)}; give "
            "what it was given to go on with it, --overwrite to begin anew, or another --output_dir"
        )


def begin(work: Path, run: dict[str, Any], *, overwrite: bool, resumable: bool) -> None:
    """Make the folder to work in, or take up that of an earlier run where that can be gone on with.

    Args:
        work: The folder.
        run: What is run; written into a folder that can be gone on with. Others are empty, since what is saved in
            them may ask for that.
        overwrite: Whether to begin anew.
        resumable: Whether it can be gone on with.
    """
    if work.exists() and (overwrite or not can_go_on(work)):
        shutil.rmtree(work)
    work.mkdir(exist_ok=True)
    if resumable:
        remove_leftovers(work)
        write_run_file(work, run)


def check_free(target: Path, *, overwrite: bool) -> None:
    """Refuse a target that holds something, unless it may be overwritten and was made by a command of ours.

    Raises:
        ValueError: If so; the message says what to do.
    """
    if not target.name:
        raise ValueError(f"--output_dir {target} has no name of its own; name a new folder")
    check_place(target)
    if target.exists() and not target.is_dir():
        raise ValueError(f"--output_dir {target} is a file; name a new folder")
    if not target.exists() or not any(target.iterdir()):
        return
    if not overwrite:
        raise ValueError(f"--output_dir {target} is not empty; name a new folder, or replace it with --overwrite")
    if not (target / RUN_FILE).is_file():
        raise ValueError(f"--output_dir {target} was not made by hf-afro, so it is not overwritten; name a new folder")


def describe_run(args: Namespace, inputs: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the command, its arguments and the version, as they are written to `RUN_FILE`.

    Args:
        args: Of the command.
        inputs: The fingerprints of what it reads, by option, where an interrupted run is to be known by them.
    """
    apart = {"command", "debug", "overwrite", "processes"}  # they change nothing of what comes out
    arguments = {name: value for name, value in vars(args).items() if name not in apart}
    run = {"command": args.command, "arguments": arguments, "hf_afro_version": __version__}
    return run if inputs is None else {**run, "inputs": inputs}


def differences(former: dict[str, Any], own: dict[str, Any]) -> list[str]:
    """Return in which arguments, settings and inputs two runs differ, with the values of the former then and now."""
    then, now = _flat(former), _flat(own)
    differing = [
        f"{name} (then {_shown(then.get(name))}, now {_shown(now.get(name))})"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    ]
    content = former.get("inputs", {})
    return differing + [
        f"what --{name} {now[name]} holds"
        for name, digest in own.get("inputs", {}).items()
        if then.get(name) == now[name] and content.get(name) != digest
    ]


def _flat(run: dict[str, Any]) -> dict[str, Any]:
    """Put a run's settings, which are words, beside its arguments, by name."""
    flat = {**run["arguments"], "command": run["command"], "version": run["hf_afro_version"]}
    name = ""
    for word in flat.pop("settings", None) or ():
        if word.startswith("--"):
            name, _, value = word.removeprefix("--").partition("=")
            name = name.replace("-", "_")
            flat[name] = value
        else:
            flat[name] = f"{flat.get(name, '')} {word}".strip()
    return flat


def _shown(value: object) -> str:
    if value is None:
        return "not given"
    return "given" if value == "" else str(value)


def write_run_file(folder: Path, run: dict[str, Any]) -> None:
    """Write what is run into a folder."""
    write_whole(folder / RUN_FILE, json.dumps(run, indent=2, ensure_ascii=False) + "\n")
