"""The archive's rows to `Observation`s, tick by tick: what the engine would have been told.

Loops, camera tracks and matched probes of a time are read in blocks, turned into the readings of
a `SensorTable` (as if each sensor were asked once a tick), and handed out one tick after the
other. Rows of which something is known (late, wrong clock, jump) are left out, as are sensors that
are silent for longer than their own traffic explains, and feeds that are cut off: they read NaN,
as a dead sensor does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from topis._core.view_counts import ViewCounts
from topis.ingest.aggregate import STANDING_CMPS, column_values
from topis.ingest.health import SILENCE_CHANCE, Fault
from topis.ingest.health_moving import ROWS_PER_OBJECT
from topis.ingest.road_map import LinkEnds
from topis.ingest.slices import ArchiveSlices, int64_ms
from topis.model.network import Network
from topis.model.observation import (
    CAMERA,
    CAMERA_LINE,
    LOOP_ADVANCE,
    LOOP_STOP_LINE,
    Observation,
    ProbeReports,
    SensorTable,
)

FEEDS_USED = ("loop_event", "cctv_track", "gps")
BLOCK_S, TICK_MS, FRAME_MS = 300, 1000, 100
#: A loop that is covered tells so at the latest after this (ms).
LONGEST_ON_MS = 300_000
VEHICLE_M = 5.0
#: A sensor of which nothing came for this long is taken for dead (s), however little was usual.
SILENT_S = 3600.0
#: Vehicles come in platoons: so many of them are one that comes at random.
PLATOON_VEH = 3.0
#: What a sensor tells in a block is averaged over some of them: of the newest, this part.
RATE_GAIN = 0.3
NEVER_MS = -(2**62)
UNKNOWN, ELSEWHERE = -1, -2
_NO_SPEED = 65535
F4 = NDArray[np.float32]
F8 = NDArray[np.float64]


@dataclass(frozen=True)
class Keys:
    """Keys of the archive's dimension tables to numbers of the network: int32[keys].

    `UNKNOWN` (-1): these streets do not have it; `ELSEWHERE` (-2): not the part that is looked at.
    """

    detector: NDArray[np.int32]
    camera: NDArray[np.int32]
    lane: NDArray[np.int32]
    link: NDArray[np.int32]
    controller: NDArray[np.int32]

    @classmethod
    def of(
        cls, names: Mapping[str, dict[int, str]], network: Network, sensors: SensorTable
    ) -> Keys:
        """Matched by name; ``names`` by kind and key, from `topis.ingest.dimensions.names_in`."""
        return cls(
            _numbers(names.get("detectors", {}), sensors.ids),
            _numbers(names.get("cameras", {}), network.junction_ids),
            _numbers(names.get("lanes", {}), network.lane_ids),
            _numbers(names.get("links", {}), network.link_ids),
            _numbers(names.get("controllers", {}), network.junction_ids),
        )

    def within(self, whole: Keys) -> Keys:
        """These of a part of the streets; ``whole``: those of all."""
        pairs = zip(vars(self).values(), vars(whole).values(), strict=True)
        return Keys(
            *(np.where((a < 0) & (b >= 0), ELSEWHERE, a).astype(np.int32) for a, b in pairs)
        )


class ArchiveObservations:
    """Observations of an archive's slice, a `topis.run.ports.Source`.

    Parameters
    ----------
    slices, keys
        The archive, and what its keys mean.
    network, ends, sensors
        Streets (compiled, and how their links end) and what is installed there.
    begin_ms, end_ms
        The first tick ends a tick after ``begin_ms``, the last at ``end_ms``.
    feeds
        Which of `FEEDS_USED` to look at; the sensors of the others read NaN.
    faults
        Known faults of loops: they read NaN while those last.
    frame_ms
        Time between two frames of a camera.
    """

    def __init__(
        self,
        slices: ArchiveSlices,
        keys: Keys,
        network: Network,
        ends: LinkEnds,
        sensors: SensorTable,
        begin_ms: int,
        end_ms: int,
        *,
        feeds: Collection[str] = FEEDS_USED,
        faults: Iterable[Fault] = (),
        frame_ms: int = FRAME_MS,
    ) -> None:
        self._slices, self._keys, self._network, self._sensors = slices, keys, network, sensors
        self._begin_ms, self._end_ms = begin_ms, end_ms
        self._feeds = set(feeds)
        self._faults = [
            (int(keys.detector[f.detector]), f.begin_ms, f.end_ms)
            for f in faults
            if f.detector < len(keys.detector) and keys.detector[f.detector] >= 0
        ]
        loop = (sensors.kind == LOOP_STOP_LINE) | (sensors.kind == LOOP_ADVANCE)
        self._loops = loop & sensors.alive & ("loop_event" in self._feeds)
        self._cameras = ~loop & sensors.alive & ("cctv_track" in self._feeds)
        self._views = _view_counts(network, ends, sensors, keys, frame_ms)
        # Who has told nothing yet may not be there at all.
        self._last_ms = np.full(len(sensors), NEVER_MS, dtype=np.int64)
        self._block_ms = begin_ms
        self._reading: F4 = np.zeros((0, len(sensors), 2), np.float32)
        self._probes = _Probes.none()
        self._tick = 0
        # Vehicles that each sensor tells of in a block, and how many since it fell silent would be
        # usual. What one camera tells of its lanes is told once.
        self._rate, self._missed = np.zeros(len(sensors)), np.zeros(len(sensors))
        lanes = np.bincount(sensors.junction[self._cameras], minlength=network.junctions)
        self._once = np.where(self._cameras, 1.0 / np.maximum(lanes, 1)[sensors.junction], 1.0)
        self.rows = 0
        #: Rows of each feed whose detector, lane or link these streets and sensors do not have.
        self.unknown = dict.fromkeys(FEEDS_USED, 0)
        #: Probes' rows that have no link, and that have one.
        self.unmatched = self.matched = 0

    def next(self) -> Observation | None:
        """See `topis.run.ports.Source`.

        Raises
        ------
        InputError
            The archive's tables of names are damaged.
        """
        if self._tick == len(self._reading):
            if self._block_ms >= self._end_ms:
                return None
            self._read_block()
        now_ms = self._now_ms(self._tick)
        reading = self._reading[self._tick]
        probes = self._probes.of_tick(self._tick)
        self._tick += 1
        return Observation(now_ms, reading, probes)

    def _now_ms(self, tick: int) -> int:
        return self._block_ms - (len(self._reading) - tick - 1) * TICK_MS

    def _read_block(self) -> None:
        begin_ms = self._block_ms
        end_ms = min(begin_ms + BLOCK_S * 1000, self._end_ms)
        ticks = (end_ms - begin_ms) // TICK_MS
        reading = np.zeros((ticks, len(self._sensors), 2), np.float32)
        told = np.zeros(len(self._sensors))
        if self._loops.any():
            self._read_loops(begin_ms, end_ms, reading, told)
        if self._cameras.any():
            self._read_cameras(begin_ms, end_ms, reading, told)
        if "gps" in self._feeds:
            self._read_probes(begin_ms, end_ms)
        reading[:, self._silent(told, begin_ms, end_ms)] = np.nan
        for sensor, from_ms, until_ms in self._faults:
            first = max((from_ms - begin_ms) // TICK_MS, 0)
            last = max((until_ms - begin_ms) // TICK_MS, 0)
            reading[first:last, sensor] = np.nan
        self._reading, self._tick, self._block_ms = reading, 0, end_ms

    def _silent(self, told: F8, begin_ms: int, end_ms: int) -> NDArray[np.bool_]:
        """Who tells nothing for longer than chance allows; ``told``: by how many independent ones.

        Vehicles come at random (Poisson): none where q are usual has the chance exp(-q). Together,
        the sensors of a feed fall silent sooner: then the feed is cut off, not the city empty.
        """
        seen = told > 0.0
        self._last_ms[seen] = end_ms
        share = (end_ms - begin_ms) / (BLOCK_S * 1000)
        self._missed = np.where(seen, 0.0, self._missed + self._rate * share)
        new = np.where(self._rate > 0.0, self._rate, told / share)
        self._rate = np.where(seen, new + RATE_GAIN * (told / share - new), self._rate)
        enough = -np.log(SILENCE_CHANCE)
        silent: NDArray[np.bool_] = ~(self._loops | self._cameras) | (self._missed > enough)
        silent |= end_ms - self._last_ms > SILENT_S * 1000
        for feed in (self._loops, self._cameras):
            if not seen[feed].any() and (self._missed * self._once)[feed].sum() > enough:
                silent |= feed
        return silent

    def _read_loops(self, begin_ms: int, end_ms: int, reading: F4, told: F8) -> None:
        table = self._slices.rows(
            "loop_event", begin_ms - LONGEST_ON_MS, end_ms, ["detector", "on_ms"]
        )
        sensor = _look_up(self._keys.detector, table["detector"])
        now = int64_ms(table["time"]) >= begin_ms
        self.rows += int(now.sum())
        self.unknown["loop_event"] += int((now & (sensor == UNKNOWN)).sum())
        known = (sensor >= 0) & self._loops[sensor]
        sensor = sensor[known]
        time_ms = int64_ms(table["time"])[known]
        on_ms = table["on_ms"].to_numpy()[known].astype(np.int64)
        came = time_ms >= begin_ms
        tick = (time_ms - begin_ms) // TICK_MS
        np.add.at(reading, (tick[came], sensor[came], 0), 1.0)
        # Covered: each event's part of every tick it lasts through.
        first = np.maximum(tick, 0)
        last = np.minimum(
            (time_ms + np.maximum(on_ms, 1) - 1 - begin_ms) // TICK_MS, len(reading) - 1
        )
        pieces = np.maximum(last - first + 1, 0)
        which = np.repeat(np.arange(len(pieces)), pieces)
        at = first[which] + np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        from_ms = begin_ms + at * TICK_MS
        part_ms = np.minimum(time_ms[which] + on_ms[which], from_ms + TICK_MS) - np.maximum(
            time_ms[which], from_ms
        )
        np.add.at(reading, (at, sensor[which], 1), part_ms.astype(np.float32) / TICK_MS)
        np.minimum(reading[:, :, 1], 1.0, out=reading[:, :, 1], where=self._loops)
        # Who stands on a loop for most of the time is told of, too.
        stood = reading[:, :, 1].mean(axis=0) > 0.5
        counted = np.maximum(reading[:, :, 0].sum(axis=0), stood)
        told += np.where(self._loops, counted / PLATOON_VEH, 0.0)

    def _read_cameras(self, begin_ms: int, end_ms: int, reading: F4, told: F8) -> None:
        columns = ["camera", "track", "time", "x_cm", "y_cm", "speed_cmps", "lane", "quality"]
        shown = np.zeros(self._network.junctions + 1)
        unknown = self._views.unknown
        for batch in self._slices.batches("cctv_track", begin_ms, end_ms, columns):
            quality = column_values(batch["quality"], np.uint8, 0)
            if quality.any():
                batch = batch.filter(pa.array(quality == 0))
            camera = column_values(batch["camera"], np.uint16, 0)
            time_ms = column_values(batch["time"], np.int64, 0)
            inside = (time_ms >= begin_ms) & (time_ms < end_ms)
            self.rows += int(np.count_nonzero(inside))
            first = np.flatnonzero(_changes(camera))
            if len(first):
                rows = np.add.reduceat(inside, first, dtype=np.int64)
                np.add.at(shown, _look_up(self._keys.camera, camera[first]), rows)
            self._views.add(
                camera,
                column_values(batch["track"], np.uint32, 0),
                time_ms,
                column_values(batch["x_cm"], np.int32, 0),
                column_values(batch["y_cm"], np.int32, 0),
                column_values(batch["speed_cmps"], np.uint16, _NO_SPEED),
                column_values(batch["lane"], np.uint32, 0),
                begin_ms,
                reading,
            )
        self._views.finish(begin_ms, reading)
        self.unknown["cctv_track"] += int(self._views.unknown - unknown)
        # A camera that shows anything sees all of its lanes.
        told += np.where(self._cameras, shown[self._sensors.junction] / ROWS_PER_OBJECT, 0.0)

    def _read_probes(self, begin_ms: int, end_ms: int) -> None:
        columns = ["vehicle", "link", "offset_dm", "speed_cmps"]
        table = self._slices.rows("gps", begin_ms, end_ms, columns)
        self.rows += len(table)
        self.unmatched += table["link"].null_count
        self.matched += len(table) - table["link"].null_count
        table = table.filter(pc.and_(table["link"].is_valid(), table["speed_cmps"].is_valid()))
        link = _look_up(self._keys.link, table["link"])
        self.unknown["gps"] += int((link == UNKNOWN).sum())
        table, link = table.filter(pa.array(link >= 0)), link[link >= 0]
        tick = (int64_ms(table["time"]) - begin_ms) // TICK_MS
        vehicle = table["vehicle"].to_numpy().view(np.int64)
        order = np.lexsort([vehicle, tick])
        network = self._network
        # Which lane of the road it drives on, a position does not tell.
        first = network.link_lane_ptr[link]
        lanes = network.link_lane_ptr[link + 1] - first
        lane = first + (vehicle.view(np.uint64) % lanes.astype(np.uint64)).astype(np.int64)
        offset_m = np.minimum(table["offset_dm"].to_numpy() / 10.0, network.lane_length_m[lane])
        speed_mps = table["speed_cmps"].to_numpy() / 100.0
        ticks = (end_ms - begin_ms) // TICK_MS
        self._probes = _Probes(
            np.searchsorted(tick[order], np.arange(ticks + 1)),
            vehicle[order],
            lane[order].astype(np.int32),
            offset_m[order].astype(np.float32),
            speed_mps[order].astype(np.float32),
        )


@dataclass(frozen=True)
class _Probes:
    """Reports of a block, by tick: ``ptr`` [ticks + 1]."""

    ptr: NDArray[np.intp]
    probe: NDArray[np.int64]
    lane: NDArray[np.int32]
    offset_m: F4
    speed_mps: F4

    @classmethod
    def none(cls) -> _Probes:
        none = ProbeReports.none()
        return cls(np.zeros(0, np.intp), none.probe, none.lane, none.offset_m, none.speed_mps)

    def of_tick(self, tick: int) -> ProbeReports:
        if tick + 1 >= len(self.ptr):
            return ProbeReports.none()
        some = slice(self.ptr[tick], self.ptr[tick + 1])
        return ProbeReports(
            self.probe[some], self.lane[some], self.offset_m[some], self.speed_mps[some]
        )


def _view_counts(
    network: Network, ends: LinkEnds, sensors: SensorTable, keys: Keys, frame_ms: int
) -> ViewCounts:
    """The kernel, with where each lane lies as its camera sees it."""
    along_x, along_y, along_m = (np.zeros(network.lanes, np.float32) for _ in range(3))
    line_sensor = np.full(network.lanes, -1, dtype=np.int32)
    line_m = np.zeros(network.lanes, dtype=np.float32)
    rows: list[tuple[int, int, float, float]] = []
    watched = np.flatnonzero(
        ((sensors.kind == CAMERA) | (sensors.kind == CAMERA_LINE)) & sensors.alive
    )
    for sensor in watched.tolist():
        lane = int(sensors.lane[sensor])
        length_m = float(network.lane_length_m[lane])
        near_m, far_m = length_m - sensors.end_m[sensor], length_m - sensors.start_m[sensor]
        if sensors.kind[sensor] == CAMERA_LINE:
            line_sensor[lane], line_m[lane] = sensor, near_m
        else:
            # Noise must not push anyone out of view at either end.
            rows.append((lane, sensor, near_m if near_m > 0.5 else -VEHICLE_M, far_m))
        link = int(network.lane_link[lane])
        end, direction = ends.end_m[link], ends.direction[link]
        at_m = network.junction_xy_m[sensors.junction[sensor]]
        along_x[lane], along_y[lane] = direction / 100.0
        along_m[lane] = direction @ (end - at_m)
    rows.sort()
    lanes = np.array([row[0] for row in rows], dtype=np.int64)
    return ViewCounts(
        lane_of_key=keys.lane,
        along_x=along_x,
        along_y=along_y,
        along_m=along_m,
        stretch_ptr=np.searchsorted(lanes, np.arange(network.lanes + 1)).astype(np.int32),
        stretch_sensor=np.array([row[1] for row in rows], dtype=np.int32),
        near_m=np.array([row[2] for row in rows], dtype=np.float32),
        far_m=np.array([row[3] for row in rows], dtype=np.float32),
        line_sensor=line_sensor,
        line_m=line_m,
        standing_below=STANDING_CMPS,
        vehicle_m=VEHICLE_M,
        tick_ms=TICK_MS,
        frame_ms=frame_ms,
    )


def _numbers(names: dict[int, str], ids: tuple[str, ...]) -> NDArray[np.int32]:
    number = {name: k for k, name in enumerate(ids)}
    out = np.full(max(names, default=0) + 2, UNKNOWN, dtype=np.int32)
    for key, name in names.items():
        out[key] = number.get(name, -1)
    return out


def _look_up(
    table: NDArray[np.int32], keys: pa.ChunkedArray | NDArray[np.uint16]
) -> NDArray[np.intp]:
    values = keys if isinstance(keys, np.ndarray) else keys.to_numpy()
    # The last one of the table is unknown.
    return table[np.minimum(values, len(table) - 1)].astype(np.intp)


def _changes(values: NDArray[np.uint16]) -> NDArray[np.bool_]:
    return np.concatenate(([True], values[1:] != values[:-1]))[: len(values)]


def report_period_s(slices: ArchiveSlices, begin_ms: int, end_ms: int) -> float | None:
    """How often probes report: the median time between two reports of one; None without any.

    Only reports that are matched to a link count: no others tell anything.

    Looked at is the first block of the slice that has any.
    """
    for from_ms in range(begin_ms, end_ms, BLOCK_S * 1000):
        until_ms = min(from_ms + BLOCK_S * 1000, end_ms)
        table = slices.rows("gps", from_ms, until_ms, ["vehicle", "link"])
        table = table.filter(table["link"].is_valid())
        vehicle, time_ms = table["vehicle"].to_numpy(), int64_ms(table["time"])
        order = np.lexsort([time_ms, vehicle])
        between_ms = np.diff(time_ms[order])[np.diff(vehicle[order].view(np.int64)) == 0]
        if len(between_ms):
            return max(float(np.median(between_ms)) / 1000.0, TICK_MS / 1000.0)
    return None


def frame_period_ms(slices: ArchiveSlices, begin_ms: int, end_ms: int) -> int:
    """Time between two frames of cameras: the median between two rows of one track.

    Looked at are the first rows of the slice; more than a tick is told as a tick.
    """
    columns = ["camera", "track", "time"]
    for from_ms in range(begin_ms, end_ms, BLOCK_S * 1000):
        until_ms = min(from_ms + BLOCK_S * 1000, end_ms)
        for batch in slices.batches("cctv_track", from_ms, until_ms, columns):
            who = [batch[name].to_numpy() for name in columns[:2]]
            same = (np.diff(who[0].view(np.int16)) == 0) & (np.diff(who[1].view(np.int32)) == 0)
            between_ms = np.diff(int64_ms(batch["time"]))[same]
            if len(between_ms):
                return int(np.clip(np.median(between_ms), 1, TICK_MS))
    return FRAME_MS
