"""The command line as a whole: help, version, exit codes, one line an error."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from hf_afro.cli import count
from hf_afro.cli.main import COMMANDS, is_mistake, main
from hf_afro.languages import find_language, languages_in
from hf_afro.version import __version__


def test_help_names_every_command_and_the_way(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"hf-afro {name}" in out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_an_example_and_what_comes_out(capsys, name):
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"  hf-afro {name} " in out
    assert "What comes out:" in out
    assert "--output_dir" in out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"hf-afro {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: command"),
        (["prunes"], "invalid choice: 'prunes'"),
        (["count"], "the following arguments are required: --text, --tokenizer, --output_dir"),
        (["count", "--text", "a", "--tokenizer", "b", "--output_dir", "c", "--speed", "9"], "does not know --speed 9"),
        (
            ["count", "--text", "a", "--tokeniser", "b", "--output_dir", "c"],
            "required: --tokenizer; --tokeniser is unk",
        ),
        (["maft", "--modle=a", "--text", "b", "--output_dir", "c"], "--modle is unknown, the nearest is --model"),
        (["count", "--text", "a", "--tokenizer", "b", "--output_dir", "c", "--language", "swa"], "is --languages"),
        (["prune", "--model", "a", "--counts", "b", "--output_dir", "c", "--budget", "many"], "invalid int value"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(refused, arguments, message):
    assert message in refused(*arguments)


def run_with(monkeypatch, tmp_path, error: Exception, *more: str) -> int:
    def fail(_args):
        raise error

    monkeypatch.setattr(count, "run", fail)
    return main(["count", "--text", "a", "--tokenizer", "b", "--output_dir", str(tmp_path / "out"), *more])


def test_a_failure_is_exit_code_1_and_debug_shows_where(monkeypatch, tmp_path, capsys):
    assert run_with(monkeypatch, tmp_path, RuntimeError("the disk\nis gone")) == 1
    assert capsys.readouterr().err == "hf-afro count: failed: RuntimeError: the disk is gone (--debug shows where)\n"
    assert run_with(monkeypatch, tmp_path, RuntimeError("the disk is gone"), "--debug") == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_an_error_of_a_library_is_a_failure_even_where_its_type_is_one_of_ours(monkeypatch, tmp_path, capsys):
    assert run_with(monkeypatch, tmp_path, ValueError("raised outside hf_afro")) == 1
    assert "failed: ValueError" in capsys.readouterr().err


def test_an_interrupt_is_exit_code_130(monkeypatch, tmp_path, capsys):
    def interrupt(_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(count, "run", interrupt)
    assert main(["count", "--text", "a", "--tokenizer", "b", "--output_dir", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err == "hf-afro count: interrupted\n"


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
    done = subprocess.run(
        [sys.executable, "-m", "hf_afro.cli.main", "count"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("hf-afro count: error: the following arguments are required")


@pytest.mark.parametrize(("code", "expected"), [(None, 0), (0, 0), (143, 143), ("no room", 1)])
def test_a_command_that_leaves_says_with_what(monkeypatch, capsys, code, expected):
    def leave(_args):
        raise SystemExit(code)

    monkeypatch.setattr(COMMANDS["push"], "run", leave)
    assert main(["push", "folder", "--repo_id", "a/b"]) == expected
    assert ("no room" in capsys.readouterr().err) == (code == "no room")
