"""Adaptive control: a rolling-horizon search at every junction, in the frame of a policy.

Level 1 (`topis._core.rollout`), every second: each junction plays out its choices over the
next minute or two, on its queues, the arrivals that are seen or told by its neighbours, and the
room behind its stop lines, and makes the first move of the best. Level 2, every few minutes: each
sub-area either chooses freely or keeps to its plan, whichever is appraised to cost less.
docs/control.md explains both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis._core.arrivals import add_planned, waits_ahead
from topis._core.rollout import RolloutSearch
from topis.config import setting
from topis.control.actuated import Actuated
from topis.control.frame import Frame, ShippedFrame
from topis.control.held import HeldTurns
from topis.control.horizon import shortest_round_s
from topis.control.protocol import EXACT, Measure, Reasons, Why
from topis.control.streams import (
    ENDLESS_VEH,
    RoadsBehind,
    compile_streams,
    stream_rates,
)
from topis.control.waiting import Waiting
from topis.control.weights import QueueWeights
from topis.model.command import Commands
from topis.model.feeds import find_lane_feeds
from topis.model.lamp import RED
from topis.model.network import Network
from topis.model.state import HORIZON_S, SignalState, TrafficState, zero_if_unknown
from topis.units import MS_PER_S

#: A blocked lane is never quite given up: that it flows again shows only at green.
LEAST_FLOWING = 0.05
#: The wait at the next signal counts in full where so many stand there already (vehicles):
#: whom it holds up for a red alone may as well wait there.
CROWD_VEH = 6.0
#: Estimates of less confidence are guesses.
LEAST_CONFIDENCE = 0.5
_LONG_AGO_S = -(10**6)


@dataclass(frozen=True)
class AdaptiveSettings:
    """One set everywhere; docs/control.md tells how they were chosen."""

    interval_s: float = setting(1.0, 1, 30, "time between two decisions at a junction")
    horizon_s: float = setting(60.0, 20, 180, "how far ahead each choice is played out, at least")
    cycles: float = setting(1.5, 0, 3, "and at least so many shortest rounds of the junction")
    fade_s: float = setting(
        25.0, 5, 10000, "time in which the weight of later cost fades, at the least horizon"
    )
    stop_s: float = setting(3.0, 0, 60, "what one stop costs, in seconds of delay")
    neighbours: float = setting(1.0, 0, 1, "1: what neighbours plan is known, 0: it is not")
    ahead_share: float = setting(0.7, 0, 2, "weight of the wait at the next signal")
    base_every_s: float = setting(4.0, 1, 30, "base policy: time between two choices")
    worth_s: float = setting(20.0, 2, 60, "base policy: a change is weighed over this time")
    startup_s: float = setting(1.0, 0, 5, "green lost as a queue starts")
    max_wait_s: float = setting(120.0, 30, 600, "a lane with a queue is served after this wait")
    walk_wait_s: float = setting(100.0, 30, 600, "a crossing is served after this wait")
    walkers_per_min: float = setting(1.0, 0, 300, "walkers assumed at each crossing")
    bus_lane_weight: float = setting(10.0, 1, 100, "what a vehicle on a bus lane counts for")
    spill: float = setting(1.0, 0, 20, "what more a queue counts that fills its lane")
    pocket: float = setting(16.0, 0, 100, "and one that fills a lane short of its road's begin")
    full_share: float = setting(0.9, 0, 1, "a road filled beyond this takes no more")
    plan_weight: float = setting(
        100.0, 0, 1e6, "planned policy: cost of a second off the plan (vehicle-seconds)"
    )
    free: float = setting(-1.0, -1, 1, "policy: 1 free, 0 planned, -1 by appraisal")
    threads: float = setting(1.0, 1, 64, "threads of the search; all find the same")


class Adaptive:
    """Rolling-horizon search, free or around the plan."""

    name = "adaptive"
    measure = Measure("predicted cost", "veh s", least=True)

    def __init__(
        self,
        network: Network,
        settings: AdaptiveSettings | None = None,
        frame: Frame | None = None,
    ) -> None:
        self._network = network
        self._set = s = settings or AdaptiveSettings()
        self._frame = frame or ShippedFrame(network)
        self._streams = streams = compile_streams(network, s.startup_s)
        rates = stream_rates(network, streams)
        self._is_lane = streams.lane >= 0
        self._is_walk = streams.walk >= 0
        self._lane = np.where(self._is_lane, streams.lane, 0)
        self._walk = np.where(self._is_walk, streams.walk, 0)
        self._low = network.junction_stage_ptr[:-1]
        self._held = HeldTurns(network, streams, rates)
        self._horizon_s = self._horizons()
        self._longest = int(self._horizon_s.max(initial=int(s.horizon_s)))
        # Where stages are long a choice shows its worth late.
        fade_s = s.fade_s * (self._horizon_s / s.horizon_s) ** 2
        self._feeds = find_lane_feeds(network)
        self._weights = QueueWeights(
            network, streams, self._feeds, s.bus_lane_weight, s.spill, s.pocket
        )
        self._search = RolloutSearch(
            stream_ptr=streams.stream_ptr,
            stage_ptr=network.junction_stage_ptr,
            rate_ptr=streams.rate_ptr,
            rate_of_ptr=streams.rate_of_ptr,
            wide=streams.wide,
            min_green_s=streams.min_green_s,
            hold_s=streams.hold_s,
            lost_s=streams.lost_s,
            decay=np.exp(-1.0 / fade_s).astype(np.float32),
            horizon_s=self._horizon_s,
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
            most_horizon_s=self._longest,
            base_every_s=int(s.base_every_s),
            ahead_share=s.ahead_share,
            stop_s=s.stop_s,
            worth_s=s.worth_s,
        )
        self._threads = int(s.threads)
        self._scratch = np.zeros((self._threads, self._search.scratch_size), dtype=np.float32)
        self._roads = RoadsBehind(network)
        self._by_gaps = Actuated(network)
        self._waiting = Waiting(network, streams, self._held, s.max_wait_s, s.walk_wait_s)
        # Rows of arrivals are approach lanes in the network's order.
        number = np.full(network.lanes, -1, dtype=np.int32)
        number[network.approach_lanes] = np.arange(len(network.approach_lanes))
        self._arrival_of = np.where(self._is_lane, number[self._lane], -1).astype(np.int32)
        stream_of = np.full(network.lanes, -1, dtype=np.int32)
        stream_of[self._lane[self._is_lane]] = np.flatnonzero(self._is_lane)
        self._stream_of = stream_of[network.approach_lanes]
        self._junction_of = streams.junction[np.maximum(self._stream_of, 0)]
        self._arrival_vps = np.zeros((len(network.approach_lanes), self._longest), np.float32)
        # Local number of the stage planned, of junctions that keep to a plan.
        self._plan_ahead = np.zeros((network.junctions, self._longest), dtype=np.int16)
        shape = (len(streams), self._longest)
        self._planned_vps, self._wait_s, self._ahead_s = (
            np.zeros(shape, dtype=np.float32) for _ in range(3)
        )
        self._told_s = np.full(len(streams), _LONG_AGO_S, dtype=np.int64)
        self._stream_horizon_s = self._horizon_s[streams.junction]
        self._choice = np.zeros(network.junctions, dtype=np.int32)
        self._cost, self._keep_cost = (np.zeros(network.junctions, np.float32) for _ in range(2))
        self._target = np.full(network.junctions, -1, dtype=np.int32)
        self._stage_cost = np.full(network.stages, np.nan, dtype=np.float32)
        self._stage_bound = np.full(network.stages, EXACT, dtype=np.uint8)
        self._next_stage, self._extend_s = (
            np.full(network.junctions, -1, dtype=np.int32) for _ in range(2)
        )
        self._allowed = np.ones(network.stages, dtype=np.uint8)
        # What held of each junction at the last decision, for its reasons.
        self._steady, self._ripe, self._due, self._unseen, self._planned = (
            np.zeros(network.junctions, dtype=bool) for _ in range(5)
        )

    @property
    def notes(self) -> list[tuple[int, str]]:
        """(time in ms, what was decided on the policy and why)."""
        return self._frame.notes

    def decide(self, state: TrafficState, signals: SignalState) -> Commands:
        """See `topis.control.protocol.Controller`."""
        shown = np.where(signals.stage >= 0, signals.stage, self._low)
        local = (shown - self._low).astype(np.int32)
        green_s = ((state.time_ms - signals.since_ms) // MS_PER_S).astype(np.int32)
        steady = (signals.coming < 0) & (signals.stage >= 0)
        self._held.update(state, local, green_s, steady)
        self._waiting.update(state, signals, local)
        self._frame.update(state, signals)
        least_s = self._streams.min_green_s[shown]
        ripe = steady & (green_s >= least_s)
        by_plan = self._frame.by_plan
        blind = self._blind(state)
        # Who goes by gaps or by plan tells its neighbours nothing of a search's plans.
        due = ripe & ~by_plan & ~blind & ((green_s - least_s) % int(self._set.interval_s) == 0)
        self._target = np.where(signals.coming >= 0, signals.coming, self._target)
        self._target = np.where(self._target < 0, shown, self._target)
        which = np.flatnonzero(due).astype(np.int32)
        # Also where nobody decides: pockets fill meanwhile, and that is watched.
        self._decide(which, local, green_s, state, signals)
        self._target[which] = self._low[which] + self._choice[which]
        self._steady, self._ripe, self._due, self._unseen = steady, ripe, due, blind
        if blind.any():
            # A search on guessed queues starves whom it does not see; gap-out does not.
            by_gaps = self._by_gaps.decide(state, signals).stage
            self._target = np.where(blind & ~by_plan, by_gaps, self._target)
        follow = np.flatnonzero(by_plan & ripe)
        if len(follow):
            planned = self._frame.ahead(state.time_ms // MS_PER_S, 1, follow)[:, 0]
            self._target[follow] = self._low[follow] + planned
        return Commands(state.time_ms, self._target.astype(np.int32))

    def reasons(self) -> Reasons:
        """See `topis.control.protocol.Explains`."""
        network = self._network
        overdue = np.zeros(network.junctions, dtype=bool)
        overdue[network.stage_junction[self._allowed == 0]] = True
        why = np.select(
            [
                ~self._steady, self._frame.by_plan, self._unseen, ~self._ripe, ~self._due,
                overdue, self._planned,
            ],
            [
                Why.CHANGING, Why.BY_PLAN, Why.BY_GAPS, Why.MIN_GREEN, Why.NOT_DUE, Why.OVERDUE,
                Why.AROUND_PLAN,
            ],
            Why.LEAST_COST,
        )  # fmt: skip
        # What was meant before others took over is meant no more.
        meant = (self._next_stage >= 0) & ~self._unseen & ~self._frame.by_plan
        following = np.where(meant, self._low + self._next_stage, -1)
        return Reasons(
            why.astype(np.uint8), self._due, following.astype(np.int32),
            self._extend_s, self._stage_cost, self._stage_bound,
        )  # fmt: skip

    def _blind(self, state: TrafficState) -> NDArray[np.bool_]:
        """Junctions with approach lanes that no working sensor sees, bool[junctions]."""
        unseen = self._is_lane & (state.confidence[self._lane] < LEAST_CONFIDENCE)
        count = np.bincount(self._streams.junction[unseen], minlength=self._network.junctions)
        return np.asarray(count > 0)

    def _decide(
        self,
        which: NDArray[np.int32],
        local: NDArray[np.int32],
        green_s: NDArray[np.int32],
        state: TrafficState,
        signals: SignalState,
    ) -> None:
        streams, rates, lane = self._streams, self._held.rates, self._lane
        now_s = state.time_ms // MS_PER_S
        queue_veh = zero_if_unknown(np.minimum(state.queue_veh, state.vehicles_veh))
        arrival_vps = self._arrivals(which, state, queue_veh, now_s)
        walkers = np.where(self._is_walk, self._set.walkers_per_min / 60.0, 0.0)
        red_s = (state.time_ms - signals.group_since_ms[self._walk]) / MS_PER_S
        waiting = np.where(signals.group_code[self._walk] == RED, walkers * red_s, 0.0)
        flowing = np.maximum(state.flowing[lane], LEAST_FLOWING)
        # Who found no gap goes as others do where it need not give way.
        flowing[self._held.held] = 1.0
        cell = streams.cell_of(local)
        passing, served = rates.pass_share[cell], rates.rate[cell] > 0.0
        room, refill = self._frame.hold(*self._roads.room(state, self._set.full_share))
        self._planned = ~self._frame.free
        if self._set.free >= 0.0:
            self._planned = np.full(self._network.junctions, self._set.free < 0.5)
        kept = which[self._planned[which]]
        if len(kept):
            self._plan_ahead[kept] = self._frame.ahead(now_s, self._longest, kept)
        self._allowed = self._waiting.allowed()

        def floats(
            of_lanes: NDArray[np.floating], other: NDArray[np.floating] | float
        ) -> NDArray[np.float32]:
            return np.where(self._is_lane, of_lanes, other).astype(np.float32)

        self._search.decide(
            which,
            local,
            green_s,
            rates.rate,
            rates.rate_of,
            rates.pass_share,
            floats(streams.cap * flowing, streams.cap),
            self._weights.update(queue_veh, served, ~self._planned[streams.junction]),
            floats(queue_veh[lane], waiting),
            self._arrival_of,
            arrival_vps,
            walkers.astype(np.float32),
            # What stands at the front of a shared lane is known only by its shares.
            np.where(passing >= 1.0, 1.0, np.maximum(passing, 0.05)).astype(np.float32),
            floats(room[lane], ENDLESS_VEH),
            floats(refill[lane], ENDLESS_VEH),
            self._allowed,
            self._plan_ahead,
            np.where(self._planned, self._set.plan_weight, 0.0).astype(np.float32),
            self._scratch,
            self._threads,
            self._choice,
            self._cost,
            self._keep_cost,
            self._planned_vps,
            self._ahead_s,
            self._wait_s,
            self._stage_cost,
            self._stage_bound,
            self._extend_s,
            self._next_stage,
        )
        told = np.zeros(self._network.junctions, dtype=bool)
        told[which] = True
        self._told_s[told[streams.junction]] = now_s

    def _arrivals(
        self,
        which: NDArray[np.int32],
        state: TrafficState,
        queue_veh: NDArray[np.float32],
        now_s: int,
    ) -> NDArray[np.float32]:
        """Arrivals as seen, and as the junctions upstream plan them, float32[approach lanes, s].

        Made for the junctions of ``which`` as far as they look ahead; other values mean nothing.
        """
        feeds = self._feeds
        if self._set.neighbours < 0.5:
            return state.arrival_vps
        horizon_s = np.zeros_like(self._horizon_s)
        horizon_s[which] = self._horizon_s[which]
        asked_s = np.where(self._stream_of >= 0, horizon_s[self._junction_of], 0).astype(np.int32)
        waits_ahead(
            feeds.ptr,
            feeds.to,
            feeds.share,
            feeds.travel_s,
            now_s,
            self._told_s,
            self._stream_horizon_s,
            self._wait_s,
            self._stream_of,
            np.where(self._is_lane, np.minimum(queue_veh[self._lane] / CROWD_VEH, 1.0), 0.0).astype(
                np.float32
            ),
            asked_s,
            self._ahead_s,
        )
        flow_vps = zero_if_unknown(state.flow_vps)[self._network.approach_lanes]
        add_planned(
            feeds.ptr,
            feeds.to,
            feeds.share,
            feeds.travel_s,
            state.fed_scale,
            state.seen_s,
            flow_vps,
            now_s,
            self._told_s,
            self._stream_horizon_s,
            self._planned_vps,
            self._stream_of,
            asked_s,
            state.arrival_vps,
            self._arrival_vps,
        )
        return self._arrival_vps

    def _horizons(self) -> NDArray[np.int32]:
        """Long enough to see every stream of a junction served, int32[junctions]."""
        ptr, s = self._network.junction_stage_ptr, self._set
        round_s = shortest_round_s(ptr, self._streams, self._held.serves())
        most_s = np.clip(np.ceil(s.cycles * round_s), s.horizon_s, HORIZON_S)
        return np.asarray(most_s, dtype=np.int32)
