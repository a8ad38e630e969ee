"""`hf-afro export` in the forms that need no further packages, and what it refuses; ONNX is in tests/export."""

from __future__ import annotations

import json

import pytest
import torch
import transformers
from transformers import AutoModelForMaskedLM, AutoTokenizer, XLMRobertaModel

from hf_afro.cli.main import main
from tests.students.conftest import student_config
from tests.students.test_modeling_afro_student import make
from tests.texts import SENTENCES


@pytest.fixture
def student(tmp_path, tokenizer):
    make("ForMaskedLM", student_config(len(tokenizer), embedding_size=None, unpad=True)).save_pretrained(
        tmp_path / "s"
    )
    tokenizer.save_pretrained(tmp_path / "s")
    return tmp_path / "s"


def test_plain(student, tmp_path):
    out = tmp_path / "out"
    assert main(["export", str(student), "--to", "plain", "--output_dir", str(out)]) == 0
    assert AutoModelForMaskedLM.from_pretrained(out).config.model_type == "xlm-roberta"
    assert len(AutoTokenizer.from_pretrained(out)) == len(AutoTokenizer.from_pretrained(student))

    assert json.loads((out / "export.json").read_text("utf-8"))["left_out"] == []


@pytest.mark.parametrize("unpad", [True, False])
def test_plain_of_a_masked_lm_student_of_the_commands_is_its_encoder(tmp_path, tokenizer, capsys, unpad):
    """It was refused, with advice that Python alone could follow: XLM-R has no head as narrow as the embedding."""
    student = make("ForMaskedLM", student_config(len(tokenizer), unpad=unpad))
    student.save_pretrained(tmp_path / "s")
    tokenizer.save_pretrained(tmp_path / "s")
    out = tmp_path / "out"
    assert main(["export", str(tmp_path / "s"), "--to", "plain", "--output_dir", str(out)]) == 0
    said = capsys.readouterr().out
    head = [name for name in student.state_dict() if name.startswith("lm_head.")]
    assert len(head) == 7
    assert f"left out: the masked-LM head ({', '.join(head)})" in said
    assert "the encoder is written as XLMRobertaModel" in said
    assert json.loads((out / "export.json").read_text("utf-8"))["left_out"] == head
    plain, report = XLMRobertaModel.from_pretrained(out, add_pooling_layer=False, output_loading_info=True)
    assert not any(report.values())
    batch = AutoTokenizer.from_pretrained(out)(SENTENCES["swa"][:6], padding=True, return_tensors="pt")
    held = batch["attention_mask"] != 0
    with torch.no_grad():
        wanted, found = student.base_model(**batch)[0][held], plain(**batch)[0][held]
    assert (wanted - found).abs().max() < 1e-6


@pytest.mark.parametrize("head", ["ForTokenClassification", "ForSequenceClassification"])
def test_plain_keeps_a_head_that_xlm_roberta_has(tmp_path, tokenizer, head, capsys):
    student = make(head, student_config(len(tokenizer), num_labels=3))
    student.save_pretrained(tmp_path / "s")
    tokenizer.save_pretrained(tmp_path / "s")
    out = tmp_path / "out"
    assert main(["export", str(tmp_path / "s"), "--to", "plain", "--output_dir", str(out)]) == 0
    assert "left out" not in capsys.readouterr().out
    plain = getattr(transformers, f"XLMRoberta{head}").from_pretrained(out)
    batch = AutoTokenizer.from_pretrained(out)(SENTENCES["swa"][:1], return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(plain(**batch).logits, student(**batch).logits, rtol=0, atol=1e-6)


def test_with_its_code(student, tmp_path):
    out = tmp_path / "out"
    assert main(["export", str(student), "--to", "remote-code", "--output_dir", str(out)]) == 0
    assert json.loads((out / "config.json").read_text("utf-8"))["auto_map"]["AutoConfig"]
    assert (out / "modeling_afro_student.py").is_file()


def test_a_student_that_is_plain_already_is_written_as_it_is(tmp_path, model, tokenizer, capsys):
    model.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    out = tmp_path / "out"
    assert main(["export", str(tmp_path / "m"), "--to", "plain", "--output_dir", str(out)]) == 0
    assert "the model is a plain XLM-R already, and is written as it is" in capsys.readouterr().out
    written = type(model).from_pretrained(out).state_dict()
    assert all(torch.equal(weight, written[name]) for name, weight in model.state_dict().items())
    assert json.loads((out / "export.json").read_text("utf-8"))["left_out"] == []


def test_what_needs_no_other_form_is_said_to_need_none(refused, tmp_path, model, tokenizer):
    model.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    out = tmp_path / "out"
    said = refused("export", tmp_path / "m", "--to", "remote-code", "--output_dir", out)
    assert "is of type xlm-roberta, which loads with transformers alone: use it as it is" in said
    assert "--to" in refused("export", tmp_path / "m", "--output_dir", out)
    for options, message in (
        (("--formats", "int8,q4"), "formats has 'q4'"),
        (("--data", "masakhaner1"), "expected TASK=FOLDER, such as ner=masakhaner1"),
        (("--languages", "swa"), "--languages names those of --data, which is missing"),
    ):
        assert message in refused("export", tmp_path / "m", "--to", "onnx", *options, "--output_dir", out)
    said = refused("export", tmp_path / "m", "--to", "plain", "--data", "ner=sets", "--output_dir", out)
    assert "--data is for --to onnx" in said
    said = refused("export", tmp_path / "m", "--to", "onnx", "--overwrite", "--output_dir", tmp_path / "m")
    assert "would replace what --model" in said
    assert not out.exists()
