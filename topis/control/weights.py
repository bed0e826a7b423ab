"""What a vehicle in a queue counts for: more where the queue is about to hold up others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topis.control.streams import Streams, pocket_lanes
from topis.model.feeds import LaneFeeds
from topis.model.network import BUS_ONLY, TURNAROUND, Network
from topis.units import JAM_SPACING_M

#: A lane filled to this share is about to spill back to what lies upstream. A short one that no
#: signal feeds is only the end of a longer road: it fills without harm.
SPILL_FROM = 0.8
SPILL_VEH = 5.0
#: A lane that begins where one upstream parts in two: filled from this share on it comes near to
#: blocking that one, and with it the traffic of the lanes beside it. It holds at least so many.
POCKET_FROM = 0.3
POCKET_VEH = 5.0
#: A queue has gone when there are fewer vehicles than this.
ONE_VEH = 1.0


class QueueWeights:
    """Weights of the streams' queues; ``spill``, ``pocket``: what more a full lane counts."""

    def __init__(
        self,
        network: Network,
        streams: Streams,
        feeds: LaneFeeds,
        bus_lane_weight: float,
        spill: float,
        pocket: float,
    ) -> None:
        is_lane = streams.lane >= 0
        self._lane = lane = np.where(is_lane, streams.lane, 0)
        weight = (is_lane | (streams.walk >= 0)).astype(np.float32)
        weight[is_lane & (network.lane_use[lane] == BUS_ONLY)] = bus_lane_weight
        self._weight = weight
        self._storage_veh = np.maximum(network.lane_length_m[lane] / JAM_SPACING_M, 1.0)
        onto = network.move_to_link[network.move_turn != TURNAROUND]
        fed = np.isin(lane, network.approach_lanes[np.unique(feeds.to)])
        spills = is_lane & np.isin(network.lane_link[lane], onto)
        spills &= fed | (self._storage_veh >= SPILL_VEH)
        self._spill = np.where(spills, spill, 0.0)
        # Where it is shorter, a road only grows wider at its stop line.
        pockets = is_lane & pocket_lanes(network)[lane] & (self._storage_veh >= POCKET_VEH)
        self._pocket = np.where(pockets, pocket, 0.0)
        self._filled = np.zeros(len(streams))

    def update(
        self, queue_veh: NDArray[np.float32], green: NDArray[np.bool_], free: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Weights now, float32[streams].

        ``queue_veh`` float32[lanes]; ``green``, ``free`` bool[streams]: whether the stream has
        green, and its junction chooses freely.
        """
        queue_veh = queue_veh[self._lane]
        fill = queue_veh / self._storage_veh
        # Those who stand before a full pocket come into it as it empties: until it is empty at
        # green it is as full as it has been.
        kept = np.where(green & (queue_veh >= ONE_VEH), self._filled, 0.0)
        self._filled = np.maximum(fill, kept)
        more = self._spill * beyond(fill, SPILL_FROM)
        # A plan that is kept to gives its turns their green anyway.
        more += np.where(free, self._pocket * beyond(self._filled, POCKET_FROM), 0.0)
        return np.asarray(self._weight * (1.0 + more), dtype=np.float32)


def beyond(fill: NDArray[np.floating], since: float) -> NDArray[np.floating]:
    """0 up to ``since``, rising to 1 where a lane is full."""
    return np.asarray(np.clip((fill - since) / (1.0 - since), 0.0, 1.0))
