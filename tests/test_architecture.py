"""The layer rule: imports only go down; and every module says what it is."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "hf_afro"

# A room may import itself and rooms of the layers above it in this table, never one beside it or below.
LAYERS: tuple[tuple[str, ...], ...] = (
    (
        "languages",
        "families",
        "files",
        "messages",
        "model_folders",
        "progress_log",
        "sentence_modules",
        "version",
    ),
    ("losses", "sample", "checkpoints", "tasks", "tokenizer_checks"),
    ("corpora", "batching", "students", "reports", "pretrained"),
    ("vocabulary", "cards", "hub"),
    ("training",),
    ("evaluation", "export"),
    ("steps",),
    ("recipes",),
    ("cli",),
    ("__init__",),
)
DEPTH = {room: depth for depth, rooms in enumerate(LAYERS) for room in rooms}
SOURCES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def rooms_imported(tree: ast.Module, package: tuple[str, ...]) -> set[str]:
    """Rooms of hf_afro that a module imports anywhere in it; `package` is the dotted home of the module, split."""
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            home = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join([*home, *filter(None, [node.module])])
            modules |= {f"{stem}.{alias.name}" for alias in node.names} if stem == "hf_afro" else {stem}
    own = [module.split(".") for module in modules if module.split(".")[0] == "hf_afro"]
    return {parts[1] if len(parts) > 1 and parts[1] in DEPTH else "__init__" for parts in own}


def upward(room: str, imported: set[str]) -> set[str]:
    return {other for other in imported if other != room and DEPTH[other] >= DEPTH[room]}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_only_go_down(path):
    room = room_of(path)
    assert room in DEPTH, f"{room} has no place in LAYERS; give it one there and in ARCHITECTURE.md"
    package = ("hf_afro", *path.relative_to(PACKAGE).parent.parts)
    imported = rooms_imported(ast.parse(path.read_text("utf-8")), package)
    assert not upward(room, imported), f"{name_of(path)} ({room}) imports rooms that are not below it"


@pytest.mark.parametrize(
    ("source", "imported"),
    [
        ("import hf_afro.training.maft", {"training"}),
        ("from hf_afro import cli", {"cli"}),
        ("from hf_afro import count_tokens", {"__init__"}),
        ("import hf_afro", {"__init__"}),
        ("from hf_afro.cli.main import main", {"cli"}),
        ("from ..training import maft", {"training"}),
        ("from . import counts", {"vocabulary"}),
        ("def late():\n    from hf_afro.recipes import runner", {"recipes"}),
        ("import torch, hf_affront", set()),
    ],
)
def test_the_rule_sees_every_form_of_import(source, imported):
    assert rooms_imported(ast.parse(source), ("hf_afro", "vocabulary")) == imported
    assert upward("vocabulary", imported) == imported - {"vocabulary"}


def test_downward_imports_pass():
    assert upward("training", {"languages", "losses", "corpora", "training"}) == set()


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_module_says_what_it_is(path):
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":", ";")), "the first line is one sentence"
