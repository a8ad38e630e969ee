"""The students in the Auto classes, in processes that have imported nothing else yet.

Each script runs in a fresh interpreter, where the order of imports is the one under test.
"""

from __future__ import annotations

import json
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


def test_import_loads_nothing_heavy_and_changes_nothing_else():
    script = """
        import json, logging, os, sys, threading, warnings
        def state():
            loggers = {name: getattr(log, "level", None) for name, log in logging.root.manager.loggerDict.items()}
            return dict(os.environ), list(warnings.filters), logging.root.level, loggers, threading.active_count()
        before = state()
        import hf_afro
        assert state() == before
        heavy = ("torch", "transformers", "numpy", "datasets", "huggingface_hub", "tokenizers", "asyncio")
        print(json.dumps([name for name in heavy if name in sys.modules]))
    """
    assert json.loads(run(script)) == []


def test_every_auto_class_and_pipeline_in_a_fresh_process(saved):
    script = """
        import json, sys
        import hf_afro
        from transformers import AutoTokenizer
        folder = sys.argv[1]
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert type(tokenizer).__name__ == "XLMRobertaTokenizer", type(tokenizer)
        assert "hf_afro.students.modeling_afro_student" not in sys.modules, "a tokenizer must not load the models"

        import torch
        import transformers
        from hf_afro import registration
        for auto, expected in registration.MODEL_FOR.items():
            model = getattr(transformers, auto).from_pretrained(folder)
            assert type(model).__name__ == expected, (auto, type(model))
            assert type(model).__module__ == "hf_afro.students.modeling_afro_student"
            assert getattr(transformers, auto)._model_mapping[type(model.config)] is type(model)
            again = getattr(transformers, auto).from_config(model.config)
            assert type(again) is type(model)
        model = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
        with torch.no_grad():
            logits = model(**tokenizer("Mvua kubwa", return_tensors="pt")).logits
        assert torch.equal(logits, torch.load(f"{folder}/logits.pt"))
        fill = transformers.pipeline("fill-mask", model=folder)
        print(len(fill("Mvua <mask> ilinyesha", top_k=3)))
        assert registration._watch not in sys.meta_path, "nothing is left to wait for"

        with open(f"{folder}/tokenizer_config.json") as file:
            settings = json.load(file)
        del settings["tokenizer_class"]
        with open(f"{folder}/tokenizer_config.json", "w") as file:
            json.dump(settings, file)
        assert type(AutoTokenizer.from_pretrained(folder)) is type(tokenizer)
    """
    assert run(script, saved).splitlines()[-1] == "3"


# Each of these once reached the Auto classes while a module that the students need was half imported.
FIRST = [
    "from transformers import XLMRobertaForMaskedLM",
    "from transformers import XLMRobertaConfig",
    "from hf_afro import AfroStudentConfig",
]
CHECK = """
    from hf_afro import AfroStudentConfig, AfroStudentModel
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    config = AutoConfig.for_model("afro-student", embedding_size=8, vocab_size=50, num_hidden_layers=1)
    assert type(config) is AfroStudentConfig
    assert AutoModel._model_mapping[AfroStudentConfig] is AfroStudentModel
    assert type(AutoModel.from_config(config)) is AfroStudentModel
    print("registered")
"""


@pytest.mark.parametrize("statement", FIRST)
def test_registered_whatever_is_imported_after_hf_afro(statement):
    assert run(f"import hf_afro\n{statement}\n" + textwrap.dedent(CHECK)) == "registered"


def test_registered_at_once_where_transformers_came_first():
    script = """
        import sys
        from transformers import AutoModel, AutoTokenizer
        import hf_afro
        assert "hf_afro.students.configuration_afro_student" in sys.modules
    """
    assert run(textwrap.dedent(script) + textwrap.dedent(CHECK)) == "registered"


def test_threads_and_spawned_processes(saved):
    script = """
        import multiprocessing, pickle, sys
        from concurrent.futures import ThreadPoolExecutor
        import hf_afro
        import transformers  # its own first import is not safe in threads, with or without hf_afro

        def load(folder):
            from transformers import AutoModelForTokenClassification
            return type(AutoModelForTokenClassification.from_pretrained(folder, num_labels=3)).__name__

        with ThreadPoolExecutor(4) as pool:
            assert "transformers.models.auto.modeling_auto" not in sys.modules, "the threads race to it"
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

    before = dict(AutoModel._model_mapping._extra_content), list(sys.meta_path)
    registration.register_when_imported()
    registration.register_when_imported()
    assert (dict(AutoModel._model_mapping._extra_content), list(sys.meta_path)) == before
    assert CONFIG_MAPPING["afro-student"].__name__ == "AfroStudentConfig"


def test_a_failed_registration_is_not_forgotten():
    watch = registration._ImportWatch()
    watch.to_do = {"sys": lambda: 1 / 0}
    with pytest.raises(ZeroDivisionError):
        watch.register_arrived()
    done = []
    watch.to_do["sys"] = lambda: done.append(True)
    watch.register_arrived()
    watch.register_arrived()
    assert done == [True]


def test_the_watch_leaves_other_modules_alone():
    watch = registration._ImportWatch()
    assert watch.find_spec("json") is None
    spec = watch.find_spec("hf_afro.version", __import__("hf_afro").__path__)
    assert spec is not None
    assert spec.origin is not None
    assert spec.origin.endswith("version.py")
