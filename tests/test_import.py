"""What an import does: nothing that can be seen from outside, and nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "numpy", "datasets", "accelerate", "peft", "langcodes")


def run_python(code: str) -> str:
    """Run code in a bare interpreter, which has imported nothing yet, and return what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_import_leaves_the_process_as_it_was():
    out = run_python(
        """
import logging, os, random, sys, warnings

def state():
    root = logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in ("transformers", "datasets", "torch", "hf_afro")}
    return {
        "environment": dict(os.environ),
        "logging": (root.level, list(root.handlers), logging.root.manager.disable, levels),
        "warnings": (list(warnings.filters), warnings.showwarning),
        "random": random.getstate(),
        "hooks": (sys.excepthook, sys.displayhook),
    }

before = state()
import hf_afro
after = state()
print([name for name in before if before[name] != after[name]])
"""
    )
    assert out.strip() == "[]"


@pytest.mark.parametrize(
    "module",
    ["hf_afro", "hf_afro.languages", "hf_afro.families", "hf_afro.files", "hf_afro.model_folders", "hf_afro.cli.main"],
)
def test_import_is_light(module):
    assert run_python(f"import sys, {module}\nprint([m for m in {HEAVY} if m in sys.modules])").strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["count", "--help"], ["prune", "--help"], ["maft", "--help"], ["distill", "--help"]],
    ids=" ".join,
)
def test_help_comes_without_torch(arguments):
    out = run_python(
        f"import sys\nfrom hf_afro.cli.main import main\ncode = main({arguments})\n"
        f"print(code, [m for m in {HEAVY} if m in sys.modules])"
    )
    assert out.splitlines()[-1] == "0 []"
