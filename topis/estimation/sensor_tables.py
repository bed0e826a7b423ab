"""Which sensors tell of which approach lane, and how far they see."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topis.model.network import Network
from topis.model.observation import CAMERA, SensorTable


def loop_of_lane(
    sensors: SensorTable, kind: int, of_lane: NDArray[np.int32], count: int
) -> NDArray[np.int32]:
    """The sensor of a kind that serves each approach lane, -1 where none does, int32[count]."""
    out = np.full(count, -1, dtype=np.int32)
    which = np.flatnonzero((sensors.kind == kind) & (sensors.serves >= 0))
    which = which[of_lane[sensors.serves[which]] >= 0]
    out[of_lane[sensors.serves[which]]] = which
    return out


def count_share(sensors: SensorTable, stop: NDArray[np.int32]) -> NDArray[np.float32]:
    """1 over how many approach lanes are counted at the same place, float32[approach lanes]."""
    share = np.ones(len(stop), np.float32)
    counted = np.flatnonzero(stop >= 0)
    places = np.stack([sensors.lane[stop[counted]], sensors.start_m[stop[counted]]])
    _, which, times = np.unique(places, axis=1, return_inverse=True, return_counts=True)
    share[counted] = 1.0 / times[which]
    return share


def camera_table(
    network: Network, sensors: SensorTable, of_lane: NDArray[np.int32], count: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Per approach lane its cameras: (ptr, sensor, weight).

    A camera on the road before a short approach tells of all the lanes it leads to; its
    vehicles are shared out evenly among them.
    """
    per_lane: list[list[tuple[int, float]]] = [[] for _ in range(count)]
    for sensor in np.flatnonzero(sensors.kind == CAMERA).tolist():
        own = int(sensors.serves[sensor])
        targets = (
            [int(of_lane[own])]
            if own >= 0
            else _lanes_ahead(network, int(sensors.lane[sensor]), of_lane)
        )
        for lane in targets:
            per_lane[lane].append((sensor, 1.0 / len(targets)))
    # A lane must have a camera on itself; one that only sees the road before tells nothing.
    own_lane = [
        pairs if any(sensors.serves[sensor] >= 0 for sensor, _ in pairs) else []
        for pairs in per_lane
    ]
    ptr = np.concatenate(([0], np.cumsum([len(p) for p in own_lane]))).astype(np.int32)
    flat = [pair for pairs in own_lane for pair in pairs]
    return (
        ptr,
        np.array([s for s, _ in flat], dtype=np.int32),
        np.array([w for _, w in flat], dtype=np.float32),
    )


def _lanes_ahead(network: Network, lane: int, of_lane: NDArray[np.int32]) -> list[int]:
    """Approach lanes reached from an upstream lane, going on over unsignalised nodes."""
    seen, front, found = {lane}, [lane], []
    while front:
        following = [
            int(to)
            for here in front
            for to in network.conn_to_lane[
                network.lane_conn_ptr[here] : network.lane_conn_ptr[here + 1]
            ]
            if int(to) not in seen
        ]
        seen.update(following)
        found += [int(of_lane[to]) for to in following if of_lane[to] >= 0]
        front = [to for to in following if of_lane[to] < 0] if not found else []
    return sorted(set(found))


def view_m(
    sensors: SensorTable,
    cameras: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]],
    length_m: NDArray[np.float32],
) -> NDArray[np.float32]:
    """How far back the cameras of each lane see (m)."""
    ptr, sensor, _ = cameras
    view = length_m.copy()
    reach = sensors.distance_m + sensors.end_m - sensors.start_m
    for lane in np.flatnonzero(np.diff(ptr)).tolist():
        view[lane] = reach[sensor[ptr[lane] : ptr[lane + 1]]].max()
    return view
