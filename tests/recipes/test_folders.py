"""The fingerprint of a folder is that of all that is read from it."""

from __future__ import annotations

import pytest

from hf_afro.recipes.folders import fingerprint
from hf_afro.recipes.manifest import outside_fingerprints
from hf_afro.recipes.recipe import load_recipe


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data" / "swa").mkdir(parents=True)
    (tmp_path / "data" / "swa" / "train.txt").write_text("one")
    return tmp_path / "data"


def test_names_and_contents_count_and_compiled_python_does_not(folder):
    before = fingerprint(folder)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "a.pyc").write_text("x")
    assert fingerprint(folder) == before
    (folder / "swa" / "train.txt").write_text("two")
    changed = fingerprint(folder)
    (folder / "swa" / "train.txt").rename(folder / "swa" / "test.txt")
    assert len({before, changed, fingerprint(folder)}) == 3


def test_what_links_lead_to_counts(folder, tmp_path):
    elsewhere = folder / "swa"
    elsewhere.rename(tmp_path / "elsewhere")
    plain = fingerprint(folder)
    for name in ("swa", "yor"):
        (folder / name).symlink_to(tmp_path / "elsewhere")
    linked = fingerprint(folder)
    (tmp_path / "elsewhere" / "train.txt").write_text("two")
    changed = fingerprint(folder)
    (folder / "yor").unlink()
    assert len({plain, linked, changed, fingerprint(folder)}) == 4


def test_a_link_to_a_folder_above_ends(folder):
    before = fingerprint(folder)
    (folder / "swa" / "up").symlink_to(folder)
    assert fingerprint(folder) == before


@pytest.mark.parametrize("name", ["hub", "sample"])
def test_a_folder_is_no_word_where_the_word_means_nothing(tmp_path, monkeypatch, name):
    """`hub` stands for the Hub in tasks only, `sample` for the sample in tasks and corpora."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    (tmp_path / "r.yaml").write_text(f"name: r\nbase:\n  model: {name}\n")
    (stage,) = load_recipe("r.yaml").stages
    found = []
    for content in ("one", "two"):
        (tmp_path / name / "config.json").write_text(content)
        found.append(outside_fingerprints(stage)[name])
    assert found[0] != found[1]


def test_the_name_of_a_folder_of_tasks_counts_since_it_chooses_the_preset(folder, tmp_path):
    found = []
    for name in ("masakhaner1", "masakhaner2"):
        folder = folder.rename(tmp_path / name)
        (tmp_path / "r.yaml").write_text(f"name: r\ntasks:\n  ner: {{folder: {folder}, languages: swa}}\n")
        (stage,) = load_recipe(str(tmp_path / "r.yaml")).stages
        found += outside_fingerprints(stage).values()
    assert found[0] != found[1]
