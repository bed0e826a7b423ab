"""Splits and cycles of all signals for given flows: Webster's equal saturation, least delay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.ingest.city.graph import MOST_STAGES, Floats, Graph, Ints
from topis.ingest.city.stages import Signal
from topis.units import S_PER_H

#: Cycles tried (s). Seoul's are long; Webster's sum of delays picks, 160 s is the longest.
CYCLES_S = tuple(range(60, 165, 5))
#: Period of the overflow term of the delay (h): HCM 6th ed., ch. 19.
OVERFLOW_H = 0.25
_PINNING_STEPS = 4
_HARDLY_ANY = 1e-4


@dataclass(frozen=True)
class Timing:
    """``cycle_s`` int64[signals]; ``green_s`` float64[signals, 4] shown; whole once rounded."""

    cycle_s: Ints
    green_s: Floats


class Junctions:
    """All signals as arrays: what the timing of each has to keep."""

    def __init__(self, graph: Graph, signals: list[Signal], area: Ints) -> None:
        self.graph = graph
        self.area = area
        count = len(signals)
        self.min_s = np.zeros((count, MOST_STAGES))
        for j, signal in enumerate(signals):
            self.min_s[j, : len(signal.stages)] = [stage.min_s for stage in signal.stages]
        self.has = self.min_s > 0
        self.change_s = np.array([signal.change_s for signal in signals])
        self.lost_s = self.change_s * self.has.sum(axis=1)
        self.least_s = self.min_s.sum(axis=1) + self.lost_s
        self._at = np.flatnonzero(graph.queue_signal >= 0)
        self._signal = graph.queue_signal[self._at]
        self._stage = graph.queue_stage[self._at]
        self._vps = graph.queue_vps[self._at]
        self._served = self._stage.sum(axis=1)

    def queue_flow(self, arc_vph: Floats) -> Floats:
        """Flow (veh/h) of every queue."""
        size = len(self.graph.queue_vps)
        return np.bincount(self.graph.queue, arc_vph, minlength=size).astype(np.float64)

    def timing(self, arc_vph: Floats) -> Timing:
        """Cycle of each area with the least sum of delays, and its splits."""
        flow = self.queue_flow(arc_vph)[self._at]
        ratio = self._critical(flow)
        areas = int(self.area.max()) + 1
        least = np.zeros(areas)
        np.maximum.at(least, self.area, self.least_s)
        total = np.full((len(CYCLES_S), areas), np.inf)
        for c, cycle_s in enumerate(CYCLES_S):
            cycle = np.full(len(self.area), float(cycle_s))
            green = self._splits(ratio, np.maximum(cycle, self.least_s))
            delay = self._delay_s(flow, green, cycle)
            weighted = np.bincount(self._signal, flow * delay, minlength=len(self.area))
            total[c] = np.bincount(self.area, weighted, minlength=areas)
            total[c, least > cycle_s] = np.inf
        total[-1, np.isinf(total).all(axis=0)] = 0
        cycle_s = np.array(CYCLES_S)[total.argmin(axis=0)][self.area]
        return Timing(cycle_s, self._splits(ratio, np.maximum(cycle_s, self.least_s)))

    def green_of(self, timing: Timing) -> Floats:
        """Green (s) of every signalised queue, over the change between two stages it has."""
        green = (self._stage * timing.green_s[self._signal]).sum(axis=1)
        return np.asarray(green + (self._served - 1) * self.change_s[self._signal])

    def saturation(self, arc_vph: Floats, timing: Timing) -> Floats:
        """Degree of saturation of every queue; of unsignalised ones flow over capacity."""
        flow = self.queue_flow(arc_vph)
        share = np.ones(len(flow))
        share[self._at] = self.green_of(timing) / timing.cycle_s[self._signal]
        return flow / (self.graph.queue_vps * S_PER_H * share)

    def approaches(self, saturation: Floats) -> Floats:
        """The highest degree of saturation on each signalised approach that is used."""
        top = np.zeros(len(self.graph.time_s))
        np.maximum.at(top, self.graph.queue_edge[self._at], saturation[self._at])
        return top[top > 0]

    def red_delay_s(self, timing: Timing) -> Floats:
        """Uniform delay of every queue at no flow: what a red light costs."""
        delay = np.zeros(len(self.graph.queue_vps))
        cycle = timing.cycle_s[self._signal]
        delay[self._at] = 0.5 * (cycle - self.green_of(timing)) ** 2 / cycle
        return delay

    def _critical(self, flow: Floats) -> Floats:
        """Flow over saturation flow of each stage's critical queue."""
        ratio = flow / (self._vps * S_PER_H)
        critical = np.zeros((len(self.area), MOST_STAGES))
        once = self._served == 1
        np.maximum.at(critical, (self._signal[once], self._stage[once].argmax(axis=1)), ratio[once])
        twice = np.flatnonzero(self._served > 1)
        both = (self._stage[twice] * critical[self._signal[twice]]).sum(axis=1)
        first = self._stage[twice].argmax(axis=1)
        at = (self._signal[twice], first)
        np.maximum.at(critical, at, critical[at] + np.maximum(ratio[twice] - both, 0))
        return np.where(self.has, np.maximum(critical, _HARDLY_ANY), 0)

    def _splits(self, ratio: Floats, cycle_s: Floats | Ints) -> Floats:
        """Greens in proportion to the critical flows; those at their least held there."""
        pinned = np.zeros_like(self.has)
        green = self.min_s.copy()
        for _ in range(_PINNING_STEPS):
            free = self.has & ~pinned
            left = cycle_s - self.lost_s - (self.min_s * pinned).sum(axis=1)
            share = np.where(free, ratio, 0)
            total = share.sum(axis=1)
            given = share / np.where(total > 0, total, 1)[:, None] * left[:, None]
            green = np.where(pinned, self.min_s, given)
            pinned |= self.has & (green <= self.min_s)
        return np.where(self.has, np.maximum(green, self.min_s), 0)

    def _delay_s(self, flow: Floats, green_s: Floats, cycle_s: Floats) -> Floats:
        """Delay a vehicle of each signalised queue: uniform and overflow term of the HCM."""
        green = (self._stage * green_s[self._signal]).sum(axis=1)
        green = green + (self._served - 1) * self.change_s[self._signal]
        share = np.minimum(green / cycle_s[self._signal], 1)
        capacity = self._vps * S_PER_H * share
        x = flow / capacity
        uniform = (
            0.5 * cycle_s[self._signal] * (1 - share) ** 2 / (1 - np.minimum(x, 1) * share + 1e-6)
        )
        over = (x - 1) + np.sqrt((x - 1) ** 2 + 4 * x / (capacity * OVERFLOW_H))
        return np.asarray(uniform + 900 * OVERFLOW_H * over)


def whole_greens(timing: Timing, junctions: Junctions) -> Timing:
    """Whole seconds that fill the cycle, none under its least."""
    room = (timing.cycle_s - junctions.lost_s).astype(np.int64)
    green = np.floor(timing.green_s).astype(np.int64)
    green = np.where(junctions.has, np.maximum(green, junctions.min_s.astype(np.int64)), 0)
    rest: NDArray[np.float64] = np.where(junctions.has, timing.green_s - green, -np.inf)
    for j in range(len(green)):
        while green[j].sum() < room[j]:
            k = int(np.argmax(rest[j]))
            green[j, k] += 1
            rest[j, k] -= 1
        while green[j].sum() > room[j]:
            spare = np.where(green[j] > junctions.min_s[j], green[j], 0)
            green[j, int(np.argmax(spare))] -= 1
    return Timing(timing.cycle_s, green.astype(float))
