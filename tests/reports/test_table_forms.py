"""Tables for papers and spreadsheets: what stands in them is what the page shows, and nothing breaks their form."""

from __future__ import annotations

import csv
import io

from hf_afro.reports.table_forms import as_csv, as_latex, as_markdown
from hf_afro.reports.tables import Cell, Table, comparison_table
from tests.reports.examples import three

ODD = Table(
    "F1 | 50 %", ("language", "a_b", "c&d"), ((Cell("x"), Cell("1.0 ± 0.1", best=True), Cell("–")),), ("Note #1.",)
)


def test_markdown():
    assert as_markdown(ODD).splitlines() == [
        "## F1 \\| 50 %",
        "",
        "| language | a\\_b | c&d |",
        "| --- | ---: | ---: |",
        "| x | **1.0 ± 0.1** | – |",
        "",
        "Note #1.",
    ]


def test_latex():
    written = as_latex(ODD)
    assert r"\caption{F1 | 50 \%. Note \#1.}" in written
    assert r"language & a\_b & c\&d \\" in written
    assert r"x & \textbf{1.0 $\pm$ 0.1} & -- \\" in written
    assert r"\begin{tabular}{lrr}" in written
    assert written.count(r"\begin{") == written.count(r"\end{") == 2


def test_csv_holds_every_cell():
    table = comparison_table(three(), "ner")
    read = list(csv.DictReader(io.StringIO(as_csv([table, ODD]))))
    assert len(read) == len(table.rows) * (len(table.header) - 1) + 2
    assert read[-2] == {"table": "F1 | 50 %", "row": "x", "column": "a_b", "text": "1.0 ± 0.1", "best": "yes"}
    hausa = [row for row in read if row["row"] == "Hausa (hau)" and row["column"] == "teacher"]
    assert [row["text"] for row in hausa] == ["91.5 ± 0.5"]
