"""What whoever publishes a model is told: that the card is of another one, and that code is needed."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import XLMRobertaForMaskedLM

from hf_afro import build_student
from hf_afro.cards import render_card
from hf_afro.evaluation.facts import model_facts
from hf_afro.export import add_remote_code
from hf_afro.hub.contents import gather
from hf_afro.reports import EvalReport
from tests.conftest import tiny_config
from tests.reports.examples import report, score


def card_of(model, *others: EvalReport) -> str:
    return render_card([EvalReport("own", model_facts(model), (score(),)), *others])


@pytest.fixture
def folder(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text(card_of(model, report("teacher")), "utf-8")
    return tmp_path


def test_a_card_of_this_model_earns_no_note(folder):
    assert gather(folder).notes == ()


def test_a_card_of_another_model_does(folder, tokenizer, model):
    other = XLMRobertaForMaskedLM(tiny_config(len(tokenizer), num_hidden_layers=1))
    (folder / "README.md").write_text(card_of(other), "utf-8")
    (note,) = gather(folder).notes
    assert f"has {other.num_parameters():,} parameters and the weights here have {model.num_parameters():,}" in note
    (folder / "README.md").write_text(render_card([report("student")]), "utf-8")
    (note,) = gather(folder).notes
    assert "the card's model has 23.0 M parameters" in note
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model\n\nIt has 5 parameters.\n", "utf-8")
    assert gather(folder).notes == ()


def test_millions_are_compared_as_the_card_rounds_them(folder):
    weights = load_file(folder / "model.safetensors")
    for size, notes in ((23_012_345, 0), (23_149_999, 1)):
        has = sum(tensor.numel() for tensor in weights.values())
        more = {"encoder.more": torch.zeros(size - has, dtype=torch.float16)}
        save_file(weights | more, folder / "model.safetensors", {"format": "pt"})
        (folder / "README.md").write_text(render_card([report("student")]), "utf-8")
        assert len(gather(folder).notes) == notes


def test_what_a_checkpoint_holds_beside_the_model_is_no_other_model(folder):
    weights = load_file(folder / "model.safetensors")
    extra = {
        "roberta.pooler.dense.weight": torch.zeros(32, 32),
        "lm_head.decoder.weight": weights["roberta.embeddings.word_embeddings.weight"].clone(),
        "roberta.embeddings.position_ids": torch.arange(64),
    }
    save_file(weights | extra, folder / "model.safetensors", {"format": "pt"})
    assert gather(folder).notes == ()


def test_a_student_needs_the_library_or_its_code_beside_it(model, tokenizer, tmp_path):
    student = build_student(model, num_hidden_layers=1, hidden_size=32, embedding_size=8)
    student.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text(card_of(student), "utf-8")
    (note,) = gather(tmp_path).notes
    assert note.startswith("an afro-student loads only where hf_afro is installed and imported; `hf-afro export")
    assert "--to remote-code" in note
    add_remote_code(tmp_path)
    assert gather(tmp_path).notes == ()
    (tmp_path / "modeling_afro_student.py").unlink()
    assert "auto_map" in json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert len(gather(tmp_path).notes) == 1
