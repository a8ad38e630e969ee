"""Whether models differ by more than chance: each beside the first, on the predictions that their reports name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hf_afro.reports import EvalReport
    from hf_afro.reports.tables import Table
    from hf_afro.tasks.comparison import Predictions


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
    """Return a table a task: by how much each model differs from the first, and how likely that is by chance.

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
        languages = sorted({score.language for report in reports for score in report.select(task=task)})
        rows = []
        for language in languages:
            read = [_read(one, f"{task}/{language}") for one in loaded]
            told = [_difference(task, read[0], other) for other in read[1:]]
            if any(told):
                rows.append((Cell(language_name(language)), *(Cell(text or DASH) for text in told)))
        if rows:
            header = ("language", *(report.name for report in reports[1:]))
            note = (
                "In percent, with the probability of a difference as large if the models were alike, by approximate "
                "randomisation over the examples (1,000 draws); of several languages some are small by chance."
            )
            tables.append(Table(f"{_heading(task)}: difference from {reports[0].name}", header, tuple(rows), (note,)))
    return tuple(tables)


def _heading(task: str) -> str:
    from hf_afro.reports.formatting import describe_metric, task_name
    from hf_afro.tasks.kinds import kind_of

    return f"{task_name(task)}, {describe_metric(kind_of(task).main_metric).name}"


def _read(loaded: LoadedReport, key: str) -> Predictions | None:
    from hf_afro.tasks.comparison import read_predictions

    for report, folder in loaded.parts:
        file = report.predictions.get(key)
        if file is None or not (folder / file).is_file():
            continue
        # A report is from anywhere: it names what lies beside it, and nothing else is read.
        if not (folder / file).resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"the report of {report.name} names predictions outside its folder: {file!r}")
        return read_predictions(folder / file)
    return None


def _difference(task: str, first: Predictions | None, other: Predictions | None) -> str:
    from hf_afro.tasks.comparison import compare

    if first is None or other is None or list(first.gold) != list(other.gold):
        return ""
    if len(first.predicted) != len(other.predicted):
        return ""
    # How the other does beside the first: more is better.
    found = compare(other, first, task)
    return f"{100 * found.difference:+.1f} (p {_chance(found.p_value)})"


def _chance(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
