"""Atomic files and folders, written under a temporary name and then moved, and locks."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

_REPLACED = ".replaced"
_LEFTOVER = re.compile(rf"\.(.*)\.[0-9a-f]{{16}}\.part({re.escape(_REPLACED)})?")
"""Temporary names that `beside` gives, and those that `move_into_place` gives to what is replaced."""


@contextlib.contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary file to write to, which replaces `path` if the block succeeds.

    Otherwise it is removed, and `path` stays as it was. The bytes are flushed to the disk before the file is moved, so
    that a full disk is an error here, and a power cut leaves the old file or the new one. Every writer has a file of
    its own, so that two processes writing to one path do not damage each other's file.

    Args:
        path: The file to write; missing parent folders are created.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    own = beside(target)
    own.touch(exist_ok=False)
    try:
        yield own
        with own.open("rb+") as file:
            os.fsync(file.fileno())
        _open_up([own], target.parent)
        os.replace(own, target)
    finally:
        own.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file in UTF-8 atomically, with line ends unchanged; see `written_whole`."""
    with written_whole(path) as own:
        own.write_text(text, encoding="utf-8", newline="")


def read_limited(path: str | os.PathLike[str], most: int) -> str:
    """Return the text of a UTF-8 file, unless it is too large.

    Args:
        path: The file.
        most: Largest size in bytes. Files from a repository may have any size and must not fill the memory.

    Raises:
        ValueError: If the file is larger, or not UTF-8.
    """
    with Path(path).open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{path} has more than {most:,} bytes, which is too large for such a file")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}); convert it") from error


def check_size(path: str | os.PathLike[str], most: int) -> None:
    """Raise `ValueError` for a file of more than `most` bytes, before it is read."""
    size = os.path.getsize(path)
    if size > most:
        raise ValueError(f"{path} has {size:,} bytes; expected at most {most:,} for such a file")


@contextlib.contextmanager
def folder_written_whole(folder: str | os.PathLike[str], mark: str) -> Iterator[Path]:
    """Yield a temporary folder to write to, which replaces `folder` if the block succeeds.

    Args:
        folder: The folder to write. If it exists, it must be empty or hold `mark`; it is then replaced as a whole, so
            that no file of an earlier run remains.
        mark: Name of a file that identifies folders written by this step.

    Raises:
        FileExistsError: If the folder holds other files.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not (target / mark).is_file())):
        raise FileExistsError(
            f"{target} exists and holds no {mark}, so it was not written by this step; expected a new or empty folder"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    own = beside(target)
    own.mkdir()
    try:
        yield own
        move_into_place(own, target)
    finally:
        shutil.rmtree(own, ignore_errors=True)


@contextlib.contextmanager
def parents_made(target: Path) -> Iterator[None]:
    """Create the parent folders of a target; remove those created, if empty, when the block fails."""
    missing = [parent for parent in target.parents if not parent.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for parent in missing:
            with contextlib.suppress(OSError):  # something else has been put into it meanwhile
                parent.rmdir()
        raise


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file that one process at a time can hold; the file itself remains unless the holder removes it.

    Args:
        path: The file; its folder must exist. The lock ends with the process, however that ends.

    Raises:
        BlockingIOError: If another process holds it.
    """
    import fcntl

    while True:
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The previous holder may have removed the file after it was opened here; then the lock holds nothing.
            if _is_at(lock.fileno(), path):
                yield
                return


def open_up(folder: Path) -> None:
    """Give all files in and below a folder the permissions that the umask gives to new files.

    Only for a folder that this process wrote; in any other one a file may be private on purpose.
    """
    _open_up(folder.rglob("*"), folder)


def open_up_weights(folder: Path) -> None:
    """Give the weights in a folder the permissions that the umask gives to new files.

    safetensors 0.8 writes files that only their owner can read, whatever the umask.
    """
    _open_up(folder.glob("*.safetensors"), folder)


def _open_up(paths: Iterable[Path], folder: Path) -> None:
    probe = beside(folder / "mode")
    probe.touch(exist_ok=False)
    usual = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # it was moved or removed meanwhile
            own = path.lstat()
            if stat.S_ISREG(own.st_mode) and own.st_uid == os.geteuid() and usual & ~own.st_mode:
                path.chmod(stat.S_IMODE(own.st_mode) | usual)


def move_into_place(work: Path, target: Path) -> None:
    """Move a finished folder to its name; a folder that it replaces is removed only after the move."""
    open_up(work)
    if not target.exists():
        os.replace(work, target)
        return
    former = _former(work)
    if former.exists():
        shutil.rmtree(former)
    os.replace(target, former)
    try:
        os.replace(work, target)
    except OSError:
        os.replace(former, target)
        raise
    # The new folder is in place, so a file of the old one that is still open on a network disk is no failure.
    shutil.rmtree(former, ignore_errors=True)


def finish_move(work: Path, target: Path) -> None:
    """Finish a `move_into_place` that was killed halfway, if there was one.

    The old target is set aside only for a finished folder. So if there is no target now, the finished folder belongs
    there, or, if that is gone, the one set aside.
    """
    former = _former(work)
    if not former.exists():
        return
    if not target.exists():
        os.replace(work if work.exists() else former, target)
    shutil.rmtree(former, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed writers in and below a folder, to which nobody may be writing.

    A move into place that was killed halfway is finished.
    """
    _remove(lambda: folder.rglob("*"))


def remove_leftovers_of(target: Path) -> None:
    """Remove the temporary files of killed writers of one file or folder, as `remove_leftovers` does."""
    _remove(lambda: (one for one in target.parent.iterdir() if _target_of(one) == target.name))


def _remove(listed: Callable[[], Iterable[Path]]) -> None:
    for path in list(listed()):
        if is_leftover(path) and path.name.endswith(_REPLACED):
            finish_move(path.with_name(path.name.removesuffix(_REPLACED)), path.with_name(_target_of(path)))
    for path in [one for one in listed() if is_leftover(one)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def is_leftover(path: Path) -> bool:
    """Return whether a path has a temporary name, of a writer at work or killed."""
    return bool(_target_of(path))


def unused_name(target: Path, what: str) -> Path:
    """Return the first unused name of ``<target>.<what>-1``, ``<target>.<what>-2``, and so on."""
    names = (target.with_name(f"{target.name}.{what}-{number}") for number in itertools.count(1))
    return next(name for name in names if not name.exists())


def beside(target: Path) -> Path:
    """Return a new temporary name beside a target, which `is_leftover` recognises."""
    return target.with_name(f".{target.name}.{os.urandom(8).hex()}.part")


def _target_of(path: Path) -> str:
    """Return the name of the target of a temporary name; empty for any other name."""
    found = _LEFTOVER.fullmatch(path.name)
    return "" if found is None else found[1]


def _former(work: Path) -> Path:
    """Return the name that a target gets while a finished folder replaces it.

    It is derived from the finished folder, which is ours: a name derived from the target could be somebody else's.
    """
    return work.with_name(work.name + _REPLACED)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
