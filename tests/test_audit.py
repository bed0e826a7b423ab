"""The audit finds every kind of fault in real SUMO recordings, and none in shipped programs."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.audit import Violation, audit, write_recorder
from tests.audit.shipped import read_signals

if importlib.util.find_spec("sumolib") is None or importlib.util.find_spec("libsumo") is None:
    pytest.skip("SUMO is not installed", allow_module_level=True)

import sumolib

ROOT = Path(__file__).parents[1]

# Set lamp states through TraCI's calls, before the step that begins at the given second.
DRIVER = """
import json, sys
import libsumo
net, additional, begin_s, end_s, plan = sys.argv[1:6]
plan = json.loads(plan)
libsumo.start(["sumo", "-n", net, "-a", additional, "-b", begin_s, "--no-step-log"])
while libsumo.simulation.getTime() < float(end_s):
    for time_s, state in plan:
        if libsumo.simulation.getTime() == time_s:
            libsumo.trafficlight.setRedYellowGreenState("A0", state)
    libsumo.simulationStep()
libsumo.close()
"""


@dataclass
class Junction:
    """One signalised crossroads: its net, and the states its shipped program goes through.

    P0 north-south and pedestrians, P1 without pedestrians, P2 yellow (left turns stay green),
    P3 left turns, P4 yellow, P5 all red, P6 to P11 the same for east-west.
    """

    net: Path
    folder: Path
    phases: list[str]

    def drive(self, *plan: tuple[float, str], end_s: float = 90, begin_s: float = 0) -> Path:
        """Run SUMO under a plan of states; return the recording."""
        additional, states = self.folder / "recorder.add.xml", self.folder / "states.xml"
        write_recorder(additional, ["A0"], states)
        argv = [str(self.net), str(additional), str(begin_s), str(end_s), json.dumps(plan)]
        subprocess.run([sys.executable, "-c", DRIVER, *argv], check=True, capture_output=True)
        return states

    def faults(self, *plan: tuple[float, str], end_s: float = 90) -> list[Violation]:
        return audit(self.net, self.drive(*plan, end_s=end_s))


def netgenerate(dest: Path, *options: str) -> Path:
    command = [sumolib.checkBinary("netgenerate"), "--grid", "-o", str(dest), *options]
    subprocess.run(command, check=True, capture_output=True)
    return dest


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = "--grid.number 1 --grid.attach-length 150 --crossings.guess --sidewalks.guess"
    signal = "--tls.set A0 --tls.yellow.time 3 --tls.allred.time 2 --tls.left-green.time 6"
    lanes = "--default.lanenumber 2 --turn-lanes 1"
    dest = tmp_path_factory.mktemp("net") / "one.net.xml"
    return netgenerate(dest, *options.split(), *signal.split(), *lanes.split())


@pytest.fixture
def junction(net: Path, tmp_path: Path) -> Junction:
    phases = [phase.get("state", "") for phase in ElementTree.parse(net).iter("phase")]
    assert len(phases) == 12
    assert phases[1] == "gGGggrrrrrgGGggrrrrrrrrr", "netgenerate builds another program now"
    return Junction(net, tmp_path, phases)


def found(violations: list[Violation]) -> set[tuple[str, float]]:
    return {(violation.kind, violation.time_s) for violation in violations}


def links(violations: list[Violation]) -> set[tuple[int, ...]]:
    """Link numbers named in the details."""
    return {
        tuple(int(part.split(" ")[0]) for part in violation.detail.split("link ")[1:])
        for violation in violations
    }


def put(state: str, **lamps: str) -> str:
    letters = list(state)
    for name, lamp in lamps.items():
        letters[int(name[1:])] = lamp
    return "".join(letters)


@pytest.mark.parametrize("suffix", [".net.xml", ".net.xml.gz"])
def test_shipped_programs_are_clean(tmp_path: Path, suffix: str) -> None:
    dest = tmp_path / f"grid{suffix}"
    grid = "--grid.number 3 --grid.attach-length 100 --crossings.guess --sidewalks.guess"
    signal = "--default-junction-type traffic_light --rand.random-lanenumber"
    netgenerate(dest, *grid.split(), *signal.split())
    signals = read_signals(dest)
    assert len(signals) == 21
    write_recorder(tmp_path / "recorder.add.xml", signals, "states.xml")
    additional = str(tmp_path / "recorder.add.xml")
    command = [sumolib.checkBinary("sumo"), "-n", str(dest), "-a", additional, "-e", "600"]
    subprocess.run(command, check=True, capture_output=True)
    states = tmp_path / "states.xml"
    recorded = {row.get("id") for row in ElementTree.parse(states).iter("tlsState")}
    assert recorded == set(signals)
    assert audit(dest, states) == []


def test_actuated_program_is_clean(tmp_path: Path) -> None:
    options = "--grid.number 2 --grid.attach-length 100 --crossings.guess --sidewalks.guess"
    dest = tmp_path / "grid.net.xml"
    netgenerate(dest, *options.split(), "--tls.set", "A0,B1", "--tls.default-type", "actuated")
    write_recorder(tmp_path / "add.xml", ["A0", "B1"], "states.xml")
    command = [sumolib.checkBinary("sumo"), "-n", str(dest), "-a", str(tmp_path / "add.xml")]
    subprocess.run([*command, "-e", "600"], check=True, capture_output=True)
    assert audit(dest, tmp_path / "states.xml") == []


def test_request_numbers_agree_with_sumolib(net: Path) -> None:
    signal = read_signals(net)["A0"]
    reader = sumolib.net.readNet(str(net), withInternal=True, withPedestrianConnections=True)
    node = reader.getNode("A0")
    # In a net of one node per signal, SUMO numbers lamps as it numbers requests.
    expected = {(i, j) for i in range(24) for j in range(i + 1, 24) if node.areFoes(i, j)}
    assert signal.foes == expected
    assert signal.vehicle == [True] * 20 + [False] * 4


def test_recorder_writes_changes_only_at_the_begin_of_their_step(junction: Junction) -> None:
    p1 = junction.phases[1]
    other = put(p1, i0="G")
    plan = [(100.0, p1), (103.0, other), (105.0, other)]
    states = junction.drive(*plan, begin_s=100, end_s=110)
    rows = [
        (float(row.get("time", "")), row.get("programID"), row.get("state"))
        for row in ElementTree.parse(states).iter("tlsState")
    ]
    assert rows == [(100.0, "online", p1), (103.0, "online", other)]


def test_obedient_online_run_is_clean(junction: Junction) -> None:
    p = junction.phases
    plan = [(0, p[0]), (17, p[1]), (22, p[2]), (25, p[3]), (30, p[4]), (33, p[5]), (35, p[6])]
    # East-west ends without its left turn stage: everything yellow, then all red.
    yellow = p[7].replace("G", "y").replace("g", "y")
    plan += [(45, p[7]), (50, yellow), (53, p[5]), (55, p[0])]
    assert junction.faults(*plan) == []


def test_conflict(junction: Junction) -> None:
    p1 = junction.phases[1]
    violations = junction.faults((0, p1), (10, put(p1, i6="g")), end_s=20)
    assert found(violations) == {("conflict", 10.0)}
    node = sumolib.net.readNet(str(junction.net)).getNode("A0")
    green = {link for link, lamp in enumerate(p1) if lamp in "Gg"}
    assert (1, 6) in links(violations)
    assert links(violations) == {tuple(sorted((k, 6))) for k in green if node.areFoes(k, 6)}


def test_a_conflict_is_told_once(junction: Junction) -> None:
    p1 = junction.phases[1]
    broken = put(p1, i6="g")
    once = junction.faults((0, p1), (10, broken), end_s=20)
    assert junction.faults((0, p1), (10, broken), (15, put(broken, i0="G")), end_s=20) == once


def test_priority_conflict(junction: Junction) -> None:
    p1 = junction.phases[1]
    violations = junction.faults((0, p1), (10, put(p1, i3="G")), end_s=20)
    assert found(violations) == {("priority_conflict", 10.0)}
    assert links(violations) == {(3, 11), (3, 12)}


def test_missing_yellow(junction: Junction) -> None:
    p = junction.phases
    violations = junction.faults((0, p[1]), (30, p[5]))
    assert found(violations) == {("missing_yellow", 30.0)}
    assert links(violations) == {(k,) for k in (0, 1, 2, 3, 4, 10, 11, 12, 13, 14)}


def test_pedestrians_need_no_yellow(junction: Junction) -> None:
    p = junction.phases
    assert junction.faults((0, p[0]), (30, p[1])) == []


def test_short_yellow(junction: Junction) -> None:
    p = junction.phases
    yellow = put(p[1].replace("G", "y").replace("g", "y"), i3="g")
    violations = junction.faults((0, p[1]), (30, yellow), (32, put(p[5], i3="g")))
    assert found(violations) == {("short_yellow", 32.0)}
    assert links(violations) == {(k,) for k in (0, 1, 2, 4, 10, 11, 12, 13, 14)}


def test_short_green(junction: Junction) -> None:
    p = junction.phases
    plan = [(0, p[5]), (20, p[3]), (24, p[4]), (27, p[5]), (30, p[3]), (35, p[4]), (38, p[5])]
    violations = junction.faults(*plan)
    assert found(violations) == {("short_green", 24.0)}
    assert links(violations) == {(k,) for k in (3, 4, 13, 14)}


def test_greens_cut_by_the_recording_are_not_judged(junction: Junction) -> None:
    p = junction.phases
    plan = [(0, p[3]), (2, p[4]), (5, p[5]), (20, p[3])]
    assert junction.faults(*plan, end_s=22) == []


def test_short_intergreen(junction: Junction) -> None:
    p = junction.phases
    plan = [(0, p[3]), (20, p[4]), (23, p[5]), (24, p[7])]
    violations = junction.faults(*plan)
    assert found(violations) == {("short_intergreen", 24.0), ("short_all_red", 24.0)}
    assert (3, 6) in links(violations)
    assert junction.faults(*plan[:-1], (25, p[7])) == []


def test_all_red_is_not_traded_for_yellow(junction: Junction) -> None:
    p = junction.phases
    violations = junction.faults((0, p[3]), (20, p[4]), (24, p[5]), (25, p[7]))
    assert found(violations) == {("short_all_red", 25.0)}


def test_change_that_shipped_programs_never_make(junction: Junction) -> None:
    """North-south straight on to east-west, over the left turn stage, still needs 3 + 2 s."""
    p = junction.phases
    yellow = p[1].replace("G", "y").replace("g", "y")
    assert junction.faults((0, p[1]), (20, yellow), (23, p[5]), (25, p[7])) == []
    violations = junction.faults((0, p[1]), (20, yellow), (23, p[7]))
    assert found(violations) == {("short_intergreen", 23.0), ("short_all_red", 23.0)}
    assert (1, 6) in links(violations)


def test_pedestrians_are_cleared(junction: Junction) -> None:
    p = junction.phases
    walk = put(p[5], i21="G")
    violations = junction.faults((0, walk), (20, p[5]), (24, put(p[5], i6="G")))
    assert found(violations) == {("short_intergreen", 24.0), ("short_all_red", 24.0)}
    assert links(violations) == {(21, 6)}
    assert junction.faults((0, walk), (20, p[5]), (25, put(p[5], i6="G"))) == []


def test_dark(junction: Junction) -> None:
    p1 = junction.phases[1]
    violations = junction.faults((0, p1), (10, "o" * 24), (20, p1))
    assert found(violations) == {("dark", 10.0)}


def test_no_row_at_all(net: Path, tmp_path: Path) -> None:
    states = tmp_path / "states.xml"
    states.write_text("<tlsStates></tlsStates>")
    assert audit(net, states) == [Violation(0.0, "A0", "dark", "no row in the recording")]


def test_recording_of_another_net(net: Path, tmp_path: Path) -> None:
    states = tmp_path / "states.xml"
    states.write_text('<tlsStates><tlsState time="0" id="A0" state="GG"/></tlsStates>')
    with pytest.raises(ValueError, match="2 lamps, the net has 24"):
        audit(net, states)


def test_program_from_an_additional_file(junction: Junction) -> None:
    """What a further shipped program shows is allowed."""
    shown = put(junction.phases[5], i1="G", i6="G")
    states = junction.drive((0, junction.phases[5]), (10, shown))
    assert found(audit(junction.net, states)) == {("conflict", 10.0)}
    further = junction.folder / "further.add.xml"
    logic = '<tlLogic id="A0" type="static" programID="night">'
    further.write_text(f'<a>{logic}<phase duration="9" state="{shown}"/></tlLogic></a>')
    assert audit(junction.net, states, [further]) == []


def test_nodes_apart_are_a_remark(net: Path, tmp_path: Path) -> None:
    """Lamps of one signal in different nodes: the net knows no conflict between them."""
    tree = ElementTree.parse(net)
    joined = tree.find("tlLogic")
    assert joined is not None
    for phase in joined.iter("phase"):
        phase.set("state", phase.get("state", "") + "r")
    for connection in tree.iter("connection"):
        if connection.get("from") == "A0left0" and not connection.get("tl"):
            connection.set("tl", "A0")
            connection.set("linkIndex", "24")
    tree.write(tmp_path / "joined.net.xml")
    state = (joined[1].get("state", "r"))[:-1] + "G"
    states = tmp_path / "states.xml"
    states.write_text(f'<a><tlsState time="5" id="A0" state="{state}"/></a>')
    assert found(audit(tmp_path / "joined.net.xml", states)) == {("never_together", 5.0)}


def test_command_line(junction: Junction) -> None:
    p = junction.phases
    states = junction.drive((0, p[1]), (30, p[5]))
    command = [sys.executable, "-m", "tests.audit", str(junction.net), str(states)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "missing_yellow" in done.stdout
    assert done.stdout.endswith("10 violations, 0 remarks\n")
