"""Greens of least HCM delay for cycles to choose from: `topis._core.split` on a network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topis._core.split import split_greens
from topis.control.service import Service
from topis.control.timing import Timing
from topis.units import BASE_SAT_FLOW_VPS

F8 = NDArray[np.float64]

#: Greens are made for this degree of saturation, the usual target (HCM, SCOOT).
DESIGN_SATURATION = 0.9
DESIGN_FLOW_VPS = DESIGN_SATURATION * BASE_SAT_FLOW_VPS


class Splits:
    """Splits of the stages of a timing, each stage once.

    Stages of other programs take no part: their greens would be cut from the cycle. ``used``
    int32[n]: the stages that do, ascending; ``ptr`` int32[junctions + 1] into them;
    ``least_s`` float64[n]; ``least_cycle_s`` float64[junctions].
    """

    def __init__(self, timing: Timing) -> None:
        self._network = network = timing.network
        self._lost_s = timing.lost_s
        self.used = np.sort(timing.stage)
        self.ptr = np.searchsorted(self.used, network.junction_stage_ptr).astype(np.int32)
        least_s = np.zeros(network.stages)
        least_s[timing.stage] = timing.least_s
        self.least_s = least_s[self.used]
        self.least_cycle_s = self._lost_s + np.add.reduceat(self.least_s, self.ptr[:-1])
        self._sat = np.full(network.lanes, DESIGN_FLOW_VPS, dtype=np.float32)

    def greens(
        self, cycle_s: F8, flow_vps: NDArray[np.float32], service: Service, step_s: float
    ) -> tuple[F8, F8]:
        """(greens float64[stages], delay float64[junctions] in vehicle-seconds per second).

        ``step_s``: seconds handed out at a time. The delay is huge where the least greens do
        not fit into the cycle.
        """
        green_s = np.zeros(self._network.stages)
        green_s[self.used], delay = self._split(
            np.asarray(cycle_s, dtype=np.float64),
            self._lost_s,
            self.least_s,
            flow_vps,
            service,
            step_s,
        )
        return green_s, delay

    def delay_of(
        self, green_s: F8, cycle_s: F8, flow_vps: NDArray[np.float32], service: Service
    ) -> F8:
        """Delay of given greens (float64[stages]), float64[junctions]."""
        # Greens fixed at what they are: nothing is left to hand out.
        fixed_s = green_s[self.used]
        lost_s = cycle_s - np.add.reduceat(fixed_s, self.ptr[:-1])
        return self._split(cycle_s, lost_s, fixed_s, flow_vps, service, 1.0)[1]

    def _split(
        self,
        cycle_s: F8,
        lost_s: F8,
        least_s: F8,
        flow_vps: NDArray[np.float32],
        service: Service,
        step_s: float,
    ) -> tuple[F8, F8]:
        keep = np.isin(service.stage, self.used)
        row = np.searchsorted(self.used, service.stage[keep])
        pair_ptr = np.searchsorted(row, np.arange(len(self.used) + 1)).astype(np.int32)
        used_s, delay = np.zeros(len(self.used)), np.zeros(self._network.junctions)
        split_greens(
            self.ptr,
            cycle_s,
            lost_s,
            least_s,
            pair_ptr,
            service.lane[keep],
            service.rate[keep],
            flow_vps,
            self._sat,
            step_s,
            np.zeros(self._network.lanes),
            used_s,
            delay,
        )
        return used_s, delay
