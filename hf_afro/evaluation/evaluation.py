"""`evaluate_model`: one model fine-tuned and evaluated on tasks, languages and seeds, into one `EvalReport`."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_afro.evaluation.data.joining import part_of
from hf_afro.evaluation.data.task_data import SPLITS, TaskData
from hf_afro.evaluation.encoding import longest
from hf_afro.evaluation.facts import model_facts, model_fingerprint
from hf_afro.evaluation.heads import load_encoder
from hf_afro.evaluation.language_adapters import Folders
from hf_afro.evaluation.planning import adapter_marks, check_adapters, key_of, plan_runs, with_keys
from hf_afro.evaluation.predictions import Run, forget_runs, write_predictions, write_transfer
from hf_afro.evaluation.presets import SEEDS, FineTuningSettings, check_seeds, preset
from hf_afro.evaluation.run_table import Job, run_table
from hf_afro.evaluation.scoring import scores_of, transfer_scores
from hf_afro.reports import EvalReport, Score
from hf_afro.version import __version__

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

Settings = str | FineTuningSettings | Mapping[str, FineTuningSettings]
_LIBRARIES = ("torch", "transformers", "datasets", "seqeval", "scikit-learn")


def evaluate_model(
    model: PreTrainedModel | str | os.PathLike[str],
    tokenizer: PreTrainedTokenizerBase | None,
    data: Sequence[TaskData],
    *,
    name: str,
    output_dir: str | os.PathLike[str],
    settings: Settings = "paper",
    seeds: Sequence[int] = SEEDS,
    extra_scores: Sequence[Score] = (),
    provenance: Mapping[str, Any] | None = None,
    model_folder: str | os.PathLike[str] | None = None,
    save_models: bool = False,
    transfer: Sequence[str] | None = None,
    joint: bool = False,
    language_adapters: Folders | None = None,
    efficiency: bool = False,
    processes: int = 1,
    on_run: Callable[[str, int, int], None] | None = None,
) -> EvalReport:
    """Fine-tune a copy of a model per task, language and seed, evaluate each on test, and write the report.

    What has been predicted is written as soon as a run ends. Where the same call is made again after it was cut short,
    runs that ended are taken from there, if model, data and settings are still the same.

    Args:
        model: The encoder, with any head; not changed. Or its folder, or its name on the Hub.
        tokenizer: Its tokenizer; None loads that of the folder.
        data: The tasks, each task and language once; one that is only measured on needs its test split alone.
        name: What the model is called in tables.
        output_dir: Gets the report, and `predictions/` with a file of JSON lines a task and language.
        settings: A preset (`paper`, `small`), settings for all tasks, or settings by task.
        seeds: One fine-tuning run each.
        extra_scores: Of other measures, such as those of `bits_per_byte_scores`, put into the same report.
        provenance: Put into the report.
        model_folder: Where a model that is given as an object is saved, to tell its bytes on disk.
        save_models: Whether to keep every fine-tuned model, in `models/<task>-<language>-<seed>` with its tokenizer.
        transfer: ISO 639-3 codes of the languages to train on, each then measured on all languages of the task, with
            no example of theirs seen; None to train on every language and measure it there alone.
        joint: Whether a task is trained on in all its languages at once, or in those of `transfer`; each is measured
            alone all the same.
        language_adapters: Folders of LoRA adapters by ISO 639-3 code, one for every language; that of the language
            lies frozen under the task's, and is exchanged in another one. See `hf_afro.evaluation.language_adapters`.
        efficiency: Whether to measure latency, throughput and memory on the test's own sentences; see
            `hf_afro.evaluation.efficiency`.
        processes: Runs at a time; see `hf_afro.evaluation.run_table`.
        on_run: Called after each run with what it was and about how long the rest takes, how many are done and how
            many there are.

    Returns:
        The report, as it was saved.

    Raises:
        ValueError: If there is nothing to do, a task and language or a seed is there twice, the settings do not
            cover a task, a language to train on is not there or has no train or dev split, or tokenizer and model do
            not belong together.
    """
    seeds = _checked(data, seeds, extra_scores, transfer)
    chosen = {key_of(task): _settings_of(settings, task) for task in data}
    _check_runs(data, chosen, processes=processes, joint=joint, adapters=language_adapters)
    folder = Path(output_dir)
    encoder, own_tokenizer = load_encoder(model, tokenizer)
    if isinstance(model, str | os.PathLike) and Path(model).is_dir():
        model_folder = model
    identity = model_fingerprint(encoder)
    chosen = _fitting(chosen, encoder)
    limited = [_limited(task, chosen[key_of(task)]) for task in data]
    models = folder if save_models else None
    jobs = plan_runs(limited, chosen, seeds, transfer=transfer, joint=joint, adapters=language_adapters, models=models)
    marks = adapter_marks(language_adapters, encoder)
    jobs = with_keys(jobs, identity, own_tokenizer, marks)
    facts = model_facts(encoder, model_folder)
    runs = run_table(encoder, own_tokenizer, jobs, folder, processes=processes, on_run=on_run)
    if efficiency:
        from hf_afro.evaluation.efficiency import measure_efficiency

        facts |= measure_efficiency(encoder, own_tokenizer, limited)
    scores, elsewhere, predictions = _gathered(jobs, runs, folder)
    report = EvalReport(
        name=name,
        model=facts,
        scores=(*scores, *extra_scores),
        settings={key: dataclasses.asdict(own) for key, own in chosen.items()},
        provenance={
            **(provenance or {}),
            "encoder_fingerprint": identity,
            "data": {key_of(task): _provenance_of(task) for task in data},
            **({"language_adapters": marks} if marks else {}),
        },
        versions={"hf_afro": __version__, **{library: version(library) for library in _LIBRARIES}},
        predictions=predictions,
        transfer=tuple(elsewhere),
    )
    report.save(folder)
    forget_runs(folder)
    return report


def _check_runs(
    data: Sequence[TaskData],
    settings: Mapping[str, FineTuningSettings],
    *,
    processes: int,
    joint: bool,
    adapters: Folders | None,
) -> None:
    """Refuse runs that cannot be made so."""
    if processes < 1:
        raise ValueError(f"processes={processes}; expected at least 1")
    if adapters is None:
        return
    if joint:
        raise ValueError("joint and language_adapters: a run on several languages has no one adapter; leave one out")
    check_adapters(adapters, data, settings)


def _fitting(chosen: Mapping[str, FineTuningSettings], encoder: PreTrainedModel) -> dict[str, FineTuningSettings]:
    """The settings as they are used: no longer than the model has positions for, which is said."""
    fitting = {key: own.replace(max_length=longest(encoder, own.max_length)) for key, own in chosen.items()}
    shorter = {fitting[key].max_length for key, own in chosen.items() if fitting[key] != own}
    if shorter:
        logger.warning(
            "the model takes %d tokens, and the settings ask for more: text is cut, and no word behind is labelled",
            min(shorter),
        )
    return fitting


def _limited(task: TaskData, own: FineTuningSettings) -> TaskData:
    return task.limited(train=own.max_train, dev=own.max_dev, test=own.max_test)


def _gathered(
    jobs: Sequence[Job], runs: Sequence[Run], folder: Path
) -> tuple[list[Score], list[Score], dict[str, str]]:
    """The scores of each set, those on other languages, and where the predictions are that both can be made from."""
    by_set: dict[str, dict[int, Run]] = {}
    first: dict[str, Job] = {}
    for job, run in zip(jobs, runs, strict=True):
        by_set.setdefault(key_of(job.data), {})[job.seed] = run
        first.setdefault(key_of(job.data), job)
    scores, elsewhere, predictions = [], [], {}
    for key, own in by_set.items():
        data, parts = first[key].data, first[key].parts
        for index, part in enumerate(parts or (data,)):
            alone = {seed: part_of(run, parts, index) for seed, run in own.items()} if parts else own
            scores.extend(scores_of(part, alone, data if parts else None))
            predictions[key_of(part)] = write_predictions(folder, part, alone, data)
        for other in first[key].elsewhere:
            predicted = {seed: run.elsewhere[other.language] for seed, run in own.items()}
            elsewhere.extend(transfer_scores(other, data.language, data.labels, predicted))
            place = f"{key_of(other)} from {data.language}"
            predictions[place] = write_transfer(folder, other, data.language, data.labels, predicted)
    return scores, elsewhere, predictions


def _checked(
    data: Sequence[TaskData], seeds: Sequence[int], extra_scores: Sequence[Score], transfer: Sequence[str] | None
) -> tuple[int, ...]:
    """Return the seeds, having refused what no report can hold."""
    keys = [key_of(task) for task in data]
    if len(set(keys)) < len(keys):
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(
            f"{', '.join(twice)} is there twice; a report holds one set for a task and language, so make two reports"
        )
    if data:
        check_seeds(seeds)
    if transfer is not None:
        there = sorted({task.language for task in data})
        missing = [code for code in transfer if code not in there]
        if missing or not transfer:
            raise ValueError(f"transfer names {missing or 'nothing'}; the data is in {', '.join(there)}")
    for task in data:
        lacking = [split for split in SPLITS if split not in task.splits]
        if lacking and (transfer is None or task.language in transfer):
            raise ValueError(
                f"{task.dataset} has no {' and no '.join(lacking)} to train on; it can be measured on alone, where "
                "`transfer` names the languages to train on"
            )
    if not data and not extra_scores:
        raise ValueError("there is nothing to evaluate on; give tasks, or scores of another measure")
    return tuple(seeds)


def _settings_of(settings: Settings, task: TaskData) -> FineTuningSettings:
    if isinstance(settings, FineTuningSettings):
        return settings
    if isinstance(settings, str):
        return preset(settings, task.task, task.dataset)
    if task.task not in settings:
        raise ValueError(f"no settings for {task.task}; there are some for {', '.join(settings) or 'nothing'}")
    return settings[task.task]


def _provenance_of(task: TaskData) -> dict[str, Any]:
    return {
        "dataset": task.dataset,
        "files": dict(task.files),
        "sizes": {split: len(rows) for split, rows in task.splits.items()},
        "fingerprints": {split: task.fingerprint_of(split) for split in task.splits},
        "repairs": dict(task.repairs),
    }
