"""The command line as a whole: help, version, --config, exit codes, one line per error."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest

from hf_afro.cli.main import COMMANDS, is_mistake, main
from hf_afro.languages import find_language, languages_in
from hf_afro.steps import count, push
from hf_afro.steps.records import RECORD_FILE
from hf_afro.version import __version__
from hf_afro.vocabulary import TokenCounts


def test_help_names_every_command_and_the_way(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name}" in out for name in COMMANDS)
    assert out.count("hf-afro ") >= 10


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_an_example_and_its_output(capsys, name):
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"  hf-afro {name} " in out
    assert "Output:" in out
    assert all(option in out for option in ("--output_dir", "--overwrite", "--config", "--debug"))


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"hf-afro {__version__}\n"


def test_nothing_at_all_shows_the_way(capsys):
    assert main([]) == 2
    assert "Commands, each with --help" in capsys.readouterr().out


COUNT = ["count", "--text", "a", "--tokenizer", "b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prunes"], "unknown command 'prunes'; did you mean 'prune'? Expected one of prepare, count"),
        (["count"], "the following arguments are required: --text, --tokenizer"),
        (COUNT, "--output_dir is missing; expected the folder to write"),
        ([*COUNT, "--output_dir"], "--output_dir: expected one argument"),
        ([*COUNT, "--output_dir", "c", "--speed", "9"], "unknown setting --speed of count"),
        (["count", "--text", "a", "--tokeniser", "b"], "required: --tokenizer; unknown setting --tokeniser of count"),
        (["maft", "--modle=a", "--text", "b", "--output_dir", "c"], "--modle of maft; did you mean 'model'"),
        ([*COUNT, "--output_dir", "c", "--language", "swa"], "did you mean 'languages'"),
        (["prune", "--model", "a", "--counts", "b", "--output_dir", "c", "--budget", "many"], "expected a whole num"),
        (["count", "a", *COUNT[1:], "--output_dir", "c"], "'a' stands alone; expected --name value"),
        (["run"], "no recipe is named; expected a YAML file, or one of"),
        (["run", "quickstart", "--output_dir"], "--output_dir: expected one argument"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(refused, arguments, message):
    line = refused(*arguments)
    assert message in line
    assert line.startswith(("hf-afro: error: ", f"hf-afro {arguments[0]}: error: "))


def test_settings_from_a_file_and_the_command_line_over_them(refused, model_folder, text_folder, tmp_path):
    path = tmp_path / "count.yaml"
    path.write_text(f"text: {text_folder}\ntokenizer: {model_folder}\nlanguages: [sw, yo]\n", "utf-8")
    words = ["count", "--config", str(path)]
    assert main([*words, "--output_dir", str(tmp_path / "both")]) == 0
    assert main([*words, "--languages", "sw", "--output_dir", str(tmp_path / "one")]) == 0
    read = {name: TokenCounts.load(tmp_path / name / "counts.npz").languages for name in ("both", "one")}
    assert read == {"both": ("swa", "yor"), "one": ("swa",)}
    path.write_text(f"text: {text_folder}\ntokeniser: {model_folder}\n", "utf-8")
    message = f"{path}, line 2: unknown setting --tokeniser of count; did you mean 'tokenizer'"
    assert message in refused(*words, "--output_dir", tmp_path / "none")
    assert "nowhere.yaml does not exist" in refused("count", "--config", "nowhere.yaml", "--output_dir", "x")
    assert "give --stage.setting value" in refused("run", "quickstart", "--config", path)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "run"])
def test_every_command_takes_a_file_of_settings(refused, name, tmp_path):
    (tmp_path / "s.yaml").write_text("# none\nspeed: 9\n", "utf-8")
    line = refused(name, "--config", tmp_path / "s.yaml", "--output_dir", tmp_path / "out")
    assert f"s.yaml, line 2: unknown setting --speed of {name}; " in line


@pytest.fixture
def run_with(monkeypatch, model_folder, text_folder, tmp_path):
    """Run `count` with something else in the place of its work."""

    def run(work, *more: str) -> int:
        monkeypatch.setattr(count, "STEP", dataclasses.replace(count.STEP, run=work))
        words = ["count", "--text", str(text_folder), "--tokenizer", model_folder]
        return main([*words, "--output_dir", str(tmp_path / "out"), *more])

    return run


def failing(error: BaseException):
    def fail(config, folder):
        raise error

    return fail


def test_a_failure_is_exit_code_1_and_debug_shows_where(run_with, capsys):
    assert run_with(failing(RuntimeError("the disk\nis gone"))) == 1
    assert capsys.readouterr().err == "hf-afro count: failed: RuntimeError: the disk is gone (--debug shows where)\n"
    assert run_with(failing(RuntimeError("the disk is gone")), "--debug") == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_an_error_of_a_library_is_a_failure_even_where_its_type_is_one_of_ours(run_with, capsys):
    assert run_with(failing(ValueError("raised outside hf_afro"))) == 1
    assert "failed: ValueError" in capsys.readouterr().err


def test_an_interrupt_is_exit_code_130(run_with, capsys, tmp_path):
    assert run_with(failing(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "hf-afro count: interrupted\n"
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize(("code", "expected"), [(None, 0), (0, 0), (143, 143), ("no room", 1)])
def test_a_command_that_leaves_says_with_what(monkeypatch, capsys, code, expected):
    monkeypatch.setattr(push, "STEP", dataclasses.replace(push.STEP, run=failing(SystemExit(code))))
    assert main(["push", "folder", "--repo_id", "a/b"]) == expected
    assert ("no room" in capsys.readouterr().err) == (code == "no room")


def test_files_that_are_not_there_are_mistakes_and_a_full_disk_is_not():
    assert is_mistake(FileNotFoundError())
    assert is_mistake(PermissionError())
    assert not is_mistake(OSError(28, "No space left on device"))


def error_of(function, *arguments) -> Exception:
    with pytest.raises((ValueError, TypeError)) as caught:
        function(*arguments)
    return caught.value


def test_what_hf_afro_refuses_is_a_mistake_and_what_breaks_in_a_library_is_not():
    assert is_mistake(error_of(find_language, "swaa"))
    assert is_mistake(error_of(languages_in, "all"))
    assert not is_mistake(error_of(json.loads, "six"))


def test_the_module_can_be_launched():
    command = [sys.executable, "-m", "hf_afro.cli.main", "count"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("hf-afro count: error: the following arguments are required")


def test_the_folder_of_a_recipe_is_not_overwritten_by_a_command(tmp_path, capsys):
    (tmp_path / "maft").mkdir()
    (tmp_path / RECORD_FILE).write_text('{"recipe": "run"}', "utf-8")
    (tmp_path / "maft" / "model.safetensors").write_text("weights", "utf-8")
    assert main(["prepare", "--text", "sample", "--output_dir", str(tmp_path), "--overwrite"]) == 2
    assert "was not made by hf-afro, so it is not overwritten" in capsys.readouterr().err
    assert (tmp_path / "maft" / "model.safetensors").read_text("utf-8") == "weights"
