"""`evaluate_model`: fine-tune and score one model on tasks, languages and seeds, and write one `EvalReport`."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_afro.corpora import PreparedCorpora
from hf_afro.evaluation.bitext import bitext_retrieval
from hf_afro.evaluation.data.parallel import ParallelText
from hf_afro.evaluation.data.task_data import AND, SPLITS, TaskData
from hf_afro.evaluation.distillation import any_teacher, clean_unlabelled, load_classifier
from hf_afro.evaluation.efficiency import measure_efficiency
from hf_afro.evaluation.encoding import longest
from hf_afro.evaluation.metrics import task_scores
from hf_afro.evaluation.models import load_encoder, model_facts, model_fingerprint
from hf_afro.evaluation.perturbation import check_perturbations, perturbed
from hf_afro.evaluation.predictions import write_bitext, write_perturbed, write_predictions, write_transfer
from hf_afro.evaluation.presets import SEEDS, FineTuningSettings, check_seeds, preset
from hf_afro.evaluation.probe import check_probe
from hf_afro.evaluation.runs import Job, OnRun, Run, forget_runs, key_of, make_runs, plan_runs
from hf_afro.evaluation.significance import MEASURES, bootstrap_drop, bootstrap_interval, score_of, task_counts
from hf_afro.pretrained import load_tokenizer
from hf_afro.reports import EvalReport, Score
from hf_afro.reports.evaluation_report import REPORT_FILE
from hf_afro.sentence_modules import sentence_modules_of
from hf_afro.students.building import keep_layers
from hf_afro.tasks import BITEXT, DROP
from hf_afro.version import __version__

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

Settings = str | FineTuningSettings | Mapping[str, FineTuningSettings]
DEDUPLICATED = "_deduplicated"
"""Suffix of a metric that leaves out the examples that train has too."""
_LIBRARIES = ("torch", "transformers", "datasets", "seqeval", "scikit-learn")


def evaluate_model(
    model: PreTrainedModel | str | os.PathLike[str] | None,
    tokenizer: PreTrainedTokenizerBase | None,
    data: Sequence[TaskData],
    *,
    name: str,
    output_dir: str | os.PathLike[str],
    settings: Settings = "paper",
    seeds: Sequence[int] = SEEDS,
    parallel: Sequence[ParallelText] = (),
    extra_scores: Sequence[Score] = (),
    provenance: Mapping[str, Any] | None = None,
    model_folder: str | os.PathLike[str] | None = None,
    save_models: bool = False,
    transfer: Sequence[str] | None = None,
    joint: bool = False,
    teacher: str | os.PathLike[str] | None = None,
    student_layers: int | None = None,
    unlabelled: Mapping[str, Iterable[str]] | PreparedCorpora | None = None,
    perturb: Sequence[str] = (),
    efficiency: bool = False,
    processes: int = 1,
    on_run: OnRun | None = None,
) -> EvalReport:
    """Fine-tune a copy of a model per task, language and seed, score each on test, and write the report.

    Each run is written as soon as it ends. If the call is interrupted, the same call resumes: runs with the same
    model, data and settings are taken over.

    With `teacher` each run is distilled on its task: the student learns from the labels and from the logits of the
    fine-tuned teacher, and from its logits alone on unlabelled text. `logit_weight`, `logit_loss`, `temperature` and
    `max_unlabelled` of the settings say how.

    Args:
        model: The encoder, with any head; not changed. Or its folder, or its name on the Hub. None with
            `student_layers`.
        tokenizer: Its tokenizer; None loads the one of the folder.
        data: The tasks, each task and language once. One that is only measured needs its test split alone.
        name: The name of the model in tables.
        output_dir: Gets the report, and `predictions/` with one JSON lines file per task and language.
        settings: A preset (`paper`, `small`), settings for all tasks, or settings by task. Pooling and prompt of
            probes and of bitext retrieval are by default those of the model's sentence-transformers modules.
        seeds: One fine-tuning run per seed. A probe is the same for every seed, and is fitted once.
        parallel: Parallel text, from `read_parallel`, on which bitext retrieval is measured.
        extra_scores: Other scores for the report, such as those of `bits_per_byte_scores`.
        provenance: Added to the report's, which names the model's folder if there is one.
        model_folder: Where a model given as an object is saved, or its name on the Hub: for its size on disk, and for
            the modules of a sentence-transformers model.
        save_models: Whether to keep every fine-tuned model with its tokenizer, in
            `models/<task>-<language>-<seed>`.
        transfer: ISO 639-3 codes of the languages to train on, each run then measured on all languages of its task
            without any of their examples; None to train on every language and measure it alone.
        joint: Whether to train on all languages of a task together, or on those of `transfer`; each is measured
            separately.
        teacher: The fine-tuned teacher of every run: a folder that this function wrote with `save_models`, for the
            same tasks, languages and seeds; or one classifier, by folder or by name, that teaches all runs.
        student_layers: Start each run from this many evenly spaced layers of its fine-tuned teacher, with the
            teacher's head, in place of `model`.
        unlabelled: Text by ISO 639-3 code, lines of any source. Dev and test sentences of `data` are taken out, and
            the report counts them; or what `clean_unlabelled` made of it. A run uses the text of the languages it is
            trained or measured on.
        perturb: Names in `hf_afro.tasks.PERTURBATIONS`: each run is also measured on test text changed in these ways,
            in the languages it was trained on, and the report has by how much its main metric is lower there, with an
            interval.
        efficiency: Whether to measure latency, throughput and memory on test sentences; see
            `hf_afro.evaluation.efficiency`.
        processes: The number of runs at a time; see `hf_afro.evaluation.runs.make_runs`.
        on_run: Called after each run with its name and the time left, the number done, and the total.

    Returns:
        The report, as saved.

    Raises:
        FileNotFoundError: If a run has no teacher in the folder given.
        ValueError: If there is nothing to do, a set or seed is given twice, the settings lack a task, a language to
            train on is missing or has no train or dev split, tokenizer and model do not belong together, the teacher
            has other labels, or `student_layers` or `unlabelled` come without a teacher.

    Example:
        >>> teacher = evaluate_model(large, None, data, name="teacher", output_dir="teacher", save_models=True)
        ... # doctest: +SKIP
        >>> evaluate_model(small, None, data, name="small", output_dir="small", teacher="teacher",
        ...                unlabelled=read_corpora("news"))  # doctest: +SKIP
    """
    _check(data, seeds, bool(extra_scores or parallel), transfer)
    _check_teacher(model, teacher, student_layers, unlabelled)
    check_perturbations(perturb)
    if processes < 1:
        raise ValueError(f"processes={processes}; expected at least 1")
    chosen = {key_of(task): _settings_of(settings, task.task, task.dataset) for task in data}
    chosen |= {text.key: _settings_of(settings, BITEXT, text.dataset) for text in parallel}
    _check_probes(data, chosen, save_models=save_models)
    folder = Path(output_dir)
    if student_layers is not None:
        assert teacher is not None
        some = any_teacher(teacher, data, seeds[0])
        encoder, own_tokenizer = load_encoder(
            keep_layers(load_classifier(some), student_layers), load_tokenizer(str(some))
        )
    else:
        assert model is not None
        encoder, own_tokenizer = load_encoder(model, tokenizer)
    if isinstance(model, str | os.PathLike):
        model_folder = model
    identity = model_fingerprint(encoder)
    chosen = _with_own_vectors(_fitting(chosen, encoder), model_folder)
    limited = [_limited(task, chosen[key_of(task)]) for task in data]
    cleaned = clean_unlabelled(unlabelled, data) if isinstance(unlabelled, Mapping) else unlabelled
    jobs = plan_runs(
        limited,
        chosen,
        seeds,
        identity,
        own_tokenizer,
        transfer=transfer,
        joint=joint,
        models=folder if save_models else None,
        teacher=teacher,
        student_layers=student_layers,
        unlabelled=None if cleaned is None else cleaned.train,
        shown_as=name,
        perturb=perturb,
    )
    facts = model_facts(encoder, model_folder)
    runs = make_runs(encoder, own_tokenizer, jobs, folder, processes=processes, on_run=on_run)
    if efficiency:
        facts |= measure_efficiency(encoder, own_tokenizer, limited)
    scores, elsewhere, predictions = _gathered(jobs, runs, folder, perturb)
    for text in parallel:
        own = chosen[text.key]
        found = bitext_retrieval(encoder, own_tokenizer, text.limited(own.max_test), **own.of_vectors)
        scores += found.scores()
        predictions[text.key] = write_bitext(folder, text.language, found.predictions())
    report = EvalReport(
        name=name,
        model=facts,
        scores=(*scores, *extra_scores),
        settings={key: own.used(key.partition("/")[0], taught=teacher is not None) for key, own in chosen.items()},
        provenance={
            **({} if model_folder is None else {"model": os.fspath(model_folder)}),
            **(provenance or {}),
            **({} if teacher is None else _origin_of(teacher, student_layers, cleaned, jobs)),
            "encoder_fingerprint": identity,
            "data": {
                **{key_of(task): _provenance_of(task) for task in data},
                **{text.key: text.provenance for text in parallel},
            },
        },
        versions={"hf_afro": __version__, **{library: version(library) for library in _LIBRARIES}},
        predictions=predictions,
        transfer=tuple(elsewhere),
    )
    report.save(folder)
    forget_runs(folder)
    return report


def _check(data: Sequence[TaskData], seeds: Sequence[int], others: bool, transfer: Sequence[str] | None) -> None:
    """Refuse what no report can hold."""
    keys = [key_of(task) for task in data]
    if len(set(keys)) < len(keys):
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(
            f"{', '.join(twice)} is given twice; a report holds one set per task and language, so make two reports"
        )
    if data:
        check_seeds(seeds)
    if transfer is not None:
        there = sorted({task.language for task in data})
        missing = [code for code in transfer if code not in there]
        if missing or not transfer:
            raise ValueError(
                f"transfer names {missing or 'nothing'}; the languages of the data are {', '.join(there)}"
            )
    for task in data:
        lacking = [split for split in SPLITS if split not in task.splits]
        if lacking and (transfer is None or task.language in transfer):
            raise ValueError(
                f"{task.dataset} has no {' and no '.join(lacking)} to train on; it can only be measured: name the "
                "languages to train on with `transfer`"
            )
    if not data and not others:
        raise ValueError("there is nothing to evaluate; pass tasks, or scores of another measure")


def _check_teacher(model: Any, teacher: Any, student_layers: int | None, unlabelled: Any) -> None:
    """Refuse parts of distillation without a teacher, and two models to start from or none."""
    given = [name for name, value in (("student_layers", student_layers), ("unlabelled", unlabelled)) if value]
    if teacher is None and given:
        raise ValueError(f"{' and '.join(given)} need a teacher; pass teacher=, a fine-tuned model")
    if (model is None) != (student_layers is not None):
        what = "neither a model nor student_layers was" if model is None else "a model and student_layers were both"
        raise ValueError(f"{what} given; expected one to start from")


def _origin_of(
    teacher: str | os.PathLike[str], student_layers: int | None, text: PreparedCorpora | None, jobs: Sequence[Job]
) -> dict[str, Any]:
    """Return how students were distilled, or only where they started if they learnt from labels alone."""
    place = Path(teacher)
    if (place / REPORT_FILE).is_file():
        name = EvalReport.load(place).name
    else:
        name = place.name if place.exists() else os.fspath(teacher)
    facts: dict[str, Any] = {"teacher": name}
    if student_layers is not None:
        facts["student_layers"] = student_layers
    if text is not None:
        facts["unlabelled_lines"] = max(len(job.teaching.unlabelled) for job in jobs if job.teaching is not None)
        facts["lines_read"], facts["lines_dropped"] = dict(text.report.read), dict(text.report.dropped)
        facts["evaluation_sentences"] = text.report.settings["evaluation_sentences"]
        facts["evaluation_lines_dropped"] = sum(text.report.leaked.values())
    return {"distillation" if any(job.settings.logit_weight for job in jobs) else "start": facts}


def _check_probes(data: Sequence[TaskData], chosen: Mapping[str, FineTuningSettings], *, save_models: bool) -> None:
    """Refuse probes of tasks that label words, and saving a probe, which is no model."""
    probed = [task.task for task in data if chosen[key_of(task)].adaptation == "probe"]
    for task in probed:
        check_probe(task)
    if probed and save_models:
        raise ValueError(f"a probe of {probed[0]} is no model that could be saved; leave save_models out")


def _settings_of(settings: Settings, task: str, dataset: str) -> FineTuningSettings:
    if isinstance(settings, FineTuningSettings):
        return settings
    if isinstance(settings, str):
        return preset(settings, task, dataset)
    if task not in settings:
        raise ValueError(f"no settings for {task}; there are some for {', '.join(settings) or 'no task'}")
    return settings[task]


def _fitting(chosen: Mapping[str, FineTuningSettings], encoder: PreTrainedModel) -> dict[str, FineTuningSettings]:
    """Limit max_length to the model's positions, with a warning."""
    fitting = {key: own.replace(max_length=longest(encoder, own.max_length)) for key, own in chosen.items()}
    shorter = [(own.max_length, fitting[key].max_length) for key, own in chosen.items() if fitting[key] != own]
    if shorter:
        logger.warning(
            "max_length %d exceeds the model's %d positions; longer texts are truncated and their last words are not "
            "scored",
            *max(shorter),
        )
    return fitting


