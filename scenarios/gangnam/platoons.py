"""A cyclic platoon model: the delay of a fixed plan, by vertical queues and platoon dispersion.

The classic way to set offsets on paper: every turn is a vertical queue served at saturation flow
while it has green; what leaves it travels down the link as a platoon that spreads, and is what
arrives at the next stop line.  One cycle, periodic, one second per step.
"""

from __future__ import annotations

import numpy as np

from scenarios._shared.lamps import Lamps, Programme
from scenarios._shared.streets import Streets
from scenarios.gangnam import layout

THROUGH_FLOW_VPH, LEFT_FLOW_VPH = 1750.0, 1650.0
"""Saturation flow per lane."""
RIGHT_TURN_WEIGHT = 1.6
"""Through-car equivalents of a right turn that gives way to people on the crossing."""
CRUISE_SHARE = 0.93
"""Cruising speed over the speed limit."""
DISPERSION = 0.12
"""Spread of a platoon: the smoothing constant is 1 / (1 + DISPERSION * travel time)."""
START_LOSS_S = 3.0
"""What a platoon that starts from standstill loses on one that passes at speed."""
SWEEPS = 7
PEAK_MINUTES = 15.0


class PlatoonModel:
    """Delay of plans at one demand. Row k of every array is one queue (side and turn)."""

    def __init__(
        self,
        streets: Streets,
        lamps: dict[str, Lamps],
        flows_vph: dict[tuple[str, str], float],
        cycle_s: int,
    ) -> None:
        self.lamps, self.cycle_s = lamps, cycle_s
        self.keys: list[tuple[str, str]] = []
        flow, weighted, capacity = [], [], []
        for junction in lamps:
            for side, other in streets.neighbours(junction).items():
                road = streets.road[other, junction]
                for turn in "sl":
                    own = flows_vph.get((junction, side + turn), 0.0)
                    if not own:
                        continue
                    right = flows_vph.get((junction, side + "r"), 0.0)
                    shares_right = turn == "s" or (junction, side + "s") not in flows_vph
                    lanes = road.bays if turn == "l" and road.bays else road.lanes
                    rate = THROUGH_FLOW_VPH if turn == "s" else LEFT_FLOW_VPH
                    self.keys.append((junction, side + turn))
                    flow.append(own + shares_right * right)
                    weighted.append(own + shares_right * RIGHT_TURN_WEIGHT * right)
                    capacity.append(lanes * rate)
        self.flow_vps = np.array(flow) / 3600.0
        weight = np.array(weighted) / np.array(flow)
        self.capacity_vps = np.array(capacity) / 3600.0 / weight
        self._link(streets, flows_vph)

    def _link(self, streets: Streets, flows_vph: dict[tuple[str, str], float]) -> None:
        """Set, per queue, what it receives from each upstream queue and how it is spread."""
        count, half = len(self.keys), self.cycle_s // 2 + 1
        self.feed = np.zeros((count, count))
        self.spread = np.ones((count, half), dtype=complex)
        frequency = 2.0 * np.pi * np.arange(half) / self.cycle_s
        index = {key: k for k, key in enumerate(self.keys)}
        for k, (junction, move) in enumerate(self.keys):
            other = streets.neighbours(junction)[move[0]]
            if other not in self.lamps:
                continue
            pa, pb = streets.places[other], streets.places[junction]
            length_m = float(np.hypot(pa.x_m - pb.x_m, pa.y_m - pb.y_m))
            speed_mps = CRUISE_SHARE * streets.road[other, junction].speed_mps
            travel_s = START_LOSS_S + length_m / speed_mps
            keep = 1.0 / (1.0 + DISPERSION * 0.8 * travel_s)
            lag = np.exp(-1j * frequency * round(0.8 * travel_s))
            self.spread[k] = lag * keep / (1.0 - (1.0 - keep) * np.exp(-1j * frequency))
            into: dict[int, float] = {}
            for side, far in streets.neighbours(other).items():
                turn = "" if far == junction else streets.turn(far, other, junction)
                vph = flows_vph.get((other, side + turn), 0.0)
                source = index.get((other, side + turn), index.get((other, side + "s")))
                source = index.get((other, side + "l")) if source is None else source
                if turn and vph and source is not None:
                    into[source] = into.get(source, 0.0) + vph / 3600.0
            total = sum(into.values())
            for source, vps in into.items():
                self.feed[k, source] = self.flow_vps[k] / total * vps / self.flow_vps[source]

    def greens(self, plan: dict[str, Programme]) -> np.ndarray:
        """Return queue x second: 1 where the queue has green."""
        green = np.zeros((len(self.keys), self.cycle_s))
        seconds = np.arange(self.cycle_s)
        for k, (junction, turn) in enumerate(self.keys):
            lamps, start_s = self.lamps[junction], plan[junction].offset_s
            stages = layout.STAGES[junction]
            for stage, green_s in zip(stages, plan[junction].greens_s, strict=True):
                if turn in stage.go.split():
                    green[k, (seconds[:green_s] + start_s) % self.cycle_s] = 1.0
                start_s += green_s + lamps.change_s(stage)
        return green

    def delay_s(self, plan: dict[str, Programme]) -> float:
        """Return the mean delay per vehicle and queue passed, in s."""
        serve = self.greens(plan) * self.capacity_vps[:, None]
        arrive = np.repeat(self.flow_vps[:, None], self.cycle_s, axis=1)
        outer = self.flow_vps - self.feed @ self.flow_vps
        saturation = self.flow_vps * self.cycle_s / np.maximum(serve.sum(axis=1), 1e-9)
        served = np.minimum(1.0, 0.98 / saturation)[:, None]
        queue_sum = np.zeros(len(self.keys))
        for _ in range(SWEEPS):
            queue = np.zeros(len(self.keys))
            leave = np.zeros_like(arrive)
            for _lap in range(2):
                queue_sum[:] = 0.0
                for t in range(self.cycle_s):
                    stock = queue + arrive[:, t] * served[:, 0]
                    leave[:, t] = np.minimum(stock, serve[:, t])
                    queue = stock - leave[:, t]
                    queue_sum += queue
            flows = np.fft.irfft(
                np.fft.rfft(self.feed @ leave, axis=1) * self.spread, n=self.cycle_s, axis=1
            )
            arrive = np.maximum(flows + outer[:, None], 0.0)
        capacity = serve.sum(axis=1) / self.cycle_s
        excess = saturation - 1.0
        period_s = 60.0 * PEAK_MINUTES
        random_s = (
            period_s / 4.0 * (excess + np.sqrt(excess**2 + 4.0 * saturation / capacity / period_s))
        )
        total = queue_sum.sum() / self.cycle_s + (random_s * self.flow_vps).sum()
        return float(total / self.flow_vps.sum())
