"""A cleaning report as a page to read, in Markdown: what came in, what stayed, what went and why."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from hf_afro.corpora.cleaning_report import READ, CleaningReport
from hf_afro.files import write_whole

JSON_FILE, PAGE_FILE = "cleaning.json", "cleaning.md"
_ALL = "all"
_MEGABYTE = 1e6


def save_report(report: CleaningReport, folder: str | os.PathLike[str]) -> None:
    """Write a report beside the text it is of: `cleaning.json`, which can be loaded, and `cleaning.md`, to be read."""
    report.save(Path(folder) / JSON_FILE)
    write_whole(Path(folder) / PAGE_FILE, cleaning_page(report))


def cleaning_page(report: CleaningReport) -> str:
    """Return the page: one table of sizes, one of lines dropped by reason, one of what held evaluation sentences."""
    parts = ["# What was read, kept and dropped", _sizes(report)]
    if any(report.dropped.values()):
        parts += ["## Lines dropped, by reason", _by_name(report.dropped)]
    if any(report.leaks.values()):
        parts += [
            "## Lines dropped for evaluation sentences, by set",
            "A line that holds something of several sets counts for each.",
            _by_name(report.leaks, sums=False),
        ]
    settings = [f"- {name}: {value}" for name, value in report.settings.items()]
    parts += ["## How", "\n".join([*settings, f"- hf_afro: {report.version}"])]
    return "\n\n".join(parts) + "\n"


def _sizes(report: CleaningReport) -> str:
    kept, kept_words, kept_bytes = report.kept, report.kept_words, report.kept_bytes
    rows = [
        (
            code,
            (
                (read, kept[code]),
                (report.words.get(code, {}).get(READ, 0), kept_words.get(code, 0)),
                (report.num_bytes.get(code, {}).get(READ, 0), kept_bytes.get(code, 0)),
            ),
        )
        for code, read in report.read.items()
    ]
    if len(rows) > 1:
        sums = tuple(
            tuple(map(sum, zip(*pairs, strict=True))) for pairs in zip(*(row for _, row in rows), strict=True)
        )
        rows.append((_ALL, sums))  # type: ignore[arg-type]
    header = ["language", "lines read", "kept", "share", "words read", "kept", "MB read", "kept"]
    return _table(
        header,
        [
            [
                code,
                *(f"{lines:,}" for lines in row[0]),
                f"{row[0][1] / row[0][0]:.1%}" if row[0][0] else "",
                *(f"{words:,}" for words in row[1]),
                *(f"{size / _MEGABYTE:,.2f}" for size in row[2]),
            ]
            for code, row in rows
        ],
    )


def _by_name(counts: Mapping[str, Mapping[str, int]], *, sums: bool = True) -> str:
    """A row a language, a column a name, and sums."""
    own = {code: dict(row) for code, row in counts.items() if row}
    total: Counter[str] = sum(map(Counter, own.values()), Counter())
    if len(own) > 1:
        own[_ALL] = dict(total)
    rows = [[code, *(f"{row[name]:,}" if name in row else "" for name in total)] for code, row in own.items()]
    if sums:
        rows = [[*row, f"{sum(own[row[0]].values()):,}"] for row in rows]
    return _table(["language", *total, *([_ALL] if sums else [])], rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
