"""Open data: nobody can be told apart in it, neither in one release nor between two."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from topis.cli.main import cli
from topis.errors import InputError, OutputError
from topis.ingest.pipeline import ingest
from topis.ingest.publish import PERIOD_S, TRIP_END_M, publish, safe_cells, trip_ends
from topis.model.schemas import FEEDS

NOON_MS = 1_794_916_800_000
M_PER_LAT = 111_195.0


def gps(rows: list[tuple[int, int, int, float, int]]) -> pa.Table:
    """Rows of (vehicle, second, link, metres driven north, speed in cm/s)."""
    count = len(rows)
    lat = [round(1e7 * (37.5 + row[3] / M_PER_LAT)) for row in rows]
    return pa.table(
        {
            "vehicle": pa.array([row[0] for row in rows], pa.uint64()),
            "time": pa.array([NOON_MS + 1000 * row[1] for row in rows], pa.int64()).cast(
                FEEDS["gps"].column("time").type
            ),
            "lat_e7": pa.array(lat, pa.int32()),
            "lon_e7": pa.array([1_270_000_000] * count, pa.int32()),
            "speed_cmps": pa.array([row[4] for row in rows], pa.uint16()),
            "heading_cdeg": pa.array([0] * count, pa.uint16()),
            "kind": pa.array([2] * count, pa.uint8()),
            "route": pa.array([0] * count, pa.uint32()),
            "link": pa.array([row[2] for row in rows], pa.uint32()),
            "offset_dm": pa.nulls(count, pa.uint32()),
            "quality": pa.array([0] * count, pa.uint8()),
        },
        schema=FEEDS["gps"].schema,
    )


def drive(
    vehicle: int, start_s: int, speed_mps: float = 10.0, km: int = 3
) -> list[tuple[int, int, int, float, int]]:
    """A trip over links 1, 2, 3 ... of a kilometre each, a report every five seconds."""
    seconds = range(0, round(1000 * km / speed_mps), 5)
    return [
        (vehicle, start_s + s, 1 + int(speed_mps * s) // 1000, speed_mps * s, int(100 * speed_mps))
        for s in seconds
    ]


trips = st.lists(
    st.tuples(st.integers(1, 12), st.integers(0, 2000), st.integers(3, 20)), min_size=1, max_size=25
)


@settings(max_examples=60, deadline=None)
@given(trips=trips, least=st.integers(2, 6))
def test_every_cell_has_enough_vehicles_and_periods_never_overlap(
    trips: list[tuple[int, int, int]], least: int
) -> None:
    rows = [row for v, start, mps in trips for row in drive(v, start, float(mps))]
    table = gps(rows)
    cells, withheld = safe_cells(table, least)
    inside = ~trip_ends(table)
    link = table["link"].to_numpy()[inside]
    period = table["time"].cast(pa.int64()).to_numpy()[inside] // (1000 * PERIOD_S)
    vehicle = table["vehicle"].to_numpy()[inside]
    truth: dict[tuple[int, int], set[int]] = {}
    for key, who in zip(zip(link.tolist(), period.tolist(), strict=True), vehicle, strict=True):
        truth.setdefault(key, set()).add(int(who))
    told = [(row["link"], round(row["time"].timestamp()) // PERIOD_S) for row in cells.to_pylist()]
    assert len(set(told)) == len(told), "a vehicle-second is in one cell only"
    assert all(len(truth[key]) >= least for key in told)
    assert withheld == sum(len(who) < least for who in truth.values())
    for row, key in zip(cells.to_pylist(), told, strict=True):
        # A step of k hides whether one more or less was there.
        assert row["vehicles_at_least"] % least == 0
        assert row["vehicles_at_least"] <= len(truth[key])


def test_two_releases_cannot_be_subtracted(tmp_path: Path) -> None:
    """Not the same hour twice, when one more vehicle has come; and no cell is in two hours."""
    rows = [row for v in range(1, 8) for row in drive(v, 3000 + 10 * v, 5.0, 4)]
    archive, out = tmp_path / "archive", tmp_path / "open"
    for number, content in enumerate((rows, drive(99, 3035, 5.0, 4))):
        source = tmp_path / f"{number}.parquet"
        pq.write_table(gps(content), source)
        ingest([source], archive)
        if number == 0:
            publish(archive, out, "2026-11-17", 12)
    with pytest.raises(OutputError, match="subtracted"):
        publish(archive, out, "2026-11-17", 12)
    publish(archive, out, "2026-11-17", 13)
    cells = [
        (row["link"], row["time"])
        for path in sorted(out.glob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]
    assert len(cells) > 4
    assert len(set(cells)) == len(cells)


def test_ends_of_trips_are_left_out() -> None:
    table = gps(drive(1, 0, 10.0, 2) + [(2, s, 1, 10.0 * s, 1000) for s in range(0, 40, 5)])
    ends = trip_ends(table)
    metres = np.array([10.0 * (row % 40) * 5 for row in range(40)])
    near = (metres < TRIP_END_M) | (metres > 1950 - TRIP_END_M)
    assert (ends[:40] == near).all()
    assert ends[40:].all(), "a trip shorter than two ends is all ends"


def test_who_stands_at_home_is_at_the_end_of_a_trip() -> None:
    """Five minutes at home with GPS that wanders, then off: nothing within 300 m is left."""
    rng = np.random.default_rng(1)
    home = [(1, s, 1, float(rng.normal(0, 5)), 0) for s in range(300)]
    away = [(1, 300 + s, 1, 10.0 * s, 1000) for s in range(200)]
    table = gps(home + away)
    kept = ~trip_ends(table)
    metres = np.array([row[3] for row in home + away])
    assert kept.any()
    assert metres[kept].min() >= TRIP_END_M - 15
    assert metres[kept].max() <= 1990 - TRIP_END_M + 15


def test_a_crawling_vehicle_has_one_vote() -> None:
    slow = [(1, s, 5, 1000.0 + 1.0 * s, 100) for s in range(300)]
    fast = [(v, s, 5, 1000.0 + 20.0 * s, 2000) for v in range(2, 7) for s in (100, 105)]
    rows = slow + fast
    far = [(v, 0, 9, 0.0, 500) for v in range(1, 7)] + [
        (v, 299, 9, 9000.0, 500) for v in range(1, 7)
    ]
    cells, _ = safe_cells(gps(rows + far), 5)
    (row,) = [r for r in cells.to_pylist() if r["link"] == 5]
    assert row["speed_kmh"] == round((1 * 1.0 + 5 * 20.0) / 6 * 3.6)


def test_command_line(tmp_path: Path) -> None:
    rows = [row for v in range(1, 9) for row in drive(v, 15 * v)]
    source = tmp_path / "gps.parquet"
    pq.write_table(gps(rows), source)
    ingest([source], tmp_path / "archive")
    options = ["publish", str(tmp_path / "archive"), "--date", "2026-11-17", "--hour", "12"]
    done = CliRunner().invoke(cli, [*options, "--into", str(tmp_path / "open")])
    assert done.exit_code == 0, done.output
    assert "cells told" in done.output
    (path,) = (tmp_path / "open").glob("*.parquet")
    assert pq.read_table(path)["speed_kmh"].to_pylist()[0] == 36
    with pytest.raises(InputError, match="no probes"):
        publish(tmp_path / "archive", tmp_path / "open", "2026-11-18", 12)
    with pytest.raises(InputError, match="2 or more"):
        publish(tmp_path / "archive", tmp_path / "open", "2026-11-17", 12, least_vehicles=1)
