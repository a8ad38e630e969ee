"""The step `prune`: a model's vocabulary cut to the tokens its languages use."""

from __future__ import annotations

import copy
import functools
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from transformers.hf_argparser import HfArg

from hf_afro.languages import script_names
from hf_afro.model_folders import check_no_adapter, counts_file
from hf_afro.reports.plots import coverage_plot
from hf_afro.reports.tables import format_table
from hf_afro.sentence_modules import sentence_modules_of
from hf_afro.steps.count import shown_unknown
from hf_afro.steps.plans import of_model
from hf_afro.steps.settings import Input, Limits, Model, OptionalPath, StepConfig, Words
from hf_afro.steps.step import Outcome, Plan, Step
from hf_afro.steps.text import held_out_text, is_prepared
from hf_afro.vocabulary import (
    PrunedCheckpoint,
    PrunedModel,
    TextReport,
    TokenCounts,
    VerificationReport,
    prune_checkpoint,
    prune_model,
    select_tokens,
)

DESCRIPTION = """\
Cut a model's vocabulary to the tokens its languages use.

69 % of the parameters of XLM-R-base are its embedding, most of it for other languages. The tokens to keep are chosen
so that every language keeps --coverage of its running tokens; the rest of the budget goes to the most frequent tokens.
The rows kept are copied bit for bit.

  hf-afro prune --model FacebookAI/xlm-roberta-base --counts counts --budget 70000 --output_dir pruned

Weights in safetensors are rewritten chunk by chunk, and the model is never built: every stored tensor is kept, byte
for byte, in the shards of the original, and all of them are read back and compared, as is the tokenizer. Weights in
other formats, --adapter and --pad_to_multiple_of build the model in memory, and outputs are compared too; --low_memory
refuses all of these. A sentence-transformers model keeps its modules.

Output: the model and its tokenizer, which any script loads with from_pretrained; vocabulary_map.json, from old ids to
new ones; pruning_report.json; coverage.svg, what smaller budgets would keep; and a table of what each language keeps
and, with --held_out, of how text that was not counted is split before and after. Coverage is the share of all tokens
of a language that are kept; tokens unknown to the original model count as not covered, and have their own column.
"""
CURVE_FILE = "coverage.svg"


@dataclass(frozen=True, kw_only=True)
class Config(StepConfig):
    """The model, the languages to keep, and the limits."""

    model: Model = HfArg(help="folder of a model with its tokenizer, or its name on the Hub")
    counts: Annotated[list[str], Input("counts", default=True)] = HfArg(
        help="output of `hf-afro count` with the tokenizer of the model; several are added up"
    )
    budget: Annotated[int, Limits(low=5)] = HfArg(default=70_000, help="tokens to keep at most")
    coverage: Annotated[float, Limits(low=0, high=1)] = HfArg(
        default=0.9995, help="share of its running tokens that every language keeps if the budget allows it"
    )
    smoothing: Annotated[float, Limits(low=0, high=1)] = HfArg(
        default=0.3, help="exponent that smooths the sizes of the languages when the rest of the budget is spent"
    )
    scripts: Annotated[list[str] | None, Words()] = HfArg(
        default=None, help="keep the single characters of these Unicode scripts; by default of the languages counted"
    )
    no_characters: bool = HfArg(default=False, help="keep single characters only if their counts justify it")
    keep_list: OptionalPath = HfArg(default=None, help="file of tokens to keep, one per line as in the vocabulary")
    drop_list: OptionalPath = HfArg(default=None, help="file of tokens to drop, with all tokens merged from them")
    held_out: Annotated[str | None, Input("text", default=True)] = HfArg(
        default=None, help="text that was not counted, with one file per language, to evaluate the result on"
    )
    low_memory: bool = HfArg(default=False, help="refuse to build the model, whatever the format of its weights")
    pad_to_multiple_of: Annotated[int | None, Limits(low=1)] = HfArg(
        default=None, help="append zero rows until the number of rows is a multiple of this, such as 64"
    )
    adapter: Annotated[str | None, Input(must_exist=False)] = HfArg(
        default=None, help="PEFT adapter to prune with the model, written to the folder adapter inside the output"
    )
    strict: bool = HfArg(default=False, help="stop with an error if the budget is too small for the coverage")


def check(config: Config) -> None:
    """Refuse settings that do not go together.

    Raises:
        ValueError: If so.
    """
    script_names(config.scripts or ())
    for name in ("pad_to_multiple_of", "adapter"):
        if config.low_memory and getattr(config, name) is not None:
            raise ValueError(f"--{name} builds the model, which --low_memory refuses; leave one of them out")
    check_no_adapter(Path(config.model), but=None if config.adapter is None else Path(config.adapter))
    modules = sentence_modules_of(config.model) if Path(config.model).is_dir() else None
    if modules is not None:
        modules.check(pruned=True)


