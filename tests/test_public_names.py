"""The public names: each resolves, says what it is, and shows up where people look for it."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import hf_afro

PACKAGES = (hf_afro,)
NAMES = sorted(set(hf_afro.__all__) - {"__version__"})


@pytest.mark.parametrize("name", NAMES)
def test_a_name_resolves_and_has_a_docstring(name):
    value = getattr(hf_afro, name)
    assert value.__name__ == name
    assert value.__module__.startswith("hf_afro.")
    assert inspect.getdoc(value)
    own = value.__dict__.get("__doc__") if inspect.isclass(value) else value.__doc__
    assert own, f"{name} only inherits its docstring"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_tab_completion_lists_every_name(package):
    assert set(package.__all__) <= set(dir(package))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_type_checkers_see_the_same_names(package):
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    blocks = [
        node.body for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    imports = [node for node in (blocks[0] if blocks else tree.body) if isinstance(node, ast.ImportFrom)]
    seen = {alias.name for node in imports if node.module != "__future__" for alias in node.names}
    assert seen == set(package.__all__) - {"__version__"}


def test_a_name_is_the_one_its_room_has():
    for room, names in hf_afro._ROOMS.items():
        for name in names:
            assert getattr(hf_afro, name) is getattr(importlib.import_module(f"hf_afro.{room}"), name)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_an_unknown_name_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'build_studnet'"):
        _ = package.build_studnet


def test_the_version_is_a_string():
    assert hf_afro.__version__ == importlib.import_module("hf_afro.version").__version__
