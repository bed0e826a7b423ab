"""Twin of `topis._core.offset_descent`: by the same sums in float32, one junction after the other.

So moves agree to the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

F = np.float32


@dataclass
class City:
    """Junctions in the order in which they are looked at, and (up, down, delay) of links."""

    order: Sequence[int]
    bins: Sequence[int]
    links: Sequence[tuple[int, int, NDArray[np.float32]]]
    around: dict[int, list[tuple[int, bool, NDArray[np.float32]]]] = field(init=False)

    def __post_init__(self) -> None:
        self.around = {junction: [] for junction in range(len(self.bins))}
        for up, down, table in self.links:
            self.around[up].append((down, False, table))
            self.around[down].append((up, True, table))

    def cost(self, junction: int, offset: int, others: Sequence[int]) -> np.float32:
        """Delay of the links around a junction at an offset."""
        total, bins = F(0), self.bins[junction]
        for other, comes_in, table in self.around[junction]:
            apart = offset - others[other] if comes_in else others[other] - offset
            total = total + table[apart % bins]
        return total


def descend(city: City, start: Sequence[int], most_sweeps: int, equal_share: float) -> list[int]:
    offset = list(start)
    for _ in range(most_sweeps):
        before = list(offset)
        for junction in city.order:
            costs = [city.cost(junction, d, offset) for d in range(city.bins[junction])]
            best = int(np.argmin(costs))
            if costs[best] < costs[offset[junction]] * (F(1) - F(equal_share)):
                offset[junction] = best
        if offset == before:
            break
    return offset


def step_all(
    city: City, start: Sequence[int], reach: Sequence[int], step_worth: float
) -> list[int]:
    """How far each gets."""
    offset, way = list(start), [0] * len(start)
    for sweep in range(max(reach, default=0)):
        for junction in city.order:
            now, bins = offset[junction], city.bins[junction]
            costs = [city.cost(junction, now + step, offset) for step in (-1, 0, 1)]
            best = int(np.argmin(costs))
            enough = costs[best] < costs[1] * (F(1) - F(step_worth))
            near = abs(way[junction] + best - 1) <= reach[junction]
            if sweep < reach[junction] and near and enough:
                way[junction] += best - 1
                offset[junction] = (now + best - 1) % bins
    return way


def along_tree(junctions: int, links: Sequence[tuple[int, int, int]], bins: int) -> list[int]:
    """``links``: (up, down, best difference), those with most at stake first."""
    offset = [0] * junctions
    group = [[j] for j in range(junctions)]
    for up, down, best in links:
        if group[up] is group[down]:
            continue
        shift = offset[up] + best - offset[down]
        for j in group[down]:
            offset[j] = (offset[j] + shift) % bins
        group[up] += group[down]
        for j in group[up]:
            group[j] = group[up]
    return offset
