"""The students in transformers' Auto classes and pipelines."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer, XLMRobertaTokenizer, pipeline
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from hf_afro import AfroStudentConfig, AfroStudentForMaskedLM
from hf_afro.students.registration import MODELS, register_students
from tests.students.conftest import student_config


@pytest.fixture
def saved(tmp_path, tokenizer) -> Path:
    """A folder with a factorised student and its tokenizer."""
    AfroStudentForMaskedLM(student_config(len(tokenizer))).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("auto", MODELS, ids=lambda auto: auto.__name__)
def test_every_auto_class_loads_and_makes_students(auto, saved):
    model = auto.from_pretrained(saved)
    assert type(model) is MODELS[auto]
    assert type(auto.from_config(model.config)) is MODELS[auto]


def test_the_pipeline_and_the_tokenizer_are_found(saved):
    assert len(pipeline("fill-mask", model=str(saved))("Mvua <mask> ilinyesha", top_k=3)) == 3
    settings = json.loads((saved / "tokenizer_config.json").read_text("utf-8"))
    del settings["tokenizer_class"]
    (saved / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    assert type(AutoTokenizer.from_pretrained(saved)) is XLMRobertaTokenizer


def test_a_process_that_unpickles_a_configuration_knows_the_students(saved):
    (saved / "config.pickle").write_bytes(pickle.dumps(AutoConfig.from_pretrained(saved)))
    script = (
        "import pickle, sys, transformers\n"
        "config = pickle.load(open(f'{sys.argv[1]}/config.pickle', 'rb'))\n"
        "model = transformers.AutoModelForMaskedLM.from_pretrained(sys.argv[1])\n"
        "print(type(config).__name__, type(model).__name__)"
    )
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", script, str(saved)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.split() == ["AfroStudentConfig", "AfroStudentForMaskedLM"], done.stderr


def test_registering_again_changes_nothing():
    before = dict(AutoModelForMaskedLM._model_mapping._extra_content)
    register_students()
    assert dict(AutoModelForMaskedLM._model_mapping._extra_content) == before
    assert CONFIG_MAPPING["afro-student"] is AfroStudentConfig
