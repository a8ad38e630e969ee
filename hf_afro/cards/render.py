"""Rendering of model cards from reports and facts, and the check that they explain every number on the card."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import jinja2

from hf_afro.cards.card_facts import CardFacts
from hf_afro.cards.citations import EVALUATION_SETS, METHODS, Citation
from hf_afro.cards.limits import limits_of
from hf_afro.cards.metadata import DIGITS, card_metadata, use_of
from hf_afro.languages import find_language
from hf_afro.reports import EvalReport
from hf_afro.reports.formatting import (
    DASH,
    describe_metric,
    format_count,
    format_fact,
    format_score,
    format_value,
    metrics_in,
    task_name,
    tasks_in,
)
from hf_afro.reports.published_sets import set_title
from hf_afro.reports.score_tables import (
    common_mean,
    comparison_tables,
    removed_table,
    size_table,
    transfer_tables,
)
from hf_afro.reports.tables import Cell, Table, plain_markdown

OWN_CLASSES = "afro-student"
"""The model type that transformers knows only after `import hf_afro`."""

_KINDS = {
    "token-classification": "token classifier",
    "text-classification": "text classifier",
    "sentence-similarity": "sentence encoder",
    "question-answering": "question-answering model",
}
_FENCED = re.compile(r"^```.*?^```$", re.M | re.S)
_FOOTNOTE = re.compile(r"\\?\[\d+\\?\]")  # brackets are escaped in Markdown tables
# A number by itself, not the digits in F1, in a name such as base-70k, or in a version.
_NUMBER = re.compile(r"(?<![\w.,-])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w-]|[.,]\d)")


def render_card(reports: Sequence[EvalReport], facts: CardFacts | None = None, *, more: Sequence[Table] = ()) -> str:
    """Render a model card.

    Args:
        reports: The report of the model itself, then those of the models it is compared with.
        facts: Everything besides the scores; by default the facts in the first report.
        more: Further tables made of the models' predictions, such as the share of a teacher's score that is kept.

    Returns:
        Markdown with YAML front matter, the same for the same reports and facts.

    Raises:
        ValueError: If there is no report, or two have the same name.
        RuntimeError: If the card has a number that neither reports nor facts explain, which is a bug.
    """
    names = [report.name for report in reports]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"expected at least one report, each with a different name; received {names}")
    own = reports[0]
    facts = facts or CardFacts.of_report(own)
    more = (*transfer_tables([own]), *more)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hf_afro.cards"),
        # Markdown, not HTML: the filter `plain` escapes what has a meaning there.
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(plain=plain_markdown, fact=format_fact)
    card = environment.get_template("card.md").render(
        metadata=card_metadata(own, facts).to_yaml(),
        facts=facts,
        own=own,
        told=own.provenance.get("distillation"),
        start=own.provenance.get("start"),
        others=names[1:],
        set_otherwise=[report.name for report in reports if _set_otherwise(own, report)],
        methods=[METHODS[method] for method in facts.methods],
        loading=_loading(own, facts),
        use=(use := use_of(own, facts)),
        kind=_KINDS.get(use.pipeline, "encoder"),
        prompts=own.model.get("prompts", {}),
        default_prompt=own.model.get("default_prompt", ""),
        languages=_language_table(own, facts).as_markdown(heading=False) if facts.languages else "",
        vocabulary=_vocabulary_table(facts.vocabulary).as_markdown(heading=False) if facts.vocabulary else "",
        efficiency=_figures_table("weights", facts.efficiency).as_markdown(heading=False) if facts.efficiency else "",
        removed=removed_table(facts.removed).as_markdown(heading=False) if facts.removed else "",
        tables=[
            (table.title, table.as_markdown(heading=False))
            for table in (size_table(reports), *comparison_tables(reports), *more)
        ],
        evaluation=_settings(own),
        limits=limits_of(own, facts),
        citations=_citations(reports, facts),
    )
    card = re.sub(r"\n{3,}", "\n\n", card).rstrip() + "\n"
    unexplained = unexplained_numbers(card, reports, facts, more)
    if unexplained:
        raise RuntimeError(f"the card of {facts.model_name} has numbers that nothing explains: {unexplained}")
    return card


def numbers_in(text: str) -> list[str]:
    """Return the numbers in a text as written, without those in code blocks and footnote marks."""
    return _NUMBER.findall(_FOOTNOTE.sub(" ", _FENCED.sub(" ", text)))


def unexplained_numbers(
    card: str, reports: Sequence[EvalReport], facts: CardFacts, more: Sequence[Table] = ()
) -> list[str]:
    """Return the numbers on a card that neither the reports nor the facts explain.

    A number is explained if it occurs anywhere in them or is derived from them, so a number in the wrong place is not
    noticed.

    Args:
        card: The rendered card.
        reports: The reports it was rendered from.
        facts: The facts it was rendered from.
        more: The further tables it was rendered from.
    """
    tables = (table.as_markdown() for table in more)
    explained = {number for text in (*_explained(reports, facts), *tables) for number in (text, *numbers_in(text))}
    return [number for number in numbers_in(card) if number not in explained]


def _set_otherwise(own: EvalReport, other: EvalReport) -> bool:
    """Tell whether a setting that both models have differs; only a distilled one has those of a teacher."""
    if own.settings.keys() != other.settings.keys():
        return True
    pairs = ((own.settings[key], other.settings[key]) for key in own.settings)
    return any(
        any(first[name] != second[name] for name in first.keys() & second.keys())
        if isinstance(first, Mapping) and isinstance(second, Mapping)
        else first != second
        for first, second in pairs
    )


def _loading(own: EvalReport, facts: CardFacts) -> dict[str, Any]:
    return {
        "name": facts.model_name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " "),
        "own_classes": own.model.get("model_type") == OWN_CLASSES,
    }


def _language_table(own: EvalReport, facts: CardFacts) -> Table:
    """Return the languages with the tasks they were measured on, and the tokens trained on if recorded."""
    header = ["language", "code", "scripts", "measured on"]
    rows = []
    for code in facts.languages:
        language = find_language(code)
        tasks = [task_name(task).lower() for task in tasks_in([own]) if own.select(task=task, language=code)]
        row = [language.name, code, ", ".join(language.scripts), ", ".join(tasks) or "nothing"]
        if facts.tokens_seen:
            seen = facts.tokens_seen.get(code)
            row.insert(3, DASH if seen is None else format_count(seen))
        rows.append(tuple(Cell(text) for text in row))
    if facts.tokens_seen:
        header.insert(3, "tokens trained on")
    return Table("Languages", tuple(header), tuple(rows), words=True)


def _vocabulary_table(vocabulary: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return what pruning kept of each language."""
    return _figures_table("language", {find_language(code).name: figures for code, figures in vocabulary.items()})


