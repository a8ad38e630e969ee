"""`hf-afro run`: a recipe by name or file, changed by options, shown before it runs and told afterwards."""

from __future__ import annotations

import pytest

from hf_afro.cli.main import main
from hf_afro.recipes import shipped_recipes
from tests.tiny_recipe import TINY


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(TINY, "utf-8")
    return path


@pytest.fixture
def small_file(tmp_path, text_folder):
    """A recipe of text and a teacher that was hardly trained."""
    path = tmp_path / "small.yaml"
    head, _, _ = TINY.partition("count:")
    path.write_text(head.replace("${data}/text", str(text_folder)), "utf-8")
    return path


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_recipe_that_ships_is_planned_without_a_network(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["run", name, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{name}: ")
    assert "vocabulary" in out
    assert list(tmp_path.iterdir()) == []


def test_declared_sizes_are_marked(capsys):
    assert main(["run", "afroxlmr-small", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "278,295,186" in out
    assert "sizes as declared" in out
    (pruned,) = (line for line in out.splitlines() if line.startswith("prune"))
    assert pruned.split()[-2:] == ["at", "most"]
    assert "139,873,648" in pruned


def test_the_recipe_itself_is_shown(capsys):
    assert main(["run", "quickstart", "--show"]) == 0
    assert capsys.readouterr().out == shipped_recipes()["quickstart"].read_text("utf-8")


def test_a_recipe_runs_into_the_folder_of_its_name_and_then_has_nothing_to_do(
    small_file, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["run", str(small_file), "--pretrain.max_steps", "2"]) == 0
    out = capsys.readouterr().out
    assert (tmp_path / "runs" / "tiny" / "pretrain" / "model.safetensors").is_file()
    assert "2 steps, bits per byte" in out
    assert main(["run", str(small_file), "--pretrain.max_steps", "2"]) == 0
    again = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in again[1:3]] == [
        ["prepare", "up", "to", "date"],
        ["pretrain", "up", "to", "date"],
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--maft.learning_rat", "3"],
            "--maft.learning_rat: maft: unknown setting --learning_rat of maft; did you mean",
        ),
        (
            ["--maft.learning_rate", "much"],
            "--maft.learning_rate: maft: --learning_rate: expected a number",
        ),
        (["--matf.seed", "3"], "the recipe has no stage 'matf'; did you mean 'maft'"),
        ([], "line 3: prepare reads ${data}/text; name the folder of data with --data FOLDER"),
        (["--data", "nowhere"], "--data nowhere is not a folder"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(refused, recipe_file, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused("run", recipe_file, *words)
    assert list(tmp_path.iterdir()) == [recipe_file]


def test_an_unknown_recipe_is_answered_with_the_nearest(refused):
    assert "unknown recipe 'quickstrat'; did you mean 'quickstart'" in refused("run", "quickstrat")
