"""What a replay's report is made of: bands, probes along a corridor, a page that stands alone."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from tests.made_days import DATE, made_day
from topis.cli.main import cli
from topis.config import LAYOUTS
from topis.ingest.synth import SynthOptions
from topis.model.corridor import Corridor, StopLine, find_corridor
from topis.report.figures import green_bands
from topis.report.journal import JournalReader
from topis.report.probe_travel import FEWEST_PROBES, corridor_positions, longest_stretch

FEEDS = ("loop_event", "gps", "signal_event")


def test_bands_by_hand() -> None:
    # 100 m apart at 10 m/s: the second's greens count from 10 s on.
    greens = [(0.0, [(0.0, 30.0), (60.0, 90.0)]), (100.0, [(20.0, 50.0), (95.0, 110.0)])]
    assert green_bands(greens, 10.0) == [
        [(10.0, 0.0), (30.0, 0.0), (40.0, 100.0), (20.0, 100.0)],
        [(85.0, 0.0), (90.0, 0.0), (100.0, 100.0), (95.0, 100.0)],
    ]
    assert green_bands([(0.0, [(0.0, 10.0)]), (100.0, [(50.0, 60.0)])], 10.0) == []
    assert green_bands(greens[:1], 10.0) == []


def journeys(count: int, until_m: float) -> pd.DataFrame:
    """At 10 m/s, a report each 5 s; the n-th waits n seconds at 200 m."""
    rows = []
    for vehicle in range(count):
        for at_m in np.arange(0.0, until_m + 1.0, 50.0):
            waited = vehicle if at_m > 200.0 else 0
            rows.append((100.0 * vehicle + at_m / 10.0 + waited, vehicle, at_m))
    return pd.DataFrame(rows, columns=["time_s", "vehicle", "position_m"])


def test_travel_times_are_those_of_the_longest_stretch_enough_drove() -> None:
    stops = [StopLine(0, 0, 200.0, [0]), StopLine(1, 1, 400.0, [0])]
    corridor = Corridor("c", [0, 1, 2], 600.0, stops)
    few = journeys(FEWEST_PROBES - 1, 600.0)
    assert longest_stretch(few, corridor) is None
    found = longest_stretch(journeys(FEWEST_PROBES, 400.0), corridor)
    assert found is not None
    from_m, to_m, times_s = found
    assert (from_m, to_m) == (0.0, 400.0)
    assert times_s.tolist() == pytest.approx([40.0 + k for k in range(FEWEST_PROBES)])
    assert longest_stretch(few.iloc[:0], corridor) is None


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    options = SynthOptions(0.0008, DATE, 6, 0.0, (7, 8), sensing=LAYOUTS["seoul"])
    feeds = made_day(folder, options, FEEDS) / "feeds"
    done = CliRunner().invoke(
        cli,
        [
            "replay", str(folder / "archive"), "--network", str(feeds / "city.net.xml.gz"),
            "--sensors", str(feeds / "sensors.csv"), "--from", f"{DATE}T07:20", "--to", "07:45",
            "--set", "interval_s=5", "--out", str(folder / "run"),
        ],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return folder / "run"


def test_the_report_stands_alone(replayed: Path) -> None:
    text = (replayed / "report.html").read_text()
    assert len(text) < 3_000_000
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)
    assert "<script" not in text
    for picture in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(picture)
    for heading in (
        "Level of service", "Queues over time", "Where the engine would have shown something else",
        "Travel time on the corridor", "Signals, the worst first", "Where the time went",
        "What was replayed",
    ):  # fmt: skip
        assert f"<h2>{heading}</h2>" in text, heading
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_probes_lie_on_the_corridor_in_order(replayed: Path) -> None:
    journal = JournalReader(replayed)
    corridor = find_corridor(journal.network)
    assert corridor is not None
    found = corridor_positions(replayed, journal.network, corridor)
    assert len(found) > 100
    assert found["position_m"].between(0.0, corridor.length_m + 1.0).all()
    steps = found.groupby("vehicle")["time_s"].diff().dropna()
    assert (steps > 0.0).all()


def test_the_whole_slice_is_told_as_cleared_up(replayed: Path) -> None:
    """Seconds of the parts are seconds of the whole: nothing is counted twice."""
    text = (replayed / "report.html").read_text()
    rows = dict(re.findall(r'<th scope="row">([^<]+)</th><td>([\d.]+)</td><td>\d* ?%?</td>', text))
    parts = sum(float(value) for name, value in rows.items() if name != "all, on the wall")
    assert 0.0 < parts <= float(rows["all, on the wall"])
