"""The stages `report` and `card`: what was measured, shown, with how the models came about."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_afro.corpora.cleaning_report import READ, CleaningReport
from hf_afro.files import write_whole
from hf_afro.recipes import manifest
from hf_afro.recipes.recipe import Stage
from hf_afro.recipes.settings import SAMPLE, codes_of
from hf_afro.recipes.stages.context import HISTORY_FILE, StageContext
from hf_afro.recipes.stages.evaluation import read_reports
from hf_afro.recipes.stages.text import CLEANING, TRAIN

if TYPE_CHECKING:
    from hf_afro.cards import CardFacts
    from hf_afro.reports.page import Work

CARD_FILE = "README.md"
_PATHS = ("text", "folder", "model", "tokenizer")
_TRAIN_HEAD = ("teacher", "maft", "fit")
_METHODS = {"prune": "pruning", "maft": "maft"}
_OBJECTIVES = {"minilmv2": "minilmv2", "minilm": "minilm", "hybrid": "comet"}


def run_report(context: StageContext) -> dict[str, Any]:
    """Write the page: every table and plot of what was measured, and how the models came about."""
    from hf_afro.reports.page import write_page

    reports = list(read_reports(context.input("reports")).values())
    title = context.settings.title or context.recipe.name
    file = write_page(reports, context.folder, title=title, work=work_before(context))
    return {"file": file.name}


def work_before(context: StageContext) -> Work:
    """Return what was done before the models were measured, from the manifests of the stages."""
    from hf_afro.reports.page import Stage as PageStage, Work
    from hf_afro.vocabulary.mapping import MAP_FILE

    stages, losses = [], {}
    removed: dict[str, dict[str, int]] = {}
    curve: dict[str, Any] | None = None
    languages: dict[str, None] = {}
    for stage in context.recipe.upstream(context.stage):
        folder = context.root / stage.name
        facts = (manifest.read(folder) or {})["facts"]
        stages.append(
            PageStage(stage.name, settings=_shown(dataclasses.asdict(stage.settings)), sizes=_changes(facts))
        )
        if (folder / HISTORY_FILE).is_file():
            losses[stage.name] = json.loads((folder / HISTORY_FILE).read_text("utf-8"))
        if (folder / CLEANING).is_file():
            report = CleaningReport.load(folder / CLEANING)
            removed = _removed(report)
            languages |= dict.fromkeys(report.read)
        if (folder / MAP_FILE).is_file():
            curve = json.loads((folder / MAP_FILE).read_text("utf-8"))["provenance"].get("curve")
    return Work(
        stages=tuple(stages),
        languages=tuple(languages),
        removed=removed,
        curve=curve,
        losses=losses,
        provenance={"recipe": context.recipe.name, "description": context.recipe.description},
    )


def _changes(facts: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what a stage changed, before and after."""
    changes = {
        name: (facts[f"old_{name}"], facts[name]) for name in ("vocabulary", "parameters") if f"old_{name}" in facts
    }
    if facts.get("before") is not None and facts.get("after") is not None:
        changes[facts["figure"]] = (facts["before"], facts["after"])
    return changes


def _shown(settings: dict[str, Any]) -> dict[str, Any]:
    """Leave out what was not set, and the whole paths of folders, which say more of a machine than of the work."""
    return {
        name: _shown(value) if isinstance(value, dict) else Path(value).name if name in _PATHS else value
        for name, value in settings.items()
        if value not in (None, {}, ())
    }


def run_card(context: StageContext) -> dict[str, Any]:
    """Write the card of one model, beside those it was measured with, and the facts it was written from."""
    from hf_afro.cards import render_card
    from hf_afro.cards.use import use_of

    settings = context.settings
    reports = read_reports(context.input("reports"))
    models = context.recipe.stage(settings.reports).settings.models
    own = reports.pop(next(name for name, stage in models.items() if stage == settings.model))
    facts = card_facts(context)
    # The model itself knows better than the names of the stages: it may have no head, or an objective that trains it.
    facts = dataclasses.replace(facts, head=use_of(own, dataclasses.replace(facts, head="")).head or facts.head)
    facts.save(context.folder)
    write_whole(context.folder / CARD_FILE, render_card([own, *reports.values()], facts))
    return {"file": CARD_FILE}


