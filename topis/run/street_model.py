"""Streets as a model: vehicles queue at lamps that are handed in, sensors see what there is to see.

The queues are those of made-up days (`topis._core.street_queues`), a second at a time. Where a
vehicle is on its lane follows from its place in the queue: it drives freely until it meets who
stands or starts before it, and those start in a wave (Newell 2002, Transp. Res. B 36). So loops,
cameras and probes tell of the model what they would of a street, and the same estimator, controller
and guard can be put behind it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis._core.street_queues import StreetQueues
from topis.ingest.program_lamps import green_table
from topis.ingest.street_arrays import (
    QueueState,
    passage_arrays,
    storage_veh,
    street_arrays,
)
from topis.ingest.synth_traffic import CROSSING_S, QUEUE_MPS, SLOWEST
from topis.model.lamp import YELLOW, is_green
from topis.model.network import NOT_MOTOR, Network
from topis.model.observation import Observation, SensorTable
from topis.run.model_sensors import ModelSensors, Positions
from topis.run.ports import LocalLamps
from topis.units import JAM_SPACING_M, MS_PER_S

#: Who is first of a lane for so long turns off where the road ahead is full (s).
PATIENCE_S = 240.0
#: Who waits at the line stands so far before the lane's end (m).
LINE_M = 1.0
#: A lane from which somebody went no longer ago than this beyond a headway is under way (s).
UNDER_WAY_S = 2.0
#: Room on each lane, however short it is (veh).
LEAST_STORAGE_VEH = 4
#: A lane lets no more go in a second.
_MOST_PER_S = 3


@dataclass(frozen=True)
class Behaviour:
    """How drivers leave a queue.

    ``headway_s`` float64[lanes] between two that leave a lane; ``startup_s`` from the begin of
    green to the first; ``gap_s`` that one who gives way needs; the first ``yellow_s`` of yellow
    are driven through.
    """

    headway_s: NDArray[np.float64]
    startup_s: float = 1.5
    gap_s: float = 4.0
    yellow_s: int = 1


@dataclass(frozen=True)
class Entries:
    """Who comes in from outside: arrays [vehicles], by link, then time.

    ``link``, ``at_s`` (seconds on the model's clock), ``number`` (decides where it goes).
    """

    link: NDArray[np.int32]
    at_s: NDArray[np.float64]
    number: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.link)


@dataclass(frozen=True)
class Waits:
    """Who waited where and when: arrays [waits]. ``junction`` -1: not at a signal."""

    junction: NDArray[np.int32]
    from_s: NDArray[np.float64]
    until_s: NDArray[np.float64]


class StreetModel:
    """Vehicles of ``entries`` on the streets, from ``begin_s`` on, a second a step.

    ``chance`` float64[connections]: of who comes onto a link, the share that leaves by each.
    ``keep_waits``: everyone's waits are kept for `waits`, which takes memory as time goes on.
    """

    def __init__(
        self,
        network: Network,
        chance: NDArray[np.float64],
        entries: Entries,
        behaviour: Behaviour,
        begin_s: int,
        *,
        keep_waits: bool = True,
    ) -> None:
        self.network = network
        self.now_s = begin_s
        self._keep_waits = keep_waits
        self.behaviour = behaviour
        self.entries = entries
        # Where a road is cut into short pieces, those who stand do not fill one at once.
        lane_count = np.bincount(network.lane_link, network.lane_use != NOT_MOTOR, network.links)
        storage = np.maximum(storage_veh(network), LEAST_STORAGE_VEH * lane_count).astype(np.int32)
        speed_mps = np.maximum(network.link_speed_mps[network.lane_link], 1.0)
        self._vmax_mps = speed_mps.astype(np.float64)
        self._length_m = network.lane_length_m.astype(np.float64)
        self._code = np.zeros(2 * network.groups, np.uint8)
        self._lamp = np.zeros(network.groups, np.uint8)
        self._yellow_s = np.zeros(network.groups, np.int64)
        self._state = QueueState.empty(network, storage)
        self._at_m = np.zeros(len(self._state.unused))
        self._whose = np.full(len(self._state.unused), -1, np.int64)
        #: Vehicles that have left each lane, int32[lanes].
        self.gone = self._state.gone
        self._queues = StreetQueues(
            **street_arrays(network, chance, storage),
            **vars(self._state),
            # Each way is one of its own: shares of lanes are as `chance` has them.
            conn_move=np.arange(len(network.conn_to_lane), dtype=np.int32),
            code_ptr=2 * np.arange(network.groups + 1, dtype=np.int32),
            offset_s=np.zeros(network.groups, np.int32),
            code=self._code,
            headway_s=behaviour.headway_s,
            startup_s=behaviour.startup_s,
            crossing_s=CROSSING_S,
            gap_s=behaviour.gap_s,
            patience_s=PATIENCE_S,
            slowest=SLOWEST,
        )
        sources = np.unique(entries.link)
        self._entry_ptr = np.searchsorted(entries.link, np.append(sources, network.links)).astype(
            np.int32
        )
        self._entry_next = self._entry_ptr[:-1].copy()
        self._entry_lane = network.link_lane_ptr[entries.link].astype(np.int32)
        self._out = passage_arrays(_MOST_PER_S * network.lanes + 10)
        self._passed: list[tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]] = []
        self.left_veh = 0

    @property
    def under_way_veh(self) -> int:
        """Vehicles on the streets now."""
        return len(self._state.unused) - self._queues.free_places

    @property
    def outside_veh(self) -> int:
        """Vehicles that have not come in yet."""
        return int((self._entry_ptr[1:] - self._entry_next).sum())

    def step(self, lamps: NDArray[np.uint8]) -> None:
        """A second under these lamps, uint8[groups]."""
        self._show(lamps)
        made = self._queues.run(
            self.now_s, 1, self._entry_ptr, self._entry_next, self._entry_lane,
            self.entries.at_s, self.entries.number, **self._out,
        )  # fmt: skip
        self.now_s += 1
        out = self._out
        self.left_veh += int((out["out_conn"][:made] < 0).sum())
        if made and self._keep_waits:
            self._passed.append(
                (
                    out["out_lane"][:made].copy(),
                    out["out_arrive_s"][:made].copy(),
                    out["out_depart_s"][:made].copy(),
                )
            )

    def _show(self, lamps: NDArray[np.uint8]) -> None:
        """The first of yellow is driven through, as if it were still green."""
        yellow = lamps == YELLOW
        self._yellow_s = np.where(yellow, self._yellow_s + 1, 0)
        through = yellow & (self._yellow_s <= self.behaviour.yellow_s)
        # A group that is yellow when the model begins was green before, it is not known how.
        code = np.where(through, self._lamp, lamps)
        self._lamp = np.where(through, self._lamp, lamps).astype(np.uint8)
        self._code[self.now_s % 2 :: 2] = code

    def positions(self) -> Positions:
        """Where everyone is who goes on from his lane; to be asked once a second."""
        state = self._state
        under_way = state.under_way(self._queues.free_places)
        under_way &= state.conn >= 0
        who = np.flatnonzero(under_way)
        lane = self.network.conn_from_lane[state.conn[who]]
        # One who has come onto the lane in this second starts at its begin.
        came = self._whose[who] != state.number[who] * 4096 + state.hops[who]
        self._whose[who] = state.number[who] * 4096 + state.hops[who]
        before_m = np.where(came, 0.0, self._at_m[who])
        now_s, length_m = self.now_s, self._length_m[lane]
        took_s = np.maximum(state.arrive_s[who] - state.enter_s[who], 0.1)
        free_m = length_m * np.clip((now_s - state.enter_s[who]) / took_s, 0.0, 1.0)
        rank = state.sequence[who] - state.gone[lane]
        goes_s = state.free_s[lane]
        moves = goes_s + UNDER_WAY_S >= now_s
        leaves_s = np.maximum(goes_s, now_s) + self.behaviour.headway_s[lane] * rank
        queue_m = np.where(
            moves,
            length_m - QUEUE_MPS * (leaves_s - now_s),
            length_m - LINE_M - JAM_SPACING_M * rank,
        )
        # Nobody backs up, or gets further in a second than one drives.
        at_m = np.minimum(free_m, np.maximum(before_m, np.minimum(queue_m, length_m - LINE_M)))
        at_m = np.minimum(at_m, before_m + np.where(came, np.inf, self._vmax_mps[lane]))
        self._at_m[who] = at_m
        return Positions(lane, before_m, at_m, state.number[who])

    def waits(self) -> Waits:
        """Everyone's waits up to now, those not over yet and those outside included."""
        network = self.network
        passed = self._passed or [(np.zeros(0, np.int32), np.zeros(0), np.zeros(0))]
        lane, from_s, until_s = (np.concatenate([p[k] for p in passed]) for k in range(3))
        state = self._state
        under_way = state.under_way(self._queues.free_places)
        stands = np.flatnonzero(under_way & (state.conn >= 0) & (state.arrive_s < self.now_s))
        counts = self._entry_ptr[1:] - self._entry_next
        outside = np.repeat(self._entry_next, counts) + (
            np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        )
        outside = outside[self.entries.at_s[outside] < self.now_s]
        junction = network.link_junction[network.lane_link]
        return Waits(
            np.concatenate([
                junction[lane], junction[network.conn_from_lane[state.conn[stands]]],
                np.full(len(outside), -1, np.int32),
            ]),
            np.concatenate([from_s, state.arrive_s[stands], self.entries.at_s[outside]]),
            np.concatenate([until_s, np.full(len(stands) + len(outside), float(self.now_s))]),
        )  # fmt: skip


class ModelStreet:
    """A `StreetModel` as source and actuator of the loop; local programs run by the clock."""

    def __init__(self, model: StreetModel, sensors: SensorTable, end_s: int) -> None:
        self.model, self._end_s = model, end_s
        self._sensors = ModelSensors(model.network, sensors)
        self._local = LocalPrograms(model.network)
        self._is_local = np.ones(model.network.junctions, dtype=bool)
        self._shown = self._local.at(model.now_s)
        self._told = np.full(model.network.groups, 255, dtype=np.uint8)
        self._first = True

    def next(self) -> Observation | None:
        """See `topis.run.ports.Source`."""
        if not self._first:
            if self.model.now_s >= self._end_s:
                return None
            self._by_clock()
            self.model.step(self._shown)
        self._first = False
        return self._sensors.read(self.model)

    def _by_clock(self) -> None:
        local = self._is_local[self.model.network.group_junction]
        self._shown = np.where(local, self._local.at(self.model.now_s), self._shown)

    def changed_lamps(self, local: NDArray[np.bool_]) -> LocalLamps:
        """See `topis.run.ports.Actuator`."""
        network = self.model.network
        of = local[network.group_junction]
        changed = of & (self._shown != self._told)
        self._told = np.where(of, self._shown, self._told)
        ptr = network.junction_group_ptr
        return [
            (j, self._shown[ptr[j] : ptr[j + 1]].copy())
            for j in np.unique(network.group_junction[changed]).tolist()
        ]

    def show(self, junction: int, group_code: NDArray[np.uint8]) -> None:
        """See `topis.run.ports.Actuator`."""
        first, last = self.model.network.junction_group_ptr[junction : junction + 2]
        self._shown[first:last] = group_code
        self._is_local[junction] = False


class LocalPrograms:
    """What the shipped programs show, with their yellows."""

    def __init__(self, network: Network) -> None:
        self._ptr, self._offset_s, code = green_table(network)
        self._code = code.copy()
        for group in range(network.groups):
            own = code[self._ptr[group] : self._ptr[group + 1]]
            ends = np.flatnonzero(is_green(own) & ~is_green(np.roll(own, -1)))
            for after in range(int(np.ceil(network.group_yellow_ms[group] / MS_PER_S))):
                second = (ends + 1 + after) % len(own)
                dark = second[~is_green(own[second])]
                self._code[self._ptr[group] + dark] = YELLOW

    def at(self, second: int) -> NDArray[np.uint8]:
        """Lamps in the second that begins then, uint8[groups]."""
        into = (second - self._offset_s) % np.diff(self._ptr)
        return np.asarray(self._code[self._ptr[:-1] + into])
