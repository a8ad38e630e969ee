"""The notebook runs from its first cell to its last, on a small model in the place of XLM-R-base."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.test_snippets import ROOT, place

nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel, see the extra `dev`")
pytest.importorskip("ipykernel", reason="needs nbclient and ipykernel, see the extra `dev`")

__all__ = ["place"]
NOTEBOOK = ROOT / "examples" / "from_text_to_student.ipynb"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the kernel's client


def test_every_cell_runs(place, monkeypatch):
    import nbformat

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(place / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code), "the notebook is kept without what it gave"
    (first,) = (cell for cell in code if "STEPS = " in cell.source)
    first.source = first.source.replace(", 20\n", ", 2\n")
    assert ", 2\n" in first.source
    nbclient.NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(place)}}).execute()
    assert (Path(place) / "student" / "model.safetensors").is_file()
    assert any("parameters" in output.get("text", "") for output in code[-2].outputs)
