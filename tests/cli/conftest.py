"""A folder with a small model and its tokenizer, and one with text, as the commands take them."""

from __future__ import annotations

import logging

import pytest
import torch
from transformers import XLMRobertaForMaskedLM

from hf_afro.cli.main import main
from tests.conftest import tiny_config
from tests.texts import SENTENCES


@pytest.fixture(autouse=True)
def _log_level():
    """Put back the level that a command sets for its own process."""
    logger = logging.getLogger("hf_afro")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(scope="session")
def model_folder(_tokenizer, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    XLMRobertaForMaskedLM(tiny_config(len(_tokenizer))).save_pretrained(folder)
    _tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def text_folder(tmp_path):
    folder = tmp_path / "text"
    folder.mkdir()
    for language in ("swa", "yor"):
        lines = [f"{first} {second}" for first in SENTENCES[language] for second in SENTENCES[language]]
        (folder / f"{language}.txt").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


@pytest.fixture(scope="session")
def counts_folder(model_folder, tmp_path_factory) -> str:
    base = tmp_path_factory.mktemp("counted")
    (base / "text").mkdir()
    for language, lines in SENTENCES.items():
        (base / "text" / f"{language}.txt").write_text("\n".join(lines) + "\n", "utf-8")
    arguments = ["count", "--text", str(base / "text"), "--tokenizer", model_folder]
    assert main([*arguments, "--output_dir", str(base / "counts")]) == 0
    return str(base / "counts")


@pytest.fixture
def refused(capsys):
    """Run a command that must be refused as the user's mistake, and return its one line."""

    def run(*arguments: object) -> str:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert code == 2, captured.err
        lines = [line for line in captured.err.splitlines() if line.startswith("hf-afro")]
        assert len(lines) == 1, captured.err
        assert "Traceback" not in captured.err
        return lines[0]

    return run
