"""The whole city: the search of `adaptive` at every junction, in the frame of a city.

Level 2 here is more than one shipped plan. Sub-areas are found anew each hour by how much traffic
couples their junctions; each has a plan that goes with the traffic, cycle by cycle, and chooses
freely or keeps to it, whichever is appraised to cost less. Regions that are overloaded are gated.
Junctions that nobody sees show a plan of the library.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.config import setting
from topis.control.adaptive import Adaptive, AdaptiveSettings
from topis.control.areas import Areas
from topis.control.coordination import find_feeds
from topis.control.gating import Gating
from topis.control.living_plan import LivingPlan
from topis.control.plan_library import PlanLibrary
from topis.control.policy import PolicyChoice
from topis.estimation.estimator import VOUCHED
from topis.model.network import Network
from topis.model.state import SignalState, TrafficState
from topis.units import to_ms

F8 = NDArray[np.float64]


@dataclass(frozen=True)
class CitySettings(AdaptiveSettings):
    """Those of `adaptive`, and of what frames it."""

    remarry_s: float = setting(3600.0, 300, 86400, "time between two looks for other sub-areas")
    living: float = setting(1.0, 0, 1, "1: plans go with the traffic, 0: as the library has them")
    gates: float = setting(1.0, 0, 1, "1: overloaded regions are gated, 0: they are not")


class CityFrame:
    """Level 2 of a city; see `topis.control.frame.Frame`."""

    def __init__(self, network: Network, settings: CitySettings) -> None:
        self._network = network
        self._set = settings
        self._areas = Areas(network, find_feeds(network))
        self._policy = PolicyChoice(network)
        self._living = LivingPlan(network)
        self._library = PlanLibrary(network)
        self._gating = Gating(network)
        self._next_marriage_ms: int | None = None
        self._lanes = network.approach_lanes
        self._owner = network.link_junction[network.lane_link[self._lanes]]
        self.by_plan: NDArray[np.bool_] = np.zeros(network.junctions, dtype=bool)
        self.notes: list[tuple[int, str]] = []

    @property
    def free(self) -> NDArray[np.bool_]:
        """See `Frame`."""
        return self._policy.free

    @property
    def area(self) -> NDArray[np.int32]:
        """Sub-area of each junction, int32[junctions]."""
        return self._areas.number

    @property
    def gating(self) -> Gating:
        """The gates of the regions."""
        return self._gating

    def update(self, state: TrafficState, signals: SignalState) -> None:
        """See `Frame`."""
        now_ms = state.time_ms
        if self._next_marriage_ms is None or now_ms >= self._next_marriage_ms:
            self._next_marriage_ms = now_ms + to_ms(self._set.remarry_s)
            self._marry(now_ms)
        self._policy.update(state)
        self._library.update(now_ms, self._policy.flow_vps, self._areas.number)
        if self._set.living >= 0.5:
            self._living.update(state, signals)
        if self._set.gates >= 0.5:
            self._gating.update(state)
        # What probes vouch for counts as unseen: where they fall silent too, they seem to say that
        # nobody comes, and a search would serve nobody.
        seen = np.bincount(
            self._owner,
            state.confidence[self._lanes] > VOUCHED,
            minlength=self._network.junctions,
        )
        self.by_plan = seen == 0
        for part in (self._policy.notes, self._library.notes, self._gating.notes):
            self.notes += part
            part.clear()

    def _marry(self, now_ms: int) -> None:
        flow_vps = self._policy.flow_vps
        if self._areas.remarry(flow_vps, self._living.wanted_cycle_s(flow_vps)):
            area = self._areas.number
            self._policy.group_by(area)
            self._living.regroup(area, now_ms)
            size = np.bincount(area)
            text = (
                f"{len(size)} sub-areas by coupling: the largest of {size.max(initial=0)} signals, "
                f"{int((size == 1).sum())} signals alone"
            )
            self.notes.append((now_ms, text))

    def ahead(self, now_s: int, horizon_s: int, which: NDArray[np.integer]) -> NDArray[np.int16]:
        """See `Frame`."""
        if self._set.living < 0.5:
            return self._library.ahead(now_s, horizon_s, which)
        planned = self._living.ahead(now_s, horizon_s, which)
        unseen = self.by_plan[which]
        if unseen.any():
            planned[unseen] = self._library.ahead(now_s, horizon_s, which[unseen])
        return planned

    def hold(self, room_veh: F8, refill_vps: F8) -> tuple[F8, F8]:
        """See `Frame`."""
        return self._gating.hold(room_veh, refill_vps)


class City(Adaptive):
    """`Adaptive` in the frame of a city."""

    name = "city"

    def __init__(self, network: Network, settings: CitySettings | None = None) -> None:
        chosen = settings or CitySettings()
        self.frame = CityFrame(network, chosen)
        super().__init__(network, chosen, self.frame)
