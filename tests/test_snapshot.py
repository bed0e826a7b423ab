"""Open data of every 30 s: queues and volumes that no probe had a part in."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from tests.made_days import DATE, made_day
from topis.cli.main import cli
from topis.config import LAYOUTS
from topis.ingest.network_file import load_network
from topis.ingest.synth import SynthOptions
from topis.run.snapshot import SNAPSHOT_SCHEMA

FEEDS = ("loop_event", "gps", "cctv_track", "signal_event")


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("open")
    options = SynthOptions(0.0008, DATE, 4, 0.0, (7, 8), sensing=LAYOUTS["seoul"])
    return made_day(folder, options, FEEDS)


def publish(day: Path, archive: Path, into: Path, *more: str) -> Result:
    feeds = day / "feeds"
    return CliRunner().invoke(
        cli,
        [
            "publish", str(archive), "--date", DATE, "--hour", "7", "--into", str(into),
            "--network", str(feeds / "city.net.xml.gz"), "--sensors", str(feeds / "sensors.csv"),
            *more,
        ],
    )  # fmt: skip


def test_an_hour_of_snapshots(day: Path, tmp_path: Path) -> None:
    done = publish(day, day / "archive", tmp_path)
    assert done.exit_code == 0, done.output
    table = pq.read_table(tmp_path / f"queues-{DATE}-07.parquet")
    assert table.schema.equals(SNAPSHOT_SCHEMA, check_metadata=True)
    times = sorted(set(table["time"].to_pylist()))
    assert len(times) == 120
    assert {(b - a).total_seconds() for a, b in pairwise(times)} == {30.0}
    network = load_network(day / "feeds" / "city.net.xml.gz").network
    assert set(table["link"].to_pylist()) <= set(network.link_ids)
    # Against the kept truth: as many vehicles as left these links in the hour.
    truth = pq.read_table(day / "feeds" / "truth" / "lanes" / "lanes-07.parquet").to_pandas()
    truth["link"] = truth["lane"].str.rsplit("_", n=1).str[0]
    told = table.to_pandas().groupby("link")["volume_vph"].mean()
    left = truth.groupby("link")["departed_veh"].sum()
    assert abs(told / left[told.index] - 1.0).mean() < 0.12
    collection = json.loads((tmp_path / f"queues-{DATE}-07.geojson").read_text())
    assert collection["type"] == "FeatureCollection"
    names = {feature["id"] for feature in collection["features"]}
    assert names >= set(table["link"].to_pylist()[-5:])
    for feature in collection["features"]:
        assert feature["geometry"]["type"] == "LineString"
        lon, lat = feature["geometry"]["coordinates"][0]
        assert 126.9 < lon < 127.1
        assert 37.4 < lat < 37.6
        assert set(feature["properties"]) & {"queue_veh", "speed_kmh"}


def test_no_probe_has_a_part_in_it(day: Path, tmp_path: Path) -> None:
    """Take every probe away: the same queues and volumes, to the byte."""
    assert publish(day, day / "archive", tmp_path / "with").exit_code == 0
    silent = tmp_path / "archive"
    shutil.copytree(day / "archive", silent)
    for path in silent.glob("feed=gps/*/*/*/part.parquet"):
        table = pq.read_table(path, partitioning=None)
        wandering = table.set_column(
            table.schema.get_field_index("speed_cmps"),
            table.schema.field("speed_cmps"),
            pa.array([0] * len(table), pa.uint16()),
        )
        pq.write_table(wandering, path)
    assert publish(day, silent, tmp_path / "other").exit_code == 0
    name = f"queues-{DATE}-07.parquet"
    assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_what_is_missing_is_told(day: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(day / "archive", archive)
    for feed in ("loop_event", "cctv_track"):
        shutil.rmtree(archive / f"feed={feed}")
    done = publish(day, archive, tmp_path / "into")
    assert "neither loops nor cameras" in str(done.exception)
    done = CliRunner().invoke(
        cli,
        ["publish", str(archive), "--date", DATE, "--hour", "7", "--into", str(tmp_path / "x"),
         "--network", "streets.net.xml"],
    )  # fmt: skip
    assert "give both or none" in str(done.exception)
