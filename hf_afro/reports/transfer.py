"""Transfer: what models trained on one language do on others, as a table and as a heat map."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from matplotlib.patches import Rectangle

from hf_afro.reports.evaluation_report import EvalReport, Score
from hf_afro.reports.formatting import (
    DASH,
    describe_metric,
    format_score,
    format_value,
    language_name,
    order_metrics,
    task_name,
)
from hf_afro.reports.plots import SOFT, Figure, as_svg, axes_of, colour
from hf_afro.reports.tables import Cell, Table, training_notes

Matrix = Mapping[tuple[str, str], Score]
"""By language trained on, or several with a + between them, and language measured on."""
_NAMED = 3  # languages in the name of a row, at most


def transfer_tasks(report: EvalReport) -> tuple[tuple[str, str], ...]:
    """Return the tasks with transfer, each with the metric that stands for it."""
    tasks = dict.fromkeys(score.task for score in report.transfer)
    metrics = {task: [score.metric for score in report.transfer if score.task == task] for task in tasks}
    return tuple((task, order_metrics(task, own)[0]) for task, own in metrics.items())


def transfer_matrix(report: EvalReport, task: str, metric: str) -> Matrix:
    """Return the scores on other languages with those on the language trained on."""
    own = {(score.trained_on, score.language): score for score in report.select(task=task, metric=metric)}
    other = {
        (score.source, score.language): score
        for score in report.transfer
        if (score.task, score.metric) == (task, metric)
    }
    sources = {source for source, _ in other}
    return {**{pair: score for pair, score in own.items() if pair[0] in sources}, **other}


def source_name(source: str) -> str:
    """Return what a row is called: the language's name with its code, or the codes of several."""
    codes = source.split("+")
    if len(codes) == 1:
        return language_name(source)
    return f"{', '.join(codes)} together" if len(codes) <= _NAMED else f"{len(codes)} languages together"


def transfer_table(report: EvalReport, task: str, metric: str) -> Table:
    """Return a row for each language trained on, a column for each measured on, and the mean over the others."""
    matrix = transfer_matrix(report, task, metric)
    sources, targets = _sides(matrix)
    rows, notes = [], []
    for source in sources:
        others = [score.mean for (one, _), score in matrix.items() if one == source == score.source]
        cells = []
        for target in targets:
            score = matrix.get((source, target))
            text = DASH if score is None else format_score(score)
            if score is not None and score.note:
                notes.append(f"{source_name(source)} to {language_name(target)}: {score.note}")
                text += f" [{len(notes)}]"
            cells.append(Cell(text))
        rows.append((Cell(source_name(source)), *cells, Cell(format_value(metric, statistics.fmean(others)))))
    unit = "In percent. " if describe_metric(metric).percent else ""
    return Table(
        f"{report.name}: transfer, {task_name(task).lower()}, {describe_metric(metric).name}",
        ("trained on", *targets, "mean of the others"),
        tuple(rows),
        (
            f"{unit}A row is trained on the language that it is named by; of the others it has seen no example.",
            *training_notes([report], [matrix]),
            *(f"{source_name(source)}: {source.replace('+', ', ')}." for source in sources if "+" in source),
            *(f"[{number}] {note}" for number, note in enumerate(notes, 1)),
        ),
    )


def transfer_plot(report: EvalReport, task: str, metric: str) -> Figure:
    """Draw the matrix: the darker, the higher, with the value in every field.

    The table of the same figures is its alternative, and the description names the best and the worst field.
    """
    matrix = transfer_matrix(report, task, metric)
    sources, targets = _sides(matrix)
    values = [score.mean for score in matrix.values()]
    low, high = min(values), max(values)
    title = f"{report.name}: transfer, {task_name(task).lower()}"
    crossed = {pair: score.mean for pair, score in matrix.items() if score.source}
    best, worst = max(crossed, key=crossed.__getitem__), min(crossed, key=crossed.__getitem__)
    ends = "; ".join(
        f"{word} {source_name(pair[0])} to {language_name(pair[1])}, {format_value(metric, crossed[pair])}"
        for word, pair in (("best", best), ("worst", worst))
    )
    with axes_of(0.9 + 0.36 * len(sources)) as axes:
        for (source, target), score in matrix.items():
            column, row = targets.index(target), sources.index(source)
            share = 0.5 if high == low else (score.mean - low) / (high - low)
            field = Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, facecolor=colour(0), alpha=0.06 + 0.5 * share)
            axes.add_patch(field)
            axes.text(column, row, format_value(metric, score.mean), ha="center", va="center")
        axes.set_xticks(range(len(targets)), targets)
        axes.set_yticks(range(len(sources)), [source_name(source) for source in sources])
        axes.set_xlim(-0.5, len(targets) - 0.5)
        axes.set_ylim(len(sources) - 0.5, -0.5)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.set_title("trained on (down), measured on (across)", loc="left", fontsize=10, color=SOFT)
        svg = as_svg(axes, f"{title}; {ends}")
    return Figure(title, f"{describe_metric(metric).name}. Between two languages: {ends}.", svg)


def _sides(matrix: Matrix) -> tuple[list[str], list[str]]:
    sources = sorted({source for source, _ in matrix}, key=lambda source: ("+" in source, source_name(source)))
    targets = {target for _, target in matrix}
    known = dict.fromkeys(code for source in sources for code in source.split("+") if code in targets)
    return sources, [*known, *sorted(targets - set(known))]