def _with_own_vectors(
    chosen: Mapping[str, FineTuningSettings], name: str | os.PathLike[str] | None
) -> dict[str, FineTuningSettings]:
    """Complete the settings of probes and bitext retrieval by the modules of a sentence-transformers model."""
    completed = dict(chosen)
    vectors = [key for key, own in chosen.items() if own.adaptation == "probe" or key.partition("/")[0] == BITEXT]
    modules = sentence_modules_of(name) if vectors and name is not None else None
    for key in vectors:
        own = chosen[key]
        if modules is not None:
            own = own.replace(
                pooling=modules.pooling if own.pooling is None else own.pooling,
                prompt=modules.default_prompt if own.prompt is None else own.prompt,
                max_length=min(own.max_length, modules.max_length or own.max_length),
            )
        completed[key] = own.replace(pooling=own.pooling or "mean", prompt=own.prompt or "")
    return completed


def _limited(task: TaskData, own: FineTuningSettings) -> TaskData:
    return task.limited(train=own.max_train, dev=own.max_dev, test=own.max_test)


def _provenance_of(task: TaskData) -> dict[str, Any]:
    return {
        "dataset": task.dataset,
        "files": dict(task.files),
        "sizes": {split: len(rows) for split, rows in task.splits.items()},
        "fingerprints": {split: task.fingerprint_of(split) for split in task.splits},
        "repairs": dict(task.repairs),
    }


