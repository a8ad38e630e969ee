"""Tables in the forms that papers and spreadsheets take: Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from hf_afro.reports.tables import Cell, Table

_LATEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
}
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|])")


def as_markdown(table: Table) -> str:
    """Return a table of GitHub's Markdown under its title, the best of a row in bold, and its notes."""
    lines = [
        [_plain(name) for name in table.header],
        ["---", *["---:"] * (len(table.header) - 1)],
        *([f"**{_plain(cell.text)}**" if cell.best else _plain(cell.text) for cell in row] for row in table.rows),
    ]
    notes = [_plain(note) for note in table.notes]
    return "\n\n".join([f"## {_plain(table.title)}", "\n".join(f"| {' | '.join(line)} |" for line in lines), *notes])


def as_latex(table: Table) -> str:
    """Return a table for LaTeX with the package `booktabs`, the best of a row in bold, its notes in the caption."""
    body = "\n".join(f"{' & '.join(map(_latex_cell, row))} \\\\" for row in table.rows)
    notes = " ".join(map(_latex, table.notes))
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex(table.title)}.{' ' if notes else ''}{notes}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
            r"\toprule",
            f"{' & '.join(map(_latex, table.header))} \\\\",
            r"\midrule",
            body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def as_csv(tables: Sequence[Table]) -> str:
    """Return tables as one CSV, a line a cell: title, row, column, text, and whether it is the best of its row.

    Tables of other columns fit into one file so, and a spreadsheet turns it into any of them.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("table", "row", "column", "text", "best"))
    for table in tables:
        for first, *cells in table.rows:
            for name, cell in zip(table.header[1:], cells, strict=True):
                writer.writerow((table.title, first.text, name, cell.text, "yes" if cell.best else ""))
    return text.getvalue()


def _plain(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def _latex_cell(cell: Cell) -> str:
    return rf"\textbf{{{_latex(cell.text)}}}" if cell.best else _latex(cell.text)


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
