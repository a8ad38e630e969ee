"""The public names of the package are there."""

from __future__ import annotations

import pytest

import hf_afro.corpora


def test_every_public_name_is_there():
    for name in hf_afro.corpora.__all__:
        assert getattr(hf_afro.corpora, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'read_corpus'"):
        hf_afro.corpora.read_corpus  # noqa: B018
