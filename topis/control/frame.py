"""What a junction's own search is framed by: the plan, who must keep to it, and closed gates."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from topis.control.policy import PolicyChoice
from topis.control.timeline import PlanTimeline
from topis.model.network import Network
from topis.model.state import SignalState, TrafficState

F8 = NDArray[np.float64]


class Frame(Protocol):
    """Level 2 as level 1 sees it; arrays are [junctions].

    ``free``: chooses freely, else around the plan. ``by_plan``: has nothing to choose by, and shows
    the plan. ``notes``: (time in ms, what was decided and why).
    """

    notes: list[tuple[int, str]]

    @property
    def free(self) -> NDArray[np.bool_]:
        """See the class."""

    @property
    def by_plan(self) -> NDArray[np.bool_]:
        """See the class."""

    def update(self, state: TrafficState, signals: SignalState) -> None:
        """Take in a tick."""

    def ahead(self, now_s: int, horizon_s: int, which: NDArray[np.integer]) -> NDArray[np.int16]:
        """Local number of the stage planned in each of the next seconds, [which, s]."""

    def hold(self, room_veh: F8, refill_vps: F8) -> tuple[F8, F8]:
        """Room behind the stop lines (float64[lanes]) as far as it may be used."""


class ShippedFrame:
    """The shipped programs, or free choice, by sub-areas that never change."""

    def __init__(self, network: Network) -> None:
        self._policy = PolicyChoice(network)
        self._timeline = PlanTimeline(network)
        self.by_plan: NDArray[np.bool_] = np.zeros(network.junctions, dtype=bool)
        self.notes = self._policy.notes

    @property
    def free(self) -> NDArray[np.bool_]:
        """See `Frame`."""
        return self._policy.free

    def update(self, state: TrafficState, signals: SignalState) -> None:
        """See `Frame`."""
        self._policy.update(state)

    def ahead(self, now_s: int, horizon_s: int, which: NDArray[np.integer]) -> NDArray[np.int16]:
        """See `Frame`."""
        return self._timeline.ahead(now_s, horizon_s, which)

    def hold(self, room_veh: F8, refill_vps: F8) -> tuple[F8, F8]:
        """No gates."""
        return room_veh, refill_vps
