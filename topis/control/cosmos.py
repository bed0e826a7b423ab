"""Coordinated control stepped once a cycle, after Seoul's COSMOS and SCOOT.

Cycle, splits and offsets start from the shipped plan and move by small steps: the cycle of a
sub-area until its busiest junction runs at a degree of saturation of 0.90, the splits of
every junction towards equal degrees, the offsets towards least delay of the platoons (Hunt
et al. 1981, TRL LR 1014, SCOOT; Webster 1958; HCM 6th ed., ch. 19). COSMOS' own formulas are
not public: the step sizes here are ours. A good field plan stays nearly as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.config import setting
from topis.control.coordination import BIN_S, best_offsets, coupled_groups, find_feeds
from topis.control.profiles import Profiles, step_offsets, total_delay
from topis.control.saturation import Saturation, share_out
from topis.control.timing import Timing, feeds_within
from topis.model.command import Commands, SignalPlan
from topis.model.network import Network
from topis.model.state import SignalState, TrafficState, zero_if_unknown
from topis.units import MS_PER_S, to_ms

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
#: Cycles tried when the common cycle is stepped (parts of a whole step).
_PARTS = (-1.0, -0.5, 0.0, 0.5, 1.0)


@dataclass(frozen=True)
class CosmosSettings:
    """Step sizes; small ones, so that platoons are not torn apart."""

    first_s: float = setting(300.0, 0, 3600, "the shipped plan runs so long unchanged")
    period_s: float = setting(300.0, 30, 3600, "time between two looks at cycle and offsets")
    saturation: float = setting(0.9, 0.5, 1, "degree of saturation of the busiest junction")
    slack: float = setting(0.05, 0, 0.4, "the cycle is cut only if it stays this far below")
    cycle_step_s: float = setting(8.0, 0, 30, "most the cycle changes at once")
    min_cycle_s: float = setting(40.0, 20, 200, "shortest cycle")
    max_cycle_s: float = setting(120.0, 40, 300, "longest cycle, if the shipped is not longer")
    gain: float = setting(0.3, 0, 1, "share of green moved per unit of degree of saturation")
    split_step_s: float = setting(4.0, 0, 30, "most a green changes from cycle to cycle")
    offset_step_s: float = setting(6.0, 0, 30, "most an offset moves in a cycle")
    worth_share: float = setting(0.1, 0, 1, "new offsets must save this share of link delay")


class Cosmos:
    """Common cycle, splits by equal degree of saturation and offsets, moved step by step."""

    name = "cosmos"

    def __init__(self, network: Network, settings: CosmosSettings | None = None) -> None:
        self._network = network
        self._set = settings or CosmosSettings()
        program = network.junction_program
        orders = [
            network.program_stage[slice(*network.program_stage_ptr[p : p + 2])] for p in program
        ]
        self._timing = timing = Timing(network, orders)
        self._saturation = Saturation(timing)
        feeds = find_feeds(network)
        # Junctions that run different cycles have been coordinated apart: areas of their own.
        self._cycle_s: F8 = network.program_cycle_ms[program] / MS_PER_S
        keys = np.stack([coupled_groups(network, feeds), self._cycle_s.astype(np.int64)])
        first, self._area = np.unique(keys, axis=1, return_index=True, return_inverse=True)[1:]
        self._area = self._area.ravel().astype(np.int32)
        self._area_cycle_s = self._cycle_s[first]
        self._profiles = Profiles(timing, feeds)
        self._feeds_of = feeds_within(network, feeds, self._area)
        # The same offset everywhere is a default, others have been made for their platoons.
        offset_ms = network.program_offset_ms[program] % network.program_cycle_ms[program]
        self._coordinated = np.array(
            [len(np.unique(offset_ms[self._area == a])) > 1 for a in range(len(first))]
        )
        self._green_s = self._shipped_greens(program)
        self._least_s = np.minimum(timing.least_s, self._green_s)
        self._change_sum_s = self._cycle_s - self._sum(self._green_s)
        least_s = self._change_sum_s + self._sum(self._least_s)
        self._low_s = np.full(len(first), self._set.min_cycle_s)
        np.maximum.at(self._low_s, self._area, np.ceil(least_s))
        self._high_s = np.maximum(
            np.maximum(self._set.max_cycle_s, self._area_cycle_s), self._low_s
        )
        # Running cycle of each junction: begin and end of each step, set when it starts.
        self._start_ms: I8 = np.zeros(network.junctions, np.int64)
        self._end_ms: I8 = np.zeros(network.junctions, np.int64)
        self._step_end_ms: I8 = np.zeros(len(timing.stage), np.int64)
        # Each area's clock, from which offsets count: begin of its cycle, and the next one.
        self._clock_ms: I8 = np.zeros(len(first), np.int64)
        self._next_clock_ms: I8 = np.zeros(len(first), np.int64)
        self._offset_s: F8 = np.zeros(network.junctions)
        self._queue_low: F8 = np.full(network.lanes, np.inf)
        self._left: F8 = np.zeros(network.lanes)
        self._begun = False
        self._first_ms = self._next_ms = 0

    def decide(self, state: TrafficState, signals: SignalState) -> Commands:
        """See `topis.control.protocol.Controller`."""
        now_ms = state.time_ms
        if not self._begun:
            self._begin(now_ms)
        self._queue_low = np.minimum(self._queue_low, zero_if_unknown(state.queue_veh))
        over = now_ms >= self._next_clock_ms
        if over.any():
            self._clock_ms[over] = self._next_clock_ms[over]
            self._next_clock_ms[over] += _ms(self._area_cycle_s[over])
        due = now_ms >= self._end_ms
        if due.any():
            self._next_cycle(due, state)
        if now_ms >= self._next_ms:
            self._next_ms = now_ms + to_ms(self._set.period_s)
            self._step_areas(state)
        passed = (
            np.add.reduceat((self._step_end_ms <= now_ms).astype(np.int32), self._timing.ptr[:-1])
            if self._network.junctions
            else np.zeros(0, np.int32)
        )
        step = np.minimum(self._timing.ptr[:-1] + passed, self._timing.ptr[1:] - 1)
        return Commands(now_ms, self._timing.stage[step])

    @property
    def plans(self) -> list[SignalPlan]:
        """The plan that each junction runs in its present cycle."""
        plans = []
        for junction in range(self._network.junctions):
            steps = self._timing.of(junction)
            split_ms = np.diff(self._step_end_ms[steps], prepend=self._start_ms[junction])
            length_ms = int(split_ms.sum())
            plans.append(
                SignalPlan(
                    junction=junction,
                    cycle_ms=length_ms,
                    offset_ms=int(self._start_ms[junction] % max(length_ms, 1)),
                    stage=self._timing.stage[steps],
                    split_ms=split_ms.astype(np.int32),
                    reason=f"equal degrees of saturation in {self._cycle_s[junction]:g} s",
                )
            )
        return plans

    # ---- the shipped plan ----

    def _shipped_greens(self, program: NDArray[np.int32]) -> F8:
        """Greens (with what is held) that the shipped splits leave; they hold intergreens."""
        network, timing = self._network, self._timing
        green_s = np.zeros(len(timing.stage))
        for junction, p in enumerate(program):
            steps = timing.of(junction)
            split_ms = network.program_split_ms[slice(*network.program_stage_ptr[p : p + 2])]
            after_s = np.roll(timing.change_s[steps], -1) - timing.held_s[steps]
            green_s[steps] = np.maximum(split_ms / MS_PER_S - after_s, 1.0)
        return green_s

    def _begin(self, now_ms: int) -> None:
        """Take up the shipped plan where its clock stands."""
        network, timing = self._network, self._timing
        self._begun = True
        self._first_ms = self._next_ms = now_ms + to_ms(self._set.first_s)
        cycle_ms = _ms(self._cycle_s)
        program = network.junction_program
        head = network.program_stage_ptr[program]
        command_ms = (
            network.program_offset_ms[program].astype(np.int64)
            + network.program_start_ms[head]
            - _ms(timing.change_s[timing.ptr[:-1]])
        )
        self._start_ms = now_ms - (now_ms - command_ms) % cycle_ms
        self._set_steps(np.ones(network.junctions, dtype=bool), self._green_s)
        area_ms = _ms(self._area_cycle_s)
        self._clock_ms = now_ms - now_ms % area_ms
        self._next_clock_ms = self._clock_ms + area_ms
        self._offset_s = self._phase_s(self._end_ms)

    # ---- once a cycle: splits, and a step towards the offset ----

    def _next_cycle(self, due: NDArray[np.bool_], state: TrafficState) -> None:
        self._start_ms = np.where(due, self._end_ms, self._start_ms)
        lanes = due[self._saturation.lane_junction] & (self._saturation.lane_junction >= 0)
        self._left = np.where(lanes, self._queue_low, self._left)
        self._queue_low[lanes] = np.inf
        shown_s = self._green_s
        if state.time_ms >= self._first_ms:
            self._move_greens(due, state)
            shift_s = self._offset_shift_s()
            shown_s = self._fit(
                self._green_s, self._least_s, np.inf, self._sum(self._green_s) + shift_s
            )
        self._set_steps(due, shown_s)

    def _move_greens(self, due: NDArray[np.bool_], state: TrafficState) -> None:
        """One step towards equal degrees of saturation, in the cycle of the area."""
        owner, limit_s = self._timing.junction, self._set.split_step_s
        degree = self._degree(state)
        count = np.diff(self._timing.ptr)
        mean = (self._sum(degree) / count)[owner]
        step_s = self._set.cycle_step_s
        move_s = np.clip(self._area_cycle_s[self._area] - self._cycle_s, -step_s, step_s)
        cycle_s = np.where(due, self._cycle_s + move_s, self._cycle_s)
        total_s = cycle_s - self._change_sum_s
        grown_s = self._green_s * (total_s / self._sum(self._green_s))[owner]
        pull_s = self._set.gain * total_s[owner] * (degree - mean)
        wanted_s = grown_s + np.clip(pull_s, -limit_s, limit_s)
        high_s = np.maximum(grown_s + limit_s, self._least_s)
        low_s = np.maximum(grown_s - limit_s, self._least_s)
        # A cut of the cycle may leave no room for least greens within a step.
        tight = self._sum(low_s) > total_s
        low_s = np.where(tight[owner], self._least_s, low_s)
        green_s = self._fit(wanted_s, low_s, high_s, total_s)
        self._green_s = np.where(due[owner], green_s, self._green_s)
        self._cycle_s = cycle_s

    def _degree(self, state: TrafficState) -> F8:
        flow = zero_if_unknown(state.flow_vps).astype(np.float64)
        # Those who stand because something ahead blocks them are not helped by green.
        flowing = np.where(np.isnan(state.flowing), 1.0, state.flowing)
        left = np.where(np.isfinite(self._left), self._left, 0.0) * flowing
        return self._saturation.of_steps(flow, left, self._green_s, self._cycle_s)

    def _set_steps(self, due: NDArray[np.bool_], shown_s: F8) -> None:
        """Times of the steps of the cycles that begin, with these greens."""
        timing = self._timing
        step_s = timing.change_s + shown_s - timing.held_s
        total_s = np.cumsum(step_s)
        before_s = np.concatenate(([0.0], total_s))[timing.ptr[:-1]][timing.junction]
        end_ms = self._start_ms[timing.junction] + _ms(total_s - before_s)
        self._step_end_ms = np.where(due[timing.junction], end_ms, self._step_end_ms)
        self._end_ms = self._step_end_ms[timing.ptr[1:] - 1]

    def _phase_s(self, start_ms: I8) -> F8:
        """How long after its area's clock a cycle starts, modulo the cycle (s)."""
        cycle_ms = _ms(self._area_cycle_s[self._area])
        return ((start_ms - self._next_clock_ms[self._area]) % cycle_ms) / MS_PER_S

    def _offset_shift_s(self) -> F8:
        """By how much the cycle that starts is longer, to come nearer to the wanted offset."""
        next_ms = self._start_ms + _ms(self._cycle_s)
        cycle_s = self._area_cycle_s[self._area]
        behind_s = _wrap(self._offset_s - self._phase_s(next_ms), cycle_s)
        limit_s = self._set.offset_step_s
        return np.clip(behind_s, -limit_s, limit_s)

    def _sum(self, of_steps: F8) -> F8:
        return np.bincount(
            self._timing.junction, of_steps, minlength=self._network.junctions
        ).astype(np.float64)

    def _fit(self, wanted_s: F8, low_s: F8, high_s: F8 | float, total_s: F8) -> F8:
        high = np.minimum(np.broadcast_to(high_s, wanted_s.shape), 1e4)
        return share_out(wanted_s, low_s, high, total_s, self._timing.junction)

    # ---- every few minutes: cycles and offsets of the areas ----

    def _step_areas(self, state: TrafficState) -> None:
        self._saturation.refresh(state.flow_vps)
        self._step_cycles(self._degree(state))
        flow = zero_if_unknown(state.flow_vps)
        for area, which in enumerate(self._feeds_of):
            if len(which):
                self._aim_offsets(area, which, flow)

    def _step_cycles(self, degree: F8) -> None:
        """A step up where the busiest junction is too full, down where all have room."""
        new_s = np.full(len(self._area_cycle_s), np.nan)
        for part in _PARTS:
            tried_s = self._area_cycle_s + part * self._set.cycle_step_s
            target = self._set.saturation - (self._set.slack if part < 0 else 0.0)
            needed_s = self._saturation.needed_s(
                degree, self._green_s, self._cycle_s, tried_s[self._area], target
            )
            room_s = np.full(len(tried_s), np.inf)
            np.minimum.at(room_s, self._area, tried_s[self._area] - needed_s)
            fits = (room_s >= -1e-9) & np.isnan(new_s)
            new_s[fits] = tried_s[fits]
        new_s = np.where(np.isnan(new_s), self._area_cycle_s + self._set.cycle_step_s, new_s)
        self._area_cycle_s = np.clip(new_s, self._low_s, self._high_s)

    def _aim_offsets(self, area: int, which: NDArray[np.intp], flow: NDArray[np.float32]) -> None:
        """Offsets of less platoon delay, to be reached by the next look."""
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
        now_s = self._phase_s(self._end_ms)[members]
        now = np.round(now_s / BIN_S).astype(np.int64)
        if self._coordinated[area]:
            cycles = max(self._set.period_s / cycle_s, 1.0)
            reach = round(cycles * self._set.offset_step_s / BIN_S)
            way_s = (step_offsets(pairs, now, bins, reach) - now) * BIN_S
        else:
            # Nothing to lose on the way: nobody has chosen these offsets.
            best = best_offsets(len(members), pairs, bins)
            least = (1.0 - self._set.worth_share) * total_delay(pairs, now, bins)
            if total_delay(pairs, best, bins) >= least:
                return
            # Only differences count: all are moved alike so that the ways are short.
            way_s = _wrap(best * BIN_S - now_s, cycle_s)
            ways = [_wrap(way_s - common, cycle_s) for common in way_s]
            way_s = min(ways, key=lambda way: float(np.abs(way).sum()))
        self._offset_s[members] = (now_s + way_s) % cycle_s


def _wrap(seconds: F8, cycle_s: F8 | float) -> F8:
    """The same point of the cycle, at most half a cycle away from zero."""
    wrapped: F8 = (seconds + cycle_s / 2.0) % cycle_s - cycle_s / 2.0
    return wrapped


def _ms(seconds: F8) -> I8:
    return np.round(seconds * MS_PER_S).astype(np.int64)
