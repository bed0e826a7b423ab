"""Which junctions belong together, and the offsets between them.

Offsets minimise the delay of platoons on the links between junctions: each link's delay
is tabulated over the difference of its two offsets by running one platoon profile through
the downstream signal as a fluid queue (the idea of TRANSYT, Robertson 1969), then the
junctions are moved one at a time as long as the sum falls.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis._core.platoon import queue_by_offset
from topis.model.corridor import link_ahead
from topis.model.network import Network

#: Junctions further apart than this are not coordinated: platoons have dispersed (m).
COUPLING_DISTANCE_M = 1_000.0
_MOST_LINKS_BETWEEN = 15
#: Step of the offset search (s); profiles have one bin per step.
BIN_S = 2.0
_MOST_SWEEPS = 12


@dataclass(frozen=True)
class Feeds:
    """Signalised movements that lead on to another signal; arrays are [feeds].

    ``move`` of the network; ``link`` that it reaches the next signal on; ``travel_s``.
    """

    move: NDArray[np.int32]
    link: NDArray[np.int32]
    travel_s: NDArray[np.float64]


def find_feeds(network: Network) -> Feeds:
    """Follow each signalised movement straight on to the next signal within reach."""
    ahead = link_ahead(network)
    rows = []
    for move in np.flatnonzero(network.move_junction >= 0).tolist():
        link = int(network.move_to_link[move])
        length_m = travel_s = 0.0
        for _ in range(_MOST_LINKS_BETWEEN):
            if link < 0 or length_m > COUPLING_DISTANCE_M:
                break
            length_m += float(network.link_length_m[link])
            travel_s += float(network.link_length_m[link]) / float(network.link_speed_mps[link])
            if network.link_junction[link] >= 0:
                if network.link_junction[link] != network.move_junction[move]:
                    rows.append((move, link, travel_s))
                break
            link = int(ahead[link])
    return Feeds(
        np.array([r[0] for r in rows], dtype=np.int32),
        np.array([r[1] for r in rows], dtype=np.int32),
        np.array([r[2] for r in rows], dtype=np.float64),
    )


def coupled_groups(network: Network, feeds: Feeds) -> NDArray[np.int32]:
    """Group number of each junction: those connected by feeds share one, int32[junctions]."""
    parent = np.arange(network.junctions)

    def root(junction: int) -> int:
        while parent[junction] != junction:
            parent[junction] = parent[parent[junction]]
            junction = int(parent[junction])
        return junction

    for move, link in zip(feeds.move.tolist(), feeds.link.tolist(), strict=True):
        a, b = root(int(network.move_junction[move])), root(int(network.link_junction[link]))
        parent[max(a, b)] = min(a, b)
    roots = np.array([root(j) for j in range(network.junctions)])
    return np.unique(roots, return_inverse=True)[1].ravel().astype(np.int32)


def platoon_delay(
    departures: NDArray[np.float64], capacity: NDArray[np.float64], travel_bins: float
) -> NDArray[np.float64]:
    """Delay of a link for every difference of offsets (vehicle-seconds per cycle), float64[bins].

    ``departures`` float64[bins]: vehicles per bin leaving upstream, in the upstream cycle;
    ``capacity`` float64[bins]: vehicles per bin the link can discharge, in its own cycle.
    Entry d: the downstream cycle starts d bins after the upstream one.
    """
    bins = len(departures)
    whole = int(np.floor(travel_bins))
    part = travel_bins - whole
    arrivals = (1 - part) * np.roll(departures, whole) + part * np.roll(departures, whole + 1)
    # Platoons spread on the way; a short moving mean keeps their number.
    arrivals = (np.roll(arrivals, 1) + 2 * arrivals + np.roll(arrivals, -1)) / 4
    backwards = np.tile(np.roll(capacity[::-1], 1), 2)
    queue, delay = np.empty(bins), np.empty(bins)
    queue_by_offset(arrivals, backwards, queue, delay)
    return delay * BIN_S


def best_offsets(
    junctions: int, pairs: list[tuple[int, int, NDArray[np.float64]]], bins: int
) -> NDArray[np.int64]:
    """Offsets (in bins) of least total delay by descent from two starts, int64[junctions].

    ``pairs``: (upstream, downstream, delay for every difference).
    """
    around: dict[int, list[tuple[int, int, NDArray[np.float64]]]] = defaultdict(list)
    for up, down, table in pairs:
        around[up].append((up, down, table))
        around[down].append((up, down, table))

    def total(offset: NDArray[np.int64]) -> float:
        return sum(float(t[(offset[d] - offset[u]) % bins]) for u, d, t in pairs)

    best = np.zeros(junctions, dtype=np.int64)
    best_cost = np.inf
    for start in (np.zeros(junctions, dtype=np.int64), _along_tree(junctions, pairs, bins)):
        offset = start.copy()
        for _ in range(_MOST_SWEEPS):
            moved = False
            for junction, links in around.items():
                cost = np.zeros(bins)
                for up, down, table in links:
                    d = np.arange(bins)
                    if up == junction:
                        cost += table[(offset[down] - d) % bins]
                    else:
                        cost += table[(d - offset[up]) % bins]
                choice = int(np.argmin(cost))
                if cost[choice] < cost[offset[junction]] - 1e-9:
                    offset[junction] = choice
                    moved = True
            if not moved:
                break
        cost_now = total(offset)
        if cost_now < best_cost - 1e-9:
            best, best_cost = offset, cost_now
    return best


def _along_tree(
    junctions: int, pairs: list[tuple[int, int, NDArray[np.float64]]], bins: int
) -> NDArray[np.int64]:
    """Offsets that suit the links with most at stake, each junction placed once."""
    offset = np.zeros(junctions, dtype=np.int64)
    group = list(range(junctions))
    stake = sorted(range(len(pairs)), key=lambda k: -float(pairs[k][2].max() - pairs[k][2].min()))

    def find(j: int) -> int:
        while group[j] != j:
            j = group[j]
        return j

    members: dict[int, list[int]] = {j: [j] for j in range(junctions)}
    for k in stake:
        up, down, table = pairs[k]
        a, b = find(up), find(down)
        if a == b:
            continue
        shift = (offset[up] + int(np.argmin(table)) - offset[down]) % bins
        for j in members[b]:
            offset[j] = (offset[j] + shift) % bins
        members[a] += members.pop(b)
        group[b] = a
    return offset
