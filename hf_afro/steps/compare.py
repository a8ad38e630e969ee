"""The step `compare`: an audit of a reduced vocabulary, made by whatever tool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

from transformers.hf_argparser import HfArg

from hf_afro.files import write_whole
from hf_afro.reports.formatting import DASH, format_count, language_name
from hf_afro.reports.page import render_tables
from hf_afro.reports.tables import Cell, Table
from hf_afro.steps.count import shown_unknown
from hf_afro.steps.settings import Input, Limits, OptionalLanguages, StepConfig
from hf_afro.steps.step import Outcome, Step
from hf_afro.steps.text import read_text
from hf_afro.vocabulary import VocabularyAudit, compare_vocabularies
from hf_afro.vocabulary.segmentation import SplitCounts

DESCRIPTION = """\
Audit a reduced vocabulary, made by whatever tool, against the model it was cut from.

  hf-afro compare FacebookAI/xlm-roberta-base their-cut --text texts --output_dir audit

The first model is the original and the second the cut, folders or names on the Hub. Tokens are matched by their
spelling, and each row of the cut is compared with the original's row of its token. With TEXT, a folder with one file
per language, the tables show what each language and each script pays.

Output: the verdict, what is wrong, and tables; with --output_dir also index.html, one page, and vocabulary_audit.json,
which `VocabularyAudit.load` reads. The exit code is 0 for an exact renumbering, however many running tokens it loses;
1 if anything is wrong; and 2 if the models could not be compared.
"""
PAGE_FILE = "index.html"


@dataclass(frozen=True, kw_only=True)
class Config(StepConfig):
    """The two models, and text to compare them on."""

    models: Annotated[list[str], Input("model", is_model=True, must_exist=False)] = HfArg(
        help="the original model and the cut one: folders, or names on the Hub"
    )
    text: Annotated[str | None, Input("text")] = HfArg(
        default=None, help="text with one file per language, which both tokenizers split; see `hf-afro count`"
    )
    languages: OptionalLanguages = HfArg(default=None, help="only these languages of the text; by default all")
    max_lines: Annotated[int, Limits(low=1)] = HfArg(
        default=2_000, help="compare at most this many lines per language, the first ones"
    )

    def __post_init__(self) -> None:
        """Check that there are two models."""
        super().__post_init__()
        if len(self.models) != 2:
            raise ValueError(f"compare takes the original and the cut, two models; received {len(self.models)}")


def run(config: Config, folder: Path | None) -> Outcome:
    """Compare, and write the page and the audit.

    Raises:
        ValueError: If the original cannot be read, there is no cut, or a language is unknown or has no text.
    """
    sources = {} if config.text is None else read_text(config.text, config.languages)
    texts = {code: islice(lines, config.max_lines) for code, lines in sources.items()}
    original, cut = config.models
    audit = compare_vocabularies(original, cut, texts)
    shown = tables(audit)
    if folder is not None:
        audit.save(folder)
        points = [*audit.findings, *(f"note: {note}" for note in audit.notes)]
        title = f"{audit.cut}, cut from {audit.original}"
        write_whole(folder / PAGE_FILE, render_tables(title, audit.verdict, points, shown))
    parts = [*map(str, shown), _points(audit), audit.verdict]
    facts = {
        "exact": audit.exact,
        "findings": len(audit.findings),
        "kept": audit.kept,
        "old_vocabulary": audit.old_size,
    }
    return Outcome(facts, "\n\n".join(filter(None, parts)), exit_code=0 if audit.exact else 1)


def tables(audit: VocabularyAudit) -> list[Table]:
    """Return what was compared as tables; those without a row are left out."""
    groups = [
        _row(name, before, after, _percent(after, before)) for name, (before, after) in sorted_groups(audit.groups)
    ]
    rows = [
        _row(one.tensor, one.old_rows, one.rows, one.compared, one.different, one.of_other_tokens)
        for one in audit.rows
    ]
    found = [
        Table("What was compared", ("", audit.original, audit.cut), tuple(_summary(audit))),
        Table(
            "Rows of the vocabulary",
            ("", "original", "cut", "compared", "different", "rows of other tokens"),
            tuple(rows),
        ),
        Table("Tokens by script", ("", "original", "cut", "kept"), tuple(groups)),
        _of_text("Text by language", {language_name(code): one for code, one in audit.languages.items()}),
        _of_text("Text by script of the line", audit.scripts),
    ]
    return [table for table in found if table.rows]


def sorted_groups(groups: Mapping[str, tuple[int, int]]) -> list[tuple[str, tuple[int, int]]]:
    """Return scripts with their numbers of tokens, those largest in the cut first."""
    return sorted(groups.items(), key=lambda group: (-group[1][1], -group[1][0], group[0]))


def _summary(audit: VocabularyAudit) -> list[tuple[Cell, ...]]:
    hidden = DASH if audit.hidden_difference is None else f"{audit.hidden_difference:.3g}"
    return [
        _row("tokens", audit.old_size, audit.new_size),
        _row("tokens of the original", audit.old_size, audit.kept),
        _row("other tensors, and those that differ", audit.other_tensors, audit.other_different),
        _row(
            "drawn texts whose tokens are all kept, and split alike",
            audit.drawn.lines_kept,
            audit.drawn.lines_kept_alike,
        ),
        _row("texts that both models were run on, and largest difference", audit.hidden_texts, hidden),
    ]


def _of_text(title: str, counted: Mapping[str, SplitCounts]) -> Table:
    header = (
        *("", "lines", "tokens", "lost", "<unk> before", "after"),
        *("tokens per word before", "after", "lines split alike", "split otherwise"),
    )
    rows = [
        _row(
            name,
            one.lines,
            one.old_tokens,
            shown_unknown(one.lost_share),
            *map(shown_unknown, one.unknown_rates),
            *(f"{length:.2f}" for length in one.tokens_per_word),
            _percent(one.lines_alike, one.lines),
            one.lines_kept - one.lines_kept_alike,
        )
        for name, one in counted.items()
    ]
    note = "Split otherwise: lines whose tokens are all kept and that are not split as before; 0 in an exact cut."
    return Table(title, header, tuple(rows), notes=(note,))


def _row(*values: str | int) -> tuple[Cell, ...]:
    return tuple(Cell(format_count(value) if isinstance(value, int) else value) for value in values)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else DASH


def _points(audit: VocabularyAudit) -> str:
    return "\n".join([*(f"- {one}" for one in audit.findings), *(f"- note: {one}" for one in audit.notes)])


STEP = Step(
    name="compare",
    description=DESCRIPTION,
    config=Config,
    run=run,
    positional="models",
    shows_names=True,
    needs_folder=False,
)
