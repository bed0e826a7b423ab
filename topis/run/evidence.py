"""A slice watched from begin to end: who came to the stop lines, who stood there, and the lamps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.errors import InputError
from topis.estimation.demand import BIN_S
from topis.estimation.estimator import UNSEEN, WARM_UP_MS, Estimator
from topis.estimation.sensor_tables import loop_of_lane
from topis.model.lamp import is_green
from topis.model.network import Network
from topis.model.observation import CAMERA_LINE, LOOP_STOP_LINE, Observation
from topis.model.state import zero_if_unknown
from topis.run.factual import Factual
from topis.units import MS_PER_S

#: Less than this of a slice says little of a plan (s).
SHORTEST_S = 600
#: What is not read for so much of the time is not known.
LEAST_SEEN_SHARE = 0.5


@dataclass(frozen=True)
class Evidence:
    """What a slice tells; a second is a tick.

    ``lamps`` uint8[seconds, groups] during each second from ``begin_s`` on; ``queue_veh``
    float32[seconds, approach lanes]: estimated queues at the end of each, 0 where nobody sees;
    ``arrived_veh`` float64[bins, places]: who came to each place at the stop lines that counts;
    ``place`` int[approach lanes] of each, -1: nowhere.
    """

    begin_s: int
    lamps: NDArray[np.uint8]
    queue_veh: NDArray[np.float32]
    arrived_veh: NDArray[np.float64]
    place: NDArray[np.intp]

    @property
    def seconds(self) -> int:
        """How long the slice is."""
        return len(self.lamps)


class QueueWatch:
    """Queues as an estimator has them: of a street and of its model alike."""

    def __init__(self, network: Network, estimator: Estimator) -> None:
        self._estimator = estimator
        self._seen = estimator.evidence.seen_by

    def lanes(self) -> NDArray[np.float64]:
        """Queued vehicles on each approach lane that is seen, float64[approach lanes]."""
        queue = self._estimator.evidence.queue_veh.astype(np.float64)
        return np.where(self._seen != UNSEEN, queue, 0.0)


def watch(factual: Factual, begin_ms: int | None, end_ms: int | None) -> Evidence:
    """Go through a slice once, from a quarter of an hour before ``begin_ms``, if it goes so far.

    None: from the first tick, to the last.

    Raises
    ------
    InputError
        No signals, no sensor that counts at a stop line, or too short.
    """
    network, sensors = factual.network, factual.sensors
    if not len(network.approach_lanes):
        raise InputError("the streets have no signals; name a network with signals")
    if not sensors.alive.any():
        raise InputError(
            "the slice has no sensor that works: nothing tells how much traffic there was; "
            "choose other hours or feeds"
        )
    estimator = Estimator(network, sensors)
    queues = QueueWatch(network, estimator)
    told = estimator.evidence
    lamps, queued, bins, seen, waiting = [], [], [], [], []
    served = np.zeros(len(network.approach_lanes))
    seen_s = np.zeros(len(network.approach_lanes))
    first_ms: int | None = None
    last_ms = 0
    for observation, code in factual.ticks():
        if begin_ms is not None and observation.time_ms < begin_ms - WARM_UP_MS:
            continue
        if end_ms is not None and observation.time_ms > end_ms:
            break
        if first_ms is not None:
            _check_tick(observation, last_ms)
        estimator.update(observation, is_green(code))
        last_ms = observation.time_ms
        if first_ms is None:
            first_ms = last_ms
            continue
        lamps.append(code)
        queued.append(queues.lanes().astype(np.float32))
        counts = told.seen_by != UNSEEN
        served += np.where(counts, told.departed_veh * told.count_share, 0.0)
        seen_s += counts
        if len(lamps) % BIN_S == 0:
            bins.append(served.copy())
            seen.append(seen_s.copy())
            waiting.append(zero_if_unknown(told.queue_veh * counts))
    seconds = len(lamps)
    if first_ms is None or seconds < SHORTEST_S:
        raise InputError(f"the slice holds {seconds} s; give at least {SHORTEST_S // 60} minutes")
    if begin_ms is not None and begin_ms + MS_PER_S * SHORTEST_S > last_ms:
        raise InputError("the slice ends too soon after its begin; give at least 10 minutes")
    if begin_ms is not None and begin_ms < first_ms:
        raise InputError(
            f"the slice begins at {begin_ms / MS_PER_S:g} s, what is told of it only at "
            f"{first_ms / MS_PER_S:g} s; choose a later begin"
        )
    if seconds % BIN_S:
        bins.append(served.copy())
        waiting.append(zero_if_unknown(told.queue_veh * (told.seen_by != UNSEEN)))
    counted = seen_s >= LEAST_SEEN_SHARE * seconds
    if not counted.any() or not served.any():
        raise InputError(
            "no sensor counted a vehicle at a stop line: how much traffic there was is not known; "
            "choose hours in which loops or cameras tell"
        )
    if not is_green(np.array(lamps)).any():
        raise InputError("no signal was ever green in the slice; choose hours with signal events")
    total = np.diff(np.array(bins), axis=0, prepend=0.0)
    growth = np.diff(np.array(waiting, dtype=np.float64), axis=0, prepend=0.0)
    place = _places(factual, counted)
    came = np.maximum(total + growth, 0.0) * (seconds / np.maximum(seen_s, 1.0))
    known = place >= 0
    at_places = np.stack(
        [np.bincount(place[known], row[known], int(place.max()) + 1) for row in came]
    ).astype(np.float64)
    return Evidence(
        begin_s=first_ms // MS_PER_S,
        lamps=np.array(lamps),
        queue_veh=np.array(queued),
        arrived_veh=at_places,
        place=place,
    )


def _check_tick(observation: Observation, last_ms: int) -> None:
    if observation.time_ms - last_ms != MS_PER_S:
        raise InputError(
            f"{observation.time_ms / MS_PER_S:g} s: ticks are "
            f"{(observation.time_ms - last_ms) / MS_PER_S:g} s apart; a what-if needs one a second"
        )


def _places(factual: Factual, counted: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Where each lane is counted: several short lanes may share the loop before them."""
    network, sensors = factual.network, factual.sensors
    lanes = network.approach_lanes
    of_lane = np.full(network.lanes, -1, dtype=np.int32)
    of_lane[lanes] = np.arange(len(lanes))
    stop, line = (
        loop_of_lane(sensors, kind, of_lane, len(lanes)) for kind in (LOOP_STOP_LINE, CAMERA_LINE)
    )
    sensor = np.where(stop >= 0, stop, line)
    known = np.flatnonzero(counted)
    # A lane that is seen, yet by no sensor of its own, is one place.
    where = np.where(
        sensor[known] >= 0,
        np.stack([sensors.lane[sensor[known]], sensors.start_m[sensor[known]]]),
        np.stack([-1.0 - known, np.zeros(len(known))]),
    )
    place = np.full(len(lanes), -1, dtype=np.intp)
    place[known] = np.unique(where, axis=1, return_inverse=True)[1].ravel()
    return place
