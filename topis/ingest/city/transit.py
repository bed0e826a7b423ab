"""Bus lines along the arterials: routes, stops, departures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from topis.ingest.city.graph import Graph
from topis.ingest.city.likeness import SECONDARY
from topis.ingest.city.roads import Roads
from topis.ingest.city.vehicles import BEGIN_S, END_S

#: Least way from a stop to the next, on blocks of some 225 m: every second block (m).
STOP_EVERY_M = 400.0
STOP_LENGTH_M, STOP_CLEAR_M = 30.0, 12.0
#: Seconds a bus stands, minutes from a bus to the next.
DWELL_S, HEADWAY_MIN = (15, 20), (5, 12)
#: A line's ends lie at least so far apart (of the city's radius), at most so far (m).
APART, LONGEST_M = 0.6, 14_000.0
#: Lines rather take streets with a bus lane: these count for less of their time.
BUS_LANE_FACTOR = 0.7


@dataclass(frozen=True)
class Transit:
    """``routes``: edges of each line and way; ``stops``: those with a stop; ``headway_s``."""

    routes: list[list[int]]
    stops: list[list[int]]
    headway_s: list[int]

    @property
    def edges(self) -> list[int]:
        """Edges with a stop."""
        return sorted({edge for line in self.stops for edge in line})


def make_transit(roads: Roads, graph: Graph, lane_m: dict[str, float], seed: int) -> Transit:
    """Lines there and back, so many as the city's size asks."""
    rng = np.random.default_rng([seed, 0xB05])
    layout, size = roads.layout, len(roads.edges)
    lines = max(2, round(layout.signals / layout.like.signals_per_bus_line))
    rank = np.array([edge.rank for edge in roads.edges])
    bus = np.array([edge.bus for edge in roads.edges])
    wide = (rank[graph.begin] >= SECONDARY) & (rank[graph.end] >= SECONDARY)
    time_s = graph.time_s * np.where(bus, BUS_LANE_FACTOR, 1)
    way = csr_matrix(
        (time_s[graph.end[wide]], (graph.begin[wide], graph.end[wide])), shape=(size, size)
    )
    stands = np.array(
        [
            lane_m[f"{edge.id}_0"] > STOP_LENGTH_M + 2 * STOP_CLEAR_M
            and edge.begin < layout.signal.size and not edge.bay and edge.rank >= SECONDARY
            for edge in roads.edges
        ]
    )  # fmt: skip
    ends = np.flatnonzero(stands & (bus | (rank > SECONDARY)))
    xy_m = np.array([roads.xy_m[edge.begin] for edge in roads.edges])
    transit = Transit([], [], [])
    for _ in range(lines if len(ends) else 0):
        begin = int(rng.choice(ends))
        far = np.hypot(*(xy_m[ends] - xy_m[begin]).T)
        fit = ends[(far > APART * layout.radius_m) & (far < LONGEST_M)]
        goal = int(rng.choice(fit if len(fit) else ends))
        headway = 60 * int(rng.integers(HEADWAY_MIN[0], HEADWAY_MIN[1] + 1))
        for first, last in ((begin, goal), (roads.edges[goal].reverse, roads.edges[begin].reverse)):
            _, before = dijkstra(way, indices=first, return_predecessors=True)
            route = _route(before, first, last)
            if len(route) > 3:
                transit.routes.append(route)
                transit.stops.append(_stops(roads, route, stands))
                transit.headway_s.append(headway)
    return transit


def _route(before: np.ndarray, first: int, last: int) -> list[int]:
    route = [last]
    while route[-1] != first and before[route[-1]] >= 0:
        route.append(int(before[route[-1]]))
    return route[::-1] if route[-1] == first else []


def _stops(roads: Roads, route: list[int], stands: np.ndarray) -> list[int]:
    stops, way_m = [], STOP_EVERY_M
    for edge in route[1:-1]:
        if stands[edge] and way_m >= STOP_EVERY_M:
            stops.append(edge)
            way_m = 0.0
        way_m += roads.length_m(edge)
    return stops


def stop_lines(roads: Roads, transit: Transit, lane_m: dict[str, float]) -> Iterable[str]:
    """The stops, on the bus lane if there is one."""
    for number in transit.edges:
        edge = roads.edges[number]
        lane = f"{edge.id}_{edge.bus_lane if edge.bus else 0}"
        end_m = min(STOP_CLEAR_M + 2 * STOP_LENGTH_M, lane_m[lane] - STOP_CLEAR_M)
        yield (
            f'    <busStop id="S{edge.id}" lane="{lane}" startPos="{end_m - STOP_LENGTH_M:.1f}" '
            f'endPos="{end_m:.1f}"/>\n'
        )


def bus_lines(roads: Roads, transit: Transit, seed: int) -> list[str]:
    """The buses of the morning in order of departure."""
    rng = np.random.default_rng([seed, 0xB06])
    found: list[tuple[float, str]] = []
    for k, (route, stops, headway_s) in enumerate(
        zip(transit.routes, transit.stops, transit.headway_s, strict=True)
    ):
        edges = " ".join(roads.edges[e].id for e in route)
        stands = "".join(
            f'<stop busStop="S{roads.edges[e].id}" '
            f'duration="{rng.integers(DWELL_S[0], DWELL_S[1] + 1)}"/>'
            for e in stops
        )
        first = BEGIN_S + int(rng.integers(headway_s))
        for run, depart_s in enumerate(range(first, END_S, headway_s)):
            found.append((depart_s, (
                f'<vehicle id="b{k}.{run}" type="bus" line="{k // 2 + 1}" depart="{depart_s}.0" '
                f'departLane="best" departSpeed="max"><route edges="{edges}"/>{stands}</vehicle>\n'
            )))  # fmt: skip
    return [line for _, line in sorted(found)]