def _gathered(
    jobs: Sequence[Job], runs: Sequence[Run], folder: Path, perturb: Sequence[str] = ()
) -> tuple[list[Score], list[Score], dict[str, str]]:
    """Return the scores of each set, those of transfer, and the files of predictions that both were made from."""
    by_set: dict[str, dict[int, Run]] = {}
    first: dict[str, Job] = {}
    for job, run in zip(jobs, runs, strict=True):
        by_set.setdefault(key_of(job.data), {})[job.seed] = run
        first.setdefault(key_of(job.data), job)
    scores: list[Score] = []
    elsewhere: list[Score] = []
    predictions: dict[str, str] = {}
    for key, own in by_set.items():
        data, parts = first[key].data, first[key].parts
        for index, part in enumerate(parts or (data,)):
            predicted = {seed: predicted_for(run.predicted, parts, index) for seed, run in own.items()}
            scores.extend(scores_of(part, predicted, data if parts else None))
            predictions[key_of(part)] = write_predictions(folder, part, predicted, data)
            for name in perturb:
                changed = None
                if perturbed(part, name) is not None:
                    changed = {seed: predicted_for(run.perturbed[name], parts, index) for seed, run in own.items()}
                    key_changed = f"{key_of(part)} {name}"
                    predictions[key_changed] = write_perturbed(folder, part, data, name, changed)
                scores.append(drop_score(part, name, predicted, changed, data if parts else None))
        for other in first[key].elsewhere:
            predicted = {seed: run.elsewhere[other.language] for seed, run in own.items()}
            elsewhere.extend(transfer_scores(other, data, predicted))
            predictions[f"{key_of(other)} from {data.language}"] = write_transfer(folder, other, data, predicted)
    return scores, elsewhere, predictions


