"""The promise of a card, checked: every number in it is one of the reports or the facts, or is derived from them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from hf_afro.cards.facts import CardFacts
from hf_afro.cards.metadata import DIGITS
from hf_afro.reports import EvalReport
from hf_afro.reports.formatting import (
    format_count,
    format_fact,
    format_score,
    format_value,
    metrics_in,
    tasks_in,
)
from hf_afro.reports.published_sets import set_title
from hf_afro.reports.tables import common_mean

_FENCED = re.compile(r"^```.*?^```$", re.M | re.S)
_FOOTNOTE = re.compile(r"\\?\[\d+\\?\]")  # in a table of Markdown its brackets are escaped
# A number that stands by itself: the digits of F1, of a name such as base-70k or of a version do not.
_NUMBER = re.compile(r"(?<![\w.,-])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w-]|[.,]\d)")


def numbers_in(text: str) -> list[str]:
    """Return the numbers of a text as they are written, without those of blocks of code and marks of footnotes."""
    return _NUMBER.findall(_FOOTNOTE.sub(" ", _FENCED.sub(" ", text)))


def unexplained_numbers(card: str, reports: Sequence[EvalReport], facts: CardFacts) -> list[str]:
    """Return the numbers of a card that neither the reports nor the facts explain; an honest card has none.

    A number is explained when it is found anywhere among them, so one that stands in the wrong place is not noticed:
    that tables hold the right ones is for their own tests.

    Args:
        card: As rendered.
        reports: That it was rendered from.
        facts: That it was rendered from.
    """
    explained = {number for text in _said(reports, facts) for number in (text, *numbers_in(text))}
    return [number for number in numbers_in(card) if number not in explained]


def _said(reports: Sequence[EvalReport], facts: CardFacts) -> Iterator[str]:
    """Everything that may be said of the figures, in every way it may be written."""
    for value in (asdict(facts), *(asdict(report) for report in reports)):
        yield from _leaves("", value)
    yield format_count(len(facts.languages))
    yield format_count(sum(facts.tokens_seen.values()))
    reasons = {reason for counts in facts.removed.values() for reason in counts}
    for reason in reasons:
        yield format_count(sum(counts.get(reason, 0) for counts in facts.removed.values()))
    for report in reports:
        for score in report.scores:
            # The name of a set may hold a number, as MasakhaNER 2.0 does.
            yield from (
                set_title(score.dataset),
                format_score(score),
                str(len(score.seeds)),
                str(round(score.mean, DIGITS)),
            )
            if score.spread is not None:
                yield str(round(score.spread, DIGITS))
            if score.sound_mean is not None:
                yield format_value(score.metric, score.sound_mean)
    for task in tasks_in(reports):
        for metric in metrics_in(reports, task):
            count, means = common_mean(reports, task, metric)
            yield str(count)
            yield from (format_value(metric, mean) for mean in means if mean is not None)


def _leaves(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield str(key)
            yield from _leaves(str(key), one)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for one in value:
            yield from _leaves(name, one)
    else:
        yield str(value)
        yield format_fact(name, value)
