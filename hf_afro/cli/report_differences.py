"""Whether models differ by more than chance: each beside the first, on the predictions that their reports name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hf_afro.evaluation.comparison import Predictions
    from hf_afro.reports import EvalReport, Score
    from hf_afro.reports.tables import Table


@dataclass(frozen=True)
class LoadedReport:
    """A report, and where its parts are from.

    Attributes:
        report: Of one model.
        name: Of the folder or file of its first part.
        parts: The reports it was joined from, each with its folder, beside which its predictions lie.
    """

    report: EvalReport
    name: str
    parts: tuple[tuple[EvalReport, Path], ...]


def difference_tables(loaded: Sequence[LoadedReport]) -> tuple[Table, ...]:
    """Return a table per task: by how much each model differs from the first, and how likely that is by chance.

    Args:
        loaded: The models.

    Returns:
        The tables, by approximate randomisation over the sentences; a dash where there are no predictions, other
        examples or another number of seeds. No table for a task with nothing to compare.
    """
    from hf_afro.reports.formatting import DASH, language_name, tasks_in
    from hf_afro.reports.tables import Cell, Table

    tables = []
    reports = [one.report for one in loaded]
    for task in tasks_in(reports):
        scores = [score for report in reports for score in report.select(task=task)]
        languages = sorted({score.language for score in scores})
        one_set_a_language = len(languages) == len({(score.language, _set_of(score)) for score in scores})
        rows = []
        for language in languages:
            for name, told in _differences(loaded, task, language).items():
                label = language_name(language) if one_set_a_language else f"{language_name(language)}, {name}"
                rows.append((Cell(label), *(Cell(text or DASH) for text in told)))
        if rows:
            header = ("language", *(report.name for report in reports[1:]))
            note = (
                "In percent, with the probability of a difference as large if the models were alike, by approximate "
                "randomisation over the examples (1,000 draws); of several languages some are small by chance."
            )
            tables.append(Table(f"{_heading(task)}: difference from {reports[0].name}", header, tuple(rows), (note,)))
    return tuple(tables)


def _differences(loaded: Sequence[LoadedReport], task: str, language: str) -> dict[str, list[str]]:
    """Return how each other model differs from the first, by data set; empty text where that cannot be told."""
    first, *others = [_read(one, task, language) for one in loaded]
    found = {}
    for name in sorted(first):
        told = []
        for other in others:
            # A set may have another name in another report, where it is not one that the first model has too.
            alike = [*other.get(name, ()), *(one for key, own in other.items() if key not in first for one in own)]
            told.append(_difference(task, first[name], alike))
        if any(told):
            found[name] = told
    return found


def _heading(task: str) -> str:
    from hf_afro.evaluation.data.kinds import kind_of
    from hf_afro.reports.formatting import describe_metric, task_name

    return f"{task_name(task)}, {describe_metric(kind_of(task).main_metric).name}"


def _set_of(score: Score) -> str:
    return f"{score.dataset} {score.split}"


def _read(loaded: LoadedReport, task: str, language: str) -> dict[str, list[Predictions]]:
    """Return the predictions of the parts of a report by data set."""
    from hf_afro.evaluation.comparison import read_predictions

    found: dict[str, list[Predictions]] = {}
    for report, folder in loaded.parts:
        file = report.predictions.get(f"{task}/{language}")
        if file is None or not (folder / file).is_file():
            continue
        # A report is from anywhere: it names what lies beside it, and nothing else is read.
        if not (folder / file).resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"the report of {report.name} names predictions outside its folder: {file!r}")
        sets = [_set_of(score) for score in report.select(task=task, language=language)]
        found.setdefault(sets[0] if sets else "", []).append(read_predictions(folder / file))
    return found


def _difference(task: str, first: Sequence[Predictions], other: Sequence[Predictions]) -> str:
    """Return how another model does beside the first on the first of its predictions that are of the same examples."""
    from hf_afro.evaluation.comparison import compare, same_examples

    for own, beside in product(other, first):
        if same_examples(own, beside) and len(own.predicted) == len(beside.predicted):
            # More is better.
            found = compare(own, beside, task)
            return f"{100 * found.difference:+.1f} (p {_chance(found.p_value)})"
    return ""


def _chance(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
