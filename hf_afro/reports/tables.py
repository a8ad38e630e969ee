"""Tables as values, and their forms: aligned text, HTML, Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_LATEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
}


@dataclass(frozen=True)
class Cell:
    """The text of a cell, and whether it is the best of its row."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; the first column names the row.

    Attributes:
        title: The title or caption.
        header: The column names.
        rows: The rows, each with one cell per column.
        notes: Notes below the table, one sentence each.
        words: Whether the columns after the first hold words, which are aligned left, instead of numbers.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    words: bool = False

    def __str__(self) -> str:
        return self.as_text()

    def as_text(self) -> str:
        """Return the table for a terminal: aligned columns, and a star behind the best cell of a row."""
        # A blank where others have a star, so that the numbers stay aligned.
        lines = [[self.header[0], *(f"{name} " for name in self.header[1:])]]
        lines += [[row[0].text, *(cell.text + " *"[cell.best] for cell in row[1:])] for row in self.rows]
        stars = any(cell.best for row in self.rows for cell in row)
        notes = [*(["* The best of its row."] if stars else []), *self.notes]
        return "\n".join([self.title, "", _aligned(lines), *([""] if notes else []), *notes])

    def as_html(self) -> str:
        """Return the table as HTML with all text escaped, the best cell of a row in `<b>`."""
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in self.header)
        body = "".join(
            f'<tr><th scope="row">{escape(row[0].text)}</th>{"".join(map(_html_cell, row[1:]))}</tr>\n'
            for row in self.rows
        )
        notes = "".join(f'<p class="note">{escape(note)}</p>\n' for note in self.notes)
        kind = ' class="words"' if self.words else ""
        return (
            f'<div class="scroll"><table{kind}>\n<caption>{escape(self.title)}</caption>\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n{notes}"
        )

    def as_markdown(self, *, heading: bool = True) -> str:
        """Return a GitHub-flavored Markdown table and its notes, the best cell of a row in bold.

        Args:
            heading: Whether the title comes first, as a heading of the second level.
        """
        lines = [
            [plain_markdown(name) for name in self.header],
            ["---", *["---" if self.words else "---:"] * (len(self.header) - 1)],
            *([_markdown_cell(cell) for cell in row] for row in self.rows),
        ]
        title = [f"## {plain_markdown(self.title)}"] if heading else []
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join([*title, table, *map(plain_markdown, self.notes)])

    def as_latex(self) -> str:
        """Return a LaTeX table for the `booktabs` package, with the notes in its caption."""
        notes = "".join(f" {_latex(note)}" for note in self.notes)
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{_latex(self.title)}.{notes}}}",
                rf"\begin{{tabular}}{{l{('l' if self.words else 'r') * (len(self.header) - 1)}}}",
                r"\toprule",
                f"{' & '.join(map(_latex, self.header))} \\\\",
                r"\midrule",
                *(f"{' & '.join(map(_latex_cell, row))} \\\\" for row in self.rows),
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
            ]
        )


def as_csv(tables: Sequence[Table]) -> str:
    """Return tables as one CSV with one line per cell: table, row, column, text, and whether it is the best.

    In this long form tables with different columns fit into one file, and a spreadsheet can pivot it.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("table", "row", "column", "text", "best"))
    for table in tables:
        for first, *cells in table.rows:
            for name, cell in zip(table.header[1:], cells, strict=True):
                writer.writerow((table.title, first.text, name, cell.text, "yes" if cell.best else ""))
    return text.getvalue()


def plain_markdown(value: object) -> str:
    """Return text on one line with everything escaped that has a meaning in Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>|#&])", r"\\\1", " ".join(str(value).split()))


def format_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return aligned text without a title: the first column left-aligned, the others right-aligned.

    Args:
        header: The column names.
        rows: One value per column; integers get thousands separators, floats four significant digits, None a dash.
    """
    return _aligned([header, *([_shown(value) for value in row] for row in rows)])


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    )


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _html_cell(cell: Cell) -> str:
    return f"<td><b>{escape(cell.text)}</b></td>" if cell.best else f"<td>{escape(cell.text)}</td>"


def _markdown_cell(cell: Cell) -> str:
    return f"**{plain_markdown(cell.text)}**" if cell.best else plain_markdown(cell.text)


def _latex_cell(cell: Cell) -> str:
    return rf"\textbf{{{_latex(cell.text)}}}" if cell.best else _latex(cell.text)


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
