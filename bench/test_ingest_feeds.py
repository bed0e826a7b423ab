"""Feeds to 30 s sums, beside the bare scan of the same columns and the same sums elsewhere.

Limit: pyarrow decoding the columns that are needed, in the same process, before and after.
Peers: Polars (streaming) and DuckDB doing the same sums from the same file; where they are not
installed (`pip install -e ".[peers]"`) they are left out. Ratios are of CPU time, which other
work on the machine disturbs less.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from cpu_time import ROUNDS, cpu_s
from feed_rows import BEGIN_MS, LANES_PER_CAMERA, camera_hour, gps_hour, loop_hour
from pytest_benchmark.fixture import BenchmarkFixture

from topis.ingest.aggregate import PERIOD_MS, STANDING_CMPS, Aggregator

CAMERAS, MINUTES = 128, 10
Figure = Callable[[str, float, str], None]


def sums_of(path: Path, cameras: int, minutes: int) -> Aggregator:
    aggregator = Aggregator(
        "lane",
        "track",
        places=LANES_PER_CAMERA * (cameras + 2),
        begin_ms=BEGIN_MS,
        periods=60_000 * minutes // PERIOD_MS,
    )
    aggregator.add(ds.dataset(path).to_batches(columns=aggregator.columns))
    return aggregator


def bare_scan(path: Path) -> int:
    columns = ["lane", "track", "time", "speed_cmps"]
    return sum(batch.num_rows for batch in ds.dataset(path).to_batches(columns=columns))


@pytest.fixture(scope="module")
def cameras(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    path = tmp_path_factory.mktemp("feeds") / "cameras.parquet"
    return path, camera_hour(path, CAMERAS, MINUTES)


def test_ingest_camera_sums(
    benchmark: BenchmarkFixture, figure: Figure, cameras: tuple[Path, int]
) -> None:
    path, rows = cameras
    scan_s = cpu_s(lambda: bare_scan(path))
    ours_s = cpu_s(lambda: sums_of(path, CAMERAS, MINUTES))
    scan_s = min(scan_s, cpu_s(lambda: bare_scan(path)))
    sums = benchmark.pedantic(lambda: sums_of(path, CAMERAS, MINUTES), rounds=ROUNDS)
    assert sums.sums.count.sum() == rows
    figure("ingest.cctv.over_scan", ours_s / scan_s, "x")
    figure("ingest.cctv.rows_per_core_s", rows / ours_s, "1/s")
    polars_s = cpu_s(lambda: by_polars(path))
    figure("ingest.polars_over_ours", polars_s / ours_s, "x")
    duckdb_s = cpu_s(lambda: by_duckdb(path))
    figure("ingest.duckdb_over_ours", duckdb_s / ours_s, "x")


def by_polars(path: Path) -> object:
    pl = pytest.importorskip("polars")
    speed = pl.col("speed_cmps")
    cell = [pl.col("lane"), pl.col("time").dt.epoch("ms").floordiv(PERIOD_MS).alias("period")]
    return (
        pl.scan_parquet(path)
        .group_by(cell)
        .agg(
            pl.len().alias("count"),
            pl.col("track").n_unique().alias("things"),
            speed.cast(pl.Int64).sum().alias("speed_sum"),
            (speed < STANDING_CMPS).sum().alias("standing"),
        )
        .collect(engine="streaming")
    )


def by_duckdb(path: Path) -> object:
    duckdb = pytest.importorskip("duckdb")
    return duckdb.sql(
        f"""select lane, epoch_ms(time) // {PERIOD_MS} as period, count(*),
        count(distinct track), sum(speed_cmps), count(*) filter (speed_cmps < {STANDING_CMPS})
        from '{path}' group by all"""
    ).fetchall()


@pytest.mark.parametrize(
    ("feed", "place", "thing", "places"),
    [("loops", "detector", "detector", 4001), ("gps", "link", "vehicle", 7500)],
)
def test_ingest_other_sums(
    figure: Figure, tmp_path: Path, feed: str, place: str, thing: str, places: int
) -> None:
    """Loops: short runs, since each row is another vehicle; GPS: half a minute on a link."""
    path = tmp_path / f"{feed}.parquet"
    rows = loop_hour(path, places - 1) if feed == "loops" else gps_hour(path, 3000, 20)

    def sums() -> Aggregator:
        aggregator = Aggregator(place, thing, places=places, begin_ms=BEGIN_MS, periods=120)
        aggregator.add(ds.dataset(path).to_batches(columns=aggregator.columns))
        return aggregator

    def scan() -> int:
        columns = sums_columns
        return sum(batch.num_rows for batch in ds.dataset(path).to_batches(columns=columns))

    sums_columns = sums().columns
    scan_s = cpu_s(scan)
    ours_s = cpu_s(sums)
    scan_s = min(scan_s, cpu_s(scan))
    counted = sums()
    assert counted.sums.count.sum() + counted.outside == rows
    figure(f"ingest.{feed}.over_scan", ours_s / scan_s, "x")
    figure(f"ingest.{feed}.rows_per_core_s", rows / ours_s, "1/s")


def test_ingest_growth(figure: Figure, cameras: tuple[Path, int], tmp_path: Path) -> None:
    """Cost a row at a tenth of the cameras, against all."""
    path, rows = cameras
    few = tmp_path / "few.parquet"
    few_rows = camera_hour(few, CAMERAS // 10, MINUTES)
    small_s = cpu_s(lambda: sums_of(few, CAMERAS // 10, MINUTES)) / few_rows
    large_s = cpu_s(lambda: sums_of(path, CAMERAS, MINUTES)) / rows
    figure("ingest.growth", large_s / small_s, "x")


def test_ingest_memory(figure: Figure, cameras: tuple[Path, int]) -> None:
    """The peak of a process of its own that does nothing else."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from test_ingest_feeds import sums_of, CAMERAS, MINUTES\n"
        "sums_of(Path(sys.argv[1]), CAMERAS, MINUTES)\n"
        # Not getrusage: that counts what the parent had when it started this.
        "peak = [line for line in open('/proc/self/status') if line.startswith('VmHWM')]\n"
        "print(peak[0].split()[1])\n"
    )
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", code, str(cameras[0]), here]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figure("ingest.peak_mb", int(done.stdout) / 1024, "MB")
