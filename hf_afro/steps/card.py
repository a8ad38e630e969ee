"""The step `card`: a model card, every number measured, from reports and the folders the model was made in."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from transformers.hf_argparser import HfArg

from hf_afro.cards import CardFacts, TextSource, render_card
from hf_afro.cards.card_facts import FACTS_FILE, inherited_licence, vocabulary_figures
from hf_afro.cards.metadata import benchmark_results, use_of
from hf_afro.corpora.cleaning_report import CleaningReport, most_found
from hf_afro.evaluation.comparison import difference_tables, kept_tables
from hf_afro.evaluation.distillation import MODELS, load_classifier, model_name
from hf_afro.evaluation.models import model_facts
from hf_afro.export import EXPORT_FILE
from hf_afro.export.quantising import FORMATS
from hf_afro.files import read_limited, write_whole
from hf_afro.hub.contents import RESULTS_FOLDER
from hf_afro.model_folders import MAP_FILE
from hf_afro.reports import EvalReport, Score
from hf_afro.reports.evaluation_report import LoadedReport, load_reports
from hf_afro.reports.formatting import describe_metric
from hf_afro.sample import SAMPLE
from hf_afro.steps.records import Record, history
from hf_afro.steps.report import (
    evaluated_model,
    expanded,
    folder_of_model,
    languages_of,
    lines_removed,
    shown_settings,
)
from hf_afro.steps.settings import Input, OptionalLanguages, StepConfig
from hf_afro.steps.step import Outcome, Plan, Step
from hf_afro.steps.text import CLEANING
from hf_afro.vocabulary import VocabularyMap

DESCRIPTION = """\
Write a model card from evaluation reports.

The first REPORT is that of the model, the others are those of models to compare it with; each is what `hf-afro
evaluate` wrote. Several reports of one model, such as on two tasks, are joined. How the model was made is read from
the folders it was made in, if they still exist; give the rest with --facts, a JSON file, and the options below. The
card claims nothing that is not given, and its section on limits says what is not known.

  hf-afro card scores/student scores/teacher --base_model Davlan/afro-xlmr-large --licence mit --output_dir card

A fine-tuned model has a card of its own: its scores and languages are those of the run that made it.

  hf-afro card scores --model scores/models/ner-swa-1 --licence mit --output_dir card

