"""What loops, probes, cameras and controllers tell of the passages on their lanes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from topis.ingest.program_lamps import green_table
from topis.ingest.synth_city import City
from topis.ingest.synth_motion import Motion, Which
from topis.ingest.synth_traffic import QUEUE_MPS, Passages
from topis.model.lamp import is_green
from topis.model.observation import CAMERA, LOOP_ADVANCE, LOOP_STOP_LINE

LOOP_M, CAR_M, CAR_SD_M, CAR_RANGE_M = 2.0, 5.0, 1.0, (3.0, 7.0)
GPS_SD_M, HEADING_SD_DEG = 5.0, 6.0
FRAME_S, LANE_M = 0.1, 3.2
#: Indiana codes of a phase: begins green, begins yellow, begins red clearance.
GREEN, YELLOW, RED_CLEARANCE = 1, 8, 10
Rows = dict[str, NDArray[np.generic]]
F8 = NDArray[np.float64]


@dataclass(frozen=True)
class Told:
    """Passages, of which is told what came to pass from ``from_s`` [passages] to ``until_s``."""

    passages: Passages
    motion: Motion
    from_s: F8
    until_s: float


@dataclass(frozen=True)
class FeedMaker:
    """Rows of the feeds of one city; times are seconds of the day, names those of the network."""

    city: City
    seed: int

    @cached_property
    def _loops(self) -> tuple[Which, Which]:
        """Loops by lane: (sensor, ptr [lanes + 1])."""
        sensors = self.city.sensors
        loops = np.flatnonzero(
            ((sensors.kind == LOOP_STOP_LINE) | (sensors.kind == LOOP_ADVANCE)) & sensors.alive
        )
        loops = loops[np.argsort(sensors.lane[loops], kind="stable")]
        ptr = np.searchsorted(sensors.lane[loops], np.arange(self.city.network.lanes + 1))
        return loops, ptr

    def loop_rows(self, told: Told, rng: np.random.Generator) -> Rows:
        """Passages over each loop of the lanes; ``sensor`` numbers."""
        passages, motion = told.passages, told.motion
        sensors, (loops, ptr) = self.city.sensors, self._loops
        count = ptr[passages.lane + 1] - ptr[passages.lane]
        who = np.repeat(np.arange(len(passages)), count)
        place = np.arange(len(who)) - np.repeat(np.cumsum(count) - count, count)
        sensor = loops[ptr[passages.lane[who]] + place]
        length_m = self.city.network.lane_length_m[passages.lane[who]]
        before_m = (length_m - sensors.start_m[sensor]).astype(np.float64)
        # How long a vehicle is, every loop finds alike.
        own = np.random.default_rng([self.seed, 4]).normal(CAR_M, CAR_SD_M, 4096)
        car_m = np.clip(own[passages.vehicle[who] % 4096], *CAR_RANGE_M)
        time_s = motion.passing_s(who, before_m)
        covered_s = motion.passing_s(who, before_m - LOOP_M - car_m) - time_s
        _, speed = motion.places(who, time_s)
        speed = np.maximum(speed, QUEUE_MPS / 2) * np.clip(rng.normal(1.0, 0.1, len(who)), 0.5, 1.5)
        rows: Rows = {
            "sensor": sensor,
            "time": time_s,
            "on_ms": np.rint(1000 * np.minimum(covered_s, 3600.0)),
            "speed_cmps": np.rint(100 * speed),
            "length_dm": np.rint(10 * car_m),
        }
        now = (time_s >= told.from_s[who]) & (time_s < told.until_s)
        return {name: values[now] for name, values in rows.items()}

    def positions(
        self, told: Told, which: Which, seen_s: F8, step_s: float, phase_s: F8 | float = 0.0
    ) -> tuple[Which, F8, F8, F8]:
        """(whose, time, distance to the end of the lane, speed) at every step while seen.

        Of the passages ``which`` [n], each from ``seen_s`` [n] until it leaves its lane; steps are
        multiples of ``step_s``, after ``phase_s`` [n].
        """
        depart_s = told.passages.depart_s[which]
        phase = np.broadcast_to(np.asarray(phase_s, dtype=np.float64), which.shape)
        first = np.ceil((np.maximum(seen_s, told.from_s[which]) - phase) / step_s)
        last = np.ceil((np.minimum(depart_s, told.until_s) - phase) / step_s) - 1
        steps = np.maximum(last - first + 1, 0).astype(np.int64)
        row = np.repeat(np.arange(len(which)), steps)
        offset = np.arange(len(row)) - np.repeat(np.cumsum(steps) - steps, steps)
        time_s = (first[row] + offset) * step_s + phase[row]
        distance, speed = told.motion.places(which[row], time_s)
        length_m = self.city.network.lane_length_m[told.passages.lane[which[row]]]
        return which[row], time_s, np.minimum(distance, length_m), speed

    def probe_rows(self, told: Told, rng: np.random.Generator) -> Rows:
        """Reports of the vehicles that send some, with GPS noise."""
        sensors, some = self.city.sensors, told.passages
        # Who is a probe follows from the vehicle alone: it stays one from link to link.
        chance = some.vehicle.astype(np.uint64) * np.uint64(0x94D049BB133111EB) >> np.uint64(32)
        which = np.flatnonzero(chance < sensors.probe_share * 2**32)
        period_s = sensors.probe_period_s
        phase_s = np.floor(some.vehicle[which] * 40_503 % 65_536 / 65_536.0 * period_s)
        who, time_s, before_m, speed = self.positions(
            told, which, some.enter_s[which], period_s, phase_s
        )
        x_m, y_m, heading = self._on_map(some.lane[who], before_m)
        x_m, y_m = x_m + rng.normal(0, GPS_SD_M, len(who)), y_m + rng.normal(0, GPS_SD_M, len(who))
        projection = self.city.road_map.projection
        assert projection is not None
        lon, lat = projection.inverse(x_m, y_m)
        number = some.vehicle[who]
        return {
            "vehicle": number.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15),
            "time": time_s,
            "lat_e7": np.rint(1e7 * lat),
            "lon_e7": np.rint(1e7 * lon),
            "speed_cmps": np.rint(100 * np.maximum(speed + rng.normal(0, 0.3, len(who)), 0.0)),
            "heading_cdeg": np.rint(100 * (heading + rng.normal(0, HEADING_SD_DEG, len(who))))
            % 36_000,
            "kind": np.where(number % 10 == 0, 1, 2),
            "route": np.zeros(len(who)),
        }

    @cached_property
    def _view_m(self) -> F8:
        """How far before its end cameras see each lane, 0 where none does, float64[lanes]."""
        sensors, network = self.city.sensors, self.city.network
        view_m = np.zeros(network.lanes)
        which = np.flatnonzero((sensors.kind == CAMERA) & sensors.alive)
        lane = sensors.lane[which]
        np.maximum.at(view_m, lane, network.lane_length_m[lane] - sensors.start_m[which])
        return view_m

    @cached_property
    def _camera(self) -> NDArray[np.int32]:
        """Junction whose camera sees each lane, -1 where none does, int32[lanes]."""
        sensors = self.city.sensors
        camera = np.full(self.city.network.lanes, -1, dtype=np.int32)
        which = np.flatnonzero((sensors.kind == CAMERA) & sensors.alive)
        camera[sensors.lane[which]] = sensors.junction[which]
        return camera

    def camera_rows(
        self, told: Told, missed_share: float, rng: np.random.Generator, district: int
    ) -> Rows:
        """Ten frames a second of all in view of a district's cameras.

        ``camera`` and ``lane`` are numbers. By district: they are far the most rows.
        """
        some = told.passages
        camera = self._camera[some.lane]
        which = np.flatnonzero((camera >= 0) & (self.city.district[camera] == district))
        # Who joins the queue farther back than one sees comes into view as it moves up.
        seen_s = told.motion.passing_s(which, self._view_m[some.lane[which]])
        seen_s = np.maximum(seen_s, some.enter_s[which])
        who, time_s, before_m, speed = self.positions(told, which, seen_s, FRAME_S)
        seen = rng.random(len(who)) >= missed_share
        who, time_s, before_m, speed = who[seen], time_s[seen], before_m[seen], speed[seen]
        lane = some.lane[who]
        camera = self._camera[lane]
        x_m, y_m, heading = self._on_map(lane, before_m)
        at_m = self.city.network.junction_xy_m[camera]
        count = len(who)
        return {
            "camera": camera,
            "track": some.vehicle[who] % 2**32,
            "time": time_s,
            "x_cm": np.rint(100 * (x_m - at_m[:, 0]) + rng.normal(0, 20, count)),
            "y_cm": np.rint(100 * (y_m - at_m[:, 1]) + rng.normal(0, 20, count)),
            "speed_cmps": np.rint(100 * np.maximum(speed + rng.normal(0, 0.2, count), 0.0)),
            "heading_cdeg": np.rint(100 * (heading + rng.normal(0, 3, count))) % 36_000,
            "vehicle_class": np.ones(count),
            "confidence_pct": rng.integers(60, 100, count),
            "lane": lane,
        }

    @cached_property
    def _lines(self) -> tuple[F8, F8, F8]:
        """Points of all links on one scale: (metres along, of all links in a row, x, y)."""
        road = self.city.road_map
        step = np.hypot(*np.diff(road.shape_m, axis=0).T)
        along = np.concatenate(([0.0], np.cumsum(step)))
        return along, road.shape_m[:, 0], road.shape_m[:, 1]

    def _on_map(self, lane: NDArray[np.int32], before_m: F8) -> tuple[F8, F8, F8]:
        """East, north (m) and heading (deg) of places before the ends of lanes."""
        network, road = self.city.network, self.city.road_map
        along, x_m, y_m = self._lines
        link = network.lane_link[lane]
        first, last = road.shape_ptr[link], road.shape_ptr[link + 1] - 1
        line_m = along[last] - along[first]
        # Lines are longer than lanes where junctions cut lanes short: the ends are what counts.
        share = before_m / np.maximum(network.lane_length_m[lane], 0.1)
        place = along[last] - share * line_m
        k = np.clip(np.searchsorted(along, place, side="right") - 1, first, last - 1)
        into = (place - along[k]) / np.maximum(along[k + 1] - along[k], 1e-9)
        dx, dy = x_m[k + 1] - x_m[k], y_m[k + 1] - y_m[k]
        heading = np.degrees(np.arctan2(dx, dy)) % 360.0
        # Lanes are counted from the kerb: to the right of the middle of the road.
        lanes = np.diff(network.link_lane_ptr)[link]
        right_m = LANE_M * ((lanes - 1) / 2 - (lane - network.link_lane_ptr[link]))
        length = np.maximum(np.hypot(dx, dy), 1e-9)
        return (
            x_m[k] + into * dx + right_m * dy / length,
            y_m[k] + into * dy - right_m * dx / length,
            heading,
        )

    @cached_property
    def _changes(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Rows]:
        """Events of one cycle of every group: (group, second, code) and cycle by group."""
        network = self.city.network
        ptr, offset_s, code = green_table(network)
        group, second, kind = [], [], []
        for g in range(network.groups):
            green = is_green(code[ptr[g] : ptr[g + 1]])
            starts = np.flatnonzero(green & ~np.roll(green, 1))
            ends = np.flatnonzero(~green & np.roll(green, 1))
            yellow_s = round(float(network.group_yellow_ms[g]) / 1000)
            events = ((starts, GREEN, 0), (ends, YELLOW, 0), (ends, RED_CLEARANCE, yellow_s))
            for at_s, event, after_s in events:
                group += [g] * len(at_s)
                second += (at_s + after_s + offset_s[g]).tolist()
                kind += [event] * len(at_s)
        cycle = np.diff(ptr).astype(np.int64)
        return (
            np.array(group, np.int64),
            np.array(second, np.int64),
            np.array(kind, np.int64),
            {"cycle": cycle},
        )

    def signal_rows(self, begin_s: int, end_s: int) -> Rows:
        """Begins of green, yellow and red clearance; the phase is the group's number from 1."""
        network = self.city.network
        group, second, kind, facts = self._changes
        cycle = facts["cycle"].astype(np.int64)[group]
        first = begin_s + (second - begin_s) % np.maximum(cycle, 1)
        times = np.maximum(-(-(end_s - first) // np.maximum(cycle, 1)), 0)
        which = np.repeat(np.arange(len(group)), times)
        turn = np.arange(len(which)) - np.repeat(np.cumsum(times) - times, times)
        junction = network.group_junction[group[which]]
        return {
            "controller": junction,
            "time": (first[which] + turn * cycle[which]).astype(np.float64),
            "code": kind[which],
            "parameter": 1 + group[which] - network.junction_group_ptr[junction],
        }

    def plan_rows(self) -> Rows:
        """The active program of each controller, a stage a row."""
        network = self.city.network
        rows: list[tuple[int, int, int, int, int]] = []
        for j, program in enumerate(network.junction_program.tolist()):
            for k in range(*network.program_stage_ptr[program : program + 2]):
                number = k - int(network.program_stage_ptr[program])
                cycle_ms = int(network.program_cycle_ms[program])
                start_ms = int(network.program_offset_ms[program]) + int(
                    network.program_start_ms[network.program_stage_ptr[program]]
                )
                split_ms = int(network.program_split_ms[k])
                rows.append((j, number, cycle_ms, start_ms % cycle_ms, split_ms))
        columns = np.array(rows, dtype=np.int64).reshape(-1, 5).T
        names = ("controller", "stage", "cycle_ms", "offset_ms", "split_ms")
        found: Rows = dict(zip(names, columns, strict=True))
        return found | {"plan": np.ones(columns.shape[1]), "time": np.zeros(columns.shape[1])}
