"""Fixed-time control re-timed from counts: the good practice of a traffic engineer.

Every few minutes the flows that the sensors counted in the last quarter of an hour
give, for each group of coupled junctions, the common cycle of least HCM delay, greens of
least delay in it (Webster 1958; HCM 6th ed., ch. 19) and offsets for the platoons between
them. Until the first counts are in, the shipped programs run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.config import setting
from topis.control.coordination import (
    BIN_S,
    Feeds,
    best_offsets,
    coupled_groups,
    find_feeds,
    platoon_delay,
)
from topis.control.plans import PlanFollower
from topis.control.service import Service, permissive_rates, service_table, stage_order
from topis.control.splits import Splits
from topis.control.timing import Timing, feeds_within
from topis.model.command import LOCAL, Commands, SignalPlan
from topis.model.network import Network
from topis.model.state import SignalState, TrafficState, zero_if_unknown
from topis.units import BASE_SAT_FLOW_VPS, MS_PER_S, to_ms

_INFEASIBLE = 1e29
#: The shipped splits are knowledge too: they say which lanes are busy. They count as
#: `prior_s` of watching a flow of this degree of saturation.
PRIOR_SATURATION = 0.5


@dataclass(frozen=True)
class WebsterSettings:
    """How often to re-time, and the cycles to choose from."""

    first_s: float = setting(600.0, 60, 3600, "first re-timing after the start")
    period_s: float = setting(300.0, 60, 86400, "time between re-timings")
    average_s: float = setting(900.0, 60, 86400, "counts are averaged over this time")
    prior_s: float = setting(900.0, 0, 86400, "what the shipped splits count for")
    min_cycle_s: float = setting(40.0, 20, 200, "shortest cycle")
    max_cycle_s: float = setting(120.0, 40, 300, "longest cycle, if the shipped is not longer")
    step_s: float = setting(5.0, 1, 30, "step between cycles tried")
    worth_share: float = setting(0.03, 0, 0.5, "a new plan must save this share of the delay")


class Webster:
    """Common cycle, splits and offsets from detector counts."""

    name = "webster"

    def __init__(self, network: Network, settings: WebsterSettings | None = None) -> None:
        self._network = network
        self._set = settings or WebsterSettings()
        self._feeds: Feeds = find_feeds(network)
        self._group = coupled_groups(network, self._feeds)
        self._order = [stage_order(network, j) for j in range(network.junctions)]
        self._timing = Timing(network, self._order)
        self._splits = Splits(self._timing)
        self._prior_vps = PRIOR_SATURATION * BASE_SAT_FLOW_VPS * network.lane_green_share
        self._feeds_of = feeds_within(network, self._feeds, self._group)
        self._follower: PlanFollower | None = None
        self._now_cycle_s: NDArray[np.float64] | None = None
        self._now_green_s: NDArray[np.float64] | None = None
        self._mean_flow = np.zeros(network.lanes)
        self._mean_queue = np.zeros(network.lanes)
        self._watched_s = 0.0
        self._last_ms: int | None = None
        self._next_ms: int | None = None
        self.plans: list[SignalPlan] = []

    def decide(self, state: TrafficState, signals: SignalState) -> Commands:
        """See `topis.control.protocol.Controller`."""
        if self._next_ms is None:
            self._next_ms = state.time_ms + to_ms(self._set.first_s)
        self._watch(state)
        if state.time_ms >= self._next_ms:
            self._next_ms = state.time_ms + to_ms(self._set.period_s)
            self._retime()
        stage = np.full(self._network.junctions, LOCAL, dtype=np.int32)
        if self._follower is not None:
            stage[self._follower.junction] = self._follower.stages(state.time_ms)
        return Commands(state.time_ms, stage)

    # ---- re-timing ----

    def _watch(self, state: TrafficState) -> None:
        """Mean flow and queue of each lane over the last quarter of an hour."""
        if self._last_ms is not None:
            dt_s = (state.time_ms - self._last_ms) / MS_PER_S
            self._watched_s = min(self._watched_s + dt_s, self._set.average_s)
            gain = dt_s / self._watched_s
            self._mean_flow += gain * (zero_if_unknown(state.flow_vps) - self._mean_flow)
            self._mean_queue += gain * (zero_if_unknown(state.queue_veh) - self._mean_queue)
        self._last_ms = state.time_ms

    def _demand_vps(self) -> NDArray[np.float32]:
        """Flow to be served: what arrives, and what stands beyond a red time's worth.

        A count of n vehicles is known to about its square root; greens are made for one
        such standard deviation more, or a quiet lane that wakes up is starved.
        """
        prior = self._set.prior_s / (self._set.prior_s + self._watched_s)
        flow = (1.0 - prior) * np.maximum(self._mean_flow, 0.0) + prior * self._prior_vps
        cycle_s = 90.0 if self._now_cycle_s is None else float(self._now_cycle_s.mean())
        left_over = np.maximum(self._mean_queue - flow * cycle_s / 2.0, 0.0)
        margin = np.sqrt(flow / max(self._watched_s, 60.0))
        return (flow + margin + left_over / self._set.period_s).astype(np.float32)

    def _retime(self) -> None:
        if not self._network.junctions:
            return
        flow = self._demand_vps()
        rates = permissive_rates(self._network, flow)
        service = service_table(self._network, rates)
        cycles = self._cycles()
        tried = [self._split(np.full(self._network.junctions, c), flow, service) for c in cycles]
        groups = int(self._group.max(initial=-1)) + 1
        cost = np.array([np.bincount(self._group, delay, minlength=groups) for _, delay in tried])
        choice = np.argmin(cost, axis=0)
        cycle_s = cycles[choice][self._group]
        green_s, delay = self._split(cycle_s, flow, service)
        feasible = delay < _INFEASIBLE
        if self._keeps(flow, service, delay, feasible):
            return
        self._now_cycle_s, self._now_green_s = cycle_s, green_s
        self._make_plans(cycle_s, green_s, feasible, flow)

    def _cycles(self) -> NDArray[np.float64]:
        network, longest = self._network, self._set.max_cycle_s
        shipped = network.program_cycle_ms[network.junction_program] / MS_PER_S
        least = float(self._splits.least_cycle_s.max(initial=0))
        longest = max(longest, float(shipped.max(initial=0)), least + 5.0)
        return np.arange(self._set.min_cycle_s, longest + self._set.step_s, self._set.step_s)

    def _split(
        self, cycle_s: NDArray[np.float64], flow: NDArray[np.float32], service: Service
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self._splits.greens(cycle_s, flow, service, step_s=1.0)

    def _keeps(
        self,
        flow: NDArray[np.float32],
        service: Service,
        delay: NDArray[np.float64],
        feasible: NDArray[np.bool_],
    ) -> bool:
        """Whether the running plan is still so good that changing it is not worth it."""
        if self._now_cycle_s is None or self._now_green_s is None:
            return False
        now_delay = self._splits.delay_of(self._now_green_s, self._now_cycle_s, flow, service)
        now, new = float(now_delay[feasible].sum()), float(delay[feasible].sum())
        return new > now * (1.0 - self._set.worth_share)

    def _make_plans(
        self,
        cycle_s: NDArray[np.float64],
        green_s: NDArray[np.float64],
        feasible: NDArray[np.bool_],
        flow: NDArray[np.float32],
    ) -> None:
        offsets_ms = self._offsets_ms(cycle_s, green_s, flow)
        plans = []
        for junction in np.flatnonzero(feasible).tolist():
            order = self._order[junction]
            steps_s = self._timing.steps_s(junction, green_s[order])
            split_ms = np.array([to_ms(step) for step in steps_s], dtype=np.int32)
            plans.append(
                SignalPlan(
                    junction=junction,
                    cycle_ms=int(split_ms.sum()),
                    offset_ms=int(offsets_ms[junction]),
                    stage=order,
                    split_ms=split_ms,
                    reason=f"least HCM delay at {cycle_s[junction]:g} s",
                )
            )
        self.plans = plans
        self._follower = PlanFollower(plans)

    # ---- offsets ----

    def _offsets_ms(
        self,
        cycle_s: NDArray[np.float64],
        green_s: NDArray[np.float64],
        flow: NDArray[np.float32],
    ) -> NDArray[np.int64]:
        network = self._network
        offset_ms = np.zeros(network.junctions, dtype=np.int64)
        windows = {
            j: self._timing.green_bins(j, cycle_s[j], green_s[order])
            for j, order in enumerate(self._order)
        }
        for group in range(int(self._group.max(initial=-1)) + 1):
            members = np.flatnonzero(self._group == group)
            if len(members) < 2:
                continue
            number = {int(j): k for k, j in enumerate(members)}
            bins = max(1, round(float(cycle_s[members[0]]) / BIN_S))
            pairs = [
                (number[up], number[down], table)
                for up, down, table in self._tables(group, windows, flow, bins)
            ]
            offset_ms[members] = to_ms(BIN_S) * best_offsets(len(members), pairs, bins)
        return offset_ms

    def _tables(
        self,
        group: int,
        windows: dict[int, NDArray[np.int32]],
        flow: NDArray[np.float32],
        bins: int,
    ) -> list[tuple[int, int, NDArray[np.float64]]]:
        network, feeds, timing = self._network, self._feeds, self._timing
        tables = []
        for k in self._feeds_of[group]:
            move, link, travel_s = feeds.move[k], feeds.link[k], feeds.travel_s[k]
            up = int(network.move_junction[move])
            down = int(network.link_junction[link])
            conns = timing.conns_of(int(move))
            vps = float((flow[network.conn_from_lane[conns]] * network.conn_share[conns]).sum())
            leaving = timing.conn_green(up, windows[up], conns)
            if vps <= 0.0 or not leaving.any():
                continue
            cycle_s = bins * BIN_S
            departures = vps * cycle_s * leaving / leaving.sum()
            lanes = np.arange(network.link_lane_ptr[link], network.link_lane_ptr[link + 1])
            ahead = np.arange(*network.lane_conn_ptr[[lanes[0], lanes[-1] + 1]])
            ahead = ahead[network.conn_group[ahead] >= 0]
            served = timing.conn_green(down, windows[down], ahead) * len(lanes)
            tables.append(
                (
                    up,
                    down,
                    platoon_delay(departures, served * BASE_SAT_FLOW_VPS * BIN_S, travel_s / BIN_S),
                )
            )
        return tables
