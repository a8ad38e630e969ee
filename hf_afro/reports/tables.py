"""Tables of several models side by side, as text for a terminal and as HTML; what was not measured is a dash."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from hf_afro.reports.evaluation_report import EvalReport, Score
from hf_afro.reports.formatting import (
    DASH,
    describe_metric,
    describe_seeds,
    format_count,
    format_fact,
    format_score,
    format_value,
    language_name,
    metrics_in,
    task_name,
    tasks_in,
)

SIZES = ("parameters", "bytes_on_disk", "vocab_size", "layers", "hidden_size", "embedding_size")
"""Facts about a model that come first in the table of sizes; other numbers follow."""

Example = tuple[str, str, str]
"""What a row of a comparison is about: language, dataset, split."""


@dataclass(frozen=True)
class Cell:
    """One cell: its text, and whether it is the best of its row."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text under a header, the first column naming the row.

    Attributes:
        title: What the table shows.
        header: The names of the columns.
        rows: As many cells each.
        notes: What a reader must know, one sentence each.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.as_text()

    def as_text(self) -> str:
        """Return the table for a terminal: columns aligned, the best of a row with a star."""
        cells = [list(self.header), *([cell.text + "*" * cell.best for cell in row] for row in self.rows)]
        # A star hangs over the edge, so that numbers stay under one another.
        widths = [max(len(text.removesuffix("*")) for text in column) for column in zip(*cells, strict=True)]
        lines = [self.title, ""]
        for row in cells:
            line = row[0].ljust(widths[0])
            for text, width in zip(row[1:], widths[1:], strict=True):
                bare = text.removesuffix("*")
                line += "  " + bare.rjust(width) + ("*" if text != bare else " ")
            lines.append(line.rstrip())
        return "\n".join([*lines, *([""] if self.notes else []), *self.notes])

    def as_html(self) -> str:
        """Return the table as HTML, all text escaped, the best of a row in `<b>`."""
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in self.header)
        body = "".join(
            f'<tr><th scope="row">{escape(row[0].text)}</th>{"".join(map(_html_cell, row[1:]))}</tr>\n'
            for row in self.rows
        )
        notes = "".join(f'<p class="note">{escape(note)}</p>\n' for note in self.notes)
        return (
            f'<div class="scroll"><table>\n<caption>{escape(self.title)}</caption>\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n{notes}"
        )


def _html_cell(cell: Cell) -> str:
    return f"<td><b>{escape(cell.text)}</b></td>" if cell.best else f"<td>{escape(cell.text)}</td>"


def comparison_table(reports: Sequence[EvalReport], task: str, metric: str | None = None) -> Table:
    """Return one metric of one task: a row for each language, a column for each model.

    Args:
        reports: The models, in the order of the columns.
        task: Such as `ner` or `bits_per_byte`.
        metric: Such as `entity_f1`; by default the one that stands for the task.

    Returns:
        The table. Each cell is the mean with the standard deviation over the seeds. The best of a row is marked where
        two models or more were measured on the same examples; the last row is the mean over those examples that every
        model of the table was measured on.

    Raises:
        ValueError: If no report has a score of the task and metric.
    """
    measured = metrics_in(reports, task)
    metric = metric or (measured[0] if measured else "")
    if metric not in measured:
        known = [f"{one} by {by}" for one in tasks_in(reports) for by in metrics_in(reports, one)]
        raise ValueError(f"no report has {metric or 'a score'} of {task!r}; expected one of {', '.join(known)}")
    found = [{_example(score): score for score in report.select(task=task, metric=metric)} for report in reports]
    examples = sorted(
        {example for scores in found for example in scores}, key=lambda one: (language_name(one[0]), one)
    )
    one_set_a_language = len({language for language, _, _ in examples}) == len(examples)
    footnotes: list[str] = []
    rows = []
    for example in examples:
        scores = [one.get(example) for one in found]
        label = (
            language_name(example[0])
            if one_set_a_language
            else f"{language_name(example[0])}, {' '.join(example[1:])}"
        )
        cells = _cells(reports, scores, metric, language_name(example[0]), footnotes)
        rows.append((Cell(label), Cell(_shared_n(scores)), *cells))
    if (mean := _mean_row(found, examples, metric)) is not None:
        rows.append(mean)
    described = describe_metric(metric)
    title = task_name(task) if task == metric else f"{task_name(task)}, {described.name}"
    every = [score for scores in found for score in scores.values()]
    return Table(
        title,
        ("language", "n", *(report.name for report in reports)),
        tuple(rows),
        (
            *_general_notes(every, metric),
            *training_notes(reports, found),
            *(f"[{number}] {note}" for number, note in enumerate(footnotes, 1)),
        ),
    )


