"""Which runs a table takes: a language each or several at once, in one language or under adapters of many."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hf_afro.evaluation.data.joining import joined
from hf_afro.evaluation.data.task_data import TaskData
from hf_afro.evaluation.facts import model_fingerprint
from hf_afro.evaluation.language_adapters import Folders, check_language_adapter
from hf_afro.evaluation.predictions import file_stem, run_key
from hf_afro.evaluation.presets import FineTuningSettings
from hf_afro.evaluation.run_table import Job

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MODELS = "models"
"""Where fine-tuned models are kept, beside the report."""


def key_of(task: TaskData) -> str:
    """Return what a set is called in a report, such as `ner/swa`."""
    return f"{task.task}/{task.language}"


def plan_runs(
    data: Sequence[TaskData],
    settings: Mapping[str, FineTuningSettings],
    seeds: Sequence[int],
    *,
    transfer: Sequence[str] | None = None,
    joint: bool = False,
    adapters: Folders | None = None,
    models: Path | None = None,
) -> list[Job]:
    """Return a run a set and seed, or a task and seed where languages are trained on at once, each without its key.

    Args:
        data: The tasks.
        settings: By `key_of`.
        seeds: Of the runs.
        transfer: The languages to train on, each run then measured on all of its task; None for all, measured alone.
        joint: Whether those of a task are trained on at once.
        adapters: Of the languages.
        models: The folder that gets `MODELS`; None if models are not kept.

    Raises:
        ValueError: If languages are to be trained on at once and a task has only one.
    """
    chosen = [task for task in data if transfer is None or task.language in transfer]
    trained: list[tuple[TaskData, tuple[TaskData, ...]]] = [(task, ()) for task in chosen]
    if joint:
        by_task: dict[str, list[TaskData]] = {}
        for task in chosen:
            by_task.setdefault(task.task, []).append(task)
        for parts in by_task.values():
            _check_alike(parts, settings)
        trained = [(joined(parts), tuple(parts)) for parts in by_task.values()]
    return [
        Job(
            data=task,
            settings=settings[key_of(parts[0] if parts else task)],
            seed=seed,
            key="",
            kept=None if models is None else models / MODELS / f"{task.task}-{file_stem(task.language)}-{seed}",
            elsewhere=_elsewhere(data, parts or (task,)) if transfer is not None else (),
            parts=parts,
            adapters=adapters,
        )
        for task, parts in trained
        for seed in seeds
    ]


def with_keys(
    jobs: Sequence[Job], identity: str, tokenizer: PreTrainedTokenizerBase, marks: Mapping[str, str]
) -> list[Job]:
    """Return the runs with their keys: made of all that their predictions depend on.

    Args:
        jobs: The runs.
        identity: The fingerprint of the encoder.
        tokenizer: Its tokenizer.
        marks: Of the adapters of languages, if there are any; see `adapter_marks`.
    """

    def key(job: Job) -> str:
        spoken = (one.language for one in (job.data, *job.elsewhere))
        own = {code: marks[code] for code in spoken if code in marks}
        return run_key(identity, tokenizer, job.data, job.settings, job.seed, job.elsewhere, own)

    return [dataclasses.replace(job, key=key(job)) for job in jobs]


def adapter_marks(adapters: Folders | None, model: PreTrainedModel) -> dict[str, str]:
    """Return the fingerprint of each language's adapter, sorted by language; none where there are no adapters.

    Args:
        adapters: Their folders.
        model: The encoder, which they must belong to.

    Raises:
        ValueError: If one is none that fits; see `check_language_adapter`.
    """
    if adapters is None:
        return {}
    beside = model_fingerprint(model, pooler=False)
    return {code: check_language_adapter(folder, beside) for code, folder in sorted(adapters.items())}


def check_adapters(adapters: Folders, data: Sequence[TaskData], settings: Mapping[str, FineTuningSettings]) -> None:
    """Refuse adapters of languages where one is missing or no task adapter is to lie on them.

    Raises:
        ValueError: If so.
    """
    missing = sorted({task.language for task in data} - set(adapters))
    if missing:
        raise ValueError(
            f"no adapter of {', '.join(missing)}; every language trained or measured on needs its own, and there are "
            f"those of {', '.join(sorted(adapters)) or 'none'}"
        )
    other = sorted({own.adaptation for own in settings.values()} - {"lora"})
    if other:
        raise ValueError(f"adapters of languages lie under one of the task; adaptation is {other[0]}, expected lora")


def _check_alike(parts: Sequence[TaskData], settings: Mapping[str, FineTuningSettings]) -> None:
    """Refuse sets that a preset trains differently: a run on both has one way only."""
    first, *others = parts
    for other in others:
        if settings[key_of(other)] != settings[key_of(first)]:
            raise ValueError(
                f"{first.dataset} and {other.dataset} have other settings of fine-tuning, and are to be trained on at "
                "once; give one FineTuningSettings for the task"
            )


def _elsewhere(data: Sequence[TaskData], parts: Sequence[TaskData]) -> tuple[TaskData, ...]:
    own = {one.language for one in parts}
    return tuple(other for other in data if other.task == parts[0].task and other.language not in own)
