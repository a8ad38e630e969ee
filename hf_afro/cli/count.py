"""`hf-afro count`: how often each language uses each token of a tokenizer."""

from __future__ import annotations

import dataclasses
import math
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hf_afro.cli.inputs import check_inputs
from hf_afro.cli.output import finished_folder, say
from hf_afro.cli.table import format_table
from hf_afro.model_folders import COUNTS_FILE
from hf_afro.sentence_modules import encoder_of

if TYPE_CHECKING:
    from hf_afro.corpora import TextSource

DESCRIPTION = """\
Count how often each language of your text uses each token of a tokenizer.

A multilingual vocabulary is mostly pieces your languages never use. Counting says which they do use, exactly as
encoding every line would, and is the input of `hf-afro prune`.

  hf-afro count --text texts --tokenizer FacebookAI/xlm-roberta-base --output_dir counts

Counts of parts of a text add up: count them apart, on several machines, and name all of them to `hf-afro prune`.

--text is a folder with one file a language, named by its code: swa.txt, yor.txt.gz, amh.jsonl, hau.parquet.
What comes out: <output_dir>/counts.npz, which `TokenCounts.load` reads, and a table of what was counted. Its column
`unknown` is the share of the tokens that stand for text the tokenizer does not know; above 1 % there is a warning.
"""
TAKES_SETTINGS = False


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of this command."""
    add_reading_arguments(parser)
    parser.add_argument("--tokenizer", required=True, help="folder of a tokenizer or model, or its name on the Hub")
    parser.add_argument(
        "--cache_dir",
        metavar="FOLDER",
        help="look for the counts of each language here first, and put those that are not there into it",
    )


def add_reading_arguments(parser: ArgumentParser) -> None:
    """Add the options of every command that reads text."""
    parser.add_argument("--text", required=True, metavar="FOLDER", help="one file a language, named by its code")
    parser.add_argument(
        "--languages",
        type=codes,
        metavar="swa,yor",
        help="only these: ISO 639-1/-3 codes or tags like swh_Latn, separated by commas",
    )
    add_errors_argument(parser)


def add_errors_argument(parser: ArgumentParser) -> None:
    """Add the option that says what is done with bytes that are not UTF-8."""
    parser.add_argument(
        "--errors",
        choices=("fail", "replace", "skip"),
        default="fail",
        help="where text is not UTF-8: end with its file and line, put U+FFFD, or skip the line (default: fail)",
    )


def codes(text: str) -> list[str]:
    """Split a comma-separated list of names.

    Raises:
        ArgumentTypeError: If it names nothing.
    """
    names = text.replace(",", " ").split()
    if not names:
        raise ArgumentTypeError(f"{text!r} names nothing; expected names with commas between them, or no such option")
    return names


def plain_sizes(texts: Mapping[str, TextSource]) -> dict[str, int]:
    """Return the bytes of the texts that are plain files; of others they are not known before they are read."""
    return {language: text.plain_bytes for language, text in texts.items() if text.plain_bytes is not None}


def shown_unknown(share: float) -> str:
    """Return a share of unknown tokens in per cent, rounded up so that a single one never reads as none."""
    return f"{math.ceil(share * 10_000 - 1e-6) / 100:.2f} %"


def run(args: Namespace) -> None:
    """Count, save and show the sizes.

    Raises:
        ValueError: If a language is unknown or has no text, or there is no tokenizer.
    """
    check_inputs(args)

    from hf_afro.cli.loading import load_tokenizer
    from hf_afro.corpora import read_corpora
    from hf_afro.vocabulary import count_tokens, count_with_cache

    with finished_folder(args) as folder:
        texts = read_corpora(args.text, args.languages, errors=args.errors)
        tokenizer = load_tokenizer(encoder_of(args.tokenizer))
        bar: dict[str, Any] = {"show_progress": sys.stderr.isatty(), "text_bytes": plain_sizes(texts)}
        if args.cache_dir is None:
            counts = count_tokens(texts, tokenizer, **bar)
        else:
            counts = count_with_cache(texts, tokenizer, args.cache_dir, **bar)
        corpora = {
            language: {"origin": text.origin, "fingerprint": text.fingerprint} for language, text in texts.items()
        }
        provenance = {**counts.provenance, "tokenizer": args.tokenizer, "corpora": corpora}
        counts = dataclasses.replace(counts, provenance=provenance)
        counts.save(folder / COUNTS_FILE)
    unknown = counts.unknown_share
    rows = [
        [
            language,
            counts.sizes[language].lines,
            counts.total[language],
            int((counts.of(language) > 0).sum()),
            shown_unknown(unknown[language]),
        ]
        for language in counts.languages
    ]
    used = int((counts.counts.sum(axis=0) > 0).sum())
    say(format_table(["language", "lines", "tokens", "distinct", "unknown"], rows))
    say(f"{used:,} of the {len(counts.table):,} tokens occur; counts written to {args.output_dir}")
