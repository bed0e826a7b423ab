"""Open data from the archive: speeds by link that tell of no single vehicle.

A cell is one link in one period. It is published when at least k different vehicles were seen in
it, away from the ends of their trips (k-anonymity; k = 5 is practice, no law names it). Periods
stand side by side on a fixed grid and never overlap, and there are no totals beside the cells. An
hour of an archive is released once: what was told is kept in it, and told again as it was whatever
has come since, wherever to; never with another k. So subtracting one release from another gives
nothing that was not in them.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from topis.errors import InputError, OutputError
from topis.ingest.archive import open_partition, partitions
from topis.ingest.dimensions import Dimensions
from topis.model.quality import JUMP, SKEWED
from topis.units import MS_PER_HOUR

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


#: Of the hours before and after, so much tells where trips begin and end (s).
TRIP_CONTEXT_S = 900
#: Releases are kept here in the archive, with their k.
KEPT_IN = "_published"
_K = b"least_vehicles"


@dataclass(frozen=True)
class Release:
    """What one call published; ``again``: as it was published before."""

    cells: int
    withheld: int
    path: Path
    again: bool


def publish(
    archive: Path, into: Path, date: str, hour: int, *, least_vehicles: int = LEAST_VEHICLES
) -> Release:
    """Publish an hour of matched probes (UTC) as Parquet, and JSON for who cannot read that.

    Speeds are whole km/h; vehicles are told in steps of k. An hour that was published before is
    given again as it was.

    Raises
    ------
    InputError
        No archive, no probes in that hour, none of them matched to a link, k below 5, or another
        one than the hour was published with.
    OutputError
        The folder cannot be written, or has that hour of another archive.
    """
    if least_vehicles < LEAST_VEHICLES:
        raise InputError(
            f"k is {least_vehicles}; with fewer than {LEAST_VEHICLES} vehicles in a cell each can "
            f"be guessed: give {LEAST_VEHICLES} or more"
        )
    name = f"speeds-{date}-{hour:02d}.parquet"
    kept = archive / KEPT_IN / name
    again = kept.exists()
    if not again:
        table = _released(archive, date, hour, least_vehicles)
        try:
            _keep(table, kept)
        except OSError as error:
            raise OutputError(f"{kept}: cannot be written ({error.strerror})") from None
    # Not what was worked out, but what stands there: another call may have been quicker.
    table = _kept_release(kept)
    facts = table.schema.metadata
    if int(facts[_K]) != least_vehicles:
        raise InputError(
            f"{archive}: {date} hour {hour:02d} is published with k {int(facts[_K])}; a release "
            "with another could be subtracted from it"
        )
    path = into / name
    content = kept.read_bytes()
    try:
        into.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.read_bytes() != content:
            raise OutputError(
                f"{path}: is another release of that hour; one could be subtracted from the other"
            )
        path.with_suffix(".json").write_text(
            json.dumps(table.to_pylist(), default=str, ensure_ascii=False)
        )
        # Last and at once: what counts as published is whole.
        draft = path.with_name(f".{path.name}")
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        raise OutputError(f"{into}: cannot be written ({error.strerror}); choose another") from None
    return Release(len(table), int(facts[b"withheld"]), path, again)


def _released(archive: Path, date: str, hour: int, least_vehicles: int) -> pa.Table:
    """Cells of an hour that may be told, with k and the number withheld in the metadata."""
    begin_ms = _hour_ms(date, hour)
    moments = {_partition_of(begin_ms + k * MS_PER_HOUR): k for k in (-1, 0, 1)}
    tables: dict[int, list[pa.Table]] = {-1: [], 0: [], 1: []}
    for partition, path in partitions(archive):
        around = moments.get((partition.date, partition.hour))
        if partition.feed == "gps" and around is not None:
            with open_partition(path) as file:
                tables[around].append(file.read())
    if not tables[0]:
        raise InputError(f"{archive}: no probes on {date} in hour {hour:02d} (UTC)")
    table = pa.concat_tables([part for parts in tables.values() for part in parts])
    time_ms = table["time"].cast(pa.int64()).to_numpy()
    near = time_ms >= begin_ms - 1000 * TRIP_CONTEXT_S
    near &= time_ms < begin_ms + MS_PER_HOUR + 1000 * TRIP_CONTEXT_S
    # Places where a vehicle never was end no trip, and make no crowd.
    wrong = table["quality"].to_numpy() & np.uint8(JUMP | SKEWED)
    table = table.filter(pa.array(near & (wrong == 0)))
    time_ms = table["time"].cast(pa.int64()).to_numpy()
    inside = (time_ms >= begin_ms) & (time_ms < begin_ms + MS_PER_HOUR)
    # Trips end off the network as well.
    inside &= table["link"].is_valid().to_numpy()
    if not inside.any():
        raise InputError(f"{archive}: no probe of that hour is matched; ingest with --network")
    open_cells, withheld = safe_cells(table, least_vehicles, inside)
    names = Dimensions(archive).names("links")
    return pa.Table.from_pylist(
        [
            {**row, "link": names.get(row["link"], str(row["link"]))}
            for row in open_cells.to_pylist()
        ],
        schema=PUBLISHED_SCHEMA.with_metadata(
            {
                **PUBLISHED_SCHEMA.metadata,
                _K: str(least_vehicles),
                b"withheld": str(withheld),
            }
        ),
    )


def _hour_ms(date: str, hour: int) -> int:
    try:
        day = np.datetime64(date, "D")
    except ValueError:
        raise InputError(f"date {date!r} is none; write 2026-11-17") from None
    return int(day.astype("datetime64[ms]").astype(np.int64)) + hour * MS_PER_HOUR


def _partition_of(moment_ms: int) -> tuple[str, int]:
    hours = moment_ms // MS_PER_HOUR
    return str(np.datetime64(hours // 24, "D")), hours % 24


def _keep(table: pa.Table, kept: Path) -> None:
    """Write the release into the archive, unless there is one."""
    kept.parent.mkdir(exist_ok=True)
    draft = kept.with_name(f".{os.getpid()}-{kept.name}")
    pq.write_table(table, draft, compression="zstd")
    try:
        # Fails where another call has kept one meanwhile; that one holds.
        os.link(draft, kept)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _kept_release(kept: Path) -> pa.Table:
    try:
        table = pq.read_table(kept, partitioning=None)
        int(table.schema.metadata[_K])
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise InputError.at(
            kept, f"is damaged ({error})", "restore it: without it the hour must not be published"
        ) from None
    return table


def safe_cells(
    gps: pa.Table, least_vehicles: int, which: NDArray[np.bool_] | None = None
) -> tuple[pa.Table, int]:
    """(cells that may be told, number that may not) of canonical ``gps`` rows.

    ``which`` bool[rows]: those to tell of, all matched; the others only show where trips begin
    and end.
    """
    inside = ~trip_ends(gps)
    if which is not None:
        inside &= which
    link = gps["link"].fill_null(0).to_numpy()[inside].astype(np.int64)
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
    where it ended; in two reports running, as one may be amiss.
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
        out_of, back_to = (far[1:] & far[:-1] for far in away)
        if out_of.any() and back_to.any():
            from_row = int(np.argmax(out_of))
            until = len(away[1]) - int(np.argmax(back_to[::-1]))
            near[begin + from_row : begin + until] = False
    out = np.empty(len(order), dtype=bool)
    out[order] = near
    return out
