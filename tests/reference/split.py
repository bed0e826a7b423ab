"""Twin of `topis._core.split`: greens of least HCM delay, one greedy step after the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

PERIOD_H, INCREMENTAL_K, LOST_AT_START_S, INFEASIBLE = 0.25, 0.5, 1.0, 1e30


@dataclass
class Stage:
    """Minimum green, and how well each lane (by number) is served, in the order given."""

    min_green_s: float
    serves: Sequence[tuple[int, float]]
    green_s: float = 0.0


@dataclass
class Crossroads:
    """One junction; ``flow`` and ``sat`` (veh/s) by lane number."""

    cycle_s: float
    lost_s: float
    stages: list[Stage]
    flow: Mapping[int, float]
    sat: Mapping[int, float]
    lane_green_s: dict[int, float] = field(default_factory=dict)

    def split(self, step_s: float) -> float:
        """Set the greens; the delay in vehicle-seconds per second, 1e30 where they do not fit."""
        self.lane_green_s = {lane: 0.0 for stage in self.stages for lane, _ in stage.serves}
        left = self.cycle_s - self.lost_s
        for stage in self.stages:
            stage.green_s = stage.min_green_s
            left -= stage.green_s
            for lane, rate in stage.serves:
                self.lane_green_s[lane] += rate * effective(stage.green_s)
        if left < -1e-9:
            return INFEASIBLE
        while left > 1e-9:
            more = min(step_s, left)
            saved = [self.saved(stage, more) for stage in self.stages]
            # Nobody has anything to gain: the first stage takes what is left.
            best = self.stages[saved.index(max(saved))] if max(saved) > -1.0 else self.stages[0]
            longer = effective(best.green_s + more) - effective(best.green_s)
            for lane, rate in best.serves:
                self.lane_green_s[lane] += rate * longer
            best.green_s += more
            left -= more
        served: dict[int, None] = dict.fromkeys(
            lane for number, stage in enumerate(self.stages) for lane in self.new_in(number, stage)
        )
        return sum((self.delay(lane, self.lane_green_s[lane]) for lane in served), 0.0)

    def new_in(self, number: int, stage: Stage) -> list[int]:
        """Lanes that no earlier stage serves."""
        before = {lane for earlier in self.stages[:number] for lane, _ in earlier.serves}
        return [lane for lane, _ in stage.serves if lane not in before]

    def saved(self, stage: Stage, more: float) -> float:
        longer = effective(stage.green_s + more) - effective(stage.green_s)
        saved = 0.0
        for lane, rate in stage.serves:
            saved += self.delay(lane, self.lane_green_s[lane])
            saved -= self.delay(lane, self.lane_green_s[lane] + rate * longer)
        return saved

    def delay(self, lane: int, green_s: float) -> float:
        """HCM 6th ed., eq. 19-18 to 19-26, times the flow."""
        flow, sat = self.flow[lane], self.sat[lane]
        if flow <= 0:
            return 0.0
        share = min(max(green_s, 0.05) / self.cycle_s, 1.0)
        capacity_vph = 3600.0 * sat * share
        x = 3600.0 * flow / capacity_vph
        uniform = 0.5 * self.cycle_s * (1.0 - share) ** 2 / max(1.0 - min(1.0, x) * share, 1e-6)
        excess = x - 1.0
        root = math.sqrt(excess * excess + 8.0 * INCREMENTAL_K * x / (capacity_vph * PERIOD_H))
        return flow * (uniform + 900.0 * PERIOD_H * (excess + root))


def effective(green_s: float) -> float:
    return max(green_s - LOST_AT_START_S, 0.0)