def comparison_tables(reports: Sequence[EvalReport]) -> tuple[Table, ...]:
    """Return a comparison for each task that was measured, by the metric that stands for it."""
    return tuple(comparison_table(reports, task) for task in tasks_in(reports))


def other_tables(reports: Sequence[EvalReport]) -> tuple[Table, ...]:
    """Return the comparisons by the metrics that do not stand for their task, such as precision and recall."""
    return tuple(
        comparison_table(reports, task, metric)
        for task in tasks_in(reports)
        for metric in metrics_in(reports, task)[1:]
    )


def interval_tables(reports: Sequence[EvalReport]) -> tuple[Table, ...]:
    """Return the bootstrap intervals of the metric that stands for each task, where there are any."""
    tables = []
    for task in tasks_in(reports):
        metric = metrics_in(reports, task)[0]
        found = [{_example(score): score for score in report.select(task=task, metric=metric)} for report in reports]
        examples = sorted({example for scores in found for example, score in scores.items() if score.interval})
        rows = tuple(
            (Cell(", ".join((language_name(one[0]), one[1]))), *(Cell(_interval(scores.get(one))) for scores in found))
            for one in examples
        )
        if rows:
            title = f"{task_name(task)}, {describe_metric(metric).name}: 95 % intervals"
            note = "By bootstrap over the examples, of the mean over the seeds."
            tables.append(
                Table(
                    title,
                    ("language", *(report.name for report in reports)),
                    rows,
                    (note, *training_notes(reports, found)),
                )
            )
    return tuple(tables)


def _interval(score: Score | None) -> str:
    if score is None or score.interval is None:
        return DASH
    return " to ".join(format_value(score.metric, end) for end in score.interval)


def common_mean(reports: Sequence[EvalReport], task: str, metric: str) -> tuple[int, list[float | None]]:
    """Return the mean of each model over the examples that all models with a score of the task share.

    Returns:
        Over how many languages or sets it is, and the mean of each report; None where it has no such score, or where
        nothing is shared.
    """
    found = [{_example(score): score for score in report.select(task=task, metric=metric)} for report in reports]
    shared = _shared(found)
    means = [statistics.fmean(scores[one].mean for one in shared) if scores and shared else None for scores in found]
    return len(shared), means


def size_table(reports: Sequence[EvalReport]) -> Table:
    """Return the sizes of the models: parameters, bytes on disk, vocabulary, layers and every other number known."""
    numbers = dict.fromkeys(
        name
        for report in reports
        for name, value in report.model.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    )
    columns = [*(name for name in SIZES if name in numbers), *(name for name in numbers if name not in SIZES)]
    rows = tuple(
        (Cell(report.name), *(Cell(format_fact(name, report.model.get(name))) for name in columns))
        for report in reports
    )
    notes = ("A megabyte is a million bytes.",) if any("bytes" in name for name in columns) else ()
    return Table("Size", ("model", *(name.replace("_", " ") for name in columns)), rows, notes)


def removed_table(removed: Mapping[str, Mapping[str, int]]) -> Table:
    """Return how many lines were read and taken out: a row for each language, a column for each reason, and sums.

    Args:
        removed: ``{language: {reason: lines}}``.
    """
    reasons = list(dict.fromkeys(reason for counts in removed.values() for reason in counts))
    rows = [
        (Cell(language_name(language)), *(Cell(_count(counts.get(reason))) for reason in reasons))
        for language, counts in removed.items()
    ]
    if len(removed) > 1:
        sums = [sum(counts.get(reason, 0) for counts in removed.values()) for reason in reasons]
        rows.append((Cell("all"), *(Cell(format_count(total)) for total in sums)))
    return Table("Lines read and taken out", ("language", *reasons), tuple(rows))


