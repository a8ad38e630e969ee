"""Plots by matplotlib as SVG: score against size, scores by language, transfer, coverage, losses.

Text is kept as text, and the same scores always give the same bytes. Colours are CSS variables with a default value:
the report page sets the variables for its dark mode, and a file by itself shows the defaults.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from hf_afro.reports.evaluation_report import EvalReport
from hf_afro.reports.formatting import (
    describe_metric,
    format_count,
    format_parameters,
    format_value,
    language_name,
    task_name,
)
from hf_afro.reports.score_tables import (
    common_mean,
    source_name,
    task_heading,
    training_notes,
    transfer_matrix,
    transfer_sides,
)

# Okabe and Ito's palette for colour-blind readers, darkened for a white background. Markers differ too.
COLOURS = ("#0072b2", "#d55e00", "#00805e", "#a3528a", "#8a6500", "#b0305c", "#3f7fae", "#555555")
MARKS = ("o", "s", "D", "^", "v")
INK, SOFT, GRID, FAINT = "#1f2328", "#57606a", "#d8dee4", "#b6bfc9"
_VARIABLES = {
    INK: "ink",
    SOFT: "soft",
    GRID: "grid",
    FAINT: "faint",
    **{one: f"s{n}" for n, one in enumerate(COLOURS)},
}
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name may hold a dollar sign
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "legend.frameon": False,
    "font.size": 10,
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib, so the layout is the same everywhere
}
WIDTH = 5.0
"""Width of every plot in inches: a phone shows it at three quarters of its size, with legible text."""
MISSED_LEAST = 1e-5
"""The coverage axis ends at 99.999 %; larger shares are drawn there."""
NAMED_LINES = 5
"""Languages that the coverage plot names."""
_COVERAGE_TICKS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999)


@dataclass(frozen=True)
class Figure:
    """A plot with its title and a caption of a sentence or two."""

    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Cost:
    """A cost that scores are plotted against; less is better.

    Attributes:
        fact: Its key in `EvalReport.model`.
        title: Its name in the title, such as `size`.
        axis: The axis label.
        shown: Formats a value with its unit.
    """

    fact: str
    title: str
    axis: str
    shown: Callable[[float], str]


COSTS = (
    Cost("parameters", "size", "parameters", lambda value: f"{format_parameters(int(value))} parameters"),
    Cost("latency_ms", "latency", "milliseconds per sentence, one at a time", lambda value: f"{value:.1f} ms"),
)


def size_plot(reports: Sequence[EvalReport], task: str, metric: str, cost: Cost = COSTS[0]) -> Figure | None:
    """Plot a score against a cost of the models, with the Pareto front.

    Args:
        reports: The models.
        task: A task such as `ner`.
        metric: A metric such as `entity_f1`.
        cost: The cost; by default the number of parameters.

    Returns:
        The figure of the means over what all models were measured on; None if fewer than two models have both a score
        and that cost.
    """
    count, means = common_mean(reports, task, metric)
    points = [
        (float(report.model[cost.fact]), mean, series, report.name)
        for series, (report, mean) in enumerate(zip(reports, means, strict=True))
        if mean is not None and report.model.get(cost.fact)
    ]
    if len(points) < 2:
        return None
    better = -1 if describe_metric(metric).higher_is_better is False else 1
    front = pareto_front([(size, better * mean) for size, mean, *_ in points])
    largest = max(size for size, *_ in points) * 1.5
    title = f"{task_heading(task, metric)} against {cost.title}"
    told = ", ".join(f"{name} {format_value(metric, mean)} with {cost.shown(size)}" for size, mean, _, name in points)
    with _new_axes(3.4) as axes:
        axes.set_xscale("log")
        axes.step(
            [*(size for size, _ in front), largest],
            [*(better * value for _, value in front), better * front[-1][1]],
            where="post",
            color=SOFT,
            linestyle="--",
            linewidth=1.2,
        )
        drawn = [
            (axes.plot(size, mean, _marker(series), color=_colour(series), markersize=8)[0], name)
            for size, mean, series, name in points
        ]
        axes.set_xlim(min(size for size, *_ in points) / 1.5, largest)
        axes.margins(y=0.15)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
        axes.set_xlabel(cost.axis)
        _label_metric(axes.yaxis, metric)
        _legend(axes, drawn)
        svg = _svg(axes, f"{title}: {told}")
    caption = (
        f"Mean over {count} language{'s' * (count != 1)}. The dashed line is the best score at that {cost.title} or "
        f"below.{_training_sentences(reports, task, metric)}"
    )
    return Figure(title, caption, svg)


def language_plot(reports: Sequence[EvalReport], task: str, metric: str) -> Figure | None:
    """Plot a metric by language: one row per language, one marker per model, bars for the spread over seeds.

    Returns:
        The figure; None if nothing was measured.
    """
    scored = [report.select(task=task, metric=metric) for report in reports]
    rows = sorted({language_name(score.language) for scores in scored for score in scores})
    if not rows:
        return None
    described = describe_metric(metric)
    title = f"{task_heading(task, metric)} by language"
    lane = 0.7 / len(reports)
    with _new_axes(1.2 + len(rows) * max(0.25, 0.1 * len(reports))) as axes:
        drawn = []
        for series, (report, scores) in enumerate(zip(reports, scored, strict=True)):
            places = [
                rows.index(language_name(one.language)) + lane * (series - (len(reports) - 1) / 2) for one in scores
            ]
            bars = axes.errorbar(
                [one.mean for one in scores],
                places,
                xerr=[one.spread or 0.0 for one in scores],
                fmt=_marker(series),
                color=_colour(series),
                markersize=6,
            )
            drawn.append((bars, report.name))
        axes.set_yticks(range(len(rows)), rows)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        low, high = axes.get_xlim()
        if described.percent and min(one.mean for scores in scored for one in scores) >= 0:
            axes.set_xlim(max(low, 0.0), min(high, 1.01))
        _label_metric(axes.xaxis, metric)
        _legend(axes, drawn)
        svg = _svg(axes, title)
    caption = {True: "Right is better.", False: "Left is better.", None: ""}[described.higher_is_better]
    if any(score.spread for scores in scored for score in scores):
        caption += " The bars show one standard deviation over the seeds on either side."
    return Figure(title, (caption + _training_sentences(reports, task, metric)).strip(), svg)


def transfer_plot(report: EvalReport, task: str, metric: str) -> Figure:
    """Plot transfer as a heat map: the higher the score, the darker the cell, with its value written in it.

    The description for screen readers names the best and the worst pair; `transfer_table` has all scores as text.
    """
    matrix = transfer_matrix(report, task, metric)
    sources, targets = transfer_sides(matrix)
    values = [score.mean for score in matrix.values()]
    low, high = min(values), max(values)
    crossed = {pair: score.mean for pair, score in matrix.items() if score.source}
    ends = "; ".join(
        f"{word} {source_name(pair[0])} to {language_name(pair[1])}, {format_value(metric, crossed[pair])}"
        for word, pair in (
            ("best", max(crossed, key=crossed.__getitem__)),
            ("worst", min(crossed, key=crossed.__getitem__)),
        )
    )
    title = f"{report.name}: transfer, {task_name(task).lower()}"
    with _new_axes(0.9 + 0.36 * len(sources)) as axes:
        for (source, target), score in matrix.items():
            column, row = targets.index(target), sources.index(source)
            share = 0.5 if high == low else (score.mean - low) / (high - low)
            cell = Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, facecolor=_colour(0), alpha=0.06 + 0.5 * share)
            axes.add_patch(cell)
            axes.text(column, row, format_value(metric, score.mean), ha="center", va="center")
        axes.set_xticks(range(len(targets)), targets)
        axes.set_yticks(range(len(sources)), [source_name(source) for source in sources])
        axes.set_xlim(-0.5, len(targets) - 0.5)
        axes.set_ylim(len(sources) - 0.5, -0.5)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.set_title("trained on (rows), measured on (columns)", loc="left", fontsize=10, color=SOFT)
        svg = _svg(axes, f"{title}; {ends}")
    return Figure(title, f"{describe_metric(metric).name}. Between two languages: {ends}.", svg)


def coverage_plot(curve: Mapping[str, Any]) -> Figure | None:
    """Plot the share of each language's running tokens that smaller vocabularies would keep.

    Args:
        curve: ``{"budgets": [tokens], "coverage": {language: [share]}}``, as `VocabularyMap.provenance["curve"]`.

    Returns:
        The figure, which names the languages that lose most; None if there are fewer than two budgets.
    """
    budgets, coverage = curve["budgets"], curve["coverage"]
    if len(budgets) < 2 or not coverage:
        return None
    # The worst over all budgets, since all languages may reach the same floor at the last one.
    named = sorted(coverage, key=lambda language: (sum(coverage[language]), language))[:NAMED_LINES]
    others = [language for language in coverage if language not in named]
    shares = [share for line in coverage.values() for share in line]
    highest = max(min(max(shares), 1 - MISSED_LEAST), 0.9)
    title = "Coverage of the vocabulary"
    with _new_axes(3.6) as axes:
        # Even steps for 90 %, 99 %, 99.9 %: -log10 of the share missed.
        axes.set_yscale(
            "function",
            functions=(lambda share: -np.log10(np.maximum(1 - share, MISSED_LEAST)), lambda nines: 1 - 10.0**-nines),
        )
        drawn = []
        for language in [*others, *reversed(named)]:
            line = [min(share, highest) for share in coverage[language]]
            if language in named:
                (curve_line,) = axes.plot(budgets, line, color=_colour(named.index(language)))
                drawn.append((curve_line, language_name(language)))
            else:
                axes.plot(budgets, line, color=FAINT, linewidth=1)
        axes.set_xlim(0, max(budgets))
        axes.set_ylim(max(min(shares) - 0.02, 0.0), highest)
        axes.yaxis.set_major_locator(FixedLocator(_COVERAGE_TICKS))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
        axes.set_xlabel("tokens in the vocabulary")
        axes.set_ylabel("running tokens kept")
        _legend(axes, drawn[::-1])
        svg = _svg(axes, title)
    grey = f"The {len(named)} languages that lose most are named; {len(others)} others are grey. " if others else ""
    caption = (
        f"{grey}The scale is stretched towards 100 %, where vocabularies differ. "
        f"The largest vocabulary shown has {format_count(max(budgets))} tokens."
    )
    return Figure(title, caption, svg)


def loss_plot(history: Sequence[Mapping[str, Any]], stage: str) -> Figure | None:
    """Plot the losses that a trainer logged.

    Args:
        history: `trainer.state.log_history`: entries with `step` and `loss` or `eval_loss`; others are ignored.
        stage: The name of the training, for the title.

    Returns:
        The figure; None if fewer than two losses were logged.
    """
    lines = {
        name: [(float(entry["step"]), float(entry[key])) for entry in history if _is_number(entry.get(key))]
        for key, name in (("loss", "training"), ("eval_loss", "evaluation"))
    }
    lines = {name: points for name, points in lines.items() if points}
    if sum(map(len, lines.values())) < 2:
        return None
    title = f"Loss: {stage}"
    with _new_axes(3.2) as axes:
        drawn = []
        for series, (name, points) in enumerate(lines.items()):
            mark = MARKS[series] if len(points) <= 25 else ""
            (line,) = axes.plot(*zip(*points, strict=True), color=_colour(series), marker=mark, markersize=4)
            drawn.append((line, name))
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("steps")
        axes.set_ylabel("loss")
        _legend(axes, drawn)
        svg = _svg(axes, title)
    return Figure(title, "", svg)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (size, value) that no point of the same or a smaller size beats, sorted by size."""
    front: list[tuple[float, float]] = []
    for size, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or value > front[-1][1]:
            front.append((size, value))
    return front


