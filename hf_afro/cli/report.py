"""`hf-afro report`: several evaluation reports side by side, as a page and as plain tables."""

from __future__ import annotations

import dataclasses
import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hf_afro.cli.inputs import check_inputs
from hf_afro.cli.output import finished_folder, say
from hf_afro.cli.report_differences import LoadedReport, difference_tables

if TYPE_CHECKING:
    from hf_afro.reports.page import Work
    from hf_afro.reports.tables import Table

DESCRIPTION = """\
Show several models side by side: tables, plots, and one page that opens anywhere.

Each REPORT is what `hf-afro evaluate` left, its folder or its file. What was not measured is shown as a dash, and
models that were not measured on the same examples are not ranked. Reports of one model are shown as one, unless they
give different values of the same figure.

  hf-afro report scores/teacher scores/pruned scores/student --output_dir report

What comes out: <output_dir>/index.html, one file that loads nothing from elsewhere; the tables as tables.txt, .md,
.tex (for booktabs) and .csv (a line a cell); and the tables here.
"""
TAKES_SETTINGS = False
PAGE_FILE, TABLES_FILE, CLEANING_FILE = "index.html", "tables.txt", "cleaning.json"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("reports", nargs="+", metavar="REPORT", help="folder or file of an evaluation report")
    parser.add_argument("--title", default="Evaluation report", help="of the page")
    parser.add_argument(
        "--pruned", metavar="FOLDER", help="what `hf-afro prune` left, for the coverage of its vocabulary"
    )
    parser.add_argument(
        "--trained",
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="what `hf-afro maft` or `distill` left, for the losses and for what was taken out of the text",
    )


def run(args: Namespace) -> None:
    """Read, compare, write and show.

    Raises:
        FileNotFoundError: If a report or a folder is not there.
        ValueError: If a file is no report, two reports are of models of the same name, or `output_dir` is an input.
    """
    check_inputs(args)

    from hf_afro.reports.page import transfer_tables, write_page
    from hf_afro.reports.tables import comparison_tables, interval_tables, other_tables, size_table

    with finished_folder(args) as folder:
        loaded = load_reports(args.reports)
        reports = [one.report for one in loaded]
        differences = difference_tables(loaded)
        work = read_work(args.pruned, args.trained)
        write_page(reports, folder / PAGE_FILE, title=args.title, work=work, more=differences)
        main = (size_table(reports), *comparison_tables(reports), *differences, *transfer_tables(reports))
        tables = "\n\n".join(map(str, main))
        (folder / TABLES_FILE).write_text(tables + "\n", "utf-8")
        write_forms((*main, *interval_tables(reports), *other_tables(reports)), folder)
    say(tables)
    say(f"\npage written to {args.output_dir}/{PAGE_FILE}")


def write_forms(tables: Sequence[Table], folder: Path) -> None:
    """Write every table for papers and spreadsheets, beside the page."""
    from hf_afro.reports.table_forms import as_csv, as_latex, as_markdown

    name = Path(TABLES_FILE).stem
    (folder / f"{name}.md").write_text("\n\n".join(map(as_markdown, tables)) + "\n", "utf-8")
    (folder / f"{name}.tex").write_text("\n\n".join(map(as_latex, tables)) + "\n", "utf-8")
    (folder / f"{name}.csv").write_text(as_csv(tables), "utf-8")


def load_reports(paths: Sequence[str]) -> list[LoadedReport]:
    """Return the reports at some paths, those of one model joined.

    Reports that share a name all the same are named after their folders: of other models, or of one model with
    different values of the same figure.

    Raises:
        FileNotFoundError: If one is not there.
        ValueError: If one is no report, or two are of models of the same name in folders of the same name.
    """
    from hf_afro.reports.evaluation_report import REPORT_FILE, EvalReport
    from hf_afro.reports.joining import are_of_one_model, join_reports

    for path in map(Path, paths):
        file = path / REPORT_FILE if path.is_dir() else path
        if not file.is_file():
            raise FileNotFoundError(f"{file} does not exist; expected what `hf-afro evaluate` wrote")
    loaded: list[LoadedReport] = []
    for path in map(Path, paths):
        report = EvalReport.load(path)
        part = (report, path if path.is_dir() else path.parent)
        for index, other in enumerate(loaded):
            joined = join_reports(other.report, report) if are_of_one_model(other.report, report) else None
            if joined is not None:
                loaded[index] = LoadedReport(joined, other.name, (*other.parts, part))
                break
        else:
            loaded.append(LoadedReport(report, path.name, (part,)))
    given = [one.report.name for one in loaded]
    loaded = [
        dataclasses.replace(one, report=dataclasses.replace(one.report, name=f"{one.report.name} ({one.name})"))
        if given.count(one.report.name) > 1
        else one
        for one in loaded
    ]
    names = [one.report.name for one in loaded]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"several reports are called {', '.join(twice)}; name them apart by `hf-afro evaluate --name`"
        )
    return loaded


def read_work(pruned: str | None, trained: Sequence[str]) -> Work:
    """Return what the folders of other commands tell of the way to the models.

    Args:
        pruned: What `hf-afro prune` left.
        trained: What `hf-afro maft` or `distill` left.

    Raises:
        FileNotFoundError: If a folder does not hold what is looked for in it.
    """
    from hf_afro.corpora.cleaning_report import READ, CleaningReport
    from hf_afro.reports.page import Work
    from hf_afro.vocabulary.mapping import VocabularyMap

    curve = None if pruned is None else VocabularyMap.load(pruned).provenance.get("curve")
    removed: dict[str, dict[str, int]] = {}
    losses = {}
    for folder in map(Path, trained):
        cleaning = folder / CLEANING_FILE
        if not cleaning.is_file():
            raise FileNotFoundError(
                f"{cleaning} does not exist; --trained takes what `hf-afro maft` or `distill` wrote"
            )
        report = CleaningReport.load(cleaning)
        # Of several trainings the text of the last is shown: each may have cleaned the same text.
        removed = {code: {READ: lines, **report.dropped[code]} for code, lines in report.read.items()}
        if (state := _last_state(folder)) is not None:
            losses[folder.name] = _history(state)
    return Work(curve=curve, removed=removed, losses=losses)


def _history(state: Path) -> list[dict[str, float]]:
    """The log in the state of a trainer."""
    try:
        return json.loads(state.read_text("utf-8"))["log_history"]
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{state} holds no log of a training ({error!r}); leave it out of --trained") from error


def _last_state(folder: Path) -> Path | None:
    """The state that a trainer left in its last checkpoint, None where it left none."""
    states = folder.glob("checkpoint-*/trainer_state.json")
    return max(states, key=lambda path: int(path.parent.name.removeprefix("checkpoint-")), default=None)
