"""Which approach lanes a place on the road lies before, and how far before their stop lines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.model.network import Network

#: Roads are followed upstream for so far (m).
REACH_M = 500.0


@dataclass(frozen=True)
class Reach:
    """Rows by lane, of all lanes that lead to a signal.

    ``ptr`` int64[lanes + 1] into ``number`` int32[rows] (approach lane, as numbered in
    `Network.approach_lanes`) and ``beyond_m`` float32[rows] (from the lane's end to the stop
    line).
    """

    ptr: NDArray[np.int64]
    number: NDArray[np.int32]
    beyond_m: NDArray[np.float32]


def find_reach(network: Network) -> Reach:
    """Follow every approach lane upstream, over nodes without signals."""
    into = np.argsort(network.conn_to_lane, kind="stable")
    before = network.conn_from_lane[into]
    ptr = np.searchsorted(network.conn_to_lane[into], np.arange(network.lanes + 1))
    rows: list[tuple[int, int, float]] = []
    for number, approach in enumerate(network.approach_lanes.tolist()):
        front, seen = [(approach, 0.0)], {approach}
        while front:
            lane, beyond_m = front.pop()
            rows.append((lane, number, beyond_m))
            beyond_m += float(network.lane_length_m[lane])
            if beyond_m >= REACH_M:
                continue
            for upstream in before[ptr[lane] : ptr[lane + 1]].tolist():
                if upstream not in seen and not network.is_approach_lane[upstream]:
                    seen.add(upstream)
                    front.append((upstream, beyond_m))
    rows.sort()
    lanes = np.array([row[0] for row in rows], dtype=np.int64)
    return Reach(
        np.searchsorted(lanes, np.arange(network.lanes + 1)).astype(np.int64),
        np.array([row[1] for row in rows], dtype=np.int32),
        np.array([row[2] for row in rows], dtype=np.float32),
    )
