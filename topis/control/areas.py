"""Sub-areas: which junctions are coordinated together, found anew as traffic changes.

Two signals gain by a common cycle where much traffic goes from one to the other and arrives in a
platoon. Coupling of a link is traffic over distance (the index of Yagoda, Principe, Vick & Leonard
1973, "Subdivision of signal systems into control areas"), times what is left of a platoon when it
arrives: Robertson's dispersion (1969) is a geometric one, whose spread adds to the platoon's own.
The most coupled are married first, as long as an area
stays small enough to have one critical junction, and its junctions want similar cycles.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topis.control.coordination import BIN_S, Feeds
from topis.control.profiles import FIRST_SHARE, SPREAD
from topis.model.network import Network
from topis.units import S_PER_H

F8 = NDArray[np.float64]
#: Junctions of an area, at most: cycles of larger ones are set by somebody far away.
MOST_JUNCTIONS = 40
#: Links of less than this are left uncoordinated (veh/h each m, both ways): Yagoda's 0.5 veh/h
#: each foot, at the platoon left over 300 m.
LEAST_COUPLING = 1.0
#: Cycles that differ by more than this factor are not made one: the longer one would hold up
#: the shorter one's junctions for more than the platoons save.
MOST_CYCLE_RATIO = 1.6
#: New areas must hold this much more of the coupling than the ones there are: each junction that
#: changes its area goes through a transition.
WORTH = 1.1
#: A platoon that leaves a green takes so long to pass (s).
PLATOON_S = 20.0


def coupling(network: Network, feeds: Feeds, flow_vps: NDArray[np.floating]) -> F8:
    """Coupling of each feed, veh/h each m of the way, float64[feeds].

    ``flow_vps`` float[lanes]: traffic of each approach lane.
    """
    share = network.conn_share * flow_vps[network.conn_from_lane]
    of_move = np.bincount(network.conn_move, share, minlength=len(network.move_turn))
    # What the feed's way is long follows from its travel time at the speed of its last road.
    way_m = np.maximum(feeds.travel_s * network.link_speed_mps[feeds.link], 1.0)
    factor = 1.0 / (1.0 + SPREAD * FIRST_SHARE * feeds.travel_s / BIN_S)
    spread_s = BIN_S * np.sqrt(1.0 - factor) / factor
    # Of even traffic for so long the variance is a twelfth of its square.
    platoon = 1.0 / np.sqrt(1.0 + 12.0 * (spread_s / PLATOON_S) ** 2)
    return np.asarray(S_PER_H * of_move[feeds.move] / way_m * platoon, dtype=np.float64)


def pairs_of(network: Network, feeds: Feeds, index: F8) -> tuple[NDArray[np.int64], F8]:
    """(pairs of coupled junctions int64[n, 2], the first the lower; coupling of both ways)."""
    up = network.move_junction[feeds.move].astype(np.int64)
    down = network.link_junction[feeds.link].astype(np.int64)
    key = np.minimum(up, down) * network.junctions + np.maximum(up, down)
    pairs, which = np.unique(key, return_inverse=True)
    total: F8 = np.bincount(which, index, minlength=len(pairs)).astype(np.float64)
    return np.stack([pairs // network.junctions, pairs % network.junctions], axis=1), total


def marry(
    junctions: int, pairs: NDArray[np.int64], index: F8, cycle_s: F8, most: int = MOST_JUNCTIONS
) -> NDArray[np.int32]:
    """Area of each junction, numbered from 0 by their first junctions, int32[junctions].

    ``cycle_s`` float64[junctions]: the cycle each would like.
    """
    parent = list(range(junctions))
    size = [1] * junctions
    low, high = cycle_s.tolist(), cycle_s.tolist()

    def root(junction: int) -> int:
        while parent[junction] != junction:
            parent[junction] = parent[parent[junction]]
            junction = parent[junction]
        return junction

    strong = np.flatnonzero(index >= LEAST_COUPLING)
    for k in strong[np.argsort(-index[strong], kind="stable")].tolist():
        a, b = sorted((root(int(pairs[k, 0])), root(int(pairs[k, 1]))))
        shortest, longest = min(low[a], low[b]), max(high[a], high[b])
        alike = longest <= MOST_CYCLE_RATIO * shortest
        if a == b or size[a] + size[b] > most or not alike:
            continue
        parent[b], size[a] = a, size[a] + size[b]
        low[a], high[a] = shortest, longest
    roots = np.array([root(j) for j in range(junctions)], dtype=np.int64)
    return np.unique(roots, return_inverse=True)[1].ravel().astype(np.int32)


def held(area: NDArray[np.integer], pairs: NDArray[np.int64], index: F8) -> float:
    """Share of the coupling that lies within areas."""
    within = area[pairs[:, 0]] == area[pairs[:, 1]]
    return float(index[within].sum() / max(float(index.sum()), 1e-9))


class Areas:
    """The sub-areas of a network; ``number`` int32[junctions], changed by `remarry` alone."""

    def __init__(self, network: Network, feeds: Feeds) -> None:
        self._network, self._feeds = network, feeds
        self.number: NDArray[np.int32] = np.arange(network.junctions, dtype=np.int32)
        self._married = False

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.number.max(initial=-1)) + 1

    def remarry(self, flow_vps: NDArray[np.floating], cycle_s: F8) -> bool:
        """Find them anew; whether they have changed. The first marriage needs no gain.

        ``flow_vps`` float[lanes]; ``cycle_s`` float64[junctions] wanted by each alone.
        """
        index = coupling(self._network, self._feeds, flow_vps)
        pairs, total = pairs_of(self._network, self._feeds, index)
        new = marry(self._network.junctions, pairs, total, cycle_s)
        if self._married and held(new, pairs, total) < WORTH * held(self.number, pairs, total):
            return False
        changed = not self._married or not np.array_equal(new, self.number)
        self.number, self._married = new, True
        return changed
