"""Made-up traffic for `topis synth`: every vehicle's way through the streets of a network.

Vehicles come in at the edges of the network, by the hours of a working day, turn as the network's
prior shares say, and queue at the signals of the shipped programs (`topis._core.street_queues`).
What sensors of all feeds tell is read off the same passages, so they agree with one another and
with the truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis._core.street_queues import StreetQueues
from topis.errors import InputError
from topis.ingest.program_lamps import green_table
from topis.ingest.street_arrays import (
    QueueState,
    passage_arrays,
    storage_veh,
    street_arrays,
)
from topis.model.lamp import PERMISSIVE, PRIORITY
from topis.model.network import NOT_MOTOR, TURNAROUND, Network
from topis.units import BASE_SAT_FLOW_VPS, JAM_SPACING_M, S_PER_H

#: Share of a working day's traffic in each hour: two peaks, a long afternoon, a quiet night.
HOURLY = np.array(
    [1.6, 1.0, 0.7, 0.6, 0.9, 1.8, 3.8, 5.6, 6.2, 5.4, 4.9, 4.8,
     4.8, 4.9, 5.1, 5.4, 5.8, 6.3, 6.6, 5.8, 5.0, 4.5, 3.9, 2.8]
)  # fmt: skip
#: In the busiest hour one approach lane in ten is asked for more than this share of what its
#: green carries.
PEAK_SATURATION, PEAK_QUANTILE = 0.8, 0.9
#: No approach lane is asked for more than this share: its queue would fill the streets.
MOST_SATURATION = 1.3
#: Share of a permissive green that finds a gap, as far as the demand is set by it.
PERMISSIVE_USE = 0.35
#: A source lane brings no more than this, however much green there is (veh/h).
MOST_SOURCE_VPH = 700.0
#: Who is held up for no longer has not stood.
STOOD_S = 0.5
#: How fast queues move up.
QUEUE_MPS = 8.0
STARTUP_S, CROSSING_S, GAP_S = 1.5, 2.0, 4.0
#: First of a lane for so long (a cycle), a driver turns off where the road ahead is full.
PATIENCE_S = 120.0
#: The slowest driver needs so much longer on a free road than the fastest.
SLOWEST = 0.15
#: A lane that lets vehicles go this much at once writes no more passages a second.
_MOST_PER_LANE_S = 0.6
_STEP_S = 60
_DAY_S = 86_400


@dataclass(frozen=True)
class Passages:
    """What left lanes in a time: arrays [passages], in order of departure.

    ``lane``; ``conn`` it went on by (-1: out of the network); ``vehicle``; ``enter_s``, when it
    came onto the lane; ``arrive_s`` when it would have passed its end unhindered, ``depart_s``
    when it did (seconds of the day); ``queue_m``: how far before the end it stood (0: it did not
    stand); ``free_mps``: how fast it drove where nothing stood in its way.
    """

    lane: NDArray[np.int32]
    conn: NDArray[np.int32]
    vehicle: NDArray[np.int64]
    enter_s: NDArray[np.float64]
    arrive_s: NDArray[np.float64]
    depart_s: NDArray[np.float64]
    queue_m: NDArray[np.float64]
    free_mps: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.lane)

    def take(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> Passages:
        """Some of them."""
        return Passages(*(values[which] for values in vars(self).values()))

    def stands_s(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(from, until) when each stood; equal where it did not."""
        from_s = self.arrive_s - self.queue_m / self.free_mps
        until_s = self.depart_s - self.queue_m / QUEUE_MPS
        return from_s, np.where(self.queue_m > 0.0, np.maximum(until_s, from_s), from_s)


