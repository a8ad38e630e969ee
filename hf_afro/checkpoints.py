"""Mark complete checkpoints, find the fault of one that is not, and find the last complete one.

The stock Trainer resumes from the folder with the highest number, half written or not (transformers#35782). Here a
checkpoint counts once it holds a file that was written last and lists all others, and each of those opens and parses.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import time
import zipfile
from pathlib import Path
from typing import Any

from hf_afro.files import is_leftover, write_whole

MARK_FILE = "hf_afro_whole.json"
"""Written last into a checkpoint: its files and their sizes."""

STATE_FILE = "trainer_state.json"

BROKEN_FOLDER = "not_finite"
"""Beside the checkpoints: the batches of a step whose loss was not finite."""

_FORMAT = 1
_LONGEST_HEADER = 100_000_000  # the limit of the safetensors library
_ZIPPED = (".pt", ".pth", ".bin")  # saved by torch


def mark_whole(folder: Path) -> None:
    """Mark a checkpoint as complete, after its files have been forced to disk.

    Raises:
        OSError: If the disk is full; the checkpoint then stays unmarked.
    """
    files = _files_of(folder)
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    facts = {"format": _FORMAT, "step": step_of(folder), "marked_at": time.time(), "files": sizes}
    write_whole(folder / MARK_FILE, json.dumps(facts, indent=1) + "\n")


def unmark(folder: Path) -> None:
    """Remove the mark of a folder, if any, before anything in it is rewritten or removed."""
    (folder / MARK_FILE).unlink(missing_ok=True)


def fault_of(folder: Path, *, marked: bool = True) -> str | None:
    """Return the fault of a checkpoint; None if it is complete.

    Every file must open and parse as far as its kind allows: JSON completely; of safetensors the header, whose offsets
    must end where the file does; of torch files the zip directory, which is at the end. Sizes must be those of the
    mark.

    Args:
        folder: The checkpoint.
        marked: Whether a missing mark is a fault. If not, an unmarked checkpoint, as other programs write, is judged
            by its files alone.
    """
    mark = folder / MARK_FILE
    if marked or mark.is_file():
        try:
            sizes = _read_mark(mark)
        except (OSError, ValueError) as error:
            return f"{MARK_FILE} cannot be read ({error}), so the checkpoint is not complete"
        for name, size in sizes.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != size:
                return f"{name} has {path.stat().st_size} bytes but had {size} when it was saved"
    if not (folder / STATE_FILE).is_file():
        return f"{STATE_FILE} is missing"
    for path in _files_of(folder):
        try:
            _parse(path)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            return f"{path.relative_to(folder).as_posix()} cannot be read: {error}"
    return None


def checkpoints_in(folder: Path) -> list[Path]:
    """Return the folders of checkpoints, complete or not, by number."""
    numbered = [path for path in folder.glob("checkpoint-*") if path.is_dir() and step_of(path) is not None]
    return sorted(numbered, key=lambda path: step_of(path) or 0)


def last_checkpoint(folder: Path) -> str | None:
    """Return the complete checkpoint with the most steps, None if there is none."""
    for path in reversed(checkpoints_in(folder)):
        if fault_of(path) is None:
            return str(path)
    return None


def rotate(folder: Path, keep: int, spared: tuple[Path, ...]) -> None:
    """Remove all checkpoints but the `keep` complete ones that were marked last.

    Args:
        folder: The folder of the checkpoints, of which the last saved is complete.
        keep: Number of checkpoints to keep, at least 1.
        spared: Checkpoints that stay in any case, and count.
    """
    whole = [path for path in checkpoints_in(folder) if fault_of(path) is None]
    newest_first = sorted(whole, key=lambda path: (path / MARK_FILE).stat().st_mtime_ns, reverse=True)
    kept = [path for path in newest_first if path.resolve() in {one.resolve() for one in spared}]
    kept += [path for path in newest_first if path not in kept][: max(0, max(1, keep) - len(kept))]
    for path in checkpoints_in(folder):
        if path not in kept:
            unmark(path)
            shutil.rmtree(path, ignore_errors=True)


def step_of(folder: Path) -> int | None:
    """Return the step in the name of a checkpoint, None for any other name."""
    number = folder.name.removeprefix("checkpoint-")
    return int(number) if number.isdecimal() and folder.name != number else None


def _files_of(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and path.name != MARK_FILE and not is_leftover(path)
    )


def _read_mark(path: Path) -> dict[str, int]:
    facts: Any = json.loads(path.read_text("utf-8"))
    if not isinstance(facts, dict) or facts.get("format") != _FORMAT or not isinstance(facts.get("files"), dict):
        raise ValueError(f"expected format {_FORMAT}")
    return facts["files"]


def _parse(path: Path) -> None:
    """Raise an error if a file is not complete, as far as its kind allows to tell."""
    if path.suffix == ".json":
        json.loads(path.read_text("utf-8"))
    elif path.suffix == ".safetensors":
        _parse_safetensors(path)
    elif path.suffix in _ZIPPED:
        with zipfile.ZipFile(path) as file:
            file.namelist()
    else:
        with path.open("rb") as file:
            file.read(1)


def _parse_safetensors(path: Path) -> None:
    """Check the header: eight bytes of its length, then JSON with the tensors' offsets, which end with the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else _LONGEST_HEADER + 1
        if length > min(size - 8, _LONGEST_HEADER):
            raise ValueError(f"its header would be {length} bytes long, but the file has {size}")
        header = json.loads(file.read(length))
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    if max(ends, default=0) != size - 8 - length:
        raise ValueError(f"its tensors end at byte {max(ends, default=0) + 8 + length}, but the file has {size}")
