"""The step `count`: how often each language uses each token of a tokenizer."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from transformers.hf_argparser import HfArg

from hf_afro.model_folders import COUNTS_FILE
from hf_afro.pretrained import load_tokenizer
from hf_afro.reports.tables import format_table
from hf_afro.sentence_modules import encoder_of
from hf_afro.steps.plans import check_languages
from hf_afro.steps.settings import Input, NoEffect
from hf_afro.steps.step import Outcome, Plan, Step
from hf_afro.steps.text import ReadingConfig, read_text
from hf_afro.vocabulary import count_tokens, count_with_cache

DESCRIPTION = """\
Count how often each language uses each token.

  hf-afro count --text texts --tokenizer FacebookAI/xlm-roberta-base --output_dir counts

TEXT is a folder with one file per language, named by any of its codes: swa.txt, yor.txt.gz, amh.jsonl, hau.parquet.

Output: <output_dir>/counts.npz, which `TokenCounts.load` reads, and a table. Its column `unknown` is the share of
tokens that stand for text the tokenizer does not know; above 1 % there is a warning.
"""


@dataclass(frozen=True, kw_only=True)
class Config(ReadingConfig):
    """Text, and the tokenizer to count with."""

    tokenizer: Annotated[str, Input("model", default=True, is_model=True, must_exist=False)] = HfArg(
        help="folder of a tokenizer or model, or its name on the Hub"
    )
    cache_dir: Annotated[str | None, NoEffect()] = HfArg(
        default=None, help="folder in which the counts of each language are cached"
    )


def run(config: Config, folder: Path) -> Outcome:
    """Count, save and show the sizes.

    Raises:
        ValueError: If a language is unknown or has no text, or there is no tokenizer.
    """
    texts = read_text(config.text, config.languages, config.errors)
    tokenizer = load_tokenizer(encoder_of(config.tokenizer))
    sizes = {code: text.plain_bytes for code, text in texts.items() if text.plain_bytes is not None}
    bar: dict[str, Any] = {"show_progress": sys.stderr.isatty(), "text_bytes": sizes}
    if config.cache_dir is None:
        counts = count_tokens(texts, tokenizer, **bar)
    else:
        counts = count_with_cache(texts, tokenizer, config.cache_dir, **bar)
    # Counts may be published, so they hold names; the folder's record, which never is, has the paths.
    corpora = {
        code: {"origin": Path(text.origin).name, "fingerprint": text.fingerprint} for code, text in texts.items()
    }
    is_local = Path(config.tokenizer).exists()
    tokenizer_name = Path(config.tokenizer).name if is_local else config.tokenizer
    provenance = {**counts.provenance, "tokenizer": tokenizer_name, "corpora": corpora}
    counts = dataclasses.replace(counts, provenance=provenance)
    counts.save(folder / COUNTS_FILE)
    unknown = counts.unknown_share
    rows = [
        [
            code,
            counts.sizes[code].lines,
            counts.total[code],
            int((counts.of(code) > 0).sum()),
            shown_unknown(unknown[code]),
        ]
        for code in counts.languages
    ]
    used = int((counts.counts.sum(axis=0) > 0).sum())
    facts = {"languages": len(counts.languages), "tokens": sum(counts.total.values()), "distinct_tokens": used}
    table = format_table(["language", "lines", "tokens", "distinct", "unknown"], rows)
    return Outcome(facts, f"{table}\n{used:,} of the {len(counts.table):,} tokens occur")


def shown_unknown(share: float) -> str:
    """Return a share of unknown tokens in percent, rounded up so that a single one never reads as none."""
    return f"{math.ceil(share * 10_000 - 1e-6) / 100:.2f} %"


def plan(config: Config, inputs: Mapping[str, Plan]) -> Plan:
    """Refuse languages that the text will not have."""
    check_languages(config.languages, inputs.get("text"))
    return Plan()


STEP = Step(name="count", description=DESCRIPTION, config=Config, run=run, gives="counts", plan=plan)
