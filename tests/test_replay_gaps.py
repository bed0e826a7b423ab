"""What a replay says of an archive that is not whole, and where archives may lie."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from tests.made_days import DATE, fill, quiet, two_districts
from topis.cli.main import cli
from topis.cli.replay import slice_ms
from topis.config import LAYOUTS
from topis.ingest.archive_files import ArchiveFiles
from topis.ingest.slices import time_ms_of
from topis.ingest.synth import SynthOptions, synthesise

LOOPS = f"feed=loop_event/date={DATE}/hour=07"


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour of 9 junctions in two districts: loops and signals."""
    folder = tmp_path_factory.mktemp("gaps")
    options = SynthOptions(0.0007, DATE, 5, 0.0, (7, 8), sensing=LAYOUTS["loops"])
    synthesise(folder / "feeds", options, quiet)
    two_districts(folder / "feeds")
    only = ("loop_event", "signal_event")
    fill(folder / "archive", folder / "feeds", folder / "feeds", only)
    return folder


@pytest.fixture
def archive(day: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(day / "archive", tmp_path / "copy"))


def run(day: Path, archive: Path | str, out: Path, *more: str) -> Result:
    feeds = day / "feeds"
    return CliRunner().invoke(
        cli,
        [
            "replay", str(archive), "--network", str(feeds / "city.net.xml.gz"),
            "--sensors", str(feeds / "sensors.csv"), "--from", f"{DATE}T07:20", "--to", "07:30",
            "--mode", "measure", "--out", str(out), *more,
        ],
    )  # fmt: skip


def truncate(archive: Path) -> None:
    path = archive / LOOPS / "district=1" / "part.parquet"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def drift(archive: Path) -> None:
    path = archive / LOOPS / "district=1" / "part.parquet"
    table = pq.ParquetFile(path).read()
    at = table.schema.get_field_index("on_ms")
    pq.write_table(table.set_column(at, "on_ms", table["on_ms"].cast(pa.float64())), path)


def rename(archive: Path) -> None:
    path = archive / LOOPS / "district=1" / "part.parquet"
    table = pq.ParquetFile(path).read()
    names = ["covered_ms" if name == "on_ms" else name for name in table.column_names]
    pq.write_table(table.rename_columns(names), path)


def lose_district(archive: Path) -> None:
    shutil.rmtree(archive / LOOPS / "district=2")


def lose_feed(archive: Path) -> None:
    shutil.rmtree(archive / f"feed=signal_event/date={DATE}")


def nothing(archive: Path) -> None:
    path = archive / LOOPS / "district=2" / "part.parquet"
    file = pq.ParquetFile(path)
    pq.write_table(file.schema_arrow.empty_table(), path)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (truncate, "district=1/part.parquet: damaged"),
        (drift, "column on_ms is double, not"),
        (rename, "no column on_ms: it is of another version"),
        (lose_district, "nothing of loop_event in 1 of the hours in district 2"),
        (lose_feed, "nothing of signal_event in 1 of the hours"),
    ],
)
def test_what_is_missing_is_told_and_the_rest_replayed(
    day: Path, archive: Path, tmp_path: Path, damage: Callable[[Path], None], text: str
) -> None:
    damage(archive)
    done = run(day, archive, tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert text in done.output
    assert text in (tmp_path / "run" / "report.html").read_text()
    facts = json.loads((tmp_path / "run" / "timings.json").read_text())
    assert facts["ticks"] == 1500
    assert facts["rows"] > 0


def test_an_empty_partition_is_no_error(day: Path, archive: Path, tmp_path: Path) -> None:
    nothing(archive)
    assert run(day, archive, tmp_path / "run").exit_code == 0


def test_a_district_without_any_rows_is_told(day: Path, archive: Path, tmp_path: Path) -> None:
    for path in archive.glob("feed=*/*/*/district=2"):
        shutil.rmtree(path)
    done = run(day, archive, tmp_path / "run")
    assert done.exit_code == 0
    assert "nothing of loop_event in 1 of the hours in district 2" in done.output
    alone = run(day, archive, tmp_path / "alone", "--district", "2", "--feed", "cctv_track")
    assert "nothing is stored of cctv_track" in str(alone.exception)


@pytest.mark.parametrize("name", ["dimensions.json", "places.json"])
def test_damaged_names_are_an_error(day: Path, archive: Path, tmp_path: Path, name: str) -> None:
    (archive / name).write_text("{")
    assert name in str(run(day, archive, tmp_path / "run").exception)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("begin", "end", "hours"),
    [
        # The night in which Berlin's clocks go from 2 to 3, and the one in which they go back.
        ("2026-03-29T01:00+01:00", "2026-03-29T04:00+02:00", 2.0),
        ("2026-10-25T01:00+02:00", "2026-10-25T04:00+01:00", 4.0),
        ("2026-11-17T07:00", "09:00", 2.0),
        ("2026-11-17T07:00+09:00", "09:30", 2.5),
        ("2016-12-31T23:00", "2017-01-01T01:00", 2.0),
    ],
)
def test_times_are_moments_whatever_the_clocks_do(begin: str, end: str, hours: float) -> None:
    first, last = slice_ms(begin, end)
    assert last - first == hours * 3_600_000


