"""A city of so many signals on the ground: where its junctions, river and districts lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.ingest.city.lattice import CENTRE_NORTH, WIDER, Lattice, make_lattice
from topis.ingest.city.likeness import Likeness

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Blocks are so much shorter in the centre than a block's mean, and so much longer at the edge.
CENTRE_BLOCK, EDGE_GROWTH = 0.84, 0.26
#: How far lines bow towards rings, and wander (of the radius); junctions off their line (m).
BOW, WANDER, OFF_LINE_M = 0.45, 0.045, 9.0
SIZING_STEPS = 22
LLOYD_STEPS = 12


@dataclass(frozen=True)
class Layout:
    """Nodes and street blocks with places.

    ``xy_m`` float64[nodes, 2]; ``signal`` bool[nodes]; ``north`` bool[nodes] bank; ``district``
    int64[nodes] from 1; ``radius_m`` of the city, ``centre_m`` float64[2]; ``river_m``
    float64[points, 2] its middle from west to east, ``river_width_m``.
    """

    like: Likeness
    lattice: Lattice
    xy_m: Floats
    signal: NDArray[np.bool_]
    north: NDArray[np.bool_]
    district: Ints
    radius_m: float
    centre_m: Floats
    river_m: Floats
    river_width_m: float

    @property
    def signals(self) -> int:
        """Signalised junctions."""
        return int(self.signal.sum())


def lay_out(like: Likeness, signals: int, seed: int) -> Layout:
    """The city that has exactly so many signals."""
    lattice = _sized(like, signals, seed)
    radius_m = lattice.radius * like.block_m
    width_m = float(np.clip(2 * radius_m * like.river_share, *like.river_m))
    rng = np.random.default_rng([seed, 0x1A7])
    wave = rng.random((4, 3)) * 2 * np.pi
    node = lattice.node
    north = node[:, 1] >= lattice.first_north
    row = node[:, 1] - lattice.first_north + 0.5
    base = np.column_stack([node[:, 0].astype(float), row])
    xy_m = _warp(base, lattice.radius, like.block_m, width_m, wave)
    xy_m += np.clip(rng.normal(0, OFF_LINE_M, xy_m.shape), -2 * OFF_LINE_M, 2 * OFF_LINE_M)
    reach = np.linspace(-1.15, 1.15, 81) * lattice.radius * WIDER
    bank = _warp(
        np.column_stack([reach, np.zeros(81)]), lattice.radius, like.block_m, width_m, wave
    )
    corner = xy_m.min(axis=0) - like.block_m
    centre = _warp(
        np.array([[0.0, CENTRE_NORTH * lattice.radius]]),
        lattice.radius, like.block_m, width_m, wave,
    )[0]  # fmt: skip
    signal = _signals(lattice, signals)
    district = _districts(like, xy_m, signal, north)
    return Layout(
        like, lattice, xy_m - corner, signal, north, district, radius_m,
        centre - corner, bank - corner, width_m,
    )  # fmt: skip


def _sized(like: Likeness, signals: int, seed: int) -> Lattice:
    """The smallest city found with junctions enough."""
    most = 1.25 * (signals / (np.pi * WIDER * 0.8)) ** 0.5 + 3.0
    low, high = 1.0, most
    best = make_lattice(like, high, most, signals, seed)
    for _ in range(SIZING_STEPS):
        middle = (low + high) / 2
        lattice = make_lattice(like, middle, most, signals, seed)
        if lattice.crossings >= signals:
            high = middle
            if lattice.crossings <= best.crossings:
                best = lattice
        else:
            low = middle
        if best.crossings == signals:
            break
    return best


def _warp(
    base: Floats, radius: float, block_m: float, width_m: float, wave: Floats
) -> Floats:  # fmt: skip
    """Lattice coordinates to metres: dense in the centre, bowed, wandering, parted by the river."""
    span = np.array([WIDER, 1.0 + CENTRE_NORTH]) * radius
    part = base / span
    x, y = (base * block_m * (CENTRE_BLOCK + EDGE_GROWTH * np.abs(part))).T
    y = y + np.clip(base[:, 1] * 2, -1, 1) * (width_m - 0.4 * block_m) / 2
    x = x * np.sqrt(1 - BOW * np.minimum(part[:, 1] ** 2, 1) / 2)
    y = y * np.sqrt(1 - BOW * np.minimum(part[:, 0] ** 2, 1) / 2)
    size = radius * block_m * WANDER
    along, across = part[:, 0] * np.pi, part[:, 1] * np.pi
    y = y + size * (np.sin(1.1 * along + wave[0, 0]) + 0.5 * np.sin(2.3 * along + wave[0, 1]))
    x = x + size * (np.sin(1.2 * across + wave[1, 0]) + 0.4 * np.sin(2.6 * across + wave[1, 1]))
    return np.column_stack([x, y])


def _signals(lattice: Lattice, signals: int) -> NDArray[np.bool_]:
    """Crossings with signals; the least and outermost of those too many go without."""
    signal = lattice.arms >= 3
    surplus = int(signal.sum()) - signals
    if surplus > 0:
        weight = np.zeros(len(signal))
        np.add.at(weight, lattice.ends.ravel(), np.repeat(lattice.rank, 2))
        out = np.hypot(
            lattice.node[:, 0] / WIDER,
            lattice.node[:, 1] - lattice.first_north - CENTRE_NORTH * lattice.radius,
        )
        order = np.lexsort((-out, weight))
        signal[order[signal[order]][:surplus]] = False
    return signal


def _districts(
    like: Likeness, xy_m: Floats, signal: NDArray[np.bool_], north: NDArray[np.bool_]
) -> Ints:
    """Compact districts, none across the river (unless there is one only)."""
    count = int(np.clip(round(signal.sum() / like.signals_per_district), 1, like.most_districts))
    district = np.ones(len(xy_m), dtype=np.int64)
    if count == 1:
        return district
    share = (signal & ~north).sum() / signal.sum()
    south = int(np.clip(round(count * share), 1, count - 1))
    for bank, first, number in ((north, 0, count - south), (~north, count - south, south)):
        district[bank] = 1 + first + clusters(xy_m[bank], number)
    return district


def clusters(xy_m: Floats, number: int) -> Ints:
    """Number of the compact cluster of each point: Lloyd's steps from points far apart."""
    seed = [int(np.argmin(((xy_m - xy_m.mean(axis=0)) ** 2).sum(axis=1)))]
    far = np.full(len(xy_m), np.inf)
    for _ in range(number - 1):
        far = np.minimum(far, ((xy_m - xy_m[seed[-1]]) ** 2).sum(axis=1))
        seed.append(int(np.argmax(far)))
    centre = xy_m[seed]
    home = np.zeros(len(xy_m), dtype=np.int64)
    for _ in range(LLOYD_STEPS):
        home = ((xy_m[:, None, :] - centre[None]) ** 2).sum(axis=2).argmin(axis=1)
        for c in range(number):
            if (home == c).any():
                centre[c] = xy_m[home == c].mean(axis=0)
    return home
