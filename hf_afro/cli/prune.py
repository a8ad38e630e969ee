"""`hf-afro prune`: cut a model's vocabulary to the tokens its languages use."""

from __future__ import annotations

import functools
import math
import zipfile
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from hf_afro.cli.count import codes, shown_unknown
from hf_afro.cli.inputs import check_inputs
from hf_afro.cli.output import finished_folder, say
from hf_afro.cli.table import format_table
from hf_afro.model_folders import check_no_adapter, counts_file
from hf_afro.sentence_modules import sentence_modules_of

if TYPE_CHECKING:
    from hf_afro.vocabulary import PrunedCheckpoint, PrunedModel, TextReport, VerificationReport

DESCRIPTION = """\
Cut a model's vocabulary to the tokens its languages use.

Of the parameters of XLM-R-base 69 % are its embedding, most of it for other languages. The tokens to keep are chosen
so that every language keeps --coverage of its running tokens; what is left of the budget goes to the most frequent.
The rows kept are the old ones, bit by bit.

  hf-afro prune --model FacebookAI/xlm-roberta-base --counts counts --budget 70000 --output_dir pruned

Weights in safetensors are rewritten piece by piece, and the model is never built: every stored tensor is kept, byte
for byte, in the shards of the original, and all of them are read back and compared, as is the tokenizer. Weights in
other formats, --adapter and --pad_to_multiple_of build the model in memory, and outputs are compared too; --low_memory
refuses what would need that.

A model of sentence-transformers keeps its modules: pooling, dense layers, prompts and what else modules.json names.

What comes out: the model and its tokenizer, which any script loads with from_pretrained; vocabulary_map.json, which
leads from old ids to new ones; pruning_report.json; coverage.svg, what smaller budgets would keep; and a table of what
each language keeps and, with --held_out, of how text that was not counted is split before and after. Coverage is the
share of all tokens of a language that are kept; those that are unknown to the original model too count as not covered,
and have a column of their own.
"""
TAKES_SETTINGS = False
CURVE_FILE = "coverage.svg"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--model", required=True, help="folder of a model with its tokenizer, or its name on the Hub")
    parser.add_argument(
        "--counts",
        required=True,
        nargs="+",
        metavar="PATH",
        help="what `hf-afro count` left, made with its tokenizer; counts of several parts of the text are added up",
    )
    parser.add_argument("--budget", type=int, default=70_000, help="tokens to keep at most (default: 70000)")
    parser.add_argument(
        "--coverage",
        type=float,
        default=0.9995,
        help="share of its running tokens, unknown ones aside, that every language keeps where the budget allows "
        "(default: 0.9995)",
    )
    parser.add_argument(
        "--scripts",
        type=codes,
        metavar="Latin,Ethiopic",
        help="keep the single characters of these Unicode scripts (default: those of the languages counted)",
    )
    parser.add_argument(
        "--no_characters", action="store_true", help="keep no single characters but those worth it by their counts"
    )
    parser.add_argument("--keep_list", metavar="FILE", help="keep these pieces too, one a line as in the vocabulary")
    parser.add_argument(
        "--drop_list", metavar="FILE", help="keep none of these pieces, nor what is merged out of them"
    )
    parser.add_argument(
        "--held_out", metavar="FOLDER", help="text that was not counted, one file a language, to judge the result by"
    )
    parser.add_argument(
        "--low_memory",
        action="store_true",
        help="refuse to build the model, also where its weights are not in safetensors",
    )
    parser.add_argument(
        "--pad_to_multiple_of",
        type=int,
        metavar="N",
        help="add rows of zeros behind those of the tokens until there are a multiple of N, such as 64; not with "
        "--low_memory",
    )
    parser.add_argument(
        "--adapter",
        metavar="FOLDER",
        help="prune this PEFT adapter of --model along; it is written to the folder adapter inside --output_dir",
    )
    parser.add_argument("--strict", action="store_true", help="end with an error where the budget does not allow it")


def run(args: Namespace) -> None:
    """Select, prune, save, verify and show what each language keeps.

    Raises:
        ValueError: If the counts are of another tokenizer, the budget is too small, or the model cannot be pruned.
    """
    check_inputs(args)
    _check_in_memory(args)
    check_no_adapter(Path(args.model), but=None if args.adapter is None else Path(args.adapter))
    counted = counts_files(args.counts)
    modules = sentence_modules_of(args.model)
    if modules is not None:
        modules.check(pruned=True)

    from hf_afro.corpora import read_corpora
    from hf_afro.recipes.pruning import prune_model
    from hf_afro.reports.plots import coverage_plot
    from hf_afro.vocabulary import TokenCounts, prune_checkpoint, select_tokens

    with finished_folder(args) as folder:
        keep = select_tokens(
            functools.reduce(TokenCounts.merge, map(TokenCounts.load, counted)),
            args.budget,
            coverage=args.coverage,
            scripts=args.scripts,
            keep_characters=not args.no_characters,
            extra_tokens=_pieces(args.keep_list),
            drop_tokens=_pieces(args.drop_list),
            strict=args.strict,
        )
        held_out = read_corpora(args.held_out) if args.held_out else None
        pruned: PrunedCheckpoint | PrunedModel
        if args.low_memory:
            pruned = prune_checkpoint(args.model, keep, folder, held_out=held_out)
            verification = pruned.verification
        else:
            pruned, verification = prune_model(
                args.model,
                keep,
                folder,
                held_out=held_out,
                adapter=args.adapter,
                pad_to_multiple_of=args.pad_to_multiple_of,
            )
        curve = coverage_plot(keep.provenance["curve"])
        if curve is not None:
            (folder / CURVE_FILE).write_text(curve.svg, encoding="utf-8")
    report(pruned, verification)
    if modules is not None:
        say(f"modules of sentence-transformers carried: {', '.join(modules.names)}")
    say(f"model written to {args.output_dir}")


