"""Tables made of evaluation reports: models side by side, sizes, intervals, transfer, languages, lines dropped."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
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
    known_language,
    language_name,
    metrics_in,
    order_metrics,
    shown_metrics,
    task_name,
    tasks_in,
)
from hf_afro.reports.tables import Cell, Table
from hf_afro.tasks import MEASURED

SIZES = ("parameters", "bytes_on_disk", "vocab_size", "layers", "hidden_size", "embedding_size")
"""Facts about a model that come first in the table of sizes; other numbers follow."""

Example = tuple[str, str, str]
"""Language, dataset and split: what a row of a comparison is measured on."""

TransferMatrix = Mapping[tuple[str, str], Score]
"""Scores by the language trained on (several joined by `+`) and the language measured on."""

_NAMED = 3  # a row that was trained on more languages only says how many


def comparison_table(reports: Sequence[EvalReport], task: str, metric: str | None = None) -> Table:
    """Compare models by one metric of one task: one row per language, one column per model.

    Args:
        reports: The models, in the order of the columns.
        task: A task such as `ner` or `bits_per_byte`.
        metric: A metric such as `entity_f1`; by default the main metric of the task.

    Returns:
        The table. Cells hold the mean and the standard deviation over the seeds. The best of a row is marked if at
        least two models were measured on the same examples. The last row is the mean over the examples that all
        models of the table were measured on.

    Raises:
        ValueError: If no report has a score of the task and metric.
    """
    measured = metrics_in(reports, task)
    metric = metric or (measured[0] if measured else "")
    if metric not in measured:
        known = [f"{by!r} of {one!r}" for one in tasks_in(reports) for by in metrics_in(reports, one)]
        raise ValueError(
            f"no report has {repr(metric) if metric else 'a score'} of {task!r}; expected one of {', '.join(known)}"
        )
    found = _scores(reports, task, metric)
    examples = sorted({one for scores in found for one in scores}, key=lambda one: (language_name(one[0]), one))
    one_set_per_language = len({language for language, _, _ in examples}) == len(examples)
    footnotes: list[str] = []
    rows = []
    for example in examples:
        scores = [one.get(example) for one in found]
        language = language_name(example[0])
        label = language if one_set_per_language else f"{language}, {' '.join(example[1:])}"
        sizes = sorted({score.n for score in scores if score is not None})
        cells = _cells(reports, scores, metric, language, footnotes)
        rows.append((Cell(label), Cell(" / ".join(map(format_count, sizes))), *cells))
    if (mean := _mean_row(found, examples, metric)) is not None:
        rows.append(mean)
    return Table(
        task_heading(task, metric),
        ("language", "n", *(report.name for report in reports)),
        tuple(rows),
        (
            _general_note([score for scores in found for score in scores.values()], metric),
            *training_notes(reports, found),
            *(f"[{number}] {note}" for number, note in enumerate(footnotes, 1)),
        ),
    )


def comparison_tables(reports: Sequence[EvalReport]) -> tuple[Table, ...]:
    """Return one comparison per task that was measured, by its main metric, and by what that loses on changed text."""
    return tuple(
        comparison_table(reports, task, metric)
        for task in tasks_in(reports)
        for metric in shown_metrics(reports, task)
    )


def other_tables(reports: Sequence[EvalReport]) -> tuple[Table, ...]:
    """Return the comparisons by the metrics other than the main one, such as precision and recall."""
    return tuple(
        comparison_table(reports, task, metric)
        for task in tasks_in(reports)
        for metric in metrics_in(reports, task)
        if metric not in shown_metrics(reports, task)
    )


def interval_tables(reports: Sequence[EvalReport]) -> tuple[Table, ...]:
    """Return the bootstrap intervals of the main metric of each task, and of what it loses on changed text."""
    tables = []
    shown = [(task, metric) for task in tasks_in(reports) for metric in shown_metrics(reports, task)]
    for task, metric in shown:
        found = _scores(reports, task, metric)
        examples = sorted({example for scores in found for example, score in scores.items() if score.interval})
        rows = tuple(
            (Cell(f"{language_name(one[0])}, {one[1]}"), *(Cell(_interval(scores.get(one))) for scores in found))
            for one in examples
        )
        if rows:
            title = f"{task_name(task)}, {describe_metric(metric).name}: 95 % intervals"
            note = "Bootstrap over the examples, of the mean over the seeds."
            header = ("language", *(report.name for report in reports))
            tables.append(Table(title, header, rows, (note, *training_notes(reports, found))))
    return tuple(tables)


def common_mean(reports: Sequence[EvalReport], task: str, metric: str) -> tuple[int, list[float | None]]:
    """Average each model over the examples shared by all models that have a score of the task.

    Returns:
        The number of shared languages or sets, and the mean of each report; None for a report without such a score,
        or if nothing is shared.
    """
    return _common_mean(_scores(reports, task, metric))


def size_table(reports: Sequence[EvalReport]) -> Table:
    """Return the sizes of the models: parameters, bytes on disk, vocabulary, layers and all other known numbers."""
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
    notes = ("1 MB is a million bytes.",) if any("bytes" in name for name in columns) else ()
    return Table("Size", ("model", *(name.replace("_", " ") for name in columns)), rows, notes)


def removed_table(removed: Mapping[str, Mapping[str, int]]) -> Table:
    """Count the lines that were read and dropped: one row per language, one column per reason, and sums.

    Args:
        removed: ``{language: {reason: lines}}``.
    """
    reasons = list(dict.fromkeys(reason for counts in removed.values() for reason in counts))
    rows = [
        (
            Cell(language_name(language)),
            *(Cell(format_count(counts[reason]) if reason in counts else DASH) for reason in reasons),
        )
        for language, counts in removed.items()
    ]
    if len(removed) > 1:
        sums = [sum(counts.get(reason, 0) for counts in removed.values()) for reason in reasons]
        rows.append((Cell("all"), *(Cell(format_count(total)) for total in sums)))
    return Table("Lines read and dropped", ("language", *reasons), tuple(rows))


def language_table(reports: Sequence[EvalReport], more: Iterable[str] = ()) -> Table:
    """Return the languages of the reports and `more`: name, tag, scripts, and the tasks each was measured on."""
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
    header = ("language", "ISO 639-3", "tag", "scripts", "measured on")
    return Table("Languages covered", header, tuple(rows), words=True)


def transfer_tasks(report: EvalReport) -> tuple[tuple[str, str], ...]:
    """Return the tasks with transfer scores, each with its main metric."""
    tasks = dict.fromkeys(score.task for score in report.transfer)
    metrics = {task: [score.metric for score in report.transfer if score.task == task] for task in tasks}
    return tuple((task, order_metrics(task, own)[0]) for task, own in metrics.items())


def transfer_matrix(report: EvalReport, task: str, metric: str) -> TransferMatrix:
    """Return the scores on other languages, with those on the languages trained on."""
    own = {(score.trained_on, score.language): score for score in report.select(task=task, metric=metric)}
    other = {
        (score.source, score.language): score
        for score in report.transfer
        if (score.task, score.metric) == (task, metric)
    }
    sources = {source for source, _ in other}
    return {**{pair: score for pair, score in own.items() if pair[0] in sources}, **other}


def transfer_sides(matrix: TransferMatrix) -> tuple[list[str], list[str]]:
    """Return the rows and columns of a matrix in order: languages trained on, and languages measured on."""
    sources = sorted({source for source, _ in matrix}, key=lambda source: ("+" in source, source_name(source)))
    targets = {target for _, target in matrix}
    known = dict.fromkeys(code for source in sources for code in source.split("+") if code in targets)
    return sources, [*known, *sorted(targets - set(known))]


def source_name(source: str) -> str:
    """Return the row label of what was trained on: the language's name and code, or the codes of several."""
    codes = source.split("+")
    if len(codes) == 1:
        return language_name(source)
    return f"{', '.join(codes)} together" if len(codes) <= _NAMED else f"{len(codes)} languages together"


