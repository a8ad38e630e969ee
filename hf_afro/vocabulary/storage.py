"""Write a file or a folder so that it is there whole or not at all: made beside its place, then moved into it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a path beside `path` to write a file to; it takes the place of `path` if the block ends well."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        beside.chmod(0o666 & ~_umask())  # mkstemp makes files only their owner can read
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_written_whole(folder: str | os.PathLike[str], mark: str) -> Iterator[Path]:
    """Give a new folder beside `folder` to write to; it takes the place of `folder` if the block ends well.

    Args:
        folder: The folder wanted. It may exist if it is empty or holds `mark`: then it is replaced whole, so that no
            file of an earlier run stays behind.
        mark: Name of a file by which a folder of the same making is known.

    Raises:
        FileExistsError: If the folder holds other things.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not (target / mark).is_file())):
        raise FileExistsError(
            f"{target} exists and holds no {mark}, so it was not written by this step; expected a new or empty folder"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    aside = beside.with_name(beside.name + ".old")
    try:
        beside.chmod(0o777 & ~_umask())
        yield beside
        if target.exists():
            os.replace(target, aside)
        try:
            os.replace(beside, target)
        except OSError:
            if aside.exists():
                os.replace(aside, target)
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
