"""Sources given again: with another network, another secret, or after a loss."""

from __future__ import annotations

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

from tests.test_ingest import MAPPING, NOON_MS, loops, nothing_lost, stored, tree
from tests.test_matching import drive_all, town
from topis.cli.main import cli
from topis.errors import InputError
from topis.ingest import archive as archive_files
from topis.ingest.archive import partitions
from topis.ingest.describe import describe
from topis.ingest.pipeline import ingest

__all__ = ["town"]
HOUR_MS = 3_600_000


def data_files(archive: Path) -> dict[str, str]:
    """Files with rows, and their hashes."""
    return {name: sha for name, sha in tree(archive).items() if name.startswith("feed=")}


def without_network(archive: Path) -> dict[str, object]:
    table = stored(archive, "gps")
    return table.drop(["link", "offset_dm"]).to_pydict()


def test_links_are_filled_in_when_a_network_is_named_later(tmp_path: Path, town: Path) -> None:
    source, secret = tmp_path / "gps.parquet", tmp_path / "secret"
    pq.write_table(drive_all(town)[0], source)
    ingest([source], tmp_path / "at once", network_file=town, secret_file=secret)
    (first,) = ingest([source], tmp_path / "later", secret_file=secret)
    before = without_network(tmp_path / "later")
    (report,) = ingest([source], tmp_path / "later", network_file=town, secret_file=secret)
    nothing_lost([report])
    assert report.known
    assert report.again
    assert (report.rows, report.duplicates, report.quarantined) == (
        first.rows, first.duplicates, first.quarantined,
    )  # fmt: skip
    assert without_network(tmp_path / "later") == before
    assert stored(tmp_path / "later", "gps")["link"].null_count < 10
    assert tree(tmp_path / "later") == tree(tmp_path / "at once")
    for network in (town, None):
        (report,) = ingest([source], tmp_path / "later", network_file=network, secret_file=secret)
        assert not report.again
    assert tree(tmp_path / "later") == tree(tmp_path / "at once")


def test_another_network_gives_other_links(tmp_path: Path, town: Path) -> None:
    other = tmp_path / "other.net.xml"
    text = town.read_text()
    other.write_text(text.replace("<location", "<!-- the same town, surveyed again --><location"))
    source = tmp_path / "gps.parquet"
    pq.write_table(drive_all(town)[0], source)
    ingest([source], tmp_path / "archive", network_file=town)
    before = stored(tmp_path / "archive", "gps")
    (report,) = ingest([source], tmp_path / "archive", network_file=other)
    assert report.again
    assert stored(tmp_path / "archive", "gps").equals(before)
    assert not ingest([source], tmp_path / "archive", network_file=other)[0].again


def test_the_same_rows_matched_and_not_are_no_contradiction(tmp_path: Path, town: Path) -> None:
    table = drive_all(town)[0]
    half = len(table) // 2
    pq.write_table(table, tmp_path / "all.parquet")
    pq.write_table(table.slice(0, half), tmp_path / "half.parquet")
    ingest([tmp_path / "all.parquet"], tmp_path / "archive")
    (report,) = ingest([tmp_path / "half.parquet"], tmp_path / "archive", network_file=town)
    nothing_lost([report])
    assert (report.rows, report.duplicates, report.quarantined) == (0, half, 0)
    links = stored(tmp_path / "archive", "gps")["link"]
    assert 0 < len(links) - links.null_count <= half


