"""Fetch transformers' own model tests, in the installed version, as the package `transformers_tests`.

The wheel lacks them; the source distribution on PyPI has all but the modules that `STUBS` replaces. `tox -e
transformers` runs this.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

PACKAGE = "transformers_tests"
# Imported by the tests of models and configurations, but not in the source distribution.
STUBS = {
    "exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "utils/test_configuration_utils.py": (
        'config_common_kwargs = {"return_dict": False, "output_hidden_states": True, "dtype": "float16", '
        '"chunk_size_feed_forward": 5, "architectures": ["Some"], "id2label": {0: "label"}, "label2id": {"label": 0}, '
        '"problem_type": "regression"}\n'
    ),
}


def download(folder: Path, release: str) -> Path:
    """Return the source distribution of a release, downloaded into a folder unless it is there."""
    archive = folder / f"transformers-{release}.tar.gz"
    if not archive.is_file():
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "transformers"]
        if subprocess.run([*command, "--dest", str(folder), f"transformers=={release}"], check=False).returncode:
            sys.exit(
                f"pip could not download the source distribution of transformers {release}; its output says why. "
                f"Without a network, put {archive.name}, from https://pypi.org/project/transformers/{release}/#files, "
                f"into {folder} and run this again."
            )
    return archive


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack the tests of a source distribution into a package, stubs included, in place of an earlier one."""
    package = folder / PACKAGE
    shutil.rmtree(package, ignore_errors=True)
    with tarfile.open(archive) as opened:
        for member in opened.getmembers():
            top, *path = member.name.split("/")[1:] or [""]  # transformers-5.24.0/tests/test_modeling_common.py
            if top == "tests" and member.isfile():
                opened.extract(member.replace(name="/".join(path)), package, filter="data")
    for name, text in STUBS.items():
        stub = package / name
        stub.parent.mkdir(parents=True, exist_ok=True)
        (stub.parent / "__init__.py").touch()
        if not stub.exists():
            stub.write_text(text, "utf-8")
    (package / "__init__.py").touch()
    return package


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the source distribution and the package go")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    unpack(download(folder, version("transformers")), folder)


if __name__ == "__main__":
    main()
