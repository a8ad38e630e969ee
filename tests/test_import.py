"""What importing costs: help comes without torch, everything else registers the students."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "numpy", "datasets", "accelerate", "peft", "langcodes")


def run_python(code: str) -> str:
    """Run code in a bare interpreter, which has imported nothing yet, and return what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_comes_without_torch(argument):
    out = run_python(
        f"import sys\nsys.argv = ['/usr/bin/hf-afro', {argument!r}]\n"
        "from hf_afro.cli.main import main\ncode = main()\n"
        f"print(code, [m for m in {HEAVY} if m in sys.modules])"
    )
    assert out.splitlines()[-1] == "0 []"


@pytest.mark.parametrize("argv", [["hf-afro", "prune", "--help"], ["train.py", "--help"], []], ids=str)
def test_all_else_registers_the_students(argv):
    script = (
        f"import sys\nsys.argv = {argv}\nimport hf_afro\nfrom transformers import AutoConfig\n"
        "print(type(AutoConfig.for_model('afro-student')) is hf_afro.AfroStudentConfig)"
    )
    assert run_python(script).strip() == "True"