@contextmanager
def _new_axes(height: float) -> Iterator[Axes]:
    """Yield the axes of a new plot with a height in inches, in the common style."""
    with matplotlib.rc_context(_STYLE):
        yield Canvas(figsize=(WIDTH, height), layout="constrained").add_subplot()


def _svg(axes: Axes, description: str) -> str:
    """Return a plot as SVG, with a description for screen readers; called inside `_new_axes`."""
    drawn = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # The salt makes identifiers the same in every run, and different in each plot of a page.
    with matplotlib.rc_context({"svg.hashsalt": description}):
        axes.figure.savefig(drawn, format="svg", transparent=True, metadata=no_metadata)  # type: ignore[union-attr]
    _, tag, content = re.split(r"(<svg[^>]*>)", drawn.getvalue(), maxsplit=1)
    tag = re.sub(r' (?:width|height)="[^"]*"', "", tag).replace(
        "<svg", f'<svg role="img" aria-label="{escape(description)}"'
    )
    svg = tag + re.sub(r'<g id="[^"]*"', "<g", content)  # group names are the same in every plot
    for value, name in _VARIABLES.items():
        svg = svg.replace(value, f"var(--{name},{value})")
    return svg


def _colour(series: int) -> str:
    return COLOURS[series % len(COLOURS)]


def _marker(series: int) -> str:
    return MARKS[series % len(MARKS)]


def _legend(axes: Axes, drawn: Sequence[tuple[Any, str]]) -> None:
    """Put the legend above the plot, where it hides nothing."""
    handles, names = zip(*drawn, strict=True)
    legend = axes.figure.legend(  # type: ignore[union-attr]
        handles, [""] * len(names), loc="outside upper left", ncols=min(len(names), 3)
    )
    # matplotlib before 3.10 leaves out labels that begin with an underscore, so the texts are set afterwards.
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)


def _label_metric(axis: Any, metric: str) -> None:
    described = describe_metric(metric)
    scale = 100 if described.percent else 1
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(scale * value, 9):g}"))
    axis.set_label_text(f"{described.name}, in percent" if described.percent else described.name)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _training_sentences(reports: Sequence[EvalReport], task: str, metric: str) -> str:
    """Return `training_notes` as sentences that follow a caption."""
    found = [dict(enumerate(report.select(task=task, metric=metric))) for report in reports]
    return "".join(f" {note}" for note in training_notes(reports, found))