class Traffic:
    """A day's traffic on a network, the same for the same seed, made as it is asked for.

    Raises
    ------
    InputError
        Nothing leads into the network.
    """

    def __init__(self, network: Network, seed: int, load: float = 1.0) -> None:
        self.network = network
        self.seed = seed
        self._source_lanes, self._source_vph = source_flows(network, load)
        if not len(self._source_lanes):
            raise InputError("nothing leads into this network; name one with open ends")
        self._born = 0
        self._waiting = _Entries.none()
        storage = storage_veh(network)
        ptr, offset_s, code = green_table(network)
        self._state = QueueState.empty(network, storage)
        #: Vehicles that have come onto each lane, and left it, int32[lanes].
        self.entered, self.gone = self._state.entered, self._state.gone
        self._queues = StreetQueues(
            **street_arrays(network, conn_chances(network), storage),
            **vars(self._state),
            conn_move=network.conn_move,
            code_ptr=ptr,
            offset_s=offset_s,
            code=code,
            headway_s=np.full(network.lanes, 1.0 / BASE_SAT_FLOW_VPS),
            startup_s=STARTUP_S,
            crossing_s=CROSSING_S,
            gap_s=GAP_S,
            patience_s=PATIENCE_S,
            slowest=SLOWEST,
        )
        self._out = passage_arrays(round(_MOST_PER_LANE_S * _STEP_S * network.lanes) + 1000)

    def drive(self, begin_s: int, end_s: int) -> Iterator[tuple[int, Passages]]:
        """Go on from ``begin_s`` to ``end_s``, both whole minutes; (end, passages) a minute."""
        for now_s in range(begin_s, end_s, _STEP_S):
            entries = self._entries(now_s)
            first = np.searchsorted(entries.lane, self._source_lanes)
            ptr = np.append(first, len(entries.lane)).astype(np.int32)
            come_in = ptr[:-1].copy()
            made = self._queues.run(
                now_s, _STEP_S, ptr, come_in, entries.lane, entries.at_s, entries.number,
                **self._out,
            )  # fmt: skip
            outside = np.arange(len(entries.lane)) >= np.repeat(come_in, np.diff(ptr))
            # Who finds no room for long goes elsewhere: queues outside would have no end.
            outside &= entries.at_s > now_s + _STEP_S - PATIENCE_S
            self._waiting = entries.take(outside)
            out = {k.removeprefix("out_"): v[:made].copy() for k, v in self._out.items()}
            order = np.lexsort((out["number"], out["depart_s"]))
            yield now_s + _STEP_S, self._passages(**out).take(order)

    def standing(self, now_s: float) -> Passages:
        """Who is still in a queue, as if it left now."""
        state = self._state
        under_way = state.under_way(self._queues.free_places)
        # Nobody stands before the way out of the network.
        stands = under_way & (state.conn >= 0) & (state.arrive_s < now_s - STOOD_S)
        lane = self.network.conn_from_lane[state.conn[stands]]
        return self._passages(
            lane,
            state.conn[stands],
            state.ahead[stands],
            np.full(len(lane), -1, np.int64),
            state.enter_s[stands],
            state.arrive_s[stands],
            np.full(len(lane), now_s),
        )

    def _passages(
        self,
        lane: NDArray[np.int32],
        conn: NDArray[np.int32],
        ahead: NDArray[np.int32],
        number: NDArray[np.int64],
        enter_s: NDArray[np.float64],
        arrive_s: NDArray[np.float64],
        depart_s: NDArray[np.float64],
    ) -> Passages:
        # Who waits at the line is the first of the queue: it stands a metre before it.
        queue_m = np.where(depart_s > arrive_s + STOOD_S, JAM_SPACING_M * ahead + 1.0, 0.0)
        length_m = self.network.lane_length_m[lane].astype(np.float64)
        return Passages(
            lane, conn, number, enter_s, arrive_s, depart_s, np.minimum(queue_m, length_m),
            length_m / np.maximum(arrive_s - enter_s, 0.1),
        )  # fmt: skip

    def _entries(self, begin_s: int) -> _Entries:
        """Who comes in from outside in a minute, and who found no room before."""
        # Warming up may begin the day before; seeds are not negative.
        rng = np.random.default_rng([self.seed, 2, (begin_s + _DAY_S) // _STEP_S])
        hour = HOURLY[int(begin_s // S_PER_H) % 24] / HOURLY.max()
        counts = rng.poisson(self._source_vph * hour * _STEP_S / S_PER_H)
        lane = np.repeat(self._source_lanes, counts)
        number = self._born + np.arange(len(lane), dtype=np.int64)
        self._born += len(lane)
        fresh = _Entries(lane, begin_s + _STEP_S * rng.random(len(lane)), number)
        both = _Entries(
            *(
                np.concatenate(pair)
                for pair in zip(vars(self._waiting).values(), vars(fresh).values(), strict=True)
            )
        )
        return both.take(np.lexsort((both.at_s, both.lane)))


@dataclass(frozen=True)
class _Entries:
    """Who comes in from outside, by lane, then time: arrays [entries]."""

    lane: NDArray[np.int32]
    at_s: NDArray[np.float64]
    number: NDArray[np.int64]

    @classmethod
    def none(cls) -> _Entries:
        return cls(np.zeros(0, np.int32), np.zeros(0), np.zeros(0, np.int64))

    def take(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> _Entries:
        return _Entries(self.lane[which], self.at_s[which], self.number[which])


def conn_chances(network: Network) -> NDArray[np.float64]:
    """Chance that who comes onto a link leaves it by each connection, float64[connections]."""
    share = network.conn_share.astype(np.float64)
    share = np.where(network.lane_use[network.conn_to_lane] == NOT_MOTOR, 0.0, share)
    share = np.where(network.lane_use[network.conn_from_lane] == NOT_MOTOR, 0.0, share)
    share = np.where(_dead_ends(network)[network.conn_move], 0.0, share)
    link = network.lane_link[network.conn_from_lane]
    total = np.bincount(link, share, minlength=network.links)
    return np.asarray(share / np.where(total > 0, total, 1.0)[link])


def _dead_ends(network: Network) -> NDArray[np.bool_]:
    """Movements that only turn round where the network ends: traffic goes out and in there."""
    back = network.move_turn == TURNAROUND
    onward = np.bincount(network.move_from_link, ~back, minlength=network.links)
    return np.asarray(back & (onward[network.move_from_link] <= 0.0))


def source_flows(network: Network, load: float) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Lanes at which traffic comes in, and how much in the busiest hour (veh/h).

    As much as leaves the busier approaches just unsaturated, in proportion to lanes.
    """
    into = np.bincount(network.move_to_link[~_dead_ends(network)], minlength=network.links)
    motor = network.lane_use != NOT_MOTOR
    out = np.diff(network.lane_conn_ptr) > 0
    lanes = np.flatnonzero(motor & out & (into[network.lane_link] == 0)).astype(np.int32)
    source = np.bincount(network.lane_link[lanes], minlength=network.links).astype(np.float64)
    chance = conn_chances(network)
    from_link = network.lane_link[network.conn_from_lane]
    to_link = network.lane_link[network.conn_to_lane]
    flow = source.copy()
    for _ in range(2000):
        onward = source + np.bincount(to_link, flow[from_link] * chance, minlength=network.links)
        done = np.abs(onward - flow).max(initial=0.0) < 1e-6 * max(flow.max(initial=0.0), 1e-9)
        flow = onward
        if done:
            break
    on_lane = np.bincount(network.conn_from_lane, flow[from_link] * chance, minlength=network.lanes)
    green = np.bincount(
        network.conn_from_lane,
        flow[from_link] * chance * _green_share(network),
        minlength=network.lanes,
    )
    approach = network.approach_lanes[on_lane[network.approach_lanes] > 0]
    carried = BASE_SAT_FLOW_VPS * S_PER_H * green[approach] / on_lane[approach]
    busy = on_lane[approach] / np.maximum(carried, 1e-9)
    most_vph = MOST_SOURCE_VPH
    if len(busy):
        usual_vph = PEAK_SATURATION / float(np.quantile(busy, PEAK_QUANTILE))
        most_vph = min(most_vph, usual_vph, MOST_SATURATION / float(busy.max()))
    return lanes, np.full(len(lanes), load * most_vph)


def _green_share(network: Network) -> NDArray[np.float64]:
    """Share of time each connection can use, float64[connections]; permissive green partly."""
    ptr, _, code = green_table(network)
    use = np.where(code == PRIORITY, 1.0, np.where(code == PERMISSIVE, PERMISSIVE_USE, 0.0))
    total = np.concatenate(([0.0], np.cumsum(use)))
    of_group = (total[ptr[1:]] - total[ptr[:-1]]) / np.maximum(np.diff(ptr), 1)
    share = np.append(of_group, 1.0)[network.conn_group]
    return np.asarray(np.maximum(share, 0.02))
