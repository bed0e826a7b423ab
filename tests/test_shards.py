"""A replay in shards: the same whoever works on it and whatever goes wrong on the way."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from tests.made_days import DATE, fill, quiet, two_districts
from topis.cli.main import cli
from topis.config import LAYOUTS
from topis.ingest.network_file import load_network
from topis.ingest.synth import SynthOptions, synthesise
from topis.report.journal import JournalReader
from topis.run.replay import work_folder

FEEDS = ("loop_event", "gps", "signal_event")


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hours of 16 junctions in two districts, without cameras."""
    folder = tmp_path_factory.mktemp("shards")
    sensing = replace(LAYOUTS["loops"], probe_share=0.1)
    options = SynthOptions(0.00125, DATE, 3, 0.0, (7, 9), sensing=sensing)
    synthesise(folder / "feeds", options, quiet)
    two_districts(folder / "feeds")
    fill(folder / "archive", folder / "feeds", folder / "feeds", FEEDS)
    return folder


def call(day: Path, out: Path, *more: str, archive: str = "") -> list[str]:
    feeds = day / "feeds"
    return [
        "replay", archive or str(day / "archive"), "--network", str(feeds / "city.net.xml.gz"),
        "--sensors", str(feeds / "sensors.csv"), "--from", f"{DATE}T07:20", "--to", "08:35",
        "--feed", "loop_event", "--feed", "gps", "--set", "interval_s=3", "--group", "8",
        "--out", str(out), *more,
    ]  # fmt: skip


def run(day: Path, out: Path, *more: str, archive: str = "") -> Result:
    return CliRunner().invoke(cli, call(day, out, *more, archive=archive))


