"""Cycle and greens of every junction from its flows, by Webster's formulas, in one call.

A lane *presses* the steps of a cycle that serve it at least half as well as its best one
(`topis.control.saturation`); what it needs is shared among them by the rates they serve it at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis._core.cycle_split import cycles_and_splits
from topis.control.saturation import LOST_AT_START_S, PRESSES_FROM
from topis.control.service import Service
from topis.control.timing import Timing
from topis.units import BASE_SAT_FLOW_VPS

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]


@dataclass(frozen=True)
class CycleSplit:
    """Of each junction: ``cycle_s`` and ``saturation`` of its fullest step, float64[junctions].

    Of each step: ``green_s`` float64[steps], with what is held, and the critical flow ``ratio``
    float32[steps].
    """

    cycle_s: F8
    green_s: F8
    saturation: F8
    ratio: F4


class WebsterCycles:
    """Cycles and splits of the steps of a timing; ``service`` says which lanes each serves."""

    def __init__(self, timing: Timing, service: Service, threads: int = 1) -> None:
        self._timing, self._threads = timing, threads
        self._least_s = np.maximum(timing.least_s, LOST_AT_START_S)
        self.refresh(service)

    def refresh(self, service: Service) -> None:
        """Take up what permissive turns can discharge now."""
        stage = self._timing.stage
        count = (service.ptr[1:] - service.ptr[:-1])[stage]
        ptr = np.append(0, np.cumsum(count))
        step = np.repeat(np.arange(len(stage)), count)
        pair = np.arange(len(step)) + np.repeat(service.ptr[stage] - ptr[:-1], count)
        lane, rate = service.lane[pair], service.rate[pair].astype(np.float64)
        lanes = self._timing.network.lanes
        best, served = np.zeros(lanes), np.zeros(lanes)
        np.maximum.at(best, lane, rate)
        presses = rate >= PRESSES_FROM * best[lane]
        np.add.at(served, lane[presses], rate[presses])
        self._ptr = np.searchsorted(step[presses], np.arange(len(stage) + 1)).astype(np.int32)
        self._lane = lane[presses]
        self._need_s = (1.0 / (BASE_SAT_FLOW_VPS * served[self._lane])).astype(np.float32)

    def at(self, flow_vps: F4, low_s: F8, high_s: F8) -> CycleSplit:
        """At flows (veh/s, float32[lanes]), with bounds of the cycle, float64[junctions].

        A cycle is longer than ``high_s`` where least greens do not fit into that.
        """
        timing = self._timing
        junctions, steps = len(timing.ptr) - 1, len(timing.stage)
        found = CycleSplit(
            np.empty(junctions), np.empty(steps), np.empty(junctions), np.empty(steps, np.float32)
        )
        cycles_and_splits(
            timing.ptr, self._ptr, self._lane, self._need_s, flow_vps, self._least_s,
            timing.lost_s, LOST_AT_START_S, low_s, high_s, self._threads, found.ratio,
            found.cycle_s, found.green_s, found.saturation,
        )  # fmt: skip
        return found
