"""From which stop lines the traffic of each approach comes, compiled for the forecast."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topis._core.arrivals import ArrivalForecast
from topis.model.corridor import RoadAhead, link_ahead, road_ahead
from topis.model.network import Network
from topis.units import JAM_SPACING_M

#: Time a vehicle needs longer than at free speed: pulling away and crossing the junction (s).
START_S = 3.0
RING_S = 128


def forecast_arrivals(network: Network, seen_s: NDArray[np.float32]) -> ArrivalForecast:
    """A forecast for the approach lanes; ``seen_s``: how far ahead their sensors see."""
    lanes = network.approach_lanes
    number = np.full(network.lanes, -1, dtype=np.int32)
    number[lanes] = np.arange(len(lanes))
    ahead = link_ahead(network)
    roads: dict[int, RoadAhead] = {}
    rows: list[tuple[int, int, float, int]] = []
    internal = np.zeros(len(lanes), dtype=np.uint8)
    fed_s = np.zeros(len(lanes), dtype=np.int32)
    for conn in np.flatnonzero(network.conn_group >= 0).tolist():
        source = int(number[network.conn_from_lane[conn]])
        if source < 0:
            continue
        own = int(network.group_junction[network.conn_group[conn]])
        first = int(network.lane_link[network.conn_to_lane[conn]])
        if first not in roads:
            roads[first] = road_ahead(network, ahead, first)
        road = roads[first]
        step = round(road.travel_s + START_S)
        for target in road.lanes:
            to = int(number[target])
            if network.link_junction[network.lane_link[target]] == own:
                internal[to] = True  # the junction's own search knows of these
                continue
            share = float(network.conn_share[conn]) / len(road.lanes)
            rows.append((source, to, share, step))
            fed_s[to] = min(fed_s[to] or step, step)
    rows.sort()
    source = np.array([r[0] for r in rows], dtype=np.int32)
    return ArrivalForecast(
        feed_ptr=np.searchsorted(source, np.arange(len(lanes) + 1)).astype(np.int32),
        feed_to=np.array([r[1] for r in rows], dtype=np.int32),
        feed_share=np.array([r[2] for r in rows], dtype=np.float32),
        feed_s=np.array([r[3] for r in rows], dtype=np.int32),
        seen_s=seen_s,
        internal=internal,
        fed_s=fed_s,
        ring=np.zeros((len(lanes), RING_S), dtype=np.float32),
        fed_vps=np.zeros(len(lanes), dtype=np.float32),
    )


#: Where no signal bounds a queue upstream, it is taken to reach no further than this (veh).
MOST_BEYOND_VEH = 60.0


def beyond_storage_veh(network: Network) -> NDArray[np.float32]:
    """Vehicles that can stand before each approach lane, up to the signal before, float32[lanes].

    0 inside joined junctions: the lanes before are approaches too, and have their own queues.
    """
    into = np.bincount(network.conn_to_lane, minlength=network.lanes)
    before = np.full(network.lanes, -1, dtype=np.int64)
    before[network.conn_to_lane] = network.conn_from_lane
    storage = np.zeros(len(network.approach_lanes), dtype=np.float32)
    junction = network.link_junction[network.lane_link]
    for number, lane in enumerate(network.approach_lanes.tolist()):
        veh, here = float(network.lane_length_m[lane]) / JAM_SPACING_M, lane
        seen = {lane}
        while True:
            if into[here] == 0:
                veh = MOST_BEYOND_VEH
                break
            here = int(before[here])
            if here in seen:
                break
            if network.is_approach_lane[here]:
                if junction[here] == junction[lane]:
                    veh = 0.0
                break
            seen.add(here)
            veh += float(network.lane_length_m[here]) / JAM_SPACING_M
        storage[number] = min(veh, MOST_BEYOND_VEH)
    return storage
