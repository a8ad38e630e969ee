"""Records of another library's log that are left out while a block runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def filtered_log(name: str, is_wanted: Callable[[logging.LogRecord], bool]) -> Iterator[None]:
    """Keep a logger from logging what is not wanted.

    Args:
        name: Of the logger.
        is_wanted: Asked of each record.
    """
    logger = logging.getLogger(name)
    logger.addFilter(is_wanted)
    try:
        yield
    finally:
        logger.removeFilter(is_wanted)