@pytest.fixture(scope="module")
def alone(day: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "alone"
    done = run(day, out)
    assert done.exit_code == 0, done.output
    assert not work_folder(out).exists()
    return out


def same(one: Path, other: Path) -> None:
    """Every file but how long it took."""
    names = {path.name for path in one.iterdir()}
    assert names == {path.name for path in other.iterdir()}
    for name in names - {"timings.json", "report.html"}:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize("more", [["-j", "2"], ["-j", "2", "--cluster", "local"]])
def test_any_number_of_workers_gives_the_same(
    day: Path, alone: Path, tmp_path: Path, more: list[str]
) -> None:
    if "--cluster" in more:
        pytest.importorskip("distributed")
    done = subprocess.run(
        [sys.executable, "-m", "topis", *call(day, tmp_path / "two", *more)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    same(alone, tmp_path / "two")


@pytest.mark.parametrize("more", [["-j", "2"], ["-j", "2", "--cluster", "local"]])
def test_a_worker_that_is_killed_is_replaced(
    day: Path, alone: Path, tmp_path: Path, more: list[str]
) -> None:
    if "--cluster" in more:
        pytest.importorskip("distributed")
    with started(day, tmp_path / "killed", *more) as process:
        until(lambda: drafts(tmp_path / "killed"))
        victim = int(drafts(tmp_path / "killed")[0].split(".")[2])
        os.kill(victim, signal.SIGKILL)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    same(alone, tmp_path / "killed")


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_what_was_done_before_it_ended_stays(
    day: Path, alone: Path, tmp_path: Path, how: signal.Signals, code: int
) -> None:
    out = tmp_path / "again"
    with started(day, out) as process:
        until(lambda: finished(out))
        process.send_signal(how)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == code, errors
        assert ("the same call goes on from there" in errors) == (how == signal.SIGINT)
    assert not out.exists()
    done = run(day, out)
    assert done.exit_code == 0, done.output
    assert json.loads((out / "timings.json").read_text())["shards_done_before"] >= 1
    same(alone, out)


def test_another_call_starts_over(day: Path, tmp_path: Path) -> None:
    out = tmp_path / "other"
    with started(day, out) as process:
        until(lambda: finished(out))
        process.kill()
        process.communicate()
    assert run(day, out, "--set", "interval_s=5", "-c", "max-pressure").exit_code == 0
    assert json.loads((out / "timings.json").read_text())["shards_done_before"] == 0


@contextlib.contextmanager
def started(day: Path, out: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    # Where the shell that began all this ignores Ctrl-C, what it starts would too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "topis", *call(day, out, *more)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()


def drafts(out: Path) -> list[str]:
    return [path.name for path in (work_folder(out) / "shards").glob(".*")]


def finished(out: Path) -> list[Path]:
    return list((work_folder(out) / "shards").glob("[!.]*"))


def until(there: object) -> None:
    for _ in range(2000):
        if there():  # type: ignore[operator]
            return
        time.sleep(0.02)
    raise AssertionError("never came")


def test_tables_are_in_order_and_whole(day: Path, alone: Path) -> None:
    network = load_network(day / "feeds" / "city.net.xml.gz").network
    journal = JournalReader(alone)
    assert journal.network.hash == network.hash
    assert len(journal.ticks_ms) == 75 * 60
    assert np.all(np.diff(journal.ticks_ms) == 1000)
    for table, key in (("signals", "junction"), ("advice", "junction"), ("reasons", "junction")):
        rows = pq.read_table(alone / f"{table}.parquet").to_pandas()
        assert (rows["time_ms"].diff().dropna() >= 0).all(), table
        assert not rows.duplicated(["time_ms", key]).any(), table
        assert set(rows[key]) == set(range(network.junctions)), table
    for row in pq.read_table(alone / "advice.parquet").to_pylist():
        assert row["wanted"] < 0 or network.stage_junction[row["wanted"]] == row["junction"]


def test_what_was_seen_is_the_same_in_one_piece(day: Path, alone: Path, tmp_path: Path) -> None:
    assert run(day, tmp_path / "whole", "--group", "1000").exit_code == 0
    one, other = JournalReader(alone), JournalReader(tmp_path / "whole")
    for a, b in zip(one.observations(), other.observations(), strict=True):
        np.testing.assert_array_equal(a.reading, b.reading)
        assert sorted(a.probes.probe.tolist()) == sorted(b.probes.probe.tolist())
    lamps = [pq.read_table(folder / "signals.parquet").to_pandas()
             for folder in (alone, tmp_path / "whole")]  # fmt: skip
    for (_, a), (_, b) in zip(*(t.groupby("junction") for t in lamps), strict=True):
        changes = [t[t["state"] != t["state"].shift()] for t in (a, b)]
        assert changes[0].values.tolist() == changes[1].values.tolist()


@pytest.mark.parametrize(
    ("more", "junctions"),
    [
        (["--district", "east"], None),
        (["--district", "2"], None),
        (["--junction", "B1", "--junction", "C2"], {"B1", "C2"}),
        (["--corridor", "A1B1,B1C1"], {"B1", "C1"}),
    ],
)
def test_a_part_of_the_city_is_a_run_of_its_own(
    day: Path, alone: Path, tmp_path: Path, more: list[str], junctions: set[str] | None
) -> None:
    whole = load_network(day / "feeds" / "city.net.xml.gz").network
    done = run(day, tmp_path / "part", *more)
    assert done.exit_code == 0, done.output
    journal = JournalReader(tmp_path / "part")
    wanted = junctions or {name for name in whole.junction_ids if name[0] not in "AB"}
    assert set(journal.network.junction_ids) == wanted
    lamps = pq.read_table(tmp_path / "part" / "signals.parquet").to_pandas()
    assert set(lamps["junction"]) == set(range(len(wanted)))
    # What is shown there is what the whole run has of it.
    of_all = pq.read_table(alone / "signals.parquet").to_pandas()
    for number, name in enumerate(journal.network.junction_ids):
        own = of_all[of_all["junction"] == whole.junction_ids.index(name)]
        part = lamps[lamps["junction"] == number]
        assert (
            own[["time_ms", "state"]].values.tolist() == part[["time_ms", "state"]].values.tolist()
        )
    assert CliRunner().invoke(cli, ["measures", str(tmp_path / "part")]).exit_code == 0


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--district", "nrth"], "district 'nrth' is unknown"),
        (["--district", "wst"], "did you mean west"),
        (["--district", "9"], "no junction lies in it; there are 1, 2"),
        (["--junction", "B11"], "junction 'B11' is unknown"),
        (["--corridor", "High Street"], "is neither links nor a street"),
        (["--district", "1", "--junction", "B1"], "exclude each other"),
        (["--cluster", "tcp://127.0.0.1:1"], "no scheduler answers"),
    ],
)
def test_what_cannot_be_selected_is_told(
    day: Path, tmp_path: Path, more: list[str], text: str
) -> None:
    if "--cluster" in more:
        pytest.importorskip("distributed")
    assert text in str(run(day, tmp_path / "none", *more).exception)
    assert not (tmp_path / "none").exists()


def test_measure_mode_asks_nobody(day: Path, alone: Path, tmp_path: Path) -> None:
    done = run(day, tmp_path / "seen", "--mode", "measure")
    assert done.exit_code == 0, done.output
    assert "answers" not in done.output
    assert not (tmp_path / "seen" / "advice.parquet").exists()
    for name in ("signals.parquet", "observations.parquet", "probes.parquet"):
        assert (tmp_path / "seen" / name).read_bytes() == (alone / name).read_bytes()
