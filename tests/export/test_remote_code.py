"""A student saved with its code loads in a process that cannot import hf_afro."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from hf_afro.export import add_remote_code, export_with_code
from hf_afro.students.registration import MODELS
from tests.students.conftest import student_config
from tests.students.test_modeling_afro_student import make

LOAD = """
import json, sys
sys.modules["hf_afro"] = None  # importing it raises ImportError
import torch, transformers
folder, autos = sys.argv[1], json.loads(sys.argv[2])
for auto in autos:
    model = getattr(transformers, auto).from_pretrained(folder, trust_remote_code=True)
    assert model.config.unpad and model.config.embedding_size == 8
    assert type(model).__module__.startswith("transformers_modules."), type(model).__module__
model = transformers.AutoModelForMaskedLM.from_pretrained(folder, trust_remote_code=True)
tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
batch = tokenizer(["Mvua kubwa", "Mvua"], padding=True, return_tensors="pt")
with torch.no_grad():
    assert torch.equal(model(**batch).logits, torch.load(folder + "/logits.pt")), "other logits"
filled = transformers.pipeline("fill-mask", model=model, tokenizer=tokenizer)("Mvua <mask>")
print(len(filled))
"""


def test_every_head_loads_where_hf_afro_cannot_be_imported(tmp_path, tokenizer):
    folder = tmp_path / "student"
    model = make("ForMaskedLM", student_config(len(tokenizer), unpad=True))
    assert export_with_code(model, tokenizer, folder)["class"] == "AfroStudentForMaskedLM"
    add_remote_code(folder)  # again
    with torch.no_grad():
        batch = tokenizer(["Mvua kubwa", "Mvua"], padding=True, return_tensors="pt")
        torch.save(model(**batch).logits, folder / "logits.pt")
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder), json.dumps(sorted(auto.__name__ for auto in MODELS))],
        env={**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules"), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "5"


def test_the_folder_of_another_model_is_left_alone(tmp_path, model):
    model.save_pretrained(tmp_path)
    before = (tmp_path / "config.json").read_text("utf-8")
    with pytest.raises(ValueError, match="is of a 'xlm-roberta' model; only an 'afro-student'"):
        add_remote_code(tmp_path)
    assert (tmp_path / "config.json").read_text("utf-8") == before
    with pytest.raises(FileNotFoundError, match="save the student there first"):
        add_remote_code(tmp_path / "nowhere")
