"""A slice of an archive to decisions, beside the bare scan of what is read and other pipelines.

A made-up city of some five hundred signals, an hour of all its feeds. Times are CPU time of one
process and ratios of the same run, but for two workers and the first sign of life, which are what
a user waits. The projection to a day takes the adaptive signals of Seoul in groups of this size.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cpu_time import cpu_s
from pytest_benchmark.fixture import BenchmarkFixture

from topis.ingest.archive_files import ArchiveFiles
from topis.ingest.observe import FEEDS_USED
from topis.ingest.pipeline import ingest
from topis.ingest.slices import ArchiveSlices, time_ms_of
from topis.ingest.synth import SynthOptions, synthesise
from topis.model.schemas import FEEDS
from topis.run.archive_run import SliceOptions, open_slice
from topis.run.replay import ReplaySpec, replay
from topis.run.shards import WARM_UP_MS
from topis.units import MS_PER_HOUR

Figure = Callable[[str, float, str], None]
DATE, SCALE, ADAPTIVE_SIGNALS = "2026-11-17", 0.04, 4500
#: What of each feed is read.
COLUMNS = {
    "loop_event": ["detector", "time", "on_ms", "quality"],
    "cctv_track": ["camera", "track", "time", "x_cm", "y_cm", "speed_cmps", "lane", "quality"],
    "gps": ["vehicle", "time", "link", "offset_dm", "speed_cmps", "quality"],
    "signal_event": ["controller", "time", "code", "parameter", "quality"],
}
MINUTE_MS = 60_000


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``made-up`` and ``archive``; kept in the folder that BENCH_CITY names, if it does."""
    kept = os.environ.get("BENCH_CITY")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("replayed")
    if not (folder / "archive" / "dimensions.json").exists():
        synthesise(folder / "made-up", SynthOptions(SCALE, DATE, 3, 0.0, (7, 8)), lambda *_: None)
        ingest(
            [path for feed in COLUMNS for path in sorted((folder / "made-up" / feed).iterdir())],
            folder / "archive",
            network_file=folder / "made-up" / "city.net.xml.gz",
            places_file=folder / "made-up" / "places.csv",
            secret_file=folder / "secret",
        )
    return folder


def slice_of(city: Path, begin: str, minutes: int) -> SliceOptions:
    begin_ms = time_ms_of(f"{DATE}T{begin}")
    return SliceOptions(
        city / "archive", city / "made-up" / "city.net.xml.gz", city / "made-up" / "sensors.csv",
        begin_ms, begin_ms + minutes * MINUTE_MS,
    )  # fmt: skip


def spec_of(options: SliceOptions, into: Path, **more: object) -> ReplaySpec:
    fields = {"group_junctions": 1000, "report": False, **more}
    return replace(ReplaySpec(options, into), **fields)  # type: ignore[arg-type]


def cpu_of(spec: ReplaySpec) -> float:
    began = time.process_time()
    replay(spec)
    return time.process_time() - began


def scan(options: SliceOptions) -> int:
    """Every row of the slice and its warm-up, decoded."""
    slices = ArchiveSlices(ArchiveFiles(options.archive))
    rows = 0
    for feed, columns in COLUMNS.items():
        for batch in slices.batches(feed, options.begin_ms - WARM_UP_MS, options.end_ms, columns):
            rows += batch.num_rows
    return rows


def test_slice_to_decisions(
    benchmark: BenchmarkFixture, figure: Figure, city: Path, tmp_path: Path
) -> None:
    options = slice_of(city, "07:20", 20)
    pa.set_cpu_count(1)
    scan_s = cpu_s(lambda: scan(options))
    seen = tmp_path / "seen"
    measured_s = cpu_of(spec_of(options, seen, mode="measure"))
    each_s = cpu_of(spec_of(options, tmp_path / "each", settings={}))
    fifth_s = cpu_of(spec_of(options, tmp_path / "fifth", settings={"interval_s": 5.0}))
    # At least once in every cycle of these signals (120 s), four times in most.
    cycle = spec_of(options, tmp_path / "cycle", settings={"interval_s": 30.0})
    cycle_s = benchmark.pedantic(lambda: cpu_of(cycle), rounds=1)
    scan_s = min(scan_s, cpu_s(lambda: scan(options)))
    facts = json.loads((tmp_path / "cycle" / "timings.json").read_text())
    manifest = json.loads((tmp_path / "cycle" / "manifest.json").read_text())
    count = manifest["junctions"]
    driven_s = (options.end_ms - options.begin_ms + WARM_UP_MS) / 1000.0
    figure("replay.signals", count, "signals")
    figure("replay.rows", facts["rows"], "rows")
    figure("replay.rows_per_core_s", facts["rows"] / cycle_s, "1/s")
    figure("replay.measure.over_scan", measured_s / scan_s, "x")
    hours = 1.0 + WARM_UP_MS / MS_PER_HOUR
    for name, taken_s in (("", cycle_s), (".every_5_s", fifth_s), (".every_second", each_s)):
        figure(f"replay{name}.over_scan", taken_s / scan_s, "x")
        # Warming up is work as well: all seconds that were driven count.
        factor = driven_s / taken_s * count / 500.0
        figure(f"replay{name}.realtime_factor", factor, "x for 500 signals")
        day_s = taken_s / driven_s * 3600.0 * hours * 24 * ADAPTIVE_SIGNALS / count
        figure(f"replay{name}.core_hours_per_day", day_s / 3600.0, "h")
    figure("replay.peak_mb", facts["peak_mb"], "MB")
    for name in ("scan", "ingest", "estimate", "decide", "record"):
        figure(f"replay.part.{name}", facts[f"{name}_s"] / facts["wall_s"], "of the wall time")


