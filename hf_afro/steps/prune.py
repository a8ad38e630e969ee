"""The step `prune`: a model's vocabulary cut to the tokens its languages use."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import logging
import math
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from transformers.hf_argparser import HfArg

from hf_afro.languages import script_names
from hf_afro.messages import counted
from hf_afro.model_folders import check_no_adapter, counts_file
from hf_afro.pretrained import load_tokenizer
from hf_afro.reports.formatting import DASH
from hf_afro.reports.plots import coverage_plot
from hf_afro.reports.tables import format_table
from hf_afro.sentence_modules import encoder_of, sentence_modules_of
from hf_afro.steps.count import shown_unknown
from hf_afro.steps.plans import of_model
from hf_afro.steps.records import RECORD_FILE
from hf_afro.steps.running import run_step
from hf_afro.steps.settings import Input, Limits, Model, OptionalLanguages, OptionalPath, StepConfig, Words
from hf_afro.steps.step import Outcome, Plan, Step
from hf_afro.steps.text import held_out_text, is_prepared
from hf_afro.vocabulary import (
    PrunedCheckpoint,
    PrunedModel,
    PruningReport,
    TextReport,
    TokenCounts,
    VerificationReport,
    VocabularyMap,
    foresee_pruning,
    prune_checkpoint,
    prune_model,
    select_tokens,
)
from hf_afro.vocabulary.verify import REPORT_FILE

logger = logging.getLogger(__name__)

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

  hf-afro prune --model FacebookAI/xlm-roberta-base --counts counts --each --output_dir models

--each writes one model per language: models/swa, models/hau, and so on. Each has the fewest tokens with which its
language reaches --coverage, or at most --budget. --dry_run shows sizes, coverage and what smaller budgets would keep.

Output: the model and its tokenizer, which any script loads with from_pretrained; vocabulary_map.json, from old ids to
new ones; pruning_report.json; coverage.svg, what smaller budgets would keep; and a table of what each language keeps
and, with --held_out, of how text that was not counted is split before and after. Coverage is the share of all tokens
of a language that are kept; tokens unknown to the original model count as not covered, and have their own column.
"""
CURVE_FILE = "coverage.svg"
BUDGET = 70_000
"""Tokens to keep at most, if nothing is said about it."""
_CURVE_ROWS = 12


@dataclass(frozen=True, kw_only=True)
class Config(StepConfig):
    """The model, the languages to keep, and the limits."""

    model: Model = HfArg(help="folder of a model with its tokenizer, or its name on the Hub")
    counts: Annotated[list[str], Input("counts", default=True)] = HfArg(
        help="output of `hf-afro count` with the tokenizer of the model; several are added up"
    )
    languages: OptionalLanguages = HfArg(default=None, help="only these of the languages counted; by default all")
    each: bool = HfArg(
        default=False, help="write one model per language, each in a folder that is named by the language's code"
    )
    budget: Annotated[int | None, Limits(low=5)] = HfArg(
        default=None,
        help=f"tokens to keep at most; by default {BUDGET:,}, and with each as few as the language's coverage needs",
    )
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
    keep_texts: OptionalPath = HfArg(
        default=None, help="file of texts, one per line, such as prompts: all of their tokens are kept"
    )
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
    """Select, prune, save and verify; for one model or, with `each`, for one per language.

    Raises:
        ValueError: If the counts are of another tokenizer, the budget is too small, or the model cannot be pruned.
    """
    if config.each:
        return _run_each(config, folder)
    keep = _selected(config)
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


def _selected(config: Config) -> VocabularyMap:
    """Return the tokens to keep; with `each` and without a budget the fewest that reach the coverage."""
    counts = functools.reduce(TokenCounts.merge, map(TokenCounts.load, counts_files(config.counts)))
    texts = _lines_of(config.keep_texts)
    return select_tokens(
        counts if config.languages is None else counts.only(config.languages),
        BUDGET if config.budget is None and not config.each else config.budget,
        coverage=config.coverage,
        smoothing=config.smoothing,
        scripts=config.scripts,
        keep_characters=not config.no_characters,
        extra_tokens=_lines_of(config.keep_list),
        keep_texts=texts,
        tokenizer=load_tokenizer(encoder_of(config.model)) if texts else None,
        drop_tokens=_lines_of(config.drop_list),
        strict=config.strict,
    )


def _run_each(config: Config, folder: Path) -> Outcome:
    """Run the step once per language, each in a folder with its own record; finished ones are not run again."""
    rows, below = [], []
    for code, own in _parts(config):
        logger.info("%s: at most %s", code, counted(own.budget, "token"))
        done = run_step(STEP, own, folder / code, owned=True)
        below += done.record.facts["below_coverage"]
        rows.append(_part_row(code, json.loads((folder / code / REPORT_FILE).read_text("utf-8"))))
    return Outcome({"models": len(rows), "below_coverage": below}, format_table(_PART_HEADER, rows))


def _parts(config: Config) -> Iterator[tuple[str, Any]]:
    """Yield each language with the settings of its own model, in which its budget is a number."""
    counts = [TokenCounts.load(file) for file in counts_files(config.counts)]
    for code in config.languages or sorted({code for one in counts for code in one.languages}):
        own = dataclasses.replace(config, languages=[code])
        budget = len(_selected(own)) if config.budget is None else config.budget
        yield code, dataclasses.replace(own, each=False, budget=max(budget, 5))


_PART_HEADER = ["model", "tokens", "parameters", "MB", "coverage", "unknown"]


