"""A plan that goes with the traffic: cycle, splits and offsets of every sub-area, each cycle.

The steps are those of `topis.control.cosmos`. Here nobody has to obey it: it says what would be
shown when, for those who keep to the plan, and its sub-areas may be found anew.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topis.control.cosmos import Cosmos, CosmosSettings
from topis.control.cycle_split import WebsterCycles
from topis.control.service import permissive_rates, service_table
from topis.control.timeline import ALL, Some
from topis.model.network import Network
from topis.model.state import SignalState, TrafficState
from topis.units import MS_PER_S

#: Longest cycle that rows have room for from the start (s); longer ones make them longer.
_ROOM_S = 240


class LivingPlan:
    """``area`` int32[junctions]: the sub-areas whose junctions share a cycle."""

    def __init__(self, network: Network, settings: CosmosSettings | None = None) -> None:
        self._network = network
        chosen = settings or CosmosSettings()
        self._cosmos = Cosmos(network, chosen)
        self._webster = WebsterCycles(self._cosmos.timing, service_table(network))
        self._bounds_s = chosen.min_cycle_s, chosen.max_cycle_s
        # One cycle of each junction: the stage commanded in each second since it began.
        self._row = np.zeros((network.junctions, _ROOM_S), dtype=np.int16)
        self._length_s = np.ones(network.junctions, dtype=np.int64)
        self._start_s = np.full(network.junctions, np.iinfo(np.int64).min // 2, dtype=np.int64)

    @property
    def area(self) -> NDArray[np.integer]:
        """See the class."""
        return self._cosmos.area

    def wanted_cycle_s(self, flow_vps: NDArray[np.float32]) -> NDArray[np.float64]:
        """Webster's cycle of each junction alone at these flows, float64[junctions]."""
        network = self._network
        self._webster.refresh(service_table(network, permissive_rates(network, flow_vps)))
        low_s, high_s = (np.full(network.junctions, value) for value in self._bounds_s)
        return self._webster.at(flow_vps, low_s, high_s).cycle_s

    def regroup(self, area: NDArray[np.integer], now_ms: int) -> None:
        """Take up other sub-areas; each junction finds its way from the cycle it is in."""
        self._cosmos.regroup(area, now_ms)

    def update(self, state: TrafficState, signals: SignalState) -> None:
        """Take in a tick; where a cycle ends the next one is made."""
        self._cosmos.decide(state, signals)
        # A cycle that begins within a second shows from the next tick on.
        start_s = -(-self._cosmos.running.start_ms // MS_PER_S)
        began = np.flatnonzero(start_s != self._start_s)
        if len(began):
            self._write(began)
            self._start_s[began] = start_s[began]

    def _write(self, junctions: NDArray[np.intp]) -> None:
        """Rows of junctions whose cycle has begun."""
        step, length_s = self._cosmos.running.steps_of(junctions)
        timing = self._cosmos.timing
        owner = timing.junction[step]
        local = timing.stage[step] - self._network.junction_stage_ptr[owner]
        second_owner = np.repeat(owner, length_s)
        total_s = np.bincount(second_owner, minlength=self._network.junctions)
        longest_s = int(total_s.max())
        if longest_s > self._row.shape[1]:
            more = np.zeros((len(self._row), longest_s - self._row.shape[1]), np.int16)
            self._row = np.hstack((self._row, more))
        first = np.cumsum(total_s) - total_s
        second = np.arange(len(second_owner)) - first[second_owner]
        self._row[second_owner, second] = np.repeat(local, length_s)
        self._length_s[junctions] = np.maximum(total_s[junctions], 1)

    def ahead(self, now_s: int, horizon_s: int, which: Some = ALL) -> NDArray[np.int16]:
        """Local number of the stage planned in each of the next seconds, int16[which, s].

        Beyond its end a cycle is taken to come again as it is.
        """
        second = (now_s - self._start_s[which])[:, None] + np.arange(horizon_s)
        second %= self._length_s[which, None]
        return np.asarray(np.take_along_axis(self._row[which], second, axis=1))
