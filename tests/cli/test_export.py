"""`hf-afro export` in the forms that need no further packages, and what it refuses; ONNX is in tests/export."""

from __future__ import annotations

import json

import pytest
from transformers import AutoModelForMaskedLM, AutoTokenizer

from hf_afro.cli.main import main
from tests.students.conftest import student_config
from tests.students.test_modeling_afro_student import make


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


def test_with_its_code(student, tmp_path):
    out = tmp_path / "out"
    assert main(["export", str(student), "--to", "remote-code", "--output_dir", str(out)]) == 0
    assert json.loads((out / "config.json").read_text("utf-8"))["auto_map"]["AutoConfig"]
    assert (out / "modeling_afro_student.py").is_file()


def test_what_needs_no_other_form_is_said_to_need_none(refused, tmp_path, model, tokenizer):
    model.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    out = tmp_path / "out"
    for form in ("plain", "remote-code"):
        said = refused("export", tmp_path / "m", "--to", form, "--output_dir", out)
        assert "is of type xlm-roberta, which loads with transformers alone as it is" in said
    assert "--to" in refused("export", tmp_path / "m", "--output_dir", out)
    said = refused("export", tmp_path / "m", "--to", "onnx", "--overwrite", "--output_dir", tmp_path / "m")
    assert "would replace what --model" in said
    assert not out.exists()
