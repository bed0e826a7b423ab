"""Free choice or the plan, for each sub-area: decided online, with hysteresis, and told why."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topis.control.appraisal import PolicyAppraisal
from topis.model.network import Network
from topis.model.state import TrafficState, zero_if_unknown
from topis.units import BASE_SAT_FLOW_VPS, MS_PER_S, to_ms

#: Free choice is taken up when it is appraised below the first share of the plan's delay, and
#: given up above the second: appraisals err, and a change of policy costs a transition.
TAKE_UP, GIVE_UP = 0.70, 0.80
#: Without a green wave a plan has nothing that free choice could lose: its offsets must save at
#: least this share of the platoons' delay.
GREEN_WAVE = 0.93
PERIOD_S = 300.0
#: Until flows are known the shipped splits tell them: as much as this long of watching lanes
#: at this degree of saturation.
PRIOR_S, PRIOR_SATURATION = 600.0, 0.5


class PolicyChoice:
    """``free`` bool[junctions]: whether the junction chooses freely now."""

    def __init__(self, network: Network) -> None:
        self._appraisal = PolicyAppraisal(network)
        self._network = network
        self._prior_vps = PRIOR_SATURATION * BASE_SAT_FLOW_VPS * network.lane_green_share
        self._sum_vps = np.zeros(network.lanes)
        self._watched_s = 0.0
        self._last_ms: int | None = None
        self._next_ms: int | None = None
        self._free_group = np.ones(self._appraisal.groups, dtype=bool)
        self.free: NDArray[np.bool_] = np.ones(network.junctions, dtype=bool)
        self.notes: list[tuple[int, str]] = []

    def update(self, state: TrafficState) -> None:
        """Watch the flows; every few minutes appraise both policies."""
        if self._last_ms is not None:
            dt_s = (state.time_ms - self._last_ms) / MS_PER_S
            self._sum_vps += dt_s * zero_if_unknown(state.flow_vps)
            self._watched_s += dt_s
        self._last_ms = state.time_ms
        if self._next_ms is not None and state.time_ms < self._next_ms:
            return
        first = self._next_ms is None
        self._next_ms = state.time_ms + to_ms(PERIOD_S)
        if self._network.junctions:
            self._choose(state.time_ms, first)

    def _choose(self, now_ms: int, first: bool) -> None:
        flow_vps = (self._sum_vps + PRIOR_S * self._prior_vps) / (self._watched_s + PRIOR_S)
        cost = self._appraisal.compare(flow_vps.astype(np.float32))
        # What was seen longer ago counts less.
        self._sum_vps *= 0.5
        self._watched_s *= 0.5
        ratio = cost.free_s / np.maximum(cost.plan_s, 1e-9)
        bound = np.where(self._free_group & (not first), GIVE_UP, TAKE_UP)
        free = (ratio <= bound) | (cost.progression > GREEN_WAVE)
        for group in np.flatnonzero((free != self._free_group) | first).tolist():
            members = int((self._appraisal.group == group).sum())
            text = (
                f"sub-area {group} ({members} signals): "
                f"{'free choice' if free[group] else 'the plan'}; appraised at "
                f"{cost.free_s[group]:.0f} s a stop line free, {cost.plan_s[group]:.0f} s "
                f"planned (progression {cost.progression[group]:.2f})"
            )
            self.notes.append((now_ms, text))
        self._free_group = free
        self.free = free[self._appraisal.group]
