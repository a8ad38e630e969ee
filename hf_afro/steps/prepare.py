"""The step `prepare`: text cleaned, without evaluation sentences, a part of it held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from transformers.hf_argparser import HfArg

from hf_afro.corpora.cleaning_report import OTHER_LANGUAGE, UNCERTAIN_LANGUAGE, found_in_words
from hf_afro.messages import counted
from hf_afro.reports.tables import format_table
from hf_afro.sample import SAMPLE
from hf_afro.steps.settings import Limits
from hf_afro.steps.step import Outcome, Plan, Step
from hf_afro.steps.text import TextConfig, is_prepared, prepare_text, read_text, write_prepared

DESCRIPTION = """\
Clean text, remove evaluation sentences from it, and hold lines out.

The text is cleaned as in the paper (Alabi et al., 2022): short lines and lines of numbers and punctuation are dropped.
`hf-afro maft` and `distill` do the same by themselves; prepare text first where several commands read it.

  hf-afro prepare --text texts --exclude tasks --output_dir text
  hf-afro prepare --text texts --language_id glotlid/model.bin --output_dir text

--language_id drops lines that are not in the language of their file, or of which a classifier is not sure.

Output: train/ and held_out/ with one file per language, cleaning.json and cleaning.md (lines read and dropped, by
reason).
"""


@dataclass(frozen=True, kw_only=True)
class Config(TextConfig):
    """Text, and how it is cleaned."""

    seed: Annotated[int, Limits(low=0)] = HfArg(default=0, help="chooses the lines held out")


def run(config: Config, folder: Path) -> Outcome:
    """Read, clean and write.

    Raises:
        ValueError: If the text is prepared already, a language is unknown, or one has no lines left.
    """
    if is_prepared(config.text):
        raise ValueError(f"{config.text} is prepared already; --text takes a folder with one file per language")
    text = prepare_text(config, config.seed)
    write_prepared(text, folder)
    report = text.report
    rows = [
        [
            code,
            report.read.get(code),
            report.kept.get(code),
            report.leaked.get(code, 0),
            len(text.evaluation.get(code, ())),
        ]
        for code in sorted(text.train)
    ]
    facts = {
        "languages": len(text.train),
        "lines_read": sum(report.read.values()),
        "lines_kept": sum(report.kept.values()),
        "evaluation_lines_removed": sum(report.leaked.values()),
    }
    header = ["language", "lines read", "kept", "of evaluation sets", "held out"]
    parts = [format_table(header, rows)]
    if config.language_id is not None:
        reasons = (OTHER_LANGUAGE, UNCERTAIN_LANGUAGE)
        found = found_in_words(report)
        rows = [
            [
                code,
                *(report.dropped[code].get(reason, 0) for reason in reasons),
                found.get(code, ""),
            ]
            for code in sorted(text.train)
        ]
        parts.append(format_table(["language", *reasons, "found"], rows))
    return Outcome(facts, "\n\n".join(parts))


def plan(config: Config, inputs: Mapping[str, Plan]) -> Plan:
    """Estimate the size of the text, and find its languages."""
    languages = None if config.languages is None else tuple(config.languages)
    size: int | None = None
    if config.text == SAMPLE or Path(config.text).is_dir():
        sources = read_text(config.text, config.languages, config.errors)
        languages = tuple(sources)
        sizes = [source.plain_bytes for source in sources.values()]  # None where it is compressed
        size = None if None in sizes else sum(filter(None, sizes))
    where = "all languages of the folder" if languages is None else counted(len(languages), "language")
    return Plan(
        where if size is None else f"{where}, {size / 1e6:,.1f} MB before cleaning",
        text_bytes=size,
        languages=languages,
        held_out=config.eval_text is not None or config.eval_lines > 0,
    )


STEP = Step(name="prepare", description=DESCRIPTION, config=Config, run=run, gives="text", plan=plan)
