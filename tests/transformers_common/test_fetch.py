"""Fetching transformers' tests: what is unpacked, what is stood in for, and what is said without a network."""

from __future__ import annotations

import tarfile

import pytest

from tests.transformers_common import fetch


@pytest.fixture
def archive(tmp_path):
    """A source distribution of two files, one of them a test."""
    source = tmp_path / "transformers-1.0"
    for name in ("tests/test_modeling_common.py", "src/transformers/tests/inside.py"):
        (source / name).parent.mkdir(parents=True)
        (source / name).write_text("from .generation.test_utils import GenerationTesterMixin\n", "utf-8")
    with tarfile.open(tmp_path / "transformers-1.0.tar.gz", "w:gz") as opened:
        opened.add(source, source.name)
    return tmp_path / "transformers-1.0.tar.gz"


def test_the_tests_become_a_package_with_stubs_for_what_is_missing(archive, tmp_path):
    (tmp_path / fetch.PACKAGE).mkdir()
    (tmp_path / fetch.PACKAGE / "test_of_another_release.py").touch()
    package = fetch.unpack(archive, tmp_path)
    files = {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()}
    folders = {path.rpartition("/")[0] for path in fetch.STUBS}
    assert files == {
        "__init__.py", "test_modeling_common.py", *fetch.STUBS, *(f"{folder}/__init__.py" for folder in folders),
    }  # fmt: skip


def test_a_source_distribution_that_is_there_is_not_downloaded(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch.subprocess, "run", lambda *_, **__: pytest.fail("asked pip"))
    assert fetch.download(tmp_path, "1.0") == archive


def test_without_a_network_it_says_what_to_do(tmp_path, monkeypatch):
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_RETRIES": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match=r"put transformers-1\.0\.tar\.gz, from https://pypi\.org/.*, into "):
        fetch.download(tmp_path, "1.0")
