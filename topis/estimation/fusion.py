"""Sensors and probes together to a `StreetState`: queues, flows, travel times, turn shares.

Each has a variance, so that what is known badly is seen to be. Queues are those of
`topis._core.queue_filter`; a probe that comes to a stop tells where the back of a queue is, one
that drives freely where it is not, each with one vote per link and 30 s. Travel times are distance
driven over time of all probes on a link (Edie 1963), together with what queue and flow say by
Little's law.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from topis._core.queue_filter import QueueFilter
from topis.estimation.estimator import Estimator
from topis.estimation.greens import Greens
from topis.estimation.probe_memory import Heard, ProbeMemory
from topis.estimation.reach import find_reach
from topis.model.network import Network
from topis.model.observation import Observation
from topis.model.state import StreetState, TrafficState
from topis.units import BASE_SAT_FLOW_VPS, JAM_SPACING_M, MS_PER_S

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]

#: Standard deviation of saturation flow between lanes, before any was measured (HCM 6th ed., ch.
#: 19: adjustments of 0.8 to 1.0 are common).
SAT_SD_VPS = 0.08
#: Over so long speeds and queues are averaged: some cycles (s).
AVERAGE_S = 300.0
#: Counts are kept in slots of 30 s, for five minutes.
SLOT_MS, SLOTS = 30_000, 10
#: From this on a count says something (s).
LEAST_COUNT_S = 20.0
#: Standard deviations: of a vehicle's speed on a link with a signal, as a share of the mean; of
#: travel time by queue and flow; of what is believed without anything.
SPEED_CV, MODEL_CV, BLIND_CV = 0.6, 0.3, 0.6
#: Time lost over time stopped: braking and pulling away count as well (HCM 1985, ch. 9).
DELAY_OVER_STOPPED = 1.3
#: A queue gets away at this share of what the shipped green carries, at least.
LEAST_USE = 0.04
#: Position of a probe's vote: error of position, and of which lane it is in (veh).
PLACE_SD_VEH, LANE_SD_SHARE = 1.5, 0.35
#: From this share of free speed on, a probe drives freely.
FREE_SHARE = 0.6
#: Prior turn shares count as much as so many probes.
PRIOR_TURNS = 20.0
#: Who has to give way at green starts so much as often.
GIVES_WAY = 0.4
#: Probes are forgotten over this in turn shares (s): an hour's turns are like the next's.
TURNS_S = 3600.0
_LEAST_VPS = 1e-3


class Fusion:
    """Beside an `Estimator`, whose evidence it reads after each of its updates."""

    def __init__(self, network: Network, estimator: Estimator, probe_period_s: float) -> None:
        self._network, self._evidence = network, estimator.evidence
        self._period_s = probe_period_s
        count = len(network.approach_lanes)
        length_m = network.lane_length_m[network.approach_lanes]
        self._room_veh = (length_m / JAM_SPACING_M + self._evidence.most_beyond_veh).astype(
            np.float32
        )
        self._queue, self._age_s = np.zeros(count, np.float32), np.zeros(count, np.float32)
        self._var = np.full(count, 4.0, np.float32)
        self._sat = np.full(count, BASE_SAT_FLOW_VPS, np.float32)
        self._sat_var = np.full(count, SAT_SD_VPS**2, np.float32)
        self._filter = QueueFilter(
            seen_by=self._evidence.seen_by,
            between_veh=self._evidence.between_veh,
            view_veh=self._evidence.view_veh,
            most_veh=self._room_veh,
            queue_veh=self._queue,
            queue_var=self._var,
            age_s=self._age_s,
            sat_flow_vps=self._sat,
            sat_var=self._sat_var,
            **{
                name: np.zeros(count, np.float32)
                for name in ("green_s", "stood_veh", "passed_veh", "passed_s", "idle_s")
            },
        )
        self._greens = Greens(network)
        least = LEAST_USE * BASE_SAT_FLOW_VPS * network.lane_green_share[network.approach_lanes]
        self._least_out_vps = np.maximum(
            np.bincount(network.lane_link[network.approach_lanes], least, minlength=network.links),
            _LEAST_VPS,
        )
        self._reach = find_reach(network)
        self._memory = ProbeMemory()
        self._free_s = network.link_length_m / np.maximum(network.link_speed_mps, 1.0)
        # Sums over probes that fade: metres, seconds, vehicles; mean queue and flow.
        self._driven_m, self._driven_s, self._probes = (np.zeros(network.links) for _ in range(3))
        self._travel_age_s = np.full(network.links, np.inf)
        self._mean_queue = np.zeros(count)
        # Vehicles counted, and for how long somebody counted (s).
        self._counts, self._counted_s = np.zeros((SLOTS, count)), np.zeros((SLOTS, count))
        self._slot = -1
        self._flow_age_s = np.full(count, np.inf)
        self._elapsed_s = 0.0
        self._usual_turns = PRIOR_TURNS * prior_turn_share(network)
        self._turns = self._usual_turns.copy()
        self._last_ms: int | None = None

    def update(
        self, observation: Observation, state: TrafficState, group_code: NDArray[np.uint8]
    ) -> None:
        """Take in a tick, after the estimator did: ``state`` is what it made of it.

        ``group_code`` uint8[groups]: the lamps while the readings were taken.
        """
        now_ms = observation.time_ms
        dt_s = 0.0 if self._last_ms is None else (now_ms - self._last_ms) / MS_PER_S
        self._last_ms = now_ms
        seen = self._evidence
        # Where nobody looks, what upstream signals have sent, without the margin for doubt.
        likely = seen.likely_vps / np.maximum(seen.flow_vps, _LEAST_VPS)
        come_vps = np.where(seen.seen_by == 0, state.arrival_vps[:, 0] * likely, seen.flow_vps)
        self._filter.update(
            self._greens.best(group_code, GIVES_WAY),
            come_vps.astype(np.float32),
            (seen.queue_veh - seen.beyond_veh).astype(np.float32),
            seen.departed_veh,
            seen.covered_s,
            seen.clear_s,
            seen.flowing,
            dt_s,
        )
        self._average(now_ms, dt_s)
        heard = self._memory.hear(now_ms, observation.probes, self._network.lane_link)
        self._vote(heard, now_ms)
        self._drive(heard, dt_s)
        self._turn(heard, dt_s)

    def state(self) -> StreetState:
        """What is known now."""
        queue, var = self._queue, self._var
        flow, flow_var = self._flow()
        travel_s, travel_var = self._travel(flow)
        reach = (self._room_veh - queue) / np.sqrt(var)
        spilled = np.array([0.5 * math.erfc(x / math.sqrt(2.0)) for x in reach.tolist()])
        share, share_var = self._turn_shares()
        assert self._last_ms is not None
        return StreetState(
            time_ms=self._last_ms,
            queue_veh=queue.copy(),
            queue_var=var.copy(),
            queue_age_s=self._age_s.copy(),
            flow_vps=flow.astype(np.float32),
            flow_var=flow_var.astype(np.float32),
            flow_age_s=self._flow_age_s.astype(np.float32),
            sat_flow_vps=self._sat.copy(),
            sat_flow_var=self._sat_var.copy(),
            spillback=spilled.astype(np.float32),
            travel_s=travel_s.astype(np.float32),
            travel_var=travel_var.astype(np.float32),
            travel_age_s=self._travel_age_s.astype(np.float32),
            turn_share=share.astype(np.float32),
            turn_share_var=share_var.astype(np.float32),
        )

    def _average(self, now_ms: int, dt_s: float) -> None:
        self._elapsed_s += dt_s
        gain = min(dt_s / min(max(self._elapsed_s, 30.0), AVERAGE_S), 1.0)
        self._mean_queue += gain * (self._queue - self._mean_queue)
        seen = self._evidence.seen_by != 0
        self._flow_age_s = np.where(seen, 0.0, self._flow_age_s + dt_s)
        # A slot holds what came until its end, that moment included.
        slot = (now_ms - 1) // SLOT_MS
        if slot != self._slot:
            self._slot = slot
            for slots in (self._counts, self._counted_s):
                slots[1:] = slots[:-1].copy()
                slots[0] = 0.0
        # What an unseen lane is believed to send is no count.
        counted = self._evidence.departed_veh * self._evidence.count_share
        self._counts[0] += np.where(seen, counted, 0.0)
        self._counted_s[0] += np.where(seen, dt_s, 0.0)

    def _flow(self) -> tuple[F8, F8]:
        """Flow over each stop line (veh/s) in the last five minutes, and its variance."""
        span_s = self._counted_s.sum(axis=0)
        # Who has come back tells nothing yet.
        seen = (self._evidence.seen_by != 0) & (span_s >= LEAST_COUNT_S)
        span_s = np.maximum(span_s, SLOT_MS / MS_PER_S)
        counted = self._counts.sum(axis=0) / span_s
        likely = self._evidence.likely_vps.astype(np.float64)
        # A count is sure but for who was missed; where nobody counts, as wide as streets differ.
        return (
            np.where(seen, counted, likely),
            np.where(seen, np.maximum(0.1 * counted, 1.0 / span_s) ** 2, (0.6 * likely) ** 2),
        )

    def _vote(self, heard: Heard, now_ms: int) -> None:
        """Where the backs of queues are, by those who stopped, and are not, by those who drive."""
        reach, network = self._reach, self._network
        reports = heard.reports
        free = reports.speed_mps > FREE_SHARE * network.link_speed_mps[heard.link]
        newly = heard.stands & (heard.link_before != heard.link)
        back = (heard.stopped | newly) & heard.may_tell_back & ~heard.parked
        free &= heard.may_tell_free & ~back
        if not (back | free).any():
            return
        self._memory.voted(heard, back, free, now_ms)
        which = np.flatnonzero(back | free)
        lane = reports.lane[which]
        link = heard.link[which]
        # Which lane it is in is not known: it tells of all that its link leads to.
        first, last = network.link_lane_ptr[link], network.link_lane_ptr[link + 1]
        lanes = last - first
        who = np.repeat(np.arange(len(which)), lanes)
        every = first[who] + np.arange(len(who)) - np.repeat(np.cumsum(lanes) - lanes, lanes)
        count = reach.ptr[every + 1] - reach.ptr[every]
        who = np.repeat(who, count)
        cell = np.repeat(reach.ptr[every], count) + (
            np.arange(len(who)) - np.repeat(np.cumsum(count) - count, count)
        )
        if not len(cell):
            return
        # A lane reached over several lanes of one link is told once.
        _, once = np.unique(np.stack([who, reach.number[cell]]), axis=1, return_index=True)
        who, cell = who[once], cell[once]
        left_m = network.lane_length_m[lane] - reports.offset_m[which]
        ahead = (left_m[who] + reach.beyond_m[cell]) / JAM_SPACING_M
        kind = np.where(heard.stopped[which], 0, np.where(free[which], -1, 1)).astype(np.int8)
        tail = np.where(kind[who] < 0, ahead, ahead + 1.0)
        spread = PLACE_SD_VEH**2 + np.where(lanes[who] > 1, (LANE_SD_SHARE * ahead + 1.0) ** 2, 0.0)
        self._filter.vote(
            reach.number[cell], tail.astype(np.float32), kind[who], spread.astype(np.float32)
        )

    def _drive(self, heard: Heard, dt_s: float) -> None:
        keep = math.exp(-dt_s / AVERAGE_S)
        for sums in (self._driven_m, self._driven_s, self._probes):
            sums *= keep
        self._travel_age_s += dt_s
        counts = ~heard.parked
        if not counts.any():
            return
        link = heard.link[counts]
        links = self._network.links
        speed = heard.reports.speed_mps[counts].astype(np.float64)
        self._driven_m += np.bincount(link, speed * self._period_s, minlength=links)
        self._driven_s += np.bincount(link, minlength=links) * self._period_s
        came = heard.link_before[counts] != link
        self._probes += np.bincount(link[came], minlength=links)
        self._travel_age_s[link] = 0.0

    def _travel(self, flow: F8) -> tuple[F8, F8]:
        """Travel time of each link by probes and by its queue, weighed by their variances."""
        network = self._network
        delay_s = np.zeros(network.links)
        queue, out = (
            np.bincount(network.lane_link[network.approach_lanes], values, minlength=network.links)
            for values in (self._mean_queue, flow)
        )
        signal = out > 0.0
        # Where hardly anyone comes, a queue still gets away by the next greens.
        stopped_s = queue[signal] / np.maximum(out, self._least_out_vps)[signal]
        delay_s[signal] = DELAY_OVER_STOPPED * stopped_s
        model_s = self._free_s + delay_s
        model_var = (np.where(signal, MODEL_CV, BLIND_CV) * model_s) ** 2
        told = (self._probes > 0.05) & (self._driven_s > 0.0)
        speed = self._driven_m / np.maximum(self._driven_s, 1e-9)
        probe_s = network.link_length_m / np.maximum(speed, 0.3)
        probe_var = (SPEED_CV * probe_s) ** 2 / np.maximum(self._probes, 0.05)
        weight = np.where(told, model_var / (model_var + probe_var), 0.0)
        return model_s + weight * (probe_s - model_s), (1.0 - weight) * model_var

    def _turn(self, heard: Heard, dt_s: float) -> None:
        network = self._network
        fade = math.exp(-dt_s / TURNS_S)
        self._turns = self._usual_turns * (1 - fade) + self._turns * fade
        turned = (heard.link_before >= 0) & (heard.link_before != heard.link)
        for before, after in zip(
            heard.link_before[turned].tolist(), heard.link[turned].tolist(), strict=True
        ):
            moves = slice(network.link_move_ptr[before], network.link_move_ptr[before + 1])
            self._turns[moves] += network.move_to_link[moves] == after

    def _turn_shares(self) -> tuple[F8, F8]:
        """Mean and variance of the Dirichlet distribution of each link's turns."""
        network = self._network
        total = np.bincount(network.move_from_link, self._turns, minlength=network.links)
        of_link = np.maximum(total[network.move_from_link], 1e-9)
        share = self._turns / of_link
        return share, share * (1.0 - share) / (of_link + 1.0)


def prior_turn_share(network: Network) -> F8:
    """Share of its link's traffic that each movement has before any is counted."""
    share = np.bincount(
        network.conn_move, network.conn_share, minlength=len(network.move_from_link)
    )
    total = np.bincount(network.move_from_link, share, minlength=network.links)
    return np.asarray(share / np.maximum(total[network.move_from_link], 1e-9))
