"""The archive's rows as the sensors' readings: kernel and twin, whole days, any order of rows."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sumolib
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.made_days import DATE, fill, made_day
from tests.reference.view_counts import ViewCounts as SlowCounts
from topis._core.view_counts import ViewCounts
from topis.config import LAYOUTS
from topis.errors import InputError
from topis.ingest.adapters import canonical
from topis.ingest.dimensions import Dimensions
from topis.ingest.pipeline import ingest
from topis.ingest.slices import time_ms_of
from topis.ingest.synth import SynthOptions
from topis.model.lamp import is_green
from topis.model.observation import CAMERA, CAMERA_LINE, LOOP_STOP_LINE, Observation
from topis.model.state import StreetState
from topis.run.archive_run import ArchiveRun, SliceOptions, open_slice
from topis.run.street_states import street_states

F4 = np.float32


# ---- the kernel ----

FACTS = {
    "lane_of_key": np.array([-1, 0, 1, -2, -1], np.int32),
    "along_x": np.array([0.01, 0.0], F4),
    "along_y": np.array([0.0, 0.01], F4),
    "along_m": np.array([0.0, 5.0], F4),
    "stretch_ptr": np.array([0, 2, 3], np.int32),
    "stretch_sensor": np.array([0, 1, 2], np.int32),
    "near_m": np.array([-5.0, 25.0, -5.0], F4),
    "far_m": np.array([20.0, 60.0, 40.0], F4),
    "line_sensor": np.array([3, -1], np.int32),
    "line_m": np.array([3.0, 0.0], F4),
    "standing_below": 139,
    "vehicle_m": 5.0,
    "tick_ms": 1000,
    "frame_ms": 100,
}
row = st.tuples(
    st.integers(1, 2), st.integers(1, 3), st.integers(-5, 55), st.integers(-6500, 0),
    st.integers(-4500, 500), st.sampled_from([0, 100, 139, 1000, 65535]), st.integers(0, 4),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(row, max_size=60, unique_by=lambda r: r[:3]), cut=st.integers(0, 60))
def test_views_are_counted_as_the_twin_does_wherever_batches_are_cut(
    rows: list[tuple[int, ...]], cut: int
) -> None:
    rows = sorted(rows)
    kinds = (np.uint16, np.uint32, np.int64, np.int32, np.int32, np.uint16, np.uint32)
    readings = []
    for make, cuts in ((ViewCounts, [cut]), (SlowCounts, []), (ViewCounts, [])):
        counts = make(**FACTS)
        reading = np.zeros((5, 4, 2), F4)
        edges = [0, *[c for c in cuts if c < len(rows)], len(rows)]
        for first, last in itertools.pairwise(edges):
            part = [list(c) for c in zip(*rows[first:last], strict=True)] or [[]] * 7
            columns = [np.array(c, kind) for c, kind in zip(part, kinds, strict=True)]
            columns[2] = columns[2] * 100 + 1_000_000
            counts.add(*columns, 1_000_000, reading)
        counts.finish(1_000_000, reading)
        readings.append((reading, counts.unknown))
    for reading, unknown in readings[1:]:
        assert unknown == readings[0][1]
        assert reading == pytest.approx(readings[0][0], abs=1e-5)


# ---- a made-up day ----


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("observed")
    options = SynthOptions(0.001, DATE, 2, 0.0, (7, 8), sensing=LAYOUTS["seoul"])
    return made_day(folder, options)


def opened(day: Path, archive: Path | None = None, **more: object) -> ArchiveRun:
    feeds = day / "feeds"
    options = SliceOptions(
        archive or day / "archive",
        feeds / "city.net.xml.gz",
        feeds / "sensors.csv",
        time_ms_of(f"{DATE}T07:00"),
        time_ms_of(f"{DATE}T07:30"),
    )
    return open_slice(replace(options, **more))


def all_of(run: ArchiveRun) -> list[Observation]:
    found = []
    while (observation := run.observations.next()) is not None:
        found.append(observation)
    return found


def test_loops_and_lines_count_what_left(day: Path) -> None:
    run = opened(day)
    reading = np.array([o.reading for o in all_of(run)])
    network, sensors = run.network, run.sensors
    truth = pq.read_table(day / "feeds" / "truth" / "lanes" / "lanes-07.parquet").to_pandas()
    begin = truth["time"].min()
    left = truth[truth["time"] < begin + np.timedelta64(30, "m")]
    of_lane = left.groupby("lane")["departed_veh"].sum()
    compared = 0
    for kind in (LOOP_STOP_LINE, CAMERA_LINE):
        for sensor in np.flatnonzero(sensors.kind == kind).tolist():
            counted = reading[:, sensor, 0].sum()
            if not np.isfinite(counted):
                continue
            # Two rows in a thousand are impossible or late, the edges of the time are not sharp.
            assert counted == pytest.approx(
                of_lane[network.lane_ids[sensors.lane[sensor]]], rel=0.03, abs=3.0
            )
            compared += 1
    assert compared > 50


def test_cameras_see_who_stands(day: Path) -> None:
    run = opened(day)
    observations = all_of(run)
    network, sensors = run.network, run.sensors
    truth = pq.read_table(day / "feeds" / "truth" / "lanes" / "lanes-07.parquet").to_pandas()
    truth["end_ms"] = truth["time"].astype("int64") // 10**6 + 30_000
    if truth["end_ms"].min() < 10**12:
        truth["end_ms"] = truth["time"].astype("datetime64[ms, UTC]").astype("int64") + 30_000
    cameras = np.flatnonzero(sensors.kind == CAMERA)
    whole = [
        k for k in cameras.tolist()
        if sensors.serves[k] >= 0 and sensors.start_m[k] == 0.0
        and (sensors.lane[cameras] == sensors.lane[k]).sum() == 1
    ]  # fmt: skip
    assert len(whole) >= 10
    errors = []
    by_time = {o.time_ms: o.reading for o in observations}
    for k in whole:
        lane = network.lane_ids[sensors.lane[k]]
        for end_ms, queue in truth.loc[truth["lane"] == lane, ["end_ms", "queue_veh"]].to_numpy():
            if int(end_ms) in by_time:
                errors.append(float(by_time[int(end_ms)][k, 1]) - float(queue))
    # Who moves up within a queue drives for a moment, and is in it all the same.
    assert abs(np.mean(errors)) < 0.3
    assert np.mean(np.abs(errors)) < 0.45


@pytest.mark.parametrize("frame_ms", [200, 500, 1000])
def test_cameras_of_few_frames_tell_as_much(day: Path, tmp_path: Path, frame_ms: int) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(day / "archive", archive)
    for path in archive.glob("feed=cctv_track/*/*/*/part.parquet"):
        table = pq.ParquetFile(path).read()
        time_ms = table["time"].cast(pa.int64()).to_numpy()
        pq.write_table(table.filter(pa.array(time_ms % frame_ms == 0)), path)
    sums = []
    for folder in (day / "archive", archive):
        run = opened(day, folder, feeds=("cctv_track",))
        reading = np.array([o.reading for o in all_of(run)])
        kinds = run.sensors.kind
        sums.append(
            [reading[:, kinds == kind, k].sum() for kind, k in
             ((CAMERA, 0), (CAMERA, 1), (CAMERA_LINE, 0), (CAMERA_LINE, 1))]
        )  # fmt: skip
    assert sums[1] == pytest.approx(sums[0], rel=0.2)


def test_what_nobody_hears_of_reads_nothing(day: Path) -> None:
    run = opened(day, feeds=("gps",))
    assert all(np.isnan(o.reading).all() for o in all_of(run)[:10])
    run = opened(day, dead_share=0.5)
    some = np.isnan(all_of(run)[0].reading[:, 0]).mean()
    assert 0.05 < some < 0.9


def same(one: list[StreetState], other: list[StreetState]) -> None:
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        for name, values in vars(a).items():
            assert np.array_equal(values, getattr(b, name), equal_nan=True), name


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.sampled_from([700, 4_001, 50_000]))
def test_neither_order_nor_batches_change_the_state(
    day: Path, tmp_path_factory: pytest.TempPathFactory, seed: int, rows: int
) -> None:
    """Rows shuffled within 30 s, read in batches of any size: the same state, bit for bit."""
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("shuffled")
    only = ("loop_event", "gps", "signal_event")
    states = []
    for name, spread_ms, batch in (("straight", 0, 1_000_000), ("shuffled", 30_000, rows)):
        for feed in only:
            (folder / name / feed).mkdir(parents=True)
            for path in sorted((day / "feeds" / feed).iterdir()):
                table = pq.read_table(path)
                time_ms = table["time"].cast(pa.int64()).to_numpy()
                early = table.filter(pa.array(time_ms < time_ms_of(f"{DATE}T07:06")))
                time_ms = early["time"].cast(pa.int64()).to_numpy()
                order = np.argsort(time_ms + rng.uniform(0, spread_ms, len(early)), kind="stable")
                pq.write_table(early.take(order), folder / name / feed / path.name)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(canonical, "BATCH_ROWS", batch)
            fill(folder / f"{name}-archive", folder / name, day / "feeds", only)
        run = opened(day, folder / f"{name}-archive", end_ms=time_ms_of(f"{DATE}T07:06"))
        states.append(list(street_states(run)))
    same(*states)
    shutil.rmtree(folder)


def test_bad_slices_are_told(day: Path, tmp_path: Path) -> None:
    for wrong, text in (
        ({"feeds": ("spat",)}, "tells nothing of traffic"),
        ({"archive": tmp_path / "none"}, "no such folder"),
        ({"begin_ms": time_ms_of(f"{DATE}T07:00:00.25")}, "within a second"),
    ):
        with pytest.raises(InputError, match=text):
            opened(day, **wrong)
    bare = tmp_path / "bare.net.xml"
    grid = ["--grid", "--grid.number", "2", "--default-junction-type", "priority"]
    netgenerate = sumolib.checkBinary("netgenerate")
    subprocess.run([netgenerate, *grid, "-o", str(bare)], check=True, capture_output=True)
    with pytest.raises(InputError, match="has no signals"):
        opened(day, network_file=bare)
    with pytest.raises(InputError, match="cannot be read; write"):
        time_ms_of("yesterday")
    assert time_ms_of("2026-11-17T16:00+09:00") == time_ms_of("2026-11-17T07:00")
    assert time_ms_of("2026-11-17") == time_ms_of("2026-11-17T00:00:00")


def test_a_damaged_hour_is_left_out_and_told(day: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(day / "archive", archive)
    (path,) = archive.glob("feed=loop_event/*/hour=07/*/part.parquet")
    path.write_bytes(path.read_bytes()[:500])
    run = opened(day, archive)
    observations = all_of(run)
    assert len(observations) == 1800
    assert list(run.slices.damaged) == [str(path)]
    loops = np.flatnonzero(run.sensors.kind == LOOP_STOP_LINE)
    assert all(np.isnan(o.reading[loops]).all() for o in observations)


def cut(archive: Path, feed: str, begin: str, end: str) -> None:
    """No rows of a feed from one time to the other."""
    begin_ms, end_ms = (time_ms_of(f"{DATE}T{text}") for text in (begin, end))
    for path in archive.glob(f"feed={feed}/*/*/*/part.parquet"):
        table = pq.ParquetFile(path).read()
        time_ms = table["time"].cast(pa.int64()).to_numpy()
        pq.write_table(table.filter(pa.array((time_ms < begin_ms) | (time_ms >= end_ms))), path)


@pytest.mark.parametrize("feed", ["loop_event", "cctv_track"])
def test_a_feed_that_is_cut_off_reads_nothing_and_comes_back(
    day: Path, tmp_path: Path, feed: str
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(day / "archive", archive)
    cut(archive, feed, "07:10", "07:20")
    run = opened(day, archive)
    reading = np.array([o.reading[:, 0] for o in all_of(run)])
    camera = (run.sensors.kind == CAMERA) | (run.sensors.kind == CAMERA_LINE)
    own, others = (camera, ~camera) if feed == "cctv_track" else (~camera, camera)
    nothing = np.isnan(reading)
    assert not nothing[:600].any()
    assert nothing[600:1200, own].all(), "not an empty city: nobody looks"
    assert not nothing[:, others].any()
    assert not nothing[1200:].any()


def test_one_loop_that_falls_silent_is_missed_as_soon_as_its_traffic_allows(
    day: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(day / "archive", archive)
    whole = np.array([o.reading[:, 0] for o in all_of(opened(day, archive))])
    stops = np.flatnonzero(opened(day).sensors.kind == LOOP_STOP_LINE)
    busiest = int(stops[np.argmax(whole[:, stops].sum(axis=0))])
    name = opened(day).sensors.ids[busiest]
    key = next(k for k, n in Dimensions(archive).names("detectors").items() if n == name)
    (path,) = archive.glob("feed=loop_event/*/hour=07/*/part.parquet")
    table = pq.ParquetFile(path).read()
    time_ms = table["time"].cast(pa.int64()).to_numpy()
    gone = (table["detector"].to_numpy() == key) & (time_ms >= time_ms_of(f"{DATE}T07:05"))
    pq.write_table(table.filter(pa.array(~gone)), path)
    reading = np.array([o.reading[:, 0] for o in all_of(opened(day, archive))])
    nothing = np.isnan(reading)
    assert nothing[-600:, busiest].all()
    assert not np.delete(nothing, busiest, axis=1).any()


def test_rows_of_other_streets_and_without_a_link_are_counted(day: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    files = [
        path for feed in ("gps", "loop_event") for path in sorted((day / "feeds" / feed).iterdir())
    ]
    ingest(files, archive, secret_file=day / "secret")
    sensors = (day / "feeds" / "sensors.csv").read_text().splitlines()
    (tmp_path / "half.csv").write_text("\n".join(sensors[: len(sensors) // 2]))
    run = opened(day, archive, sensor_file=tmp_path / "half.csv")
    observations = all_of(run)
    assert run.sensors.probe_share == 0.0, "probes without links tell nothing"
    assert not any(len(o.probes.probe) for o in observations)
    seen = run.observations
    assert seen.unmatched > 1000
    assert seen.matched == 0
    assert 0 < seen.unknown["loop_event"] < seen.rows
    whole = opened(day)
    all_of(whole)
    assert set(whole.observations.unknown.values()) == {0}
    assert whole.observations.matched > whole.observations.unmatched


# ---- signals ----


def test_a_controller_that_falls_silent_shows_its_program_again(day: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(day / "archive", archive)
    cut(archive, "signal_event", "07:05", "08:00")
    begin_ms = time_ms_of(f"{DATE}T07:00")
    lamps = []
    for folder in (day / "archive", archive):
        signals = opened(day, folder).signals
        lamps.append([signals.at(begin_ms + 1000 * k) for k in range(1, 1801)])
    told, silent = (is_green(np.array(some)) for some in lamps)
    assert (told[:300] == silent[:300]).all()
    # Whatever showed last stays for as long as a cycle may last.
    assert (silent[310:890] == silent[310]).all()
    assert (told[920:] == silent[920:]).mean() > 0.99, "the shipped program, which they followed"
    assert (told[310:890] != silent[310:890]).mean() > 0.1


def test_lamps_at_the_begin_of_a_slice_are_those_told_before(day: Path) -> None:
    begin_ms = time_ms_of(f"{DATE}T07:10")
    later = opened(day, begin_ms=begin_ms).signals
    whole = opened(day).signals
    for k in range(1, 11):
        for at_ms in range(time_ms_of(f"{DATE}T07:00") + 1000, begin_ms, 1000) if k == 1 else ():
            whole.at(at_ms)
        assert (later.at(begin_ms + 1000 * k) == whole.at(begin_ms + 1000 * k)).all()
