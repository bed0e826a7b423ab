"""Every kind of planted fault is found, and nothing else; what a lane's two loops count."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.made_days import DATE, made_day
from topis.cli.main import cli
from topis.config import SensingLayout
from topis.errors import InputError
from topis.ingest.dimensions import Dimensions
from topis.ingest.health import clocks_off, loop_faults
from topis.ingest.health_moving import camera_faults, disagreements, probe_faults
from topis.ingest.network_file import load_network
from topis.ingest.sensor_file import read_sensors
from topis.ingest.slices import time_ms_of
from topis.ingest.synth import SynthOptions
from topis.ingest.synth_faults import CAMERA_FAULTS, LOOP_FAULTS, PROBE_FAULTS

FEEDS = ("loop_event", "gps", "cctv_track")
#: Many loops, few and short-sighted cameras: their rows are most of the work.
SENSING = SensingLayout(
    "many", camera_junction_share=0.6, camera_view_m=15.0, loop_approach_share=0.9,
    probe_share=0.2, probe_period_s=2.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faulty")
    options = SynthOptions(0.001, DATE, 2, 0.25, (6, 10), sensing=SENSING)
    return made_day(folder, options, FEEDS)


def planted(day: Path) -> list[dict[str, Any]]:
    return list(json.loads((day / "feeds" / "truth" / "faults.json").read_text()))


def found_in(archive: Path) -> set[tuple[str, str, str]]:
    """(feed, who, kind) of all faults that are told."""
    dimensions = Dimensions(archive)
    loops, cameras = dimensions.names("detectors"), dimensions.names("cameras")
    found = {("loop_event", loops[f.detector], f.kind) for f in loop_faults(archive)}
    found |= {("cctv_track", cameras[c.camera], "silent") for c in camera_faults(archive)}
    found |= {("gps", f"class {p.vehicle >> 58}", p.kind) for p in probe_faults(archive)}
    for clock in clocks_off(archive):
        names = {"loop_event": loops, "cctv_track": cameras}.get(clock.feed)
        who = names[clock.entity] if names else f"class {clock.entity >> 58}"
        found.add((clock.feed, who, "skewed clock"))
    return found


def test_every_kind_is_found_and_nothing_else(day: Path) -> None:
    wanted = {(f["feed"], f["name"], f["kind"]) for f in planted(day)}
    kinds = {(feed, kind) for feed, _, kind in wanted}
    assert kinds >= {("loop_event", kind) for kind in LOOP_FAULTS}
    assert kinds >= {("gps", kind) for kind in PROBE_FAULTS}
    assert kinds & {("cctv_track", kind) for kind in CAMERA_FAULTS}
    found = found_in(day / "archive")
    assert found - wanted == set()
    missed = wanted - found
    assert len(missed) <= 0.05 * len(wanted), missed


def test_two_loops_of_a_lane_differ_only_where_one_is_wrong(day: Path) -> None:
    feeds = day / "feeds"
    network = load_network(feeds / "city.net.xml.gz").network
    sensors = read_sensors(feeds / "sensors.csv", network)
    lane_of = dict(zip(sensors.ids, sensors.serves.tolist(), strict=True))
    faulty = {
        network.lane_ids[lane_of[f["name"]]] for f in planted(day) if f["feed"] == "loop_event"
    }
    rows = disagreements(day / "archive", network, sensors)
    assert len(rows) > 10
    assert {row.lane for row in rows} <= faulty


def test_faults_of_some_hours_are_those_of_these_hours(day: Path) -> None:
    archive = day / "archive"
    hour = time_ms_of(f"{DATE}T07:00"), time_ms_of(f"{DATE}T08:00")
    some = loop_faults(archive, hour)
    assert some
    assert all(hour[0] <= fault.begin_ms < hour[1] for fault in some)
    assert loop_faults(archive, (0, 1)) == []


def test_an_archive_without_these_feeds_has_no_such_faults(day: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(day / "archive", archive)
    for feed in ("cctv_track", "gps"):
        shutil.rmtree(archive / f"feed={feed}")
    assert camera_faults(archive) == []
    assert probe_faults(archive) == []


def test_command_line(day: Path) -> None:
    feeds = day / "feeds"
    call = ["data", "health", str(day / "archive")]
    both = ["--network", str(feeds / "city.net.xml.gz"), "--sensors", str(feeds / "sensors.csv")]
    done = CliRunner().invoke(cli, [*call, *both])
    assert done.exit_code == 0, done.output
    for text in ("faults, at", "counted differently", "report wrong places", "clocks off"):
        assert text in done.output
    half = CliRunner().invoke(cli, [*call, *both[:2]])
    assert "give both" in str(half.exception)


def test_what_is_damaged_is_left_out_and_told(day: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(day / "archive", archive)
    for feed, keep in (("loop_event", 500), ("gps", 0), ("cctv_track", 3000)):
        path = min(archive.glob(f"feed={feed}/*/hour=07/*/part.parquet"))
        path.write_bytes(path.read_bytes()[:keep])
    # The middle of a file can be damaged, too: its footer is read, its rows are not.
    path = min(archive.glob("feed=cctv_track/*/hour=08/*/part.parquet"))
    content = bytearray(path.read_bytes())
    middle = slice(len(content) // 3, 2 * len(content) // 3)
    content[middle] = bytes(byte ^ 0x5A for byte in content[middle])
    path.write_bytes(content)
    damaged: dict[str, str] = {}
    assert loop_faults(archive, damaged=damaged)
    camera_faults(archive, damaged)
    assert probe_faults(archive, damaged)
    assert len(damaged) == 4
    assert all("damaged" in reason for reason in damaged.values())
    for faults in (loop_faults, camera_faults, probe_faults):
        with pytest.raises(InputError, match="damaged"):
            faults(archive)
    feeds = day / "feeds"
    done = CliRunner().invoke(
        cli,
        [
            "data", "health", str(archive), "--network", str(feeds / "city.net.xml.gz"),
            "--sensors", str(feeds / "sensors.csv"),
        ],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert done.output.count("left out: ") == 4


def test_lists_have_their_columns_apart(day: Path) -> None:
    feeds = day / "feeds"
    done = CliRunner().invoke(
        cli,
        [
            "data", "health", str(day / "archive"), "--network", str(feeds / "city.net.xml.gz"),
            "--sensors", str(feeds / "sensors.csv"),
        ],
    )  # fmt: skip
    rows = [line.split() for line in done.output.splitlines() if ", an hour:" in line]
    assert rows
    assert all(row[1] == DATE for row in rows)
    # A vehicle is named alike wherever it is told.
    names = {
        words[1] for line in done.output.splitlines() if (words := line.split())[0] == "vehicle"
    }
    assert names
    assert all(len(name) == 16 for name in names)
