"""Errors as a user sees them: a mistake to fix or a failure, in one line."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# Messages of other libraries for two failures they have not caused, and what to do about them.
_DISK_IS_FULL = re.compile(
    rf"\(os error ({'|'.join(map(str, _NO_ROOM))})\)"  # safetensors and tokenizers, which are written in Rust
    r"|inline_container|PytorchStreamWriter"  # torch.save
)
_WORKER_IS_GONE = re.compile(r"DataLoader worker .*(killed by signal|exited unexpectedly)")
_FREE_SPACE = "the disk is full: free some space, or name another --output_dir; existing files are unchanged"
_FEWER_WORKERS = (
    "most often for lack of memory: lower --dataloader_num_workers or the batch size, and repeat the command"
)


def is_mistake(error: Exception) -> bool:
    """Tell whether an error is a mistake that the user can fix.

    A missing or unreadable file is the user's mistake, and so is a ValueError or TypeError raised in hf_afro, which
    raises them for bad input. One raised in another library is a failure, and so is a full disk.
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
    """Return the message of a mistake, on one line and with the option names of the command.

    Args:
        error: The error; a note on it, such as the stage of a recipe, is appended to the message.
        command: The command that was given.
    """
    # The library names its own argument, which is a setting in a recipe and an option of the commands.
    advice = r"errors: \1" if command == "run" else r"--errors \1"
    return re.sub(r"\berrors='(\w+)'", advice, _one_line(error))


def describe_failure(error: Exception) -> str:
    """Return the type of a failure, its message on one line, and what to do about it if that is known."""
    text = f"{type(error).__name__}: {_one_line(error)}"
    if disk_is_full(error):
        return f"{text}; {_FREE_SPACE}"
    return f"{text}; {_FEWER_WORKERS}" if _WORKER_IS_GONE.search(text) else text


def disk_is_full(error: BaseException) -> bool:
    """Tell whether an error, or one of its causes, means that the disk is full."""
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
