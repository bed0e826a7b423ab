"""The longest waits, and the stages that must be served for them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topis.control.held import FLOWS, HeldTurns
from topis.control.streams import Streams
from topis.model.lamp import RED
from topis.model.network import Network
from topis.model.state import SignalState, TrafficState, zero_if_unknown
from topis.units import MS_PER_S


class Waiting:
    """Seconds that each stream has had somebody waiting and no stage that serves it."""

    def __init__(
        self,
        network: Network,
        streams: Streams,
        held: HeldTurns,
        max_wait_s: float,
        walk_wait_s: float,
    ) -> None:
        self._network, self._streams = network, streams
        self._limit_s = np.where(streams.walk >= 0, walk_wait_s, max_wait_s)
        self._is_lane, self._is_walk = streams.lane >= 0, streams.walk >= 0
        self._lane = np.where(self._is_lane, streams.lane, 0)
        self._walk = np.where(self._is_walk, streams.walk, 0)
        self._held = held
        self._serves = held.serves()
        self._wait_s = np.zeros(len(streams), dtype=np.float32)
        self._last_ms: int | None = None

    def update(self, state: TrafficState, signals: SignalState, local: NDArray[np.int32]) -> None:
        """One tick; ``local``: local number of the stage each junction shows."""
        dt_s = 0.0 if self._last_ms is None else (state.time_ms - self._last_ms) / MS_PER_S
        self._last_ms = state.time_ms
        streams = self._streams
        self._serves = self._held.serves()
        served = self._serves[streams.cell_of(local)] & (signals.coming[streams.junction] < 0)
        red_s = (state.time_ms - signals.group_since_ms[self._walk]) / MS_PER_S
        walk_s = np.where(signals.group_code[self._walk] == RED, red_s, 0.0)
        waiting = zero_if_unknown(state.queue_veh)[self._lane] >= 1.0
        waiting &= (state.flowing[self._lane] >= FLOWS) | self._held.held
        lane_s = np.where(waiting & ~served, self._wait_s + dt_s, 0.0)
        self._wait_s = np.where(self._is_lane, lane_s, np.where(self._is_walk, walk_s, 0.0))

    def allowed(self) -> NDArray[np.uint8]:
        """Where somebody is overdue only the stages that serve most of them, uint8[stages]."""
        network, streams = self._network, self._streams
        allowed = np.ones(network.stages, dtype=np.uint8)
        late_s = np.maximum(self._wait_s - self._limit_s, 0.0)
        for junction in np.unique(streams.junction[late_s > 0.0]).tolist():
            first, last = streams.stream_ptr[junction : junction + 2]
            low, high = network.junction_stage_ptr[junction : junction + 2]
            begin = streams.rate_ptr[junction]
            serves = self._serves[begin : begin + (high - low) * (last - first)]
            value = serves.reshape(high - low, -1) @ late_s[first:last]
            if value.max() > 0.0:
                allowed[low:high] = value >= value.max() - 1e-6
        return allowed
