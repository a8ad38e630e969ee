"""A recipe that starts from a model in a folder: what counts is the model, and where it is now is where it is read."""

from __future__ import annotations

import json
import shutil

import pytest

from hf_afro.recipes import load_recipe, run_recipe
from hf_afro.recipes.manifest import MANIFEST
from hf_afro.recipes.runner import UP_TO_DATE
from tests.recipes.conftest import TINY, facts_of_card

BASED = """\
name: based
corpora:
  text: ${data}/text
  held_out_lines: 3
base:
  model: ${data}/model
count:
prune:
  budget: 250
evaluate:
  models: {original: base, pruned: prune}
  text: corpora
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
    shutil.copytree(folder.parent / "run" / "teacher", folder / "model")
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
    folder = shutil.copytree(finished, tmp_path / "out")
    moved = shutil.copytree(data_with_model, tmp_path / "moved")
    hidden = data_with_model / "model"
    hidden.rename(hidden.with_name("gone"))
    try:
        results = run_recipe(load_based(moved, "--prune.budget", "240"), folder)
    finally:
        hidden.with_name("gone").rename(hidden)
    statuses = {result.name: result.status for result in results}
    assert statuses["base"] == UP_TO_DATE
    assert statuses["prune"] != UP_TO_DATE
    assert json.loads((folder / "prune" / MANIFEST).read_text())["facts"]["vocabulary"] <= 240


def test_a_card_of_a_model_that_was_cut_only_says_that_its_head_was_not_trained(load_based, finished, data_with_model):
    facts = facts_of_card(load_based(data_with_model, "--count.languages", "swa"), finished)
    assert (facts.languages, facts.head) == (("swa",), "not_trained_here")
