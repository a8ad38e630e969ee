"""The step `report`: evaluation reports side by side, as a page and as plain tables, with how the models were made."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from transformers.hf_argparser import HfArg

from hf_afro.corpora.cleaning_report import READ, CleaningReport
from hf_afro.evaluation.comparison import difference_tables, kept_tables
from hf_afro.evaluation.distillation import LABELS_ONLY
from hf_afro.reports.evaluation_report import REPORT_FILE, LoadedReport, load_reports
from hf_afro.reports.page import Stage as PageStage, Work, write_page
from hf_afro.reports.score_tables import (
    comparison_tables,
    interval_tables,
    other_tables,
    size_table,
    transfer_tables,
)
from hf_afro.reports.tables import as_csv
from hf_afro.steps.evaluate import NAMES_FILE
from hf_afro.steps.records import RECORD_FILE, Record, history
from hf_afro.steps.settings import Input, StepConfig, place_of
from hf_afro.steps.step import Outcome, Step
from hf_afro.steps.text import CLEANING, TextConfig
from hf_afro.steps.training import HISTORY_FILE
from hf_afro.vocabulary.mapping import MAP_FILE, VocabularyMap

DESCRIPTION = """\
Show several models side by side: tables, plots, and one page that opens anywhere.

Each REPORT is what `hf-afro evaluate` wrote, its folder or its file. What was not measured is shown as a dash, and
models that were not measured on the same examples are not ranked. Reports of one model are shown as one, unless they
give different values of the same figure. The report of a teacher that was evaluated before its students is found by
itself, if it is still there. How the models were made is read from the folders they were made in, if
they still exist.

  hf-afro report scores/teacher scores/pruned scores/student --output_dir report

