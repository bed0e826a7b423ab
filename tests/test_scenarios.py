"""The bundled SUMO scenarios: reproducible, clean, and with credible signal programmes."""

from __future__ import annotations

import gzip
import math
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

sumolib = pytest.importorskip("sumolib")

ROOT = Path(__file__).resolve().parents[1]
SCENARIOS = ROOT / "scenarios"
FILES = {
    "gangnam": ("gangnam.net.xml.gz", "gangnam.rou.xml", "gangnam.add.xml", "gangnam.sumocfg"),
    "single": ("single.net.xml", "single.rou.xml", "single.sumocfg"),
}
YELLOW_MIN_S = 3.0
WALK_ENTRY_S, WALK_SPEED_MPS = 7.0, 1.0

each_scenario = pytest.mark.parametrize("name", sorted(FILES))


def read(path: Path) -> ET.Element:
    """Return the root of an XML file, plain or compressed."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as file:
        return ET.parse(file).getroot()


def network(name: str) -> ET.Element:
    return read(SCENARIOS / name / FILES[name][0])


def binary(tool: str) -> str:
    """Return the path of a SUMO tool, or skip the test."""
    try:
        path = sumolib.checkBinary(tool)
        subprocess.run([path, "--version"], capture_output=True, check=True)
    except (OSError, SystemExit, subprocess.CalledProcessError):
        pytest.skip(f"{tool} is not installed")
    return path


@each_scenario
def test_rebuild_is_byte_identical(name: str, tmp_path: Path) -> None:
    version = subprocess.run([binary("netconvert"), "--version"], capture_output=True, text=True)
    if "1.28.0" not in version.stdout:
        pytest.skip("the committed networks were built with netconvert 1.28.0")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [sys.executable, "-m", f"scenarios.{name}.build", "--out", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(FILES[name])
    for file in FILES[name]:
        assert (tmp_path / file).read_bytes() == (SCENARIOS / name / file).read_bytes(), file


@each_scenario
def test_no_machine_paths(name: str) -> None:
    for file in FILES[name]:
        data = (SCENARIOS / name / file).read_bytes()
        text = gzip.decompress(data) if file.endswith(".gz") else data
        for trace in (b"/home", b"/tmp", b"/work", b"/usr", b"<!--"):
            assert trace not in text, f"{file} contains {trace!r}"


@each_scenario
def test_runs_without_warnings(name: str, tmp_path: Path) -> None:
    config = SCENARIOS / name / f"{name}.sumocfg"
    begin_s = float(read(config).find("time/begin").get("value"))
    before = sorted(p.name for p in (SCENARIOS / name).iterdir())
    done = subprocess.run(
        [binary("sumo"), "-c", str(config), "--end", str(begin_s + 60)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []
    assert sorted(p.name for p in (SCENARIOS / name).iterdir()) == before


@each_scenario
def test_bus_and_taxi_share(name: str) -> None:
    kinds = Counter(v.get("type") for v in read(SCENARIOS / name / FILES[name][1]).iter("vehicle"))
    share = (kinds["bus"] + kinds["taxi"]) / kinds.total()
    assert 0.08 <= share <= 0.10


@each_scenario
def test_vehicles_in_order_on_known_routes_and_edges(name: str) -> None:
    demand = read(SCENARIOS / name / FILES[name][1])
    edges = {edge.get("id") for edge in network(name).iter("edge")}
    routes = {route.get("id"): route.get("edges").split() for route in demand.iter("route")}
    assert set().union(*routes.values()) <= edges
    departs = [float(v.get("depart")) for v in demand.iter("vehicle")]
    assert departs == sorted(departs)
    assert {v.get("route") for v in demand.iter("vehicle")} <= set(routes)


def signal_links(net: ET.Element, junction: str) -> dict[int, ET.Element]:
    """Return the controlled connections of a junction by link index."""
    return {
        int(link.get("linkIndex")): link
        for link in net.iter("connection")
        if link.get("tl") == junction
    }


def crossing_lengths_m(net: ET.Element) -> dict[str, float]:
    return {
        edge.get("id"): float(edge.find("lane").get("length"))
        for edge in net.iter("edge")
        if edge.get("function") == "crossing"
    }


def runs(states: list[str], durations_s: list[float], link: int, lamps: str) -> list[float]:
    """Return how long a link shows one of ``lamps``, per spell, around the cycle."""
    shown = [state[link] in lamps for state in states]
    if all(shown):
        return [math.inf]
    first = shown.index(False)
    order = [(first + k) % len(states) for k in range(len(states))]
    spells: list[float] = []
    open_spell = False
    for k in order:
        if shown[k]:
            if not open_spell:
                spells.append(0.0)
            spells[-1] += durations_s[k]
        open_spell = shown[k]
    return spells


@each_scenario
def test_programmes(name: str) -> None:
    """State lengths, yellows, all-red, walk times, and no two conflicting protected greens."""
    net = network(name)
    lengths_m = crossing_lengths_m(net)
    requests = {j.get("id"): j.findall("request") for j in net.iter("junction")}
    programmes = net.findall("tlLogic")
    signals = {j.get("id") for j in net.iter("junction") if j.get("type") == "traffic_light"}
    assert {logic.get("id") for logic in programmes} == signals
    cycles_s = set()
    for logic in programmes:
        junction = logic.get("id")
        links = signal_links(net, junction)
        states = [phase.get("state") for phase in logic.iter("phase")]
        durations_s = [float(phase.get("duration")) for phase in logic.iter("phase")]
        cycles_s.add(sum(durations_s))
        assert {len(state) for state in states} == {len(links)}, junction
        foes = [request.get("foes")[::-1] for request in requests[junction]]
        for state in states:
            protected = [i for i, lamp in enumerate(state) if lamp == "G"]
            clash = [(i, k) for i in protected for k in protected if foes[i][k] == "1"]
            assert not clash, (junction, state, clash)
        for index, link in links.items():
            crossing = lengths_m.get(link.get("to"))
            for k, state in enumerate(states):
                follower = states[(k + 1) % len(states)]
                if crossing is None and state[index] in "Gg":
                    assert follower[index] in "Ggy", (junction, index, "green ends without yellow")
                if state[index] == "y":
                    assert follower[index] in "yr", (junction, index, "green after yellow")
            if crossing is not None:
                need_s = WALK_ENTRY_S + crossing / WALK_SPEED_MPS
                spells_s = runs(states, durations_s, index, "G")
                assert spells_s, (junction, index, "crossing never green")
                assert min(spells_s) >= need_s, (junction, index, need_s)
                assert runs(states, durations_s, index, "y") == []
            else:
                assert min(runs(states, durations_s, index, "Gg")) >= 5.0, (junction, index)
                assert min(runs(states, durations_s, index, "y")) >= YELLOW_MIN_S
        for k, state in enumerate(states):
            if "y" in states[k - 1]:
                was_yellow = [i for i, lamp in enumerate(states[k - 1]) if lamp == "y"]
                assert all(state[i] == "r" for i in was_yellow), (junction, "all-red")
                assert durations_s[k] >= 1.0
                opened = [i for i in links if states[k - 1][i] not in "Gg" and state[i] in "Gg"]
                assert not opened, (junction, "green during all-red")
    assert len(cycles_s) == 1


def test_gangnam_bus_lane_is_continuous() -> None:
    """A bus that stays in the median lane finds it on every edge of a trunk line's route."""
    net = network("gangnam")
    bus_lanes = {
        edge.get("id"): lane.get("index")
        for edge in net.iter("edge")
        if edge.get("function") is None
        for lane in edge.iter("lane")
        if set((lane.get("allow") or "").split()) == {"bus", "emergency"}
    }
    links = {
        (c.get("from"), c.get("fromLane"), c.get("to"), c.get("toLane"))
        for c in net.iter("connection")
    }
    demand = read(SCENARIOS / "gangnam" / "gangnam.rou.xml")
    trunk = [r for r in demand.iter("route") if r.get("id").startswith(("trunk", "express"))]
    assert len(trunk) == 6
    for route in trunk:
        for a, b in pairwise(route.get("edges").split()):
            assert (a, bus_lanes[a], b, bus_lanes[b]) in links
