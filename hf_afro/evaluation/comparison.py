"""Comparison of models by their saved predictions: differences with their chance, and shares of a teacher's score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from hf_afro.evaluation.distillation import LABELS_ONLY
from hf_afro.evaluation.predictions import Predictions, read_predictions
from hf_afro.evaluation.significance import compare, same_examples, share_kept
from hf_afro.reports import EvalReport, Score
from hf_afro.reports.evaluation_report import LoadedReport
from hf_afro.reports.formatting import DASH, describe_metric, language_name, task_name, tasks_in
from hf_afro.reports.tables import Cell, Table
from hf_afro.tasks import BITEXT, TASKS, metrics_of


def kept_tables(loaded: Sequence[LoadedReport]) -> tuple[Table, ...]:
    """Return what share of its teacher's score each model keeps, for models that were distilled on a task.

    Args:
        loaded: The models. Where one was distilled from another of them, all are compared with that teacher.

    Returns:
        One table per teacher and task, one row per language and one for the mean over them, with bootstrap intervals
        over the examples; none without a teacher.
    """
    taught = [one.report.provenance.get("distillation", {}).get("teacher") for one in loaded]
    tables = []
    for teacher in [one for one in loaded if one.report.name in taught]:
        students = [one for one in loaded if one is not teacher]
        for task in (one for one in tasks_in([teacher.report]) if one in TASKS):
            if (table := _kept_table(teacher, students, task)) is not None:
                tables.append(table)
    return tuple(tables)


def _kept_table(teacher: LoadedReport, students: Sequence[LoadedReport], task: str) -> Table | None:
    measured = _measured(teacher.report, task)
    pairs: list[list[tuple[Predictions, Predictions] | None]] = [
        [_alike(_flat(student, task, one), _flat(teacher, task, one)) for student in students] for one in measured
    ]
    if not any(pair for row in pairs for pair in row):
        return None
    rows = [
        (Cell(_name_of(one)), *(Cell(_share(task, [pair])) for pair in row))
        for one, row in zip(measured, pairs, strict=True)
    ]
    if len(measured) > 1:
        columns = zip(*pairs, strict=True)
        rows.append((Cell("mean"), *(Cell(_share(task, list(column))) for column in columns)))
    return Table(
        f"{_heading(task)}: share of {teacher.report.name} kept",
        ("language", *(student.report.name for student in students)),
        tuple(rows),
        ("In percent of the teacher's score, with 95 % bootstrap intervals over the examples.",),
    )


def _measured(report: EvalReport, task: str) -> list[tuple[str, str]]:
    """Return the languages that a task was measured in, each with the language trained on if that is another."""
    own = {(score.language, "") for score in report.select(task=task)}
    return sorted(own | {(score.language, score.source) for score in report.transfer if score.task == task})


def _name_of(measured: tuple[str, str]) -> str:
    language, source = measured
    return f"{language_name(language)} from {source}" if source else language_name(language)


def _flat(loaded: LoadedReport, task: str, measured: tuple[str, str]) -> list[Predictions]:
    return [one for own in _read(loaded, task, measured).values() for one in own]


def _alike(first: Sequence[Predictions], second: Sequence[Predictions]) -> tuple[Predictions, Predictions] | None:
    """Return the first predictions of two models for the same examples; None if there are none."""
    return next((pair for pair in product(first, second) if same_examples(*pair)), None)


def _share(task: str, pairs: Sequence[tuple[Predictions, Predictions] | None]) -> str:
    known = [pair for pair in pairs if pair is not None]
    if len(known) < len(pairs):
        return DASH
    found = share_kept(known, task)
    return DASH if found is None else f"{100 * found.score:.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})"


def difference_tables(loaded: Sequence[LoadedReport]) -> tuple[Table, ...]:
    """Return a table per task: by how much each model differs from the first, and how likely that is by chance.

    Args:
        loaded: The models. One that was distilled, and is not the first, is also compared with the same student that
            learnt from labels alone, if that is among them.

    Returns:
        The tables, by approximate randomisation over the sentences; a dash where there are no predictions, other
        examples or another number of seeds. No table for a task with nothing to compare.
    """
    tables = [*_differences_from_first(loaded)]
    by_name = {one.report.name: one for one in loaded}
    for distilled in loaded[1:]:
        alone = by_name.get(f"{distilled.report.name}{LABELS_ONLY}")
        if "distillation" in distilled.report.provenance and alone is not None:
            tables += _differences_from_first([distilled, alone])
    return tuple(tables)


def _differences_from_first(loaded: Sequence[LoadedReport]) -> Iterator[Table]:
    reports = [one.report for one in loaded]
    for task in tasks_in(reports):
        every = [score for report in reports for score in (*report.scores, *report.transfer) if score.task == task]
        measured = sorted({one for report in reports for one in _measured(report, task)})
        one_set_a_language = len({score.language for score in every}) == len(
            {(score.language, _set_of(score)) for score in every}
        )
        rows = []
        for one in measured:
            for name, told in _differences(loaded, task, one).items():
                label = _name_of(one) if one_set_a_language else f"{_name_of(one)}, {name}"
                rows.append((Cell(label), *(Cell(text or DASH) for text in told)))
        if rows:
            header = ("language", *(report.name for report in reports[1:]))
            note = (
                "In percent, with the probability of a difference as large if the models were alike, by approximate "
                "randomisation over the examples (1,000 draws); with several languages, some are small by chance."
            )
            yield Table(f"{_heading(task)}: difference from {reports[0].name}", header, tuple(rows), (note,))


def _differences(loaded: Sequence[LoadedReport], task: str, measured: tuple[str, str]) -> dict[str, list[str]]:
    """Return how each other model differs from the first, by data set; empty text if it cannot be computed."""
    if task == BITEXT and len(_measured_on(loaded, task, measured[0])) > 1:
        return {}  # the line of a sentence does not say which text it is of
    first, *others = [_read(one, task, measured) for one in loaded]
    found = {}
    for name in sorted(first):
        told = []
        for other in others:
            # A set may have another name in another report, unless the first model has a set of that name too.
            alike = [*other.get(name, ()), *(one for key, own in other.items() if key not in first for one in own)]
            told.append(_difference(task, first[name], alike))
        if any(told):
            found[name] = told
    return found


def _measured_on(loaded: Sequence[LoadedReport], task: str, language: str) -> set[str]:
    """Return the fingerprints of what models were measured on."""
    return {score.fingerprint for one in loaded for score in one.report.select(task=task, language=language)}


def _heading(task: str) -> str:
    return f"{task_name(task)}, {describe_metric(metrics_of(task)[0]).name}"


def _set_of(score: Score) -> str:
    return f"{score.dataset} {score.split}"


def _read(loaded: LoadedReport, task: str, measured: tuple[str, str]) -> dict[str, list[Predictions]]:
    """Return the predictions of the parts of a report by data set."""
    language, source = measured
    found: dict[str, list[Predictions]] = {}
    for report, folder in loaded.parts:
        file = report.predictions.get(f"{task}/{language} from {source}" if source else f"{task}/{language}")
        if file is None or not (folder / file).is_file():
            continue
        # A report is not trusted: only files in its own folder are read.
        if not (folder / file).resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"the report of {report.name} names predictions outside its folder: {file!r}")
        scores = (*report.select(task=task, language=language), *report.transfer)
        sets = [
            _set_of(score)
            for score in scores
            if (score.task, score.language, score.source) == (task, language, source)
        ]
        found.setdefault(sets[0] if sets else "", []).append(read_predictions(folder / file))
    return found


def _difference(task: str, first: Sequence[Predictions], other: Sequence[Predictions]) -> str:
    """Return how another model differs from the first, on the first of its predictions for the same examples."""
    for own, beside in product(other, first):
        if same_examples(own, beside) and len(own.predicted) == len(beside.predicted):
            # Higher is better.
            found = compare(own, beside, task)
            return f"{100 * found.difference:+.1f} (p {_chance(found.p_value)})"
    return ""


def _chance(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
