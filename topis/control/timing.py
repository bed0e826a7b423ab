"""What a cycle is made of: changes, least greens and who is green when.

Shared by the controllers that run plans. A junction's plan is a row of *steps*, each a stage
of the network; the arrays here are [steps], all junctions one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from topis.control.coordination import BIN_S, Feeds
from topis.control.service import changes_s, intergreen_ms, least_green_s
from topis.model.lamp import is_green
from topis.model.network import Network
from topis.units import MS_PER_S


class Timing:
    """The steps of every junction and the time each of them takes from the cycle.

    ``ptr`` int32[junctions + 1] into ``stage`` int32[steps] (network stage) and
    ``junction`` int32[steps]. ``change_s`` float64[steps]: from the command to the start of
    the step's green. ``held_s``: how long vehicles keep their green after the command for the
    next step, while walkers clear a crossing. ``least_s``: shortest green with what is held.
    ``lost_s`` float64[junctions]: time of the cycle in which vehicles have no green.
    """

    def __init__(self, network: Network, orders: Sequence[NDArray[np.int32]]) -> None:
        self.network = network
        self.ptr = np.cumsum([0, *map(len, orders)]).astype(np.int32)
        self.stage = np.concatenate([np.zeros(0, np.int32), *orders])
        self.junction = np.repeat(np.arange(len(orders), dtype=np.int32), np.diff(self.ptr))
        all_s = intergreen_ms(network) / MS_PER_S
        vehicles_s = intergreen_ms(network, vehicles_only=True) / MS_PER_S
        self.lost_s = np.array([changes_s(network, vehicles_s, o).sum() for o in orders])
        self.change_s, self.held_s = np.zeros(len(self.stage)), np.zeros(len(self.stage))
        for junction, order in enumerate(orders):
            change_s = changes_s(network, all_s, order)
            self.change_s[self.of(junction)] = change_s
            held_s = change_s - changes_s(network, vehicles_s, order)
            self.held_s[self.of(junction)] = np.roll(held_s, -1)
        self.least_s = least_green_s(network)[self.stage] + self.held_s
        moves = np.arange(len(network.move_turn) + 1)
        self._by_move = np.argsort(network.conn_move, kind="stable")
        self._move_ptr = np.searchsorted(network.conn_move[self._by_move], moves)

    def of(self, junction: int) -> slice:
        """Steps of a junction."""
        return slice(int(self.ptr[junction]), int(self.ptr[junction + 1]))

    def steps_s(self, junction: int, green_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Time from the command for each step of a junction to the next command (s).

        ``green_s`` float64[steps of the junction]: greens with what is held.
        """
        steps = self.of(junction)
        duration_s: NDArray[np.float64] = self.change_s[steps] + green_s - self.held_s[steps]
        return duration_s

    def green_bins(
        self, junction: int, cycle_s: float, green_s: NDArray[np.float64]
    ) -> NDArray[np.int32]:
        """Stage shown in each bin of the cycle, -1 while changing; ``green_s`` as above."""
        bins = max(1, round(cycle_s / BIN_S))
        shown = np.full(bins, -1, dtype=np.int32)
        at_s = 0.0
        first = int(self.ptr[junction])
        for k, step_s in enumerate(self.steps_s(junction, green_s), start=first):
            begin_s, end_s = at_s + self.change_s[k], at_s + step_s + self.held_s[k]
            bin_of = np.arange(round(begin_s / BIN_S), round(end_s / BIN_S)) % bins
            shown[bin_of] = self.stage[k]
            at_s += step_s
        return shown

    def conns_of(self, move: int) -> NDArray[np.intp]:
        """Connections of a movement."""
        return self._by_move[self._move_ptr[move] : self._move_ptr[move + 1]]

    def conn_green(
        self, junction: int, shown: NDArray[np.int32], conns: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Share of the connections that is green in each bin of the junction's cycle."""
        network = self.network
        first = int(network.junction_group_ptr[junction])
        groups = network.conn_group[conns]
        groups = groups[groups >= 0] - first
        share = np.zeros(len(shown))
        for stage in np.unique(shown[shown >= 0]):
            green = is_green(network.stage_codes(int(stage)))[groups]
            share[shown == stage] = green.mean() if len(green) else 0.0
        return share


def feeds_within(network: Network, feeds: Feeds, area: NDArray[np.int32]) -> list[NDArray[np.intp]]:
    """Numbers of the feeds whose both ends lie in each area; ``area`` int32[junctions]."""
    of_area = area[network.move_junction[feeds.move]]
    inside = of_area == area[network.link_junction[feeds.link]]
    areas = int(area.max(initial=-1)) + 1
    return [np.flatnonzero(inside & (of_area == a)) for a in range(areas)]
