"""`evaluate_model`: one model fine-tuned and evaluated on tasks, languages and seeds, into one `EvalReport`."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_afro.files import folder_written_whole
from hf_afro.reports import EvalReport, Score
from hf_afro.tasks.data import TaskData
from hf_afro.tasks.duplicates import DEDUPLICATED, deduplicated_scores
from hf_afro.tasks.facts import model_facts, model_fingerprint
from hf_afro.tasks.finetuning import finetune, score
from hf_afro.tasks.heads import save_finetuned, with_own_pooler
from hf_afro.tasks.predictions import (
    Run,
    forget_runs,
    holds_run,
    load_run,
    mark_run,
    run_key,
    save_run,
    write_predictions,
)
from hf_afro.tasks.presets import SEEDS, FineTuningSettings, check_seeds, preset
from hf_afro.version import __version__

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

Settings = str | FineTuningSettings | Mapping[str, FineTuningSettings]
MODELS = "models"
"""Where fine-tuned models are kept, beside the report."""

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
    on_run: Callable[[str, int, int], None] | None = None,
) -> EvalReport:
    """Fine-tune a copy of a model per task, language and seed, evaluate each on test, and write the report.

    What has been predicted is written as soon as a run ends. Where the same call is made again after it was cut short,
    runs that ended are taken from there, if model, data and settings are still the same.

    Args:
        model: The encoder, with any head; not changed. Or its folder, or its name on the Hub.
        tokenizer: Its tokenizer; None loads that of the folder.
        data: The tasks, each task and language once.
        name: What the model is called in tables.
        output_dir: Gets the report, and `predictions/` with a file of JSON lines a task and language.
        settings: A preset (`paper`, `small`), settings for all tasks, or settings by task.
        seeds: One fine-tuning run each.
        extra_scores: Of other measures, such as those of `bits_per_byte_scores`, put into the same report.
        provenance: Put into the report.
        model_folder: Where a model that is given as an object is saved, to tell its bytes on disk.
        save_models: Whether to keep every fine-tuned model, in `models/<task>-<language>-<seed>` with its tokenizer.
        on_run: Called after each run with what it was, how many are done and how many there are.

    Returns:
        The report, as it was saved.

    Raises:
        ValueError: If there is nothing to do, a task and language or a seed is there twice, the settings do not
            cover a task, or tokenizer and model do not belong together.
    """
    seeds = _checked(data, seeds, extra_scores)
    chosen = {_key(task): _settings_of(settings, task) for task in data}
    folder = Path(output_dir)
    encoder, own_tokenizer = _load(model, tokenizer)
    if isinstance(model, str | os.PathLike) and Path(model).is_dir():
        model_folder = model
    identity = model_fingerprint(encoder)
    scores: list[Score] = []
    predictions: dict[str, str] = {}
    done, total = 0, len(data) * len(seeds)
    for task in data:
        own = chosen[_key(task)]
        limited = task.limited(train=own.max_train, dev=own.max_dev, test=own.max_test)
        runs: dict[int, Run] = {}
        for seed in seeds:
            key = run_key(identity, own_tokenizer, limited, own, seed)
            kept = folder / MODELS / f"{task.task}-{task.language}-{seed}" if save_models else None
            runs[seed] = _run(encoder, own_tokenizer, limited, own, seed, folder, key, kept)
            done += 1
            if on_run is not None:
                on_run(f"{task.task} {task.language}, seed {seed}", done, total)
        scores.extend(scores_of(limited, runs))
        predictions[_key(task)] = write_predictions(folder, limited, runs)
    report = EvalReport(
        name=name,
        model=model_facts(encoder, model_folder),
        scores=(*scores, *extra_scores),
        settings={key: dataclasses.asdict(own) for key, own in chosen.items()},
        provenance={
            **(provenance or {}),
            "encoder_fingerprint": identity,
            "data": {_key(task): _provenance_of(task) for task in data},
        },
        versions={"hf_afro": __version__, **{library: version(library) for library in _LIBRARIES}},
        predictions=predictions,
    )
    report.save(folder)
    forget_runs(folder)
    return report


def _checked(data: Sequence[TaskData], seeds: Sequence[int], extra_scores: Sequence[Score]) -> tuple[int, ...]:
    """Return the seeds, having refused what no report can hold."""
    keys = [_key(task) for task in data]
    if len(set(keys)) < len(keys):
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(
            f"{', '.join(twice)} is there twice; a report holds one set for a task and language, so make two reports"
        )
    if data:
        check_seeds(seeds)
    if not data and not extra_scores:
        raise ValueError("there is nothing to evaluate on; give tasks, or scores of another measure")
    return tuple(seeds)


def _key(task: TaskData) -> str:
    return f"{task.task}/{task.language}"


def _settings_of(settings: Settings, task: TaskData) -> FineTuningSettings:
    if isinstance(settings, FineTuningSettings):
        return settings
    if isinstance(settings, str):
        return preset(settings, task.task, task.dataset)
    if task.task not in settings:
        raise ValueError(f"no settings for {task.task}; there are some for {', '.join(settings) or 'nothing'}")
    return settings[task.task]


def _load(
    model: PreTrainedModel | str | os.PathLike[str], tokenizer: PreTrainedTokenizerBase | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return model and tokenizer, loading what was given by name."""
    if not isinstance(model, str | os.PathLike):
        if tokenizer is None:
            raise ValueError("a model without its tokenizer was given; pass the tokenizer too")
        return model, tokenizer
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoTokenizer

    heads = AutoConfig.from_pretrained(model, trust_remote_code=False).architectures or [""]
    # With the head it was saved with, where that is the usual one: then no weight is reported as left over.
    kind: Any = AutoModelForMaskedLM if heads[0].endswith("ForMaskedLM") else AutoModel
    loaded = with_own_pooler(kind.from_pretrained(model, dtype=torch.float32, trust_remote_code=False), model)
    if tokenizer is None:
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    return loaded, tokenizer


