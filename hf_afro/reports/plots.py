"""The plots of a report: score against size, languages side by side, coverage of a vocabulary, training losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_afro.reports.evaluation_report import EvalReport
from hf_afro.reports.formatting import (
    describe_metric,
    format_count,
    format_parameters,
    format_score,
    format_value,
    language_name,
    task_name,
)
from hf_afro.reports.svg import (
    CHARACTER,
    GRID,
    SOFT,
    Scale,
    Sheet,
    colour,
    linear_ticks,
    log_ticks,
    padded,
)
from hf_afro.reports.tables import common_mean, training_notes

WIDTH = 480
"""Of every sheet: a phone shows it at three quarters of its size, its text still legible."""
LANE = 9
"""Height that each model has in the row of a language."""
MISSED_LEAST = 1e-5
"""The coverage plot ends at 99.999 %; what is nearer to all is drawn there."""
NAMED_LINES = 5


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
    shown: Any


COSTS = (
    Cost("parameters", "size", "parameters", lambda value: f"{format_parameters(int(value))} parameters"),
    Cost("latency_ms", "latency", "milliseconds a sentence alone", lambda value: f"{value:.1f} ms"),
)


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
    sheet = Sheet(WIDTH, 320)
    sizes = [size for size, *_ in points]
    x = Scale(min(sizes) / 1.5, max(sizes) * 1.5, 52, WIDTH - 14, math.log10)
    y = Scale(*padded([mean for _, mean, *_ in points], 0.15), 320 - 46, 34)
    sheet.up(y, linear_ticks(y.low, y.high), _axis(metric), x, _axis_name(metric))
    sheet.across(x, log_ticks(x.low, x.high), _short_count, y, cost.axis)
    better = -1 if describe_metric(metric).higher_is_better is False else 1
    front = _front([(size, better * mean) for size, mean, *_ in points])
    corners = []
    for (size, value), (following, _) in zip(front, [*front[1:], (x.high, 0.0)], strict=True):
        corners += [(size, better * value), (following, better * value)]
    sheet.line([(x(size), y(mean)) for size, mean in corners], stroke=SOFT, width=1.5, dash="4 3")
    places = []
    for size, mean, series, name in points:
        sheet.mark(x(size), y(mean), series, f"{name}: {format_value(metric, mean)} with {cost.shown(size)}", size=6)
        half = CHARACTER * len(name) / 2
        places.append((min(max(x(size), x.start + half), WIDTH - 4 - half), y(mean), half))
    for (*_, name), (middle, height) in zip(points, _apart(places), strict=True):
        sheet.text(middle, height, name, anchor="middle")
    title = f"{_heading(task, metric)} against {cost.title}"
    sets = f"Mean over {count} language{'s' * (count != 1)}"
    caption = f"{sets}. The dashed steps are the best that can be had at that {cost.title} or below."
    caption += _how_trained(reports, task, metric)
    told = ", ".join(f"{name} {format_value(metric, mean)} with {cost.shown(size)}" for size, mean, _, name in points)
    return Figure(title, caption, sheet.render(f"{title}: {told}"))


def language_plot(reports: Sequence[EvalReport], task: str, metric: str) -> Figure | None:
    """Plot a metric by language: a row for each language, a mark for each model, a bar for the spread over seeds.

    Returns:
        The figure; None where nothing was measured.
    """
    scored = [report.select(task=task, metric=metric) for report in reports]
    rows = sorted({language_name(score.language) for scores in scored for score in scores})
    if not rows:
        return None
    sheet = Sheet(WIDTH, 0)
    top = sheet.legend([report.name for report in reports], 4) + 12
    lanes = max(22, LANE * len(reports) + 8)
    bottom = top + lanes * len(rows)
    sheet.height = math.ceil(bottom + 44)
    left = 14 + CHARACTER * max(map(len, rows))
    reach = [score.mean + sign * (score.spread or 0) for scores in scored for score in scores for sign in (-1, 1)]
    low, high = padded(reach, 0.05)
    described = describe_metric(metric)
    x = Scale(max(low, 0.0), min(high, 1.01) if described.percent else high, left, WIDTH - 14)
    sheet.across(x, linear_ticks(x.low, x.high), _axis(metric), Scale(0, 1, bottom, top - 6), _axis_name(metric))
    places = {name: top + lanes * (row + 0.5) for row, name in enumerate(rows)}
    for name, place in places.items():
        sheet.line([(left, place + lanes / 2), (WIDTH - 14, place + lanes / 2)], stroke=GRID, dash="1 3")
        sheet.text(left - 8, place, name, anchor="end")
    for series, (report, scores) in enumerate(zip(reports, scored, strict=True)):
        for score in scores:
            place = places[language_name(score.language)] + LANE * (series - (len(reports) - 1) / 2)
            spread = score.spread or 0.0
            if spread:
                bar = [(x(score.mean - spread), place), (x(score.mean + spread), place)]
                sheet.line(bar, stroke=colour(series), width=2)
            title = f"{report.name}, {language_name(score.language)}, {score.dataset}: {format_score(score)}"
            sheet.mark(x(score.mean), place, series, title, size=4.5)
    title = f"{_heading(task, metric)} by language"
    direction = {True: "Further right is better.", False: "Further left is better.", None: ""}
    bars = any(score.spread for scores in scored for score in scores)
    bar_note = " The bars are one standard deviation over the seeds to either side." if bars else ""
    told = direction[described.higher_is_better] + bar_note + _how_trained(reports, task, metric)
    return Figure(title, told.strip(), sheet.render(title))


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
    # The worst on the way, since at the last budget all may have reached the same floor.
    named = sorted(coverage, key=lambda language: (sum(coverage[language]), language))[:NAMED_LINES]
    others = [language for language in coverage if language not in named]
    sheet = Sheet(WIDTH, 0)
    top = sheet.legend([language_name(language) for language in named], 4, marks=False) + 26
    sheet.height = math.ceil(top + 270)
    shares = [share for points in coverage.values() for share in points]
    least, most = min(shares), max(min(max(shares), 1 - MISSED_LEAST), 0.9)
    x = Scale(0, max(budgets), 70, WIDTH - 18)
    y = Scale(max(least - 0.02, 0.0), most, sheet.height - 46, top, _nines)
    ticks = [tick for tick in (0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999) if y.low <= tick <= y.high]
    sheet.up(y, ticks, lambda share: f"{100 * share:g} %", x, "running tokens kept")
    sheet.across(x, linear_ticks(0, max(budgets)), _short_count, y, "tokens in the vocabulary")
    for language in [*others, *reversed(named)]:
        line = [(x(budget), y(share)) for budget, share in zip(budgets, coverage[language], strict=True)]
        if language in named:
            sheet.line(line, stroke=colour(named.index(language)), width=2)
        else:
            sheet.line(line, stroke="var(--faint,#b6bfc9)", width=1.2)
    title = "Coverage of the vocabulary"
    grey = f"The {len(named)} languages that lose most are named, {len(others)} others are grey. " if others else ""
    caption = (
        f"{grey}The scale is stretched towards 100 %, where vocabularies differ. "
        f"The largest one shown has {format_count(max(budgets))} tokens."
    )
    return Figure(title, caption, sheet.render(title))


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
    steps = [step for points in lines.values() for step, _ in points]
    if len(steps) < 2:
        return None
    sheet = Sheet(WIDTH, 300)
    top = sheet.legend(list(lines), 4) + 26
    x = Scale(0, max(*steps, 1), 52, WIDTH - 18)
    y = Scale(*padded([loss for points in lines.values() for _, loss in points]), 300 - 46, top)
    sheet.up(y, linear_ticks(y.low, y.high), lambda loss: f"{loss:g}", x, "loss")
    sheet.across(x, linear_ticks(0, x.high), _short_count, y, "steps")
    for series, (name, points) in enumerate(lines.items()):
        sheet.line([(x(step), y(loss)) for step, loss in points], stroke=colour(series), width=2)
        for step, loss in points if len(points) <= 25 else ():
            sheet.mark(x(step), y(loss), series, f"{name}, step {step:g}: {loss:.4g}", size=3.5)
    title = f"Loss: {stage}"
    return Figure(title, "", sheet.render(title))


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no smaller or equal one beats, by size."""
    front: list[tuple[float, float]] = []
    for size, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or value > front[-1][1]:
            front.append((size, value))
    return front