Output: README.md, as the Hub reads it, and card_facts.json, which you can edit and pass to --facts; .eval_results/, if
there are scores on sets that are benchmarks on the Hub.
"""
CARD_FILE = "README.md"
_LONGEST = 1 << 20
_OF_EMBEDDERS = ("library", "prompts", "default_prompt")
_TRAIN_HEAD = ("pretrain", "maft")
_METHODS = {"prune": "pruning", "maft": "maft"}
_OBJECTIVES = {"minilmv2": "minilmv2", "minilm": "minilm", "hybrid": "comet"}


@dataclass(frozen=True, kw_only=True)
class Config(StepConfig):
    """The reports, and what they do not hold."""

    reports: Annotated[list[str], Input("reports", default=True)] = HfArg(
        help="folders or files of evaluation reports, that of the model first"
    )
    model: Annotated[str | None, Input("model", is_model=True)] = HfArg(
        default=None,
        help="folder of the model, if its report is not the first; or of a fine-tuned model that `hf-afro evaluate "
        "--save_models` kept",
    )
    # Facts may be written anew into the folder they came from.
    facts: Annotated[str | None, Input(replaceable=True)] = HfArg(
        default=None, help="card_facts.json of an earlier card, or its folder"
    )
    model_name: str | None = HfArg(default=None, help="name of the model, such as its id on the Hub")
    base_model: list[str] | None = HfArg(default=None, help="models it was made from, by their names on the Hub")
    languages: OptionalLanguages = HfArg(default=None, help="languages that it was made for")
    licence: str | None = HfArg(
        default=None,
        help="as the Hub writes it, such as apache-2.0; by default the one that the cards of all base models state",
    )
    notice: str = HfArg(default="", help="text to show above everything else")
    pruned: Annotated[str | None, Input("model")] = HfArg(
        default=None, help="output of `hf-afro prune`: what each language kept goes on the card"
    )
    export: Annotated[str | None, Input("export")] = HfArg(
        default=None, help="output of `hf-afro export --to onnx`: its table of graphs goes on the card"
    )

    def __post_init__(self) -> None:
        """Take the file of facts in a folder: its content counts, not that of the card beside it."""
        super().__post_init__()
        if self.facts is not None and Path(self.facts).is_dir():
            object.__setattr__(self, "facts", str(Path(self.facts) / FACTS_FILE))


def run(config: Config, folder: Path) -> Outcome:
    """Read, render and write.

    Raises:
        FileNotFoundError: If a report or the facts are not there.
        ValueError: If a file is not a report, the facts hold something unknown, or the model was not evaluated.
    """
    loaded = load_reports(expanded(config.reports))
    model = None if config.model is None else Path(config.model)
    if model is not None:
        loaded = _with_first(loaded, model)
    reports = [one.report for one in loaded]
    evaluated = model is not None and _is_of(loaded[0], model)
    facts = told_facts(config, reports[0], model if evaluated else folder_of_model(loaded[0]))
    # Only of a model that was distilled on its tasks, whose plain fine-tuning and teacher stand beside it, and of all
    # its seeds.
    distilled = "distillation" in reports[0].provenance and (model is None or evaluated)
    more = (*kept_tables(loaded), *difference_tables(loaded)) if distilled else ()
    (folder / CARD_FILE).write_text(render_card(reports, facts, more=more), "utf-8")
    facts.save(folder)
    for name, content in benchmark_results(reports[0]).items():
        write_whole(folder / RESULTS_FOLDER / name, content)
    return Outcome({"file": CARD_FILE})


def _with_first(loaded: Sequence[LoadedReport], model: Path) -> list[LoadedReport]:
    """Return the reports with that of a model first.

    Args:
        loaded: The reports.
        model: The folder of an encoder that was evaluated, or of a fine-tuned model that an evaluation saved.

    Raises:
        ValueError: If none of the reports is of the model.
    """
    for place, one in enumerate(loaded):
        if _is_of(one, model):
            return [one, *loaded[:place], *loaded[place + 1 :]]
        if (own := _of_finetuned(one, model)) is not None:
            return [own, *loaded[:place], *loaded[place + 1 :]]
    names = ", ".join(one.report.name for one in loaded)
    raise ValueError(f"--model {model} is not among the models evaluated: {names}")


def _of_finetuned(loaded: LoadedReport, model: Path) -> LoadedReport | None:
    """Return the report of one fine-tuned model, such as `models/ner-swa-1`; None if the evaluation saved no such."""
    for report, folder in loaded.parts:
        scores = _of_run(report.scores, model.name)
        if not scores or (folder / MODELS).resolve() != model.resolve().parent:
            continue
        told = {name: value for name, value in report.model.items() if name not in _OF_EMBEDDERS}
        own = dataclasses.replace(
            report,
            name=f"{report.name} ({model.name})",
            model={**told, **model_facts(load_classifier(model), model)},
            scores=scores,
            transfer=_of_run(report.transfer, model.name),
            settings={key: value for key, value in report.settings.items() if _is_about(key, scores)},
            predictions={},  # of all seeds
        )
        return dataclasses.replace(loaded, report=own)
    return None


def _of_run(scores: Sequence[Score], name: str) -> tuple[Score, ...]:
    """Return the scores of the run that made the fine-tuned model of a name, such as `ner-swa-1`."""
    return tuple(
        _of_seed(score, seed)
        for score in scores
        for seed in score.seeds
        if model_name(score.task, score.trained_on, seed) == name
    )


def _of_seed(score: Score, seed: int) -> Score:
    """Return a score of one seed alone; intervals and notes are those of all seeds."""
    if len(score.seeds) == 1:
        return score
    collapsed = (seed,) if seed in score.collapsed else ()
    return dataclasses.replace(
        score,
        values=(score.values[score.seeds.index(seed)],),
        seeds=(seed,),
        collapsed=collapsed,
        note=score.note if collapsed else "",
        interval=None,
    )


def _is_about(key: str, scores: Sequence[Score]) -> bool:
    """Tell whether the settings of a key such as `ner/swa` are those of some scores."""
    task, _, language = key.partition("/")
    return any(score.task == task and language in ("", score.language) for score in scores)


def _is_of(loaded: LoadedReport, model: Path) -> bool:
    """Tell whether a report is of the model in a folder, which may have been moved since."""
    place, key = evaluated_model(loaded)
    if place is not None and Path(place).resolve() == model.resolve():
        return True
    made = Record.load(model)
    return made is not None and made.key == key


def told_facts(config: Config, report: EvalReport, model: Path | None) -> CardFacts:
    """Return the facts of a card: from `facts`, else from the report and the model's history, updated by settings."""
    if config.facts is not None:
        facts = CardFacts.load(config.facts)
    else:
        facts = made_facts(CardFacts.of_report(report), report, model)
    told: dict[str, Any] = {
        "model_name": config.model_name,
        "base_model": config.base_model and tuple(config.base_model),
        "languages": config.languages and tuple(config.languages),
        "licence": config.licence,
        "notice": config.notice or None,
    }
    if config.pruned is not None:
        told["vocabulary"] = vocabulary_figures(VocabularyMap.load(config.pruned).provenance)
    if config.export is not None:
        told["efficiency"] = {**facts.efficiency, **exported_figures(Path(config.export))}
    facts = dataclasses.replace(facts, **{name: value for name, value in told.items() if value is not None})
    if facts.licence is not None:
        return facts
    try:
        return dataclasses.replace(facts, licence=inherited_licence(facts.base_model))
    except ValueError as error:
        raise ValueError(f"{error}; pass --licence with the licence of the model") from error


