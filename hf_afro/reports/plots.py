"""Plots of a report, drawn by matplotlib as SVG: score against size, languages side by side, coverage, losses.

Text stays text, and the same figures always give the same bytes. Colours are written as variables with a value behind
them: a page may set the variables, as ours does for a dark background, and a file alone shows the values.
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
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from hf_afro.reports.evaluation_report import EvalReport
from hf_afro.reports.formatting import (
    describe_metric,
    format_count,
    format_parameters,
    format_value,
    language_name,
    task_name,
)
from hf_afro.reports.tables import common_mean, training_notes

# Okabe and Ito's colours, which the colour-blind can tell apart, darkened for a white ground. Marks differ too.
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
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so that the layout is the same everywhere
}
WIDTH = 5.0
"""Inches of every plot: a phone shows it at three quarters of its size, its text still legible."""
MISSED_LEAST = 1e-5
"""The coverage plot ends at 99.999 %; larger shares are drawn there."""
NAMED_LINES = 5
_COVERAGE_TICKS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999)


@dataclass(frozen=True)
class Figure:
    """A plot: its title, what it shows in a sentence, and the SVG."""

    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Cost:
    """Something that a score is plotted against, less being better.

    Attributes:
        fact: Its name among the facts of a model.
        title: Such as `size`, behind `against`.
        axis: What its axis is called.
        shown: Writes a value with its unit.
    """

    fact: str
    title: str
    axis: str
    shown: Callable[[float], str]


COSTS = (
    Cost("parameters", "size", "parameters", lambda value: f"{format_parameters(int(value))} parameters"),
    Cost("latency_ms", "latency", "milliseconds per sentence, one at a time", lambda value: f"{value:.1f} ms"),
)


@contextmanager
def axes_of(height: float) -> Iterator[Axes]:
    """Give the axes of a new plot of this height, in inches, in the style of all."""
    with matplotlib.rc_context(_STYLE):
        yield Canvas(figsize=(WIDTH, height), layout="constrained").add_subplot()


def as_svg(axes: Axes, description: str) -> str:
    """Return the SVG of a plot; `description` is for those who cannot see it. Called inside `axes_of`."""
    drawn = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # The salt makes identifiers the same in every run, and different in each plot of a page.
    with matplotlib.rc_context({"svg.hashsalt": description}):
        axes.figure.savefig(drawn, format="svg", transparent=True, metadata=no_metadata)  # type: ignore[union-attr]
    _, tag, content = re.split(r"(<svg[^>]*>)", drawn.getvalue(), maxsplit=1)
    tag = re.sub(r' (?:width|height)="[^"]*"', "", tag).replace(
        "<svg", f'<svg role="img" aria-label="{escape(description)}"'
    )
    svg = tag + re.sub(r'<g id="[^"]*"', "<g", content)  # names of groups, the same in every plot
    for value, name in _VARIABLES.items():
        svg = svg.replace(value, f"var(--{name},{value})")
    return svg


def size_plot(reports: Sequence[EvalReport], task: str, metric: str, cost: Cost = COSTS[0]) -> Figure | None:
    """Plot a score against what the models cost, with the front of those that no other model beats.

    Args:
        reports: The models.
        task: Such as `ner`.
        metric: Such as `entity_f1`.
        cost: What is plotted against; by default the number of parameters.

    Returns:
        The figure, of means over what all models were measured on; None where fewer than two models have both a score
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
    title = f"{_heading(task, metric)} against {cost.title}"
    told = ", ".join(f"{name} {format_value(metric, mean)} with {cost.shown(size)}" for size, mean, _, name in points)
    with axes_of(3.4) as axes:
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
            (axes.plot(size, mean, MARKS[series % len(MARKS)], color=colour(series), markersize=8)[0], name)
            for size, mean, series, name in points
        ]
        axes.set_xlim(min(size for size, *_ in points) / 1.5, largest)
        axes.margins(y=0.15)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short_count(value)))
        axes.set_xlabel(cost.axis)
        _label_metric(axes.yaxis, metric)
        _legend(axes, drawn)
        svg = as_svg(axes, f"{title}: {told}")
    caption = (
        f"Mean over {count} language{'s' * (count != 1)}. The dashed steps are the best that can be had at that "
        f"{cost.title} or below.{_how_trained(reports, task, metric)}"
    )
    return Figure(title, caption, svg)


def language_plot(reports: Sequence[EvalReport], task: str, metric: str) -> Figure | None:
    """Plot a metric by language: a row for each language, a mark for each model, a bar for the spread over seeds.

    Returns:
        The figure; None where nothing was measured.
    """
    scored = [report.select(task=task, metric=metric) for report in reports]
    rows = sorted({language_name(score.language) for scores in scored for score in scores})
    if not rows:
        return None
    described = describe_metric(metric)
    title = f"{_heading(task, metric)} by language"
    lane = 0.7 / len(reports)
    with axes_of(1.2 + len(rows) * max(0.25, 0.1 * len(reports))) as axes:
        drawn = []
        for series, (report, scores) in enumerate(zip(reports, scored, strict=True)):
            places = [
                rows.index(language_name(one.language)) + lane * (series - (len(reports) - 1) / 2) for one in scores
            ]
            bars = axes.errorbar(
                [one.mean for one in scores],
                places,
                xerr=[one.spread or 0.0 for one in scores],
                fmt=MARKS[series % len(MARKS)],
                color=colour(series),
                markersize=6,
            )
            drawn.append((bars, report.name))
        axes.set_yticks(range(len(rows)), rows)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        low, high = axes.get_xlim()
        if described.percent:
            axes.set_xlim(max(low, 0.0), min(high, 1.01))
        _label_metric(axes.xaxis, metric)
        _legend(axes, drawn)
        svg = as_svg(axes, title)
    caption = {True: "Further right is better.", False: "Further left is better.", None: ""}[
        described.higher_is_better
    ]
    if any(score.spread for scores in scored for score in scores):
        caption += " The bars are one standard deviation over the seeds to either side."
    return Figure(title, (caption + _how_trained(reports, task, metric)).strip(), svg)


