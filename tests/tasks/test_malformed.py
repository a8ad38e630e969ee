"""Files that are not as they should be: each is refused with a clear message, or read with its repair counted."""

from __future__ import annotations

import re

import pytest

from benchmarks.malformed_inputs import CASES, read


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
