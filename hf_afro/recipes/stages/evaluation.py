"""The stage `evaluate`: models fine-tuned and measured on tasks, and measured in bits a byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_afro.recipes.settings import codes_of
from hf_afro.recipes.stages.context import StageContext
from hf_afro.recipes.stages.models import open_model, open_tokenizer
from hf_afro.recipes.stages.text import HELD_OUT, TASKS_FILE, load, read_text, sources_of, trained_on
from hf_afro.reports import EvalReport
from hf_afro.reports.evaluation_report import REPORT_FILE

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from hf_afro.evaluation import FineTuningSettings, TaskData
    from hf_afro.reports import Score

NAMES_FILE = "models.json"


def run_evaluate(context: StageContext) -> dict[str, Any]:
    """Fine-tune and measure one model after the other; those that an earlier run finished are not measured again."""
    data = _tasks_of(context)
    languages: dict[str, list[str]] = {}
    for one in data:
        languages.setdefault(one.task, []).append(one.language)
    runs = context.settings.runs(languages.values())
    context.progress.length(len(context.settings.models) * max(1, runs))
    for name, stage in context.settings.models.items():
        if (context.folder / name / REPORT_FILE).is_file():
            context.progress.advance(max(1, runs))
        else:
            _measure(context, name, stage, data)
    context.write_json(NAMES_FILE, list(context.settings.models))
    return {"models": len(context.settings.models), "sets": len(data), "seeds": len(context.settings.seeds)}


def _measure(context: StageContext, name: str, stage: str, data: list[TaskData]) -> None:
    from hf_afro.evaluation import evaluate_model

    settings = context.settings
    tokenizer = open_tokenizer(context, stage)
    evaluate_model(
        # A folder where there is one, so that the bytes it takes on disk are known.
        open_encoder(context, stage) if context.recipe.stage(stage).kind == "base" else str(context.root / stage),
        tokenizer,
        data,
        name=name,
        output_dir=context.folder / name,
        settings=_settings_of(context, data),
        seeds=settings.seeds,
        save_models=settings.save_models,
        transfer=None if settings.transfer is None else codes_of(settings.transfer),
        joint=settings.joint,
        efficiency=settings.efficiency and bool(data),
        extra_scores=_bits_per_byte(context, stage, tokenizer) if context.has("text") else (),
        provenance={"recipe": context.recipe.name, "stage": stage},
        on_run=lambda what, done, total: context.progress.advance(1, f"{name}: {what}"),
    )
    if not data:
        context.progress.advance()


def open_encoder(context: StageContext, stage: str) -> PreTrainedModel:
    """Return the model of a finished stage with the pooler that its checkpoint holds, for heads that stand on it."""
    from hf_afro.evaluation.heads import with_own_pooler

    model = open_model(context, stage)
    return with_own_pooler(model, model.name_or_path, getattr(model.config, "_commit_hash", None))


def _tasks_of(context: StageContext) -> list[TaskData]:
    if not context.has("tasks"):
        return []
    folder = context.input("tasks")
    stage = context.recipe.stage(context.stage.inputs["tasks"][0])
    read = {(one["task"], one["language"]): one for one in json.loads((folder / TASKS_FILE).read_text("utf-8"))}
    found = []
    for task, source in sources_of(stage.settings):
        for language in codes_of(source.languages):
            data = load(folder, task, source, language, trained=trained_on(context, stage, language))
            # The text was freed of the sentences read then; on the Hub, and during a run, they may become others.
            if data.fingerprint != read[task, language]["fingerprint"]:
                raise ValueError(
                    f"{task} in {language} is no longer what {stage.name} read; remove {folder} and run again"
                )
            found.append(data)
    return found


def _settings_of(context: StageContext, data: list[TaskData]) -> dict[str, FineTuningSettings]:
    from hf_afro.evaluation import preset
    from hf_afro.evaluation.presets import adapted

    settings = context.settings
    return {
        one.task: adapted(preset(settings.preset, one.task, one.dataset), settings.adaptation).replace(
            **getattr(settings, one.task).given
        )
        for one in data
    }


def _bits_per_byte(context: StageContext, stage: str, tokenizer: Any) -> tuple[Score, ...]:
    from hf_afro.evaluation import bits_per_byte_scores

    sentences = read_text(context.input("text"), HELD_OUT, context.settings.languages)
    return bits_per_byte_scores(open_model(context, stage), tokenizer, sentences)


def read_reports(folder: Path) -> dict[str, EvalReport]:
    """Return the reports of a finished `evaluate` stage by the name of their model, in the order of the recipe."""
    names = json.loads((folder / NAMES_FILE).read_text("utf-8"))
    return {name: EvalReport.load(folder / name) for name in names}
