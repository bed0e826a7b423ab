"""CPU time of a piece of work: other work on the machine disturbs it less than the clock."""

from __future__ import annotations

import time
from collections.abc import Callable

ROUNDS = 5


def cpu_s(work: Callable[[], object]) -> float:
    """CPU time of all threads, the least of several runs."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best
