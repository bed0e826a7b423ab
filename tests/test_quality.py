"""Marks on rows that are kept: late, from a clock that is off, jumps."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_ingest import NOON_MS, loops, nothing_lost, stored, tree
from topis.cli.main import cli
from topis.ingest import arrival
from topis.ingest.adapters import canonical
from topis.ingest.archive import slots_of
from topis.ingest.arrival import LATE_MS, Arrivals, identity_bits
from topis.ingest.jumps import jump_marks
from topis.ingest.pipeline import ingest
from topis.model.quality import JUMP, LATE, MEANINGS, SKEWED
from topis.model.schemas import FEEDS

M_PER_E7 = 0.0111195


def events(detector: list[int], time_ms: list[int]) -> pa.Table:
    """Loop events in order of arrival."""
    count = len(detector)
    return pa.table(
        {
            "detector": pa.array(detector, pa.uint32()),
            "time": pa.array(time_ms, pa.int64()).cast(FEEDS["loop_event"].column("time").type),
            "on_ms": pa.array([200] * count, pa.uint32()),
            "speed_cmps": pa.nulls(count, pa.uint16()),
            "length_dm": pa.nulls(count, pa.uint8()),
            "quality": pa.array([0] * count, pa.uint8()),
        },
        schema=FEEDS["loop_event"].schema,
    )


def marked(table: pa.Table, cuts: list[int]) -> tuple[list[int], tuple[int, int, object]]:
    """Marks of rows taken in with these cuts, and what is told of all."""
    arrivals = Arrivals()
    feed = FEEDS["loop_event"]
    edges = sorted({0, len(table), *(min(cut, len(table)) for cut in cuts)})
    marks: list[int] = []
    for a, b in itertools.pairwise(edges):
        marks += arrivals.marked(feed, table.slice(a, b - a))["quality"].to_pylist()
    return marks, (arrivals.late, arrivals.unordered, arrivals.skews())


def test_bits_are_documented() -> None:
    text = (Path(__file__).parents[1] / "docs" / "data.md").read_text()
    for bit, (name, meaning) in MEANINGS.items():
        assert f"| {bit} | {name} | {meaning} |" in text


def test_every_entity_is_told_by_a_number() -> None:
    for feed in FEEDS.values():
        assert sum(bits for _, bits in identity_bits(feed)) <= 64, feed.name


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 300_000)), max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=5),
)
def test_late_rows_are_those_of_the_definition_however_batches_are_cut(
    rows: list[tuple[int, int]], cuts: list[int]
) -> None:
    table = events([d for d, _ in rows], [NOON_MS + t for _, t in rows])
    latest: dict[int, int] = {}
    late, unordered = [], 0
    for detector, moment in rows:
        before = latest.get(detector, moment)
        late.append(LATE if moment < before - LATE_MS else 0)
        unordered += before - LATE_MS <= moment < before
        latest[detector] = max(before, moment)
    marks, (count, out_of_order, _) = marked(table, cuts)
    assert marks == late
    assert (count, out_of_order) == (sum(map(bool, late)), unordered)


def merged_stream(
    rng: np.random.Generator, entities: int, rows: int, skew_ms: dict[int, int], jitter_ms: int
) -> tuple[list[int], list[int]]:
    """Detectors and times in order of arrival; the clocks of some are off."""
    arrival_ms = np.sort(rng.integers(0, 1000 * rows, rows)) + NOON_MS
    detector = rng.integers(1, entities + 1, rows)
    told = arrival_ms - rng.integers(0, jitter_ms + 1, rows)
    told += np.array([skew_ms.get(d, 0) for d in detector.tolist()])
    return detector.tolist(), told.tolist()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    entities=st.integers(10, 40),
    skew_s=st.sampled_from([-3600, -37, -12, 37, 90, 7200]),
    cuts=st.lists(st.integers(0, 2400), max_size=6),
)
def test_a_clock_that_is_off_is_found_however_batches_are_cut(
    seed: int, entities: int, skew_s: int, cuts: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    detector, told = merged_stream(rng, entities, 2400, {3: 1000 * skew_s}, 1500)
    marks, counts = marked(events(detector, told), cuts)
    assert (marks, counts) == marked(events(detector, told), [])
    skews, rows = counts[2]  # type: ignore[misc]
    assert list(skews) == ["loop_event"]
    assert list(skews["loop_event"]) == ["3"]
    assert abs(skews["loop_event"]["3"] - 1000 * skew_s) < 4000
    assert rows == detector.count(3)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    entities=st.integers(1, 40),
    order=st.sampled_from(["arrival", "time", "entity", "slots"]),
)
def test_clean_sources_have_no_marks(seed: int, entities: int, order: str) -> None:
    rng = np.random.default_rng(seed)
    detector, told = merged_stream(rng, entities, 3000, {}, 1500)
    rows = list(zip(detector, told, strict=True))
    if order == "time":
        rows.sort(key=lambda row: row[1])
    elif order == "entity":
        rows.sort()
    elif order == "slots":
        rows.sort(key=lambda row: (row[1] // 300_000, row))
    marks, (late, _, (skews, skewed)) = marked(events(*map(list, zip(*rows, strict=True))), [])
    assert not any(marks)
    assert (late, skews, skewed) == (0, {}, 0)


def test_skew_is_no_matter_of_few_or_of_most() -> None:
    """Among two nobody knows who is right; a file sorted by entity tells nothing of clocks."""
    rng = np.random.default_rng(1)
    detector, told = merged_stream(rng, 2, 2000, {1: 37_000}, 500)
    assert marked(events(detector, told), [])[1][2] == ({}, 0)
    detector, told = merged_stream(rng, 12, 5000, dict.fromkeys(range(1, 7), 37_000), 500)
    assert marked(events(detector, told), [])[1][2] == ({}, 0)
    detector, told = merged_stream(rng, 12, 5000, {1: 37_000}, 500)
    rows = sorted(zip(detector, told, strict=True))
    assert marked(events(*map(list, zip(*rows, strict=True))), [])[1][2] == ({}, 0)


def test_evidence_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "_MOST_SAMPLES", 2000)
    detector, told = merged_stream(np.random.default_rng(2), 16, 30_000, {5: 37_000}, 500)
    whole, (_, _, (skews, _)) = marked(events(detector, told), [])
    assert list(skews["loop_event"]) == ["5"]
    parts, (_, _, (again, _)) = marked(events(detector, told), [10, 7000, 7001, 22_222])
    assert (parts, again) == (whole, skews)


@pytest.mark.parametrize("name", FEEDS)
def test_the_archives_own_order_has_no_marks(name: str) -> None:
    """Of any feed: by slot of time, then by what it is sorted by."""
    feed = FEEDS[name]
    rng = np.random.default_rng(5)
    count = 4000
    columns = {
        c.name: rng.integers(1, 5, count)
        for c in feed.columns
        if c.name in (*feed.order, *feed.key, "quality") and c.name != "time"
    }
    columns["time"] = NOON_MS + rng.integers(0, 3_600_000, count)
    slot = slots_of(feed, columns["time"])
    order = np.lexsort([columns[k] for k in reversed(feed.order)] + [slot])
    table = pa.table({k: v[order] for k, v in columns.items()})
    arrivals = Arrivals()
    assert arrivals.marked(feed, table).equals(table)
    assert arrivals.late == 0
    assert arrivals.skews() == ({}, 0)


def gps(rows: list[tuple[int, float, float]]) -> pa.Table:
    """Vehicle, second, metres north."""
    feed = FEEDS["gps"]
    count = len(rows)
    columns = {
        "vehicle": pa.array([r[0] for r in rows], pa.uint64()),
        "time": pa.array([NOON_MS + round(1000 * r[1]) for r in rows], pa.int64()).cast(
            feed.column("time").type
        ),
        "lat_e7": pa.array([375_000_000 + round(r[2] / M_PER_E7) for r in rows], pa.int32()),
        "lon_e7": pa.array([1_270_000_000] * count, pa.int32()),
        "speed_cmps": pa.nulls(count, pa.uint16()),
        "heading_cdeg": pa.nulls(count, pa.uint16()),
        "kind": pa.array([2] * count, pa.uint8()),
        "route": pa.array([0] * count, pa.uint32()),
        "link": pa.nulls(count, pa.uint32()),
        "offset_dm": pa.nulls(count, pa.uint32()),
        "quality": pa.array([0] * count, pa.uint8()),
    }
    return pa.table(columns, schema=feed.schema)


def jumps(rows: list[tuple[int, float, float]]) -> list[int]:
    table = gps(rows)
    found = jump_marks(
        table["vehicle"].to_numpy(),
        table["time"].cast(pa.int64()).to_numpy(),
        table["lat_e7"].to_numpy(),
        table["lon_e7"].to_numpy(),
    )
    return np.flatnonzero(found).tolist()


def drive(vehicle: int, seconds: int, every: int = 10) -> list[tuple[int, float, float]]:
    return [(vehicle, float(s), 12.0 * s) for s in range(0, seconds, every)]


@pytest.mark.parametrize("odd", [0, 1, 30, 58, 59])
def test_a_jump_there_and_back_marks_the_odd_one_out(odd: int) -> None:
    rows = drive(1, 600)
    rows[odd] = (1, rows[odd][1], rows[odd][2] + 20_000)
    assert jumps(rows) == [odd]


def test_jumps_of_some_kinds() -> None:
    assert jumps(drive(1, 600)) == []
    assert jumps([(1, 0, 0), (1, 1, 99)]) == [], "GPS strays by less than 100 m"
    assert jumps([(1, 0, 0), (1, 10, 690)]) == []
    assert jumps([(1, 0, 0), (1, 10, 710)]) == [1], "of two the first stands"
    twice = drive(1, 600)
    twice[20:22] = [(1, s, y + 9000) for _, s, y in twice[20:22]]
    assert jumps(twice) == [20, 21]
    moved = [(1, s, y + (50_000 if s >= 300 else 0)) for _, s, y in drive(1, 600)]
    assert jumps(moved) == [30], "it has moved: its first row there"
    both = [row for a, s, y in drive(1, 600) for row in ((a, s, y), (a, s + 5, y + 30_000))]
    assert jumps(both) in (list(range(1, 120, 2)), list(range(0, 120, 2))), "two of one name"


@settings(max_examples=60, deadline=None)
@given(data=st.data(), seed=st.integers(0, 1000))
def test_planted_jumps_are_found_whatever_files_they_come_in(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """One call or many, in any order of rows and files, over the ends of hours."""
    folder = tmp_path_factory.mktemp("jumps")
    rng = np.random.default_rng(seed)
    rows = []
    planted = set()
    for vehicle in (1, 2, 3):
        start = 3600 - data.draw(st.integers(0, 400))
        own = [(v, start + s, y + float(rng.normal(0, 5))) for v, s, y in drive(vehicle, 600)]
        for odd in data.draw(st.sets(st.integers(0, 19), max_size=3)):
            own[3 * odd] = (vehicle, own[3 * odd][1], own[3 * odd][2] + 30_000)
            planted.add((vehicle, NOON_MS + 1000 * own[3 * odd][1]))
        rows += own
    parts = data.draw(st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows)))
    order = rng.permutation(len(rows))
    paths = []
    for number in range(3):
        path = folder / f"{number}.parquet"
        pq.write_table(gps([rows[i] for i in order if parts[i] == number]), path)
        paths.append(path)
    reports = ingest(paths, folder / "one")
    nothing_lost(reports)
    for path in reversed(paths):
        ingest([path], folder / "many")
    for name in ("one", "many"):
        table = stored(folder / name, "gps")
        jump = (table["quality"].to_numpy() & JUMP) > 0
        vehicle = table["vehicle"].to_numpy()[jump].tolist()
        time_ms = table["time"].cast(pa.int64()).to_numpy()[jump].tolist()
        assert set(zip(vehicle, time_ms, strict=True)) == planted
    assert sum(report.jumps for report in reports) == len(planted)
    assert (
        stored(folder / "one", "gps")
        .drop("quality")
        .equals(stored(folder / "many", "gps").drop("quality"))
    )


def test_marks_are_stored_counted_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    detector, told = merged_stream(rng, 8, 3000, {3: 37_000}, 1000)
    detector[2000], told[2000] = 5, NOON_MS + 100_000
    source = tmp_path / "stream.parquet"
    pq.write_table(events(detector, told), source)
    (whole,) = ingest([source], tmp_path / "whole")
    monkeypatch.setattr(canonical, "BATCH_ROWS", 777)
    (report,) = ingest([source], tmp_path / "cut")
    assert tree(tmp_path / "cut") == tree(tmp_path / "whole")
    assert report == whole
    nothing_lost([report])
    assert report.late == 1
    assert report.unordered > 0
    assert report.skewed == detector.count(3)
    assert report.skews["loop_event"]["3"] == pytest.approx(37_000, abs=1500)
    table = stored(tmp_path / "cut")
    quality = table["quality"].to_numpy()
    assert ((quality & LATE) > 0).sum() == 1
    assert (((quality & SKEWED) > 0) == (table["detector"].to_numpy() == 3)).all()
    done = CliRunner().invoke(cli, ["ingest", str(source), "--into", str(tmp_path / "cut")])
    assert "1 x late" in done.output
    assert f"{detector.count(3)} x from a clock that is off" in done.output
    done = CliRunner().invoke(
        cli, ["ingest", str(source), "--into", str(tmp_path / "new"), "--json"]
    )
    (counts,) = json.loads(done.stdout)
    assert (counts["late"], counts["skewed"], counts["jumps"]) == (1, report.skewed, 0)
    done = CliRunner().invoke(cli, ["data", "health", str(tmp_path / "cut")])
    assert "1 clocks off" in done.output
    assert "detector 3" in done.output
    done = CliRunner().invoke(cli, ["data", "describe", str(tmp_path / "cut")])
    assert "doubtful: 1 x late" in done.output


def test_marks_do_not_make_rows_contradict(tmp_path: Path) -> None:
    """The same row, late in one file and in order in the other, is the same row."""
    first = loops(tmp_path / "a.parquet", [1, 1], [NOON_MS, NOON_MS + 90_000], [1, 2])
    second = loops(tmp_path / "b.parquet", [1, 1], [NOON_MS + 90_000, NOON_MS], [2, 1])
    reports = ingest([first], tmp_path / "archive") + ingest([second], tmp_path / "archive")
    nothing_lost(reports)
    assert [(r.rows, r.duplicates, r.quarantined, r.late) for r in reports] == [
        (2, 0, 0, 0),
        (0, 2, 0, 1),
    ]
    assert stored(tmp_path / "archive")["quality"].to_pylist() == [0, 0]


def test_an_archives_own_files_have_no_late_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    detector, told = merged_stream(rng, 8, 3000, {}, 1000)
    pq.write_table(events(detector, told), tmp_path / "a.parquet")
    ingest([tmp_path / "a.parquet"], tmp_path / "archive")
    for number, path in enumerate(sorted((tmp_path / "archive").rglob("part.parquet"))):
        copy = tmp_path / f"copy{number}.parquet"
        shutil.copyfile(path, copy)
        (report,) = ingest([copy], tmp_path / "again")
        assert (report.late, report.unordered, report.skewed) == (0, 0, 0)


def probes(folder: Path) -> None:
    """Three files of an hour and a half with jumps in them."""
    rng = np.random.default_rng(6)
    folder.mkdir()
    rows = [row for vehicle in range(1, 60) for row in drive(vehicle, 5400, 5)]
    rows = [
        (v, s, y + 50_000 * (draw < 0.01))
        for (v, s, y), draw in zip(rows, rng.random(len(rows)), strict=True)
    ]
    order = rng.permutation(len(rows))
    for number in range(3):
        part = [rows[i] for i in order[number::3]]
        pq.write_table(gps(part), folder / f"{number}.parquet")


def test_killed_at_any_moment_marks_come_out_the_same(tmp_path: Path) -> None:
    probes(tmp_path / "in")
    secret = tmp_path / "secret"
    command = [sys.executable, "-m", "topis", "ingest", str(tmp_path / "in")]
    command += ["--secret", str(secret)]
    began = time.monotonic()
    whole = [*command, "--into", str(tmp_path / "whole")]
    subprocess.run(whole, check=True, capture_output=True)
    took_s = time.monotonic() - began
    draw = np.random.default_rng(7)
    cut = [*command, "--into", str(tmp_path / "cut")]
    for _ in range(8):
        process = subprocess.Popen(cut, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(draw.uniform(0.5, 1.0) * took_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(cut, check=True, capture_output=True)
    assert tree(tmp_path / "cut") == tree(tmp_path / "whole")
    quality = stored(tmp_path / "cut", "gps")["quality"].to_numpy()
    assert 0.005 < ((quality & JUMP) > 0).mean() < 0.02


def test_a_damaged_hour_keeps_no_other_out(tmp_path: Path) -> None:
    for number in range(3):
        rows = [(v, s + 3600 * number, y) for v, s, y in drive(1, 3600)]
        pq.write_table(gps(rows), tmp_path / f"{number}.parquet")
    ingest([tmp_path / "0.parquet", tmp_path / "2.parquet"], tmp_path / "archive")
    first, *_ = sorted((tmp_path / "archive").rglob("part.parquet"))
    first.write_bytes(b"PAR1")
    (report,) = ingest([tmp_path / "1.parquet"], tmp_path / "archive")
    assert (report.rows, report.jumps) == (360, 0)
