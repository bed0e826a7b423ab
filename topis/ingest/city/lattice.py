"""The abstract street lattice of a city: which streets there are, and of which rank.

Columns run north, rows east; the river lies in the gap between the rows of the two banks. Even
lines are arterials (every fourth a main one), odd lines collectors. Diagonal radials run through
nodes of which one line is odd: that line ends there, so that no junction has more than four arms.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from topis.ingest.city.likeness import COLLECTOR, MAIN, SECONDARY, TRUNK, Likeness

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

#: Lines from one main arterial to the next: a superblock has so many blocks on a side.
SUPERBLOCK = 4
#: Share of collector blocks that were never built, and of superblocks that are hills or parks.
GAP_SHARE, PARK_SHARE = 0.08, 0.05
#: Cities with fewer signals have no parks, diagonals, or ring roads (inner, outer).
PARK_SIGNALS, DIAGONAL_SIGNALS, RING_SIGNALS, OUTER_RING_SIGNALS = 400, 400, 200, 2000
#: The city is so much wider than high; its centre lies so far north of the river (of its radius).
WIDER, CENTRE_NORTH = 1.2, 0.2
INNER_RING, OUTER_RING = 0.38, 0.75
#: East, north, and the two diagonals, as steps in (column, row).
STEPS = ((1, 0), (0, 1), (1, 1), (-1, 1))


@dataclass(frozen=True)
class Lattice:
    """Street blocks of a city.

    ``node`` int64[nodes, 2]: column from the middle, row from the south; ``ends`` int64[blocks, 2]
    node numbers; ``rank`` int64[blocks]; ``way`` int64[blocks] of `STEPS`; ``bus``, ``bridge``
    bool[blocks]; ``arms`` int64[nodes]; ``first_north``: the first row of the north bank.
    """

    radius: float
    first_north: int
    node: Ints
    ends: Ints
    rank: Ints
    way: Ints
    bus: Bools
    bridge: Bools
    arms: Ints

    @property
    def crossings(self) -> int:
        """Junctions of three arms or more."""
        return int((self.arms >= 3).sum())


def make_lattice(like: Likeness, radius: float, most: float, signals: int, seed: int) -> Lattice:
    """The blocks of a city with ``radius`` (in blocks); same draws for every radius below most."""
    rng = np.random.default_rng([seed, 0xC17])
    half = int(WIDER * most * 1.15) + 3
    rows = int(most * 1.35) + 3
    draws = rng.random((4, 2 * half + 1, 2 * rows))
    phase = rng.random(3) * 2 * np.pi
    i, row = np.arange(2 * half + 1) - half, np.arange(2 * rows)
    k = np.where(row >= rows, row - rows, rows - 1 - row)
    inside = _inside(i, np.where(row >= rows, k + 0.5, -k - 0.5), radius, phase)
    col_rank, row_rank = _line_rank(i), _line_rank(k)
    rank = [np.tile(row_rank, (len(i), 1)), np.tile(col_rank[:, None], (1, len(row)))]
    rank += [np.full_like(rank[0], MAIN), np.full_like(rank[0], MAIN)]
    built = [np.zeros_like(inside) for _ in STEPS]
    built[0][:-1] = inside[:-1] & inside[1:]
    built[1][:, :-1] = inside[:, :-1] & inside[:, 1:]
    bus = [np.zeros_like(inside) for _ in STEPS]
    for way in (0, 1):
        built[way] &= (rank[way] > COLLECTOR) | (draws[way] > GAP_SHARE)
    if signals >= PARK_SIGNALS:
        _parks(built, i, k, draws[2])
    _corridors(rank, bus, i, k, row, rows, radius, signals)
    if signals >= DIAGONAL_SIGNALS:
        _diagonals(built, inside, i, k, rows, radius)
    bridge = _bridges(built[1][:, rows - 1], i, rank[1][:, rows - 1], like, signals)
    built[1][:, rows - 1] = bridge
    rank[1][:, rows - 1] = np.maximum(rank[1][:, rows - 1], MAIN)
    return _gather(radius, rows, half, built, rank, bus)


def _line_rank(number: Ints) -> Ints:
    rank = np.where(number % 2 == 0, SECONDARY, COLLECTOR)
    return np.where(number % SUPERBLOCK == 0, MAIN, rank)


def _inside(i: Ints, v: NDArray[np.float64], radius: float, phase: NDArray[np.float64]) -> Bools:
    """An ellipse with a wavering edge; wide enough for a crossing on either bank."""
    x = i[:, None] / WIDER
    y = v[None, :] - CENTRE_NORTH * radius
    angle = np.arctan2(y, x)
    edge = 1 + 0.06 * np.sin(3 * angle + phase[0]) + 0.04 * np.sin(5 * angle + phase[1])
    return np.asarray(np.hypot(x, y) <= radius * edge)


def _parks(built: list[Bools], i: Ints, k: Ints, draw: NDArray[np.float64]) -> None:
    """Hills and parks: superblocks without streets inside."""
    half, rows = len(i) // 2, len(k) // 2
    home_k = k - k % SUPERBLOCK
    north = np.arange(len(k)) >= rows
    seat = np.where(north, rows + home_k, rows - 1 - home_k)
    column = np.maximum(i - i % SUPERBLOCK + half, 0)
    park = draw[np.ix_(column, seat)] < PARK_SHARE
    odd_row, odd_col = k % SUPERBLOCK != 0, i % SUPERBLOCK != 0
    built[0] &= ~(park & odd_row[None, :])
    # A column's block belongs to the superblock of its end nearer to the river.
    near = park.copy()
    near[:, :-1] = np.where(north[None, :-1], park[:, :-1], park[:, 1:])
    built[1] &= ~(near & odd_col[:, None])


def _corridors(
    rank: list[Ints], bus: list[Bools], i: Ints, k: Ints, row: Ints, rows: int,
    radius: float, signals: int,
) -> None:  # fmt: skip
    """Radial axes with bus lanes, every other main arterial with them, ring roads without."""
    north = row >= rows
    middle = SUPERBLOCK * round(CENTRE_NORTH * radius / SUPERBLOCK)
    axis_row = np.flatnonzero(north & (k == middle))
    bus[0][:, (k % (2 * SUPERBLOCK) == 0)] = True
    bus[1][i % (2 * SUPERBLOCK) == 0] = True
    bus[0] &= rank[0] == MAIN
    bus[1] &= rank[1] == MAIN
    for r in axis_row.tolist():
        rank[0][:, r], bus[0][:, r] = TRUNK, True
    rank[1][i == 0], bus[1][i == 0] = TRUNK, True
    for least, share in ((RING_SIGNALS, INNER_RING), (OUTER_RING_SIGNALS, OUTER_RING)):
        if signals < least:
            continue
        size = SUPERBLOCK * max(1, round(share * radius / SUPERBLOCK))
        top, low = rows + middle + size, middle - size
        # South of the river, row k is row rows - 1 - k; the ring's low side is a main row there.
        bottom = rows + low if low >= 0 else rows - 1 - SUPERBLOCK * round(-low / SUPERBLOCK)
        if not 0 <= bottom < top < len(row):
            continue
        wide = np.flatnonzero(np.abs(i) <= size)
        rank[0][wide[0] : wide[-1], [bottom, top]] = TRUNK
        bus[0][wide[0] : wide[-1], [bottom, top]] = False
        for column in np.flatnonzero(np.abs(i) == size).tolist():
            rank[1][column, bottom:top] = TRUNK
            bus[1][column, bottom:top] = False


def _diagonals(
    built: list[Bools], inside: Bools, i: Ints, k: Ints, rows: int, radius: float
) -> None:
    """Radials to the north-east, north-west, south-east and south-west."""
    start = SUPERBLOCK * max(1, round(INNER_RING * radius / SUPERBLOCK)) // 2
    middle = SUPERBLOCK * round(CENTRE_NORTH * radius / SUPERBLOCK)
    half = len(i) // 2
    for east in (1, -1):
        for north in (True, False):
            first = (middle + start + 1) if north else start + 1
            line = [
                (half + east * (start + t), rows + first + t if north else rows - 1 - first - t)
                for t in range(half)
            ]
            line = [at for at in line if 0 < at[1] < 2 * rows - 1 and 0 < at[0] < 2 * half]
            line = [at for at in line if inside[at]]
            for at, following in pairwise(line):
                low, high = sorted((at, following), key=lambda node: node[1])
                built[2 if high[0] > low[0] else 3][low] = True
            for c, r in line if len(line) > 1 else []:
                if i[c] % 2:
                    built[1][c, r - 1 : r + 1] = False
                else:
                    built[0][c - 1 : c + 1, r] = False


def _bridges(possible: Bools, i: Ints, rank: Ints, like: Likeness, signals: int) -> Bools:
    """Main columns that cross the river, evenly spread; lesser ones where those are too few."""
    wanted = max(2, round(signals / like.signals_per_bridge))
    bridge = np.zeros_like(possible)
    for least in (MAIN, SECONDARY, COLLECTOR):
        there = np.flatnonzero(possible & ~bridge & (rank >= least))
        trunk = there[rank[there] == TRUNK]
        bridge[trunk] = True
        rest = there[rank[there] < TRUNK]
        count = min(len(rest), max(0, wanted - int(bridge.sum())))
        at = ((np.arange(count) + 0.5) * len(rest) / max(count, 1)).astype(np.int64)
        bridge[rest[at]] = True
    return bridge


def _gather(
    radius: float, rows: int, half: int, built: list[Bools], rank: list[Ints], bus: list[Bools]
) -> Lattice:
    """Blocks as a list, without dead ends and what hangs not together with the rest."""
    shape = built[0].shape
    ends, ranks, ways, buses = [], [], [], []
    for way, (dc, dr) in enumerate(STEPS):
        c, r = np.nonzero(built[way])
        begin = np.ravel_multi_index((c, r), shape)
        ends.append(np.column_stack([begin, np.ravel_multi_index((c + dc, r + dr), shape)]))
        ranks.append(rank[way][c, r])
        ways.append(np.full(len(c), way))
        buses.append(bus[way][c, r])
    end, of_rank = np.vstack(ends), np.concatenate(ranks)
    of_way, of_bus = np.concatenate(ways), np.concatenate(buses)
    keep = np.ones(len(end), dtype=bool)
    cells = shape[0] * shape[1]
    while True:
        arms = np.bincount(end[keep].ravel(), minlength=cells)
        short = keep & (arms[end] == 1).any(axis=1)
        if not short.any():
            break
        keep &= ~short
    kept = end[keep]
    graph = coo_matrix((np.ones(len(kept)), (kept[:, 0], kept[:, 1])), shape=(cells, cells))
    _, part = connected_components(graph, directed=False)
    if len(kept):
        keep &= part[end[:, 0]] == np.bincount(part[kept[:, 0]]).argmax()
    nodes, numbered = np.unique(end[keep], return_inverse=True)
    numbered = numbered.reshape(-1, 2)
    column, row = np.unravel_index(nodes, shape)
    node_row = np.asarray(row)
    across = (of_way[keep] == 1) & (node_row[numbered[:, 0]] == rows - 1)
    return Lattice(
        radius, rows, np.column_stack([column - half, row]), numbered, of_rank[keep],
        of_way[keep], of_bus[keep], across, np.bincount(numbered.ravel(), minlength=len(nodes)),
    )  # fmt: skip
