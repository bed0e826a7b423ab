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
from topis.ingest.publish import KEPT_IN, PERIOD_S, TRIP_END_M, publish, safe_cells, trip_ends
from topis.model.quality import LATE, SKEWED
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


def taken_in(archive: Path, rows: list[tuple[int, int, int, float, int]]) -> None:
    """More rows for an archive."""
    source = archive.with_name(f"{len(list(archive.parent.iterdir()))}.parquet")
    pq.write_table(gps(rows), source)
    ingest([source], archive)


def told(folder: Path) -> dict[tuple[str, object], tuple[int, int]]:
    """Every cell of all releases in a folder: speed and vehicles."""
    cells: dict[tuple[str, object], tuple[int, int]] = {}
    for path in sorted(folder.glob("*.parquet")):
        for row in pq.read_table(path).to_pylist():
            key = row["link"], row["time"]
            assert key not in cells, "no cell is in two releases"
            assert row["period_s"] == PERIOD_S
            cells[key] = row["speed_kmh"], row["vehicles_at_least"]
    return cells


def test_an_hour_is_told_once_whatever_has_come_since(tmp_path: Path) -> None:
    """Not again with one more vehicle, into whichever folder; and no cell is in two hours."""
    rows = [row for v in range(1, 8) for row in drive(v, 3000 + 10 * v, 5.0, 4)]
    archive, out, other = tmp_path / "archive", tmp_path / "open", tmp_path / "other"
    taken_in(archive, rows)
    assert not publish(archive, out, "2026-11-17", 12).again
    first = told(out)
    taken_in(archive, drive(99, 3035, 5.0, 4) + drive(98, 3035, 5.0, 4) + drive(97, 3035, 5.0, 4))
    for folder in (out, other):
        release = publish(archive, folder, "2026-11-17", 12)
        assert release.again
        assert told(folder) == first
    assert (out / "speeds-2026-11-17-12.json").read_bytes() == (
        other / "speeds-2026-11-17-12.json"
    ).read_bytes()
    publish(archive, out, "2026-11-17", 13)
    both = told(out)
    assert len(both) > len(first) >= 4
    assert {key: both[key] for key in first} == first


def test_no_hour_is_told_with_two_ks(tmp_path: Path) -> None:
    """What 10 hide and 5 tell are the cells of 5 to 9 vehicles."""
    archive = tmp_path / "archive"
    taken_in(archive, [row for v in range(1, 13) for row in drive(v, 15 * v)])
    publish(archive, tmp_path / "a", "2026-11-17", 12, least_vehicles=10)
    for k in (5, 6, 11):
        with pytest.raises(InputError, match=r"published with k 10; .* subtracted"):
            publish(archive, tmp_path / "b", "2026-11-17", 12, least_vehicles=k)
    assert not (tmp_path / "b").exists()
    # Whatever k, fewer than five are never told.
    for k in (0, 1, 2, 4):
        with pytest.raises(InputError, match="give 5 or more"):
            publish(archive, tmp_path / "b", "2026-11-17", 13, least_vehicles=k)


def test_a_release_that_could_not_be_written_is_the_same_later(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    taken_in(archive, [row for v in range(1, 9) for row in drive(v, 15 * v)])
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match="cannot be written"):
        publish(archive, tmp_path / "file", "2026-11-17", 12)
    kept = archive / KEPT_IN / "speeds-2026-11-17-12.parquet"
    before = kept.read_bytes()
    taken_in(archive, [row for v in range(20, 29) for row in drive(v, 15 * v)])
    publish(archive, tmp_path / "open", "2026-11-17", 12)
    assert (tmp_path / "open" / kept.name).read_bytes() == before == kept.read_bytes()
    assert [p.name for p in kept.parent.iterdir()] == [kept.name]
    # Who meddles with what is kept cannot publish the hour anew.
    kept.write_bytes(before[:-100])
    with pytest.raises(InputError, match="is damaged"):
        publish(archive, tmp_path / "open", "2026-11-17", 12)


