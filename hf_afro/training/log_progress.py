"""`LogProgress`: a callback that logs how far a Trainer is where its output is not a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from hf_afro.progress_log import ProgressLog


class LogProgress(TrainerCallback):
    """Logs step, speed and time left from the main process; see `ProgressLog`.

    Args:
        name: What is trained, such as `ner swa, seed 1`.
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
