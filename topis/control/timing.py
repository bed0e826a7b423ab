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
from topis.model.command import SignalPlan
from topis.model.lamp import is_green
from topis.model.network import Network
from topis.units import MS_PER_S

I8 = NDArray[np.int64]


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

    def shipped_greens(self) -> NDArray[np.float64]:
        """Greens (with what is held) that the active programs' splits leave, float64[steps].

        For steps that are those of the active programs; a split holds the change after it.
        """
        network = self.network
        green_s = np.zeros(len(self.stage))
        for junction, program in enumerate(network.junction_program.tolist()):
            steps = self.of(junction)
            first, last = network.program_stage_ptr[program : program + 2]
            after_s = np.roll(self.change_s[steps], -1) - self.held_s[steps]
            split_s = network.program_split_ms[first:last] / MS_PER_S
            green_s[steps] = np.maximum(split_s - after_s, 1.0)
        return green_s

    def sum(self, of_steps: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over the steps of each junction, float64[junctions]."""
        count = len(self.ptr) - 1
        return np.bincount(self.junction, of_steps, minlength=count).astype(np.float64)

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


def feeds_within(
    network: Network, feeds: Feeds, area: NDArray[np.integer]
) -> list[NDArray[np.intp]]:
    """Numbers of the feeds whose both ends lie in each area; ``area`` int[junctions]."""
    of_area = area[network.move_junction[feeds.move]]
    inside = of_area == area[network.link_junction[feeds.link]]
    areas = int(area.max(initial=-1)) + 1
    return [np.flatnonzero(inside & (of_area == a)) for a in range(areas)]


class RunningCycles:
    """The cycle that each junction is in: when it began, and when each of its steps ends.

    A cycle's times are fixed when it begins; the next may be longer or shorter. ``start_ms``,
    ``end_ms`` int64[junctions].
    """

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self.start_ms: I8 = np.zeros(len(timing.ptr) - 1, np.int64)
        self.end_ms: I8 = self.start_ms
        self._step_end_ms: I8 = np.zeros(len(timing.stage), np.int64)

    def begin_shipped(self, now_ms: int, green_s: NDArray[np.float64]) -> None:
        """Take up the active programs where their clocks stand now."""
        network, timing = self._timing.network, self._timing
        program = network.junction_program
        first_green_ms = network.program_start_ms[network.program_stage_ptr[program]]
        command_ms = network.program_offset_ms[program].astype(np.int64) + first_green_ms
        command_ms -= whole_ms(timing.change_s[timing.ptr[:-1]])
        since_ms = (now_ms - command_ms) % network.program_cycle_ms[program].astype(np.int64)
        self.begin(np.ones(len(program), dtype=bool), now_ms - since_ms, green_s)

    def begin(self, due: NDArray[np.bool_], start_ms: I8, green_s: NDArray[np.float64]) -> None:
        """Begin a cycle with these greens (float64[steps]) where due."""
        timing = self._timing
        self.start_ms = np.where(due, start_ms, self.start_ms)
        passed_s = np.cumsum(timing.change_s + green_s - timing.held_s)
        before_s = np.concatenate(([0.0], passed_s))[timing.ptr[:-1]][timing.junction]
        # Whole seconds, as signal controllers count: a tick late would cut a least green.
        end_ms = self.start_ms[timing.junction] + whole_ms(np.round(passed_s - before_s))
        self._step_end_ms = np.where(due[timing.junction], end_ms, self._step_end_ms)
        self.end_ms = self._step_end_ms[timing.ptr[1:] - 1]

    def steps_of(self, junctions: NDArray[np.intp]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(steps of some junctions, whole seconds of each in its running cycle)."""
        ptr = self._timing.ptr
        count = np.diff(ptr)[junctions]
        within = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
        step = np.repeat(ptr[junctions], count) + within
        begin_ms = np.where(
            within == 0, self.start_ms[self._timing.junction[step]], self._step_end_ms[step - 1]
        )
        return step, (self._step_end_ms[step] - begin_ms) // MS_PER_S

    def stages(self, now_ms: int) -> NDArray[np.int32]:
        """Stage that each junction is to show, int32[junctions]."""
        timing = self._timing
        ended = np.concatenate(([0], np.cumsum(self._step_end_ms <= now_ms)))
        passed = ended[timing.ptr[1:]] - ended[timing.ptr[:-1]]
        step = np.minimum(timing.ptr[:-1] + passed, timing.ptr[1:] - 1)
        stage: NDArray[np.int32] = timing.stage[step]
        return stage

    def plans(self, reason: str) -> list[SignalPlan]:
        """The plan that each junction runs now."""
        plans = []
        for junction, start_ms in enumerate(self.start_ms.tolist()):
            steps = self._timing.of(junction)
            split_ms = np.diff(self._step_end_ms[steps], prepend=start_ms).astype(np.int32)
            cycle_ms = int(split_ms.sum())
            stage = self._timing.stage[steps]
            plans.append(
                SignalPlan(junction, cycle_ms, start_ms % cycle_ms, stage, split_ms, reason)
            )
        return plans


def whole_ms(seconds: NDArray[np.float64]) -> I8:
    """Seconds to whole milliseconds, int64."""
    return np.round(seconds * MS_PER_S).astype(np.int64)
