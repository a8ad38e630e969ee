"""Formatting of scores and facts: names of tasks and metrics, which way is better, digits and units."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hf_afro.languages import Language, find_language
from hf_afro.reports.evaluation_report import EvalReport, Score
from hf_afro.tasks import DROP, KINDS, MEASURED, PERTURBATIONS

DASH = "–"


@dataclass(frozen=True)
class Metric:
    """Format of the values of a metric.

    Attributes:
        name: The name in headings, such as `entity F1`.
        higher_is_better: None if unknown.
        percent: Whether the value, in [0, 1] or of a correlation in [-1, 1], is shown in percent.
    """

    name: str
    higher_is_better: bool | None
    percent: bool


# In the order of preference: the first one that was measured is the main metric of a task.
METRICS: dict[str, Metric] = {
    "entity_f1": Metric("entity F1", True, True),
    "weighted_f1": Metric("weighted F1", True, True),
    "macro_f1": Metric("macro F1", True, True),
    "accuracy": Metric("accuracy", True, True),
    "micro_f1": Metric("micro F1", True, True),
    "spearman": Metric("Spearman correlation", True, True),
    "pearson": Metric("Pearson correlation", True, True),
    "entity_precision": Metric("entity precision", True, True),
    "entity_recall": Metric("entity recall", True, True),
    "accuracy_at_1": Metric("accuracy at 1", True, True),
    "accuracy_at_1_from_language": Metric("accuracy at 1, from the language", True, True),
    "accuracy_at_1_into_language": Metric("accuracy at 1, into the language", True, True),
    "bits_per_byte": Metric("bits per byte", False, False),
    "bits_per_byte_restricted": Metric("bits per byte, restricted to the tokens kept", False, False),
}


def describe_metric(metric: str) -> Metric:
    """Return how a metric is shown; one that is not in `METRICS` is not ranked and is shown as it is."""
    base = metric.removesuffix("_deduplicated")
    if base != metric and base in METRICS:
        own = METRICS[base]
        return Metric(f"{own.name}, without examples that are in train", own.higher_is_better, own.percent)
    base, drop, perturbation = metric.partition(DROP)
    if drop and base in METRICS and perturbation in PERTURBATIONS:
        own = METRICS[base]
        return Metric(f"{own.name} lost {PERTURBATIONS[perturbation]}", False, own.percent)
    return METRICS.get(metric) or Metric(metric.replace("_", " "), None, False)


def tasks_in(reports: Iterable[EvalReport]) -> tuple[str, ...]:
    """Return the tasks that were measured, in the order of `hf_afro.tasks`; unknown ones last."""
    found = dict.fromkeys(score.task for report in reports for score in report.scores)
    known = (*KINDS, *MEASURED)
    return (*(task for task in known if task in found), *(task for task in found if task not in known))


def metrics_in(reports: Iterable[EvalReport], task: str) -> tuple[str, ...]:
    """Return the metrics of a task that were measured, the main one first."""
    return order_metrics(task, (score.metric for report in reports for score in report.select(task=task)))


def shown_metrics(reports: Iterable[EvalReport], task: str) -> tuple[str, ...]:
    """Return the main metric of a task, and how much lower it is on changed text where that was measured."""
    main, *others = metrics_in(reports, task)
    return (main, *(metric for metric in others if DROP in metric))


def order_metrics(task: str, metrics: Iterable[str]) -> tuple[str, ...]:
    """Return metrics of a task without repetition, the main one first."""
    found = dict.fromkeys(metrics)
    known = dict.fromkeys((*(KINDS[task].metrics if task in KINDS else ()), *METRICS))
    return (*(metric for metric in known if metric in found), *(one for one in found if one not in known))


def task_name(task: str) -> str:
    """Return the name of a task for headings."""
    kind = KINDS.get(task) or MEASURED.get(task)
    return kind.title if kind else task.replace("_", " ").capitalize()


def language_name(code: str) -> str:
    """Return a language as `Swahili (swa)`; anything that is not an ISO 639-3 code is returned unchanged."""
    language = known_language(code)
    return f"{language.name} ({code})" if language else code


def known_language(code: str) -> Language | None:
    """Return the language of an ISO 639-3 code; None for anything else, such as several codes joined."""
    try:
        language = find_language(code)
    except ValueError:
        return None
    return language if language.iso639_3 == code else None


def format_value(metric: str, value: float) -> str:
    """Format a value: percent with one decimal, bits per byte with three, others with four significant digits."""
    if describe_metric(metric).percent:
        return f"{100 * value:.1f}"
    return f"{value:.3f}" if metric.startswith("bits_per_byte") else f"{value:.4g}"


def format_score(score: Score) -> str:
    """Format the mean of a score, with the standard deviation if there are several seeds."""
    mean = format_value(score.metric, score.mean)
    return mean if score.spread is None else f"{mean} ± {format_value(score.metric, score.spread)}"


def format_count(value: int) -> str:
    """Format an integer with thousands separators."""
    return f"{value:,}"


def format_parameters(value: int) -> str:
    """Format a number of parameters: in millions with one decimal from a million up."""
    return f"{value / 1e6:,.1f} M" if value >= 1_000_000 else format_count(value)


def format_bytes(value: int) -> str:
    """Format a size in decimal megabytes with one decimal, or in kilobytes below one megabyte."""
    return f"{value / 1e6:,.1f} MB" if value >= 1_000_000 else f"{value / 1e3:,.1f} kB"


def format_fact(name: str, value: object) -> str:
    """Format a fact about a model in the unit that its name implies: parameters, bytes, shares, bits per byte.

    Args:
        name: A name such as `parameters`, `embedding_parameters`, `bytes_on_disk` or `hidden_size`.
        value: The value; None is shown as a dash.
    """
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.startswith("share") and isinstance(value, int | float):
        # Rounded down: a share just below a floor must not seem to reach it.
        return f"{math.floor(value * 10_000 + 1e-6) / 100:g} %"
    if isinstance(value, int):
        if name.endswith("parameters"):
            return format_parameters(value)
        return format_bytes(value) if "bytes" in name else format_count(value)
    if isinstance(value, float):
        return f"{value:.3f}" if name == "bits_per_byte" else f"{value:.4g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(format_fact(name, one) for one in value)
    return str(value)


def describe_seeds(scores: Sequence[Score]) -> str:
    """Return the number of seeds of scores, as `3 seeds` or `2 to 5 seeds`; empty if nothing was trained."""
    counts = sorted({len(score.seeds) for score in scores if score.seeds})
    if not counts:
        return ""
    few, many = counts[0], counts[-1]
    return f"{few} seed{'s' if few != 1 else ''}" if few == many else f"{few} to {many} seeds"
