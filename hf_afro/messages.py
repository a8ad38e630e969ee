"""Messages for users: suggestions in errors, and log records of other libraries that are filtered."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

_MOST = 30  # names in a message


def nearest(word: object, known: Iterable[str], *, every: bool = False) -> str:
    """Return "did you mean ...?" if a known name is similar to a word, otherwise "expected one of ...".

    Args:
        word: The word that was given.
        known: The names that exist.
        every: Whether to list all names even if one is similar.
    """
    names = list(known)
    if not names:
        return "there is none to choose from"
    similar = difflib.get_close_matches(str(word), names, n=1)
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    listed = f"one of {', '.join(names[:_MOST])}{more}"
    if not similar:
        return f"expected {listed}"
    return f"did you mean {similar[0]!r}?" + (f" Expected {listed}" if every else "")


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, as in "1 model" and "2,000 models".

    Args:
        number: How many.
        noun: The noun for one, whose plural ends in s.
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@contextmanager
def filtered_log(name: str, is_wanted: Callable[[logging.LogRecord], bool]) -> Iterator[None]:
    """Drop the records of a logger that are not wanted, inside the block.

    Args:
        name: Name of the logger.
        is_wanted: Returns whether to keep a record.
    """
    logger = logging.getLogger(name)
    logger.addFilter(is_wanted)
    try:
        yield
    finally:
        logger.removeFilter(is_wanted)