def test_two_workers(figure: Figure, city: Path, tmp_path: Path) -> None:
    """Two groups of districts, alike in size, one after the other and side by side."""
    options = slice_of(city, "07:20", 20)
    walls = []
    for workers in (1, 2):
        began = time.perf_counter()
        replay(spec_of(options, tmp_path / str(workers), group_junctions=270, workers=workers))
        walls.append(time.perf_counter() - began)
    for path in (tmp_path / "1").iterdir():
        if path.name != "timings.json":
            assert path.read_bytes() == (tmp_path / "2" / path.name).read_bytes()
    figure("replay.workers2_speedup", walls[0] / walls[1], "x")


FIRST = """
import os, sys
from pathlib import Path
from topis.run.replay import ReplaySpec, replay
from topis.run.archive_run import SliceOptions
archive, network, sensors, begin, end, out, wanted = sys.argv[1:]
def tell(stage, done):
    if stage == wanted:
        print("first", flush=True)
        os._exit(0)
replay(ReplaySpec(SliceOptions(archive, Path(network), Path(sensors), int(begin), int(end)),
                  Path(out)), tell)
"""


def test_first_progress(figure: Figure, city: Path, tmp_path: Path) -> None:
    """The first line of the bar, and the first share of the work done."""
    options = slice_of(city, "07:20", 20)
    for wanted, name in (("opening", "first_sign_s"), ("replaying", "first_progress_s")):
        began = time.perf_counter()
        subprocess.run(
            [
                sys.executable, "-c", FIRST, str(options.archive), str(options.network_file),
                str(options.sensor_file), str(options.begin_ms), str(options.end_ms),
                str(tmp_path / wanted), wanted,
            ],
            check=True,
        )  # fmt: skip
        figure(f"replay.{name}", time.perf_counter() - began, "s")


def test_growth(figure: Figure, city: Path, tmp_path: Path) -> None:
    """Ten times the time, and the same time in an archive of ten times the hours."""
    short, long = (
        cpu_of(spec_of(slice_of(city, "07:15", minutes), tmp_path / f"{minutes}", mode="measure"))
        for minutes in (4, 40)
    )
    # Both warm up for a quarter of an hour.
    figure("replay.growth", (long / 55) / (short / 19), "x a minute")
    large = tmp_path / "large"
    large.mkdir()
    for name in ("dimensions.json", "places.json"):
        (large / name).write_bytes((city / "archive" / name).read_bytes())
    for path in (city / "archive").glob("feed=*/date=*/hour=*/district=*/part.parquet"):
        for day in range(17, 27):
            other = str(path.relative_to(city / "archive")).replace(DATE, f"2026-11-{day}")
            (large / other).parent.mkdir(parents=True, exist_ok=True)
            os.link(path, large / other)
    options = slice_of(city, "07:15", 4)
    again = cpu_of(spec_of(replace(options, archive=large), tmp_path / "again", mode="measure"))
    figure("replay.archive_growth", again / short, "x for 10 x the archive")


def test_readings_and_peers(figure: Figure, city: Path) -> None:
    """Rows to what each sensor would have told every second, and the same sums elsewhere."""
    options = slice_of(city, "07:20", 10)
    pa.set_cpu_count(1)

    def ours() -> int:
        run = open_slice(options)
        ticks = 0
        while run.observations.next() is not None:
            ticks += 1
        return ticks

    opened_s = cpu_s(lambda: open_slice(options))
    ours_s = cpu_s(ours) - opened_s
    figure("replay.pandas_over_ours", cpu_s(lambda: by_pandas(options)) / ours_s, "x")
    figure("replay.polars_over_ours", by_polars(options) / ours_s, "x")


def files_of(options: SliceOptions, feed: str) -> list[Path]:
    archive = Path(options.archive)
    return sorted(archive.glob(f"feed={feed}/date={DATE}/hour=07/district=*/part.parquet"))


def by_pandas(options: SliceOptions) -> None:
    """A district at a time: vehicles and how many stand by lane, covered time by loop, speeds."""
    for feed in FEEDS_USED:
        for path in files_of(options, feed):
            bounds = [
                ("time", ">=", _moment(options.begin_ms)),
                ("time", "<", _moment(options.end_ms)),
            ]
            rows = pq.read_table(path, columns=COLUMNS[feed], filters=bounds, partitioning=None)
            frame = rows.to_pandas()
            frame = frame[frame["quality"] == 0]
            second = frame["time"].astype("int64") // 1000
            if feed == "cctv_track":
                frame["standing"] = frame["speed_cmps"] < 139
                frame.groupby([second, "camera", "lane"]).agg(
                    {"track": "nunique", "standing": "sum"}
                )
            elif feed == "loop_event":
                frame.groupby([second, "detector"]).agg({"on_ms": ["count", "sum"]})
            else:
                frame.groupby([second, "link"]).agg({"vehicle": "nunique", "speed_cmps": "mean"})


def by_polars(options: SliceOptions) -> float:
    """CPU time of the same in Polars, lazily, over all districts at once, on one thread."""
    pytest.importorskip("polars")
    done = subprocess.run(
        [
            sys.executable, str(Path(__file__).with_name("replay_polars.py")),
            str(options.archive), str(options.begin_ms), str(options.end_ms),
        ],
        env={**os.environ, "POLARS_MAX_THREADS": "1"}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return float(done.stdout)


def _moment(time_ms: int) -> pa.Scalar:
    return pa.scalar(time_ms, FEEDS["gps"].schema.field("time").type)
