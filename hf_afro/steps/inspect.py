"""The step `inspect`: what a vocabulary holds by script, and what its embedding weighs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transformers.hf_argparser import HfArg

from hf_afro.reports.formatting import DASH, format_bytes, format_count, format_parameters
from hf_afro.reports.tables import format_table
from hf_afro.steps.settings import Model, StepConfig
from hf_afro.steps.step import Outcome, Step
from hf_afro.vocabulary import VocabularyContents, inspect_vocabulary

DESCRIPTION = """\
Show what a vocabulary holds by script, and what its embedding weighs.

  hf-afro inspect FacebookAI/xlm-roberta-base

Output: tokens by script, special tokens, rows of the embedding without a token, and the embedding's share of the
model; with --output_dir also vocabulary_contents.json.
"""
_MOST_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Config(StepConfig):
    """The model."""

    model: Model = HfArg(help="folder of a model with its tokenizer, or its name on the Hub")


def run(config: Config, folder: Path | None) -> Outcome:
    """Read the model and show its vocabulary.

    Raises:
        ValueError: If model or tokenizer cannot be read.
    """
    contents = inspect_vocabulary(config.model)
    if folder is not None:
        contents.save(folder)
    facts = {"tokens": contents.tokens, "rows": contents.rows, "parameters": contents.parameters}
    return Outcome(facts, describe(contents))


def describe(contents: VocabularyContents) -> str:
    """Return the contents as text."""
    by_group = [
        [name, number, f"{100 * number / contents.tokens:.1f} %"] for name, number in contents.by_group.items()
    ]
    tensors = [[name, " x ".join(map(format_count, shape))] for name, shape in contents.tensors.items()]
    special = [[name, token, str(token_id)] for name, (token_id, token) in contents.special_tokens.items()]
    added = ", ".join(contents.added_tokens[:_MOST_SHOWN])
    more = len(contents.added_tokens) - _MOST_SHOWN
    in_configuration, in_tokenizer = contents.padding_ids
    padding = f"{_shown(in_tokenizer)} in configuration and tokenizer"
    if in_configuration != in_tokenizer:
        padding = (
            f"{_shown(in_configuration)} in the configuration, {_shown(in_tokenizer)} in the tokenizer: they disagree"
        )
    tied = {True: "tied", False: "two tensors", None: "no output embedding"}[contents.tied]
    share = 100 * contents.vocabulary_parameters / contents.parameters
    return "\n\n".join(
        [
            f"{contents.name}: {contents.tokens:,} tokens, {contents.kind} ({contents.tokenizer_class})",
            format_table(["script", "tokens", "share"], by_group),
            format_table(["special token", "", "id"], special),
            f"added tokens: {len(contents.added_tokens)}: {added}" + (f" and {more} more" if more > 0 else ""),
            f"padding id: {padding}",
            format_table(["tensor of the vocabulary", "shape"], tensors),
            f"input and output embedding: {tied}\n"
            f"rows without a token: {contents.spare_rows:,} of {contents.rows:,}\n"
            f"vocabulary: {format_parameters(contents.vocabulary_parameters)} parameters, "
            f"{format_bytes(contents.vocabulary_bytes)}, {share:.1f} % of the model's "
            f"{format_parameters(contents.parameters)} ({format_bytes(contents.bytes)})",
        ]
    )


def _shown(token_id: int | None) -> str:
    return DASH if token_id is None else str(token_id)


STEP = Step(name="inspect", description=DESCRIPTION, config=Config, run=run, positional="model", needs_folder=False)
