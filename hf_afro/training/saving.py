"""Save complete checkpoints, resume from the last one, and save one on SIGTERM."""

from __future__ import annotations

import copy
import json
import logging
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from accelerate.utils import broadcast_object_list, reduce, wait_for_everyone
from transformers import TrainerCallback

from hf_afro.checkpoints import checkpoints_in, fault_of, last_checkpoint, mark_whole, rotate, step_of, unmark
from hf_afro.files import open_up_weights, write_whole
from hf_afro.messages import filtered_log

if TYPE_CHECKING:
    from torch import nn
    from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments

logger = logging.getLogger(__name__)

Arguments = TypeVar("Arguments", bound="TrainingArguments")

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a process that SIGTERM ended, as shells report it."""

BEFORE_FILE = "before.json"
"""The metrics before training, in the folder of an unfinished run."""

_PLACES_FILE = "stream_places.json"
_MISSING = "There were missing keys in the checkpoint model loaded: "


class KeepCheckpoints(TrainerCallback):
    """Marks each checkpoint as complete once all of it is on disk, and only then removes older ones.

    The Trainer itself removes older checkpoints before the new one is known to be complete, so a kill or a full disk
    in between can leave none. Here it is told to keep all (see `without_limit`), and this callback applies the limit.

    Args:
        save_total_limit: Number of complete checkpoints to keep, None for all.
    """

    def __init__(self, save_total_limit: int | None) -> None:
        self.save_total_limit = save_total_limit

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Unmark checkpoints of later steps, which an earlier run left: this run does not continue them."""
        if args.should_save:
            for path in checkpoints_in(Path(args.output_dir)):
                if (step_of(path) or 0) > state.global_step and fault_of(path) is None:
                    logger.warning(
                        "%s was saved by an earlier run and no longer counts as a checkpoint to resume from.", path
                    )
                    unmark(path)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any) -> None:
        """Mark the checkpoint once every process has written its part."""
        wait_for_everyone()
        if not args.should_save:
            return
        root = Path(args.output_dir)
        mark_whole(root / f"checkpoint-{state.global_step}")
        if self.save_total_limit is not None and self.save_total_limit > 0:
            best = state.best_model_checkpoint
            rotate(root, self.save_total_limit, () if best is None else (Path(best),))


class KeepPlaces(TrainerCallback):
    """Saves the places from which streamed text is read on with each checkpoint, before it is marked."""

    def __init__(self) -> None:
        self.places: dict[str, str] = {}

    def load(self, checkpoint: str | None) -> dict[str, str]:
        """Read the places of a checkpoint, continue from them, and return them by language; empty if it has none."""
        path = None if checkpoint is None else Path(checkpoint) / _PLACES_FILE
        self.places = json.loads(path.read_text("utf-8")) if path is not None and path.is_file() else {}
        return dict(self.places)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any) -> None:
        """Write the places of the main process; every process will read what follows its last samples."""
        if args.should_save and self.places:
            path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / _PLACES_FILE
            write_whole(path, json.dumps(self.places) + "\n")


class LeaveOnSigterm(TrainerCallback):
    """Finishes the step on SIGTERM, which Slurm and torchrun send, then has a checkpoint saved and training stopped.

    The handler is set in the main thread while training runs, unless the user has set one.
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
        """Save and stop if any process has received the signal; all stop at the same step."""
        received = self.received
        if args.world_size > 1:
            received = bool(reduce(torch.tensor(int(received), device=args.device), reduction="sum").item())
        if received:
            logger.warning("Received SIGTERM: saving a checkpoint after step %d, then stopping.", state.global_step)
            control.should_save = control.should_training_stop = self.stopped = True

    def release(self) -> None:
        """Restore the default handler."""
        if self._is_set:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._is_set = False

    def _receive(self, number: int, frame: Any) -> None:
        self.received = True  # a second signal, as from Slurm and torchrun both, changes nothing


def without_limit(args: Arguments) -> Arguments:
    """Return a copy of the arguments with which the Trainer removes no checkpoint."""
    own = copy.copy(args)
    own.save_total_limit = None
    return own


def find_checkpoint(args: TrainingArguments, resume_from_checkpoint: str | bool | None) -> str | None:
    """Return the checkpoint to resume from, the same on every process; None to start from the beginning.

    Args:
        args: With `output_dir`.
        resume_from_checkpoint: True for the last complete checkpoint of `output_dir`, or None where there is none yet,
            so that one command can be repeated; a path for that checkpoint; None or False for None.

    Raises:
        ValueError: If the given folder is not a complete checkpoint; the message says why.
    """
    if resume_from_checkpoint is None or resume_from_checkpoint is False:
        return None
    if str(resume_from_checkpoint).lower() == "true":  # as a command line has it
        found = [last_checkpoint(Path(args.output_dir)) if args.process_index == 0 else None]
        if args.world_size > 1:
            broadcast_object_list(found)
        if found[0] is None:
            logger.warning("%s holds no complete checkpoint; training starts from the beginning.", args.output_dir)
        return found[0]
    named = Path(str(resume_from_checkpoint))
    fault = fault_of(named, marked=False)
    if fault is not None:
        other = last_checkpoint(named.parent)
        advice = (
            "resume_from_checkpoint=True starts from the beginning"
            if other is None
            else f"the last complete one is {other}"
        )
        raise ValueError(f"{named} is not a complete checkpoint: {fault}; {advice}")
    return str(named)


def begin_saving(output_dir: str | None) -> None:
    """Unmark a checkpoint that is about to be overwritten."""
    if output_dir is not None:
        unmark(Path(output_dir))


def end_saving(args: TrainingArguments, output_dir: str | None) -> None:
    """Give the saved weights the permissions of other new files (the umask), on the process that wrote them."""
    if args.should_save:
        open_up_weights(Path(output_dir or args.output_dir))


def evaluate_before(trainer: Trainer, folder: Path) -> dict[str, float]:
    """Evaluate before training, once for a run and all that resume it.

    Args:
        trainer: With an `eval_dataset`; its model has not been trained.
        folder: Where the metrics are kept in `BEFORE_FILE`, which the caller removes at the end of the run.
    """
    path, is_main = folder / BEFORE_FILE, trainer.is_world_process_zero()
    # The main process decides for all: they evaluate together or not at all.
    found = [json.loads(path.read_text("utf-8")) if is_main and path.is_file() else None]
    if trainer.args.world_size > 1:
        broadcast_object_list(found)
    if found[0] is not None:
        return found[0]
    metrics = trainer.evaluate()
    if is_main:
        write_whole(path, json.dumps(metrics, indent=1) + "\n")
    return metrics


@contextmanager
def tied_keys_not_missing(model: nn.Module) -> Iterator[None]:
    """Keep the Trainer from warning of missing keys whose weights it has loaded under another name.

    A head tied to the embedding is saved once. `Trainer` compares names, so without this every resumed run warns of
    `lm_head.decoder.weight`. If a single key is really missing, the whole warning stays.

    Args:
        model: The model that the checkpoint is loaded into.
    """

    def is_wanted(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if not text.startswith(_MISSING):
            return True
        missing = set(re.findall(r"'([^']+)'", text))
        own = dict(model.named_parameters(remove_duplicate=False))
        present = {id(weights) for name, weights in own.items() if name not in missing}
        return any(name not in own or id(own[name]) not in present for name in missing)

    with filtered_log("transformers.trainer", is_wanted):
        yield
