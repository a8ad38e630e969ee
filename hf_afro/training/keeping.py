"""The callbacks that keep checkpoints whole, and the checkpoint to go on from; SIGTERM saves one and leaves."""

from __future__ import annotations

import copy
import json
import logging
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from accelerate.utils import broadcast_object_list, reduce, wait_for_everyone
from transformers import TrainerCallback

from hf_afro.checkpoints import checkpoints_in, fault_of, last_checkpoint, mark_whole, rotate, step_of, unmark
from hf_afro.files import open_up_weights, write_whole

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

logger = logging.getLogger(__name__)

Arguments = TypeVar("Arguments", bound="TrainingArguments")

_PLACES_FILE = "stream_places.json"

TERMINATED = 128 + signal.SIGTERM
"""The exit code of a process that SIGTERM ended, as a shell has it."""


class KeepCheckpoints(TrainerCallback):
    """Marks each checkpoint once all of it is on the disk, and only then removes older ones.

    The Trainer itself removes older checkpoints before the new one is known to be whole, so that a kill or a full disk
    in between can leave none. Here it is told to keep all, see `without_limit`, and this callback keeps the limit.

    Args:
        save_total_limit: Whole checkpoints to keep, None for all.
    """

    def __init__(self, save_total_limit: int | None) -> None:
        self.save_total_limit = save_total_limit

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Take the mark off checkpoints of later steps: they are of another run, which this one parts from here."""
        if args.should_save:
            for path in checkpoints_in(Path(args.output_dir)):
                if (step_of(path) or 0) > state.global_step and fault_of(path) is None:
                    logger.warning("%s is of a run before this one, and is not gone on from any more", path)
                    unmark(path)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any) -> None:
        """Mark the checkpoint that every process has now written its part of."""
        wait_for_everyone()
        if not args.should_save:
            return
        root = Path(args.output_dir)
        mark_whole(root / f"checkpoint-{state.global_step}")
        if self.save_total_limit is not None and self.save_total_limit > 0:
            best = state.best_model_checkpoint
            rotate(root, self.save_total_limit, () if best is None else (Path(best),))


class KeepPlaces(TrainerCallback):
    """Keeps with each checkpoint where streamed text is to be read on from; comes before the mark."""

    def __init__(self) -> None:
        self.places: dict[str, str] = {}

    def load(self, checkpoint: str | None) -> dict[str, str]:
        """Return, and go on from, the places of a checkpoint by language; none where it has none."""
        path = None if checkpoint is None else Path(checkpoint) / _PLACES_FILE
        self.places = json.loads(path.read_text("utf-8")) if path is not None and path.is_file() else {}
        return dict(self.places)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any) -> None:
        """Write them; those of the main process, since every process will read what follows its last samples."""
        if args.should_save and self.places:
            path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / _PLACES_FILE
            write_whole(path, json.dumps(self.places) + "\n")


class LeaveOnSigterm(TrainerCallback):
    """On SIGTERM lets the step end, has a checkpoint saved and training stopped; Slurm and torchrun send it.

    The handler is set in the main thread while training goes on, where nobody has set one of his own.
    """

    def __init__(self) -> None:
        self.received = False
        self.stopped = False
        self._is_set = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Set the handler."""
        self.received = self.stopped = False
        is_free = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        if is_free and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._receive)
            self._is_set = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any) -> None:
        """Save and stop where a process has received the signal; all stop at the same step."""
        received = self.received
        if args.world_size > 1:
            received = bool(reduce(torch.tensor(int(received), device=args.device), reduction="sum").item())
        if received:
            logger.warning("SIGTERM: saving a checkpoint after step %d and leaving", state.global_step)
            control.should_save = control.should_training_stop = self.stopped = True

    def release(self) -> None:
        """Give the signal back."""
        if self._is_set:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._is_set = False

    def _receive(self, number: int, frame: Any) -> None:
        self.received = True  # a second one, as from Slurm and torchrun both, changes nothing


def without_limit(args: Arguments) -> Arguments:
    """Return arguments by which the Trainer removes no checkpoint; those given stay as they are."""
    own = copy.copy(args)
    own.save_total_limit = None
    return own


def find_checkpoint(args: TrainingArguments, resume_from_checkpoint: str | bool | None) -> str | None:
    """Return the checkpoint to go on from, the same on every process; None to begin at the start.

    Args:
        args: With `output_dir`.
        resume_from_checkpoint: True for the last whole checkpoint of `output_dir`, or for the start where there is
            none yet, so that one command can be given again and again; or a checkpoint's folder; or None or False.

    Raises:
        ValueError: If the folder named is not a whole checkpoint; the message says what is wrong with it.
    """
    if resume_from_checkpoint is None or resume_from_checkpoint is False:
        return None
    if str(resume_from_checkpoint).lower() == "true":  # as a command line has it
        found = [last_checkpoint(Path(args.output_dir)) if args.process_index == 0 else None]
        if args.world_size > 1:
            broadcast_object_list(found)
        if found[0] is None:
            logger.warning("%s holds no whole checkpoint; training begins at the start", args.output_dir)
        return found[0]
    named = Path(str(resume_from_checkpoint))
    fault = fault_of(named, marked=False)
    if fault is not None:
        other = last_checkpoint(named.parent)
        advice = (
            "resume_from_checkpoint=True begins at the start" if other is None else f"the last whole one is {other}"
        )
        raise ValueError(f"{named} is not a whole checkpoint: {fault}; {advice}")
    return str(named)


def begin_saving(output_dir: str | None) -> None:
    """Take the mark off a checkpoint that is going to be written over."""
    if output_dir is not None:
        unmark(Path(output_dir))


def end_saving(args: TrainingArguments, output_dir: str | None) -> None:
    """Give the weights saved the permissions that the umask gives to new files, from the process that wrote them."""
    if args.should_save:
        open_up_weights(Path(output_dir or args.output_dir))
