"""Which cameras see nothing and which probes report nonsense, and loops that disagree on a lane.

A camera is silent when it tells of nothing for longer than its traffic explains. A probe is stuck
when it reports to be driving and stays where it is, and jumps when too many of its places are
ones it cannot have got to (`topis.ingest.jumps`). What passes the upstream loop of a lane passes
the one at its stop line (conservation of vehicles), unless one of them miscounts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from topis.ingest.archive import open_partition, partitions, passing_over
from topis.ingest.dimensions import Dimensions
from topis.ingest.health import BIN_S, LEAST_BINS, SILENCE_CHANCE
from topis.model.network import Network
from topis.model.observation import LOOP_ADVANCE, LOOP_STOP_LINE, SensorTable
from topis.model.quality import JUMP

#: Rows of one object: ten a second for some twenty seconds. So many are one piece of evidence.
ROWS_PER_OBJECT = 200.0
#: Faster than this a probe drives (cm/s), and within this it has not moved (1e-7 deg: 0.3 m).
DRIVES_CMPS, SAME_PLACE_E7 = 300, 30
#: So many reports of a vehicle in a day are evidence, and so large a share of them makes a fault.
LEAST_REPORTS, STUCK_SHARE, JUMP_SHARE = 100, 0.9, 0.005
#: Counts of an hour, and by how much those of two loops of a lane may differ.
LEAST_COUNT, MOST_DIFFERENCE = 100, 0.15


@dataclass(frozen=True)
class CameraFault:
    """A camera that was silent, from when to when (UTC ms)."""

    camera: int
    begin_ms: int
    end_ms: int


@dataclass(frozen=True)
class ProbeFault:
    """A vehicle (pseudonym of the day) whose reports are wrong, ``share`` of ``reports``."""

    vehicle: int
    kind: str
    reports: int
    share: float


@dataclass(frozen=True)
class Disagreement:
    """Two loops of a lane that count differently in an hour (UTC ms)."""

    lane: str
    begin_ms: int
    upstream_veh: int
    stop_line_veh: int


def camera_faults(archive: Path, damaged: dict[str, str] | None = None) -> list[CameraFault]:
    """Cameras that were silent for 20 minutes or longer, in order.

    ``damaged``: takes up what cannot be read, by path; it is left out then.

    Raises
    ------
    InputError
        The folder is no archive; without ``damaged`` also, a partition cannot be read.
    """
    bin_ms = BIN_S * 1000
    rows: dict[tuple[int, int], int] = defaultdict(int)
    for _, table in _groups(archive, "cctv_track", ["camera", "time"], damaged):
        camera = table["camera"].to_numpy().astype(np.int64)
        period = table["time"].cast(pa.int64()).to_numpy() // bin_ms
        cells, count = np.unique(camera << 40 | period, return_counts=True)
        for cell, number in zip(cells.tolist(), count.tolist(), strict=True):
            rows[cell >> 40, cell & (1 << 40) - 1] += number
    if not rows:
        return []
    cameras = sorted({camera for camera, _ in rows})
    periods = sorted({period for _, period in rows})
    grid = np.zeros((len(cameras), len(periods)))
    at_camera = {camera: k for k, camera in enumerate(cameras)}
    at_period = {period: k for k, period in enumerate(periods)}
    for (camera, period), number in rows.items():
        grid[at_camera[camera], at_period[period]] = number
    # What is usual at the time, by all cameras, scaled to each one's share of it when it speaks.
    usual = np.median(grid, axis=0)
    found = []
    for k, camera in enumerate(cameras):
        speaks = grid[k] > 0
        share = grid[k][speaks].sum() / max(float(usual[speaks].sum()), 1.0)
        expected = usual * share / ROWS_PER_OBJECT
        for first, last in _runs(~speaks, periods):
            enough = expected[first:last].sum() > -np.log(SILENCE_CHANCE)
            if last - first >= LEAST_BINS and enough:
                begin, end = periods[first] * bin_ms, (periods[last - 1] + 1) * bin_ms
                found.append(CameraFault(camera, begin, end))
    return found


def probe_faults(archive: Path, damaged: dict[str, str] | None = None) -> list[ProbeFault]:
    """Vehicles whose positions are stuck or jump, by pseudonym.

    ``damaged``: takes up what cannot be read, by path; it is left out then.

    Raises
    ------
    InputError
        The folder is no archive; without ``damaged`` also, a partition cannot be read.
    """
    # Reports, drives, drives without moving, jumps; by vehicle.
    counts: dict[int, NDArray[np.int64]] = {}
    columns = ["vehicle", "time", "lat_e7", "lon_e7", "speed_cmps", "quality"]
    for _, table in _groups(archive, "gps", columns, damaged):
        vehicle = table["vehicle"].to_numpy()
        lat, lon = table["lat_e7"].to_numpy(), table["lon_e7"].to_numpy()
        speed = table["speed_cmps"].fill_null(0).to_numpy()
        same = (vehicle[1:] == vehicle[:-1]) & (speed[1:] > DRIVES_CMPS)
        moved = np.maximum(
            np.abs(np.diff(lat.astype(np.int64))), np.abs(np.diff(lon.astype(np.int64)))
        )
        stays = np.append(False, same & (moved <= SAME_PLACE_E7))
        jumps = (table["quality"].to_numpy() & JUMP) != 0
        names, which = np.unique(vehicle, return_inverse=True)
        sums = np.stack(
            [
                np.bincount(which, values, minlength=len(names)).astype(np.int64)
                for values in (np.ones(len(which)), np.append(False, same), stays, jumps)
            ],
            axis=1,
        )
        for name, row in zip(names.tolist(), sums, strict=True):
            counts[name] = counts[name] + row if name in counts else row
    found = []
    for name, (reports, drives, stays, jumps) in sorted(counts.items()):
        if reports < LEAST_REPORTS:
            continue
        if drives >= LEAST_REPORTS / 5 and stays >= STUCK_SHARE * drives:
            found.append(ProbeFault(name, "stuck", int(reports), float(stays / drives)))
        elif jumps >= max(JUMP_SHARE * reports, 2):
            found.append(ProbeFault(name, "jumps", int(reports), float(jumps / reports)))
    return found


def disagreements(
    archive: Path,
    network: Network,
    sensors: SensorTable,
    damaged: dict[str, str] | None = None,
) -> list[Disagreement]:
    """Lanes whose two loops count differently, hour by hour.

    ``damaged``: takes up what cannot be read, by path; it is left out then.

    Raises
    ------
    InputError
        The folder is no archive; without ``damaged`` also, a partition cannot be read.
    """
    number = {name: key for key, name in Dimensions(archive).names("detectors").items()}
    pairs: dict[int, dict[int, int]] = defaultdict(dict)
    for k in np.flatnonzero(
        (sensors.kind == LOOP_STOP_LINE) | (sensors.kind == LOOP_ADVANCE)
    ).tolist():
        pairs[int(sensors.serves[k])][int(sensors.kind[k])] = number.get(sensors.ids[k], 0)
    found = []
    hourly: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for begin_ms, table in _groups(archive, "loop_event", ["detector"], damaged):
        keys, count = np.unique(table["detector"].to_numpy(), return_counts=True)
        for key, own in zip(keys.tolist(), count.tolist(), strict=True):
            hourly[begin_ms][key] += own
    for begin_ms, counts in sorted(hourly.items()):
        for lane, loops in sorted(pairs.items()):
            if len(loops) < 2:
                continue
            up, stop = (counts.get(loops[kind], 0) for kind in (LOOP_ADVANCE, LOOP_STOP_LINE))
            if max(up, stop) >= LEAST_COUNT and abs(up - stop) > MOST_DIFFERENCE * max(up, stop):
                found.append(Disagreement(network.lane_ids[lane], begin_ms, up, stop))
    return found


def _groups(
    archive: Path, feed: str, columns: list[str], damaged: dict[str, str] | None
) -> Iterator[tuple[int, pa.Table]]:
    """Row groups of a feed's partitions, each with the begin of its hour (UTC ms)."""
    for partition, path in partitions(archive):
        if partition.feed != feed:
            continue
        with passing_over(path, damaged), open_partition(path) as file:
            for group in range(file.num_row_groups):
                yield partition.begin_ms, file.read_row_group(group, columns)


def _runs(flags: NDArray[np.bool_], periods: list[int]) -> list[tuple[int, int]]:
    """Pairs (first, one past the last) of runs of True in periods that follow one another."""
    found: list[tuple[int, int]] = []
    begin = -1
    for k, flag in enumerate(flags.tolist()):
        follows = k > 0 and periods[k] == periods[k - 1] + 1
        if begin >= 0 and not (flag and follows):
            found.append((begin, k))
            begin = -1
        if flag and begin < 0:
            begin = k
    return [*found, (begin, len(flags))] if begin >= 0 else found
