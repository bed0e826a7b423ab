"""Flow on lanes that nobody sees, from those that are counted: what comes in goes out.

Traffic counted on some links goes on by the turn shares; links without any count get what flows
into them, those at the edge of the network what is usual at its counted lanes (a turn bay is none:
it takes from the lanes before it). Solved by sweeps (Gauss-Seidel) that go on where the last time
ended, so that each call does little.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topis.model.network import NOT_MOTOR, Network

F8 = NDArray[np.float64]
#: Sweeps of the first call and of every other.
FIRST_SWEEPS, SWEEPS = 200, 20


class FlowBalance:
    """``counted`` bool[approach lanes]: whose flow is measured."""

    def __init__(self, network: Network, counted: NDArray[np.bool_]) -> None:
        self._network, self._counted = network, counted
        approach = network.approach_lanes
        self._link = network.lane_link[approach]
        part = _conn_parts(network)
        self._move_share = np.bincount(
            network.conn_move, part, minlength=len(network.move_from_link)
        )
        self._lane_share = lane_shares(network)[approach]
        seen = np.bincount(self._link, self._lane_share * counted, minlength=network.links)
        #: Share of the link's traffic that is counted; a small one tells little of the rest.
        self._seen_share = seen
        self._known = seen >= 0.5
        lanes = np.bincount(
            network.lane_link, network.lane_use != NOT_MOTOR, minlength=network.links
        )
        self._lanes = _before_bays(network, np.maximum(lanes, 1))
        into = np.bincount(network.move_to_link, self._move_share, minlength=network.links)
        self._edge = ~self._known & (into <= 0.0)
        self._flow = np.zeros(network.links)
        self._sweeps = FIRST_SWEEPS

    @property
    def tells(self) -> bool:
        """Whether anything is counted at all."""
        return bool(self._known.any())

    def estimate(self, flow_vps: NDArray[np.float32]) -> F8:
        """Flow of all approach lanes (veh/s), from the counted ones' ``flow_vps``."""
        network, known = self._network, self._known
        counts = np.bincount(self._link, flow_vps * self._counted, minlength=network.links)
        flow = self._flow
        flow[known] = counts[known] / self._seen_share[known]
        flow[self._edge] = self._lanes[self._edge] * (flow[known] / self._lanes[known]).mean()
        free = ~known & ~self._edge
        for _ in range(self._sweeps):
            into = np.bincount(
                network.move_to_link,
                flow[network.move_from_link] * self._move_share,
                minlength=network.links,
            )
            flow[free] = into[free]
        self._sweeps = SWEEPS
        return flow[self._link] * self._lane_share


def lane_shares(network: Network) -> F8:
    """Share of its link's traffic that each lane has, before any is counted, float64[lanes].

    As its turns ask for; where a road only widens (turn bays), as the lanes before lead on.
    """
    part = _conn_parts(network)
    share = np.bincount(network.conn_from_lane, part, minlength=network.lanes)
    goes = part / np.maximum(share[network.conn_from_lane], 1e-9)
    into = np.bincount(
        network.conn_to_lane, share[network.conn_from_lane] * goes, minlength=network.lanes
    )
    total = np.bincount(network.lane_link, into * (share > 0.0), minlength=network.links)
    widens = np.zeros(network.links, dtype=bool)
    widens[_widenings(network)[1]] = True
    fed = widens & (total > 0.0)
    by_lanes = into * (share > 0.0) / np.maximum(total, 1e-9)[network.lane_link]
    return np.asarray(np.where(fed[network.lane_link], by_lanes, share))


def _conn_parts(network: Network) -> F8:
    """Share of its link's traffic that each connection has, float64[connections]."""
    share = network.conn_share.astype(np.float64)
    share[network.lane_use[network.conn_from_lane] == NOT_MOTOR] = 0.0
    from_link = network.lane_link[network.conn_from_lane]
    total = np.bincount(from_link, share, minlength=network.links)
    return np.asarray(share / np.maximum(total[from_link], 1e-9))


def _widenings(network: Network) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(before, link): all traffic of a link comes from the one before, and all of that goes on."""
    comes_from = np.bincount(network.move_to_link, minlength=network.links)
    goes_to = np.bincount(network.move_from_link, minlength=network.links)
    before, link = network.move_from_link, network.move_to_link
    on = (comes_from[link] == 1) & (goes_to[before] == 1) & (before != link)
    return before[on], link[on]


def _before_bays(network: Network, lanes: NDArray[np.integer]) -> NDArray[np.integer]:
    """Lanes of each link where its road is narrowest, up to the node where others join or leave."""
    before, link = _widenings(network)
    narrow = lanes.copy()
    # Each round looks a link further upstream; a road that is a ring ends it as well.
    for _ in range(network.links):
        less = narrow[before] < narrow[link]
        if not less.any():
            break
        narrow[link[less]] = narrow[before[less]]
    return narrow
