"""`topis synth`: a made-up day of a city's feeds, with the truth and the planted faults beside it.

Files are written arterial by arterial and hour by hour, so memory stays bounded whatever the
scale; the cost is that of the rows. Scale 1 is the whole city of `synth_traffic`, of which
0.001 is a few streets.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from topis.errors import InputError, OutputError
from topis.ingest.archive import encoding
from topis.ingest.synth_feeds import HourOfLane, camera_rows, loop_rows, probe_rows
from topis.ingest.synth_traffic import (
    DISTRICTS,
    Lane,
    arterials,
    drive,
    signals_of,
)
from topis.model.schemas import FEEDS

HOUR_S, PERIOD_S = 3600.0, 30.0
#: Every so many signals has cameras (3,200 of 12,800 in Seoul); every stop line has loops.
CAMERA_EVERY = 4
FAULTS = ("silent", "stuck on", "chatter", "over-count")
#: A loop that is stuck reports this often that it is covered (s).
STUCK_S = 240
DUPLICATE_SHARE, IMPOSSIBLE_SHARE = 0.002, 0.001

TRUTH_SCHEMA = pa.schema(
    [
        ("detector", pa.uint32()),
        ("time", pa.timestamp("ms", tz="UTC")),
        ("queue_veh", pa.uint16()),
        ("departed_veh", pa.uint16()),
        ("travel_ms", pa.uint32()),
    ],
    metadata={"topis": "truth/1"},
)


@dataclass(frozen=True)
class SynthOptions:
    """What to make. ``faulty``: share of the loops that have a fault for some hours."""

    scale: float
    date: str
    seed: int = 1
    faulty: float = 0.05
    hours: tuple[int, int] = (0, 24)


def synthesise(
    into: Path, options: SynthOptions, progress: Callable[[str, int, int], None]
) -> dict[str, int]:
    """Write the day; returns rows by feed.

    Raises
    ------
    InputError
        An impossible option.
    OutputError
        The folder cannot be written, or is not empty.
    """
    if not 0.0 < options.scale <= 10.0:
        raise InputError(f"scale {options.scale:g} is out of range; give more than 0, at most 10")
    if not 0.0 <= options.faulty <= 1.0 or options.seed < 0:
        raise InputError("a share lies between 0 and 1, and a seed is 0 or more; change the option")
    try:
        if len(options.date) != 10:
            raise ValueError(options.date)
        midnight_ms = int(
            np.datetime64(options.date, "D").astype("datetime64[ms]").astype(np.int64)
        )
    except ValueError:
        raise InputError(f"date {options.date!r} is none; write 2026-11-17") from None
    try:
        into.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{into}: cannot be written ({error.strerror}); choose another") from None
    if any(into.iterdir()):
        raise OutputError(f"{into}: is not empty; name a new folder")
    count = arterials(options.scale)
    rows: dict[str, int] = defaultdict(int)
    faults: list[dict[str, object]] = []
    first, last = options.hours
    for arterial in range(count):
        progress(f"arterial {arterial}", arterial, count)
        lanes = list(drive(options.seed, arterial))
        planted = [_fault(options, lane) for lane in lanes]
        faults += [fault for fault in planted if fault is not None]
        truth = [_truth(lane, midnight_ms, options.hours) for lane in lanes]
        _write(into / "truth", "queues", arterial, 0, pa.concat_tables(truth))
        for hour in range(first, last):
            found = _hour(options, lanes, planted, midnight_ms, hour)
            for feed, table in found.items():
                rows[feed] += len(table)
                _write(into, feed, arterial, hour, table)
        signals = signals_of(options.seed, arterial)
        about = {"district": arterial % DISTRICTS, "signals": [vars(s) for s in signals]}
        (into / "truth" / f"arterial-{arterial:04d}.json").write_text(json.dumps(about))
    (into / "truth" / "faults.json").write_text(json.dumps(faults, indent=1))
    return dict(rows)


def detector_number(lane: Lane) -> int:
    """The stop line loop of a lane; the upstream one is the next number."""
    return 1 + 4 * (lane.arterial * 10 + lane.signal) + 2 * lane.lane


def _hour(
    options: SynthOptions,
    lanes: list[Lane],
    planted: list[dict[str, object] | None],
    midnight_ms: int,
    hour: int,
) -> dict[str, pa.Table]:
    parts: dict[str, list[dict[str, NDArray[np.generic]]]] = defaultdict(list)
    for number, lane in enumerate(lanes):
        rng = np.random.default_rng([options.seed, lane.arterial, number, hour])
        of_hour = HourOfLane(lane, hour * HOUR_S, (hour + 1) * HOUR_S, rng)
        loops = loop_rows(of_hour, detector_number(lane))
        fault = planted[number]
        if fault is not None:
            loops = _spoilt(loops, fault, hour * HOUR_S)
        parts["loop_event"].append(loops)
        parts["gps"].append(probe_rows(of_hour))
        if lane.signal % CAMERA_EVERY == 0:
            parts["cctv_track"].append(camera_rows(of_hour))
    rng = np.random.default_rng([options.seed, lanes[0].arterial, 99, hour])
    return {feed: _table(feed, found, midnight_ms, rng) for feed, found in parts.items()}


def _table(
    feed: str,
    parts: list[dict[str, NDArray[np.generic]]],
    midnight_ms: int,
    rng: np.random.Generator,
) -> pa.Table:
    """Rows in the order they would come in, some twice, some impossible."""
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    time_ms = np.rint(columns["time"].astype(np.float64) * 1000).astype(np.int64)
    order = np.argsort(time_ms, kind="stable")
    again = rng.random(len(order)) < DUPLICATE_SHARE
    order = np.repeat(order, 1 + again)
    columns = {name: values[order] for name, values in columns.items()}
    wrong = rng.random(len(order)) < IMPOSSIBLE_SHARE
    columns["speed_cmps"] = np.where(wrong, 9999, columns["speed_cmps"])
    arrays = []
    for column in FEEDS[feed].columns:
        if column.name == "time":
            arrays.append(pa.array(midnight_ms + time_ms[order]).cast(column.type))
        elif column.name in columns:
            values = columns[column.name].astype(column.type.to_pandas_dtype())
            arrays.append(pa.array(values, column.type))
        elif column.name == "quality":
            arrays.append(pa.array(np.zeros(len(order), np.uint8)))
        else:
            arrays.append(pa.nulls(len(order), column.type))
    return pa.Table.from_arrays(arrays, schema=FEEDS[feed].schema)


def _write(into: Path, feed: str, arterial: int, hour: int, table: pa.Table) -> None:
    folder = into / feed
    folder.mkdir(parents=True, exist_ok=True)
    known = FEEDS.get(feed)
    settings = encoding(known) if known else {"compression": "zstd"}
    name = f"{feed}-{arterial:04d}-{hour:02d}.parquet"
    pq.write_table(table, folder / name, **settings)


def _truth(lane: Lane, midnight_ms: int, hours: tuple[int, int]) -> pa.Table:
    """Each 30 s: vehicles that stand (at its end), that left, and their mean travel time."""
    edges = np.arange(hours[0] * HOUR_S, hours[1] * HOUR_S + 1, PERIOD_S)
    come = np.searchsorted(np.sort(lane.arrive_s), edges[1:], side="right")
    gone = np.searchsorted(lane.depart_s, edges, side="right")
    left = np.diff(gone)
    travel_s = lane.length_m / 13.9 + lane.depart_s - lane.arrive_s
    total = np.concatenate(([0.0], np.cumsum(travel_s)))
    mean_s = np.diff(total[gone]) / np.maximum(left, 1)
    return pa.table(
        {
            "detector": np.full(len(left), detector_number(lane), np.uint32),
            "time": pa.array(midnight_ms + (edges[:-1] * 1000).astype(np.int64)).cast(
                TRUTH_SCHEMA.field("time").type
            ),
            "queue_veh": (come - gone[1:]).astype(np.uint16),
            "departed_veh": left.astype(np.uint16),
            "travel_ms": (mean_s * 1000).astype(np.uint32),
        },
        schema=TRUTH_SCHEMA,
    )


def _fault(options: SynthOptions, lane: Lane) -> dict[str, object] | None:
    """A fault of one of the lane's loops for two to six hours of the day, or none."""
    rng = np.random.default_rng([options.seed, lane.arterial, lane.signal, lane.lane, 7])
    if rng.random() >= options.faulty:
        return None
    # By day: at night a silent loop is like any other.
    first, last = max(options.hours[0], 6), min(options.hours[1] - 2, 18)
    if last < first:
        return None
    begin_s = float(rng.uniform(first, last)) * HOUR_S
    return {
        "detector": detector_number(lane) + int(rng.integers(0, 2)),
        "kind": FAULTS[int(rng.integers(0, len(FAULTS)))],
        "begin_s": begin_s,
        "end_s": min(begin_s + float(rng.uniform(2, 6)) * HOUR_S, options.hours[1] * HOUR_S),
    }


