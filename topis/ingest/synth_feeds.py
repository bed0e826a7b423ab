"""What loops, probes and cameras tell of the passages of one lane in one hour."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from topis.ingest.synth_traffic import FREE_MPS, LANES, QUEUE_MPS, SIGNALS_PER_ARTERIAL, Lane

ADVANCE_M, LOOP_M, CAR_M = 50.0, 2.0, 5.0
PROBE_SHARE, GPS_SD_M, HEADING_SD_DEG = 0.1, 5.0, 6.0
VIEW_M, FRAME_S = 100.0, 0.1
#: Where the made-up streets lie: rows of arterials going east, 300 m apart (deg, m per deg).
LAT0_DEG, LON0_DEG, ROW_M = 37.45, 126.85, 300.0
M_PER_LAT, M_PER_LON = 111_000.0, 88_200.0
Rows = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class HourOfLane:
    """A lane's passages from ``begin_s`` until ``end_s``."""

    lane: Lane
    begin_s: float
    end_s: float
    rng: np.random.Generator

    @cached_property
    def which(self) -> NDArray[np.intp]:
        """Vehicles that passed the stop line in the hour."""
        lane = self.lane
        return np.flatnonzero((lane.depart_s >= self.begin_s) & (lane.depart_s < self.end_s))


def loop_rows(hour: HourOfLane, detector: int) -> Rows:
    """Passages over the stop line's loop and the one 50 m upstream."""
    lane = hour.lane
    parts = []
    for number, before_m in ((detector, 0.0), (detector + 1, ADVANCE_M)):
        time_s = lane.passing_s(before_m)
        inside = np.flatnonzero((time_s >= hour.begin_s) & (time_s < hour.end_s))
        queued = lane.queue_m[inside] > before_m
        mean = np.where(queued, QUEUE_MPS, FREE_MPS)
        speed = np.maximum(mean * hour.rng.normal(1.0, 0.1, len(inside)), 1.0)
        length_m = np.clip(hour.rng.normal(CAR_M, 1.0, len(inside)), 3.0, 18.0)
        parts.append(
            {
                "detector": np.full(len(inside), number),
                "time": time_s[inside],
                "on_ms": np.rint(1000 * (length_m + LOOP_M) / speed),
                "speed_cmps": np.rint(100 * speed),
                "length_dm": np.rint(10 * length_m),
            }
        )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _positions(
    hour: HourOfLane, vehicles: NDArray[np.intp], view_m: float, step_s: float
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(which vehicle, time, distance to the stop line, speed) of each at every step in view."""
    lane = hour.lane
    arrive, depart = lane.arrive_s[vehicles], lane.depart_s[vehicles]
    stop_m = np.minimum(lane.queue_m[vehicles], view_m)
    seen_s = arrive - view_m / FREE_MPS
    stops_s = arrive - stop_m / FREE_MPS
    starts_s = np.maximum(depart - stop_m / QUEUE_MPS, stops_s)
    first = np.ceil(seen_s / step_s)
    steps = np.maximum(np.floor(depart / step_s) - first + 1, 0).astype(np.int64)
    who = np.repeat(np.arange(len(vehicles)), steps)
    offset = np.arange(int(steps.sum())) - np.repeat(np.cumsum(steps) - steps, steps)
    time_s = (first[who] + offset) * step_s
    before = time_s < stops_s[who]
    after = time_s >= starts_s[who]
    distance = np.where(
        before,
        stop_m[who] + FREE_MPS * (stops_s[who] - time_s),
        np.where(after, QUEUE_MPS * (depart[who] - time_s), stop_m[who]),
    )
    free = lane.queue_m[vehicles][who] <= 0.0
    distance = np.where(free, FREE_MPS * (depart[who] - time_s), distance)
    speed = np.where(before | free, FREE_MPS, np.where(after, QUEUE_MPS, 0.0))
    return who, time_s, np.clip(distance, 0.0, view_m), speed


def probe_rows(hour: HourOfLane) -> Rows:
    """Each second of the vehicles that report, with GPS noise."""
    lane, rng = hour.lane, hour.rng
    # Who is a probe follows from the vehicle alone: it stays one from signal to signal.
    chance = (lane.vehicle[hour.which] * 2_654_435_761 % 2**32) / 2**32
    vehicles = hour.which[chance < PROBE_SHARE]
    who, time_s, before_m, speed = _positions(hour, vehicles, lane.length_m, 1.0)
    east_m = 500.0 * lane.signal + 500.0 - before_m + rng.normal(0, GPS_SD_M, len(who))
    north_m = ROW_M * lane.arterial + 3.0 * lane.lane + rng.normal(0, GPS_SD_M, len(who))
    number = lane.vehicle[vehicles][who] + 10**7 * lane.arterial
    return {
        "vehicle": number,
        "time": time_s,
        "lat_e7": np.rint(1e7 * (LAT0_DEG + north_m / M_PER_LAT)),
        "lon_e7": np.rint(1e7 * (LON0_DEG + east_m / M_PER_LON)),
        "speed_cmps": np.rint(100 * np.maximum(speed + rng.normal(0, 0.3, len(who)), 0.0)),
        "heading_cdeg": np.rint(100 * rng.normal(90, HEADING_SD_DEG, len(who))) % 36_000,
        "kind": np.where(number % 10 == 0, 1, 2),
        "route": np.zeros(len(who)),
    }


def camera_rows(hour: HourOfLane) -> Rows:
    """Ten frames a second of everything within 100 m of the stop line."""
    lane, rng = hour.lane, hour.rng
    who, time_s, before_m, speed = _positions(hour, hour.which, VIEW_M, FRAME_S)
    camera = 1 + lane.arterial * SIGNALS_PER_ARTERIAL + lane.signal
    count = len(who)
    return {
        "camera": np.full(count, camera),
        "track": lane.vehicle[hour.which][who],
        "time": time_s,
        "x_cm": np.rint(-100 * before_m + rng.normal(0, 20, count)),
        "y_cm": np.rint(300.0 * lane.lane + rng.normal(0, 20, count)),
        "speed_cmps": np.rint(100 * np.maximum(speed + rng.normal(0, 0.2, count), 0.0)),
        "heading_cdeg": np.rint(100 * rng.normal(90, 3, count)) % 36_000,
        "vehicle_class": np.ones(count),
        "confidence_pct": rng.integers(60, 100, count),
        "lane": np.full(count, camera * LANES + lane.lane),
    }