def predicted_for(predicted: list[Any], parts: Sequence[TaskData], index: int) -> list[Any]:
    """Return the predictions for one of the languages that a run joins; all of them where it joins none."""
    if not parts:
        return predicted
    start = sum(len(one.splits["test"]) for one in parts[:index])
    return predicted[start : start + len(parts[index].splits["test"])]


def scores_of(data: TaskData, predicted: Mapping[int, list[Any]], trained: TaskData | None = None) -> list[Score]:
    """Return one score per metric with its values by seed, its interval, and the seeds that collapsed.

    Where test shares examples with train, the main metric without them follows, with the suffix `DEDUPLICATED`.

    Args:
        data: The task.
        predicted: Label ids by seed.
        trained: What the model was trained on, where that is several languages; its labels are those predicted.
    """
    labels, predicted = common_labels(data, trained or data, predicted)
    together = () if trained is None else tuple(trained.language.split(AND))
    collapsed = _collapsed(data, labels, predicted)
    scores = _scores(data, labels, predicted, collapsed)
    seen = data.seen_in_train(trained=trained)
    kept = [index for index, known in enumerate(seen) if not known]
    if 0 < len(kept) < len(seen):
        main = data.kind.main_metric
        chosen = {seed: [own[index] for index in kept] for seed, own in predicted.items()}
        fresh = _scores(data, labels, chosen, collapsed, [data.gold()[index] for index in kept], main)
        # Of the remaining examples, which differ where more was trained on.
        mark = hashlib.sha256(f"{data.fingerprint} {kept}".encode()).hexdigest()
        scores += [dataclasses.replace(score, metric=main + DEDUPLICATED, fingerprint=mark) for score in fresh]
    return [dataclasses.replace(score, together=together) for score in scores]