def _spoilt(
    rows: dict[str, NDArray[np.generic]], fault: dict[str, object], begin_s: float
) -> dict[str, NDArray[np.generic]]:
    """What the loop tells instead."""
    time_s = rows["time"].astype(np.float64)
    hit = rows["detector"] == fault["detector"]
    hit &= (time_s >= float(str(fault["begin_s"]))) & (time_s < float(str(fault["end_s"])))
    kind = fault["kind"]
    if kind == "silent":
        return {name: values[~hit] for name, values in rows.items()}
    if kind == "stuck on":
        # Told again and again as covered, nobody counted.
        rows = {name: values[~hit] for name, values in rows.items()}
        again_s = np.arange(float(str(fault["begin_s"])), float(str(fault["end_s"])), STUCK_S)
        again_s = again_s[(again_s >= begin_s) & (again_s < begin_s + HOUR_S)]
        made = {
            "detector": np.full(len(again_s), int(str(fault["detector"]))),
            "time": again_s,
            "on_ms": np.full(len(again_s), 1000 * STUCK_S),
            "speed_cmps": np.zeros(len(again_s)),
            "length_dm": np.full(len(again_s), 255),
        }
        return {name: np.concatenate([values, made[name]]) for name, values in rows.items()}
    times = np.where(hit, 4 if kind == "chatter" else 3, 1)
    spread_s = np.arange(int(times.sum())) - np.repeat(np.cumsum(times) - times, times)
    rows = {name: np.repeat(values, times) for name, values in rows.items()}
    broken = np.repeat(hit, times)
    rows["time"] = rows["time"] + np.where(broken, 0.11 * spread_s, 0.0)
    if kind == "chatter":
        rows["on_ms"] = np.where(broken, 40, rows["on_ms"])
    return rows
