"""A trainer's checkpoints: the mark that says one is whole, what is wrong with one, and the last whole one.

The stock Trainer goes on from the folder of the highest number, half written or not (transformers#35782). Here a
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
"""Written last into a checkpoint: the files it is made of, with their sizes."""

STATE_FILE = "trainer_state.json"

BROKEN_FOLDER = "not_finite"
"""Beside the checkpoints: the batches of a step whose loss was no finite number."""

_FORMAT = 1
_LONGEST_HEADER = 100_000_000  # of a safetensors file, by its library
_ZIPPED = (".pt", ".pth", ".bin")  # as torch saves


def mark_whole(folder: Path) -> None:
    """Say of a checkpoint that all its files have been written; they are forced to the disk first.

    Raises:
        OSError: If the disk is full; the checkpoint then stays without a mark.
    """
    files = _files_of(folder)
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    facts = {"format": _FORMAT, "step": step_of(folder), "marked_at": time.time(), "files": sizes}
    write_whole(folder / MARK_FILE, json.dumps(facts, indent=1) + "\n")


def unmark(folder: Path) -> None:
    """Take the mark off a folder before anything in it is written again or removed; there may be none."""
    (folder / MARK_FILE).unlink(missing_ok=True)


def fault_of(folder: Path, *, marked: bool = True) -> str | None:
    """Return what is wrong with a checkpoint, None where it is whole.

    Every file opens and parses as far as its kind allows: JSON wholly; of safetensors the header, whose places must
    end where the file does; of what torch saves the directory, which stands at the end. Sizes are compared with those
    of the mark.

    Args:
        folder: The checkpoint.
        marked: Whether one without a mark is at fault, or judged by its files alone, as those of other programs are.
    """
    mark = folder / MARK_FILE
    if marked or mark.is_file():
        try:
            sizes = _read_mark(mark)
        except (OSError, ValueError) as error:
            return f"{MARK_FILE} cannot be read ({error}), so it was not written to its end"
        for name, size in sizes.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != size:
                return f"{name} has {path.stat().st_size} bytes, and had {size} when it was saved"
    if not (folder / STATE_FILE).is_file():
        return f"{STATE_FILE} is missing"
    for path in _files_of(folder):
        try:
            _parse(path)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            return f"{path.relative_to(folder).as_posix()} cannot be read: {error}"
    return None


def checkpoints_in(folder: Path) -> list[Path]:
    """Return the folders of checkpoints, whole or not, by number."""
    numbered = [path for path in folder.glob("checkpoint-*") if path.is_dir() and step_of(path) is not None]
    return sorted(numbered, key=lambda path: step_of(path) or 0)


def last_checkpoint(folder: Path) -> str | None:
    """Return the whole checkpoint of the most steps, None where there is none."""
    for path in reversed(checkpoints_in(folder)):
        if fault_of(path) is None:
            return str(path)
    return None


def rotate(folder: Path, keep: int, spared: tuple[Path, ...]) -> None:
    """Remove all checkpoints but the `keep` whole ones marked last.

    Args:
        folder: Where the checkpoints lie; the one saved last is whole.
        keep: How many stay, at least 1.
        spared: Checkpoints that stay in any case, and are counted.
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
    """Return the step in a checkpoint's name, None where its name is another."""
    number = folder.name.removeprefix("checkpoint-")
    return int(number) if number.isdecimal() and folder.name != number else None


def _files_of(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and path.name != MARK_FILE and not is_leftover(path)
    )


def _read_mark(path: Path) -> dict[str, int]:
    facts: Any = json.loads(path.read_text("utf-8"))
    if not isinstance(facts, dict) or facts.get("format") != _FORMAT or not isinstance(facts.get("files"), dict):
        raise ValueError(f"it is not of format {_FORMAT}")
    return facts["files"]


def _parse(path: Path) -> None:
    """Raise an error if a file is not whole, as far as its kind tells."""
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
    """Read the header: eight bytes of its length, then JSON with each tensor's place, which end with the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else _LONGEST_HEADER + 1
        if length > min(size - 8, _LONGEST_HEADER):
            raise ValueError(f"its header would be {length} bytes long, and the file has {size}")
        header = json.loads(file.read(length))
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    if max(ends, default=0) != size - 8 - length:
        raise ValueError(f"its tensors end at byte {max(ends, default=0) + 8 + length}, and the file has {size}")
