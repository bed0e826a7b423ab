"""Degrees of saturation of a plan's steps, and greens moved towards equal ones.

The degree of saturation of a lane is the traffic of a cycle over what its green lets go,
X = v C / (s g) (HCM 6th ed., eq. 19-16 and 19-17; Webster 1958). Traffic is what arrives and
what the last green left behind.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topis._core.cycle_split import share_out as share_out_greens
from topis.control.service import permissive_rates, service_table
from topis.control.timing import Timing
from topis.units import BASE_SAT_FLOW_VPS

F8 = NDArray[np.float64]

#: Start-up loss less the yellow that is still driven through (s), as for HCM delay.
LOST_AT_START_S = 1.0
#: From here on counts no longer tell demand from capacity: a green that left nobody behind
#: was long enough, and what it left says by how much it was not.
QUEUE_FROM = 0.95
#: So many left behind are a green that was too short, whatever was counted (vehicles).
LEFT_VEH = 3.0
#: Beyond this a measured degree says "too much", not how much.
MOST_SATURATION = 1.5
#: A lane presses the steps that serve it at least by this share of its best one.
PRESSES_FROM = 0.5


class Saturation:
    """Degrees of saturation of all steps of a network."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._network = timing.network
        self.refresh(np.zeros(self._network.lanes, dtype=np.float32))

    def refresh(self, flow_vps: NDArray[np.float32]) -> None:
        """Work out anew what permissive turns can discharge against the flows (veh/s)."""
        network, timing = self._network, self._timing
        table = service_table(network, permissive_rates(network, flow_vps))
        # The table is by stage; a stage may be several steps of its junction's plan.
        by_stage = np.argsort(timing.stage, kind="stable")
        first = np.searchsorted(timing.stage[by_stage], table.stage)
        times = np.searchsorted(timing.stage[by_stage], table.stage, side="right") - first
        pair = np.repeat(np.arange(len(table.stage)), times)
        nth = np.arange(len(pair)) - np.repeat(np.cumsum(times) - times, times)
        self._step = by_stage[first[pair] + nth]
        self.lane = table.lane[pair]
        self._rate = table.rate[pair].astype(np.float64)
        self.lane_junction = np.full(network.lanes, -1, dtype=np.int64)
        self.lane_junction[self.lane] = timing.junction[self._step]
        best = np.zeros(network.lanes)
        np.maximum.at(best, self.lane, self._rate)
        self._presses = self._rate >= PRESSES_FROM * best[self.lane]

    def of_steps(self, traffic_vps: F8, left_veh: F8, green_s: F8, cycle_s: F8) -> F8:
        """Highest degree of saturation among the lanes each step serves, float64[steps].

        ``traffic_vps``, ``left_veh`` float64[lanes]: arrivals, and vehicles left at the end of
        green; ``green_s`` float64[steps]; ``cycle_s`` float64[junctions].
        """
        effective_s = np.maximum(green_s - LOST_AT_START_S, 0.0)
        served_s = np.bincount(
            self.lane, self._rate * effective_s[self._step], minlength=self._network.lanes
        )
        capacity = np.maximum(BASE_SAT_FLOW_VPS * served_s, 0.1)
        degree = traffic_vps * cycle_s[self.lane_junction] / capacity
        full = (degree >= QUEUE_FROM) | (left_veh >= LEFT_VEH)
        degree = np.minimum(degree, QUEUE_FROM) + np.where(full, left_veh, 0.0) / capacity
        degree = np.minimum(degree, MOST_SATURATION)
        steps = np.zeros(len(green_s))
        np.maximum.at(steps, self._step[self._presses], degree[self.lane[self._presses]])
        return steps

    def needed_s(
        self, degree: F8, green_s: F8, least_s: F8, cycle_s: F8, new_cycle_s: F8, target: float
    ) -> F8:
        """Green that each junction would need in a new cycle, float64[junctions].

        Each step's share of the cycle grows or shrinks until it runs at ``target`` (HCM 6th
        ed., ch. 19, critical path); no step is shorter than its least green.
        """
        effective_s = np.maximum(green_s - LOST_AT_START_S, 0.0)
        grown = (new_cycle_s / cycle_s)[self._timing.junction]
        wanted_s = effective_s * degree / target * grown + LOST_AT_START_S
        return self._timing.sum(np.maximum(wanted_s, least_s))


def share_out(wanted_s: F8, low_s: F8, high_s: F8, total_s: F8, owner: NDArray[np.integer]) -> F8:
    """Greens nearest to the wanted ones within bounds whose sums are right, float64[steps].

    Projection onto the box and the plane (all moved alike, then cut off at the bounds).
    ``total_s`` float64[owners]; ``owner`` int[steps], ascending. Where the bounds do not allow the
    total the sum is the nearest that they allow.
    """
    ptr = np.searchsorted(owner, np.arange(len(total_s) + 1)).astype(np.int32)
    shared = np.empty(len(wanted_s))
    share_out_greens(ptr, wanted_s, low_s, high_s, total_s, 1, shared)
    return shared
