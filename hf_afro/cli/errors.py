"""What an error is to somebody at a terminal: a mistake to be mended or a failure, in one line."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# What the libraries' own errors say of two failures that have nothing to do with them, and what there is to do.
_DISK_IS_FULL = re.compile(
    rf"\(os error ({'|'.join(map(str, _NO_ROOM))})\)"  # safetensors and tokenizers, which are written in Rust
    r"|inline_container|PytorchStreamWriter"  # torch.save
)
_WORKER_IS_GONE = re.compile(r"DataLoader worker .*(killed by signal|exited unexpectedly)")
_FREE_SPACE = "the disk takes no more: free some, or name an --output_dir elsewhere; what was there is as it was"
_FEWER_WORKERS = (
    "most often for want of memory: lower --dataloader_num_workers or the batch size, and give the command again"
)


def is_mistake(error: Exception) -> bool:
    """Tell what the user can mend from what went wrong inside.

    A file that is not there or not readable is the user's; so is a ValueError or TypeError that was raised in
    hf_afro, which has them for bad input. One that was raised in a library is a failure, and so is a full disk.
    """
    if disk_is_full(error):
        return False
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError | PermissionError):
        return True
    if not isinstance(error, ValueError | TypeError) or error.__traceback__ is None:
        return False
    innermost = error.__traceback__
    while innermost.tb_next is not None:
        innermost = innermost.tb_next
    return str(innermost.tb_frame.f_globals.get("__name__", "")).partition(".")[0] == "hf_afro"


def describe(error: Exception, command: str) -> str:
    """Return what a mistake says, on one line and in the words of the command.

    Args:
        error: The error; a note on it, such as the stage of a recipe, goes behind what it says.
        command: The command that was given.
    """
    # The library names an argument of its own; a recipe has it as a setting, the commands as an option.
    advice = r"errors: \1" if command == "run" else r"--errors \1"
    return re.sub(r"\berrors='(\w+)'", advice, _one_line(error))


def describe_failure(error: Exception) -> str:
    """Return what kind of failure it was, what it says on one line, and what there is to do where that is known."""
    text = f"{type(error).__name__}: {_one_line(error)}"
    if disk_is_full(error):
        return f"{text}; {_FREE_SPACE}"
    return f"{text}; {_FEWER_WORKERS}" if _WORKER_IS_GONE.search(text) else text


def disk_is_full(error: BaseException) -> bool:
    """Tell whether an error, or one that it came from, is that nothing more could be written."""
    return any(
        (isinstance(one, OSError) and one.errno in _NO_ROOM) or _DISK_IS_FULL.search(str(one)) is not None
        for one in _chain(error)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or one.__context__


def _one_line(error: BaseException) -> str:
    notes = getattr(error, "__notes__", ())
    return " ".join(f"{error}{''.join(f' ({note})' for note in notes)}".split())
