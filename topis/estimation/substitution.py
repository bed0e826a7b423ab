"""What stands in for a sensor that is dead: a lane mate, else what the lane had at this hour.

A loop's mate is the nearest living loop of its kind on the same road: traffic spreads over lanes.
Without one, the lane is nobody's; its flow is then told by the other loop of the lane, else by
what it was at the same time of day, else by the last that was seen (`FlowMemory`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topis.model.network import Network
from topis.model.observation import LOOP_ADVANCE, LOOP_STOP_LINE, SensorTable

SLOT_S, SLOTS = 900, 96
#: A day counts half as much as the one after it.
KEEP = 0.5
#: Flow by the lane's other loop is averaged over this (s).
AVERAGE_S = 240.0


class Substitutes:
    """Mates of all loops, worked out once."""

    def __init__(self, network: Network, sensors: SensorTable) -> None:
        loops = np.flatnonzero((sensors.kind == LOOP_STOP_LINE) | (sensors.kind == LOOP_ADVANCE))
        link = network.lane_link[sensors.lane]
        groups: dict[tuple[int, int], list[int]] = {}
        for k in loops.tolist():
            groups.setdefault((int(sensors.kind[k]), int(link[k])), []).append(k)
        self._mates: dict[int, list[int]] = {}
        for members in groups.values():
            for k in members:
                apart = [(abs(int(sensors.lane[m] - sensors.lane[k])), m) for m in members]
                self._mates[k] = [m for _, m in sorted(apart) if m != k]
        self._own = np.arange(len(sensors), dtype=np.int32)

    def of(self, missing: NDArray[np.bool_]) -> NDArray[np.int32]:
        """Whose reading each sensor tells: its own, a mate's, or nobody's (-1)."""
        source = self._own.copy()
        for k in np.flatnonzero(missing).tolist():
            living = (m for m in self._mates.get(k, ()) if not missing[m])
            source[k] = next(living, -1)
        return source


class FlowMemory:
    """Flows of lanes by the time of day, for when nobody sees them. Arrays [lanes]."""

    def __init__(self, lanes: int) -> None:
        self._of_slot = np.full((lanes, SLOTS), np.nan, dtype=np.float32)
        self._sum = np.zeros(lanes)
        self._seconds = np.zeros(lanes)
        self._last = np.full(lanes, np.nan)
        self._by_advance = np.full(lanes, np.nan)
        self._slot = -1

    def update(
        self,
        now_ms: int,
        dt_s: float,
        seen: NDArray[np.bool_],
        flow_vps: NDArray[np.float32],
        advance_veh: NDArray[np.float32],
    ) -> None:
        """One tick: flows of the lanes that are seen; ``advance_veh``: NaN without such a loop."""
        slot = now_ms // (SLOT_S * 1000) % SLOTS
        if slot != self._slot:
            self._store(self._slot)
            self._slot = slot
        self._sum[seen] += dt_s * flow_vps[seen]
        self._seconds[seen] += dt_s
        self._last[seen] = flow_vps[seen]
        if dt_s > 0.0:
            rate = advance_veh / dt_s
            gain = min(dt_s / AVERAGE_S, 1.0)
            before = np.where(np.isnan(self._by_advance), self._last, self._by_advance)
            before = np.where(np.isnan(before), rate, before)
            self._by_advance = before + gain * (rate - before)

    def _store(self, slot: int) -> None:
        enough = self._seconds >= SLOT_S / 3
        mean = self._sum[enough] / self._seconds[enough]
        old = self._of_slot[enough, slot]
        self._of_slot[enough, slot] = np.where(np.isnan(old), mean, KEEP * old + (1 - KEEP) * mean)
        self._sum[:] = self._seconds[:] = 0.0

    def recall(self) -> NDArray[np.float64]:
        """The best that is known of each lane's flow (veh/s), NaN where nothing is."""
        known = np.where(np.isnan(self._by_advance), self._of_slot[:, self._slot], self._by_advance)
        return np.where(np.isnan(known), self._last, known)
