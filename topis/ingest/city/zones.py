"""Where people live and work: zones of blocks, and who goes from which to which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.ingest.city.graph import Floats, Ints
from topis.ingest.city.roads import Roads

#: Zones are squares of so many blocks on a side, the least with no more zones than this: the
#: shortest-path trees to all of them are what an increment costs.
SIDES, MOST_ZONES = (1, 2, 4, 8, 16, 32, 64), 300
#: Alleys of a zone in which the trips of one increment end, each in the nearest.
GOALS = 4
#: Jobs: a centre and two sub-centres over an even share (weight, spread of the city's radius).
#: Residents: fewer in the centre. All assumed.
CENTRE, SUB_CENTRE, EVEN_JOBS = (3.5, 0.25), (2.5, 0.16), 1.0
SUB_CENTRES = ((0.45, -0.55), (-0.75, 0.1))
HOLLOW = 0.65
#: Trips get rarer by e over this way (m; assumed).
DECAY_M = 4500.0
#: Across the river go, in either direction, at most so many as its bridges carry: veh/h on each
#: (three lanes at their signals' green), where each signal sends so many trips (assumed).
BRIDGE_VPH, SIGNAL_VPH = 1400.0, 90.0
#: Nobody drives a shorter way (m).
SHORTEST_M = 500.0
FURNESS_STEPS = 12


@dataclass(frozen=True)
class Zones:
    """Where trips begin and end.

    ``origin`` int64[alleys] edges that trips begin on, ``origin_zone``, ``origin_share``;
    ``goal`` int64: edges they end on, by zone (``goal_ptr``); ``table`` float64[zones, zones]
    share of the trips from each zone that go to each, rows summing to 1.
    """

    origin: Ints
    origin_zone: Ints
    origin_share: Floats
    goal: Ints
    goal_ptr: Ints
    table: Floats

    @property
    def count(self) -> int:
        """Zones."""
        return len(self.goal_ptr) - 1

    def draw(self, trips: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """So many trips: the edge each begins on, the zone it goes to."""
        alley = rng.choice(len(self.origin), trips, p=self.origin_share)
        reach = np.cumsum(self.table, axis=1)
        draw = rng.random(trips)
        zone = np.array(
            [
                np.searchsorted(reach[z], d)
                for z, d in zip(self.origin_zone[alley], draw, strict=True)
            ],
            dtype=np.int64,
        )
        return self.origin[alley], np.minimum(zone, self.count - 1)

    def goals(self, zone: int, rng: np.random.Generator) -> Ints:
        """Some alleys of a zone."""
        there = self.goal[self.goal_ptr[zone] : self.goal_ptr[zone + 1]]
        return np.sort(rng.permutation(there)[:GOALS])


def make_zones(roads: Roads) -> Zones:
    """Zones of a city and its morning."""
    layout = roads.layout
    out = np.array(sorted(roads.alley_cell), dtype=np.int64)
    cell = np.array([roads.alley_cell[int(e)] for e in out])
    north = cell[:, 1] >= layout.lattice.first_north
    row = cell[:, 1] - layout.lattice.first_north
    for side in SIDES:
        key = np.column_stack([cell[:, 0] // side, row // side, north])
        _, home = np.unique(key, axis=0, return_inverse=True)
        home = home.ravel()
        if home.max() < MOST_ZONES:
            break
    xy_m = np.array([roads.xy_m[roads.edges[int(e)].begin] for e in out])
    count = int(home.max()) + 1
    size = np.bincount(home, minlength=count)
    centre = np.column_stack([np.bincount(home, xy_m[:, k], count) / size for k in (0, 1)])
    part = (xy_m - layout.centre_m) / layout.radius_m
    jobs = np.full(len(out), EVEN_JOBS)
    for (weight, spread), at in zip(
        (CENTRE, SUB_CENTRE, SUB_CENTRE), ((0.0, 0.0), *SUB_CENTRES), strict=True
    ):
        away = ((part - np.array(at)) ** 2).sum(axis=1)
        jobs += weight * np.exp(-away / (2 * spread**2))
    people = 1 - HOLLOW * np.exp(-(part**2).sum(axis=1) / (2 * CENTRE[1] ** 2))
    of_north = np.bincount(home, north, count) > 0.5 * size
    table = _gravity(
        np.bincount(home, people, count).astype(np.float64),
        np.bincount(home, jobs, count).astype(np.float64), centre, of_north,
        BRIDGE_VPH * layout.lattice.bridge.sum() / (SIGNAL_VPH * layout.signals),
    )  # fmt: skip
    order = np.argsort(home, kind="stable")
    back = np.array([roads.edges[int(e)].reverse for e in out], dtype=np.int64)
    ptr = np.concatenate(([0], np.cumsum(size)))
    return Zones(out, home, people / people.sum(), back[order], ptr, table)


def _gravity(
    people: Floats, jobs: Floats, xy_m: Floats, north: NDArray[np.bool_], across: float
) -> Floats:
    """Doubly constrained gravity model, balanced by Furness's steps; rows sum to 1.

    The river is as hard to cross as keeps the share of trips each way below ``across``.
    """
    far = np.hypot(*(xy_m[:, None] - xy_m[None]).transpose(2, 0, 1))
    nearby = np.exp(-far / (DECAY_M))
    if len(xy_m) > 1:
        nearby[far < SHORTEST_M] *= 1e-3
    jobs = jobs / jobs.sum() * people.sum()
    other = north[:, None] != north[None]
    factor = 1.0
    while True:
        table = nearby * np.where(other, factor, 1)
        for _ in range(FURNESS_STEPS):
            table *= (jobs / np.maximum(table.sum(axis=0), 1e-12))[None]
            table *= (people / np.maximum(table.sum(axis=1), 1e-12))[:, None]
        going = (table * other)[north].sum(), (table * other)[~north].sum()
        if max(going) <= across * people.sum() or factor < 0.01:
            return np.asarray(table / table.sum(axis=1)[:, None])
        factor *= 0.8
