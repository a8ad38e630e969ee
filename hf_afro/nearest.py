"""What was probably meant by a name that is unknown: the one place that errors take it from."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST = 30  # names in a message


def nearest(word: object, known: Iterable[str], *, every: bool = False) -> str:
    """Return "the nearest is ..." where a name known is like the word, else what is expected.

    Args:
        word: What was given.
        known: The names there are.
        every: Whether all of them are told, even where one is like the word.
    """
    names = list(known)
    found = difflib.get_close_matches(str(word), names, n=1)
    if not names:
        return "there is none to choose from"
    told = ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST} more" if len(names) > _MOST else "")
    if found:
        return f"the nearest is {found[0]!r}" + (f" of {told}" if every else "")
    return f"expected one of {told}"
