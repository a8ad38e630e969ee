"""Plain tables."""

from __future__ import annotations

from hf_afro.cli.table import format_table


def test_columns_line_up():
    table = format_table(["language", "lines", "loss"], [["swa", 1234567, 0.123456], ["yor", None, "below"]])
    assert table == "language      lines    loss\nswa       1,234,567  0.1235\nyor               -   below"
