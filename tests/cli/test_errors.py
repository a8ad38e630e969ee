"""An error becomes one line in the words of the command, and a full disk is told from all that it looks like."""

from __future__ import annotations

import errno

import pytest

from hf_afro.cli.errors import describe, describe_failure, disk_is_full, is_mistake


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EFBIG, "File too large"),
        Exception("No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"),
        # What was being read was being downloaded.
        caused(ValueError("no model could be read from 'a/b': no space"), OSError(errno.ENOSPC, "No space left")),
    ],
)
def test_a_full_disk_is_a_failure_that_says_what_to_do(error):
    assert disk_is_full(error)
    assert not is_mistake(error)
    assert describe_failure(error).endswith("; existing files are unchanged")


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), ValueError("28"), RuntimeError("full")])
def test_other_errors_are_not_taken_for_one(error):
    assert not disk_is_full(error)
    assert describe_failure(error) == f"{type(error).__name__}: {error}"


def test_a_worker_that_is_gone_says_what_to_do():
    told = describe_failure(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."))
    assert told.endswith("lower --dataloader_num_workers or the batch size, and repeat the command")


def test_notes_and_further_lines_are_on_the_one_line():
    error = ValueError("no text\n  at all")
    error.add_note("stage corpora: mine.yaml, line 3")
    assert describe(error, "run") == "no text at all (stage corpora: mine.yaml, line 3)"
    assert describe_failure(error) == "ValueError: no text at all (stage corpora: mine.yaml, line 3)"


def test_advice_is_in_the_words_of_the_command():
    error = ValueError("choose errors='replace'")
    assert describe(error, "count") == "choose --errors replace"
    assert describe(error, "run") == "choose errors: replace"