def made_facts(facts: CardFacts, report: EvalReport, model: Path | None) -> CardFacts:
    """Return facts completed from the folder of the model of a report, and the folders that it was made in."""
    if model is None:
        return facts
    made = history(model)
    folders = [path for path, _ in made] or [model]
    maps = [path for path in folders if (path / MAP_FILE).is_file()]
    cleaned = [path for path in folders if (path / CLEANING).is_file()]
    cleaning = CleaningReport.load(cleaned[-1] / CLEANING) if cleaned else CleaningReport({}, {})
    facts = dataclasses.replace(
        facts,
        vocabulary=vocabulary_figures(VocabularyMap.load(maps[-1]).provenance) if maps else {},
        removed=lines_removed(cleaning),
        found=most_found(cleaning),
        searched=cleaning.settings.get("evaluation_sentences"),
    )
    if not made:
        return facts
    records = [record for _, record in made]
    steps = [record.step for record in records]
    bases = [record.facts["model"] for record in records if record.step == "base" and "revision" in record.facts]
    read = [record.inputs.get("model", {}) for record in records if record.step in ("prune", "extend", "maft", "base")]
    # What is on the Hub has its name as its fingerprint; a folder may be gone by now.
    bases = bases or [name for places in read for name, found in places.items() if name == found]
    # A fine-tuned model is for the languages of its task, whatever its encoder was made for.
    languages = () if use_of(report, facts).is_classifier else languages_of(made)
    facts = dataclasses.replace(
        facts,
        base_model=tuple(dict.fromkeys(bases)) or facts.base_model,
        from_scratch="pretrain" in steps or any(record.settings.get("from_scratch") for record in records),
        languages=languages or facts.languages,
        text=_text(records),
        methods=tuple(dict.fromkeys(method for record in records for method in _methods(record))),
        tokens_seen=next((one.facts["tokens_seen"] for one in reversed(records) if "tokens_seen" in one.facts), {}),
        head=_head(steps),
        settings={
            path.name: shown_settings(record, records)
            for path, record in made
            if record.step not in ("tasks", "count")
        },
    )
    # The model itself knows better than the steps: it may have no head, or an objective that trains it.
    return dataclasses.replace(facts, head=use_of(report, dataclasses.replace(facts, head="")).head or facts.head)


def _text(records: Sequence[Record]) -> tuple[TextSource, ...]:
    """Return the text that was trained on; of prepared text, the text it was prepared from."""
    keys = {record.key for record in records}
    readers = [record for record in records if record.step in ("prepare", "pretrain", "maft", "distill")]
    read = {place: found for record in readers for place, found in record.inputs["text"].items()}
    origins = [place for place, found in read.items() if found not in keys]
    sample = TextSource("the sample text of hf_afro", licence="cc0-1.0")
    return tuple(sample if place == SAMPLE else TextSource(Path(place).name) for place in origins)


def _methods(record: Record) -> list[str]:
    """Return the methods that a card cites for a step."""
    if record.step != "distill":
        return [_METHODS[record.step]] if record.step in _METHODS else []
    objective = _OBJECTIVES[record.facts.get("objective", "minilmv2")]
    names = {"relation": objective, "hidden": "hidden_states", "pooled": "sentence_vectors"}
    return [names[term] for term in record.facts.get("terms", ["relation"]) if term in names]


def _head(steps: Sequence[str]) -> str:
    """Return what happened to the masked-LM head in some steps."""
    distilled = "distill" in steps
    since = itertools.takewhile(lambda step: step != "distill", reversed(steps))
    if any(step in _TRAIN_HEAD for step in since):
        return "fitted_after_distillation" if distilled else "kept"
    return "untrained" if distilled else "not_trained_here"


def exported_figures(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what a card shows of the graphs in a folder, from the report beside them.

    Raises:
        FileNotFoundError: If there is no such report.
        ValueError: If it is not a report.
    """
    file = folder / EXPORT_FILE
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; --export takes what `hf-afro export --to onnx` wrote")
    try:
        report = json.loads(read_limited(file, _LONGEST))
        metric = report["metric"] and describe_metric(report["metric"]).name
        figures = {}
        for name, one in {"torch": report["torch"], **report["graphs"]}.items():
            own = {
                "bytes": one["bytes"],
                "milliseconds for a sentence": one["milliseconds"],
                "largest difference from torch": one["difference"],
                "share of decisions alike": one["agreement"],
                "tokens compared": None if name == "torch" else report["tokens"],
            }
            if metric:
                own[metric] = round(100 * one["score"], 2)
                own["lost"] = round(100 * (report["torch"]["score"] - one["score"]), 2)
            figures[FORMATS.get(name, name)] = own
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is not a report of an export to ONNX ({error!r}); export the model again with --to onnx"
        ) from error
    return figures


def plan(config: Config, inputs: Mapping[str, Plan]) -> Plan:
    """Refuse a model that the earlier stage does not evaluate."""
    evaluation = inputs["reports"].evaluation
    evaluated = () if evaluation is None else tuple(evaluation.named_models.values())
    if len(config.reports) == 1 and evaluated and config.model not in (None, *evaluated):
        raise ValueError(
            f"model is {config.model!r}, which {config.reports[0]} does not measure; expected one of "
            f"{', '.join(evaluated)}"
        )
    return Plan()


STEP = Step(
    name="card",
    description=DESCRIPTION,
    config=Config,
    run=run,
    gives="card",
    positional="reports",
    plan=plan,
    shows_names=True,
)