def _run(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: TaskData,
    settings: FineTuningSettings,
    seed: int,
    folder: Path,
    key: str,
    kept: Path | None,
) -> Run:
    """Return what one run predicts for test: from an earlier call that was cut short, or by fine-tuning."""
    earlier = load_run(folder, data, seed, key)
    if earlier is not None and (kept is None or holds_run(kept, key)):
        logger.info("%s %s, seed %d: taken from the run before", data.task, data.language, seed)
        return earlier
    tuned = finetune(model, tokenizer, data, settings, seed)
    run = Run(tuned.predict(data), tuned.dev_scores, tuned.best_epoch, tuned.seconds)
    if kept is not None:
        with folder_written_whole(kept, "config.json") as beside:
            save_finetuned(tuned.model, tokenizer, beside)
            mark_run(beside, key)
    save_run(folder, data, seed, key, run)
    return run


def scores_of(data: TaskData, runs: Mapping[int, Run]) -> list[Score]:
    """Return a score a metric, its values those of the seeds, and a note of those seeds that collapsed.

    Where test shares examples with train, the main metric without them follows, named with `_deduplicated` behind.
    """
    gold = data.gold()
    by_seed = {seed: score(data, gold, run.predicted) for seed, run in runs.items()}
    collapsed = {seed: reason for seed, run in runs.items() if (reason := collapse_of(data, run.predicted))}
    sizes = dict.fromkeys(next(iter(by_seed.values())), len(gold))
    for seed, run in runs.items():
        # Beside the standard score, that of the examples which train has not; where it has none, they are the same.
        fresh, count = deduplicated_scores(data, run.predicted)
        if 0 < count < len(gold):
            metric = data.kind.main_metric + DEDUPLICATED
            by_seed[seed][metric], sizes[metric] = fresh[data.kind.main_metric], count
    return [
        Score(
            task=data.task,
            language=data.language,
            metric=metric,
            values=tuple(values[metric] for values in by_seed.values()),
            seeds=tuple(by_seed),
            n=size,
            split="test",
            dataset=data.dataset,
            fingerprint=data.fingerprint,
            note="; ".join(f"seed {seed} collapsed: {reason}" for seed, reason in collapsed.items()),
        )
        for metric, size in sizes.items()
    ]


def collapse_of(data: TaskData, predicted: Sequence[Any]) -> str:
    """Tell a run that learned nothing: what it answers to everything, or an empty string where answers differ.

    Where the right answers are all the same too, answering so is right, and nothing has collapsed.
    """
    gold = data.gold()
    if data.kind.tagged:
        gold, predicted = ([tag for tags in sentences for tag in tags] for sentences in (gold, predicted))
    answers = set(predicted)
    if len(answers) > 1 or set(gold) == answers:
        return ""
    return f"every {'word' if data.kind.tagged else 'text'} is {data.labels[answers.pop()]!r}"


def _provenance_of(task: TaskData) -> dict[str, Any]:
    return {
        "dataset": task.dataset,
        "files": dict(task.files),
        "sizes": {split: len(rows) for split, rows in task.splits.items()},
        "fingerprints": {split: task.fingerprint_of(split) for split in task.splits},
        "repairs": dict(task.repairs),
    }