def test_a_leap_second_is_not_told_as_another_time() -> None:
    with pytest.raises(Exception, match="cannot be read"):
        time_ms_of("2016-12-31T23:59:60")


# ---- elsewhere ----


@pytest.fixture(scope="module")
def bucket(day: Path) -> Iterator[str]:
    """The archive in an object store that speaks S3; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        client = boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
            aws_access_key_id="key", aws_secret_access_key="secret",
        )  # fmt: skip
        client.create_bucket(Bucket="city")
        for path in (day / "archive").rglob("*"):
            if path.is_file():
                name = path.relative_to(day / "archive").as_posix()
                client.upload_file(str(path), "city", f"archive/{name}")
        yield f"s3://key:secret@city/archive?scheme=http&endpoint_override=127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def test_an_archive_in_a_bucket_gives_the_same(day: Path, bucket: str, tmp_path: Path) -> None:
    assert run(day, bucket, tmp_path / "far").exit_code == 0
    assert run(day, day / "archive", tmp_path / "near").exit_code == 0
    for path in (tmp_path / "near").iterdir():
        if path.name not in ("timings.json", "report.html"):
            assert path.read_bytes() == (tmp_path / "far" / path.name).read_bytes(), path.name


def test_keys_of_a_bucket_are_not_shown(day: Path, bucket: str, tmp_path: Path) -> None:
    done = run(day, bucket.replace("city/", "town/"), tmp_path / "run")
    assert "s3://town/archive" in str(done.exception)
    assert "secret" not in str(done.exception)
    assert run(day, bucket, tmp_path / "far").exit_code == 0
    for path in (tmp_path / "far").iterdir():
        assert b"secret" not in path.read_bytes(), path.name


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("ftp://host/archive", "is no address of an archive"),
        ("nowhere", "no such folder"),
        ("file:///nowhere/at/all", "no such folder"),
    ],
)
def test_a_place_that_is_none_is_told(day: Path, tmp_path: Path, place: str, text: str) -> None:
    assert text in str(run(day, place, tmp_path / "run").exception)


def test_only_what_is_asked_for_is_listed(day: Path, archive: Path) -> None:
    """The cost of a slice does not grow with the archive."""
    files = ArchiveFiles(archive)
    hour = time_ms_of(f"{DATE}T07:00") // 3_600_000
    assert files.districts("loop_event", hour) == [1, 2]
    assert files.hours("loop_event")[0] <= hour
    (archive / "feed=loop_event" / "date=1999-01-01").mkdir()
    (archive / "feed=loop_event" / "date=1999-01-01" / "hour=xx").write_text("no folder")
    assert ArchiveFiles(archive).districts("loop_event", hour) == [1, 2]
