"""Citations: entries are complete, and keys are distinct."""

from __future__ import annotations

import pytest

from hf_afro.cards.citations import EVALUATION_SETS, METHODS

ALL = {**METHODS, **EVALUATION_SETS}


@pytest.mark.parametrize("name", ALL)
def test_an_entry_is_whole(name):
    citation = ALL[name]
    fields = dict(citation.fields)
    assert {"title", "author", "year"} <= set(fields)
    assert {"url", "eprint", "doi"} & set(fields), "an entry says where the paper is found"
    assert citation.bibtex.startswith(f"@{citation.kind}{{{citation.key},\n")
    assert citation.bibtex.count("{") == citation.bibtex.count("}")
    assert not citation.what.endswith(".")


def test_keys_are_distinct():
    assert len({citation.key for citation in ALL.values()}) == len(ALL)
