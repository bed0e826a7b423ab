"""Arrivals of each approach: the network compiled for `topis._core.arrivals`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topis._core.arrivals import ArrivalForecast
from topis.model.feeds import find_lane_feeds
from topis.model.network import Network
from topis.units import JAM_SPACING_M

#: Length of the ring of seconds that departures are laid into; longer than any travel time.
RING_S = 128
#: Where no signal bounds a queue upstream, it is taken to reach no further than this (veh).
MOST_BEYOND_VEH = 60.0


def forecast_arrivals(network: Network, seen_s: NDArray[np.float32]) -> ArrivalForecast:
    """A forecast for the approach lanes; ``seen_s``: how far ahead their sensors see."""
    feeds = find_lane_feeds(network)
    lanes = len(network.approach_lanes)
    fed = np.zeros(lanes, dtype=np.uint8)
    fed[feeds.to] = 1
    return ArrivalForecast(
        feed_ptr=feeds.ptr,
        feed_to=feeds.to,
        feed_share=feeds.share,
        feed_s=feeds.travel_s,
        seen_s=seen_s,
        internal=feeds.internal,
        fed=fed,
        ring=np.zeros((lanes, RING_S), dtype=np.float32),
        fed_vps=np.zeros(lanes, dtype=np.float32),
    )


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
