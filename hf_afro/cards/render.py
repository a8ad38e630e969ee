"""From reports and facts to a model card: Markdown with front matter, no number in it that they do not hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from hf_afro.cards.citations import EVALUATION_SETS, METHODS, Citation
from hf_afro.cards.facts import CardFacts
from hf_afro.cards.limits import admitted_limits
from hf_afro.cards.metadata import card_metadata
from hf_afro.cards.numbers import unexplained_numbers
from hf_afro.cards.use import use_of
from hf_afro.languages import find_language
from hf_afro.reports import EvalReport
from hf_afro.reports.formatting import DASH, format_count, format_fact, task_name, tasks_in
from hf_afro.reports.tables import Cell, Table, comparison_tables, removed_table, size_table

OWN_CLASSES = "afro-student"
"""The model type that transformers knows only once hf_afro was imported."""


_KINDS = {
    "token-classification": "classifier of words",
    "text-classification": "classifier of texts",
    "sentence-similarity": "sentence encoder",
    "question-answering": "question-answering model",
}


def render_card(reports: Sequence[EvalReport], facts: CardFacts | None = None) -> str:
    """Return a model card.

    Args:
        reports: That of the model itself, then those of the models it is compared with.
        facts: What is to be said beside the scores; by default what the first report alone tells.

    Returns:
        Markdown with YAML front matter; the same reports and facts give the same text.

    Raises:
        ValueError: If there is no report, or two have the same name.
        RuntimeError: If the card holds a number that neither reports nor facts explain, which is a fault of ours.
    """
    names = [report.name for report in reports]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"a card needs one report or more, each with a name of its own; received {names}")
    own = reports[0]
    facts = facts or CardFacts.of_report(own)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hf_afro.cards"),
        # Markdown, not HTML: the filter `plain` takes care of what means something there.
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(plain=plain, fact=format_fact)
    card = environment.get_template("card.md").render(
        metadata=card_metadata(own, facts).to_yaml(),
        facts=facts,
        own=own,
        others=names[1:],
        set_otherwise=[report.name for report in reports if report.settings != own.settings],
        methods=[METHODS[method] for method in facts.methods],
        loading=_loading(own, facts),
        use=(use := use_of(own, facts)),
        kind=_KINDS.get(use.pipeline, "encoder"),
        languages=_as_markdown(_language_table(own, facts), words=True) if facts.languages else "",
        vocabulary=_as_markdown(_vocabulary_table(facts.vocabulary)) if facts.vocabulary else "",
        removed=_as_markdown(removed_table(facts.removed)) if facts.removed else "",
        tables=[(table.title, _as_markdown(table)) for table in (size_table(reports), *comparison_tables(reports))],
        evaluation=_settings(own),
        limits=admitted_limits(own, facts),
        citations=_citations(reports, facts),
    )
    card = re.sub(r"\n{3,}", "\n\n", card).rstrip() + "\n"
    unexplained = unexplained_numbers(card, reports, facts)
    if unexplained:
        raise RuntimeError(f"the card of {facts.model_name} holds numbers that no report or fact has: {unexplained}")
    return card


def plain(value: object) -> str:
    """Return text on one line in which nothing means anything to Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>|#&])", r"\\\1", " ".join(str(value).split()))


def _loading(own: EvalReport, facts: CardFacts) -> dict[str, Any]:
    return {
        "name": facts.model_name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " "),
        "own_classes": own.model.get("model_type") == OWN_CLASSES,
    }


def _as_markdown(table: Table, *, words: bool = False) -> str:
    """A table of GitHub's Markdown, numbers to the right, the best of a row in bold, and its notes."""
    rule = "---" if words else "---:"
    lines = [[plain(name) for name in table.header], ["---", *[rule] * (len(table.header) - 1)]]
    lines += [[f"**{plain(cell.text)}**" if cell.best else plain(cell.text) for cell in row] for row in table.rows]
    notes = "".join(f"\n\n{plain(note)}" for note in table.notes)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + notes


def _language_table(own: EvalReport, facts: CardFacts) -> Table:
    """Every language with what it was measured on, and how much of it was trained on where that was recorded."""
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
    return Table("Languages", tuple(header), tuple(rows))


def _vocabulary_table(vocabulary: Mapping[str, Mapping[str, Any]]) -> Table:
    """What pruning kept of each language; figures that one of them lacks are a dash."""
    names = list(dict.fromkeys(name for figures in vocabulary.values() for name in figures))
    rows = [
        (Cell(find_language(code).name), *(Cell(format_fact(name, figures.get(name))) for name in names))
        for code, figures in vocabulary.items()
    ]
    return Table("Vocabulary", ("language", *names), tuple(rows))


def _settings(own: EvalReport) -> list[tuple[str, str]]:
    """The settings of the evaluation, those that are alike said once: ``("ner (hau, swa)", "epochs 20, …")``."""
    alike: dict[tuple[str, str], list[str]] = {}
    for key, settings in own.settings.items():
        task, _, language = key.partition("/")
        pairs = settings.items() if isinstance(settings, Mapping) else [("", settings)]
        said = ", ".join(f"{name} {format_fact(name, value)}".strip() for name, value in pairs if value is not None)
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
