"""The page: everything known about some models in one HTML file that loads nothing, for phone, screen and the dark."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from hf_afro.files import write_whole
from hf_afro.reports.evaluation_report import EvalReport
from hf_afro.reports.formatting import format_fact, known_language, metrics_in, task_name, tasks_in
from hf_afro.reports.plots import COSTS, Figure, coverage_plot, language_plot, loss_plot, size_plot
from hf_afro.reports.tables import (
    Cell,
    Table,
    comparison_tables,
    interval_tables,
    other_tables,
    removed_table,
    size_table,
)
from hf_afro.reports.transfer import transfer_plot, transfer_table, transfer_tasks

TITLE = "Evaluation report"


@dataclass(frozen=True)
class Stage:
    """One stage of the work.

    Attributes:
        name: Such as `prune`.
        summary: What it did, in a sentence.
        settings: With what settings.
        sizes: What it changed: ``{what: (before, after)}``, such as ``{"parameters": (278_295_186, 139_900_000)}``.
    """

    name: str
    summary: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    sizes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """What lies before the evaluation, for the page to tell; everything may be missing.

    Attributes:
        stages: What was done, in order.
        languages: ISO 639-3 codes of the languages worked on; those evaluated are listed anyway.
        removed: Lines read and taken out: ``{language: {reason: lines}}``.
        curve: The coverage of smaller vocabularies, as `VocabularyMap.provenance["curve"]`.
        losses: The log history of each training, by the name of its stage.
        provenance: Whatever else says where things come from.
    """

    stages: tuple[Stage, ...] = ()
    languages: tuple[str, ...] = ()
    removed: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    curve: Mapping[str, Any] | None = None
    losses: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


def render_page(
    reports: Sequence[EvalReport], *, title: str = TITLE, work: Work | None = None, more: Sequence[Table] = ()
) -> str:
    """Return the page as HTML.

    Args:
        reports: The models, in the order of columns and legends.
        title: Of the page.
        work: What lies before the evaluation.
        more: Tables of one's own, behind those of scores.

    Returns:
        One document: no script, no font, no picture and no style from elsewhere; all text escaped. The same reports
        give the same bytes.

    Raises:
        ValueError: If there is no report, or two have the same name.
    """
    names = [report.name for report in reports]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"a page needs one report or more, each with a name of its own; received {names}")
    work = work or Work()
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hf_afro.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["fact"] = format_fact
    environment.filters["html"] = lambda table: Markup(table.as_html())
    return environment.get_template("page.html").render(
        title=title,
        reports=reports,
        work=work,
        sizes=size_table(reports),
        comparisons=comparison_tables(reports),
        others=other_tables(reports),
        intervals=(*more, *interval_tables(reports)),
        transfers=transfer_tables(reports),
        figures=[(figure, Markup(figure.svg)) for figure in figures(reports, work)],
        languages=language_table(reports, work.languages),
        removed=removed_table(work.removed) if work.removed else None,
    )


def write_page(
    reports: Sequence[EvalReport],
    path: str | os.PathLike[str],
    *,
    title: str = TITLE,
    work: Work | None = None,
    more: Sequence[Table] = (),
) -> Path:
    """Write the page into a file, or into a folder as `index.html`; see `render_page`.

    Returns:
        The file.
    """
    path = Path(path)
    file = path if path.suffix.lower() in (".html", ".htm") else path / "index.html"
    write_whole(file, render_page(reports, title=title, work=work, more=more))
    return file


def figures(reports: Sequence[EvalReport], work: Work) -> list[Figure]:
    """Return every figure there is something to draw for, those that grow with the languages last."""
    pairs = [(task, metrics_in(reports, task)[0]) for task in tasks_in(reports)]
    drawn = [size_plot(reports, task, metric, cost) for task, metric in pairs for cost in COSTS]
    drawn += [transfer_plot(report, task, metric) for report in reports for task, metric in transfer_tasks(report)]
    if work.curve:
        drawn.append(coverage_plot(work.curve))
    drawn += [loss_plot(history, stage) for stage, history in work.losses.items()]
    drawn += [language_plot(reports, task, metric) for task, metric in pairs]
    return [figure for figure in drawn if figure is not None]


def transfer_tables(reports: Sequence[EvalReport]) -> tuple[Table, ...]:
    """Return the tables of transfer of every model that has some."""
    return tuple(transfer_table(report, *pair) for report in reports for pair in transfer_tasks(report))


def language_table(reports: Sequence[EvalReport], more: Iterable[str] = ()) -> Table:
    """Return the languages worked on or measured: name, tag, scripts, and on what each was measured."""
    measured: dict[str, dict[str, None]] = {code: {} for code in more}
    for task in tasks_in(reports):
        for report in reports:
            for score in report.select(task=task):
                measured.setdefault(score.language, {})[task_name(task).lower()] = None
    rows = []
    for code, tasks in sorted(measured.items()):
        known = known_language(code)
        about = (known.name, known.tag, ", ".join(known.scripts)) if known else (code, "", "")
        rows.append((Cell(about[0]), Cell(code), *map(Cell, about[1:]), Cell(", ".join(tasks) or "not measured")))
    return Table("Worked on or measured", ("language", "ISO 639-3", "tag", "scripts", "measured on"), tuple(rows))