def _figures_table(first: str, figures: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return a table with one row per entry, and a dash for missing figures; what all lack has no column."""
    held = [name for own in figures.values() for name, value in own.items() if value is not None]
    names = list(dict.fromkeys(held))
    rows = [(Cell(key), *(Cell(format_fact(name, own.get(name))) for name in names)) for key, own in figures.items()]
    return Table(first, (first, *names), tuple(rows))


def _settings(own: EvalReport) -> list[tuple[str, str]]:
    """Return the evaluation settings, those of several languages merged: ``("ner (hau, swa)", "epochs 20, …")``."""
    alike: dict[tuple[str, str], list[str]] = {}
    for key, settings in own.settings.items():
        task, _, language = key.partition("/")
        pairs = settings.items() if isinstance(settings, Mapping) else [("", settings)]
        said = ", ".join(
            f"{name} {format_fact(name, value)}".strip() for name, value in pairs if value not in (None, "")
        )
        alike.setdefault((task, said), []).append(language)
    return [
        (f"{task} ({', '.join(languages)})" if any(languages) else task, said)
        for (task, said), languages in alike.items()
    ]


def _citations(reports: Sequence[EvalReport], facts: CardFacts) -> list[Citation]:
    sets = dict.fromkeys(score.dataset.split("/")[0] for report in reports for score in report.scores)
    return [
        *(METHODS[one] for one in facts.methods),
        *(EVALUATION_SETS[one] for one in sets if one in EVALUATION_SETS),
    ]


def _explained(reports: Sequence[EvalReport], facts: CardFacts) -> Iterator[str]:
    """Yield all values of the reports and facts and those derived from them, in every form they are written in."""
    for value in (asdict(facts), *(asdict(report) for report in reports)):
        yield from _leaves("", value)
    yield from _leaves("", use_of(reports[0], facts).built_from)
    yield format_count(len(facts.languages))
    yield format_count(sum(facts.tokens_seen.values()))
    reasons = {reason for counts in facts.removed.values() for reason in counts}
    for reason in reasons:
        yield format_count(sum(counts.get(reason, 0) for counts in facts.removed.values()))
    for report in reports:
        for score in report.scores:
            # The name of a set or metric may have a number, such as MasakhaNER 2.0 and accuracy at 1.
            yield from (
                set_title(score.dataset),
                describe_metric(score.metric).name,
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
