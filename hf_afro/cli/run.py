"""`hf-afro run`: a whole recipe, from text to a small model with its report and card."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hf_afro.cli.options import OneLineParser
from hf_afro.messages import counted
from hf_afro.recipes import Recipe, StageResult, load_recipe, run_recipe, shipped_recipes
from hf_afro.reports.evaluation_report import load_reports
from hf_afro.reports.score_tables import comparison_tables
from hf_afro.reports.tables import format_table
from hf_afro.steps.report import expanded
from hf_afro.steps.running import say

DESCRIPTION = """\
Run a recipe: all steps from text to a small model, in one YAML file.

A second run repeats only what is out of date: stages whose settings or inputs have changed, and those that read them.
An interrupted run is resumed. Nothing runs before the whole recipe has been checked.

  hf-afro run quickstart                            # minutes on a laptop, on text that ships, no network
  hf-afro run real-small --data DATA                # a folder with corpora/, ner/, topic/ and sentiment/
  hf-afro run my-recipe.yaml --maft.learning_rate 3e-5 --output_dir runs/mine
  hf-afro run afro-mini --dry_run                   # what would run, with sizes

Change any setting with --stage.setting value, after the recipe's name; --show prints the recipe itself. A stage is a
command with its settings: `hf-afro COMMAND --help` lists them. A value may name an earlier stage.

Output: <output_dir>/<stage> for every stage. By default the folder is runs/<name of the recipe>.
"""


def run(words: Sequence[str], common: argparse.ArgumentParser) -> None:
    """Check the recipe, run it and show the results.

    Args:
        words: Of the command line, after ``run``.
        common: The parser of the options that all commands share.

    Raises:
        ValueError: If the recipe or a setting of the command line is not possible.
        FileNotFoundError: If something it reads does not exist.
    """
    parser = OneLineParser(
        prog="hf-afro run",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        parents=[common],
        usage="hf-afro run RECIPE --stage.setting value ...",
    )
    parser.add_argument("--dry_run", "--dry-run", action="store_true", help="say what would run, with sizes")
    parser.add_argument("--show", action="store_true", help="print the recipe and do nothing")
    parser.add_argument("--data", metavar="FOLDER", help="the folder whose text and tasks a recipe reads")
    args, rest = parser.parse_known_args(list(words))
    if not rest or rest[0].startswith("-"):
        raise ValueError(f"no recipe is named; expected a YAML file, or one of {', '.join(shipped_recipes())}")
    if args.config is not None:
        raise ValueError(f"--config {args.config}: a recipe is a file of settings itself; give --stage.setting value")
    data = [] if args.data is None else ["--data", args.data]
    recipe = load_recipe(rest[0], [*rest[1:], *data])
    if args.show:
        say(Path(recipe.source).read_text("utf-8").rstrip())
        return
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
    for result in results:
        if "file" in result.facts:
            say(f"{result.name}: {result.folder / result.facts['file']}")
    say(f"written to {output_dir}")


def aligned(rows: Sequence[Sequence[object]]) -> list[list[object]]:
    """Return rows whose last cells, which are text, start at the same column."""
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
    """Return what ran, how long it took and its results."""
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
    """Return the findings of a stage in a few words."""
    facts = dict(result.facts)
    if "figure" in facts:
        name = {"bits_per_byte": "bits per byte", "loss": "relation loss"}[facts["figure"]]
        before, after = facts.get("before"), facts.get("after")
        change = "" if before is None or after is None else f", {name} {before:.3f} to {after:.3f}"
        return f"{counted(facts['steps'], 'step')}{change}"
    shown = {
        "sets": ("set", ""),
        "evaluation_sentences": ("evaluation sentence", ""),
        "languages": ("language", ""),
        "lines_kept": ("line", " kept"),
        "evaluation_lines_removed": ("evaluation sentence", " removed"),
        "tokens": ("token", ""),
    }
    words = [counted(facts[name], noun) + more for name, (noun, more) in shown.items() if name in facts]
    if "distinct_tokens" in facts:
        words.append(f"{facts['distinct_tokens']:,} of them distinct")
    if "models" in facts:
        words.append(counted(facts["models"], "model"))
    if "file" in facts:
        words.append(facts["file"])
    if facts.get("new_unknown"):
        words.append(f"{facts['new_unknown']:,} characters newly unknown")
    if facts.get("below_coverage"):
        words.append(f"below their coverage: {', '.join(facts['below_coverage'])}")
    return ", ".join(words)


def show_scores(recipe: Recipe, output_dir: Path) -> None:
    """Print a table for each task that was evaluated."""
    for stage in recipe.stages:
        if stage.step.name == "evaluate":
            reports = [one.report for one in load_reports(expanded([str(output_dir / stage.name)]))]
            for table in comparison_tables(reports):
                say(f"\n{table}\n")
