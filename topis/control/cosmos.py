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
from topis.control.coordination import BIN_S, best_offsets, coupled_groups, find_feeds
from topis.control.profiles import LinkDelays, Profiles, step_offsets, total_delay
from topis.control.saturation import Saturation, share_out
from topis.control.timing import RunningCycles, Timing, feeds_within, whole_ms
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
    """Common cycle, splits by equal degree of saturation and offsets, moved step by step."""

    name = "cosmos"

    def __init__(self, network: Network, settings: CosmosSettings | None = None) -> None:
        self._network = network
        self._set = settings or CosmosSettings()
        program = network.junction_program
        self._timing = Timing(
            network,
            [
                network.program_stage[slice(*network.program_stage_ptr[p : p + 2])]
                for p in program.tolist()
            ],
        )
        self._running = RunningCycles(self._timing)
        self._saturation = Saturation(self._timing)
        self._green_s = self._timing.shipped_greens()
        self._cycle_s: F8 = network.program_cycle_ms[program] / MS_PER_S
        self._change_sum_s = self._cycle_s - self._timing.sum(self._green_s)
        # A crossing that stays green over two stages may have less than its least in each.
        stage_s = network.stage_min_green_ms[self._timing.stage] / MS_PER_S + self._timing.held_s
        crossing_s = np.minimum(self._timing.least_s, self._green_s)
        self._least_s = np.ceil(np.maximum(stage_s, crossing_s))
        self._find_areas(program)
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
        due = now_ms >= self._running.end_ms
        if due.any():
            self._next_cycle(due, state)
        if now_ms >= self._next_ms:
            self._next_ms = now_ms + to_ms(self._set.period_s)
            self._step_areas(state)
        return Commands(now_ms, self._running.stages(now_ms))

    @property
    def plans(self) -> list[SignalPlan]:
        """The plan that each junction runs in its present cycle."""
        return self._running.plans("equal degrees of saturation, one step a cycle")

    # ---- the start ----

    def _find_areas(self, program: NDArray[np.int32]) -> None:
        """Sub-areas: coupled junctions that ship with the same cycle.

        Those with different cycles have been coordinated apart.
        """
        network, settings = self._network, self._set
        feeds = find_feeds(network)
        key = coupled_groups(network, feeds) * 1e6 + self._cycle_s
        _, first, self._area = np.unique(key, return_index=True, return_inverse=True)
        self._area_cycle_s = self._cycle_s[first]
        self._clock_cycle_s = self._area_cycle_s
        self._next_clock_ms: I8 = np.zeros(len(first), np.int64)
        self._feeds_of = feeds_within(network, feeds, self._area)
        self._linked = np.array([len(which) > 0 for which in self._feeds_of], dtype=bool)
        self._profiles = Profiles(self._timing, feeds)
        # The same offset everywhere is a default; others have been made for their platoons.
        offset_ms = network.program_offset_ms[program] % network.program_cycle_ms[program]
        self._coordinated = [
            len(np.unique(offset_ms[self._area == area])) > 1 for area in range(len(first))
        ]
        self._low_s = np.minimum(settings.min_cycle_s, self._area_cycle_s)
        least_s = np.ceil(self._change_sum_s + self._timing.sum(self._least_s))
        np.maximum.at(self._low_s, self._area, least_s)
        longest_s = np.maximum(settings.max_cycle_s, self._area_cycle_s)
        self._high_s = np.maximum(longest_s, self._low_s)

    def _begin(self, now_ms: int) -> None:
        self._first_ms = self._next_ms = now_ms + to_ms(self._set.first_s)
        self._running.begin_shipped(now_ms, self._green_s)
        # Each area has a clock from which offsets count: when its next cycle begins.
        area_ms = whole_ms(self._area_cycle_s)
        self._next_clock_ms = now_ms - now_ms % area_ms + area_ms
        self._offset_s = self._phase_s(self._running.end_ms) % self._cycle_s

    def _run_clocks(self, now_ms: int) -> None:
        """Each area's clock goes round in the cycle that its junctions are to keep."""
        over = now_ms >= self._next_clock_ms
        if over.any():
            step_s = self._set.cycle_step_s
            way_s = np.clip(self._area_cycle_s - self._clock_cycle_s, -step_s, step_s)
            self._clock_cycle_s = np.where(over, self._clock_cycle_s + way_s, self._clock_cycle_s)
            self._next_clock_ms[over] += whole_ms(self._clock_cycle_s[over])
            # An offset beyond a cycle that has become shorter belongs to the one after it.
            cycle_s = self._clock_cycle_s[self._area]
            beyond = over[self._area] & (self._offset_s >= cycle_s)
            self._offset_s = np.where(beyond, self._offset_s - cycle_s, self._offset_s)

    # ---- once a cycle: splits, and a step towards the offset ----

    def _next_cycle(self, due: NDArray[np.bool_], state: TrafficState) -> None:
        start_ms = np.where(due, self._running.end_ms, self._running.start_ms)
        lanes = self._saturation.lane_junction
        ended = (lanes >= 0) & due[lanes]
        self._left = np.where(ended, self._queue_low, self._left)
        self._queue_low[ended] = np.inf
        shown_s = self._green_s
        if self._first_ms is not None and state.time_ms >= self._first_ms:
            self._move_greens(due, state)
            shift_s = self._shift_s(start_ms + whole_ms(self._cycle_s))
            total_s = self._timing.sum(self._green_s) + shift_s
            any_s = np.full_like(self._green_s, total_s.max())
            owner = self._timing.junction
            shown_s = share_out(self._green_s, self._least_s, any_s, total_s, owner)
        self._running.begin(due, start_ms, shown_s)

    def _move_greens(self, due: NDArray[np.bool_], state: TrafficState) -> None:
        """One step towards equal degrees of saturation, in the cycle of the area.

        g <- g + gain * G * (X - mean X), no green by more than a step, none below its least.
        """
        timing, limit_s = self._timing, self._set.split_step_s
        owner = timing.junction
        move_s = self._clock_cycle_s[self._area] - self._cycle_s
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
        phase_s: F8 = (start_ms - self._next_clock_ms[self._area]) / MS_PER_S
        return phase_s

    def _shift_s(self, next_ms: I8) -> F8:
        """By how much a cycle must be longer so that the next comes nearer to its offset."""
        behind_s = self._offset_s - self._phase_s(next_ms)
        behind_s = _wrap(behind_s, self._clock_cycle_s[self._area])
        behind_s = np.where(self._linked[self._area], behind_s, 0.0)
        return np.clip(behind_s, -self._set.offset_step_s, self._set.offset_step_s)

    # ---- every few minutes: cycles and offsets of the areas ----

    def _step_areas(self, state: TrafficState) -> None:
        flow = zero_if_unknown(state.flow_vps)
        self._saturation.refresh(flow)
        self._step_cycles(self._degree(state))
        for area, which in enumerate(self._feeds_of):
            if len(which):
                self._aim_offsets(area, which, flow)

    def _step_cycles(self, degree: F8) -> None:
        """A step up where the busiest junction is too full, down where all have room."""
        new_s = self._area_cycle_s + self._set.cycle_step_s
        found = np.zeros(len(new_s), dtype=bool)
        for part in _PARTS:
            tried_s = self._area_cycle_s + part * self._set.cycle_step_s
            target = self._set.saturation - (self._set.slack if part < 0 else 0.0)
            junction_s = tried_s[self._area]
            needed_s = self._saturation.needed_s(
                degree, self._green_s, self._least_s, self._cycle_s, junction_s, target
            )
            room_s = np.full(len(tried_s), np.inf)
            np.minimum.at(room_s, self._area, junction_s - needed_s - self._change_sum_s)
            fits = (room_s >= -1e-9) & ~found
            new_s, found = np.where(fits, tried_s, new_s), found | fits
        self._area_cycle_s = np.clip(new_s, self._low_s, self._high_s)

    def _aim_offsets(self, area: int, which: NDArray[np.intp], flow: NDArray[np.float32]) -> None:
        """Offsets of less platoon delay; the cycles that follow move towards them."""
        cycle_s = float(self._area_cycle_s[area])
        bins = max(1, round(cycle_s / BIN_S))
        members = np.flatnonzero(self._area == area).tolist()
        windows = {
            j: self._timing.green_bins(j, cycle_s, self._green_s[self._timing.of(j)])
            for j in members
        }
        number = {j: k for k, j in enumerate(members)}
        pairs = [
            (number[up], number[down], table)
            for up, down, table in self._profiles.delays(which, windows, flow, bins)
        ]
        now_s = self._phase_s(self._running.end_ms)[members]
        if self._coordinated[area]:
            now = np.round(now_s / BIN_S).astype(np.int64)
            reach_s = max(self._set.period_s / cycle_s, 1.0) * self._set.offset_step_s
            stepped = step_offsets(pairs, now, bins, round(reach_s / BIN_S))
            way_s = (stepped - now) * BIN_S
        else:
            way_s = self._way_to_best(pairs, now_s, cycle_s)
        offset_s = now_s + way_s
        clock_s = self._clock_cycle_s[area]
        self._offset_s[members] = np.where(offset_s < 0.0, offset_s + clock_s, offset_s)

    def _way_to_best(self, pairs: LinkDelays, now_s: F8, cycle_s: float) -> F8:
        """How far to move offsets that nobody has chosen; nowhere, if it is not worth it."""
        bins = max(1, round(cycle_s / BIN_S))
        now = np.round(now_s / BIN_S).astype(np.int64)
        best = best_offsets(len(now), pairs, bins)
        enough = (1.0 - self._set.worth_share) * total_delay(pairs, now, bins)
        if total_delay(pairs, best, bins) >= enough:
            return np.zeros(len(now))
        # Only differences count: all are moved alike so that the ways are short.
        way_s = _wrap(best * BIN_S - now_s, cycle_s)
        ways = [_wrap(way_s - common, cycle_s) for common in way_s]
        return min(ways, key=lambda way: float(np.abs(way).sum()))


def _wrap(seconds: F8, cycle_s: F8 | float) -> F8:
    """The same point of the cycle, at most half a cycle away from zero."""
    wrapped: F8 = (seconds + cycle_s / 2.0) % cycle_s - cycle_s / 2.0
    return wrapped