def coverage_plot(curve: Mapping[str, Any]) -> Figure | None:
    """Plot which share of each language's running tokens smaller vocabularies would keep.

    Args:
        curve: ``{"budgets": [tokens], "coverage": {language: [share]}}``, as `VocabularyMap.provenance["curve"]`.

    Returns:
        The figure, the languages that lose most named; None where there are fewer than two budgets.
    """
    budgets, coverage = curve["budgets"], curve["coverage"]
    if len(budgets) < 2 or not coverage:
        return None
    # The worst over all budgets: at the last one all languages may have reached the same floor.
    named = sorted(coverage, key=lambda language: (sum(coverage[language]), language))[:NAMED_LINES]
    others = [language for language in coverage if language not in named]
    shares = [share for line in coverage.values() for share in line]
    highest = max(min(max(shares), 1 - MISSED_LEAST), 0.9)
    title = "Coverage of the vocabulary"
    with axes_of(3.6) as axes:
        # Even steps for 90 %, 99 %, 99.9 %: minus the decimal logarithm of what is missed.
        axes.set_yscale(
            "function",
            functions=(lambda share: -np.log10(np.maximum(1 - share, MISSED_LEAST)), lambda nines: 1 - 10.0**-nines),
        )
        drawn = []
        for language in [*others, *reversed(named)]:
            line = [min(share, highest) for share in coverage[language]]
            if language in named:
                curves = axes.plot(budgets, line, color=colour(named.index(language)))
                drawn.append((curves[0], language_name(language)))
            else:
                axes.plot(budgets, line, color=FAINT, linewidth=1)
        axes.set_xlim(0, max(budgets))
        axes.set_ylim(max(min(shares) - 0.02, 0.0), highest)
        axes.yaxis.set_major_locator(FixedLocator(_COVERAGE_TICKS))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short_count(value)))
        axes.set_xlabel("tokens in the vocabulary")
        axes.set_ylabel("running tokens kept")
        _legend(axes, drawn[::-1])
        svg = as_svg(axes, title)
    grey = f"The {len(named)} languages that lose most are named, {len(others)} others are grey. " if others else ""
    caption = (
        f"{grey}The scale is stretched towards 100 %, where vocabularies differ. "
        f"The largest one shown has {format_count(max(budgets))} tokens."
    )
    return Figure(title, caption, svg)


def loss_plot(history: Sequence[Mapping[str, Any]], stage: str) -> Figure | None:
    """Plot the losses that a trainer logged.

    Args:
        history: `trainer.state.log_history`: entries with `step` and, of those drawn here, `loss` or `eval_loss`.
        stage: What was trained, for the title.

    Returns:
        The figure; None where fewer than two losses were logged.
    """
    kinds = {"loss": "training", "eval_loss": "evaluation"}
    lines = {
        name: [(float(entry["step"]), float(entry[key])) for entry in history if _is_number(entry.get(key))]
        for key, name in kinds.items()
    }
    lines = {name: points for name, points in lines.items() if points}
    if sum(map(len, lines.values())) < 2:
        return None
    title = f"Loss: {stage}"
    with axes_of(3.2) as axes:
        drawn = []
        for series, (name, points) in enumerate(lines.items()):
            mark = MARKS[series] if len(points) <= 25 else ""
            curves = axes.plot(*zip(*points, strict=True), color=colour(series), marker=mark, markersize=4)
            drawn.append((curves[0], name))
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("steps")
        axes.set_ylabel("loss")
        _legend(axes, drawn)
        svg = as_svg(axes, title)
    return Figure(title, "", svg)


def colour(series: int) -> str:
    """Return the colour of a series."""
    return COLOURS[series % len(COLOURS)]


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (size, value) that no smaller or equal one beats, by size."""
    front: list[tuple[float, float]] = []
    for size, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or value > front[-1][1]:
            front.append((size, value))
    return front


def _legend(axes: Axes, drawn: Sequence[tuple[Any, str]]) -> None:
    """Name what was drawn above the plot, where the names hide nothing."""
    handles, names = zip(*drawn, strict=True)
    legend = axes.figure.legend(  # type: ignore[union-attr]
        handles, [""] * len(names), loc="outside upper left", ncols=min(len(names), 3)
    )
    # As labels, names that begin with an underscore would be left out, by matplotlib before 3.10 even here.
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)


def _label_metric(axis: Any, metric: str) -> None:
    described = describe_metric(metric)
    scale = 100 if described.percent else 1
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(scale * value, 9):g}"))
    axis.set_label_text(f"{described.name}, in percent" if described.percent else described.name)


def _heading(task: str, metric: str) -> str:
    return task_name(task) if task == metric else f"{task_name(task)}: {describe_metric(metric).name}"


def _short_count(value: float) -> str:
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _how_trained(reports: Sequence[EvalReport], task: str, metric: str) -> str:
    """Return what sets some models apart from the others, as sentences to put after a caption."""
    found = [dict(enumerate(report.select(task=task, metric=metric))) for report in reports]
    return "".join(f" {note}" for note in training_notes(reports, found))
