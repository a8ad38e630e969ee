"""The tiny recipe in a file, and text for it."""

from __future__ import annotations

import logging

import pytest

from tests.texts import SENTENCES
from tests.tiny_recipe import TINY


@pytest.fixture(autouse=True)
def _log_level():
    """Put back the level that a command sets for its own process."""
    logger = logging.getLogger("hf_afro")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder with text of three languages, in two scripts."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "text").mkdir()
    for language in ("swa", "yor", "amh"):
        lines = [f"{first} {second}" for first in SENTENCES[language] for second in SENTENCES[language]]
        (folder / "text" / f"{language}.txt").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(TINY, "utf-8")
    return path
