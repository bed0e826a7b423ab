"""The only place that reads a clock.

Decisions never ask for the time: it is handed to them. Progress bars and the timing
of stages use :func:`stopwatch_s`, which does not touch any result.
"""

from __future__ import annotations

import time


def wait_s(seconds: float) -> None:
    """Let wall-clock time pass, for another process to catch up."""
    time.sleep(seconds)


def stopwatch_s() -> float:
    """Monotonic time in seconds, for durations only."""
    return time.perf_counter()
