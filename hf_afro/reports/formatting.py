"""How a figure is written: names of tasks and metrics, which way is better, digits and units."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hf_afro.languages import Language, find_language
from hf_afro.reports.evaluation_report import EvalReport, Score

DASH = "–"
TASKS: dict[str, str] = {
    "ner": "Named entities",
    "topic": "News topics",
    "sentiment": "Sentiment",
    "bits_per_byte": "Bits a byte",
}
"""Name of each task, in the order of tables and cards."""

_OTHER_TASKS = {
    "pos": "Parts of speech",
    "nli": "Inference",
    "spans": "Spans",
    "tags": "Tags of words",
    "texts": "Classes of texts",
    "pairs": "Classes of pairs",
}
_BY_ACCURACY = ("pos", "nli", "tags", "pairs")


@dataclass(frozen=True)
class Metric:
    """How the values of a metric are read.

    Attributes:
        name: As in a heading, such as `entity F1`.
        higher_is_better: None where nobody has said.
        percent: Whether the value, in [0, 1], is shown times a hundred.
    """

    name: str
    higher_is_better: bool | None
    percent: bool


# In the order of preference: the first one that was measured of a task stands for it.
METRICS: dict[str, Metric] = {
    "entity_f1": Metric("entity F1", True, True),
    "weighted_f1": Metric("weighted F1", True, True),
    "macro_f1": Metric("macro F1", True, True),
    "accuracy": Metric("accuracy", True, True),
    "entity_precision": Metric("entity precision", True, True),
    "entity_recall": Metric("entity recall", True, True),
    "bits_per_byte": Metric("bits a byte", False, False),
    "bits_per_byte_restricted": Metric("bits a byte, restricted to the tokens kept", False, False),
}


def describe_metric(metric: str) -> Metric:
    """Return how a metric is read; one that is not in the table has no better side and is shown as it is."""
    base = metric.removesuffix("_deduplicated")
    if base != metric and base in METRICS:
        own = METRICS[base]
        return Metric(f"{own.name}, without what train has too", own.higher_is_better, own.percent)
    return METRICS.get(metric) or Metric(metric.replace("_", " "), None, False)


def tasks_in(reports: Iterable[EvalReport]) -> tuple[str, ...]:
    """Return the tasks that were measured, those of the table first, in its order."""
    found = dict.fromkeys(score.task for report in reports for score in report.scores)
    return (*(task for task in TASKS if task in found), *(task for task in found if task not in TASKS))


def metrics_in(reports: Iterable[EvalReport], task: str) -> tuple[str, ...]:
    """Return the metrics of a task that were measured, the one that stands for the task first."""
    return order_metrics(task, (score.metric for report in reports for score in report.select(task=task)))


def order_metrics(task: str, metrics: Iterable[str]) -> tuple[str, ...]:
    """Return metrics of a task each once, the one that stands for the task first."""
    found = dict.fromkeys(metrics)
    if task in _BY_ACCURACY and "accuracy" in found:
        return ("accuracy", *(metric for metric in order_metrics("", found) if metric != "accuracy"))
    return (*(metric for metric in METRICS if metric in found), *(one for one in found if one not in METRICS))


def task_name(task: str) -> str:
    """Return the name of a task for a heading."""
    return TASKS.get(task) or _OTHER_TASKS.get(task) or task.replace("_", " ").capitalize()


def language_name(code: str) -> str:
    """Return the English name of a language with its code behind; what was given where it is no ISO 639-3 code."""
    language = known_language(code)
    return f"{language.name} ({code})" if language else code


def known_language(code: str) -> Language | None:
    """Return the language of an ISO 639-3 code; None for what is none, such as several codes in one."""
    try:
        language = find_language(code)
    except ValueError:
        return None
    return language if language.iso639_3 == code else None


def format_value(metric: str, value: float) -> str:
    """Return one value: in percent with one decimal, bits a byte with three, others with four significant digits."""
    if describe_metric(metric).percent:
        return f"{100 * value:.1f}"
    return f"{value:.3f}" if metric.startswith("bits_per_byte") else f"{value:.4g}"


def format_score(score: Score) -> str:
    """Return the mean of a score, with the standard deviation over its seeds where there are several."""
    mean = format_value(score.metric, score.mean)
    return mean if score.spread is None else f"{mean} ± {format_value(score.metric, score.spread)}"


def format_count(value: int) -> str:
    """Return a whole number with its thousands apart."""
    return f"{value:,}"


def format_parameters(value: int) -> str:
    """Return a number of parameters: in millions with one decimal from a million up, whole below."""
    return f"{value / 1e6:,.1f} M" if value >= 1_000_000 else format_count(value)


def format_bytes(value: int) -> str:
    """Return a size in decimal megabytes with one decimal, in kilobytes under one megabyte."""
    return f"{value / 1e6:,.1f} MB" if value >= 1_000_000 else f"{value / 1e3:,.1f} kB"


def format_fact(name: str, value: object) -> str:
    """Return a fact about a model, read by its name: counts, bytes, shares and bits a byte in their units.

    Args:
        name: Such as `parameters`, `embedding_parameters`, `bytes_on_disk` or `hidden_size`.
        value: None is shown as a dash.
    """
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.startswith("share") and isinstance(value, int | float):
        # Never rounded up: what is just below a floor must not seem to reach it.
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
    """Say over how many seeds scores are, as `3 seeds` or `2 to 5 seeds`; empty where nothing was trained."""
    counts = sorted({len(score.seeds) for score in scores if score.seeds})
    if not counts:
        return ""
    few, many = counts[0], counts[-1]
    return f"{few} seed{'s' if few != 1 else ''}" if few == many else f"{few} to {many} seeds"
