"""Twin of `topis._core.fifo_signal`."""

from __future__ import annotations

from collections.abc import Iterable


def pass_signal(
    arrive_s: Iterable[float],
    green_from_s: float,
    green_s: float,
    cycle_s: float,
    headway_s: float,
    startup_s: float,
) -> list[float]:
    """Departures, one vehicle at a time."""
    departures: list[float] = []
    for arrival in arrive_s:
        ready = max(arrival, departures[-1] + headway_s) if departures else arrival
        into = (ready - green_from_s) % cycle_s
        if into >= green_s:
            ready += cycle_s - into + startup_s
        departures.append(ready)
    return departures