def drop_score(
    data: TaskData,
    perturbation: str,
    predicted: Mapping[int, list[Any]],
    changed: Mapping[int, list[Any]] | None,
    trained: TaskData | None = None,
) -> Score:
    """Return by how much the main metric is lower on changed test text, with its interval.

    Args:
        data: The task.
        perturbation: A name in `hf_afro.tasks.PERTURBATIONS`.
        predicted: Label ids by seed.
        changed: The same on the changed text; None if nothing in it changed, which the score's note says.
        trained: See `scores_of`.
    """
    note = "" if changed else f"{perturbation} changes no text of this set"
    changed = changed or predicted
    labels, predicted = common_labels(data, trained or data, predicted)
    changed = common_labels(data, trained or data, changed)[1]
    main, gold = data.kind.main_metric, data.gold()
    first, second = (
        [task_counts(data.task, labels, gold, own) for own in sides.values()] for sides in (predicted, changed)
    )
    measure = MEASURES[main]
    drop = bootstrap_drop(first, second, measure)
    collapsed = _collapsed(data, labels, predicted)
    return Score(
        task=data.task,
        language=data.language,
        metric=f"{main}{DROP}{perturbation}",
        values=tuple(
            score_of(one, measure) - score_of(other, measure) for one, other in zip(first, second, strict=True)
        ),
        seeds=tuple(predicted),
        n=len(gold),
        split="test",
        dataset=data.dataset,
        fingerprint=data.fingerprint,
        note="; ".join(filter(None, [_collapse_note(collapsed), note])),
        interval=(drop.low, drop.high),
        collapsed=tuple(collapsed),
        together=() if trained is None else tuple(trained.language.split(AND)),
    )


