"""`hf-afro card`: a model card from evaluation reports, no number in it that was not measured or counted."""

from __future__ import annotations

import dataclasses
import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_afro.cli.count import codes
from hf_afro.cli.inputs import check_inputs
from hf_afro.cli.output import finished_folder, say
from hf_afro.cli.report import load_reports
from hf_afro.files import read_limited

if TYPE_CHECKING:
    from hf_afro.cards import CardFacts
    from hf_afro.reports import EvalReport

DESCRIPTION = """\
Write a model card from evaluation reports.

The first REPORT is that of the model, others are those of the models it is compared with; each is what `hf-afro
evaluate` left. Several reports of one model, such as of two tasks, are joined into one. What the reports do not hold
is told by --facts, a JSON file, or by the options below; what nobody tells is not claimed, and the section on limits
says that it is not known.

--pruned, what `hf-afro prune` left, adds what each language kept of the vocabulary; --export, what `hf-afro export
--to onnx` left, what the graphs weigh and how far they are from torch.

  hf-afro card scores/student scores/teacher --base_model Davlan/afro-xlmr-large --licence mit --output_dir card

What comes out: <output_dir>/README.md, as the Hub reads it, and card_facts.json, to be changed and given as --facts.
"""
TAKES_SETTINGS = False
CARD_FILE = "README.md"
EXPORT_FILE = "export.json"
_LONGEST = 1 << 20


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("reports", nargs="+", metavar="REPORT", help="folder or file of an evaluation report")
    parser.add_argument("--facts", metavar="FILE", help="card_facts.json, or its folder")
    parser.add_argument("--model_name", help="name of the model, such as its id on the Hub")
    parser.add_argument("--base_model", nargs="+", metavar="NAME", help="what it was made from, as named on the Hub")
    parser.add_argument(
        "--languages", type=codes, metavar="swa,yor", help="that it was made for; any code or tag will do"
    )
    parser.add_argument(
        "--licence",
        metavar="ID",
        help="as the Hub writes it, such as apache-2.0; by default that which the cards of all base models state",
    )
    parser.add_argument(
        "--pruned", metavar="FOLDER", help="what `hf-afro prune` left: what each language kept goes on the card"
    )
    parser.add_argument(
        "--export", metavar="FOLDER", help="what `hf-afro export --to onnx` left: sizes and differences go on the card"
    )


def run(args: Namespace) -> None:
    """Read, render and write.

    Raises:
        FileNotFoundError: If a report or the facts are not there.
        ValueError: If a file is no report, the facts hold something unknown, or `output_dir` is an input.
    """
    check_inputs(args)

    from hf_afro.cards import render_card

    with finished_folder(args) as folder:
        reports = [one.report for one in load_reports(args.reports)]
        facts = tell_facts(args, reports[0])
        (folder / CARD_FILE).write_text(render_card(reports, facts), "utf-8")
        facts.save(folder)
    say(f"card written to {args.output_dir}/{CARD_FILE}")


def tell_facts(args: Namespace, report: EvalReport) -> CardFacts:
    """Return the facts of a command line: those of --facts or else of the report, changed by the other options."""
    from hf_afro.cards import CardFacts
    from hf_afro.cards.facts import FACTS_FILE
    from hf_afro.languages import find_languages

    if args.facts is not None:
        file = Path(args.facts) / FACTS_FILE if Path(args.facts).is_dir() else Path(args.facts)
        if not file.is_file():
            raise FileNotFoundError(f"{file} does not exist; --facts takes the {FACTS_FILE} of an earlier card")
    facts = CardFacts.of_report(report) if args.facts is None else CardFacts.load(file)
    told: dict[str, Any] = {
        "model_name": args.model_name,
        "base_model": args.base_model and tuple(args.base_model),
        "languages": args.languages and tuple(find_languages(args.languages)),
        "licence": args.licence,
    }
    if args.pruned is not None:
        told["vocabulary"] = pruned_figures(Path(args.pruned))
    if args.export is not None:
        told["efficiency"] = {**facts.efficiency, **exported_figures(Path(args.export))}
    facts = dataclasses.replace(facts, **{name: value for name, value in told.items() if value is not None})
    return facts if facts.licence is not None else dataclasses.replace(facts, licence=inherited(facts.base_model))


def inherited(base_models: Sequence[str]) -> str | None:
    """Return the licence of what a model was made from, None where that is nothing.

    Raises:
        ValueError: If it is not known, or there are several; `--licence` then has to say.
    """
    from hf_afro.cards.licences import inherited_licence

    try:
        return inherited_licence(base_models)
    except ValueError as error:
        raise ValueError(f"{error}; say by --licence under which the model is given away") from error


def pruned_figures(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what a card says of the vocabulary of a pruned folder.

    Raises:
        FileNotFoundError: If it is none.
    """
    from hf_afro.cards.facts import vocabulary_figures
    from hf_afro.vocabulary import VocabularyMap

    return vocabulary_figures(VocabularyMap.load(folder).provenance)


def exported_figures(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what a card says of the graphs in a folder, from the report beside them.

    Raises:
        FileNotFoundError: If there is no such report.
        ValueError: If it is none.
    """
    file = folder / EXPORT_FILE
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} does not exist; --export takes the folder that `hf-afro export --to onnx` wrote"
        )
    try:
        report = json.loads(read_limited(file, _LONGEST))
        differences = (report["fp32_difference"], report["int8_difference"])
        agreements = (None, report["int8_agreement"])
        figures = {"torch": {"bytes": report["torch_bytes"]}}
        for (path, size), difference, agreement in zip(report["bytes"].items(), differences, agreements, strict=False):
            figures[path] = {"bytes": size, "largest difference from torch": difference}
            if agreement is not None:
                figures[path]["share of decisions alike"] = agreement
            figures[path] |= {"sentences compared": report["sentences"], "tokens compared": report["tokens"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is no report of an export to ONNX ({error!r}); export the model again with --to onnx"
        ) from error
    return figures
