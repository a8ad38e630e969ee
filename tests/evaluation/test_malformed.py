"""Files that are not as they should be: each is refused with a clear message, or read with its repair counted."""

from __future__ import annotations

import csv
import re

import pytest

from benchmarks.malformed_inputs import CASES, read
from hf_afro.evaluation.data.formats import Repairs
from hf_afro.evaluation.data.tables import TableForm, read_rows


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_clear_error_or_a_counted_repair(case, tmp_path):
    if case.error:
        with pytest.raises((ValueError, FileNotFoundError), match=re.escape(case.error)) as raised:
            read(case, tmp_path)
        # Whose file it is stands in front, but where labels of splits are compared.
        assert str(raised.value).startswith(str(tmp_path)) or str(raised.value).startswith((tmp_path.name, "own"))
        return
    texts, repairs = read(case, tmp_path)
    assert texts == case.examples
    assert repairs == ({case.repair: case.count} if case.repair else {})


def test_there_are_twenty_and_more():
    assert len({case.name for case in CASES}) == len(CASES) >= 20


def test_the_limit_of_a_cell_is_put_back_before_the_first_row_is_seen(tmp_path):
    path = tmp_path / "set.csv"
    path.write_text("text,label\n" + 'one,"positive"\n' * 2, encoding="utf-8")
    before = csv.field_size_limit()
    rows = read_rows(path, TableForm(format="csv"), Repairs())
    next(rows)  # and no more, as where a row is refused and the error is kept
    assert csv.field_size_limit() == before
