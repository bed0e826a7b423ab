"""`topis simulate --outage`: sensors and probes that fall silent for a while, and nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.scenario_files import (
    copy_single,
    make_net,
    topis,
    violations,
    write_config,
    write_demand,
    write_switch_recorder,
)
from topis.config import sensing_layout
from topis.errors import InputError
from topis.ingest.network_file import load_network
from topis.ingest.placement import place_sensors
from topis.model.network import Network
from topis.model.observation import Observation, ProbeReports, SensorTable
from topis.report.journal import JournalReader
from topis.run.outages import SilencedSource, read_outages

pytest.importorskip("libsumo")

END_S, FROM_S, UNTIL_S = 400, 150, 250
EAST = 2
TIMES = f"from_s = {FROM_S}\nuntil_s = {UNTIL_S}\n"


@dataclass(frozen=True)
class Grid:
    """A scenario of six signals with a table of two districts; ``east``: bool[junctions]."""

    folder: Path
    net: Path
    network: Network
    east: np.ndarray

    def sensors(self, seed: int = 1, layout: str = "city") -> SensorTable:
        return place_sensors(self.network, sensing_layout(layout), seed)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Grid:
    folder = tmp_path_factory.mktemp("outages")
    net = make_net(folder, columns=3, rows=2)
    write_config(
        folder, net.name, write_demand(net, end_s=END_S).name, end_s=END_S,
        additional=[write_switch_recorder(net)],
    )  # fmt: skip
    network = load_network(net).network
    east = network.junction_xy_m[:, 0] > network.junction_xy_m[:, 0].mean()
    rows = [
        f"controllers,{name},{EAST if e else 1}"
        for name, e in zip(network.junction_ids, east, strict=True)
    ]
    (folder / "places.csv").write_text("\n".join(["kind,name,district", *rows, ""]))
    return Grid(folder, net, network, east)


def written(folder: Path, text: str, name: str = "lost.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.fixture(scope="module", params=["adaptive", "city"])
def run(grid: Grid, request: pytest.FixtureRequest) -> Path:
    """A run in which the east is lost for a while; ``states.xml`` is of the last one."""
    lost = written(
        grid.folder, f'[[outage]]\n{TIMES}district = {EAST}\nplaces = "places.csv"\n', "east.toml"
    )
    topis(
        "simulate", "my.sumocfg", "-c", request.param, "--outage", lost, "--out", "runs",
        "--no-report", cwd=grid.folder,
    )  # fmt: skip
    return grid.folder / "runs" / f"{request.param}-seed1"


def test_a_district_vanishes_in_its_time_and_nothing_else_does(grid: Grid, run: Path) -> None:
    sensors = grid.sensors()
    east = grid.east[sensors.junction]
    assert east.any()
    assert not east.all()
    # Roads that lead to a signal of the east.
    junction = grid.network.link_junction[grid.network.lane_link]
    to_east = (junction >= 0) & grid.east[junction]
    to_west = (junction >= 0) & ~grid.east[junction]
    probes = {True: 0, False: 0}
    west = 0
    for seen in JournalReader(run).observations():
        silent = FROM_S <= seen.time_ms / 1000 < UNTIL_S
        assert np.isnan(seen.reading[east]).all() == silent
        assert not np.isnan(seen.reading[east]).any() or silent
        assert not np.isnan(seen.reading[~east]).any()
        probes[silent] += int(to_east[seen.probes.lane].sum())
        west += int(to_west[seen.probes.lane].sum()) if silent else 0
    assert probes[True] == 0
    assert probes[False] > 0
    assert west > 0


def test_the_manifest_tells_of_it(grid: Grid, run: Path) -> None:
    (told,) = json.loads((run / "manifest.json").read_text())["outages"]
    assert told["from_s"] == FROM_S
    assert told["until_s"] == UNTIL_S
    assert told["what"] == "district 2 with its probes"
    assert told["sensors"] == grid.east[grid.sensors().junction].sum()


def test_such_a_run_verifies_and_is_safe(grid: Grid, run: Path) -> None:
    assert "all the same" in topis("verify", run, cwd=grid.folder).stdout
    assert violations(grid.net, grid.folder / "states.xml") == []


def test_it_holds_for_mesoscopic_runs(tmp_path: Path) -> None:
    config = copy_single(tmp_path, end_s=300)
    network = load_network(config.parent / "single.net.xml").network
    lost = written(
        tmp_path,
        f'[[outage]]\nfrom_s = {FROM_S}\njunctions = ["{network.junction_ids[0]}"]\n'
        "probes = true\n",
    )
    topis(
        "simulate", config, "-c", "adaptive", "--meso", "--outage", lost, "--out", "out",
        "--no-report", cwd=tmp_path,
    )  # fmt: skip
    folder = tmp_path / "out" / "adaptive-seed1"
    for seen in JournalReader(folder).observations():
        assert np.isnan(seen.reading).all() == (seen.time_ms >= FROM_S * 1000)
    assert "all the same" in topis("verify", folder, cwd=tmp_path).stdout


class Made:
    """A source of one observation, with a probe on each lane."""

    def __init__(self, network: Network, sensors: SensorTable, time_s: float) -> None:
        lanes = np.arange(network.lanes, dtype=np.int32)
        some = np.ones(network.lanes, dtype=np.float32)
        self.given: Observation | None = Observation(
            int(time_s * 1000),
            np.arange(2 * len(sensors), dtype=np.float32).reshape(-1, 2),
            ProbeReports(lanes.astype(np.int64), lanes, some, some),
        )

    def next(self) -> Observation | None:
        given, self.given = self.given, None
        return given


def test_others_are_handed_on_as_they_are(grid: Grid) -> None:
    sensors = grid.sensors()
    name = grid.network.junction_ids[0]
    lost = written(grid.folder, f'[[outage]]\n{TIMES}junctions = ["{name}"]\n')
    outages = read_outages(lost, grid.network, sensors, 1)
    for time_s, silent in ((FROM_S - 1, False), (FROM_S, True), (UNTIL_S, False)):
        made = Made(grid.network, sensors, time_s)
        given = made.given
        assert given is not None
        before = given.reading.copy()
        source = SilencedSource(made, outages)
        seen = source.next()
        assert seen is not None
        gone = silent & (sensors.junction == 0)
        np.testing.assert_array_equal(seen.reading[~gone], before[~gone])
        assert np.isnan(seen.reading[gone]).all()
        # Junctions keep their probes unless the file says otherwise.
        assert len(seen.probes.lane) == grid.network.lanes
        # What the source read stays what it was.
        np.testing.assert_array_equal(given.reading, before)
        assert source.next() is None


def test_a_share_is_drawn_by_the_seed(grid: Grid) -> None:
    sensors = grid.sensors(layout="loops")
    lost = written(grid.folder, "[[outage]]\nshare = 0.33\n")
    first, again, other = (read_outages(lost, grid.network, sensors, seed)[0] for seed in (1, 1, 2))
    assert first.sensors.sum() == round(0.33 * len(sensors))
    assert (first.sensors == again.sensors).all()
    assert (first.sensors != other.sensors).any()
    assert not first.lanes.any()
    assert first.facts()["until_s"] is None


def test_entries_add_up(grid: Grid) -> None:
    names = grid.network.junction_ids
    text = "".join(f'[[outage]]\n{TIMES}junctions = ["{name}"]\n' for name in names[:2])
    sensors = grid.sensors()
    outages = read_outages(written(grid.folder, text), grid.network, sensors, 1)
    seen = SilencedSource(Made(grid.network, sensors, FROM_S), outages).next()
    assert seen is not None
    np.testing.assert_array_equal(np.isnan(seen.reading[:, 0]), sensors.junction < 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[outage]\nshare = 0.5\n", r"no table \[\[outage\]\]"),
        ("", r"no table \[\[outage\]\]"),
        ("outage = [1]\n", r"no table \[\[outage\]\]"),
        ("[[outage]]\nshare = 0.5\n[other]\n", "unknown table or key 'other'"),
        ("[[outage]]\nshare = 0.5\nform_s = 1\n", "unknown key 'outage 1.form_s'; known are"),
        ("[[outage]]\nshare = 1.5\n", "give 0 to 1"),
        ("[[outage]]\nshare = nan\n", "give a finite number"),
        ("[[outage]]\nshare = true\n", "give a finite number"),
        ("[[outage]]\nfrom_s = -1\nshare = 0.5\n", "give 0 to"),
        ("[[outage]]\nfrom_s = 200\nuntil_s = 200\nshare = 0.5\n", "give an until_s after from_s"),
        ("[[outage]]\nfrom_s = 200\n", "names no sensors; give one of district"),
        ('[[outage]]\nshare = 0.5\njunctions = ["A0"]\n', "names share and junctions"),
        ("[[outage]]\nshare = 0.5\nprobes = true\n", "probes with a share"),
        ('[[outage]]\nshare = 0.5\nplaces = "p.csv"\n', "places without a district"),
        ("[[outage]]\ndistrict = 1\n", "a district without places"),
        ("[[outage]]\ndistrict = 1.0\n", "give a whole number"),
        ("[[outage]]\ndistrict = 0\n", "give 1 to 65535"),
        ('[[outage]]\ndistrict = 7\nplaces = "places.csv"\n', "its signals are in 1, 2"),
        ('[[outage]]\ndistrict = 1\nplaces = "none.csv"\n', "none.csv: cannot be read"),
        ('[[outage]]\njunctions = ["Z9"]\n', "no signal 'Z9' in this network"),
        ("[[outage]]\njunctions = []\n", "give a list of names"),
        ('[[outage]]\njunctions = "A0"\n', "give a list of names"),
        ('[[outage]]\nprobes = 1\njunctions = ["A0"]\n', "give a bool"),
        ("[[outage\n", "not TOML"),
    ],
)
def test_bad_files_are_refused(grid: Grid, text: str, message: str) -> None:
    path = written(grid.folder, text, "bad.toml")
    with pytest.raises(InputError, match=message) as caught:
        read_outages(path, grid.network, grid.sensors(), 1)
    assert str(path.parent) in str(caught.value)


def test_the_command_says_so_in_one_line(grid: Grid) -> None:
    done = topis(
        "simulate", "my.sumocfg", "-c", "shipped", "--outage", "none.toml", "--out", "no",
        cwd=grid.folder, code=InputError.exit_code,
    )  # fmt: skip
    assert done.stderr.splitlines()[-1] == "Error: none.toml: no such file; check the path"
    assert not (grid.folder / "no").exists()
