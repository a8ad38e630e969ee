"""A recipe that starts from a model in a folder: its content counts, and it is read where it is now."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from hf_afro.cards import CardFacts
from hf_afro.pretrained import load_config
from hf_afro.recipes import load_recipe, run_recipe
from hf_afro.reports import EvalReport
from hf_afro.steps import base
from hf_afro.steps.card import made_facts
from hf_afro.steps.records import RECORD_FILE, Record
from hf_afro.steps.running import DONE, UP_TO_DATE
from tests.tiny_recipe import TINY

BASED = """\
name: based
prepare:
  text: ${data}/text
  eval_lines: 3
base:
  model: ${data}/model
count:
  languages: swa
prune:
  budget: 250
evaluate:
  models: {original: base, pruned: prune}
  text: prepare
  languages: swa
report:
card:
  model: prune
"""


@pytest.fixture(scope="module")
def data_with_model(data, tmp_path_factory):
    """The text, and beside it a model that was trained a little on it."""
    folder = shutil.copytree(data, tmp_path_factory.mktemp("based") / "data")
    file = folder.parent / "teacher.yaml"
    file.write_text(TINY.partition("count:")[0], "utf-8")
    run_recipe(load_recipe(str(file), ["--data", str(data)]), folder.parent / "run")
    shutil.copytree(folder.parent / "run" / "pretrain", folder / "model", ignore=shutil.ignore_patterns(RECORD_FILE))
    (folder / "model" / "1_Pooling").mkdir()
    (folder / "model" / "checkpoint-4").mkdir()
    return folder


@pytest.fixture(scope="module")
def load_based(tmp_path_factory):
    file = tmp_path_factory.mktemp("recipe") / "based.yaml"
    file.write_text(BASED, "utf-8")

    def load(data, *words):
        return load_recipe(str(file), ["--data", str(data), *words])

    return load


@pytest.fixture(scope="module")
def finished(load_based, data_with_model):
    """The output of a whole run; not to be changed."""
    folder = data_with_model.parent / "based"
    run_recipe(load_based(data_with_model), folder)
    return folder


def test_a_model_whose_folder_was_moved_is_read_where_it_is_now(load_based, finished, data_with_model, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "out", symlinks=True)
    moved = shutil.copytree(data_with_model, tmp_path / "moved")
    hidden = data_with_model / "model"
    hidden.rename(hidden.with_name("gone"))
    try:
        results = run_recipe(load_based(moved), folder)
        statuses = {result.name: result.status for result in results}
        assert statuses.pop("base") == DONE  # which is a folder of links
        assert set(statuses.values()) == {UP_TO_DATE}
        run_recipe(load_based(moved, "--prune.budget", "240"), folder)
    finally:
        hidden.with_name("gone").rename(hidden)
    assert Record.load(folder / "prune").facts["vocabulary"] <= 240


def test_nothing_of_the_model_is_copied(finished, data_with_model):
    files = [path for path in (finished / "base").iterdir() if path.name != RECORD_FILE]
    assert {"config.json", "model.safetensors", "tokenizer.json", "1_Pooling"} <= {path.name for path in files}
    assert "checkpoint-4" not in {path.name for path in files}
    assert all(path.is_symlink() and path.resolve().parent == data_with_model / "model" for path in files)


def test_a_model_of_the_hub_is_taken_at_its_commit(data_with_model, tmp_path, monkeypatch):
    asked = []

    def download(name, *, revision, ignore_patterns):
        asked.append((name, revision))
        return str(data_with_model / "model")

    monkeypatch.setattr(base, "snapshot_download", download)
    monkeypatch.setattr(
        base, "load_encoder_config", lambda name, **settings: load_config(str(data_with_model / "model"))
    )
    (tmp_path / "r.yaml").write_text("name: r\nbase: {model: me/model, revision: 1234abc}\n", "utf-8")
    (result,) = run_recipe(load_recipe(str(tmp_path / "r.yaml")), tmp_path / "out")
    assert asked == [("me/model", "1234abc")]
    assert (result.facts["model"], result.facts["revision"]) == ("me/model", "1234abc")
    assert (result.folder / "model.safetensors").is_symlink()


def test_a_card_of_a_model_that_was_cut_only_says_that_its_head_was_not_trained(finished):
    told = CardFacts.load(finished / "card" / "card_facts.json")
    assert (told.languages, told.head) == (("swa",), "kept")  # which the configuration of the model says
    report = dataclasses.replace(EvalReport.load(finished / "evaluate" / "pruned"), model={})
    assert made_facts(CardFacts.of_report(report), report, finished / "prune").head == "not_trained_here"


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("hidden_size: 64", r"architecture declares hidden_size=64, and .*model has 32; correct the declaration"),
        ("hidden_size: 32", None),
    ],
)
def test_a_model_is_the_one_declared(load_based, data_with_model, tmp_path, architecture, message):
    file = tmp_path / "declared.yaml"
    model = f"  model: {data_with_model}/model\n  architecture: {{model_type: xlm-roberta, {architecture}}}\n"
    file.write_text(f"name: declared\nbase:\n{model}", "utf-8")
    if message is None:
        assert run_recipe(load_recipe(str(file)), tmp_path / "out")[0].status == DONE
    else:
        with pytest.raises(ValueError, match=message):
            run_recipe(load_recipe(str(file)), tmp_path / "out")


def test_a_tokenizer_of_another_model_is_refused(data_with_model, tmp_path):
    copied = shutil.copytree(data_with_model / "model", tmp_path / "model")
    path = copied / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "vocab_size": 100}))
    (tmp_path / "r.yaml").write_text(f"name: r\nbase: {{model: {copied}}}\n", "utf-8")
    with pytest.raises(ValueError, match=r"has \d+ tokens but the model has 100 rows, so they do not belong together"):
        run_recipe(load_recipe(str(tmp_path / "r.yaml")), tmp_path / "out")
