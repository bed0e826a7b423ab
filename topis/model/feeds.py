"""From stop line to stop line: where the traffic of each approach lane goes on to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.model.corridor import RoadAhead, link_ahead, road_ahead
from topis.model.network import Network

#: Time a vehicle needs longer than at free speed: pulling away and crossing the junction (s).
START_S = 3.0


@dataclass(frozen=True)
class LaneFeeds:
    """Approach lanes that feed others; lanes are numbered as in `Network.approach_lanes`.

    ``ptr`` int32[lanes + 1] into ``to`` int32[feeds] (lane fed), ``share`` float32[feeds]
    of the lane's traffic, ``travel_s`` int32[feeds]. ``internal`` uint8[lanes]: fed from
    inside its own (joined) junction; such feeds are left out.
    """

    ptr: NDArray[np.int32]
    to: NDArray[np.int32]
    share: NDArray[np.float32]
    travel_s: NDArray[np.int32]
    internal: NDArray[np.uint8]


def find_lane_feeds(network: Network) -> LaneFeeds:
    """Follow each signalised connection straight on to the next signal within reach."""
    lanes = network.approach_lanes
    number = np.full(network.lanes, -1, dtype=np.int32)
    number[lanes] = np.arange(len(lanes))
    ahead = link_ahead(network)
    roads: dict[int, RoadAhead] = {}
    rows: list[tuple[int, int, float, int]] = []
    internal = np.zeros(len(lanes), dtype=np.uint8)
    for conn in np.flatnonzero(network.conn_group >= 0).tolist():
        source = int(number[network.conn_from_lane[conn]])
        if source < 0:
            continue
        own = int(network.group_junction[network.conn_group[conn]])
        first = int(network.lane_link[network.conn_to_lane[conn]])
        if first not in roads:
            roads[first] = road_ahead(network, ahead, first)
        road = roads[first]
        for target in road.lanes:
            to = int(number[target])
            if network.link_junction[network.lane_link[target]] == own and road.is_short:
                internal[to] = 1
                continue
            share = float(network.conn_share[conn]) / len(road.lanes)
            rows.append((source, to, share, round(road.travel_s + START_S)))
    rows.sort()
    source_of = np.array([r[0] for r in rows], dtype=np.int32)
    return LaneFeeds(
        ptr=np.searchsorted(source_of, np.arange(len(lanes) + 1)).astype(np.int32),
        to=np.array([r[1] for r in rows], dtype=np.int32),
        share=np.array([r[2] for r in rows], dtype=np.float32),
        travel_s=np.array([r[3] for r in rows], dtype=np.int32),
        internal=internal,
    )
