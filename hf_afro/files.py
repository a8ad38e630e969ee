"""Files and folders that are there whole or not at all: written beside their place, then moved into it."""

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
"""What `beside` names files and folders, and `move_into_place` what they took the place of."""


@contextlib.contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give an empty file beside `path` to write to; it takes the place of `path` if the block ends well.

    Otherwise it is removed, and what was at `path` stays as it was. The bytes are on the disk before the file is
    moved, so that a full disk is an error here, and a power cut leaves the former file or the new one, never half of
    it. Every writer has a file of its own: two processes that save to one path do not cut each other's file short.

    Args:
        path: The file wanted; folders above it are made.
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
    """Write a file of text in UTF-8, its line ends as they are; see `written_whole`."""
    with written_whole(path) as own:
        own.write_text(text, encoding="utf-8", newline="")


def read_limited(path: str | os.PathLike[str], most: int) -> str:
    """Return the text of a file that is read whole, in UTF-8, unless it is longer than such a file can be.

    Args:
        path: The file.
        most: Bytes. What comes from a repository may be of any size, and is not to fill the memory.

    Raises:
        ValueError: If the file is longer, or no UTF-8.
    """
    with Path(path).open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{path} has more than {most:,} bytes, and is not what it is called; expected less")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}); convert it") from error


def check_size(path: str | os.PathLike[str], most: int) -> None:
    """Refuse a file that is longer than such a file can be, before it is read whole.

    Raises:
        ValueError: If it has more than `most` bytes.
    """
    size = os.path.getsize(path)
    if size > most:
        raise ValueError(f"{path} has {size:,} bytes, and is not what it is called; expected {most:,} at most")


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
    own = beside(target)
    own.mkdir()
    try:
        yield own
        move_into_place(own, target)
    finally:
        shutil.rmtree(own, ignore_errors=True)


@contextlib.contextmanager
def parents_made(target: Path) -> Iterator[None]:
    """Make the folders above a target, and take those made away again, where empty, if the block ends in an error."""
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
    """Hold a file that one process at a time can hold; it stays, unless the holder takes it away.

    Args:
        path: The file; its folder must exist. The lock goes with the process, however that ends.

    Raises:
        BlockingIOError: If another process holds it.
    """
    import fcntl

    while True:
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder before may have taken the file away after it was opened here: then the lock is on nothing.
            if _is_at(lock.fileno(), path):
                yield
                return


def open_up(folder: Path) -> None:
    """Give the files of a folder, and below it, the permissions that the umask gives to new files.

    For a folder that was written whole by this process; in any other one a file may be private on purpose.
    """
    _open_up(folder.rglob("*"), folder)


def open_up_weights(folder: Path) -> None:
    """Give the weights that were saved in a folder the permissions that the umask gives to new files.

    safetensors 0.8 writes weights that their owner alone can read, whatever the umask.
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
    """Move a finished folder to its name; what stood there is removed only once the new one is in place."""
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
    # The new folder is in place: that a file of the former one is still open on a network disk is no failure.
    shutil.rmtree(former, ignore_errors=True)


def finish_move(work: Path, target: Path) -> None:
    """Bring a move into place to its end that was killed after its first step; there may have been none.

    What stood at the target is put aside only for a work that is finished. So where nothing stands there now the work
    belongs there, or, if it is gone, what was put aside.
    """
    former = _former(work)
    if not former.exists():
        return
    if not target.exists():
        os.replace(work if work.exists() else former, target)
    shutil.rmtree(former, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what writers that were killed left in a folder or below it; nobody may be writing there.

    A folder whose writer was killed while it moved it into place is moved there.
    """
    _remove(lambda: folder.rglob("*"))


def remove_leftovers_of(target: Path) -> None:
    """Remove what writers of one file or folder that were killed left beside it, as `remove_leftovers` does."""
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
    """Tell whether a path is named as what is being written, or was when its writer was killed."""
    return bool(_target_of(path))


def unused_name(target: Path, what: str) -> Path:
    """Return a name beside a target that nothing has yet, numbered: ``<target>.<what>-1``, and so on."""
    names = (target.with_name(f"{target.name}.{what}-{number}") for number in itertools.count(1))
    return next(name for name in names if not name.exists())


def beside(target: Path) -> Path:
    """Return a new name beside a target, by which `is_leftover` knows what is being written to it."""
    return target.with_name(f".{target.name}.{os.urandom(8).hex()}.part")


def _target_of(path: Path) -> str:
    """The name of what a leftover was to become; empty where it is no leftover."""
    found = _LEFTOVER.fullmatch(path.name)
    return "" if found is None else found[1]


def _former(work: Path) -> Path:
    """Where a target is put while a work takes its place.

    Named after the work, which is ours: a folder named after the target could be somebody else's.
    """
    return work.with_name(work.name + _REPLACED)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
