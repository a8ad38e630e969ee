"""The tables that `hf-afro evaluate` prints: a row a language, their mean, the interval, and what collapsed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hf_afro.cli.output import say
from hf_afro.cli.table import format_table

if TYPE_CHECKING:
    from hf_afro.reports import EvalReport, Score

BITS_PER_BYTE = "bits_per_byte"
_ENTITIES = ("entity_f1", "entity_precision", "entity_recall")
_CLASSES = ("weighted_f1", "macro_f1", "accuracy")
_BY_ACCURACY = ("accuracy", "macro_f1", "weighted_f1")
# What the table shows of a task, the main metric first; the report has more.
SHOWN = {
    "ner": _ENTITIES,
    "pos": _BY_ACCURACY,
    "topic": _CLASSES,
    "sentiment": _CLASSES,
    "nli": _BY_ACCURACY,
    "spans": _ENTITIES,
    "tags": _BY_ACCURACY,
    "texts": _CLASSES,
    "pairs": _BY_ACCURACY,
    BITS_PER_BYTE: (BITS_PER_BYTE,),
}


@contextmanager
def told_runs() -> Iterator[Callable[[str, int, int], None]]:
    """Give what tells how far the runs are: one bar for all of them on a terminal, a line a run elsewhere."""
    if not sys.stdout.isatty():
        yield lambda what, done, total: say(f"{done} of {total}: {what}")
        return
    from tqdm import tqdm

    with tqdm(file=sys.stdout, bar_format="{bar:30} {n_fmt} of {total_fmt}: {desc}") as bar:

        def tell(what: str, done: int, total: int) -> None:
            bar.total, bar.n = total, done
            bar.set_description_str(what)

        yield tell


def show(report: EvalReport) -> None:
    """Print the tables; F1 and accuracy in hundredths."""
    tasks = list(dict.fromkeys(score.task for score in report.scores))
    for task in tasks:
        if len(tasks) > 1:
            say(f"\n{task}")
        for codes in dict.fromkeys(score.together for score in report.select(task=task) if score.together):
            say(f"trained at once on {', '.join(codes)}")
        _show_task(report, task)
    for task in dict.fromkeys(score.task for score in report.transfer):
        _show_transfer(report, task)
    if "latency_ms" in report.model:
        say(
            f"\n{report.model['latency_ms']:.1f} ms a sentence alone, {report.model['sentences_per_second']:.1f} "
            f"sentences a second in batches of 32 ({report.model['measured_device']}, "
            f"{report.model['measured_threads']} threads)"
        )


def _show_task(report: EvalReport, task: str) -> None:
    metrics = SHOWN[task]
    scale = 1 if task == BITS_PER_BYTE else 100
    first = report.select(task=task, metric=metrics[0])
    rows: list[list[object]] = []
    for score in first:
        by_metric = {other.metric: other for other in report.select(task=task, language=score.language)}
        spread = None if score.spread is None else scale * score.spread
        means = (scale * by_metric[metric].mean for metric in metrics)
        rows.append([score.language, score.n, *means, spread, _interval(score), _note(score)])
    if len(first) > 1:
        every = (report.mean(task, metric) for metric in metrics)
        note = "collapsed runs are in it" if any(score.collapsed for score in first) else ""
        rows.append(["mean", None, *(None if mean is None else scale * mean for mean in every), None, "", note])
    header = ["language", "words" if task == BITS_PER_BYTE else "examples", *metrics, "spread", "95 %", ""]
    say(format_table(header, rows))


def _interval(score: Score) -> str:
    return "" if score.interval is None else f"{100 * score.interval[0]:.1f} to {100 * score.interval[1]:.1f}"


def _note(score: Score) -> str:
    sound = score.sound_mean
    return score.note if sound is None else f"{score.note}; {100 * sound:.2f} without"


def _show_transfer(report: EvalReport, task: str) -> None:
    """A row a language trained on, a column one measured on, by the main metric."""
    metric = SHOWN[task][0]
    scores = [score for score in report.transfer if (score.task, score.metric) == (task, metric)]
    own = {(score.trained_on, score.language): score for score in report.select(task=task, metric=metric)}
    cells = {**own, **{(score.source, score.language): score for score in scores}}
    sources = sorted({score.source for score in scores})
    targets = sorted({language for _, language in cells})
    rows: list[list[object]] = [
        [source, *(100 * cells[source, target].mean if (source, target) in cells else None for target in targets)]
        for source in sources
    ]
    say(f"\n{task}, {metric}: trained on the languages of the row, measured on that of the column")
    say(format_table(["trained on", *targets], rows))
    for score in scores:
        if score.note:
            say(f"{score.source} to {score.language}: {score.note}")
