"""Which junctions belong together, and the offsets between them.

Offsets minimise the delay of platoons on the links between junctions: each link's delay
is tabulated over the difference of its two offsets by running one platoon profile through
the downstream signal as a fluid queue (the idea of TRANSYT, Robertson 1969), then the
junctions are moved one at a time as long as the sum falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis._core.offset_descent import along_tree, descend, step_all
from topis._core.platoon import queue_by_offset
from topis.model.corridor import link_ahead
from topis.model.network import Network

F8 = NDArray[np.float64]
I4 = NDArray[np.int32]
I8 = NDArray[np.int64]

#: Junctions further apart than this are not coordinated: platoons have dispersed (m).
COUPLING_DISTANCE_M = 1_000.0
#: Links between two signals, at most.
MOST_LINKS_BETWEEN = 15
#: Step of the offset search (s); profiles have one bin per step.
BIN_S = 2.0
_MOST_SWEEPS = 12


#: A junction moves to another offset if that saves more than this share of the delay around it:
#: less is rounding.
EQUAL_SHARE = 1e-5
#: A small step of an offset must save this share of the delay around its junction: less is
#: within what the profiles do not know, and each step disturbs what runs.
STEP_WORTH = 0.03


@dataclass(frozen=True)
class LinkTables:
    """Delay of links for every difference of offsets, in vehicle-seconds a cycle.

    ``up``, ``down`` int32[links]: junctions at the ends. ``bins`` int32[junctions] of the cycle,
    alike at both ends. ``delay`` float32[links, at least bins]: entry d, the downstream cycle
    starts d bins later. ``told`` bool[links]: whether there was traffic.
    """

    up: I4
    down: I4
    bins: I4
    delay: NDArray[np.float32]
    told: NDArray[np.bool_]

    @classmethod
    def of(cls, junctions: int, links: Sequence[tuple[int, int, F8]], bins: int) -> LinkTables:
        """Tables of links (upstream, downstream, delay for every difference) of one cycle."""
        return cls(
            np.array([up for up, _, _ in links], dtype=np.int32),
            np.array([down for _, down, _ in links], dtype=np.int32),
            np.full(junctions, bins, dtype=np.int32),
            np.array([delay for _, _, delay in links], dtype=np.float32).reshape(len(links), bins),
            np.ones(len(links), dtype=bool),
        )

    def at(self, offset: NDArray[np.integer]) -> F8:
        """Delay of each link at these offsets (bins, int[junctions]), float64[links]."""
        apart = (offset[self.down] - offset[self.up]) % self.bins[self.up]
        return self.delay[np.arange(len(self.up)), apart].astype(np.float64)


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
        for _ in range(MOST_LINKS_BETWEEN):
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


class Descent:
    """Junctions moved one at a time to where the links around them cost less.

    ``up``, ``down`` int32[links]: junctions at the ends; they are visited in an ``order``
    (int[linked junctions]), if not given that in which the links first name them. Those that come
    after no neighbour make up a *turn* together with all whose neighbours before them had earlier
    turns: the answer is that of one after the other, and those of a turn may be looked at at once.
    Ordered by the colours of a map there are as many turns as colours.
    """

    def __init__(
        self, junctions: int, up: I4, down: I4, threads: int = 1, order: I4 | None = None
    ) -> None:
        self._junctions, self._threads = junctions, threads
        self._up, self._down = up.astype(np.int32), down.astype(np.int32)
        ends = np.concatenate((self._up, self._down))
        link = np.tile(np.arange(len(up), dtype=np.int32), 2)
        by_end = np.lexsort((link, ends))
        other = np.concatenate((self._down, self._up))
        comes_in = np.repeat(np.array([0, 1], dtype=np.uint8), len(up))
        ptr = np.searchsorted(ends[by_end], np.arange(junctions + 1)).astype(np.int32)
        if order is None:
            named = np.column_stack((self._up, self._down)).ravel()
            order = np.array(list(dict.fromkeys(named.tolist())), dtype=np.int32)
        turn_ptr, turn_junction = self._turns(ptr, other[by_end], order)
        # As the kernel wants them: the turns, and the links around each junction.
        self._graph = turn_ptr, turn_junction, ptr, link[by_end], other[by_end], comes_in[by_end]

    def _turns(self, ptr: I4, other: I4, order: I4) -> tuple[I4, I4]:
        """(starts, junctions) of the turns; ``ptr``, ``other``: neighbours of each junction."""
        turn = np.full(self._junctions, -1, dtype=np.int32)
        for junction in order.tolist():
            turn[junction] = 1 + turn[other[ptr[junction] : ptr[junction + 1]]].max()
        by_turn = np.argsort(turn, kind="stable")
        turns = np.arange(int(turn.max(initial=-1)) + 2)
        starts = np.searchsorted(turn[by_turn], turns)
        return starts.astype(np.int32), by_turn.astype(np.int32)

    def best(self, tables: LinkTables, where: NDArray[np.bool_], group: I4) -> I8:
        """Offsets (bins) of least total delay by descent from two starts, int64[junctions].

        Zero where not ``where``. Junctions of a ``group`` int32[junctions] are judged together;
        no link joins two groups.
        """
        zero = np.zeros(self._junctions, dtype=np.int32)
        best = self._descend(tables, where, zero)
        other = self._descend(tables, where, self._along_tree(tables, where))
        groups = int(group.max(initial=-1)) + 1
        least, tried = (
            np.bincount(group[tables.down], tables.at(offset), minlength=groups)
            for offset in (best, other)
        )
        return np.where((tried < least - 1e-9)[group], other, best).astype(np.int64)

    def _descend(self, tables: LinkTables, where: NDArray[np.bool_], offset: I4) -> I4:
        scratch = np.empty((self._threads, tables.delay.shape[1]), dtype=np.float32)
        look = where.astype(np.uint8)
        descend(
            *self._graph, tables.bins, tables.delay, _MOST_SWEEPS, EQUAL_SHARE,
            scratch, self._threads, look, offset,
        )  # fmt: skip
        return offset

    def _along_tree(self, tables: LinkTables, where: NDArray[np.bool_]) -> I4:
        """Offsets that suit the links with most at stake, each junction placed once."""
        told = np.flatnonzero(tables.told & where[self._up])
        best = np.zeros(len(self._up), dtype=np.int32)
        stake = np.zeros(len(told), dtype=np.float32)
        # Rows are longer than the cycle: each cycle of its own length is looked at apart.
        bins = tables.bins[self._up[told]]
        for count in np.unique(bins).tolist():
            of_count = np.flatnonzero(bins == count)
            rows = tables.delay[told[of_count], :count]
            best[told[of_count]] = rows.argmin(axis=1)
            stake[of_count] = rows.max(axis=1) - rows.min(axis=1)
        order = told[np.argsort(-stake, kind="stable")].astype(np.int32)
        parent, offset = (np.empty(self._junctions, dtype=np.int32) for _ in range(2))
        along_tree(self._up, self._down, order, best, tables.bins, parent, offset)
        return offset

    def steps(self, tables: LinkTables, start: I8, reach: I4) -> I8:
        """How far offsets (bins) get by small steps, each of them worth it, int64[junctions].

        SCOOT's way (Hunt et al. 1981): no detour over worse offsets, so that every cycle on the
        way is better than the one before. ``reach`` int32[junctions]: at most so far.
        """
        offset = (start % tables.bins).astype(np.int32)
        way = np.empty(self._junctions, dtype=np.int32)
        look = np.ones(self._junctions, dtype=np.uint8)
        step_all(
            *self._graph, tables.bins, tables.delay, reach, STEP_WORTH,
            self._threads, look, offset, way,
        )  # fmt: skip
        return way.astype(np.int64)


def best_offsets(junctions: int, links: Sequence[tuple[int, int, F8]], bins: int) -> I8:
    """Offsets (in bins) of least total delay among some junctions, int64[junctions].

    ``links``: (upstream, downstream, delay for every difference).
    """
    tables = LinkTables.of(junctions, links, bins)
    group = np.zeros(junctions, dtype=np.int32)
    everywhere = np.ones(junctions, dtype=bool)
    return Descent(junctions, tables.up, tables.down).best(tables, everywhere, group)