def run(config: Config, folder: Path) -> Outcome:
    """Select, prune, save and verify.

    Raises:
        ValueError: If the counts are of another tokenizer, the budget is too small, or the model cannot be pruned.
    """
    keep = select_tokens(
        functools.reduce(TokenCounts.merge, map(TokenCounts.load, counts_files(config.counts))),
        config.budget,
        coverage=config.coverage,
        smoothing=config.smoothing,
        scripts=config.scripts,
        keep_characters=not config.no_characters,
        extra_tokens=_tokens_in(config.keep_list),
        drop_tokens=_tokens_in(config.drop_list),
        strict=config.strict,
    )
    held_out = None if config.held_out is None else held_out_text(config.held_out, _judged(config, keep))
    pruned: PrunedCheckpoint | PrunedModel
    if config.low_memory:
        pruned = prune_checkpoint(config.model, keep, folder, held_out=held_out)
        verification = pruned.verification
    else:
        pruned, verification = prune_model(
            config.model,
            keep,
            folder,
            held_out=held_out,
            adapter=config.adapter,
            pad_to_multiple_of=config.pad_to_multiple_of,
        )
    curve = coverage_plot(keep.provenance["curve"])
    if curve is not None:
        (folder / CURVE_FILE).write_text(curve.svg, encoding="utf-8")
    facts = {
        "vocabulary": len(keep),
        "old_vocabulary": keep.old_size,
        "parameters": pruned.report.new_parameters,
        "old_parameters": pruned.report.old_parameters,
        "below_coverage": list(keep.provenance["below_floor"]),
        "held_out_lines": sum(one.lines for one in verification.held_out.values()),
        "new_unknown": sum(one.new_unknown for one in verification.held_out.values()),
    }
    text = describe(pruned, verification)
    modules = sentence_modules_of(config.model)
    if modules is not None:
        text += f"\nmodules of sentence-transformers carried: {', '.join(modules.names)}"
    return Outcome(facts, text)


def _judged(config: Config, keep: Any) -> list[str] | None:
    """Return the languages to judge by: of prepared text those that were counted, as it may hold others."""
    return list(keep.provenance["coverage"]) if is_prepared(config.held_out or "") else None


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


def _tokens_in(path: str | None) -> list[str]:
    """Return the tokens of a file, one per line; one may begin or end with any white space except a line feed."""
    return [line for line in Path(path).read_text(encoding="utf-8").split("\n") if line] if path else []


def describe(pruned: PrunedCheckpoint | PrunedModel, verification: VerificationReport) -> str:
    """Return what each language keeps, the sizes before and after, and what was verified, as text."""
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
    parts = [format_table(["language", "tokens", "coverage", "unknown", "kept for it alone"], rows)]
    facts = pruned.report
    if facts.padding_rows:
        parts.append(f"{facts.padding_rows} zero rows appended to those of the tokens")
    if facts.adapters:
        parts.append(f"adapters pruned too: {', '.join(facts.adapters)}")
    parts.append(
        f"{facts.old_size:,} to {facts.new_size:,} tokens, {facts.old_parameters:,} to {facts.new_parameters:,} "
        f"parameters, {facts.old_bytes / 1e6:,.1f} to {facts.new_bytes / 1e6:,.1f} MB"
    )
    outputs = f"hidden states differ by {verification.hidden_difference}"
    if verification.hidden_difference is None:
        outputs = f"all {verification.vocabulary_tensors + verification.other_tensors} tensors read back"
    parts.append(
        f"verified on the folder written: {verification.tokens:,} tokens and their rows equal, "
        f"{verification.texts_kept} texts split alike, {outputs}"
    )
    if verification.held_out:
        parts.append(format_table(_HELD_OUT_HEADER, [_held_out_row(*pair) for pair in verification.held_out.items()]))
    return "\n".join(parts)


_HELD_OUT_HEADER = ["held out", "lines", "split alike", "<unk> before", "after", "tokens per word before", "after"]


def _held_out_row(language: str, text: TextReport) -> list[str | int]:
    unknown = (f"{rate * 100:.4f} %" for rate in (text.old_unknown_rate, text.new_unknown_rate))
    fertility = (f"{number:.3f}" for number in (text.old_tokens_per_word, text.new_tokens_per_word))
    return [language, text.lines, f"{text.lines_alike * 100:.2f} %", *unknown, *fertility]


def shown_coverage(coverage: float, missed_floor: float | None) -> str:
    """Return a share in percent, cut rather than rounded so that one below the floor never reads as the floor."""
    shown = f"{math.floor(coverage * 10_000 + 1e-6) / 100:.2f} %"
    return shown if missed_floor is None else f"{shown} (below {missed_floor * 100:.6g} %)"


def plan(config: Config, inputs: Mapping[str, Plan]) -> Plan:
    """Estimate the sizes."""
    before = inputs["model"].model
    if before is None:
        return Plan("at most", vocabulary=config.budget)
    after = copy.deepcopy(before)
    after.vocab_size = min(before.vocab_size, config.budget)
    return of_model(after, "at most")


STEP = Step(name="prune", description=DESCRIPTION, config=Config, run=run, gives="model", check=check, plan=plan)
