"""Adaptive control: a rolling-horizon search at every junction.

See docs/control.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis._core.arrivals import add_planned
from topis._core.rollout import RolloutSearch
from topis.config import setting
from topis.control.streams import RoadsBehind, compile_streams, stream_rates
from topis.model.command import Commands
from topis.model.feeds import find_lane_feeds
from topis.model.lamp import RED
from topis.model.network import Network
from topis.model.state import HORIZON_S, SignalState, TrafficState, zero_if_unknown
from topis.units import MS_PER_S


@dataclass(frozen=True)
class AdaptiveSettings:
    """One set everywhere; see docs/control.md for how they were chosen."""

    interval_s: float = setting(2.0, 1, 30, "time between two decisions at a junction")
    horizon_s: float = setting(60.0, 20, 180, "how far ahead each choice is played out")
    stop_s: float = setting(3.0, 0, 60, "what one stop costs in seconds of delay")
    worth_s: float = setting(15.0, 1, 120, "base policy: a change is weighed over this time")
    base_every_s: float = setting(4.0, 1, 30, "base policy: time between two choices")
    startup_s: float = setting(1.0, 0, 5, "green lost as a queue starts")
    cycles: float = setting(1.0, 0, 3, "horizon at least so many shortest cycles")
    fade_s: float = setting(40.0, 5, 10000, "time in which the weight of later cost fades")
    terminal_s: float = setting(0.0, 0, 120, "cost of a vehicle left at the horizon")
    terminal_veh_s: float = setting(0.0, 0, 30, "growth of it with the queue")
    max_wait_s: float = setting(120.0, 30, 600, "a lane with a queue is served after this wait")
    walk_wait_s: float = setting(100.0, 30, 600, "a crossing is served after this wait")
    walkers_per_min: float = setting(3.0, 0, 300, "walkers assumed at each crossing")
    full_share: float = setting(0.9, 0, 1, "a road filled beyond this takes no more")
    plan_weight: float = setting(0.0, 0, 1e6, "cost of a second off the plan")
    keep_share: float = setting(0.0, 0, 0.5, "a change must save this share of the cost")


class Adaptive:
    """Rolling-horizon control."""

    name = "adaptive"

    def __init__(self, network: Network, settings: AdaptiveSettings | None = None) -> None:
        self._network = network
        self._set = s = settings or AdaptiveSettings()
        self._streams = streams = compile_streams(network, s.startup_s)
        self._rates = stream_rates(network, streams)
        weight = np.where(streams.lane >= 0, 1.0, 0.0)
        weight[streams.walk >= 0] = 1.0
        horizon_s = self._horizons()
        fade_s = np.maximum(s.fade_s, horizon_s * (s.fade_s / s.horizon_s))
        self._horizon = int(horizon_s.max(initial=int(s.horizon_s)))
        self._horizon_s = horizon_s
        self._feeds = find_lane_feeds(network)
        self._search = RolloutSearch(
            stream_ptr=streams.stream_ptr,
            stage_ptr=network.junction_stage_ptr,
            rate_ptr=streams.rate_ptr,
            rate_of_ptr=streams.rate_of_ptr,
            wide=streams.wide,
            min_green_s=streams.min_green_s,
            hold_s=streams.hold_s,
            lost_s=streams.lost_s,
            weight=weight.astype(np.float32),
            decay=np.exp(-1.0 / fade_s).astype(np.float32),
            horizon_s=horizon_s,
            inner_ptr=streams.inner_ptr,
            inner_from=streams.inner_from,
            inner_to=streams.inner_to,
            inner_share=streams.inner_share,
            inner_room=streams.inner_room,
            yield_ptr=streams.yield_ptr,
            yield_stream=streams.yield_stream,
            yield_share=streams.yield_share,
            foe_ptr=streams.foe_ptr,
            foe_stream=streams.foe_stream,
            most_horizon_s=self._horizon,
            base_every_s=int(s.base_every_s),
            stop_s=s.stop_s,
            worth_s=s.worth_s,
            terminal_s=s.terminal_s,
            terminal_veh_s=s.terminal_veh_s,
        )
        self._threads = 1
        self._scratch = np.zeros((self._threads, self._search.scratch_size), dtype=np.float32)
        count = len(streams)
        self._is_lane = streams.lane >= 0
        self._lane = np.where(self._is_lane, streams.lane, 0)
        self._walk = np.where(streams.walk >= 0, streams.walk, 0)
        self._is_walk = streams.walk >= 0
        number = np.full(network.lanes, -1, dtype=np.int32)
        number[network.approach_lanes] = np.arange(len(network.approach_lanes))
        self._arrival_of = np.where(self._is_lane, number[self._lane], -1).astype(np.int32)
        self._plan = np.full((network.junctions, self._horizon), -1, dtype=np.int16)
        self._plan_weight = np.zeros(network.junctions, dtype=np.float32)
        self._planned_vps = np.zeros((count, self._horizon), dtype=np.float32)
        self._told_s = np.full(count, -(10**6), dtype=np.int64)
        self._choice = np.zeros(network.junctions, dtype=np.int32)
        self._cost = np.zeros(network.junctions, dtype=np.float32)
        self._keep_cost = np.zeros(network.junctions, dtype=np.float32)
        self._target = np.full(network.junctions, -1, dtype=np.int32)
        self._unserved_s = np.zeros(count, dtype=np.float32)
        self._last_ms: int | None = None
        self._roads = RoadsBehind(network)
        stream_of = np.full(len(number), -1, dtype=np.int32)
        stream_of[self._lane[self._is_lane]] = np.flatnonzero(self._is_lane)
        self._planned_of = stream_of[network.approach_lanes]
        self._planned_horizon_s = horizon_s[streams.junction]
        self._timeline()

    def _horizons(self) -> NDArray[np.int32]:
        """Long enough to see every stage of a junction served once, int32[junctions]."""
        network, s = self._network, self._set
        least_s = np.bincount(
            network.stage_junction, self._streams.min_green_s, minlength=network.junctions
        )
        whole_s = (self._streams.hold_s + self._streams.lost_s).max(axis=1)
        least_s += np.bincount(network.stage_junction, whole_s, minlength=network.junctions)
        return np.clip(np.ceil(s.cycles * least_s), s.horizon_s, HORIZON_S).astype(np.int32)

    def _timeline(self) -> None:
        network = self._network
        from topis.control.service import intergreen_ms

        change = intergreen_ms(network) / MS_PER_S
        rows, cycles, offs = [], [], []
        for j in range(network.junctions):
            p = int(network.junction_program[j])
            sl = slice(*network.program_stage_ptr[p : p + 2])
            stage = network.program_stage[sl] - network.junction_stage_ptr[j]
            start = network.program_start_ms[sl] / MS_PER_S
            cycle = max(1, round(network.program_cycle_ms[p] / MS_PER_S))
            row = np.full(cycle, -1, dtype=np.int16)
            n = len(stage)
            cmd = []
            for k in range(n):
                before = stage[k - 1]
                lead = change[network.junction_stage_ptr[j] + before, stage[k]] if n > 1 else 0
                cmd.append(int(round(start[k] - lead)) % cycle)
            for k in range(n):
                a, b = cmd[k], cmd[(k + 1) % n]
                length = (b - a) % cycle or cycle
                row[(a + np.arange(length)) % cycle] = stage[k]
            rows.append(row)
            cycles.append(cycle)
            offs.append(int(network.program_offset_ms[p] // 1000))
        self._tl = np.concatenate(rows) if rows else np.zeros(0, np.int16)
        self._tl_cycle = np.array(cycles)
        self._tl_ptr = np.concatenate(([0], np.cumsum(cycles)[:-1])).astype(np.int64)
        self._tl_off = np.array(offs)

    def decide(self, state: TrafficState, signals: SignalState) -> Commands:
        """See `topis.control.protocol.Controller`."""
        network = self._network
        low = network.junction_stage_ptr[:-1]
        shown = np.where(signals.stage >= 0, signals.stage, low)
        self._wait(state, signals, shown)
        green_s = ((state.time_ms - signals.since_ms) // MS_PER_S).astype(np.int32)
        least = self._streams.min_green_s[shown]
        due = (signals.coming < 0) & (signals.stage >= 0)
        due &= (green_s >= least) & ((green_s - least) % int(self._set.interval_s) == 0)
        self._target = np.where(signals.coming >= 0, signals.coming, self._target)
        self._target = np.where(self._target < 0, shown, self._target)
        which = np.flatnonzero(due).astype(np.int32)
        if len(which):
            local = (shown - low).astype(np.int32)
            if self._set.plan_weight > 0:
                now_s = state.time_ms // 1000
                j = np.arange(network.junctions)
                at = (now_s - self._tl_off)[:, None] + np.arange(self._horizon)[None, :]
                self._plan = np.ascontiguousarray(
                    self._tl[self._tl_ptr[j][:, None] + at % self._tl_cycle[:, None]].astype(np.int16)
                )
                self._plan_weight[:] = self._set.plan_weight
                import os

                free = os.environ.get("FREE", "").split(",")
                for k, name in enumerate(network.junction_ids):
                    if name in free:
                        self._plan_weight[k] = float(os.environ.get("FREEW", "0"))
            self._decide(which, local, green_s, state, signals)
            self._target[which] = low[which] + self._choice[which]
        return Commands(state.time_ms, self._target.astype(np.int32))

    def _decide(
        self,
        which: NDArray[np.int32],
        local: NDArray[np.int32],
        green_s: NDArray[np.int32],
        state: TrafficState,
        signals: SignalState,
    ) -> None:
        lane, network = self._lane, self._network
        queue_l = zero_if_unknown(state.queue_veh)
        vehicles_l = zero_if_unknown(state.vehicles_veh)
        standing = np.minimum(queue_l, vehicles_l)
        walkers = self._set.walkers_per_min / 60.0
        red_s = (state.time_ms - signals.group_since_ms[self._walk]) / MS_PER_S
        red_s = np.where(signals.group_code[self._walk] == RED, red_s, 0.0)
        queue = np.where(self._is_lane, standing[lane], np.where(self._is_walk, walkers * red_s, 0))
        steady = np.where(self._is_walk, walkers, 0.0)
        streams = self._streams
        flowing = np.where(self._is_lane, np.maximum(state.flowing[lane], 0.05), 1.0)
        shown_cell = (
            self._streams.rate_ptr[self._streams.junction]
            + local[self._streams.junction]
            * np.diff(self._streams.stream_ptr)[self._streams.junction]
            + np.arange(len(lane))
            - self._streams.stream_ptr[self._streams.junction]
        )
        passing = self._rates.pass_share[shown_cell]
        open_share = np.where(passing >= 1.0, 1.0, np.maximum(passing, 0.05))
        room, refill = self._roads.room(state, self._set.full_share)
        allowed = self._allowed(local, state, signals)
        f = np.float32
        arrival_vps = state.arrival_vps.copy()
        flow = np.ascontiguousarray(zero_if_unknown(state.flow_vps)[network.approach_lanes])
        feeds = self._feeds
        add_planned(
            feeds.ptr,
            feeds.to,
            feeds.share,
            feeds.travel_s,
            state.fed_scale,
            state.seen_s,
            flow,
            state.time_ms // MS_PER_S,
            self._told_s,
            self._planned_horizon_s,
            self._planned_vps,
            self._planned_of,
            arrival_vps,
        )
        self._search.decide(
            which,
            local,
            green_s,
            self._rates.rate,
            self._rates.rate_of,
            self._rates.pass_share,
            (streams.cap * flowing).astype(f),
            queue.astype(f),
            self._arrival_of,
            arrival_vps,
            steady.astype(f),
            open_share.astype(f),
            np.where(self._is_lane, room[lane], 1e4).astype(f),
            refill[lane].astype(f),
            allowed,
            self._plan,
            self._plan_weight,
            self._scratch,
            self._threads,
            self._choice,
            self._cost,
            self._keep_cost,
            self._planned_vps,
        )
        decided = np.isin(streams.junction, which)
        self._told_s[decided] = state.time_ms // MS_PER_S

    def _wait(
        self, state: TrafficState, signals: SignalState, shown: NDArray[np.int32]
    ) -> None:
        dt_s = 0.0 if self._last_ms is None else (state.time_ms - self._last_ms) / MS_PER_S
        self._last_ms = state.time_ms
        streams = self._streams
        local = (shown - self._network.junction_stage_ptr[:-1])[streams.junction]
        width = np.diff(streams.stream_ptr)[streams.junction]
        cell = streams.rate_ptr[streams.junction] + local * width
        cell += np.arange(len(streams)) - streams.stream_ptr[streams.junction]
        served = (self._rates.rate[cell] * self._rates.pass_share[cell] ** 2 >= 0.2) & (
            signals.coming[streams.junction] < 0
        )
        waiting = self._is_lane & (zero_if_unknown(state.queue_veh)[self._lane] >= 1.0)
        self._unserved_s = np.where(waiting & ~served, self._unserved_s + dt_s, 0.0)
        red_s = (state.time_ms - signals.group_since_ms[self._walk]) / MS_PER_S
        red_s = np.where(signals.group_code[self._walk] == RED, red_s, 0.0)
        self._late_s = np.maximum(self._unserved_s - self._set.max_wait_s, 0.0)
        self._late_s = np.where(
            self._is_walk, np.maximum(red_s - self._set.walk_wait_s, 0.0), self._late_s
        )

    def _allowed(self, local, state, signals) -> NDArray[np.uint8]:
        """Where a stream is overdue only the stages that serve the most of it are allowed."""
        network, streams = self._network, self._streams
        allowed = np.ones(network.stages, dtype=np.uint8)
        late = np.maximum.reduceat(self._late_s, streams.stream_ptr[:-1])
        for junction in np.flatnonzero(late > 0.0).tolist():
            first, last = streams.stream_ptr[junction : junction + 2]
            a, b = network.junction_stage_ptr[junction : junction + 2]
            block = slice(streams.rate_ptr[junction], streams.rate_ptr[junction] + (b - a) * (last - first))
            rate = (self._rates.rate[block] * self._rates.pass_share[block] ** 2).reshape(b - a, -1)
            value = np.where(rate >= 0.2, self._late_s[first:last], 0.0).sum(axis=1)
            allowed[a:b] = value >= value.max() - 1e-6
        return allowed
