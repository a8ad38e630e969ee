"""Tables as text, HTML, Markdown, LaTeX and CSV: all cells are there, and no text breaks the form."""

from __future__ import annotations

import csv
import dataclasses
import io
import xml.etree.ElementTree as ET

from hf_afro.reports.score_tables import comparison_table
from hf_afro.reports.tables import Cell, Table, as_csv, format_table
from tests.reports.examples import three

ODD = Table(
    "F1 | 50 %", ("language", "a_b", "c&d"), ((Cell("x"), Cell("1.0 ± 0.1", best=True), Cell("–")),), ("Note #1.",)
)


def test_markdown():
    assert ODD.as_markdown().splitlines() == [
        "## F1 \\| 50 %",
        "",
        "| language | a\\_b | c\\&d |",
        "| --- | ---: | ---: |",
        "| x | **1.0 ± 0.1** | – |",
        "",
        "Note \\#1.",
    ]


def test_words_are_aligned_left():
    words = dataclasses.replace(ODD, words=True)
    assert words.as_markdown(heading=False).splitlines()[1] == "| --- | --- | --- |"
    assert '<table class="words">' in words.as_html()


def test_latex():
    written = ODD.as_latex()
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


def test_text_is_aligned_and_the_best_has_a_star():
    lines = str(comparison_table(three(), "bits_per_byte")).splitlines()
    assert lines[0] == "Bits per byte"
    assert lines[2] == "language           n   teacher   pruned   student"
    assert lines[3] == "Amharic (amh)  1,234     1.610*   1.630     2.200"


def test_the_star_is_explained_where_there_is_one():
    assert str(ODD).splitlines()[-3:] == ["", "* The best of its row.", "Note #1."]
    plain = dataclasses.replace(ODD, rows=((Cell("x"), Cell("1"), Cell("2")),), notes=())
    assert str(plain).splitlines()[-1] == "x           1     2"


def test_html_is_well_formed_and_escaped():
    table = Table("<title>", ("a&b", "<c>"), ((Cell("<row>"), Cell("1 < 2", best=True)),), ("<note>",))
    root = ET.fromstring(f"<div>{table.as_html()}</div>")
    assert root.find(".//caption").text == "<title>"
    assert root.find(".//td/b").text == "1 < 2"
    assert root.find("p").text == "<note>"


def test_format_table():
    table = format_table(["language", "lines", "loss"], [["swa", 1234567, 0.123456], ["yor", None, "below"]])
    assert table == "language      lines    loss\nswa       1,234,567  0.1235\nyor               -   below"
