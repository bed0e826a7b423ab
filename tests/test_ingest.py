"""Feeds into the archive: every row is stored once, refused with a reason, or a duplicate."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from topis.cli.main import cli
from topis.errors import InputError, OutputError
from topis.ingest.archive import CONTRADICTION, partitions
from topis.ingest.describe import describe
from topis.ingest.pipeline import SourceReport, ingest
from topis.model.schemas import FEEDS, documented

NOON_MS = 1_794_700_800_000  # 2026-11-15T00:00Z and a day later by turns; a whole hour
MAPPING = """
feed = "count"
missing = ["-"]
[columns]
site = "site"
time = { column = "when", format = "%Y%m%d%H%M", timezone = "Asia/Seoul" }
lane = "lane"
vehicle_class = { value = 0 }
period_s = { value = 300 }
vehicles = "veh"
speed_cmps = { column = "speed", unit = "km/h" }
"""


def loops(path: Path, detector: list[int], time_ms: list[int], on_ms: list[int]) -> Path:
    """A canonical file of loop events."""
    feed = FEEDS["loop_event"]
    count = len(detector)
    table = pa.table(
        {
            "detector": pa.array(detector, pa.uint32()),
            "time": pa.array(time_ms, pa.int64()).cast(feed.column("time").type),
            "on_ms": pa.array(on_ms, pa.uint32()),
            "speed_cmps": pa.nulls(count, pa.uint16()),
            "length_dm": pa.nulls(count, pa.uint8()),
            "quality": pa.array([0] * count, pa.uint8()),
        },
        schema=feed.schema,
    )
    pq.write_table(table, path)
    return path


def stored(archive: Path, feed: str = "loop_event") -> pa.Table:
    """All rows of a feed."""
    empty = FEEDS[feed].schema.remove_metadata().empty_table()
    paths = [path for partition, path in partitions(archive) if partition.feed == feed]
    tables = [pq.read_table(path, partitioning=None) for path in paths]
    return pa.concat_tables([empty, *(table.replace_schema_metadata() for table in tables)])


def tree(archive: Path) -> dict[str, str]:
    """Every file of an archive and its hash."""
    return {
        str(p.relative_to(archive)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(archive.rglob("*"))
        if p.is_file() and p.name != ".lock"
    }


def nothing_lost(reports: list[SourceReport]) -> None:
    for report in reports:
        assert report.read == report.rows + report.duplicates + report.quarantined, report
        assert report.quarantined == sum(report.reasons.values()), report


rows = st.lists(
    st.tuples(
        st.integers(1, 3), st.integers(0, 3 * 3600_000), st.sampled_from([100, 200, 4_000_000])
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(files=st.lists(rows, min_size=1, max_size=3), grain=st.sampled_from([1, 600_000]))
def test_every_row_is_stored_refused_or_a_duplicate(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[tuple[int, int, int]]], grain: int
) -> None:
    """Whatever the rows; in any order of the files, in one call or many, the same archive."""
    folder = tmp_path_factory.mktemp("ingest")
    paths = []
    for number, content in enumerate(files):
        moments = [NOON_MS + t // grain * grain for _, t, _ in content]
        path = folder / f"{number}.parquet"
        paths.append(loops(path, [d for d, _, _ in content], moments, [o for *_, o in content]))
    reports = ingest(paths, folder / "one")
    nothing_lost(reports)
    kept = stored(folder / "one")
    keys = list(zip(*(kept[n].to_pylist() for n in ("detector", "time")), strict=True))
    assert len(set(keys)) == len(keys) == sum(r.rows for r in reports)
    possible = {
        (d, NOON_MS + t // grain * grain) for content in files for d, t, o in content if o < 10**6
    }
    assert len(keys) == len(possible)
    secret = folder / "one.secret"
    ingest(list(reversed(paths)), folder / "back", secret_file=secret)
    # Of files with the same content the first gives the name.
    if len({path.read_bytes() for path in paths}) == len(paths):
        assert tree(folder / "back") == tree(folder / "one")
    again = ingest(paths, folder / "one")
    assert all(report.known for report in again)
    nothing_lost(again)


def test_the_archive_is_sorted_for_slicing(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    count = 5000
    moments = NOON_MS + rng.integers(0, 3600_000, count)
    source = loops(
        tmp_path / "a.parquet", rng.integers(1, 50, count).tolist(), moments.tolist(), [1] * count
    )
    ingest([source], tmp_path / "archive")
    ((_, path),) = partitions(tmp_path / "archive")
    file = pq.ParquetFile(path)
    assert file.metadata.num_row_groups == 12
    for group in range(12):
        part = file.read_row_group(group)
        time_ms = part["time"].cast(pa.int64()).to_numpy()
        assert ((time_ms - NOON_MS) // 300_000 == group).all()
        keys = part["detector"].to_numpy().astype(np.int64) * 10**8 + time_ms - NOON_MS
        assert (np.diff(keys) > 0).all()
    found = ds.dataset(tmp_path / "archive", partitioning="hive", exclude_invalid_files=True)
    assert found.count_rows() == len(stored(tmp_path / "archive"))


def test_equal_keys_with_other_values_go_to_quarantine(tmp_path: Path) -> None:
    first = loops(tmp_path / "a.parquet", [1, 1], [NOON_MS, NOON_MS], [100, 100])
    second = loops(tmp_path / "b.parquet", [1], [NOON_MS], [250])
    reports = ingest([first], tmp_path / "archive") + ingest([second], tmp_path / "archive")
    nothing_lost(reports)
    assert reports[0].duplicates == 1
    assert reports[1].reasons == {CONTRADICTION: 1}
    assert stored(tmp_path / "archive")["on_ms"].to_pylist() == [100]


CSV_FAULTS = {
    "A,202611170000,1,5": "wrong number of columns",
    "A,202611170000,1,5,40,9": "wrong number of columns",
    ",202611170000,1,5,40": "site is missing",
    "   ,202611170000,1,5,40": "site is missing",
    "A,,1,5,40": "time is missing",
    "A,202613170000,1,5,40": "time cannot be read",
    "A,20261117,1,5,40": "time cannot be read",
    "A,yesterday,1,5,40": "time cannot be read",
    "A,197001010900,1,5,40": "time is out of range",
    "A,980001060900,1,5,40": "time is out of range",
    "A,202611170000,,5,40": "lane is missing",
    "A,202611170000,-1,5,40": "lane is out of range",
    "A,202611170000,300,5,40": "lane is out of range",
    "A,202611170000,one,5,40": "lane is not a number",
    "A,202611170000,1,-5,40": "vehicles is out of range",
    "A,202611170000,1,1e9,40": "vehicles is out of range",
    "A,202611170000,1,nan,40": "vehicles is not finite",
    "A,202611170000,1,inf,40": "vehicles is not finite",
    "A,202611170000,1,-Infinity,40": "vehicles is not finite",
    "A,202611170000,1,0x10,40": "vehicles is not a number",
    'A,202611170000,1,"1,000",40': "vehicles is not a number",
    "A,202611170000,1,5,nan": "speed_cmps is not finite",
    "A,202611170000,1,5,-1": "speed_cmps is out of range",
    "A,202611170000,1,5,4000": "speed_cmps is out of range",
    "A,202611170000,1,5,40km": "speed_cmps is not a number",
    "A,202611170000,1,5,=1+1": "speed_cmps is not a number",
}


@pytest.mark.parametrize("line", CSV_FAULTS)
def test_a_bad_csv_row_is_refused_with_the_right_reason(tmp_path: Path, line: str) -> None:
    mapping, source = tmp_path / "m.toml", tmp_path / "a.csv"
    mapping.write_text(MAPPING)
    good = "A,202611170005,1,5,40"
    source.write_text(f"site,when,lane,veh,speed\n{line}\n{good}\n")
    (report,) = ingest([source], tmp_path / "archive", mapping_file=mapping)
    assert report.reasons == {CSV_FAULTS[line]: 1}
    assert report.rows == 1
    nothing_lost([report])
    (path,) = (tmp_path / "archive" / "quarantine").glob("*.parquet")
    (refused,) = pq.read_table(path).to_pylist()
    assert refused["row"] == 2
    assert refused["raw"] == line
    assert refused["file"] == str(source)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
def test_counts_are_the_same_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    mapping, source = tmp_path / "m.toml", tmp_path / "a.csv"
    mapping.write_text(MAPPING.replace('"site"', '"지점"'))
    text = "지점,when,lane,veh,speed\r\n강남,202611170000,1,-,36\r\n강남,202611170005,1,7,\r\n"
    source.write_bytes(text.encode(encoding))
    (report,) = ingest([source], tmp_path / "archive", mapping_file=mapping)
    assert (report.rows, report.quarantined) == (2, 0)
    table = stored(tmp_path / "archive", "count")
    assert table["vehicles"].to_pylist() == [None, 7]
    assert table["speed_cmps"].to_pylist() == [1000, None]
    # Midnight in Seoul is 15 h UTC of the day before.
    assert table["time"].to_pylist()[0].isoformat() == "2026-11-16T15:00:00+00:00"
    names = json.loads((tmp_path / "archive" / "dimensions.json").read_text())
    assert names == {"sites": {"강남": 1}}


def test_json_lines_with_faults(tmp_path: Path) -> None:
    mapping, source = tmp_path / "m.toml", tmp_path / "a.jsonl"
    mapping.write_text(MAPPING)
    good = {"site": "A", "when": "202611170000", "lane": 1, "veh": 3, "speed": 36.0}
    lines = [
        json.dumps(good),
        "{broken",
        "[1, 2]",
        "",
        json.dumps({**good, "when": "202611170005", "veh": [3]}),
        json.dumps({**good, "when": None}),
        '{"site": "A", "when": "202611170010", "lane": 1, "veh": NaN, "speed": 1}',
        "\x00\x01",
    ]
    source.write_text("\n".join(lines) + "\n")
    (report,) = ingest([source], tmp_path / "archive", mapping_file=mapping)
    nothing_lost([report])
    assert report.read == 8
    assert report.rows == 1
    assert report.reasons == {
        "not a JSON object": 4,
        "vehicles is not a number": 1,
        "time is missing": 1,
        "vehicles is not finite": 1,
    }


BAD_MAPPINGS = {
    'feed = "counts"': "'counts' is unknown",
    'feed = "count"': "no table [columns]",
    'feed = "count"\n[columns]\nsite = "s"': "column lane is not mapped",
    MAPPING.replace('"km/h"', '"kmh"'): "unit 'kmh' is unknown",
    MAPPING.replace("Asia/Seoul", "Asia/Soul"): "no timezone 'Asia/Soul'",
    MAPPING.replace(', timezone = "Asia/Seoul"', ""): "format with a timezone",
    MAPPING + 'colour = "x"': "no column 'colour'",
    "feed = [": "not TOML",
    "speed = 3\n" + MAPPING: "unknown key 'speed'",
    MAPPING.replace('["-"]', '"999"'): "missing is '999'",
    MAPPING.replace("{ value = 300 }", '{ value = 5, unit = "min" }'): "period_s: a value has a",
}


@pytest.mark.parametrize("text", BAD_MAPPINGS)
def test_a_bad_mapping_is_refused_and_nothing_written(tmp_path: Path, text: str) -> None:
    mapping, source = tmp_path / "m.toml", tmp_path / "a.csv"
    mapping.write_text(text)
    source.write_text("site,when,lane,veh,speed\nA,202611170000,1,5,40\n")
    with pytest.raises(InputError) as error:
        ingest([source], tmp_path / "archive", mapping_file=mapping)
    assert BAD_MAPPINGS[text] in str(error.value)
    assert not (tmp_path / "archive").exists()


def test_broken_sources_have_a_clear_error(tmp_path: Path) -> None:
    whole = loops(
        tmp_path / "a.parquet", [1] * 1000, list(range(NOON_MS, NOON_MS + 1000)), [1] * 1000
    )
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(whole.read_bytes()[:-200])
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"x": [1]}), foreign)
    (tmp_path / "notes.txt").write_text("hello")
    for name, words in {
        "cut.parquet": "cannot be read",
        "foreign.parquet": "labelled ''",
        "notes.txt": "no format claims",
        "gone.parquet": "cannot be read",
        "gone.txt": "no such file or folder",
    }.items():
        done = CliRunner().invoke(
            cli, ["ingest", str(tmp_path / name), "--into", str(tmp_path / "archive")]
        )
        assert isinstance(done.exception, InputError), done.output
        assert words in str(done.exception)
    # What failed leaves nothing behind; what is whole goes in.
    (report,) = ingest([whole], tmp_path / "archive")
    assert report.rows == 1000


def test_one_bad_file_does_not_keep_the_others_out(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "c"):
        loops(tmp_path / "in" / f"{name}.parquet", [ord(name)], [NOON_MS], [1])
    (tmp_path / "in" / "b.parquet").write_bytes(b"PAR1 not really")
    files = [*sorted((tmp_path / "in").iterdir()), tmp_path / "gone.parquet"]
    with pytest.raises(InputError, match=r"b\.parquet.*1 more bad.*the other 2 sources are in"):
        ingest(files, tmp_path / "archive")
    assert stored(tmp_path / "archive").num_rows == 2


def test_a_folder_that_is_no_archive_is_left_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.draft").write_text("years of work")
    source = loops(tmp_path / "a.parquet", [1], [NOON_MS], [1])
    with pytest.raises(OutputError, match="neither empty nor an archive"):
        ingest([source], home)
    assert [p.name for p in home.iterdir()] == ["thesis.draft"]


def test_only_one_process_writes(tmp_path: Path) -> None:
    import fcntl

    (tmp_path / "archive").mkdir()
    source = loops(tmp_path / "a.parquet", [1], [NOON_MS], [1])
    with (tmp_path / "archive" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="another ingest"):
            ingest([source], tmp_path / "archive")


def test_killed_at_any_moment_it_goes_on(tmp_path: Path) -> None:
    """kill -9, again and again, then once to the end: bit for bit what one call gives."""
    rng = np.random.default_rng(2)
    (tmp_path / "in").mkdir()
    for number in range(6):
        count = 20_000
        loops(
            tmp_path / "in" / f"{number}.parquet",
            rng.integers(1, 30, count).tolist(),
            (NOON_MS + rng.integers(0, 6 * 3600_000, count)).tolist(),
            rng.integers(0, 100, count).tolist(),
        )
    secret = tmp_path / "secret"
    command = [
        sys.executable,
        "-m",
        "topis",
        "ingest",
        str(tmp_path / "in"),
        "--secret",
        str(secret),
    ]
    whole = tmp_path / "whole"
    began = time.monotonic()
    subprocess.run([*command, "--into", str(whole)], check=True, capture_output=True)
    took_s = time.monotonic() - began
    draw = random.Random(3)
    archive = tmp_path / "archive"
    killed = 0
    for _ in range(8):
        process = subprocess.Popen(
            [*command, "--into", str(archive)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(draw.uniform(0.4, 1.0) * took_s)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed
    subprocess.run([*command, "--into", str(archive)], check=True, capture_output=True)
    assert tree(archive) == tree(whole)
    described = describe(archive)
    assert described.staged == 0
    assert sum(described.quarantined.values()) + described.feeds[0].rows <= 120_000


def test_vehicles_are_never_stored_by_name(tmp_path: Path) -> None:
    mapping, source = tmp_path / "m.toml", tmp_path / "a.csv"
    mapping.write_text(
        """
        feed = "gps"
        [columns]
        vehicle = "plate"
        time = { column = "t", unit = "unix s" }
        lat_e7 = { column = "lat", unit = "deg" }
        lon_e7 = { column = "lon", unit = "deg" }
        kind = { value = 2 }
        route = { value = 0 }
        """
    )
    day_s = 86_400
    start_s = NOON_MS // 1000
    source.write_text(
        "plate,t,lat,lon\n"
        + "".join(
            f"{plate},{start_s + shift},37.5,127.0\n"
            for plate in ("12가3456", "34나5678")
            for shift in (0, 10, day_s)
        )
    )
    ingest([source], tmp_path / "archive", mapping_file=mapping)
    table = stored(tmp_path / "archive", "gps").to_pandas().sort_values("time")
    assert table["vehicle"].nunique() == 4, "two vehicles, another name on the next day"
    assert table.groupby("vehicle").size().tolist().count(2) == 2
    everything = b"".join(p.read_bytes() for p in (tmp_path / "archive").rglob("*") if p.is_file())
    assert "12가3456".encode() not in everything
    assert (tmp_path / "archive.secret").stat().st_mode & 0o077 == 0


def test_feeds_are_documented() -> None:
    text = (Path(__file__).parents[1] / "docs" / "data.md").read_text()
    assert "\n".join(documented()).strip() in text


def test_describe_tells_rows_gaps_and_reasons(tmp_path: Path) -> None:
    moments = [NOON_MS, NOON_MS + 5 * 3600_000, NOON_MS + 1]
    source = loops(tmp_path / "a.parquet", [1, 1, 1], moments, [1, 1, 4_000_000])
    ingest([source], tmp_path / "archive")
    done = CliRunner().invoke(cli, ["data", "describe", str(tmp_path / "archive")])
    assert done.exit_code == 0, done.output
    assert "2 rows" in done.output
    assert "gap of 4 h" in done.output
    assert "1 x loop_event: on_ms is out of range" in done.output
