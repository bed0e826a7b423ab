"""Raw positions of probes to matched 30 s observations, beside the bare scan of the feed.

Probes of a made-up grid, one report a second, in the archive's order; the scan decodes every column
of the feed, the work reads those it needs, projects, matches and sums by link. Ratios of CPU time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cpu_time import ROUNDS, cpu_s
from pytest_benchmark.fixture import BenchmarkFixture

from topis.config import SensingLayout
from topis.ingest.aggregate import PERIOD_MS, Aggregator
from topis.ingest.archive import encoding
from topis.ingest.dimensions import Dimensions
from topis.ingest.matching import GpsMatching
from topis.ingest.synth import SynthOptions, synthesise
from topis.model.schemas import FEEDS

Figure = Callable[[str, float, str], None]
SENSING = SensingLayout("probes", loop_approach_share=0.0, probe_share=0.5, probe_period_s=1.0)

COLUMNS = ["vehicle", "time", "lat_e7", "lon_e7", "speed_cmps", "heading_cdeg"]
MINUTE_MS = 60_000


@pytest.fixture(scope="module")
def probes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(streets, positions of an hour sorted as the archive has them)."""
    folder = tmp_path_factory.mktemp("matched")
    options = SynthOptions(0.02, "2026-11-17", 1, 0.0, (7, 8), sensing=SENSING)
    synthesise(folder / "day", options, lambda *_: None)
    feed = FEEDS["gps"]
    table = pa.concat_tables(
        pq.read_table(path) for path in sorted((folder / "day" / "gps").iterdir())
    )
    table = table.filter(pa.compute.less(table["speed_cmps"], 7000))
    slot = table["time"].cast(pa.int64()).to_numpy() // (1000 * feed.row_group_s)
    path = folder / "gps.parquet"
    with pq.ParquetWriter(path, feed.schema, **encoding(feed)) as writer:
        for number in np.unique(slot):
            rows = table.filter(pa.array(slot == number)).sort_by(
                [("vehicle", "ascending"), ("time", "ascending")]
            )
            writer.write_table(rows.cast(feed.schema), row_group_size=len(rows))
    return folder / "day" / "city.net.xml.gz", path


def scan(path: Path) -> int:
    file = pq.ParquetFile(path)
    return sum(file.read_row_group(group).num_rows for group in range(file.num_row_groups))


def test_gps_to_matched_observations(
    benchmark: BenchmarkFixture, figure: Figure, probes: tuple[Path, Path], tmp_path: Path
) -> None:
    streets, path = probes
    matching = GpsMatching(streets, Dimensions(tmp_path))
    file = pq.ParquetFile(path)
    begin_ms = int(np.datetime64("2026-11-17T06:30", "ms").astype(np.int64))

    def observe() -> Aggregator:
        matching.begin()
        sums = Aggregator(
            "link", "vehicle", places=5000, begin_ms=begin_ms, periods=5_400_000 // PERIOD_MS
        )
        for group in range(file.num_row_groups):
            sums.add(matching.fill(file.read_row_group(group)).to_batches())
        return sums

    sums = observe()
    rows = file.metadata.num_rows
    assert sums.sums.count[1:].sum() > 0.95 * rows, "nearly all find a link"
    scan_s = cpu_s(lambda: scan(path))
    matched_s = cpu_s(observe)
    scan_s = min(scan_s, cpu_s(lambda: scan(path)))
    benchmark.pedantic(observe, rounds=ROUNDS)
    figure("ingest.gps_matched.rows", rows, "rows")
    figure("ingest.gps_matched.over_scan", matched_s / scan_s, "x")
    figure("ingest.gps_matched.rows_per_core_s", rows / matched_s, "1/s")
