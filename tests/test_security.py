"""What others made and hf_afro reads: it runs no code, leads out of no folder, and is read up to a limit."""

from __future__ import annotations

import ast
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from hf_afro.cards import CardFacts
from hf_afro.files import check_size, read_limited
from hf_afro.pretrained import load_config, load_model, load_tokenizer
from hf_afro.recipes import load_recipe
from hf_afro.reports import EvalReport
from hf_afro.vocabulary import TokenCounts

PACKAGE = Path(__file__).resolve().parents[1] / "hf_afro"
RUNS = ("pickle", "marshal", "shelve", "dill", "joblib", "tarfile", "runpy")
BUILTINS = {"eval", "exec", "compile", "__import__"}  # a model's method `eval` is another thing
METHODS = {"unpack_archive", "extractall", "unsafe_load", "full_load"}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Work in an empty folder, in which a trap that has sprung leaves a file."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / "sprung").exists()


class Trap:
    def __reduce__(self):
        return os.system, ("touch sprung",)


CODE = "open('sprung', 'w').close()\n"


@pytest.fixture
def folder(model, tokenizer, tmp_path):
    """A model whose repository brings code of its own."""
    folder = tmp_path / "m"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "code.py").write_text(CODE)
    path = folder / "config.json"
    classes = {"AutoConfig": "code.C", "AutoModelForMaskedLM": "code.M", "AutoModel": "code.M"}
    path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": classes}))
    return folder


def test_code_of_a_repository_is_not_run(folder):
    assert type(load_config(str(folder))).__module__.startswith("transformers.")
    assert type(load_model(str(folder))).__module__.startswith("transformers.")
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": "of-their-own"}))
    for load in (load_config, load_model):
        with pytest.raises(ValueError, match="needs the code that comes with it, which hf_afro never runs"):
            load(str(folder))
    path = folder / "tokenizer_config.json"
    settings = {"tokenizer_class": "Theirs", "auto_map": {"AutoTokenizer": ["code.T", "code.T"]}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    with pytest.raises(ValueError, match="tokenizer of .* needs the code that comes with it"):
        load_tokenizer(str(folder))


def test_weights_that_run_code_are_not_loaded(folder):
    (folder / "model.safetensors").unlink()
    torch.save({"roberta.embeddings.word_embeddings.weight": Trap()}, folder / "pytorch_model.bin")
    with pytest.raises((ValueError, pickle.UnpicklingError)):
        load_model(str(folder))


def test_counts_that_run_code_are_not_loaded(tmp_path):
    array = np.empty(1, dtype=object)
    array[0] = Trap()
    np.savez(tmp_path / "counts.npz", facts=array)
    with pytest.raises(ValueError, match="allow_pickle="):
        TokenCounts.load(tmp_path / "counts.npz")
    (tmp_path / "counts.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="allow_pickle="):
        TokenCounts.load(tmp_path / "counts.npz")


def test_counts_say_how_large_they_are_before_they_are_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_afro.vocabulary.counts._MOST_UNPACKED", 1 << 20)
    with zipfile.ZipFile(tmp_path / "counts.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("facts.npy", bytes(2 << 20))
    with pytest.raises(ValueError, match="has 2,097,152 bytes once unpacked"):
        TokenCounts.load(tmp_path / "counts.npz")


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch sprung']",
        "!!python/name:os.system",
        "!!python/object/new:os.system ['touch sprung']",
        "$(touch sprung)",
        "`touch sprung`",
        "{{ cycler.__init__.__globals__.os.popen('touch sprung') }}",
    ],
)
def test_a_recipe_runs_no_code(tmp_path, value):
    (tmp_path / "r.yaml").write_text(f"name: r\ndescription: {json.dumps(value) if value[0] in '$`{' else value}\n")
    with pytest.raises(ValueError):
        load_recipe(str(tmp_path / "r.yaml"))


def test_aliases_of_aliases_do_not_fill_the_memory(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (tmp_path / "r.yaml").write_text("name: r\n" + "\n".join(lines) + "\n")
    with pytest.raises(ValueError, match="more than 100,000 values, once its aliases are expanded"):
        load_recipe(str(tmp_path / "r.yaml"))


def test_files_that_are_read_whole_have_a_limit(tmp_path):
    large = tmp_path / "large.yaml"
    with large.open("wb") as file:
        file.truncate(1 << 40)  # a terabyte of nothing, which takes no room on the disk
    for read in (
        lambda: load_recipe(str(large)),
        lambda: EvalReport.load(large),
        lambda: CardFacts.load(large),
        lambda: read_limited(large, 10),
        lambda: check_size(large, 10),
    ):
        with pytest.raises(ValueError, match="(which is too large|expected at most .*) for such a file"):
            read()


def test_nothing_in_the_package_can_unpickle_unpack_or_run_text():
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            where = f"{path.name}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                assert not {module.split(".")[0] for module in modules} & set(RUNS), where
            if isinstance(node, ast.Call):
                assert getattr(node.func, "id", "") not in BUILTINS, where
                assert getattr(node.func, "attr", "") not in METHODS, where
                told = {keyword.arg: keyword.value for keyword in node.keywords}
                assert ast.unparse(told.get("trust_remote_code", ast.Constant(False))) == "False", where
                if ast.unparse(node.func) == "torch.load":
                    assert ast.unparse(told.get("weights_only", ast.Constant(None))) == "True", where
                if ast.unparse(node.func) == "np.load":
                    assert ast.unparse(told.get("allow_pickle", ast.Constant(None))) == "False", where
                assert ast.unparse(node.func) != "yaml.load", where
