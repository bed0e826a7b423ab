"""Open data from the archive: speeds by link that tell of no single vehicle.

A cell is one link in one period. It is published when at least k different vehicles were seen in
it, away from the ends of their trips (k-anonymity; k = 5 is practice, no law names it). Periods
stand side by side on a fixed grid and never overlap, no hour is published twice, and there are no
totals beside the cells: subtracting one release from another gives nothing that was not in them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from topis.errors import InputError, OutputError
from topis.ingest.archive import partitions
from topis.ingest.dimensions import Dimensions

LEAST_VEHICLES = 5
PERIOD_S = 300
#: Where a trip begins and ends tells who drives: so much of it is left out at both ends.
TRIP_END_M = 300.0
#: A vehicle silent for longer begins another trip (s).
TRIP_GAP_S = 300.0
_EARTH_M = 6_371_000.0

PUBLISHED_SCHEMA = pa.schema(
    [
        ("link", pa.string()),
        ("time", pa.timestamp("ms", tz="UTC")),
        ("period_s", pa.uint32()),
        ("speed_kmh", pa.uint8()),
        ("vehicles_at_least", pa.uint16()),
    ],
    metadata={"topis": "open/1"},
)


@dataclass(frozen=True)
class Release:
    """What one call published."""

    cells: int
    withheld: int
    path: Path


def publish(
    archive: Path, into: Path, date: str, hour: int, *, least_vehicles: int = LEAST_VEHICLES
) -> Release:
    """Publish an hour of matched probes (UTC) as Parquet, and JSON for who cannot read that.

    Speeds are whole km/h; vehicles are told in steps of k.

    Raises
    ------
    InputError
        No archive, no probes in that hour, none of them matched to a link, k below 2.
    OutputError
        The folder cannot be written, or has that hour.
    """
    if least_vehicles < 2:
        raise InputError(f"k is {least_vehicles}; a cell of one vehicle is that vehicle: 2 or more")
    path = into / f"speeds-{date}-{hour:02d}.parquet"
    if path.exists():
        raise OutputError(
            f"{path}: that hour is published; a second release, with rows that came late, could "
            "be subtracted from the first"
        )
    names = Dimensions(archive).names("links")
    paths = [
        path
        for partition, path in partitions(archive)
        if (partition.feed, partition.date, partition.hour) == ("gps", date, hour)
    ]
    if not paths:
        raise InputError(f"{archive}: no probes on {date} in hour {hour:02d} (UTC)")
    table = pa.concat_tables(pq.read_table(path, partitioning=None) for path in paths)
    matched = table.filter(pa.compute.is_valid(table["link"]))
    if not len(matched):
        raise InputError(f"{archive}: no probe of that hour is matched; ingest with --network")
    open_cells, withheld = safe_cells(matched, least_vehicles)
    rows = open_cells.to_pylist()
    published = pa.Table.from_pylist(
        [{**row, "link": names.get(row["link"], str(row["link"]))} for row in rows],
        schema=PUBLISHED_SCHEMA,
    )
    try:
        into.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".json").write_text(
            json.dumps(published.to_pylist(), default=str, ensure_ascii=False)
        )
        # Last and at once: what counts as published is whole.
        draft = path.with_name(f".{path.name}")
        pq.write_table(published, draft, compression="zstd")
        draft.replace(path)
    except OSError as error:
        raise OutputError(f"{into}: cannot be written ({error.strerror}); choose another") from None
    return Release(len(published), withheld, path)


def safe_cells(gps: pa.Table, least_vehicles: int) -> tuple[pa.Table, int]:
    """(cells that may be told, number that may not) of canonical, matched ``gps`` rows."""
    inside = ~trip_ends(gps)
    link = gps["link"].to_numpy()[inside].astype(np.int64)
    period = gps["time"].cast(pa.int64()).to_numpy()[inside] // (1000 * PERIOD_S)
    vehicle = gps["vehicle"].to_numpy()[inside]
    speed = gps["speed_cmps"].to_numpy()[inside].astype(np.float64)
    known = np.isfinite(speed)
    link, period, vehicle, speed = link[known], period[known], vehicle[known], speed[known]
    cells, cell = np.unique(np.stack([link, period]), axis=1, return_inverse=True)
    # One vote a vehicle: who crawls reports more often and must not drown the others.
    _, number = np.unique(vehicle, return_inverse=True)
    votes, vote = np.unique(np.stack([cell, number]), axis=1, return_inverse=True)
    sums = np.bincount(vote, speed, minlength=votes.shape[1])
    own_cmps = sums / np.maximum(np.bincount(vote, minlength=votes.shape[1]), 1)
    count = np.bincount(votes[0], minlength=cells.shape[1])
    total = np.bincount(votes[0], own_cmps, minlength=cells.shape[1])
    mean_kmh = np.rint(total / np.maximum(count, 1) * 0.036).astype(np.int64)
    told = count >= least_vehicles
    out = pa.table(
        {
            "link": cells[0][told],
            "time": pa.array(cells[1][told] * 1000 * PERIOD_S).cast(
                PUBLISHED_SCHEMA.field("time").type
            ),
            "period_s": np.full(int(told.sum()), PERIOD_S, np.uint32),
            "speed_kmh": np.minimum(mean_kmh[told], 255).astype(np.uint8),
            "vehicles_at_least": (count[told] // least_vehicles * least_vehicles).astype(np.uint16),
        }
    )
    return out, int((~told).sum())


def trip_ends(gps: pa.Table) -> NDArray[np.bool_]:
    """Rows of the ends of trips, bool[rows].

    An end lasts until the vehicle is first `TRIP_END_M` from where it began, as the crow flies
    (who stands does not drive, however its GPS wanders), and from when it was last so far from
    where it ended.
    """
    vehicle = gps["vehicle"].to_numpy()
    time_ms = gps["time"].cast(pa.int64()).to_numpy()
    order = np.lexsort([time_ms, vehicle])
    lat = np.radians(gps["lat_e7"].to_numpy()[order] / 1e7)
    lon = np.radians(gps["lon_e7"].to_numpy()[order] / 1e7)
    another = (np.diff(vehicle[order]) != 0) | (np.diff(time_ms[order]) > 1000 * TRIP_GAP_S)
    first = np.flatnonzero(np.concatenate(([True], another)))
    last = np.concatenate((first[1:], [len(order)])) - 1
    near = np.ones(len(order), dtype=bool)
    for begin, end in zip(first.tolist(), last.tolist(), strict=True):
        rows = slice(begin, end + 1)
        away = [
            _EARTH_M * np.hypot(lat[rows] - lat[k], (lon[rows] - lon[k]) * np.cos(lat[k]))
            >= TRIP_END_M
            for k in (begin, end)
        ]
        if away[0].any() and away[1].any():
            from_row = int(np.argmax(away[0]))
            until = len(away[1]) - int(np.argmax(away[1][::-1]))
            near[begin + from_row : begin + until] = False
    out = np.empty(len(order), dtype=bool)
    out[order] = near
    return out
