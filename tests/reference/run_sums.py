"""Twin of `topis._core.run_sums`: one row at a time, into dictionaries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

NO_SPEED = 65535


class RunSums:
    """Sums by (place, period)."""

    def __init__(
        self, places: int, periods: int, begin_ms: int, period_ms: int, standing_below: int
    ) -> None:
        self.places, self.periods = places, periods
        self.begin_ms, self.period_ms = begin_ms, period_ms
        self.standing_below = standing_below
        self.sums: dict[str, dict[tuple[int, int], int]] = {
            name: defaultdict(int)
            for name in ("count", "things", "measured", "speed_sum", "standing")
        }
        self.outside = 0
        self._last: tuple[int, int, int] | None = None

    def add(self, rows: Iterable[tuple[int, int, int, int]]) -> None:
        """Rows of (place, thing, time in ms, speed)."""
        for place, thing, time_ms, speed in rows:
            period = (time_ms - self.begin_ms) // self.period_ms
            if place >= self.places or not 0 <= period < self.periods:
                self.outside += 1
                continue
            cell = place, period
            self.sums["count"][cell] += 1
            if (place, thing, period) != self._last:
                self.sums["things"][cell] += 1
            self._last = place, thing, period
            if speed != NO_SPEED:
                self.sums["measured"][cell] += 1
                self.sums["speed_sum"][cell] += speed
                self.sums["standing"][cell] += speed < self.standing_below
