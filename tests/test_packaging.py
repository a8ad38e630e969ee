"""The wheel holds what the code needs, and what the packaging files say agrees."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_string
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from hf_afro.version import __version__

ROOT = Path(__file__).resolve().parents[1]


def read_ini(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / name, encoding="utf-8")
    return parser


def requirements(lines: str) -> dict[str, Requirement]:
    wanted = [Requirement(line) for line in lines.splitlines() if line.strip() and not line.startswith("#")]
    return {requirement.name: requirement for requirement in wanted}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel, built from a copy of the sources so that nothing is left in the tree."""
    copy = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "hf_afro", copy / "hf_afro", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = (copy / "dist").glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_every_file_of_the_package(wheel):
    here = {str(path.relative_to(ROOT)) for path in (ROOT / "hf_afro").rglob("*") if path.is_file()}
    expected = {name for name in here if "__pycache__" not in name}
    assert "hf_afro/py.typed" in expected
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert shipped == expected


def test_the_wheel_says_what_it_is(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = message_from_string(wheel.read(name).decode("utf-8"))
    assert metadata["Name"] == "hf_afro"
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["License-File"] == "LICENSE"
    assert metadata.get_payload().startswith("# hf_afro")


def test_the_command_is_installed():
    (script,) = entry_points(group="console_scripts", name="hf-afro")
    assert script.value == "hf_afro.cli.main:main"
    assert callable(script.load())


def test_requirements_have_floors_and_constraints_meet_them():
    floors = requirements(read_ini("setup.cfg")["options"]["install_requires"])
    for extra in read_ini("setup.cfg")["options.extras_require"].values():
        floors |= requirements(extra)
    assert all(any(part.operator == ">=" for part in floor.specifier) for floor in floors.values())
    for name, pinned in requirements((ROOT / "constraints.txt").read_text("utf-8")).items():
        (pin,) = pinned.specifier
        assert floors[name].specifier.contains(pin.version)


def test_the_oldest_environment_installs_the_floors():
    floors = requirements(read_ini("setup.cfg")["options"]["install_requires"])
    for name, pinned in requirements(read_ini("tox.ini")["testenv:oldest"]["deps"]).items():
        (pin,) = pinned.specifier
        (floor,) = floors[name].specifier
        assert Version(pin.version) == Version(floor.version), name


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_the_header_of_an_example_agrees_with_the_package(script):
    """PEP 723: `uv run` installs what it names, and `hf jobs uv run` reads its table."""
    text = script.read_text("utf-8")
    (block,) = re.findall(r"^# /// script\n((?:#(?: .*)?\n)+?)# ///$", text, re.M)
    header = tomllib.loads("".join(line[2:] or "\n" for line in block.splitlines(keepends=True)))
    assert header["requires-python"] == read_ini("setup.cfg")["options"]["python_requires"].split("\n")[-1]
    named = requirements("\n".join(header["dependencies"]))
    imported = set(re.findall(r"^(?:import|from) (\w+)", text, re.M)) - sys.stdlib_module_names
    assert set(named) == imported
    floors = requirements(read_ini("setup.cfg")["options"]["install_requires"])
    assert {name: str(one.specifier) for name, one in named.items()} == {
        name: str(floors[name].specifier) if name in floors else "" for name in imported
    }
    reader = pytest.importorskip("huggingface_hub.cli._uv_script_header")
    job = reader.parse_uv_script_header(text)
    assert (job.flavor, job.timeout, job.secrets) == ("a10g-large", "24h", ["HF_TOKEN"])


def test_agents_are_told_commands_that_exist():
    text = (ROOT / "AGENTS.md").read_text("utf-8")
    assert {f"testenv:{name}" for name in re.findall(r"^tox -e (\w+)", text, re.M)} <= set(read_ini("tox.ini"))
    assert all((ROOT / name).is_file() for name in re.findall(r"[\w/]+\.(?:md|py)\b", text))
    (install,) = re.findall(r"^python3 -m venv .*$", text, re.M)
    assert f"`{install}`" in (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def test_the_readme_and_ci_run_the_same_test_command():
    (command,) = re.findall(r"^python3 -m venv \.tox/host .*$", (ROOT / ".ci" / "run").read_text("utf-8"), re.M)
    assert command in (ROOT / "README.md").read_text("utf-8").splitlines()


def test_the_version_is_the_same_everywhere():
    assert re.search(rf"^version: {re.escape(__version__)}$", (ROOT / "CITATION.cff").read_text("utf-8"), re.M)
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")
