"""Times several ways of doing one thing in turn, so that a slow moment falls on all of them; and peak memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path


def peak_memory() -> int:
    """Return the most memory this process has held since that was last reset, in bytes."""
    status = Path("/proc/self/status").read_text("utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def in_turn(sides: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median seconds of each side over `repeats` rounds, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats + 1):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            if repeat:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def print_ratios(title: str, medians: dict[str, float]) -> None:
    """Print each side's median and how many times faster it is than the first side."""
    print(title)
    first = next(iter(medians.values()))
    for name, median in medians.items():
        print(f"  {name:32} {median:9.4f} s   {first / median:6.2f}x")
