"""Free choice or the plan, for each sub-area: decided online, with hysteresis, and told why."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from topis.control.appraisal import Appraisal, PolicyAppraisal
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
#: Networks of more signals are appraised a piece a tick, so that no tick is a long one.
AT_ONCE = 500


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
        self._work: Generator[None, None, Appraisal] | None = None
        self._first = True
        self.free: NDArray[np.bool_] = np.ones(network.junctions, dtype=bool)
        self.notes: list[tuple[int, str]] = []

    @property
    def flow_vps(self) -> NDArray[np.float32]:
        """Traffic as watched for some minutes, float32[lanes]."""
        flow = (self._sum_vps + PRIOR_S * self._prior_vps) / (self._watched_s + PRIOR_S)
        return flow.astype(np.float32)

    def group_by(self, area: NDArray[np.int32]) -> None:
        """Choose for these sub-areas from now on, int32[junctions].

        Until they are appraised each junction goes on as it did.
        """
        self._appraisal.group = area
        self._work = None
        self._next_ms = None

    def update(self, state: TrafficState) -> None:
        """Watch the flows; every few minutes appraise both policies."""
        if self._last_ms is not None:
            dt_s = (state.time_ms - self._last_ms) / MS_PER_S
            self._sum_vps += dt_s * zero_if_unknown(state.flow_vps)
            self._watched_s += dt_s
        self._last_ms = state.time_ms
        if self._next_ms is None or state.time_ms >= self._next_ms:
            self._next_ms = state.time_ms + to_ms(PERIOD_S)
            if self._network.junctions:
                self._work = self._appraisal.pieces(self.flow_vps)
                # What was seen longer ago counts less.
                self._sum_vps *= 0.5
                self._watched_s *= 0.5
        if self._work is not None:
            self._go_on(self._work, state.time_ms)

    def _go_on(self, work: Generator[None, None, Appraisal], now_ms: int) -> None:
        """A piece of the appraisal, or all of it; once it is done, the choice."""
        try:
            next(work)
            while self._network.junctions <= AT_ONCE:
                next(work)
        except StopIteration as done:
            self._work = None
            self._choose(done.value, now_ms)

    def _choose(self, cost: Appraisal, now_ms: int) -> None:
        group = self._appraisal.group
        ratio = cost.free_s / np.maximum(cost.plan_s, 1e-9)
        # A sub-area keeps the policy of most of its junctions, unless the other is clearly better.
        size = np.bincount(group, minlength=len(ratio))
        was_free = 2 * np.bincount(group, self.free, minlength=len(ratio)) > size
        bound = np.where(was_free & (not self._first), GIVE_UP, TAKE_UP)
        free = (ratio <= bound) | (cost.progression > GREEN_WAVE)
        told = (free != was_free) | self._first
        self._first = False
        for k in np.flatnonzero(told).tolist():
            text = (
                f"sub-area {k} ({size[k]} signals): "
                f"{'free choice' if free[k] else 'the plan'}; appraised at "
                f"{cost.free_s[k]:.0f} s a stop line free, {cost.plan_s[k]:.0f} s "
                f"planned (progression {cost.progression[k]:.2f})"
            )
            self.notes.append((now_ms, text))
        self.free = free[group]