def _check_in_memory(args: Namespace) -> None:
    """Refuse what only pruning in memory knows, where it is not asked for, and rows that cannot be counted.

    Raises:
        ValueError: If there is something.
    """
    if args.pad_to_multiple_of is not None and args.pad_to_multiple_of < 1:
        raise ValueError(f"--pad_to_multiple_of is {args.pad_to_multiple_of}; expected 1 or more rows, such as 64")
    for name in ("pad_to_multiple_of", "adapter"):
        if args.low_memory and getattr(args, name) is not None:
            raise ValueError(f"--{name} cannot be had with --low_memory, by which no model is built; leave one out")


def counts_files(paths: list[str]) -> list[Path]:
    """Return the files of counts that paths name, themselves or the folders they are in.

    Raises:
        FileNotFoundError: If one does not exist.
        ValueError: If one is a file of another kind, or is named twice, as its text would be counted twice.
    """
    files = [counts_file(path) for path in paths]
    for file in files:
        if not zipfile.is_zipfile(file):
            raise ValueError(f"{file} holds no counts; --counts takes the folder that `hf-afro count` wrote")
    places = [file.resolve() for file in files]
    for place, file in zip(places, files, strict=True):
        if places.count(place) > 1:
            raise ValueError(f"{file} is named twice; --counts adds up what it is given, so name each part once")
    return files


def shown_coverage(coverage: float, missed_floor: float | None) -> str:
    """Return a share in per cent, cut rather than rounded so that one below the floor never reads as the floor."""
    shown = f"{math.floor(coverage * 10_000 + 1e-6) / 100:.2f} %"
    return shown if missed_floor is None else f"{shown} (below {missed_floor * 100:.6g} %)"


def report(pruned: PrunedCheckpoint | PrunedModel, verification: VerificationReport) -> None:
    """Print what each language keeps, the sizes before and after, and what was verified."""
    chosen = pruned.vocabulary_map.provenance
    rows = [
        [
            language,
            one["running_tokens"],
            shown_coverage(one["coverage"], None if one["reaches_floor"] else chosen["coverage_floor"]),
            shown_unknown(one["unknown_rate"]),
            one["kept_for_it_alone"],
        ]
        for language, one in chosen["coverage"].items()
    ]
    say(format_table(["language", "tokens", "coverage", "unknown", "kept for it alone"], rows))
    facts = pruned.report
    if facts.padding_rows:
        say(f"{facts.padding_rows} rows of zeros behind those of the tokens")
    if facts.adapters:
        say(f"adapters pruned along: {', '.join(facts.adapters)}")
    say(
        f"{facts.old_size:,} to {facts.new_size:,} tokens, {facts.old_parameters:,} to {facts.new_parameters:,} "
        f"parameters, {facts.old_bytes / 1e6:,.1f} to {facts.new_bytes / 1e6:,.1f} MB"
    )
    outputs = f"hidden states differ by {verification.hidden_difference}"
    if verification.hidden_difference is None:
        outputs = f"all {verification.vocabulary_tensors + verification.other_tensors} tensors read back"
    say(
        f"verified on the folder written: {verification.tokens:,} tokens and their rows equal, "
        f"{verification.texts_kept} texts split alike, {outputs}"
    )
    if verification.held_out:
        say(format_table(_HELD_OUT_HEADER, [_held_out_row(*pair) for pair in verification.held_out.items()]))


_HELD_OUT_HEADER = ["held out", "lines", "split alike", "<unk> before", "after", "tokens a word before", "after"]


def _held_out_row(language: str, text: TextReport) -> list[str | int]:
    unknown = (f"{rate * 100:.4f} %" for rate in (text.old_unknown_rate, text.new_unknown_rate))
    pieces = (f"{number:.3f}" for number in (text.old_pieces_a_word, text.new_pieces_a_word))
    return [language, text.lines, f"{text.lines_alike * 100:.2f} %", *unknown, *pieces]


def _pieces(path: str | None) -> list[str]:
    """Return the pieces of a file, one a line; a piece may begin or end with any white space but a line feed."""
    return [line for line in Path(path).read_text(encoding="utf-8").split("\n") if line] if path else []