def test_killed_while_links_are_filled_in_it_goes_on(tmp_path: Path, town: Path) -> None:
    secret = tmp_path / "secret"
    table = drive_all(town)[0]
    (tmp_path / "in").mkdir()
    for number in range(5):
        time_ms = table["time"].cast(pa.int64()).to_numpy() + number * HOUR_MS
        column = table.schema.get_field_index("time")
        field = table.schema.field("time")
        shifted = table.set_column(column, field, pa.array(time_ms).cast(field.type))
        pq.write_table(shifted, tmp_path / "in" / f"{number}.parquet")
    command = [sys.executable, "-m", "topis", "ingest", str(tmp_path / "in")]
    command += ["--secret", str(secret)]
    for name in ("whole", "cut"):
        subprocess.run([*command, "--into", str(tmp_path / name)], check=True, capture_output=True)
    command += ["--network", str(town)]
    began = time.monotonic()
    whole = [*command, "--into", str(tmp_path / "whole")]
    subprocess.run(whole, check=True, capture_output=True)
    took_s = time.monotonic() - began
    draw = np.random.default_rng(1)
    cut = [*command, "--into", str(tmp_path / "cut")]
    for _ in range(6):
        process = subprocess.Popen(cut, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(draw.uniform(0.5, 1.0) * took_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(cut, check=True, capture_output=True)
    assert tree(tmp_path / "cut") == tree(tmp_path / "whole")
    links = stored(tmp_path / "cut", "gps")["link"]
    assert links.null_count < 0.1 * len(links)


def plates(tmp_path: Path) -> tuple[Path, Path]:
    mapping, source = tmp_path / "m.toml", tmp_path / "a.csv"
    mapping.write_text(
        'feed = "gps"\n[columns]\nvehicle = "plate"\ntime = { column = "t", unit = "unix ms" }\n'
        'lat_e7 = { column = "lat", unit = "deg" }\nlon_e7 = { column = "lon", unit = "deg" }\n'
        "kind = { value = 2 }\nroute = { value = 0 }\n"
    )
    source.write_text(f"plate,t,lat,lon\n12,{NOON_MS},37.5,127\n")
    return mapping, source


def test_vehicles_have_one_secret(tmp_path: Path) -> None:
    mapping, source = plates(tmp_path)
    ingest([source], tmp_path / "archive", mapping_file=mapping)
    more = tmp_path / "b.csv"
    more.write_text(source.read_text().replace(f"{NOON_MS}", f"{NOON_MS + 1000}"))
    secret = tmp_path / "another"
    with pytest.raises(InputError, match="another secret; name that one"):
        ingest([more], tmp_path / "archive", mapping_file=mapping, secret_file=secret)
    assert stored(tmp_path / "archive", "gps").num_rows == 1
    # What has no vehicles needs none.
    loop = loops(tmp_path / "l.parquet", [1], [NOON_MS], [1])
    ingest([loop], tmp_path / "archive", secret_file=secret)
    (report,) = ingest([more], tmp_path / "archive", mapping_file=mapping)
    assert report.rows == 1
    assert len(set(stored(tmp_path / "archive", "gps")["vehicle"].to_pylist())) == 1


def test_places_stay_where_they_are(tmp_path: Path) -> None:
    mapping, places = tmp_path / "m.toml", tmp_path / "p.csv"
    mapping.write_text(MAPPING)

    def take(site: str, name: str, text: str | None) -> list[int]:
        source = tmp_path / name
        source.write_text(f"site,when,lane,veh,speed\n{site},202611170800,1,5,40\n")
        if text is not None:
            places.write_text(f"kind,name,district\n{text}")
        ingest(
            [source],
            tmp_path / "archive",
            mapping_file=mapping,
            places_file=None if text is None else places,
        )
        return [p.district for p, _ in partitions(tmp_path / "archive")]

    assert take("A", "1.csv", "sites,A,23\n") == [23]
    # The archive knows by itself; a new site may be added.
    assert take("A", "2.csv", None) == [23]
    assert take("B", "3.csv", "sites,B,7\n") == [23, 7]
    for text in ("sites,A,24\n", "sites,A,23\nsites,B,8\n"):
        with pytest.raises(InputError, match="rows do not move"):
            take("A", "4.csv", text)
    assert take("C", "5.csv", None) == [0, 23, 7]
    with pytest.raises(InputError, match="stored in district 0"):
        take("C", "6.csv", "sites,C,9\n")


def test_districts_of_links_keep_to_one_network(tmp_path: Path, town: Path) -> None:
    places, source = tmp_path / "p.csv", tmp_path / "gps.parquet"
    places.write_text("kind,name,district\nlinks,nowhere,3\n")
    pq.write_table(drive_all(town)[0], source)
    ingest([source], tmp_path / "archive", places_file=places)
    with pytest.raises(InputError, match="links of another network, or of none"):
        ingest([source], tmp_path / "archive", network_file=town)
    assert ingest([source], tmp_path / "archive")[0].known


def day(tmp_path: Path) -> tuple[list[Path], Path]:
    """Two sources over three hours, and an archive of them."""
    rng = np.random.default_rng(5)
    paths = []
    for name in "ab":
        moments = (NOON_MS + rng.integers(0, 3 * HOUR_MS, 3000)).tolist()
        own = rng.integers(1, 9, 3000).tolist()
        paths.append(loops(tmp_path / f"{name}.parquet", own, moments, [1] * 3000))
    ingest(paths, tmp_path / "archive")
    return paths, tmp_path / "archive"


@pytest.mark.parametrize("harm", ["gone", "cut short", "emptied", "another file"])
def test_a_lost_partition_is_told_of_and_restored(tmp_path: Path, harm: str) -> None:
    paths, archive = day(tmp_path)
    whole = tree(archive)
    _, path = partitions(archive)[1]
    if harm == "gone":
        shutil.rmtree(path.parents[1])
    elif harm == "another file":
        shutil.copyfile(paths[0], path)
    else:
        path.write_bytes(path.read_bytes()[:-100] if harm == "cut short" else b"")
    found = describe(archive)
    assert sorted(found.lost) == sorted(map(str, paths))
    assert all(len(folders) == 1 for folders in found.lost.values())
    assert len(found.damaged) == (harm != "gone")
    done = CliRunner().invoke(cli, ["data", "describe", str(archive)])
    assert f"lost: rows of {paths[0]} in feed=loop_event/date=" in done.output
    reports = ingest(paths, archive)
    nothing_lost(reports)
    assert all(report.again for report in reports)
    restored = tree(archive)
    assert {k: v for k, v in restored.items() if "_damaged" not in k} == whole
    assert not describe(archive).lost
    assert not any(report.again for report in ingest(paths, archive))


def test_a_partition_damaged_inside_has_a_clear_error(tmp_path: Path) -> None:
    paths, archive = day(tmp_path)
    (_, path), *_ = partitions(archive)
    content = bytearray(path.read_bytes())
    content[100:1000] = bytes(900)
    path.write_bytes(bytes(content))
    more = loops(tmp_path / "c.parquet", [1], [NOON_MS], [7])
    with pytest.raises(InputError, match=r"damaged .*remove it and ingest its sources again"):
        ingest([more], archive)
    path.unlink()
    nothing_lost(ingest([*paths, more], archive))
    assert not describe(archive).lost


def test_only_partitions_of_the_sources_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, archive = day(tmp_path)
    late = loops(tmp_path / "late.parquet", [1], [NOON_MS + 50 * HOUR_MS], [1])
    opened: list[Path] = []
    whole = archive_files.pq.ParquetFile

    def watched(path: Path) -> object:
        opened.append(path)
        return whole(path)

    monkeypatch.setattr(archive_files.pq, "ParquetFile", watched)
    for _ in range(2):
        ingest([late], archive)
    monkeypatch.undo()
    new = partitions(archive)[-1][1]
    assert {path for path in opened if path.is_relative_to(archive)} == {new}
    assert paths


STRAY = ["hour=xx", "hour=99", "hour=7"]


@pytest.mark.parametrize("stray", STRAY)
def test_a_stray_folder_has_a_clear_error(tmp_path: Path, stray: str) -> None:
    _, archive = day(tmp_path)
    folder = archive / "feed=loop_event" / "date=2026-11-15" / stray / "district=0"
    folder.mkdir(parents=True)
    (folder / "part.parquet").write_bytes(b"")
    for command in ("describe", "health"):
        done = CliRunner().invoke(cli, ["data", command, str(archive)])
        assert isinstance(done.exception, InputError)
        assert "is no partition of an archive" in str(done.exception)


def test_stray_files_do_no_harm_or_are_named(tmp_path: Path) -> None:
    paths, archive = day(tmp_path)
    for name in ("notes.txt", "feed=x/readme", "_staging/readme", "_sources/readme"):
        (archive / name).parent.mkdir(exist_ok=True)
        (archive / name).write_text("mine")
    (archive / "_staging" / "folder").mkdir()
    assert all(report.known for report in ingest(paths, archive))
    assert not describe(archive).lost
    (archive / "_sources" / "x.json").write_text("[]")
    with pytest.raises(InputError, match=r"x\.json: is not what is written of a source"):
        describe(archive)
    (archive / "_sources" / "x.json").unlink()
    pq.write_table(pq.read_table(paths[0]), archive / "quarantine" / "x.parquet")
    with pytest.raises(InputError, match=r"x\.parquet: cannot be read"):
        describe(archive)