def transfer_scores(data: TaskData, trained: TaskData, predicted: Mapping[int, list[Any]]) -> list[Score]:
    """Return the scores of runs that were trained on another language.

    Args:
        data: The task in the language measured.
        trained: The task in the language or languages trained on. Labels that `data` lacks are never correct.
        predicted: Ids of `trained`'s labels by seed.
    """
    labels, own = common_labels(data, trained, predicted)
    scores = _scores(data, labels, own, _collapsed(data, labels, own))
    return [dataclasses.replace(score, source=trained.language) for score in scores]


def common_labels(
    data: TaskData, trained: TaskData, predicted: Mapping[int, list[Any]]
) -> tuple[tuple[str, ...], dict[int, list[Any]]]:
    """Return the labels of the data followed by others that the model knows, and the predictions in their ids."""
    every = (*data.labels, *(name for name in trained.labels if name not in data.labels))
    ids = [every.index(name) for name in trained.labels]

    def known(own: list[Any]) -> list[Any]:
        if data.kind.regression:
            return own
        return [[ids[one] for one in several] for several in own] if data.kind.lists_labels else [ids[i] for i in own]

    return every, {seed: known(own) for seed, own in predicted.items()}


def _scores(
    data: TaskData,
    labels: Sequence[str],
    predicted: Mapping[int, list[Any]],
    collapsed: Mapping[int, str],
    gold: list[Any] | None = None,
    only: str | None = None,
) -> list[Score]:
    """Return one score per metric, or that of one metric, on all test examples or on those with the given `gold`."""
    gold = data.gold() if gold is None else gold
    values = {seed: task_scores(data.task, labels, gold, own) for seed, own in predicted.items()}
    counts = [task_counts(data.task, labels, gold, own) for own in predicted.values()]
    scores = []
    for metric in next(iter(values.values())) if only is None else (only,):
        interval = None
        if metric in MEASURES:
            drawn = bootstrap_interval(counts, MEASURES[metric])
            interval = (drawn.low, drawn.high)
        scores.append(
            Score(
                task=data.task,
                language=data.language,
                metric=metric,
                values=tuple(own[metric] for own in values.values()),
                seeds=tuple(values),
                n=len(gold),
                split="test",
                dataset=data.dataset,
                fingerprint=data.fingerprint,
                note=_collapse_note(collapsed),
                interval=interval,
                collapsed=tuple(collapsed),
            )
        )
    return scores


def _collapsed(data: TaskData, labels: Sequence[str], predicted: Mapping[int, list[Any]]) -> dict[int, str]:
    """Return the reasons of the seeds that collapsed."""
    reasons = {seed: collapse_of(data, own, labels) for seed, own in predicted.items()}
    return {seed: reason for seed, reason in reasons.items() if reason}


def collapse_of(data: TaskData, predicted: Sequence[Any], labels: Sequence[str] = ()) -> str:
    """Return the answer that a collapsed run always gives; an empty string if its answers differ.

    Where all references are the same too, that answer is correct, and the run has not collapsed.

    Args:
        data: The task.
        predicted: Label ids.
        labels: The names of the ids; by default the labels of the data.
    """
    gold, names = data.gold(), labels or data.labels
    if data.kind.tagged:
        gold, predicted = ([tag for tags in sentences for tag in tags] for sentences in (gold, predicted))
    elif data.kind.multi_label:
        gold, predicted = ([tuple(own) for own in several] for several in (gold, predicted))
    answers = set(predicted)
    if len(answers) > 1 or set(gold) == answers:
        return ""
    answer = answers.pop()
    if data.kind.multi_label:
        return f"every text is {', '.join(names[label] for label in answer) or 'without a label'}"
    if data.kind.regression:
        return f"every number is {answer:.4g}"
    return f"every {'word' if data.kind.tagged else 'text'} is {names[answer]!r}"


def _collapse_note(collapsed: Mapping[int, str]) -> str:
    """Name the seeds that collapsed, grouped by reason."""
    alike: dict[str, list[str]] = {}
    for seed, reason in collapsed.items():
        alike.setdefault(reason, []).append(str(seed))
    return "; ".join(
        f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)} collapsed: {reason}" for reason, seeds in alike.items()
    )