def _part_row(code: str, report: Mapping[str, Any]) -> list[str | int]:
    """Return the row of one language's model, given its report as JSON."""
    chosen = report["selection"]
    one = chosen["coverage"][code]
    return [
        code,
        report["new_size"],
        report["new_parameters"],
        f"{report['new_bytes'] / 1e6:,.1f}",
        shown_coverage(one["coverage"], None if one["reaches_floor"] else chosen["coverage_floor"]),
        shown_unknown(one["unknown_rate"]),
    ]


def preview(config: Config) -> str:
    """Return the sizes, what each language keeps, and what smaller budgets would keep, without writing anything.

    Raises:
        ValueError: As `run`, as far as it can be known without reading the weights.
    """
    if config.each:
        rows = [_part_row(code, dataclasses.asdict(_foreseen(own)[1])) for code, own in _parts(config)]
        parts = [format_table(_PART_HEADER, rows)]
    else:
        keep, report = _foreseen(config)
        parts = [_coverage_table(keep), _sizes(report), "", _curve_table(keep, report), _enough(keep)]
    return "\n".join([*parts, "dry run: nothing was written"])


def _foreseen(config: Config) -> tuple[VocabularyMap, PruningReport]:
    keep = _selected(config)
    return keep, foresee_pruning(config.model, keep, pad_to_multiple_of=config.pad_to_multiple_of)


def _curve_table(keep: VocabularyMap, report: PruningReport) -> str:
    """Return what smaller budgets would keep: the size, the least covered language and the mean over the languages."""
    curve = keep.provenance["curve"]
    removed = report.old_size + report.spare_rows - report.new_size - report.padding_rows
    bytes_per_token = (report.old_bytes - report.new_bytes) / removed if removed else None
    last = len(curve["budgets"]) - 1
    rows = []
    for point in sorted({round(row * last / (_CURVE_ROWS - 1)) for row in range(_CURVE_ROWS)}):
        budget = curve["budgets"][point]
        covered = {code: shares[point] for code, shares in curve["coverage"].items()}
        least = min(covered, key=lambda code: covered[code])
        size = DASH
        if budget == report.new_size or bytes_per_token is not None:
            size = f"{(report.new_bytes - (report.new_size - budget) * (bytes_per_token or 0)) / 1e6:,.1f}"
        mean = sum(covered.values()) / len(covered)
        rows.append(
            [
                f"{budget:,}",
                size,
                shown_coverage(covered[least], None),
                least,
                shown_coverage(mean, None),
            ]
        )
    return format_table(["budget", "MB", "lowest coverage", "of", "mean"], rows)


def _enough(keep: VocabularyMap) -> str:
    floor, smallest = keep.provenance["coverage_floor"], keep.provenance["smallest_budget"]
    if smallest is None:
        return f"no budget covers {floor * 100:.6g} % of every language, because of tokens that are dropped"
    return f"the smallest budget that covers {floor * 100:.6g} % of every language: {smallest:,} tokens"


def _judged(config: Config, keep: VocabularyMap) -> list[str] | None:
    """Return the languages to judge by: those kept, if only some are or the text is prepared and may hold others."""
    some = config.languages is not None or is_prepared(config.held_out or "")
    return list(keep.provenance["coverage"]) if some else None


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


def _lines_of(path: str | None) -> list[str]:
    """Return the tokens or texts of a file, one per line; they may begin or end with any other white space."""
    return [line for line in Path(path).read_text(encoding="utf-8").split("\n") if line] if path else []


def describe(pruned: PrunedCheckpoint | PrunedModel, verification: VerificationReport) -> str:
    """Return what each language keeps, the sizes before and after, and what was verified, as text."""
    parts = [_coverage_table(pruned.vocabulary_map)]
    facts = pruned.report
    if facts.padding_rows:
        parts.append(f"{facts.padding_rows} zero rows appended to those of the tokens")
    if facts.adapters:
        parts.append(f"adapters pruned too: {', '.join(facts.adapters)}")
    parts.append(_sizes(facts))
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


def _coverage_table(keep: VocabularyMap) -> str:
    chosen = keep.provenance
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
    return format_table(["language", "tokens", "coverage", "unknown", "kept for it alone"], rows)


def _sizes(facts: PruningReport) -> str:
    return (
        f"{facts.old_size:,} to {facts.new_size:,} tokens, {facts.old_parameters:,} to {facts.new_parameters:,} "
        f"parameters, {facts.old_bytes / 1e6:,.1f} to {facts.new_bytes / 1e6:,.1f} MB"
    )


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
    """Estimate the sizes.

    Raises:
        ValueError: If a recipe asks for one model per language, of which its later stages could read none.
    """
    if config.each:
        raise ValueError("each writes several models, and a stage is one; give one stage per language, with languages")
    before, budget = inputs["model"].model, BUDGET if config.budget is None else config.budget
    if before is None:
        return Plan("at most", vocabulary=budget)
    after = copy.deepcopy(before)
    after.vocab_size = min(before.vocab_size, budget)
    return of_model(after, "at most")


def can_resume(folder: Path) -> bool:
    """Tell whether a folder holds a finished model of one language."""
    return any(folder.glob(f"*/{RECORD_FILE}"))


STEP = Step(
    name="prune",
    description=DESCRIPTION,
    config=Config,
    run=run,
    gives="model",
    check=check,
    can_resume=can_resume,
    keeps_work=lambda config: config.each,
    preview=preview,
    plan=plan,
)
