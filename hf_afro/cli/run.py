"""`hf-afro run`: a whole recipe, from text to a small model with its report and card."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hf_afro.cli.output import say
from hf_afro.cli.table import format_table
from hf_afro.recipes.folders import shipped_recipes

if TYPE_CHECKING:
    from hf_afro.recipes import Recipe, StageResult

DESCRIPTION = """\
Run a recipe: all stages of the way from text to a small model, in one YAML file.

A second run does only what is not up to date: a stage whose settings or inputs have changed, and those that read it.
A run that was cut short goes on where it was. Nothing runs before the whole recipe has been checked.

  hf-afro run quickstart                            # minutes on a laptop, on text of the package, no network
  hf-afro run real-small --data DATA                # a folder with corpora/, ner/, topic/ and sentiment/
  hf-afro run my-recipe.yaml --maft.learning_rate 3e-5 --output_dir runs/mine
  hf-afro run afro-mini --dry-run                   # what would run, with sizes

Any setting is changed by --stage.setting value, after the recipe's name; `--show` prints the recipe itself.

What comes out: <output_dir>/<stage> for every stage, with a manifest of its inputs, settings and versions: models and
their tokenizers, an HTML page, a model card. The folder is runs/<name of the recipe> where none is named.
"""
TAKES_SETTINGS = True
OUTPUT_DIR = "the folder to write, of an earlier run or new (default: runs/<name of the recipe>)"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "recipe", help=f"a YAML file, or one that is shipped: {', '.join(shipped_recipes())}", metavar="recipe"
    )
    parser.add_argument(
        "--data", metavar="FOLDER", help="the folder whose text and tasks a recipe reads, where it asks"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would run, with sizes, and write nothing")
    parser.add_argument("--show", action="store_true", help="print the recipe and do nothing")


def run(args: Namespace) -> None:
    """Check the recipe, run it and show what came of it.

    Raises:
        ValueError: If the recipe or a setting of the command line is not possible.
        FileNotFoundError: If something it reads is not there.
    """
    from hf_afro.recipes.recipe import load_recipe

    data = [] if args.data is None else ["--data", args.data]
    recipe = load_recipe(args.recipe, [*args.settings, *data])
    if args.show:
        say(Path(recipe.source).read_text("utf-8").rstrip())
        return
    from hf_afro.recipes.runner import run_recipe

    output_dir = Path(args.output_dir or Path("runs") / recipe.name)
    results = run_recipe(
        recipe,
        output_dir,
        dry_run=args.dry_run,
        overwrite=args.overwrite,
        show_progress=sys.stderr.isatty(),
    )
    if args.dry_run:
        say(f"{recipe.name}: {recipe.description}".rstrip(": ").strip())
        say(plan_table(results))
        return
    say(result_table(results))
    show_scores(recipe, output_dir)
    say(f"written to {output_dir}")


def aligned(rows: Sequence[Sequence[object]]) -> list[list[object]]:
    """Return rows whose last cell, which is words, begins at the same place in each."""
    width = max((len(str(row[-1])) for row in rows), default=0)
    return [[*row[:-1], str(row[-1]).ljust(width)] for row in rows]


def plan_table(results: Sequence[StageResult]) -> str:
    """Return what would run, with sizes."""
    rows = [
        [
            result.name,
            result.status,
            result.plan.vocabulary,
            result.plan.parameters,
            result.plan.steps,
            result.plan.tokens,
            result.plan.note,
        ]
        for result in results
    ]
    return format_table(["stage", "status", "vocabulary", "parameters", "steps", "tokens", "note"], aligned(rows))


def result_table(results: Sequence[StageResult]) -> str:
    """Return what ran, how long it took and what it left."""
    rows = [
        [
            result.name,
            result.status,
            None if result.seconds is None else f"{result.seconds:,.0f}",
            result.facts.get("vocabulary"),
            result.facts.get("parameters"),
            found(result),
        ]
        for result in results
    ]
    return format_table(["stage", "status", "seconds", "vocabulary", "parameters", "found"], aligned(rows))


def found(result: StageResult) -> str:
    """Return in a few words what a stage found out."""
    facts = dict(result.facts)
    if "figure" in facts:
        name = {"bits_per_byte": "bits a byte", "loss": "relation loss"}[facts["figure"]]
        before, after = facts.get("before"), facts.get("after")
        change = "" if before is None or after is None else f", {name} {before:.3f} to {after:.3f}"
        return f"{facts['steps']:,} steps{change}"
    shown = {
        "sets": "sets",
        "evaluation_sentences": "evaluation sentences",
        "languages": "languages",
        "lines_kept": "lines kept",
        "evaluation_lines_taken_out": "evaluation sentences taken out",
        "tokens": "tokens",
        "distinct_tokens": "of them distinct",
        "models": "models",
        "file": "",
    }
    words = [f"{_number(facts[name])} {words}".strip() for name, words in shown.items() if name in facts]
    if facts.get("new_unknown"):
        words.append(f"{facts['new_unknown']:,} characters unknown that were not")
    if facts.get("below_coverage"):
        words.append(f"below their coverage: {', '.join(facts['below_coverage'])}")
    return ", ".join(words)


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def show_scores(recipe: Recipe, output_dir: Path) -> None:
    """Print a table for each task that was evaluated."""
    from hf_afro.recipes.stages.evaluation import read_reports
    from hf_afro.reports.tables import comparison_tables

    for stage in recipe.stages:
        if stage.kind == "evaluate":
            for table in comparison_tables(list(read_reports(output_dir / stage.name).values())):
                say(f"\n{table}\n")
