"""The students in the Auto classes, in processes that have imported nothing else yet.

Each script runs in a fresh interpreter, where the order of imports is the one under test.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from hf_afro import AfroStudentForMaskedLM, registration
from tests.students.conftest import student_config

REPOSITORY = Path(__file__).resolve().parents[1]


def run(script: str, *arguments: object) -> str:
    """Run a script in a fresh interpreter and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", textwrap.dedent(script), *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def saved(tmp_path, tokenizer) -> Path:
    """A folder with a saved factorised student, its tokenizer, and the logits it gave."""
    torch.manual_seed(0)
    model = AfroStudentForMaskedLM(student_config(len(tokenizer))).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with torch.no_grad():
        torch.save(model(**tokenizer("Mvua kubwa", return_tensors="pt")).logits, tmp_path / "logits.pt")
    return tmp_path


def test_every_auto_class_and_pipeline_in_a_fresh_process(saved):
    script = """
        import json, sys
        import hf_afro
        from transformers import AutoTokenizer
        folder = sys.argv[1]
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert type(tokenizer).__name__ == "XLMRobertaTokenizer", type(tokenizer)

        import torch
        import transformers
        from hf_afro import registration
        for auto, expected in registration.MODELS.items():
            model = auto.from_pretrained(folder)
            assert type(model) is expected, (auto, type(model))
            assert type(auto.from_config(model.config)) is expected
        model = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
        with torch.no_grad():
            logits = model(**tokenizer("Mvua kubwa", return_tensors="pt")).logits
        assert torch.equal(logits, torch.load(f"{folder}/logits.pt"))
        fill = transformers.pipeline("fill-mask", model=folder)
        print(len(fill("Mvua <mask> ilinyesha", top_k=3)))

        with open(f"{folder}/tokenizer_config.json") as file:
            settings = json.load(file)
        del settings["tokenizer_class"]
        with open(f"{folder}/tokenizer_config.json", "w") as file:
            json.dump(settings, file)
        assert type(AutoTokenizer.from_pretrained(folder)) is type(tokenizer)
    """
    assert run(script, saved).splitlines()[-1] == "3"


ORDERS = [
    "import hf_afro\nfrom transformers import AutoConfig, AutoModel",
    "from transformers import AutoConfig, AutoModel\nimport hf_afro",
    "from hf_afro import AfroStudentConfig\nfrom transformers import AutoConfig, AutoModel",
    "from transformers import XLMRobertaForMaskedLM\nimport hf_afro\nfrom transformers import AutoConfig, AutoModel",
]
CHECK = """
    from hf_afro import AfroStudentConfig, AfroStudentModel
    config = AutoConfig.for_model("afro-student", embedding_size=8, vocab_size=50, num_hidden_layers=1)
    assert type(config) is AfroStudentConfig
    assert type(AutoModel.from_config(config)) is AfroStudentModel
    print("registered")
"""


@pytest.mark.parametrize("imports", ORDERS)
def test_registered_in_any_order_of_imports(imports):
    assert run(f"{imports}\n" + textwrap.dedent(CHECK)) == "registered"


def test_threads_and_spawned_processes(saved):
    script = """
        import multiprocessing, pickle, sys
        from concurrent.futures import ThreadPoolExecutor
        import hf_afro
        def load(folder):
            from transformers import AutoModelForTokenClassification
            return type(AutoModelForTokenClassification.from_pretrained(folder, num_labels=3)).__name__

        with ThreadPoolExecutor(4) as pool:
            names = set(pool.map(load, [sys.argv[1]] * 4))
        assert names == {"AfroStudentForTokenClassification"}, names

        model = hf_afro.AfroStudentForMaskedLM.from_pretrained(sys.argv[1])
        config = pickle.loads(pickle.dumps(model.config))
        assert type(config) is hf_afro.AfroStudentConfig
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            # The child knows neither library; unpickling the model brings both in, and the registration with them.
            print(pool.apply(pickle.dumps, (model.config,)) == pickle.dumps(model.config))
            from transformers import AutoModel
            print(type(pool.apply(AutoModel.from_config, (model.config,))).__name__)
    """
    assert run(script, saved).splitlines()[-2:] == ["True", "AfroStudentModel"]


def test_registering_again_changes_nothing():
    from transformers import AutoModel
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    before = dict(AutoModel._model_mapping._extra_content)
    registration.register_students()
    assert dict(AutoModel._model_mapping._extra_content) == before
    assert CONFIG_MAPPING["afro-student"].__name__ == "AfroStudentConfig"
