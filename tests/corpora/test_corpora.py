"""The room's door: every public name is there, and reading text pulls in no heavy library."""

from __future__ import annotations

import subprocess
import sys

import pytest

import hf_afro.corpora


def test_every_public_name_is_there():
    for name in hf_afro.corpora.__all__:
        assert getattr(hf_afro.corpora, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'read_corpus'"):
        hf_afro.corpora.read_corpus  # noqa: B018


def test_reading_and_cleaning_need_no_torch():
    code = (
        "import sys; from hf_afro.corpora import clean, decontaminate, load_hub, read_corpora; "
        "print([name for name in ('torch', 'transformers', 'datasets', 'pyarrow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
