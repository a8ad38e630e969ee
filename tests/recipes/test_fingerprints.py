"""The fingerprint of a folder is that of all that is read from it."""

from __future__ import annotations

import pytest

from hf_afro.recipes import load_recipe
from hf_afro.steps.records import Record, fingerprint


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
def test_a_word_that_stands_for_something_elsewhere_may_be_the_folder_of_a_model(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    (tmp_path / "r.yaml").write_text(f"name: r\nbase:\n  model: {name}\n")
    (stage,) = load_recipe("r.yaml").stages
    found = []
    for content in ("one", "two"):
        (tmp_path / name / "config.json").write_text(content)
        found.append(Record.begun(stage.step, stage.config).key)
    assert found[0] != found[1]


def test_the_name_of_a_folder_of_tasks_counts_since_it_chooses_the_preset(folder, tmp_path):
    found = []
    for name in ("masakhaner1", "masakhaner2"):
        folder = folder.rename(tmp_path / name)
        (tmp_path / "r.yaml").write_text(f"name: r\ntasks: {{data: {{ner: {folder}}}, languages: {{ner: swa}}}}\n")
        (stage,) = load_recipe(str(tmp_path / "r.yaml")).stages
        found.append(Record.begun(stage.step, stage.config).key)
    assert found[0] != found[1]
