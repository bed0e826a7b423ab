"""Who drives where in the morning: trips laid on the streets in increments until they are busy.

Each increment takes the roads as the ones before left them: a queue's time is that of its red
light and grows with its flow over the capacity its green leaves (the form of the BPR function).
The increments end when the busiest approaches come to the degree of saturation asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from topis.ingest.city.graph import Floats, Graph, Ints
from topis.ingest.city.timing import Junctions, Timing
from topis.ingest.city.zones import Zones

#: Of the busiest 5 % of the approaches, under the plan made for the flows: their mean.
BUSY_SHARE, BUSY_SATURATION = 0.05, 0.92
#: The level is reached in about so many increments; more than the most, and it stays below.
INCREMENTS, MOST_INCREMENTS = 8, 16
#: A first guess of trips a signal and hour in the peak, only to size the increments.
FIRST_GUESS_VPH = 40.0
#: Seconds a queue costs more at its capacity, and how sharply (BPR's power).
FULL_S, POWER = 60.0, 4
#: Drivers judge the time of each turn so differently (standard deviation, assumed).
JUDGEMENT = 0.2
#: Nobody chooses to join a queue that grows: so many seconds for each time over this saturation.
FULL_FROM, OVERFULL_S = 0.95, 900.0


@dataclass(frozen=True)
class Trips:
    """Routes and the flows they make.

    ``edges`` int32: routes one after the other; ``ptr`` int64[trips + 1]; ``arc_vph`` float64
    [arcs] flows of the peak; ``arc_s`` float64[arcs]: time to leave an edge and drive the next.
    """

    edges: NDArrayInt32
    ptr: Ints
    arc_vph: Floats
    arc_s: Floats
    timing: Timing


NDArrayInt32 = np.ndarray[tuple[int], np.dtype[np.int32]]


def assign(
    graph: Graph, junctions: Junctions, zones: Zones, trip_vph: float, seed: int
) -> Trips:  # fmt: skip
    """Trips of the peak on the streets; one trip stands for ``trip_vph`` vehicles an hour."""
    rng = np.random.default_rng([seed, 0xD21E])
    finder = _Arcs(graph)
    arc_vph = np.zeros(len(graph.begin))
    count = max(1, round(FIRST_GUESS_VPH * len(junctions.area) / INCREMENTS / trip_vph))
    timing = junctions.timing(graph.usual_vph)
    edges: list[NDArrayInt32] = []
    lengths: list[Ints] = []
    for step in range(MOST_INCREMENTS):
        arc_s = _times(graph, junctions, timing, arc_vph)
        route, length = _increment(graph, zones, arc_s, count, rng)
        arcs = finder(route, length)
        after = arc_vph + trip_vph * np.bincount(arcs[arcs >= 0], minlength=len(arc_vph))
        busy = _busy(junctions, after)
        if busy > BUSY_SATURATION and step:
            route, length, after = _part(junctions, finder, route, length, arc_vph, trip_vph)
        edges.append(route)
        lengths.append(length)
        arc_vph = after
        # Greens follow the traffic as it grows; before, they are as the streets' ranks ask.
        usual = max(0.0, 1 - (step + 1) / INCREMENTS)
        timing = junctions.timing(arc_vph + usual * graph.usual_vph)
        if busy > BUSY_SATURATION and step:
            break
        if step == 0:
            count = max(1, round(count * _scale(junctions, arc_vph) / INCREMENTS))
    ptr = np.concatenate(([0], np.cumsum(np.concatenate(lengths))))
    timing = junctions.timing(arc_vph)
    arc_s = _times(graph, junctions, timing, arc_vph) + (graph.time_s - graph.felt_s)[graph.end]
    return Trips(np.concatenate(edges), ptr, arc_vph, arc_s, timing)


def _busy(junctions: Junctions, arc_vph: Floats) -> float:
    """Mean degree of saturation of the busiest approaches."""
    x = np.sort(junctions.approaches(junctions.saturation(arc_vph, junctions.timing(arc_vph))))
    return float(x[-max(1, round(BUSY_SHARE * len(x))) :].mean()) if len(x) else 0.0


def _scale(junctions: Junctions, arc_vph: Floats) -> float:
    """Times these flows that would make the busiest approaches as busy as asked."""
    low, high = 0.25, 256.0
    for _ in range(16):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if _busy(junctions, middle * arc_vph) < BUSY_SATURATION else (
            low, middle)  # fmt: skip
    return low


def _part(
    junctions: Junctions, finder: _Arcs, route: NDArrayInt32, length: Ints, before: Floats,
    trip_vph: float,
) -> tuple[NDArrayInt32, Ints, Floats]:  # fmt: skip
    """So many trips of the last increment as just come to the level."""
    low, high = 0.0, 1.0
    taken = (route[:0], length[:0], before)
    order = np.random.default_rng(len(length)).permutation(len(length))
    trip_of = np.repeat(np.arange(len(length)), length)
    for _ in range(6):
        share = (low + high) / 2
        chosen = np.zeros(len(length), dtype=bool)
        chosen[order[: round(share * len(length))]] = True
        part, size = route[chosen[trip_of]], length[chosen]
        arcs = finder(part, size)
        flow = before + trip_vph * np.bincount(arcs[arcs >= 0], minlength=len(before))
        if _busy(junctions, flow) <= BUSY_SATURATION:
            low, taken = share, (part, size, flow)
        else:
            high = share
    return taken


def _times(graph: Graph, junctions: Junctions, timing: Timing, arc_vph: Floats) -> Floats:
    """Seconds of each arc: its queue, and the edge after it."""
    x = junctions.saturation(arc_vph, timing)
    queue_s = junctions.red_delay_s(timing) + FULL_S * np.minimum(x, 1.0) ** POWER
    queue_s += OVERFULL_S * np.maximum(x - FULL_FROM, 0)
    return queue_s[graph.queue] + graph.felt_s[graph.end]


def _increment(
    graph: Graph, zones: Zones, arc_s: Floats, trips: int, rng: np.random.Generator
) -> tuple[NDArrayInt32, Ints]:
    """Routes of so many trips, and their lengths in edges."""
    size = len(graph.time_s)
    origin, zone = zones.draw(trips, rng)
    order = np.argsort(zone, kind="stable")
    origin, zone = origin[order], zone[order]
    firsts = np.searchsorted(zone, np.arange(zones.count + 1))
    routes, lengths = [], []
    for z in range(zones.count):
        leaving = origin[firsts[z] : firsts[z + 1]]
        if not len(leaving):
            continue
        judged = arc_s * np.exp(rng.normal(0, JUDGEMENT, len(arc_s)))
        back = csr_matrix((judged, (graph.end, graph.begin)), shape=(size, size))
        goals = zones.goals(z, rng)
        far, following, _ = dijkstra(back, indices=goals, min_only=True, return_predecessors=True)
        leaving = leaving[np.isfinite(far[leaving])]
        rows = []
        at = leaving.astype(np.int32)
        following = following.astype(np.int32)
        while (at >= 0).any():
            rows.append(at)
            at = np.where(at >= 0, following[at], -1)
            at = np.where(at >= 0, at, -1).astype(np.int32)
        if not rows:
            continue
        table = np.array(rows, dtype=np.int32).T
        real = table >= 0
        keep = real.sum(axis=1) > 2
        routes.append(table[keep][real[keep]])
        lengths.append(real[keep].sum(axis=1).astype(np.int64))
    if not routes:
        return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int64)
    return np.concatenate(routes), np.concatenate(lengths)


class _Arcs:
    """Finds the arc from an edge to the next."""

    def __init__(self, graph: Graph) -> None:
        self._size = len(graph.time_s)
        key = graph.begin * self._size + graph.end
        self._order = np.argsort(key)
        self._key = key[self._order]

    def __call__(self, route: NDArrayInt32, length: Ints) -> Ints:
        """Arcs of routes one after the other; -1 between two routes."""
        if len(route) < 2:
            return np.zeros(0, dtype=np.int64)
        key = route[:-1].astype(np.int64) * self._size + route[1:]
        at = np.minimum(np.searchsorted(self._key, key), len(self._key) - 1)
        arcs = np.where(self._key[at] == key, self._order[at], -1)
        ends = np.cumsum(length)[:-1] - 1
        arcs[ends[ends < len(arcs)]] = -1
        return np.asarray(arcs)
