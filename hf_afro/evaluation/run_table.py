"""A table of runs: those that an earlier call finished are read, the others made, one by one or side by side."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hf_afro.evaluation.data.task_data import TaskData
from hf_afro.evaluation.encoding import longest
from hf_afro.evaluation.finetuning import finetune
from hf_afro.evaluation.heads import save_finetuned
from hf_afro.evaluation.language_adapters import Folders
from hf_afro.evaluation.predictions import Run, encodings_of, holds_run, load_run, mark_run, save_run
from hf_afro.evaluation.presets import FineTuningSettings
from hf_afro.files import folder_written_whole
from hf_afro.progress_log import duration

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

OnRun = Callable[[str, int, int], None]
_CHARACTERS = 4  # of a token, about: a longer text costs no more than one that is cut
_NAMED = 3  # languages in the name of a run, at most


@dataclass(frozen=True, eq=False)
class Job:
    """One run of a table.

    Attributes:
        data: What the model is fine-tuned and measured on.
        settings: How.
        seed: Of the run.
        key: Of `run_key`.
        kept: Where the fine-tuned model is saved; None if it is not.
        elsewhere: Other languages it is measured on too.
        parts: The languages that `data` joins, if it does.
        adapters: Of languages, to lie under that of the task; see `hf_afro.evaluation.language_adapters`.
    """

    data: TaskData
    settings: FineTuningSettings
    seed: int
    key: str
    kept: Path | None = None
    elsewhere: tuple[TaskData, ...] = ()
    parts: tuple[TaskData, ...] = ()
    adapters: Folders | None = None

    @property
    def name(self) -> str:
        """What is run, as in `ner swa, seed 1`."""
        language = self.data.language if len(self.parts) <= _NAMED else f"{len(self.parts)} languages"
        return f"{self.data.task} {language}, seed {self.seed}"

    def finished(self, folder: Path) -> Run | None:
        """Return what an earlier call left of the run, None where it has to be made."""
        earlier = load_run(folder, self.data, self.seed, self.key)
        return earlier if earlier is not None and (self.kept is None or holds_run(self.kept, self.key)) else None

    def make(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> Run:
        """Fine-tune, predict, and leave both in the folder."""
        cache = encodings_of(folder)
        tuned = finetune(
            model, tokenizer, self.data, self.settings, self.seed, cache_dir=cache, language_adapters=self.adapters
        )
        elsewhere = {
            # With the labels of the language trained on, by which the model answers.
            other.language: tuned.predict(_asked_of(self.data, other), cache_dir=cache)
            for other in self.elsewhere
        }
        run = Run(
            tuned.predict(self.data, cache_dir=cache), tuned.dev_scores, tuned.best_epoch, tuned.seconds, elsewhere
        )
        if self.kept is not None:
            with folder_written_whole(self.kept, "config.json") as beside:
                save_finetuned(tuned.model, tokenizer, beside)
                mark_run(beside, self.key)
        save_run(folder, self.data, self.seed, self.key, run)
        return run


def _asked_of(data: TaskData, other: TaskData) -> TaskData:
    """Another language's examples under the labels of this one; what is right is not looked at."""
    return dataclasses.replace(other, labels=data.labels)


def run_table(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    jobs: Sequence[Job],
    folder: Path,
    *,
    processes: int = 1,
    on_run: OnRun | None = None,
) -> list[Run]:
    """Make the runs of a table that are not there yet.

    Args:
        model: The encoder.
        tokenizer: Its tokenizer.
        jobs: What is run.
        folder: Where runs are kept.
        processes: How many are made at a time, each in a process of its own with its share of the threads and, where
            there are GPUs, with one of them.
        on_run: Called after each run, those that were there first, with what it was and about how long the rest takes,
            how many are done and how many there are.

    Returns:
        The runs, in the order of the jobs.
    """
    runs: dict[int, Run] = {}
    progress = Progress([cost_of(job, longest(model, job.settings.max_length)) for job in jobs], on_run)
    for index, job in enumerate(jobs):
        earlier = job.finished(folder)
        if earlier is not None:
            logger.info("%s: taken from the run before", job.name)
            runs[index] = earlier
            progress.taken(index, job.name)
    missing = [index for index in range(len(jobs)) if index not in runs]
    progress.begin()
    if processes > 1 and len(missing) > 1:
        from hf_afro.evaluation.workers import in_processes

        # The dearest first, so that at the end no process is left with a long one.
        missing.sort(key=lambda index: -progress.costs[index])
        for index, run in in_processes(model, tokenizer, {index: jobs[index] for index in missing}, folder, processes):
            runs[index] = run
            progress.made(index, jobs[index].name)
    else:
        for index in missing:
            runs[index] = jobs[index].make(model, tokenizer, folder)
            progress.made(index, jobs[index].name)
    return [runs[index] for index in range(len(jobs))]


def cost_of(job: Job, max_length: int) -> float:
    """Return about what a run costs, in characters read in training: only to be compared with other runs'."""
    most = _CHARACTERS * max_length
    return job.settings.epochs * (1 + sum(min(len(text), most) for text in job.data.sentences("train")))


class Progress:
    """Tells how far a table is, and about how long the rest takes, from what those runs took that were made here.

    Args:
        costs: Of each run, see `cost_of`.
        on_run: Whom to tell.
    """

    def __init__(self, costs: Sequence[float], on_run: OnRun | None) -> None:
        self.costs, self.on_run = costs, on_run
        self.done: set[int] = set()
        self.paid = 0.0
        self.started = time.perf_counter()

    def begin(self) -> None:
        """Start the clock: what was there before has been taken."""
        self.started = time.perf_counter()

    def taken(self, index: int, name: str) -> None:
        """Note a run that was there."""
        self.done.add(index)
        self._tell(f"{name}, made before")

    def made(self, index: int, name: str) -> None:
        """Note a run that was made."""
        self.done.add(index)
        self.paid += self.costs[index]
        left = sum(cost for other, cost in enumerate(self.costs) if other not in self.done)
        seconds = (time.perf_counter() - self.started) / self.paid * left
        self._tell(name if len(self.done) == len(self.costs) else f"{name}; about {duration(seconds)} left")

    def _tell(self, what: str) -> None:
        if self.on_run is not None:
            self.on_run(what, len(self.done), len(self.costs))