Output: index.html, one file that loads nothing from elsewhere; the tables as tables.txt, .md, .tex (for booktabs) and
.csv (one line per cell).
"""
_CLEANING = tuple(field.name for field in dataclasses.fields(TextConfig) if field.name not in ("text", "languages"))
PAGE_FILE, TABLES_FILE = "index.html", "tables.txt"


@dataclass(frozen=True, kw_only=True)
class Config(StepConfig):
    """The reports, and further folders to read."""

    reports: Annotated[list[str], Input("reports", default=True)] = HfArg(
        help="folders or files of evaluation reports"
    )
    title: str = HfArg(default="Evaluation report", help="title of the page")
    pruned: Annotated[str | None, Input("model")] = HfArg(
        default=None, help="output of `hf-afro prune`, for the coverage of its vocabulary"
    )
    trained: Annotated[list[str] | None, Input("model")] = HfArg(
        default=None, help="outputs of `hf-afro maft` or `distill`, for losses and what was removed from text"
    )


def run(config: Config, folder: Path) -> Outcome:
    """Read, compare and write.

    Raises:
        FileNotFoundError: If a report or a folder is not there.
        ValueError: If a file is not a report, or two reports are of models of the same name.
    """
    loaded = load_reports(expanded(config.reports))
    reports = [one.report for one in loaded]
    differences = (*kept_tables(loaded), *difference_tables(loaded))
    work = work_before(loaded, config.pruned, config.trained or ())
    write_page(reports, folder / PAGE_FILE, title=config.title, work=work, more=differences)
    main = (size_table(reports), *comparison_tables(reports), *differences, *transfer_tables(reports))
    text = "\n\n".join(map(str, main))
    (folder / TABLES_FILE).write_text(text + "\n", "utf-8")
    tables, name = (*main, *interval_tables(reports), *other_tables(reports)), Path(TABLES_FILE).stem
    (folder / f"{name}.md").write_text("\n\n".join(table.as_markdown() for table in tables) + "\n", "utf-8")
    (folder / f"{name}.tex").write_text("\n\n".join(table.as_latex() for table in tables) + "\n", "utf-8")
    (folder / f"{name}.csv").write_text(as_csv(tables), "utf-8")
    return Outcome({"file": PAGE_FILE}, text)


def expanded(paths: Sequence[str]) -> list[str]:
    """Return the places of reports, and at the end those of the teachers that models were distilled from.

    A folder with one report per model stands for all of them, in order.
    """
    found: list[str] = []
    for path in map(Path, paths):
        if (path / NAMES_FILE).is_file() and not (path / REPORT_FILE).is_file():
            found += [str(path / name) for name in json.loads((path / NAMES_FILE).read_text("utf-8"))]
        else:
            found.append(str(path))
    there = {Path(path).resolve() for path in found}
    teachers = {place.resolve(): place for path in map(Path, paths) if (place := _earlier_teacher(path)) is not None}
    return [*found, *(str(place) for real, place in teachers.items() if real not in there)]


def _earlier_teacher(folder: Path) -> Path | None:
    """Return the folder of a teacher's report that an earlier evaluation wrote, at its place or beside the student's.

    Args:
        folder: Of the evaluation of the students, or of one of its reports.
    """
    home = folder if (folder / RECORD_FILE).is_file() else folder.parent
    record = Record.load(home)
    for place, key in (record.inputs.get("teacher", {}) if record is not None else {}).items():
        for candidate in (Path(place), home.parent / Path(place).name):
            made = Record.load(candidate)
            if made is not None and made.key == key and (candidate / REPORT_FILE).is_file():
                return candidate
    return None


def evaluated_model(loaded: LoadedReport) -> tuple[str | None, str | None]:
    """Return the place and the fingerprint of the model of a report, as the record of the evaluation has them.

    The record knows where the model is now, the report only where it was. Without a record, the place is that of the
    report, and there is no fingerprint.
    """
    report, folder = loaded.parts[0]
    record = Record.load(folder) or Record.load(folder.parent)  # several models have a folder each
    words = [] if record is None else record.settings.get("models") or []
    teacher = None if record is None else record.settings.get("teacher")
    for word in words:
        place = place_of(word)
        name = word.partition("=")[0] if place != word else Path(place).name
        alone = len(words) == 1 and teacher is None
        own = report.name if teacher is None else report.name.removesuffix(LABELS_ONLY)
        if record is not None and (name == own or alone):
            return place, record.inputs["models"][place]
    if record is not None and teacher is not None and Path(teacher).name == report.name:
        return teacher, record.inputs["teacher"][teacher]
    told = report.provenance.get("model")
    return (told if isinstance(told, str) else None), None


def folder_of_model(loaded: LoadedReport) -> Path | None:
    """Return the folder of the model of a report: its place or, if everything was moved, beside the evaluation."""
    place, key = evaluated_model(loaded)
    if place is None or Path(place).is_dir():
        return None if place is None else Path(place)
    folder = loaded.parts[0][1]
    beside = (home.parent / Path(place).name for home in (folder, folder.parent))
    return next((path for path in beside if (made := Record.load(path)) is not None and made.key == key), None)


def model_history(loaded: Sequence[LoadedReport]) -> list[tuple[Path, Record]]:
    """Return the folders that the models of reports were made in, in order, each once."""
    found: dict[Path, Record] = {}
    for folder in filter(None, map(folder_of_model, loaded)):
        found |= dict(history(folder))
    return list(found.items())


def languages_of(made: Sequence[tuple[Path, Record]]) -> tuple[str, ...]:
    """Return the languages a model was made for: those trained on last, else those its vocabulary was chosen for.

    Args:
        made: The folders that the model was made in, as `history` returns them.
    """
    trained = [tuple(record.facts["tokens_seen"]) for _, record in made if record.facts.get("tokens_seen")]
    pruned = [path for path, record in made if record.step == "prune"]
    if not trained and pruned:
        return tuple(VocabularyMap.load(pruned[-1]).provenance.get("coverage", ()))
    return trained[-1] if trained else ()


def work_before(loaded: Sequence[LoadedReport], pruned: str | None, trained: Sequence[str]) -> Work:
    """Return the work before the evaluation, from the folders the models were made in and those named.

    Raises:
        FileNotFoundError: If a named folder does not hold the file expected in it.
    """
    curve = None if pruned is None else VocabularyMap.load(pruned).provenance.get("curve")
    for folder in map(Path, trained):
        if not (folder / CLEANING).is_file():
            raise FileNotFoundError(
                f"{folder / CLEANING} does not exist; --trained takes what `hf-afro maft` or `distill` wrote"
            )
    made = model_history(loaded)
    results = [*filter(None, map(folder_of_model, loaded)), *map(Path, trained)]
    languages = dict.fromkeys(code for folder in results for code in languages_of(history(folder)))
    removed: dict[str, dict[str, int]] = {}
    losses = {}
    for folder in dict.fromkeys([*(path for path, _ in made), *map(Path, trained)]):
        if (folder / CLEANING).is_file():
            # Only the text of the last training is shown: each may have cleaned the same text.
            removed = lines_removed(CleaningReport.load(folder / CLEANING))
        if (log := _log_of(folder)) is not None:
            losses[folder.name] = log
        if curve is None and (folder / MAP_FILE).is_file():
            curve = VocabularyMap.load(folder).provenance.get("curve")
    stages = tuple(
        PageStage(path.name, settings=shown_settings(record, [one for _, one in made]), sizes=_changes(record.facts))
        for path, record in made
    )
    return Work(stages=stages, languages=tuple(languages), removed=removed, curve=curve, losses=losses)


def lines_removed(report: CleaningReport) -> dict[str, dict[str, int]]:
    """Return the lines read and dropped, by language and reason."""
    return {code: {READ: lines, **report.dropped.get(code, {})} for code, lines in report.read.items()}


def shown_settings(record: Record, made: Sequence[Record]) -> dict[str, Any]:
    """Return the settings of a step, with names instead of paths, which reveal details of a machine.

    Settings that are not set are left out, as are those of cleaning if another step prepared the text.

    Args:
        record: Of the step.
        made: Of all steps on the way to a model.
    """
    prepared = {one.key for one in made if one.step == "prepare"} & set(record.inputs.get("text", {}).values())
    unused = _CLEANING if prepared else ()
    settings = {name: value for name, value in record.settings.items() if name not in ("arguments", *unused)}
    for name, places in record.inputs.items():
        if name in unused:
            continue
        value = settings[name]
        names = [_without_path(one, places) for one in (value if isinstance(value, list) else [value])]
        settings[name] = names if isinstance(value, list) else names[0]
    settings |= record.settings.get("arguments") or {}
    return {
        name: Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
        for name, value in settings.items()
        if value is not False and value not in (None, {}, []) and not name.endswith("_token")
    }


def _without_path(value: str, places: Mapping[str, str]) -> str:
    """Return a value with the name of a folder in place of its path; names on the Hub are kept."""
    place = next((place for place in places if value.endswith(place)), "")
    return value.removesuffix(place) + (place if places.get(place) == place else Path(place).name)


def _changes(facts: Any) -> dict[str, tuple[Any, Any]]:
    """Return the figures that a step changed, before and after."""
    changes = {
        name: (facts[f"old_{name}"], facts[name]) for name in ("vocabulary", "parameters") if f"old_{name}" in facts
    }
    if facts.get("before") is not None and facts.get("after") is not None:
        changes[facts["figure"]] = (facts["before"], facts["after"])
    return changes


def _log_of(folder: Path) -> list[dict[str, float]] | None:
    """Return the log of a training: from the step, else from the trainer's last checkpoint."""
    if (folder / HISTORY_FILE).is_file():
        return json.loads((folder / HISTORY_FILE).read_text("utf-8"))
    states = folder.glob("checkpoint-*/trainer_state.json")
    state = max(states, key=lambda path: int(path.parent.name.removeprefix("checkpoint-")), default=None)
    if state is None:
        return None
    try:
        return json.loads(state.read_text("utf-8"))["log_history"]
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{state} holds no log of a training ({error!r}); leave it out of --trained") from error


STEP = Step(
    name="report",
    description=DESCRIPTION,
    config=Config,
    run=run,
    gives="page",
    positional="reports",
    shows_names=True,
)
