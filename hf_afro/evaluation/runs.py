"""Fine-tuning runs: planned for tasks, languages and seeds, made one by one or in parallel, and kept until reported.

The file of a run is named after what was run and holds a key made of everything its predictions depend on. So an
interrupted evaluation resumes where it was, and never with predictions of other weights, data or settings.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_afro.evaluation.data.task_data import TaskData, joined
from hf_afro.evaluation.distillation import (
    MODELS,
    check_finetuned,
    folder_fingerprint,
    load_finetuned,
    model_name,
    sampled,
    teacher_folder,
    unlabelled_split,
)
from hf_afro.evaluation.encoding import longest
from hf_afro.evaluation.finetuning import FineTuned, check_logit_loss, finetune
from hf_afro.evaluation.models import save_finetuned
from hf_afro.evaluation.perturbation import perturbed
from hf_afro.evaluation.presets import FineTuningSettings
from hf_afro.evaluation.probe import Probe, fit_probe
from hf_afro.evaluation.processes import in_processes
from hf_afro.files import folder_written_whole, write_whole
from hf_afro.progress_log import duration
from hf_afro.students.building import keep_layers
from hf_afro.version import __version__

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

OnRun = Callable[[str, int, int], None]
KEY_FILE = "finetuning_run.json"
"""In the folder of a fine-tuned model: the key of the run that made it."""
_RUNS = "runs"
_CHARACTERS = 4  # per token, roughly: longer texts are truncated and cost no more
_NAMED = 3  # languages listed in the name of a run


@dataclass(frozen=True)
class Run:
    """The result of one fine-tuning run.

    Attributes:
        predicted: The answers for test, in the form of `TaskData.gold`.
        dev_scores: The main metric on dev after each epoch; of a probe, for each strength of regularisation.
        best_epoch: The place of the one that was kept, from 1.
        seconds: The duration of training.
        elsewhere: By language, the predictions for the test splits of other languages, in the ids of this model.
        perturbed: By perturbation, the predictions for changed test text; see `Job.perturbed`.
    """

    predicted: list[Any]
    dev_scores: tuple[float, ...]
    best_epoch: int
    seconds: float
    elsewhere: Mapping[str, list[Any]] = field(default_factory=dict)
    perturbed: Mapping[str, list[Any]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Teaching:
    """How the student of one run is distilled on its task.

    Attributes:
        teacher: The folder of the fine-tuned teacher.
        student_layers: Start from this many of the teacher's layers and its head; None to start from the model given.
        unlabelled: Texts that only the teacher labels.
    """

    teacher: Path
    student_layers: int | None = None
    unlabelled: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of everything that it changes in a run."""
        digest = hashlib.sha256(f"{folder_fingerprint(self.teacher)} {self.student_layers}\n".encode())
        for text in self.unlabelled:
            digest.update(f"{text}\n".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Job:
    """One run to make.

    Attributes:
        data: The task to fine-tune on and measure.
        settings: The settings of fine-tuning.
        seed: Of the run.
        key: See `run_key`.
        kept: Where the fine-tuned model is saved; None if it is not.
        elsewhere: The task in other languages, to be measured too.
        parts: The languages that `data` joins, if it does.
        teaching: How the student is distilled; None for labels alone.
        perturbed: By perturbation, the task with changed test text, to be measured too.
        shown_as: The name of the model in reports; it names the run for `report_to`.
    """

    data: TaskData
    settings: FineTuningSettings
    seed: int
    key: str
    kept: Path | None = None
    elsewhere: tuple[TaskData, ...] = ()
    parts: tuple[TaskData, ...] = ()
    teaching: Teaching | None = None
    perturbed: Mapping[str, TaskData] = field(default_factory=dict)
    shown_as: str = ""

    @property
    def name(self) -> str:
        """A name such as `ner swa, seed 1`."""
        language = self.data.language if len(self.parts) <= _NAMED else f"{len(self.parts)} languages"
        return f"{self.data.task} {language}, seed {self.seed}"

    def finished(self, folder: Path) -> Run | None:
        """Return the run if an earlier call made it with the same key, otherwise None."""
        path = self._file(folder)
        if not path.is_file():
            return None
        facts = json.loads(path.read_text("utf-8"))
        if facts.pop("key") != self.key:
            return None
        if self.kept is not None:
            mark = self.kept / KEY_FILE
            if not mark.is_file() or json.loads(mark.read_text("utf-8")) != {"key": self.key}:
                return None
        return Run(**{**facts, "dev_scores": tuple(facts["dev_scores"])})

    def make(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> Run:
        """Fine-tune, predict, and write the run (and the model, if it is kept)."""
        tuned = self._tuned(model, tokenizer)
        run = Run(
            predicted=tuned.predict(self.data),
            dev_scores=tuned.dev_scores,
            best_epoch=tuned.best_epoch,
            seconds=tuned.seconds,
            # Under the labels of the language trained on, in whose ids the model answers.
            elsewhere={
                other.language: tuned.predict(dataclasses.replace(other, labels=self.data.labels))
                for other in self.elsewhere
            },
            perturbed={name: tuned.predict(changed) for name, changed in self.perturbed.items()},
        )
        if self.kept is not None:
            with folder_written_whole(self.kept, "config.json") as beside:
                save_finetuned(tuned.model, tuned.tokenizer, beside)
                write_whole(beside / KEY_FILE, json.dumps({"key": self.key}) + "\n")
        write_whole(self._file(folder), json.dumps({"key": self.key, **dataclasses.asdict(run)}) + "\n")
        return run

    def _tuned(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> FineTuned | Probe:
        if self.settings.adaptation == "probe":
            return fit_probe(model, tokenizer, self.data, self.settings, self.seed)
        run_name = f"{self.shown_as}: {self.name}" if self.shown_as else self.name
        if self.teaching is None:
            return finetune(model, tokenizer, self.data, self.settings, self.seed, run_name=run_name)
        teacher = load_finetuned(self.teaching.teacher, self.data, self.settings)
        layers = self.teaching.student_layers
        if layers is not None:
            model, tokenizer = keep_layers(teacher.model, layers), teacher.tokenizer
        lines = self.teaching.unlabelled
        return finetune(
            model,
            tokenizer,
            self.data,
            self.settings,
            self.seed,
            teacher=teacher if self.settings.logit_weight else None,
            unlabelled=unlabelled_split(self.data.task, lines, len(self.data.labels))
            if lines and self.settings.logit_weight
            else None,
            keep_head=layers is not None,
            run_name=run_name,
        )

    def _file(self, folder: Path) -> Path:
        return folder / _RUNS / f"{model_name(self.data.task, self.data.language, self.seed)}.json"


def key_of(task: TaskData) -> str:
    """Return the key of a set in a report, such as `ner/swa`."""
    return f"{task.task}/{task.language}"


def plan_runs(
    data: Sequence[TaskData],
    settings: Mapping[str, FineTuningSettings],
    seeds: Sequence[int],
    model_fingerprint: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    transfer: Sequence[str] | None = None,
    joint: bool = False,
    models: Path | None = None,
    teacher: str | os.PathLike[str] | None = None,
    student_layers: int | None = None,
    unlabelled: Mapping[str, Sequence[str]] | None = None,
    shown_as: str = "",
    perturb: Sequence[str] = (),
) -> list[Job]:
    """Return one run per set and seed or, for joint training, one per task and seed.

    Args:
        data: The tasks.
        settings: By `key_of`.
        seeds: Of the runs.
        model_fingerprint: Of the encoder.
        tokenizer: Its tokenizer.
        transfer: The languages to train on, each run then measured on all languages of its task; None to train on
            every language and measure it alone.
        joint: Whether the languages of a task are trained on together.
        models: The folder that gets `MODELS`; None if models are not kept.
        teacher: Of the students; see `teacher_folder`.
        student_layers: See `Teaching`.
        unlabelled: Texts by language. A run learns from those of all languages that it is trained or measured on.
        shown_as: See `Job`.
        perturb: Perturbations of the test text that models are measured on too, where they change any.

    Raises:
        FileNotFoundError: If a run has no teacher.
        ValueError: If a teacher has other labels, joint training has a task in only one language, or sets with
            different settings.
    """
    jobs = []
    for task, parts in trained_on(data, transfer, joint=joint):
        _check_same_settings(parts, settings)
        own_settings = settings[key_of(parts[0] if parts else task)]
        elsewhere = _elsewhere(data, parts or (task,)) if transfer is not None else ()
        changed = {name: other for name in perturb if (other := perturbed(task, name)) is not None}
        languages = [one.language for one in (*(parts or (task,)), *elsewhere)]
        lines = tuple(
            line
            for language in languages
            for line in sampled((unlabelled or {}).get(language, ()), own_settings.max_unlabelled)
        )
        # A probe is the same for every seed.
        for seed in seeds[:1] if own_settings.adaptation == "probe" else seeds:
            teaching = None
            if teacher is not None:
                place = teacher_folder(teacher, task, seed)
                check_finetuned(place, task)
                check_logit_loss(task.task, own_settings)
                teaching = Teaching(place, student_layers, lines)
            key = run_key(model_fingerprint, tokenizer, task, own_settings, seed, elsewhere, teaching, changed)
            kept = None if models is None else models / MODELS / model_name(task.task, task.language, seed)
            jobs.append(Job(task, own_settings, seed, key, kept, elsewhere, parts, teaching, changed, shown_as))
    return jobs


def trained_on(
    data: Sequence[TaskData], transfer: Sequence[str] | None, *, joint: bool
) -> Iterator[tuple[TaskData, tuple[TaskData, ...]]]:
    """Yield what models are trained on: each task in each language, or joined over languages with the parts joined."""
    chosen = [task for task in data if transfer is None or task.language in transfer]
    if not joint:
        yield from ((task, ()) for task in chosen)
        return
    by_task: dict[str, list[TaskData]] = {}
    for task in chosen:
        by_task.setdefault(task.task, []).append(task)
    yield from ((joined(own), tuple(own)) for own in by_task.values())


def check_teachers(
    teacher: str | os.PathLike[str],
    data: Sequence[TaskData],
    seeds: Sequence[int],
    *,
    transfer: Sequence[str] | None = None,
    joint: bool = False,
) -> None:
    """Check that there is a fine-tuned teacher with the right labels for every run.

    Raises:
        FileNotFoundError: If one is missing.
        ValueError: If one has other labels.
    """
    for task, _ in trained_on(data, transfer, joint=joint):
        for seed in seeds:
            check_finetuned(teacher_folder(teacher, task, seed), task)


def _check_same_settings(parts: Sequence[TaskData], settings: Mapping[str, FineTuningSettings]) -> None:
    for first, other in itertools.pairwise(parts):
        if settings[key_of(other)] != settings[key_of(first)]:
            raise ValueError(
                f"{first.dataset} and {other.dataset} have different fine-tuning settings, but are trained on "
                "together; pass one FineTuningSettings for the task"
            )


def _elsewhere(data: Sequence[TaskData], parts: Sequence[TaskData]) -> tuple[TaskData, ...]:
    own = {one.language for one in parts}
    return tuple(other for other in data if other.task == parts[0].task and other.language not in own)


def run_key(
    model_fingerprint: str,
    tokenizer: PreTrainedTokenizerBase,
    data: TaskData,
    settings: FineTuningSettings,
    seed: int,
    elsewhere: Sequence[TaskData] = (),
    teaching: Teaching | None = None,
    changed: Mapping[str, TaskData] | None = None,
) -> str:
    """Return the SHA-256 of everything that a run's predictions depend on."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    facts = [
        __version__,
        model_fingerprint,
        hashlib.sha256((backend.to_str() if backend else repr(tokenizer)).encode()).hexdigest(),
        {split: data.fingerprint_of(split) for split in sorted(data.splits)},
        data.labels,
        dataclasses.asdict(settings.replace(report_to="none")),  # where it is shown changes nothing
        seed,
        [other.fingerprint_of("test") for other in elsewhere],
        *([] if teaching is None else [teaching.fingerprint]),
        *([{name: other.fingerprint for name, other in changed.items()}] if changed else []),
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def has_runs(folder: Path) -> bool:
    """Tell whether a folder holds finished runs of a report that is not written yet."""
    return any((folder / _RUNS).glob("*.json"))


def forget_runs(folder: Path) -> None:
    """Remove the files of single runs, once the report holds them all."""
    if (folder / _RUNS).is_dir():
        shutil.rmtree(folder / _RUNS)


def make_runs(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    jobs: Sequence[Job],
    folder: Path,
    *,
    processes: int = 1,
    on_run: OnRun | None = None,
) -> list[Run]:
    """Make the runs that do not exist yet.

    Args:
        model: The encoder.
        tokenizer: Its tokenizer.
        jobs: The runs.
        folder: Where runs are kept.
        processes: How many runs are made at a time, each in its own process with its share of the threads and, where
            there are GPUs, one of them.
        on_run: Called after each run, existing ones first, with its name and the time left, the number done, and the
            total.

    Returns:
        The runs, in the order of the jobs.
    """
    runs: dict[int, Run] = {}
    progress = Progress([cost_of(job, longest(model, job.settings.max_length)) for job in jobs], on_run)
    for index, job in enumerate(jobs):
        earlier = job.finished(folder)
        if earlier is not None:
            logger.info("%s: taken from an earlier call", job.name)
            runs[index] = earlier
            progress.taken(index, job.name)
    missing = [index for index in range(len(jobs)) if index not in runs]
    progress.begin()
    if processes > 1 and len(missing) > 1:
        # The most expensive first, so that no process is left with a long one at the end.
        missing.sort(key=lambda index: -progress.costs[index])
        chosen = {index: jobs[index] for index in missing}
        for index, run in in_processes(model, tokenizer, chosen, folder, folder / _RUNS / "model", processes):
            runs[index] = run
            progress.made(index, jobs[index].name)
    else:
        for index in missing:
            runs[index] = jobs[index].make(model, tokenizer, folder)
            progress.made(index, jobs[index].name)
    return [runs[index] for index in range(len(jobs))]


def cost_of(job: Job, max_length: int) -> float:
    """Return the relative cost of a run: about the characters read in training."""
    most = _CHARACTERS * max_length
    texts = [*job.data.sentences("train"), *(() if job.teaching is None else job.teaching.unlabelled)]
    return job.settings.epochs * (1 + sum(min(len(text), most) for text in texts))


class Progress:
    """Reports how many runs are done and the time left, estimated from the runs made here.

    Args:
        costs: Of each run, see `cost_of`.
        on_run: See `make_runs`.
    """

    def __init__(self, costs: Sequence[float], on_run: OnRun | None) -> None:
        self.costs, self.on_run = costs, on_run
        self.done: set[int] = set()
        self.paid = 0.0
        self.started = time.perf_counter()

    def begin(self) -> None:
        """Start the clock, once existing runs have been taken."""
        self.started = time.perf_counter()

    def taken(self, index: int, name: str) -> None:
        """Report a run that existed."""
        self.done.add(index)
        self._report(f"{name}, made before")

    def made(self, index: int, name: str) -> None:
        """Report a run that was made."""
        self.done.add(index)
        self.paid += self.costs[index]
        left = sum(cost for other, cost in enumerate(self.costs) if other not in self.done)
        seconds = (time.perf_counter() - self.started) / self.paid * left
        self._report(name if len(self.done) == len(self.costs) else f"{name}; about {duration(seconds)} left")

    def _report(self, what: str) -> None:
        if self.on_run is not None:
            self.on_run(what, len(self.done), len(self.costs))