def test_another_archive_does_not_go_into_the_same_folder(tmp_path: Path) -> None:
    for name, count in (("a", 9), ("b", 12)):
        (tmp_path / name).mkdir()
        rows = [row for v in range(1, count) for row in drive(v, 15 * v)]
        taken_in(tmp_path / name / "archive", rows)
    publish(tmp_path / "a" / "archive", tmp_path / "open", "2026-11-17", 12)
    before = told(tmp_path / "open")
    with pytest.raises(OutputError, match="subtracted"):
        publish(tmp_path / "b" / "archive", tmp_path / "open", "2026-11-17", 12)
    assert told(tmp_path / "open") == before


@settings(max_examples=25, deadline=None)
@given(
    trips=st.lists(
        st.tuples(st.integers(1, 14), st.integers(0, 6000), st.integers(3, 20)),
        min_size=10,
        max_size=40,
    ),
    asked=st.lists(
        st.tuples(
            st.booleans(), st.integers(12, 14), st.sampled_from([4, 5, 5, 5, 7]), st.integers(0, 1)
        ),
        min_size=2,
        max_size=8,
    ),
)
def test_nobody_is_found_again_in_all_that_was_released(
    tmp_path_factory: pytest.TempPathFactory,
    trips: list[tuple[int, int, int]],
    asked: list[tuple[bool, int, int, int]],
) -> None:
    """An attacker with every release: any order, any k, any folder, rows coming in between.

    Unique cells, one release less another, sums over periods that overlap: nothing under five.
    """
    folder = tmp_path_factory.mktemp("attack")
    archive = folder / "archive"
    parts = [trips[::2], trips[1::2]]
    known: set[tuple[int, int, int, float, int]] = set()
    releases: list[tuple[int, dict[tuple[str, object], tuple[int, int]]]] = []
    for more, hour, k, place in asked:
        if (more or not known) and parts:
            fresh = [row for v, s, mps in parts.pop() for row in drive(v, s, float(mps))]
            # A vehicle is in one place at a time.
            seen = {row[:2] for row in known}
            fresh = list({row[:2]: row for row in fresh if row[:2] not in seen}.values())
            known |= set(fresh)
            if fresh:
                taken_in(archive, fresh)
        out = folder / str(place)
        try:
            release = publish(archive, out, "2026-11-17", hour, least_vehicles=k)
        except (InputError, OutputError):
            continue
        releases.append((hour, {
            (row["link"], row["time"]): (row["speed_kmh"], row["vehicles_at_least"])
            for row in pq.read_table(release.path).to_pylist()
        }))  # fmt: skip
    # The truth as it is in the end: who was on which link in which period.
    there: dict[tuple[str, int], set[int]] = {}
    for vehicle, second, link, _, _ in known:
        there.setdefault((str(link), (NOON_MS // 1000 + second) // PERIOD_S), set()).add(vehicle)
    everything: dict[tuple[str, int], tuple[int, int]] = {}
    for hour, cells in releases:
        for (link, time), value in cells.items():
            period = round(time.timestamp()) // PERIOD_S  # type: ignore[attr-defined]
            assert time.timestamp() % PERIOD_S == 0  # type: ignore[attr-defined]
            assert period * PERIOD_S // 3600 % 24 == hour, "periods never overlap, not even hours"
            assert value[1] >= 5
            assert len(there[link, period]) >= value[1]
            # Any two releases of a cell are the same: one less the other is nothing.
            assert everything.setdefault((link, period), value) == value
    for hour in {hour for hour, _ in releases}:
        same = [cells for other, cells in releases if other == hour]
        assert all(cells == same[0] for cells in same), "nor does one have cells the other lacks"


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


def test_one_report_that_is_amiss_does_not_end_the_end_of_a_trip() -> None:
    """At home, with one fix two streets away: home is still home."""
    rows = [(1, s, 1, 350.0 if s == 40 else 0.0, 0) for s in range(0, 100, 5)]
    rows += [(1, 100 + s, 1, 10.0 * s, 1000) for s in range(0, 200, 5)]
    kept = ~trip_ends(gps(rows))
    metres = np.array([row[3] for row in rows])
    assert kept.any()
    assert metres[kept].min() >= TRIP_END_M
    assert not kept[:20].any()


def test_trips_do_not_end_with_the_hour(tmp_path: Path) -> None:
    """Who is home a minute past the hour is not told of as it drove past its home before."""
    home_m, turn_m = 2400.0, 2650.0
    rows = []
    for v in range(1, 11):
        for second in range(3330, 3625, 5):
            metres = min(10.0 * (second - 3330), 2 * turn_m - 10.0 * (second - 3330))
            rows.append((v, second, 7 if abs(metres - home_m) <= 100 else 1, metres, 1000))
    taken_in(tmp_path / "archive", rows)
    release = publish(tmp_path / "archive", tmp_path / "open", "2026-11-17", 12)
    assert pq.read_table(release.path)["link"].to_pylist() == ["1"]
    # Of the hour alone one could not know.
    before = gps([row for row in rows if row[1] < 3600])
    assert 7 in safe_cells(before, 5)[0]["link"].to_pylist()


@pytest.mark.parametrize(("mark", "counts"), [(0, True), (LATE, True), (SKEWED, False)])
def test_who_has_a_wrong_clock_makes_no_crowd(tmp_path: Path, mark: int, counts: bool) -> None:
    table = gps([row for v in range(1, 6) for row in drive(v, 15 * v)])
    marked = np.where(table["vehicle"].to_numpy() == 3, mark, 0).astype(np.uint8)
    place = table.schema.get_field_index("quality")
    table = table.set_column(place, table.schema.field("quality"), pa.array(marked))
    pq.write_table(table, tmp_path / "gps.parquet")
    ingest([tmp_path / "gps.parquet"], tmp_path / "archive")
    release = publish(tmp_path / "archive", tmp_path / "open", "2026-11-17", 12)
    assert (release.cells > 0) == counts


@pytest.mark.parametrize("amiss", [False, True])
def test_who_was_never_there_makes_no_crowd(tmp_path: Path, amiss: bool) -> None:
    """A fifth vehicle with one report on the link of four, between two that are 20 km off."""
    rows = [row for v in range(1, 5) for row in drive(v, 15 * v)]
    rows += [(9, s, 50, 20_000 + metres, speed) for _, s, _, metres, speed in drive(9, 30)]
    if amiss:
        rows = [(v, s, 2, 1500.0, w) if (v, s) == (9, 180) else (v, s, n, m, w)
                for v, s, n, m, w in rows]  # fmt: skip
        assert (9, 180, 2, 1500.0, 1000) in rows
    taken_in(tmp_path / "archive", rows)
    release = publish(tmp_path / "archive", tmp_path / "open", "2026-11-17", 12)
    assert release.cells == 0


def test_a_crawling_vehicle_has_one_vote() -> None:
    slow = [(1, s, 5, 1000.0 + 1.0 * s, 100) for s in range(300)]
    fast = [(v, s, 5, 1000.0 + 20.0 * s, 2000) for v in range(2, 7) for s in (100, 105)]
    rows = slow + fast
    far = [(v, s, 9, 0.0, 500) for v in range(1, 7) for s in (-10, -5)] + [
        (v, s, 9, 9000.0, 500) for v in range(1, 7) for s in (305, 310)
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
    with pytest.raises(InputError, match="5 or more"):
        publish(tmp_path / "archive", tmp_path / "open", "2026-11-17", 12, least_vehicles=1)


def test_a_damaged_hour_is_not_published(tmp_path: Path) -> None:
    rows = [row for v in range(1, 9) for row in drive(v, 15 * v)]
    archive = tmp_path / "archive"
    taken_in(archive, rows)
    (part,) = archive.glob("feed=gps/*/hour=12/*/part.parquet")
    part.write_bytes(part.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged"):
        publish(archive, tmp_path / "open", "2026-11-17", 12)
    assert not (archive / KEPT_IN).exists()