def _count(value: int | None) -> str:
    return DASH if value is None else format_count(value)


def _example(score: Score) -> Example:
    return score.language, score.dataset, score.split


def _shared(found: Sequence[Mapping[Example, Score]]) -> list[Example]:
    """The examples that every model which has any score was measured on, and that are the same for all of them."""
    having = [scores for scores in found if scores]
    return [
        example
        for example in (having[0] if having else ())
        if all(example in scores for scores in having) and len({scores[example].fingerprint for scores in having}) == 1
    ]


def _cells(
    reports: Sequence[EvalReport], scores: Sequence[Score | None], metric: str, language: str, footnotes: list[str]
) -> list[Cell]:
    """The scores of a row; notes on them are added to the footnotes."""
    present = [score for score in scores if score is not None]
    same_examples = len({score.fingerprint for score in present}) == 1
    best = _best([score.mean for score in present], metric) if same_examples and len(present) > 1 else None
    marks = ""
    if not same_examples:
        footnotes.append(f"{language}: the models were not measured on the same examples, so none is marked.")
        marks = f" [{len(footnotes)}]"
    cells = []
    for report, score in zip(reports, scores, strict=True):
        if score is None:
            cells.append(Cell(DASH))
            continue
        text = format_score(score) + marks
        if score.note:
            sound = score.sound_mean
            without = "" if sound is None else f"; {format_value(metric, sound)} without"
            footnotes.append(f"{report.name}, {language}: {score.note}{without}")
            text += f" [{len(footnotes)}]"
        cells.append(Cell(text, best is not None and format_value(metric, score.mean) == best))
    return cells


def _best(means: Sequence[float], metric: str) -> str | None:
    """The best value as it is written, so that values which read alike are marked alike; None where all do."""
    higher_is_better = describe_metric(metric).higher_is_better
    if higher_is_better is None or len({format_value(metric, mean) for mean in means}) == 1:
        return None
    return format_value(metric, max(means) if higher_is_better else min(means))


def _shared_n(scores: Sequence[Score | None]) -> str:
    sizes = sorted({score.n for score in scores if score is not None})
    return " / ".join(map(format_count, sizes))


def _mean_row(
    found: Sequence[Mapping[Example, Score]], examples: Sequence[Example], metric: str
) -> tuple[Cell, ...] | None:
    shared = _shared(found)
    if len(examples) < 2 or not shared:
        return None
    means = [statistics.fmean(scores[one].mean for one in shared) if scores else None for scores in found]
    present = [mean for mean in means if mean is not None]
    best = _best(present, metric) if len(present) > 1 else None
    texts = [DASH if mean is None else format_value(metric, mean) for mean in means]
    return (
        Cell(f"mean of {len(shared)}"),
        Cell(""),
        *(Cell(text, best is not None and text == best) for text in texts),
    )


def training_notes(reports: Sequence[EvalReport], found: Sequence[Mapping[Any, Score]]) -> list[str]:
    """Which models were trained on several languages at once, or over adapters of languages: not as the others are."""
    notes = []
    for report, scores in zip(reports, found, strict=True):
        together = {score.together for score in scores.values()} - {()}
        notes += [f"{report.name}: trained at once on {', '.join(codes)}." for codes in sorted(together)]
        if report.over_adapters and any(score.seeds for score in scores.values()):
            notes.append(f"{report.name}: over adapters of languages, the task's on top of them.")
    return notes


def _general_notes(scores: Sequence[Score], metric: str) -> list[str]:
    described = describe_metric(metric)
    notes = []
    if described.percent:
        notes.append("In percent.")
    if described.higher_is_better is False:
        notes.append("Lower is better.")
    if seeds := describe_seeds(scores):
        several = any(score.spread is not None for score in scores)
        notes.append(f"Mean{' ± standard deviation' if several else ''} over {seeds}.")
    splits = sorted({score.split for score in scores})
    notes.append(
        f"Measured on: {', '.join(splits)}; n: {'masked words' if metric.startswith('bits_per_byte') else 'examples'}."
    )
    return [" ".join(notes)]