def transfer_table(report: EvalReport, task: str, metric: str) -> Table:
    """Return one row per language trained on, one column per language measured on, and the mean over the others."""
    matrix = transfer_matrix(report, task, metric)
    sources, targets = transfer_sides(matrix)
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
            f"{unit}Each row was trained only on the language that names it.",
            *training_notes([report], [matrix]),
            *(f"{source_name(source)}: {source.replace('+', ', ')}." for source in sources if "+" in source),
            *(f"[{number}] {note}" for number, note in enumerate(notes, 1)),
        ),
    )


def transfer_tables(reports: Sequence[EvalReport]) -> tuple[Table, ...]:
    """Return the transfer tables of all models that have any."""
    return tuple(transfer_table(report, *pair) for report in reports for pair in transfer_tasks(report))


def task_heading(task: str, metric: str) -> str:
    """Return the names of a task and a metric; one name if both are the same."""
    return task_name(task) if task == metric else f"{task_name(task)}, {describe_metric(metric).name}"


def training_notes(reports: Sequence[EvalReport], found: Sequence[Mapping[Any, Score]]) -> list[str]:
    """Say which models were trained on several languages jointly."""
    notes = []
    for report, scores in zip(reports, found, strict=True):
        together = {score.together for score in scores.values()} - {()}
        notes += [f"{report.name}: trained jointly on {', '.join(codes)}." for codes in sorted(together)]
    return notes


