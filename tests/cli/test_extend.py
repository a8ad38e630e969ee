"""`hf-afro extend`: what it writes equals what the library makes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from hf_afro.cli.main import main
from hf_afro.steps.records import Record
from hf_afro.vocabulary import extend_vocabulary
from tests.vocabulary.test_extending import NKO, lines_of


@pytest.fixture
def nko_folder(tmp_path):
    folder = tmp_path / "nko"
    folder.mkdir()
    (folder / "nqo.txt").write_text("\n".join(lines_of(NKO)) + "\n", "utf-8")
    return folder


def words_of(model, text, out, *more):
    return list(map(str, ["extend", "--model", model, "--text", text, "--output_dir", out, *more]))


def test_words_and_scripts_as_the_library_adds_them(
    model_folder, text_folder, nko_folder, tokenizer, tmp_path, capsys
):
    model = AutoModelForMaskedLM.from_pretrained(model_folder)
    swahili = (text_folder / "swa.txt").read_text("utf-8").splitlines()
    cases = {
        "words": ((text_folder, "--languages", "swa", "--num_tokens", 7), (swahili, 7), {}),
        "nko": ((nko_folder, "--scripts", "N'Ko", "--num_tokens", 60), (lines_of(NKO), 60), {"scripts": ["Nko"]}),
    }
    for name, ((text, *more), (lines, size), settings) in cases.items():
        out = tmp_path / f"with-{name}"
        assert main(words_of(model_folder, text, out, *more)) == 0
        expected = extend_vocabulary(model, tokenizer, lines, size, **settings)
        loaded = AutoTokenizer.from_pretrained(out)
        assert (out / "new_tokens.txt").read_text("utf-8").splitlines() == list(expected.pieces)
        assert len(expected.pieces) == size
        assert loaded(lines[:9]).input_ids == expected.tokenizer(lines[:9]).input_ids
        rows = AutoModelForMaskedLM.from_pretrained(out).get_input_embeddings().weight
        assert torch.equal(rows, expected.model.get_input_embeddings().weight)
        facts = Record.load(out).facts
        assert facts["new_tokens"] == size
        assert facts["new_tokens_per_word"] == expected.new_tokens_per_word
        printed = capsys.readouterr().out
        assert f"{size} tokens added, {expected.from_pieces} of them" in printed
        assert f"{expected.old_tokens_per_word:.3f} before, {expected.new_tokens_per_word:.3f} after" in printed


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--scripts", "Klingon"], "'Klingon' is not a Unicode script"),
        (["--scripts", "Nko"], "the texts hold no word of Nko"),
        (["--shared_bytes"], "--shared_bytes is about letters of --scripts"),
        (["--num_tokens", 0], "num_tokens is 0; expected at least 1"),
    ],
)
def test_refusals(refused, model_folder, text_folder, tmp_path, more, message):
    assert message in refused(*words_of(model_folder, text_folder, tmp_path / "out", *more))
    assert not Path(tmp_path / "out").exists()
