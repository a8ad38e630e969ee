"""What is known of folders and files: the recipes that ship, locks, fingerprints."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

from hf_afro.files import locked

RUN_FILE = "hf_afro_run.json"
"""In every folder a command made: the command, its arguments and the version."""

_BLOCK = 1 << 20


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes that come with the package, by name."""
    return {path.stem: path for path in sorted((Path(__file__).parent / "shipped").glob("*.yaml"))}


def check_place(target: Path) -> None:
    """Refuse a target that cannot be made, since a file stands where a folder above it should.

    Raises:
        ValueError: If so; the message names the file.
    """
    for parent in target.parents:
        if parent.exists() and not parent.is_dir():
            raise ValueError(f"--output_dir {target} cannot be made: {parent} is a file; name another folder")


@contextlib.contextmanager
def held(lock: Path, where: str) -> Iterator[None]:
    """Hold a lock while the block runs, so that no second run writes to the same place.

    Args:
        lock: Its file.
        where: What is held, for the message.

    Raises:
        ValueError: If another run holds it.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(lock))
        except BlockingIOError as error:
            raise ValueError(f"another run is at work {where}; wait for it, or name another folder") from error
        yield


def fingerprint(path: Path, *, below: bool = True) -> str:
    """Return the BLAKE2 digest of a file, or of the names and contents of a folder's files, compiled Python aside.

    Links are followed, as they are when the files are read.

    Args:
        path: The file or folder.
        below: Whether the files in folders inside count too.

    Raises:
        FileNotFoundError: If there is none.
    """
    if path.is_file():
        return _digest_of(path)
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist; expected a file or a folder")
    digest = hashlib.blake2b(digest_size=16)
    for file in _files_in(path, (path.resolve(),), below=below):
        digest.update(f"{file.relative_to(path).as_posix()}\0{_digest_of(file)}\n".encode())
    return digest.hexdigest()


def _files_in(folder: Path, above: tuple[Path, ...], *, below: bool) -> Iterator[Path]:
    """Yield the files, sorted; a link to one of the folders `above` it leads in a circle and nowhere else."""
    for path in sorted(folder.iterdir()):
        if path.is_file():
            yield path
        elif below and path.is_dir() and path.name != "__pycache__" and (real := path.resolve()) not in above:
            yield from _files_in(path, (*above, real), below=below)


def _digest_of(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