def _apart(labels: Sequence[tuple[float, float, float]]) -> list[tuple[float, float]]:
    """Move labels up where they would lie on one another or on a mark.

    Args:
        labels: Middle and height of the mark, and half the width of its label, for each.

    Returns:
        Middle and height of each label.
    """
    taken = [(middle, mark, 8.0, 12.0) for middle, mark, _ in labels]
    placed: dict[int, tuple[float, float]] = {}
    for index in sorted(range(len(labels)), key=lambda one: -labels[one][1]):
        middle, mark, half = labels[index]
        height = mark - 13
        beside = [one for one in taken if abs(one[0] - middle) < one[2] + half]
        for _, other, _, least in sorted(beside, key=lambda one: -one[1]):
            if abs(other - height) < least:
                height = other - least
        taken.append((middle, height, half, 14.0))
        placed[index] = (middle, height)
    return [placed[index] for index in range(len(labels))]


def _nines(share: float) -> float:
    """Even steps for 90 %, 99 %, 99.9 %: minus the decimal logarithm of what is missed."""
    return -math.log10(max(1 - share, MISSED_LEAST))


def _heading(task: str, metric: str) -> str:
    return task_name(task) if task == metric else f"{task_name(task)}: {describe_metric(metric).name}"


def _axis(metric: str) -> Any:
    scale = 100 if describe_metric(metric).percent else 1
    return lambda value: f"{round(scale * value, 9):g}"


def _axis_name(metric: str) -> str:
    described = describe_metric(metric)
    return f"{described.name}, in percent" if described.percent else described.name


def _short_count(value: float) -> str:
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _how_trained(reports: Sequence[EvalReport], task: str, metric: str) -> str:
    """What sets some models apart from the others, as sentences behind a caption."""
    found = [dict(enumerate(report.select(task=task, metric=metric))) for report in reports]
    return "".join(f" {note}" for note in training_notes(reports, found))
