"""A made-up day: the same for a seed, true to itself, and its planted faults are found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference.fifo_signal import pass_signal as slow_pass
from tests.test_ingest import nothing_lost, stored, tree
from topis._core.fifo_signal import pass_signal
from topis.cli.main import cli
from topis.ingest.archive import CONTRADICTION
from topis.ingest.describe import describe
from topis.ingest.health import BIN_S, loop_faults
from topis.ingest.pipeline import ingest
from topis.ingest.synth import SynthOptions, synthesise
from topis.ingest.synth_traffic import drive, signals_of

DATE = "2026-11-17"


def quiet(*_: object) -> None:
    """No one looks."""


@settings(max_examples=100, deadline=None)
@given(
    gaps=st.lists(st.floats(0, 40), max_size=60),
    green_from_s=st.floats(-500, 500),
    cycle_s=st.floats(40, 180),
    share=st.floats(0.1, 1.0),
)
def test_passing_a_signal_is_as_the_twin_has_it(
    gaps: list[float], green_from_s: float, cycle_s: float, share: float
) -> None:
    arrive_s = np.cumsum(np.array(gaps))
    depart_s = np.empty_like(arrive_s)
    timing = (green_from_s, share * cycle_s, cycle_s, 1.9, 2.0)
    pass_signal(arrive_s, *timing, depart_s)
    assert depart_s.tolist() == slow_pass(arrive_s.tolist(), *timing)
    assert (depart_s >= arrive_s).all()
    assert (np.diff(depart_s) >= 1.9 - 1e-9).all()


def test_delay_is_websters_where_arrivals_are_random() -> None:
    """Uniform plus random delay of a fixed-time signal at 70 % saturation (Webster 1958)."""
    rng = np.random.default_rng(1)
    cycle_s, green_s, flow_vps = 100.0, 50.0, 0.18
    arrive_s = np.cumsum(rng.exponential(1 / flow_vps, 40_000))
    depart_s = np.empty_like(arrive_s)
    pass_signal(arrive_s, 0.0, green_s, cycle_s, 1.9, 0.0, depart_s)
    share, x = green_s / cycle_s, flow_vps * 1.9 / (green_s / cycle_s)
    webster_s = 0.9 * (
        cycle_s * (1 - share) ** 2 / (2 * (1 - share * x)) + x**2 / (2 * flow_vps * (1 - x))
    )
    assert (depart_s - arrive_s).mean() == pytest.approx(webster_s, rel=0.1)


def test_traffic_keeps_its_vehicles() -> None:
    """Who arrives leaves, in order, at green; who goes on arrives at the next signal."""
    lanes = list(drive(1, 0))
    signals = signals_of(1, 0)
    for lane in lanes:
        signal = signals[lane.signal]
        assert (np.diff(lane.depart_s) > 0).all()
        assert (lane.depart_s >= lane.arrive_s).all()
        into = (lane.depart_s - signal.green_from_s) % signal.cycle_s
        assert (into < signal.green_s + 1e-6).all()
        assert len(np.unique(lane.vehicle)) == len(lane.vehicle)
    first, second = lanes[0], lanes[2]
    both = np.intersect1d(first.vehicle, second.vehicle)
    assert 0.75 < len(both) / len(first.vehicle) < 0.85
    left = dict(zip(first.vehicle.tolist(), first.depart_s.tolist(), strict=True))
    come = dict(zip(second.vehicle.tolist(), second.arrive_s.tolist(), strict=True))
    assert all(come[v] >= left[v] + second.length_m / 14.0 for v in both.tolist())
    for here, there in zip(lanes[::2], lanes[2::2], strict=False):
        left = dict(zip(here.vehicle.tolist(), here.depart_s.tolist(), strict=True))
        for v, come_s in zip(there.vehicle.tolist(), there.arrive_s.tolist(), strict=True):
            assert v not in left or come_s >= left[v] + there.length_m / 14.0


def planted_in(day: Path) -> list[dict[str, Any]]:
    """The faults that were planted."""
    return list(json.loads((day / "truth" / "faults.json").read_text()))


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("day") / "feeds"
    synthesise(folder, SynthOptions(0.001, DATE, 2, 0.4, (6, 10)), quiet)
    return folder


@pytest.fixture(scope="module")
def archive(day: Path) -> Path:
    files = [
        p for feed in ("loop_event", "gps", "cctv_track") for p in sorted((day / feed).iterdir())
    ]
    reports = ingest(files, day.parent / "archive")
    nothing_lost(reports)
    assert sum(report.duplicates for report in reports) > 100
    assert {r for report in reports for r in report.reasons} >= {"speed_cmps is out of range"}
    return day.parent / "archive"


def test_the_same_seed_gives_the_same_files(tmp_path: Path, day: Path) -> None:
    synthesise(tmp_path / "again", SynthOptions(0.001, DATE, 2, 0.4, (6, 10)), quiet)
    assert tree(tmp_path / "again") == tree(day)
    synthesise(tmp_path / "other", SynthOptions(0.001, DATE, 3, 0.4, (6, 7)), quiet)
    assert (
        tree(tmp_path / "other")["gps/gps-0000-06.parquet"] != tree(day)["gps/gps-0000-06.parquet"]
    )


def test_loops_count_what_truth_says_has_left(day: Path, archive: Path) -> None:
    """Where no fault was planted: each loop at a stop line against the kept truth, by 30 s."""
    faulty = {
        fault["detector"] for fault in json.loads((day / "truth" / "faults.json").read_text())
    }
    truth = pa.concat_tables(pq.read_table(p) for p in sorted((day / "truth" / "queues").iterdir()))
    table = stored(archive)
    detector = table["detector"].to_numpy()
    period = table["time"].cast(pa.int64()).to_numpy() // 30_000
    counted = 0
    for number in np.unique(truth["detector"].to_numpy()):
        if number in faulty:
            continue
        of = truth.filter(pa.array(truth["detector"].to_numpy() == number))
        begin = of["time"].cast(pa.int64()).to_numpy() // 30_000
        seen = np.bincount(period[detector == number] - begin[0], minlength=len(begin))
        left = of["departed_veh"].to_numpy().astype(int)
        # Impossible rows went to quarantine: one in a thousand.
        assert (seen <= left + 1).all()
        assert seen.sum() == pytest.approx(left.sum(), rel=0.01)
        counted += 1
    assert counted >= 10


def test_planted_faults_are_found_and_no_others(day: Path, archive: Path) -> None:
    planted = planted_in(day)
    midnight_ms = int(np.datetime64(DATE, "ms").astype(int))
    wanted = set()
    for fault in planted:
        begin_s, end_s = max(fault["begin_s"], 6 * 3600), min(fault["end_s"], 10 * 3600)
        # Half an hour of a fault can be told from chance.
        if end_s - begin_s >= 3600:
            wanted.add((fault["detector"], fault["kind"]))
    found = loop_faults(archive)
    assert len(wanted) >= 4
    assert {(fault.detector, fault.kind) for fault in found} >= wanted
    everything = {(fault["detector"], fault["kind"]) for fault in planted}
    assert {(fault.detector, fault.kind) for fault in found} <= everything
    for fault in found:
        (own,) = (p for p in planted if p["detector"] == fault.detector)
        begin_ms = midnight_ms + 1000 * max(own["begin_s"], 6 * 3600)
        assert abs(fault.begin_ms - begin_ms) <= 3 * BIN_S * 1000


def test_probes_stay_themselves_and_on_their_street(archive: Path) -> None:
    refused = describe(archive).quarantined
    assert refused["gps", CONTRADICTION] <= 2, "nobody is in two places at once"
    table = stored(archive, "gps").to_pandas()
    assert (table["lat_e7"] / 1e7).between(37.44, 37.47).all()
    assert (table["lon_e7"] / 1e7).between(126.84, 126.92).all()
    lengths = table.groupby("vehicle").size()
    assert lengths.max() > 60
    eastward = (
        table.sort_values(["vehicle", "time"]).groupby("vehicle")["lon_e7"].agg(["first", "last"])
    )
    far = (eastward["last"] - eastward["first"])[lengths > 60]
    assert (far > 0).mean() > 0.99


def test_command_line(tmp_path: Path) -> None:
    options = ["synth", "--hours", "7", "8", "--into", str(tmp_path / "day")]
    done = CliRunner().invoke(cli, options)
    assert done.exit_code == 0, done.output
    assert "loop_event: " in done.output
    again = CliRunner().invoke(cli, options)
    assert "not empty" in str(again.exception)
    done = CliRunner().invoke(
        cli, ["ingest", str(tmp_path / "day" / "loop_event"), "--into", str(tmp_path / "archive")]
    )
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(cli, ["data", "health", str(tmp_path / "archive")])
    assert done.exit_code == 0, done.output
    for bad in (
        ["--scale", "0"],
        ["--scale", "nan"],
        ["--date", "yesterday"],
        ["--hours", "9", "8"],
    ):
        done = CliRunner().invoke(cli, ["synth", *bad, "--into", str(tmp_path / "bad")])
        assert done.exit_code != 0
        assert not (tmp_path / "bad").exists()
