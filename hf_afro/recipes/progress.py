"""Two bars on the terminal, one for the whole run and one for the stage at work; without a terminal, none."""

from __future__ import annotations

from types import TracebackType

from tqdm import tqdm


class Progress:
    """Shows how far a run and its present stage are.

    Args:
        stages: How many stages there are.
        name: What the bar of the whole is called.
        show: Whether to show anything.
    """

    def __init__(self, stages: int, name: str, show: bool) -> None:
        self._show = show
        self._whole = tqdm(total=stages, desc=name, position=0, disable=not show, bar_format=_FORMAT, leave=False)
        self._stage: tqdm | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._close_stage()
        self._whole.close()

    def begin(self, stage: str) -> None:
        """Start the bar of a stage, of unknown length until `length` is called."""
        self._close_stage()
        self._stage = tqdm(
            total=1, desc=f"  {stage}", position=1, disable=not self._show, bar_format=_FORMAT, leave=False
        )

    def length(self, steps: int, what: str = "") -> None:
        """Say how many steps this part of the stage has, and what it is; the bar starts over."""
        if self._stage is not None:
            self._stage.reset(total=max(1, steps))
            self._stage.set_postfix_str(what)

    def advance(self, steps: int = 1, what: str = "") -> None:
        """Move the bar of the stage on, and say what was done."""
        if self._stage is not None:
            self._stage.update(steps)
            if what:
                self._stage.set_postfix_str(what)

    def end(self) -> None:
        """Move the bar of the whole on by one stage."""
        self._close_stage()
        self._whole.update(1)

    def _close_stage(self) -> None:
        if self._stage is not None:
            self._stage.close()
            self._stage = None


_FORMAT = "{desc:<24} {bar:30} {n_fmt}/{total_fmt} [{elapsed}<{remaining}] {postfix}"