def card_facts(context: StageContext) -> CardFacts:
    """Return what the stages that a model goes back to say of it."""
    from hf_afro.cards import CardFacts, TextSource

    settings = context.settings
    model = context.recipe.stage(settings.model)
    way = [*context.recipe.upstream(model), model]
    kinds = [stage.kind for stage in way]
    text = [stage for stage in way if stage.kind == "corpora"]
    bases = [stage.settings.model for stage in way if stage.kind == "base" and not Path(stage.settings.model).exists()]
    return CardFacts(
        model_name=settings.name or context.recipe.name,
        base_model=tuple(bases),
        from_scratch="teacher" in kinds,
        languages=_languages(context, way),
        licence=_licence(settings.license, bases),
        vocabulary=_vocabulary(context, way),
        text=tuple(
            TextSource("the sample text of hf_afro", licence="cc0-1.0")
            if stage.settings.text == SAMPLE
            else TextSource(Path(stage.settings.text).name)
            for stage in text
        ),
        methods=tuple(dict.fromkeys(method for stage in way if (method := _method(stage)) is not None)),
        head=_head(kinds),
        settings={stage.name: _shown(dataclasses.asdict(stage.settings)) for stage in way if stage.kind != "tasks"},
        removed=_removed(CleaningReport.load(context.root / text[-1].name / CLEANING)) if text else {},
        notice=settings.notice,
        provenance={"recipe": context.recipe.name},
    )


def _licence(given: str | None, bases: Sequence[str]) -> str | None:
    """Return the licence that the recipe gives, else that of the base model; refuse one that is not known."""
    from hf_afro.cards.licences import inherited_licence

    if given is not None:
        return given
    try:
        return inherited_licence(bases)
    except ValueError as error:
        raise ValueError(f"{error}; give the card's stage a `license`") from error


def _vocabulary(context: StageContext, way: list[Stage]) -> dict[str, dict[str, Any]]:
    """Return what the last pruning kept of each language."""
    from hf_afro.cards.facts import vocabulary_figures
    from hf_afro.vocabulary.mapping import MAP_FILE

    maps = [context.root / stage.name / MAP_FILE for stage in way if stage.kind == "prune"]
    return vocabulary_figures(json.loads(maps[-1].read_text("utf-8"))["provenance"]) if maps else {}


def _method(stage: Stage) -> str | None:
    """Return the name of the method that a card cites for a stage; None where it has none."""
    if stage.kind == "distill":
        return _OBJECTIVES[stage.settings.objective]
    return _METHODS.get(stage.kind)


def _languages(context: StageContext, way: list[Stage]) -> tuple[str, ...]:
    """Return the languages a model was trained on last, or cut to where it was not trained."""
    trained = [stage for stage in way if stage.kind in (*_TRAIN_HEAD, "distill")]
    readers = trained or [stage for stage in way if stage.kind == "count"]
    if not readers:
        return ()
    if readers[-1].settings.languages:
        return codes_of(readers[-1].settings.languages)
    folder = context.root / readers[-1].settings.text / TRAIN
    return tuple(sorted(path.stem for path in folder.glob("*.txt")))


def _head(kinds: list[str]) -> str:
    """Return what became of the masked-language-model head on the way through stages of these kinds."""
    distilled = "distill" in kinds
    since = itertools.takewhile(lambda kind: kind != "distill", reversed(kinds))
    if any(kind in _TRAIN_HEAD for kind in since):
        return "fitted_after_distillation" if distilled else "kept"
    return "untrained" if distilled else "not_trained_here"


def _removed(report: CleaningReport) -> dict[str, dict[str, int]]:
    return {code: {READ: report.read[code], **report.dropped.get(code, {})} for code in report.read}
