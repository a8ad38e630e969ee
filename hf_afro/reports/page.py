"""The report page: all results in one self-contained HTML file, for phones, large screens and dark mode."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from hf_afro.files import write_whole
from hf_afro.reports.evaluation_report import EvalReport
from hf_afro.reports.formatting import format_fact, metrics_in, tasks_in
from hf_afro.reports.plots import COSTS, Figure, coverage_plot, language_plot, loss_plot, size_plot, transfer_plot
from hf_afro.reports.score_tables import (
    comparison_tables,
    interval_tables,
    language_table,
    other_tables,
    removed_table,
    size_table,
    transfer_tables,
    transfer_tasks,
)
from hf_afro.reports.tables import Table

TITLE = "Evaluation report"


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline.

    Attributes:
        name: Its name, such as `prune`.
        summary: One sentence on its result.
        settings: Its settings.
        sizes: Sizes before and after, such as ``{"parameters": (278_295_186, 139_900_000)}``.
    """

    name: str
    summary: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    sizes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """The steps before the evaluation; all parts are optional.

    Attributes:
        stages: The stages, in order.
        languages: ISO 639-3 codes of the languages covered; evaluated languages are listed anyway.
        removed: Lines read and dropped: ``{language: {reason: lines}}``.
        curve: The coverage of smaller vocabularies, as in `VocabularyMap.provenance["curve"]`.
        losses: The log history of each training, by the name of its stage.
        provenance: Other provenance to show.
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
        title: The title of the page.
        work: What was done before the evaluation.
        more: Further tables, shown with the intervals.

    Returns:
        A document without scripts or external fonts, images and styles; all text is escaped. The same reports give
        the same bytes.

    Raises:
        ValueError: If there is no report, or two have the same name.
    """
    names = [report.name for report in reports]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"expected at least one report, each with a different name; received {names}")
    work = work or Work()
    return _template("page.html").render(
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


def render_tables(title: str, lead: str, points: Sequence[str], tables: Sequence[Table]) -> str:
    """Return a page of tables as HTML, in the style of `render_page`.

    Args:
        title: The title of the page.
        lead: The result in one sentence.
        points: What is to be said of it, one sentence each.
        tables: The tables.
    """
    return _template("tables.html").render(title=title, lead=lead, points=points, tables=tables)


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hf_afro.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["fact"] = format_fact
    environment.filters["html"] = lambda table: Markup(table.as_html())
    return environment.get_template(name)


def write_page(
    reports: Sequence[EvalReport],
    path: str | os.PathLike[str],
    *,
    title: str = TITLE,
    work: Work | None = None,
    more: Sequence[Table] = (),
) -> Path:
    """Write the page to an HTML file, or into a folder as `index.html`, and return the file; see `render_page`."""
    path = Path(path)
    file = path if path.suffix.lower() in (".html", ".htm") else path / "index.html"
    write_whole(file, render_page(reports, title=title, work=work, more=more))
    return file


def figures(reports: Sequence[EvalReport], work: Work) -> list[Figure]:
    """Return all figures that have data; those that grow with the number of languages come last."""
    pairs = [(task, metrics_in(reports, task)[0]) for task in tasks_in(reports)]
    drawn = [size_plot(reports, task, metric, cost) for task, metric in pairs for cost in COSTS]
    drawn += [transfer_plot(report, task, metric) for report in reports for task, metric in transfer_tasks(report)]
    if work.curve:
        drawn.append(coverage_plot(work.curve))
    drawn += [loss_plot(history, stage) for stage, history in work.losses.items()]
    drawn += [language_plot(reports, task, metric) for task, metric in pairs]
    return [figure for figure in drawn if figure is not None]
