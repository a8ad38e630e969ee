"""Log step, speed and time left of long work where the output is not a terminal with a progress bar."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

logger = logging.getLogger(__name__)

EVERY = 30.0
"""Minimum number of seconds between two lines."""


class ProgressLog:
    """Logs the progress of some work at level INFO, at most once per `EVERY` seconds; nothing on a terminal.

    Args:
        name: Name of the work, such as `ner swa, seed 1`.
        total: Number of units; None if unknown.
        done: Units done before, by the run that is resumed.
        unit: Name of the units.
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
            done: Units done, those of earlier runs included.
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


class LogProgress(TrainerCallback):
    """Logs the progress of a `transformers.Trainer` from the main process; see `ProgressLog`.

    Args:
        name: Name of the training, such as `ner swa, seed 1`.
        clock: Returns the time in seconds.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self.clock = name, clock
        self._log: ProgressLog | None = None

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **parts: Any) -> None:
        """Start the clock, at the step that a resumed run starts from."""
        self._log = None
        if state.is_world_process_zero:
            self._log = ProgressLog(self.name, state.max_steps, done=state.global_step, clock=self.clock)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **parts: Any) -> None:
        """Log a line if it is time."""
        if self._log is not None:
            self._log.update(state.global_step)


def duration(seconds: float) -> str:
    """Return a time in a readable unit: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"
