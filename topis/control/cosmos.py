"""Coordinated control stepped once a cycle, after Seoul's COSMOS and SCOOT.

Cycle, splits and offsets start from the shipped plan and move by small steps: the cycle of a
sub-area until its busiest junction runs at a degree of saturation of 0.90, the splits of
every junction towards equal degrees, the offsets towards least delay of the platoons (Hunt
et al. 1981, TRRL LR 1014, SCOOT; Webster 1958; HCM 6th ed., ch. 19). COSMOS' own formulas
are not public: the step sizes here are ours. A good field plan stays nearly as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.config import setting
from topis.control.coordination import BIN_S, Descent, LinkTables, coupled_groups, find_feeds
from topis.control.profiles import Profiles, bins_of
from topis.control.saturation import Saturation, share_out
from topis.control.timing import RunningCycles, Timing, whole_ms
from topis.model.command import Commands, SignalPlan
from topis.model.network import Network
from topis.model.state import SignalState, TrafficState, zero_if_unknown
from topis.units import MS_PER_S, to_ms

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
#: Changes of the common cycle that are tried, shortest first (parts of a whole step).
_PARTS = (-1.0, -0.5, 0.0, 0.5)


@dataclass(frozen=True)
class CosmosSettings:
    """Step sizes; small ones, so that platoons are not torn apart."""

    first_s: float = setting(300.0, 0, 3600, "the shipped plan runs so long unchanged")
    period_s: float = setting(300.0, 30, 3600, "time between two looks at cycle and offsets")
    saturation: float = setting(0.9, 0.5, 1, "degree of saturation of the busiest junction")
    slack: float = setting(0.05, 0, 0.4, "the cycle is cut only if it stays this far below")
    cycle_step_s: float = setting(8.0, 0, 30, "most the cycle changes at once")
    min_cycle_s: float = setting(40.0, 20, 200, "shortest cycle, if the shipped is not shorter")
    max_cycle_s: float = setting(120.0, 40, 300, "longest cycle, if the shipped is not longer")
    gain: float = setting(0.3, 0, 1, "share of green moved per unit of degree of saturation")
    split_step_s: float = setting(4.0, 0, 30, "most a green changes from cycle to cycle")
    offset_step_s: float = setting(6.0, 0, 30, "most an offset moves in a cycle")
    worth_share: float = setting(0.25, 0, 1, "offsets all anew must save this share of link delay")


class Cosmos:
    """Common cycle, splits by equal degree of saturation and offsets, moved step by step.

    ``area`` int[junctions]: the sub-area of each; ``running``: the cycles they are in;
    ``timing``: the steps these are made of.
    """

    name = "cosmos"

    def __init__(self, network: Network, settings: CosmosSettings | None = None) -> None:
        self._network = network
        self._set = settings or CosmosSettings()
        self._feeds = find_feeds(network)
        program = network.junction_program
        self.timing = Timing(
            network,
            [
                network.program_stage[slice(*network.program_stage_ptr[p : p + 2])]
                for p in program.tolist()
            ],
        )
        self.running = RunningCycles(self.timing)
        self._saturation = Saturation(self.timing)
        self._green_s = self.timing.shipped_greens()
        self._cycle_s: F8 = network.program_cycle_ms[program] / MS_PER_S
        self._change_sum_s = self._cycle_s - self.timing.sum(self._green_s)
        # A crossing that stays green over two stages may have less than its least in each.
        stage_s = network.stage_min_green_ms[self.timing.stage] / MS_PER_S + self.timing.held_s
        crossing_s = np.minimum(self.timing.least_s, self._green_s)
        self._least_s = np.ceil(np.maximum(stage_s, crossing_s))
        self._shipped_s = self._cycle_s
        # The same offset everywhere is a default; others have been made for their platoons.
        self._offset_ms = network.program_offset_ms[program] % network.program_cycle_ms[program]
        # Those coupled that ship with different cycles have been coordinated apart.
        key = coupled_groups(network, self._feeds) * 1e6 + self._cycle_s
        first = self._group(np.unique(key, return_inverse=True)[1].ravel())
        self._area_cycle_s = self._cycle_s[first]
        self._clock_cycle_s = self._area_cycle_s
        self._next_clock_ms: I8 = np.zeros(len(first), np.int64)
        self._bound_cycles()
        self._queue_low: F8 = np.full(network.lanes, np.inf)
        self._left: F8 = np.zeros(network.lanes)
        self._first_ms: int | None = None
        self._next_ms = 0

    def decide(self, state: TrafficState, signals: SignalState) -> Commands:
        """See `topis.control.protocol.Controller`."""
        now_ms = state.time_ms
        if self._first_ms is None:
            self._begin(now_ms)
        self._queue_low = np.minimum(self._queue_low, zero_if_unknown(state.queue_veh))
        self._run_clocks(now_ms)
        due = now_ms >= self.running.end_ms
        if due.any():
            self._next_cycle(due, state)
        if now_ms >= self._next_ms:
            self._next_ms = now_ms + to_ms(self._set.period_s)
            self._step_areas(state)
        return Commands(now_ms, self.running.stages(now_ms))

    @property
    def plans(self) -> list[SignalPlan]:
        """The plan that each junction runs in its present cycle."""
        return self.running.plans("equal degrees of saturation, one step a cycle")

    # ---- the start ----

    def regroup(self, area: NDArray[np.integer], now_ms: int) -> None:
        """Take up other sub-areas; their cycles begin as those of their first junctions are.

        ``area`` int[junctions], numbered from 0 by their first junctions.
        """
        old = self.area
        first = self._group(area)
        longest_s = np.zeros(len(first))
        np.maximum.at(longest_s, area, self._area_cycle_s[old])
        self._area_cycle_s = longest_s
        self._clock_cycle_s = self._clock_cycle_s[old[first]]
        self._next_clock_ms = self._next_clock_ms[old[first]]
        self._bound_cycles()
        self._area_cycle_s = np.clip(self._area_cycle_s, self._low_s, self._high_s)
        if self._first_ms is not None:
            self._offset_s = self._phase_s(self.running.end_ms) % self._clock_cycle_s[area]

    def _group(self, area: NDArray[np.integer]) -> NDArray[np.intp]:
        """Take up these sub-areas (int[junctions]); the first junction of each."""
        self.area = area
        first: NDArray[np.intp] = np.unique(area, return_index=True)[1]
        self._profiles = Profiles(self.timing, self._feeds, area)
        ends = self._profiles.up, self._profiles.down
        self._descent = Descent(self._network.junctions, *ends)
        self._linked = np.bincount(area[ends[0]], minlength=len(first)) > 0
        self._coordinated = np.zeros(len(first), dtype=bool)
        offset_ms = self._offset_ms
        self._coordinated[area[offset_ms != offset_ms[first][area]]] = True
        return first

    def _bound_cycles(self) -> None:
        """Shortest and longest cycle of each area: of its settings, if the shipped are not."""
        settings, areas = self._set, len(self._linked)
        self._low_s, self._high_s = (np.full(areas, value) for value in (np.inf, -np.inf))
        np.minimum.at(self._low_s, self.area, self._shipped_s)
        np.maximum.at(self._high_s, self.area, self._shipped_s)
        self._low_s = np.minimum(settings.min_cycle_s, self._low_s)
        least_s = np.ceil(self._change_sum_s + self.timing.sum(self._least_s))
        np.maximum.at(self._low_s, self.area, least_s)
        self._high_s = np.maximum(np.maximum(settings.max_cycle_s, self._high_s), self._low_s)

    def _begin(self, now_ms: int) -> None:
        self._first_ms = self._next_ms = now_ms + to_ms(self._set.first_s)
        self.running.begin_shipped(now_ms, self._green_s)
        # Each area has a clock from which offsets count: when its next cycle begins.
        area_ms = whole_ms(self._area_cycle_s)
        self._next_clock_ms = now_ms - now_ms % area_ms + area_ms
        self._offset_s = self._phase_s(self.running.end_ms) % self._cycle_s

    def _run_clocks(self, now_ms: int) -> None:
        """Each area's clock goes round in the cycle that its junctions are to keep."""
        over = now_ms >= self._next_clock_ms
        if over.any():
            step_s = self._set.cycle_step_s
            way_s = np.clip(self._area_cycle_s - self._clock_cycle_s, -step_s, step_s)
            self._clock_cycle_s = np.where(over, self._clock_cycle_s + way_s, self._clock_cycle_s)
            self._next_clock_ms[over] += whole_ms(self._clock_cycle_s[over])
            # An offset beyond a cycle that has become shorter belongs to the one after it.
            cycle_s = self._clock_cycle_s[self.area]
            beyond = over[self.area] & (self._offset_s >= cycle_s)
            self._offset_s = np.where(beyond, self._offset_s - cycle_s, self._offset_s)

    # ---- once a cycle: splits, and a step towards the offset ----

    def _next_cycle(self, due: NDArray[np.bool_], state: TrafficState) -> None:
        start_ms = np.where(due, self.running.end_ms, self.running.start_ms)
        lanes = self._saturation.lane_junction
        ended = (lanes >= 0) & due[lanes]
        self._left = np.where(ended, self._queue_low, self._left)
        self._queue_low[ended] = np.inf
        shown_s = self._green_s
        if self._first_ms is not None and state.time_ms >= self._first_ms:
            self._move_greens(due, state)
            shift_s = self._shift_s(start_ms + whole_ms(self._cycle_s))
            total_s = self.timing.sum(self._green_s) + shift_s
            any_s = np.full_like(self._green_s, total_s.max())
            owner = self.timing.junction
            shown_s = share_out(self._green_s, self._least_s, any_s, total_s, owner)
        self.running.begin(due, start_ms, shown_s)

    def _move_greens(self, due: NDArray[np.bool_], state: TrafficState) -> None:
        """One step towards equal degrees of saturation, in the cycle of the area.

        g <- g + gain * G * (X - mean X), no green by more than a step, none below its least.
        """
        timing, limit_s = self.timing, self._set.split_step_s
        owner = timing.junction
        move_s = self._clock_cycle_s[self.area] - self._cycle_s
        move_s = np.clip(move_s, -self._set.cycle_step_s, self._set.cycle_step_s)
        cycle_s = np.where(due, self._cycle_s + move_s, self._cycle_s)
        total_s = cycle_s - self._change_sum_s
        grown_s = self._green_s * (total_s / timing.sum(self._green_s))[owner]
        degree = self._degree(state)
        mean = (timing.sum(degree) / np.diff(timing.ptr))[owner]
        pull_s = self._set.gain * total_s[owner] * (degree - mean)
        wanted_s = grown_s + np.clip(pull_s, -limit_s, limit_s)
        high_s = np.maximum(grown_s + limit_s, self._least_s)
        low_s = np.maximum(grown_s - limit_s, self._least_s)
        # A cut of the cycle may leave no room for least greens within a step.
        tight = timing.sum(low_s) > total_s
        low_s = np.where(tight[owner], self._least_s, low_s)
        green_s = share_out(wanted_s, low_s, high_s, total_s, owner)
        self._green_s = np.where(due[owner], green_s, self._green_s)
        self._cycle_s = cycle_s

    def _degree(self, state: TrafficState) -> F8:
        flow = zero_if_unknown(state.flow_vps).astype(np.float64)
        # Those who stand because something ahead blocks them are not helped by green.
        flowing = np.where(np.isnan(state.flowing), 1.0, state.flowing)
        left = np.where(np.isfinite(self._left), self._left, 0.0) * flowing
        return self._saturation.of_steps(flow, left, self._green_s, self._cycle_s)

    def _phase_s(self, start_ms: I8) -> F8:
        """How long after its area's clock a cycle starts (s)."""
        phase_s: F8 = (start_ms - self._next_clock_ms[self.area]) / MS_PER_S
        return phase_s

    def _shift_s(self, next_ms: I8) -> F8:
        """By how much a cycle must be longer so that the next comes nearer to its offset."""
        behind_s = self._offset_s - self._phase_s(next_ms)
        behind_s = _wrap(behind_s, self._clock_cycle_s[self.area])
        behind_s = np.where(self._linked[self.area], behind_s, 0.0)
        return np.clip(behind_s, -self._set.offset_step_s, self._set.offset_step_s)

    # ---- every few minutes: cycles and offsets of the areas ----

    def _step_areas(self, state: TrafficState) -> None:
        flow = zero_if_unknown(state.flow_vps)
        self._saturation.refresh(flow)
        self._step_cycles(self._degree(state))
        if self._linked.any():
            self._aim_offsets(flow)

    def _step_cycles(self, degree: F8) -> None:
        """A step up where the busiest junction is too full, down where all have room."""
        new_s = self._area_cycle_s + self._set.cycle_step_s
        found = np.zeros(len(new_s), dtype=bool)
        for part in _PARTS:
            tried_s = self._area_cycle_s + part * self._set.cycle_step_s
            target = self._set.saturation - (self._set.slack if part < 0 else 0.0)
            junction_s = tried_s[self.area]
            needed_s = self._saturation.needed_s(
                degree, self._green_s, self._least_s, self._cycle_s, junction_s, target
            )
            room_s = np.full(len(tried_s), np.inf)
            np.minimum.at(room_s, self.area, junction_s - needed_s - self._change_sum_s)
            fits = (room_s >= -1e-9) & ~found
            new_s, found = np.where(fits, tried_s, new_s), found | fits
        self._area_cycle_s = np.clip(new_s, self._low_s, self._high_s)

    def _aim_offsets(self, flow: NDArray[np.float32]) -> None:
        """Offsets of less platoon delay; the cycles that follow move towards them."""
        area, step_s = self.area, self._set.offset_step_s
        cycle_s = self._area_cycle_s[area]
        tables = self._profiles.tables(bins_of(cycle_s), self._green_s, flow)
        now_s = self._phase_s(self.running.end_ms)
        now = np.round(now_s / BIN_S).astype(np.int64)
        reach_s = np.maximum(self._set.period_s / cycle_s, 1.0) * step_s
        reach = np.where(self._coordinated[area], np.rint(reach_s / BIN_S), 0).astype(np.int32)
        way_s = self._descent.steps(tables, now, reach) * BIN_S
        free = self._linked & ~self._coordinated
        if free.any():
            way_s = np.where(free[area], self._way_to_best(tables, now, now_s, free), way_s)
        offset_s = now_s + way_s
        offset_s = np.where(offset_s < 0.0, offset_s + self._clock_cycle_s[area], offset_s)
        self._offset_s = np.where(self._linked[area], offset_s, self._offset_s)

    def _way_to_best(self, tables: LinkTables, now: I8, now_s: F8, free: NDArray[np.bool_]) -> F8:
        """How far to move offsets that nobody has chosen; nowhere, if it is not worth it.

        ``free`` bool[areas]: where it is not known that somebody has.
        """
        area, areas = self.area, len(self._area_cycle_s)
        best = self._descent.best(tables, free[area], area.astype(np.int32))
        of_area = area[tables.up]
        before, after = (
            np.bincount(of_area, tables.at(offset), minlength=areas) for offset in (now, best)
        )
        worth = free & (after < (1.0 - self._set.worth_share) * before)
        cycle_s = self._area_cycle_s[area]
        way_s = _wrap(best * BIN_S - now_s, cycle_s)
        # Only differences count: all of an area are moved alike so that the ways are short.
        common_s = np.zeros(areas)
        by_area = np.argsort(area, kind="stable")
        ptr = np.searchsorted(area[by_area], np.arange(areas + 1))
        for a in np.flatnonzero(worth).tolist():
            members = by_area[ptr[a] : ptr[a + 1]]
            common_s[a] = _middle_s(way_s[members], float(self._area_cycle_s[a]))
        return np.where(worth[area], _wrap(way_s - common_s[area], cycle_s), 0.0)


def _middle_s(way_s: F8, cycle_s: float) -> float:
    """The one of some ways round a cycle from which the others are least far (the first of equals).

    Whole milliseconds are counted, so that equals are equal.
    """
    cycle = round(cycle_s * MS_PER_S)
    way = whole_ms(way_s) % cycle
    place = np.argsort(way, kind="stable")
    ring = np.concatenate((way[place], way[place] + cycle))
    passed = np.concatenate(([0], np.cumsum(ring)))
    first = np.arange(len(way))
    half = np.searchsorted(ring, way[place] + cycle // 2, side="right")
    last = first + len(way)
    # Those less than half a cycle ahead are reached forwards, the others backwards.
    ahead = passed[half] - passed[first] - (half - first) * way[place]
    behind = (last - half) * (way[place] + cycle) - (passed[last] - passed[half])
    far = np.empty(len(way), dtype=np.int64)
    far[place] = ahead + behind
    return float(way_s[int(np.argmin(far))])


def _wrap(seconds: F8, cycle_s: F8 | float) -> F8:
    """The same point of the cycle, at most half a cycle away from zero."""
    wrapped: F8 = (seconds + cycle_s / 2.0) % cycle_s - cycle_s / 2.0
    return wrapped
