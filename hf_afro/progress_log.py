"""Log lines with the step, the speed and the time left of long work, where the output is not a terminal with a bar."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

EVERY = 30.0
"""Seconds between two lines, at least."""


class ProgressLog:
    """Logs how far some work is, at level INFO, at most once in `EVERY` seconds, and nothing on a terminal.

    Args:
        name: What is done, such as `ner swa, seed 1`.
        total: How many units there are; None where that is not known.
        done: Units that were done before, by a run that is resumed.
        unit: What is counted.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        name: str,
        total: float | None,
        *,
        done: float = 0,
        unit: str = "steps",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self.total, self.unit = name, total, unit
        self._clock = clock
        self._first = done
        self._started = self._said = clock()

    def update(self, done: float) -> None:
        """Log a line if it is time.

        Args:
            done: Units that are done, those of a run before included.
        """
        now = self._clock()
        if now - self._said < EVERY or done <= self._first or sys.stderr.isatty():
            return
        self._said = now
        speed = (done - self._first) / (now - self._started)
        parts = [f"{self.name}: {done:,.0f}", f"{_number(speed)} {self.unit}/s"]
        if self.total is not None:
            parts[0] += f" of {self.total:,.0f}"
            parts.append(f"{duration(max(0.0, self.total - done) / speed)} left")
        parts[0] += f" {self.unit}"
        logger.info(", ".join(parts))


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"
