"""The text that `maft` and `distill` train on: read, cleaned, freed of evaluation sentences, a part held out."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hf_afro.cli.count import add_reading_arguments

if TYPE_CHECKING:
    from datasets import Dataset

    from hf_afro.corpora import PreparedCorpora
    from hf_afro.corpora.files import Errors

TOKEN_AND_TAG = re.compile(r"\S+\s+(O|[BI]-[A-Z]+)")
OPTIONS = (
    *("text", "languages", "errors", "eval_text", "eval_lines", "exclude"),
    *("min_tokens", "nfc", "drop_duplicates", "near_duplicates"),
)


def add_text_arguments(parser: ArgumentParser) -> None:
    """Add the options that say which text is trained on."""
    add_reading_arguments(parser)
    held_out = parser.add_mutually_exclusive_group()
    held_out.add_argument("--eval_text", metavar="FOLDER", help="evaluate on this text, of any languages")
    held_out.add_argument(
        "--eval_lines",
        type=int,
        default=200,
        metavar="N",
        help="else hold out this many lines of each language, a tenth of them at most (default: 200; 0 for none)",
    )
    parser.add_argument(
        "--exclude",
        metavar="PATH",
        help="a file, or a folder of files, of evaluation sentences, one a line, to take out of the text: lines that "
        "are one, hold one, or share 8 words with one",
    )
    parser.add_argument(
        "--min_tokens",
        type=int,
        default=6,
        metavar="N",
        help="drop lines of fewer white-space tokens (default: 6, as in the paper)",
    )
    parser.add_argument("--nfc", action="store_true", help="bring the text to Unicode normal form C")
    parser.add_argument("--drop_duplicates", action="store_true", help="drop a line that came before")
    parser.add_argument(
        "--near_duplicates",
        type=float,
        nargs="?",
        const=0.8,
        metavar="SIMILARITY",
        help="drop a line that is so similar to an earlier one of its language, 0 to 1 (without a number: 0.8)",
    )


def prepare_text(args: Namespace, seed: int) -> PreparedCorpora:
    """Read and clean the text a command line asks for.

    Args:
        args: With the options of `add_text_arguments`.
        seed: Chooses the lines held out.

    Raises:
        FileNotFoundError: If a folder or file does not exist.
        ValueError: If a language is unknown, or nothing is left of one.
    """
    from hf_afro.corpora import EvaluationSentences, prepare_corpora, read_corpora

    return prepare_corpora(
        read_corpora(args.text, args.languages, errors=args.errors),
        evaluation=None if args.eval_text is None else read_corpora(args.eval_text, errors=args.errors),
        held_out_lines=args.eval_lines,
        excluded=EvaluationSentences.of(excluded_sentences(args.exclude, args.errors)),
        min_tokens=args.min_tokens,
        nfc=args.nfc,
        drop_duplicates=args.drop_duplicates,
        near_duplicates=args.near_duplicates,
        seed=seed,
    )


def datasets_of(lines: dict[str, list[str]]) -> dict[str, Dataset]:
    """Return what a trainer takes: a dataset a language, with a column `text`."""
    from datasets import Dataset

    return {language: Dataset.from_dict({"text": own}) for language, own in lines.items()}


def excluded_sentences(path: str | None, errors: Errors = "fail") -> dict[str, Iterator[str]]:
    """Return the sentences of a file or of every text file in a folder and its folders, by the file's name.

    Args:
        path: The file or folder; there are none for None.
        errors: What is done with bytes that are not UTF-8; see `read_corpora`.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If a folder holds no text file, or a file has a token and a tag a line.
    """
    from hf_afro.corpora.files import SUFFIXES, read_lines, suffix_of

    if path is None:
        return {}
    root = Path(path)
    if not root.exists():
        raise FileNotFoundError(f"{path} does not exist; --exclude takes a file or folder of sentences, one a line")
    files = (
        [root] if root.is_file() else sorted(file for file in root.rglob("*") if file.is_file() and suffix_of(file))
    )
    if not files:
        raise ValueError(f"{path} holds no text; --exclude looks for files that end in {', '.join(SUFFIXES)}")
    home = root.parent if root.is_file() else root
    return {str(file.relative_to(home)): _sentences(file, read_lines(file, errors)) for file in files}


def _sentences(file: Path, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if TOKEN_AND_TAG.fullmatch(line):
            raise ValueError(
                f"{file}, line {number} is a token with its tag; --exclude takes a sentence a line, so that it can be "
                "found in running text: join the tokens of each sentence by spaces"
            )
        if line.strip():
            yield line