def _scores(reports: Sequence[EvalReport], task: str, metric: str) -> list[dict[Example, Score]]:
    """Return the scores of each report by what they were measured on."""
    return [
        {(score.language, score.dataset, score.split): score for score in report.select(task=task, metric=metric)}
        for report in reports
    ]


def _common_mean(found: Sequence[Mapping[Example, Score]]) -> tuple[int, list[float | None]]:
    having = [scores for scores in found if scores]
    shared = [
        example
        for example in (having[0] if having else ())
        if all(example in scores for scores in having) and len({scores[example].fingerprint for scores in having}) == 1
    ]
    means = [statistics.fmean(scores[one].mean for one in shared) if scores and shared else None for scores in found]
    return len(shared), means


def _interval(score: Score | None) -> str:
    if score is None or score.interval is None:
        return DASH
    return " to ".join(format_value(score.metric, end) for end in score.interval)


def _cells(
    reports: Sequence[EvalReport], scores: Sequence[Score | None], metric: str, language: str, footnotes: list[str]
) -> list[Cell]:
    """Return the score cells of a row, and add notes on them to the footnotes."""
    present = [score for score in scores if score is not None]
    same_examples = len({score.fingerprint for score in present}) == 1
    best = _best([score.mean for score in present], metric) if same_examples else None
    marks = ""
    if not same_examples:
        footnotes.append(f"{language}: the models were measured on different examples, so none is marked.")
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
        cells.append(Cell(text, format_value(metric, score.mean) == best))
    return cells


def _best(means: Sequence[float], metric: str) -> str | None:
    """Return the best value as it is written, so that equal texts are marked alike; None if all are equal."""
    higher_is_better = describe_metric(metric).higher_is_better
    if higher_is_better is None or len({format_value(metric, mean) for mean in means}) == 1:
        return None
    return format_value(metric, max(means) if higher_is_better else min(means))


def _mean_row(
    found: Sequence[Mapping[Example, Score]], examples: Sequence[Example], metric: str
) -> tuple[Cell, ...] | None:
    count, means = _common_mean(found)
    if len(examples) < 2 or not count:
        return None
    best = _best([mean for mean in means if mean is not None], metric)
    texts = [DASH if mean is None else format_value(metric, mean) for mean in means]
    return Cell(f"mean of {count}"), Cell(""), *(Cell(text, text == best) for text in texts)


def _general_note(scores: Sequence[Score], metric: str) -> str:
    described = describe_metric(metric)
    notes = []
    if described.percent:
        notes.append("In percent.")
    if described.higher_is_better is False:
        notes.append("Lower is better.")
    if seeds := describe_seeds(scores):
        several = any(score.spread is not None for score in scores)
        notes.append(f"Mean{' ± standard deviation' if several else ''} over {seeds}.")
    splits = ", ".join(sorted({score.split for score in scores}))
    kind = MEASURED.get(scores[0].task)
    notes.append(f"Split: {splits}; n: {kind.counted if kind else 'examples'}.")
    return " ".join(notes)
