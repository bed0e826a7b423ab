"""A layout as directed edges, with the turns at every node.

A block is split where its turn bays open, halfway or 110 m before the junctions; there the alleys
join it. An edge that leads up to a signal has a bay if a left turn is there. Lane 0 is the
rightmost; the bay is left of the general lanes, a bus lane left of the bay, along the median.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from topis.ingest.city.layout import Floats, Layout
from topis.ingest.city.likeness import ALLEY, COLLECTOR, LANES, SECONDARY, TRUNK

#: Blocks up to this length are split in the middle, longer ones so far before either end.
HALVED_M, BAY_M = 320.0, 110.0
#: The middle of an alley lies so far off the middle of its block (m).
ALLEY_OFF_M = 18.0
#: Share of the blocks that have an alley: 8,156 km of road for 12,800 signals need no more.
ALLEY_SHARE = 0.82

#: Arms closer than this (55 degrees) leave no room for opposing left turns side by side.
ACUTE_RAD = 0.96

RIGHT, STRAIGHT, LEFT = "r", "s", "l"


@dataclass(slots=True)
class Edge:
    """A directed street edge from node to node; ``bay``, ``bus``: it has such a lane."""

    id: str
    begin: int
    end: int
    rank: int
    general: int
    bay: bool = False
    bus: bool = False
    street: int = -1
    reverse: int = -1

    @property
    def lanes(self) -> int:
        """All lanes."""
        return self.general + self.bay + self.bus

    @property
    def bus_lane(self) -> int:
        """Number of the bus lane."""
        return self.lanes - 1

    @property
    def exits(self) -> int:
        """Lanes of the opposite direction, to walk across besides; without its bay."""
        return self.general + self.bus


@dataclass(frozen=True)
class Arm:
    """A street at a node: its edge towards the node, and the one away from it."""

    bearing: float
    inward: int
    outward: int


@dataclass
class Roads:
    """``name``, ``xy_m``: of nodes, the layout's first; ``arms``: of each, counterclockwise.

    ``turn``: of each movement (from edge, to edge); ``links``: from edge, to edge, from lane,
    to lane; ``through``: at nodes of three arms, the two that go on straight.
    """

    layout: Layout
    xy_m: list[tuple[float, float]]
    name: list[str]
    edges: list[Edge] = field(default_factory=list)
    arms: dict[int, list[Arm]] = field(default_factory=dict)
    turn: dict[tuple[int, int], str] = field(default_factory=dict)
    links: list[tuple[int, int, int, int]] = field(default_factory=list)
    alley_cell: dict[int, tuple[int, int]] = field(default_factory=dict)
    through: dict[int, tuple[int, int]] = field(default_factory=dict)

    def node(self, name: str, xy_m: Floats) -> int:
        """A new node."""
        self.name.append(name)
        self.xy_m.append((float(xy_m[0]), float(xy_m[1])))
        return len(self.name) - 1

    def pair(self, name: str, begin: int, end: int, rank: int, bus: bool, street: int) -> None:
        """A piece of street, both ways."""
        general = LANES[rank] - (bus and rank == TRUNK)
        number = len(self.edges)
        self.edges.append(Edge(name, begin, end, rank, general, False, bus, street, number + 1))
        self.edges.append(Edge(f"-{name}", end, begin, rank, general, False, bus, street, number))

    def length_m(self, edge: int) -> float:
        """Centre line from node to node."""
        a, b = self.xy_m[self.edges[edge].begin], self.xy_m[self.edges[edge].end]
        return float(np.hypot(a[0] - b[0], a[1] - b[1]))

    def bridges(self) -> list[list[str]]:
        """Edges of each bridge, from bank to bank both ways; the westernmost first."""
        lattice = self.layout.lattice
        across = np.flatnonzero(lattice.bridge)
        x_m = self.layout.xy_m[lattice.ends[across], 0].mean(axis=1)
        of_street: dict[int, list[str]] = {int(s): [] for s in across[np.argsort(x_m)]}
        for edge in self.edges:
            if edge.street in of_street:
                of_street[edge.street].append(edge.id)
        return list(of_street.values())


def acute(arms: list[Arm]) -> bool:
    """Whether opposing left turns of four arms would cross: no stage can serve both."""
    bearing = np.array([arm.bearing for arm in arms])
    gaps = np.diff(np.append(bearing, bearing[0] + 2 * np.pi))
    return len(arms) == 4 and bool((gaps < ACUTE_RAD).any())


def make_roads(layout: Layout, seed: int) -> Roads:
    """Edges and movements of a layout; `topis.ingest.city.lanes` links their lanes."""
    roads = Roads(
        layout,
        [(float(x), float(y)) for x, y in layout.xy_m],
        [f"{'J' if s else 'N'}{n}" for n, s in enumerate(layout.signal.tolist())],
    )
    middles = _streets(roads)
    _alleys(roads, middles, np.random.default_rng([seed, 0xA11E]))
    _arms(roads)
    for node, arms in roads.arms.items():
        _turns(roads, node, arms)
    for node in roads.arms:
        _bays(roads, node)
    return roads


def _streets(roads: Roads) -> list[list[int]]:
    """Blocks as edges; the nodes within each block."""
    lattice, xy_m = roads.layout.lattice, roads.layout.xy_m
    middles = []
    for street, (a, b) in enumerate(lattice.ends.tolist()):
        rank, bus = int(lattice.rank[street]), bool(lattice.bus[street])
        length_m = float(np.hypot(*(xy_m[b] - xy_m[a])))
        share = [0.5] if length_m <= HALVED_M else [BAY_M / length_m, 1 - BAY_M / length_m]
        within = [
            roads.node(f"M{street}{'ab'[k]}", xy_m[a] + s * (xy_m[b] - xy_m[a]))
            for k, s in enumerate(share)
        ]
        stops = [a, *within, b]
        for part, (begin, end) in enumerate(pairwise(stops)):
            roads.pair(f"E{street}.{part}", begin, end, rank, bus, street)
        middles.append(within)
    return middles


def _alleys(roads: Roads, middles: list[list[int]], rng: np.random.Generator) -> None:
    """In each block an alley from one street to another, by way of its middle."""
    lattice = roads.layout.lattice
    number = {(c, r): n for n, (c, r) in enumerate(lattice.node.tolist())}
    street = {(a, b): s for s, (a, b) in enumerate(lattice.ends.tolist())}
    for (c, r), node in number.items():
        others = [number.get(at) for at in ((c + 1, r), (c, r + 1), (c + 1, r + 1))]
        if None in others or r + 1 == lattice.first_north:
            continue
        east, north, far = (int(n) for n in others if n is not None)
        if (node, far) in street or (east, north) in street:
            continue
        rows = sorted(
            (lattice.rank[s], s)
            for s in (street.get((node, east)), street.get((north, far)))
            if s is not None
        )
        columns = sorted(
            (lattice.rank[s], s)
            for s in (street.get((node, north)), street.get((east, far)))
            if s is not None
        )
        ends = [int(side[0][1]) for side in (rows, columns) if side]
        if not ends or rng.random() > ALLEY_SHARE:
            continue
        corners = np.array([roads.layout.xy_m[n] for n in (node, east, north, far)])
        off = np.clip(rng.normal(0, ALLEY_OFF_M, 2), -2 * ALLEY_OFF_M, 2 * ALLEY_OFF_M)
        middle = roads.node(f"A{node}", corners.mean(axis=0) + off)
        for part, end in enumerate(ends):
            roads.alley_cell[len(roads.edges)] = (c, r)
            roads.pair(f"A{node}.{part}", middle, middles[end][0], ALLEY, False, -1)


def _arms(roads: Roads) -> None:
    for number, edge in enumerate(roads.edges):
        (ax, ay), (bx, by) = roads.xy_m[edge.begin], roads.xy_m[edge.end]
        bearing = float(np.arctan2(by - ay, bx - ax))
        roads.arms.setdefault(edge.begin, []).append(Arm(bearing, edge.reverse, number))
    for arms in roads.arms.values():
        arms.sort(key=lambda arm: arm.bearing)


def _turns(roads: Roads, node: int, arms: list[Arm]) -> None:
    """Right is the next arm counterclockwise, left the next clockwise of the arm one comes from."""
    count = len(arms)
    if count == 3:
        straightest = min(
            range(3),
            key=lambda k: abs(
                np.pi - abs(arms[(k + 1) % 3].bearing - arms[(k + 2) % 3].bearing) % (2 * np.pi)
            ),
        )
        roads.through[node] = ((straightest + 1) % 3, (straightest + 2) % 3)
    for k, arm in enumerate(arms):
        for step in range(1, count):
            other = (k + step) % count
            if count == 3:
                pair = roads.through[node]
                on = k in pair and other in pair
                turn = STRAIGHT if on else (RIGHT if step == 1 else LEFT)
            else:
                turn = STRAIGHT if 2 * step == count else (RIGHT if 2 * step < count else LEFT)
            roads.turn[arm.inward, arms[other].outward] = turn
    if node < roads.layout.signal.size:
        return
    # Alleys cross no median of an arterial: right in, right out.
    wide = any(roads.edges[arm.inward].rank >= SECONDARY for arm in arms)
    for arm in arms if wide else []:
        for other_arm in arms:
            move = (arm.inward, other_arm.outward)
            ranks = roads.edges[move[0]].rank, roads.edges[move[1]].rank
            if ALLEY in ranks and roads.turn.get(move) in (STRAIGHT, LEFT):
                del roads.turn[move]


def _bays(roads: Roads, node: int) -> None:
    signal = roads.layout.signal
    if node >= signal.size or not signal[node]:
        return
    for arm in roads.arms[node]:
        turns = {roads.turn.get((arm.inward, other.outward)) for other in roads.arms[node]}
        if LEFT in turns and roads.edges[arm.inward].rank >= COLLECTOR:
            roads.edges[arm.inward].bay = True
