"""Network import against SUMO's own readers, against numbers worked out by hand, and against
broken files.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.scenario_files import topis
from topis.errors import InputError, NetworkError, TopisError
from topis.ingest.compile import Imported
from topis.ingest.network_file import import_osm, load_network
from topis.model.network import PEDESTRIAN, VEHICLE, Network

sumolib = pytest.importorskip("sumolib")
pytest.importorskip("libsumo")

R, Y, PERMISSIVE, PRIORITY, STOP_THEN_GO = range(5)

# libsumo lives in a process of its own: it is one simulation per process.
LIGHTS = """
import json, sys
import libsumo
libsumo.start(["sumo", "-n", sys.argv[1], "--no-step-log", "--no-warnings", *sys.argv[2:]])
light = libsumo.trafficlight
print(json.dumps({
    name: [light.getControlledLinks(name), light.getProgram(name)] for name in light.getIDList()
}))
libsumo.close()
"""


# ---- building ----


def sumo_tool(name: str, *options: object) -> None:
    command = [sumolib.checkBinary(name), *map(str, options), "--no-warnings"]
    subprocess.run(command, check=True, capture_output=True)


def grid(folder: Path, columns: int, rows: int, *options: str) -> Path:
    dest = folder / "grid.net.xml"
    size = ["--grid.x-number", columns, "--grid.y-number", rows, "--grid.attach-length", 100]
    signals = ["--default-junction-type", "traffic_light"]
    sumo_tool("netgenerate", "--grid", *size, *signals, "-o", dest, *options)
    return dest


def plain(folder: Path, nodes: str, edges: str, connections: str = "", *options: str) -> Path:
    parts = {"node": nodes, "edge": edges, "connection": connections}
    command: list[object] = ["--no-turnarounds", "--no-turnarounds.tls"]
    for kind, text in parts.items():
        if text:
            file = folder / f"plain.{kind}.xml"
            file.write_text(f"<{kind}s>{text}</{kind}s>")
            command += [f"--{kind}-files", file]
    dest = folder / "plain.net.xml"
    sumo_tool("netconvert", *command, "-o", dest, *options)
    return dest


def node(name: str, x: float, y: float, rest: str = "") -> str:
    return f'<node id="{name}" x="{x}" y="{y}" {rest}/>'


def edge(name: str, start: str, end: str, rest: str = "") -> str:
    return f'<edge id="{name}" from="{start}" to="{end}" {rest}/>'


def both(a: str, b: str, rest: str = "") -> str:
    return edge(f"{a}{b}", a, b, rest) + edge(f"{b}{a}", b, a, rest)


CROSS_NODES = node("C", 0, 0, 'type="traffic_light"') + "".join(
    node(name, x, y)
    for name, x, y in [("N", 0, 200), ("E", 200, 0), ("S", 0, -200), ("W", -200, 0)]
)


@pytest.fixture(scope="session")
def cross_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four arms of two lanes, straight on only, one crossing over the east arm.

    Heads: 0 southbound, 1 westbound, 2 northbound, 3 eastbound (both lanes of each arm under one
    head), 4 pedestrians, who cross the ways of 1 and 3.
    """
    folder = tmp_path_factory.mktemp("cross")
    edges = "".join(both(arm, "C", 'numLanes="2" speed="13.89"') for arm in "NESW")
    straight = "".join(
        f'<connection from="{a}C" to="C{b}" fromLane="{k}" toLane="{k}"/>'
        for a, b in ("NS", "EW", "SN", "WE")
        for k in (0, 1)
    )
    walk = '<crossing node="C" edges="EC CE" priority="1" width="4"/>'
    net = plain(folder, CROSS_NODES, edges, straight + walk, "--sidewalks.guess")
    text = net.read_text()
    # Both lanes of an arm share one head.
    order = {"NC": 0, "EC": 1, "SC": 2, "WC": 3}

    def head(match: re.Match[str]) -> str:
        start = re.search(r'from="([^"]+)"', match.group())
        assert start
        return re.sub(
            r'linkIndex="\d+"', f'linkIndex="{order.get(start.group(1), 4)}"', match.group()
        )

    return re.sub(r"<connection [^>]*linkIndex[^>]*>", head, text)


def program(rows: str, attributes: str = 'type="static" programID="0" offset="0"') -> str:
    """One ``tlLogic``; a row is duration, state, further attributes as ``name=value``."""
    phases = []
    for row in rows.strip().splitlines():
        duration, state, *rest = row.split()
        more = " ".join('{}="{}"'.format(*pair.split("=")) for pair in rest)
        phases.append(f'<phase duration="{duration}" state="{state}" {more}/>')
    return f'<tlLogic id="C" {attributes}>' + "\n".join(["", *phases, ""]) + "</tlLogic>"


Cross = Callable[..., Path]


@pytest.fixture
def cross(cross_text: str, tmp_path: Path) -> Cross:
    """Writes the crossroads with programs of one's own."""

    def write(*programs: str, change: Callable[[str], str] = str) -> Path:
        text = re.sub(r"<tlLogic.*</tlLogic>", "\n".join(programs), cross_text, flags=re.DOTALL)
        path = tmp_path / "cross.net.xml"
        path.write_text(change(text))
        return path

    return write


@pytest.fixture(scope="session")
def grid_net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = ["--crossings.guess", "--sidewalks.guess", "--rand.random-lanenumber", "--seed", "7"]
    return grid(tmp_path_factory.mktemp("grid"), 3, 3, "-L", "2", *options)


@pytest.fixture(scope="session")
def actuated_net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = ["-L", "2", "--turn-lanes", "1", "--tls.default-type", "actuated"]
    return grid(tmp_path_factory.mktemp("actuated"), 2, 2, *options)


@pytest.fixture(scope="session")
def joined_net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One light over two nodes: main road W-A-B-E, side roads from the north and the south."""
    nodes = "".join([
        node("A", 0, 0, 'type="traffic_light" tl="J"'),
        node("B", 40, 0, 'type="traffic_light" tl="J"'),
        node("W", -200, 0), node("E", 240, 0), node("N", 0, 200), node("S", 40, -200),
    ])  # fmt: skip
    edges = "".join([
        edge("wa", "W", "A"), edge("ab", "A", "B"), edge("be", "B", "E"),
        edge("na", "N", "A"), edge("sb", "S", "B"),
    ])  # fmt: skip
    return plain(tmp_path_factory.mktemp("joined"), nodes, edges)


@pytest.fixture(scope="session")
def clustered_net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nodes made one by --junctions.join."""
    nodes = "".join([
        node("A", 0, 0, 'type="traffic_light"'), node("B", 20, 0, 'type="traffic_light"'),
        node("W", -200, 0), node("E", 220, 0), node("AN", 0, 200), node("BS", 20, -200),
    ])  # fmt: skip
    pairs = (("W", "A"), ("A", "B"), ("B", "E"), ("AN", "A"), ("BS", "B"))
    edges = "".join(both(a, b) for a, b in pairs)
    return plain(
        tmp_path_factory.mktemp("clustered"), nodes, edges, "",
        "--junctions.join", "--junctions.join-dist", "30",
    )  # fmt: skip


@pytest.fixture(scope="session")
def rail_net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    nodes = "".join([
        node("X", 0, 0, 'type="rail_crossing"'), node("T", 200, 0, 'type="traffic_light"'),
        node("N", 0, 200), node("S", 0, -200), node("W", -200, 0), node("E", 400, 0),
        node("M", 200, 200),
    ])  # fmt: skip
    rail = 'allow="rail" numLanes="1"'
    edges = edge("NX", "N", "X", rail) + edge("XS", "X", "S", rail)
    edges += both("W", "X") + both("X", "T") + edge("TE", "T", "E") + edge("MT", "M", "T")
    return plain(tmp_path_factory.mktemp("rail"), nodes, edges)


ALL_NETS = ["grid_net", "actuated_net", "joined_net", "clustered_net", "rail_net"]
each_net = pytest.mark.parametrize("name", ALL_NETS)


@pytest.fixture
def net(name: str, request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(name)
    return path


# ---- looking at a network ----


def conflicts(network: Network) -> dict[tuple[int, int], int]:
    """Intergreen (ms) of every ordered pair of conflicting groups."""
    return {
        (i, int(network.conflict_idx[k])): int(network.conflict_intergreen_ms[k])
        for i in range(network.groups)
        for k in range(network.conflict_ptr[i], network.conflict_ptr[i + 1])
    }


def stages(network: Network) -> list[str]:
    return [
        "".join("rygGsoOu"[code] for code in network.stage_codes(stage))
        for stage in range(network.stages)
    ]


def kinds(imported: Imported) -> set[str]:
    return {oddity.kind for oddity in imported.oddities}


def phases_of(root: ElementTree.Element, light: str) -> Iterator[list[tuple[int, str]]]:
    """Of each program the phases: (ms, state)."""
    for logic in root.iter("tlLogic"):
        if logic.get("id") == light:
            yield [
                (round(float(p.attrib["duration"]) * 1000), p.attrib["state"])
                for p in logic.iter("phase")
            ]


def first_heads(network: Network, junction: int) -> dict[int, int]:
    """Group to the first of its heads."""
    low, high = network.junction_head_ptr[junction : junction + 2]
    out: dict[int, int] = {}
    for head, group in enumerate(network.head_group[low:high].tolist()):
        out.setdefault(group, head)
    return out


# ---- against independent readers ----


@each_net
def test_heads_and_lanes_are_those_of_sumo(net: Path) -> None:
    network = load_network(net).network
    done = subprocess.run(
        [sys.executable, "-c", LIGHTS, str(net)],
        env={**os.environ, "LIBSUMO_AS_TRACI": "quiet"},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    sumo = json.loads(done.stdout.splitlines()[-1])
    rail = {
        row.get("id") for row in ElementTree.parse(net).iter("junction")
        if row.get("type") in ("rail_crossing", "rail_signal")
    }  # fmt: skip
    assert set(network.junction_ids) == set(sumo) - rail
    for j, light in enumerate(network.junction_ids):
        links, running = sumo[light]
        low, high = network.junction_head_ptr[j : j + 2]
        assert high - low == len(links)
        assert network.program_ids[network.junction_program[j]] == running
        for group in range(*network.junction_group_ptr[j : j + 2]):
            expected, walks = set(), False
            for head in np.flatnonzero(network.head_group[low:high] == group):
                for start, end, _ in links[head]:
                    walks |= start.startswith(":")
                    if not start.startswith(":"):
                        expected.add((start, end))
            ours = {
                (
                    network.lane_ids[network.conn_from_lane[c]],
                    network.lane_ids[network.conn_to_lane[c]],
                )
                for c in np.flatnonzero(network.conn_group == group)
            }
            assert ours == expected
            assert network.group_kind[group] == (PEDESTRIAN if walks else VEHICLE)


@each_net
def test_conflicts_are_the_foes_of_sumolib_never_green_together(net: Path) -> None:
    network = load_network(net).network
    reader = sumolib.net.readNet(
        str(net), withInternal=True, withPedestrianConnections=True, withPrograms=False
    )
    root = ElementTree.parse(net).getroot()
    # head of each light -> (node, number of its request), as sumolib counts requests
    places: dict[str, dict[int, list[tuple[str, int]]]] = {j: {} for j in network.junction_ids}
    for link in reader.getEdges(withInternal=False):
        for ways in link.getOutgoing().values():
            for c in ways:
                if c.getTLSID() in places:
                    here = (link.getToNode().getID(), c.getJunctionIndex())
                    places[c.getTLSID()].setdefault(c.getTLLinkIndex(), []).append(here)
    inside = {row.attrib["id"]: row.get("intLanes", "").split() for row in root.iter("junction")}
    crossings = {row.get("id") for row in root.iter("edge") if row.get("function") == "crossing"}
    for row in root.iter("connection"):
        if row.get("to") in crossings and row.get("tl") in places:
            lane = f"{row.attrib['to']}_0"
            name = next(name for name, lanes in inside.items() if lane in lanes)
            here = (name, inside[name].index(lane))
            places[row.attrib["tl"]].setdefault(int(row.attrib["linkIndex"]), []).append(here)
    ours = conflicts(network)
    checked = 0
    for j, light in enumerate(network.junction_ids):
        low = network.junction_head_ptr[j]
        groups = range(*network.junction_group_ptr[j : j + 2])
        heads = {g: np.flatnonzero(network.head_group[low:] == g) for g in groups}
        first = first_heads(network, j)
        for a in groups:
            for b in groups:
                pairs = [
                    (x, y)
                    for ha in heads[a].tolist()
                    for hb in heads[b].tolist()
                    for x in places[light].get(ha, [])
                    for y in places[light].get(hb, [])
                ]
                cross = any(
                    nx != ny or reader.getNode(nx).areFoes(x, y) for (nx, x), (ny, y) in pairs
                )
                together = any(
                    state[first[a]] in "gG" and state[first[b]] in "gG"
                    for phases in phases_of(root, light)
                    for _, state in phases
                )
                assert ((a, b) in ours) == (a != b and cross and not together), (light, a, b)
                checked += 1
    assert checked >= 4


@each_net
def test_giving_way_is_as_sumolib_reads_it(net: Path) -> None:
    network = load_network(net).network
    reader = sumolib.net.readNet(str(net), withInternal=True, withPedestrianConnections=True)
    ways = {}
    for link in reader.getEdges(withInternal=False):
        for connections in link.getOutgoing().values():
            for c in connections:
                if not c.getTo().getID().startswith(":"):
                    ways[c.getFromLane().getID(), c.getToLane().getID()] = c
    ours = [
        (network.lane_ids[a], network.lane_ids[b])
        for a, b in zip(network.conn_from_lane, network.conn_to_lane, strict=True)
    ]
    assert set(ours) == set(ways)
    for c, ends in enumerate(ours):
        here = ways[ends].getFrom().getToNode()
        if here.getType() == "rail_crossing":
            continue
        got = network.conn_yield_idx[network.conn_yield_ptr[c] : network.conn_yield_ptr[c + 1]]
        expected = {
            other for other, way in ways.items()
            if way.getFrom().getToNode() is here and here.forbids(way, ways[ends])
        }  # fmt: skip
        assert {ours[k] for k in got} == expected


@each_net
def test_shipped_stages_are_allowed(net: Path) -> None:
    network = load_network(net).network
    network.validate()
    pairs = conflicts(network)
    for stage, letters in enumerate(stages(network)):
        first = int(network.junction_group_ptr[network.stage_junction[stage]])
        green = [first + k for k, letter in enumerate(letters) if letter in "gG"]
        assert green, "a stage shows green to someone"
        assert not [(a, b) for a in green for b in green if (a, b) in pairs]


def undercut(network: Network, root: ElementTree.Element) -> list[str]:
    """Where the shipped programs, replayed lamp by lamp, are quicker than the matrix allows."""
    pairs, faults = conflicts(network), []
    for j, light in enumerate(network.junction_ids):
        first = first_heads(network, j)
        for phases in phases_of(root, light):
            shown = {g: [state[h] in "gG" for _, state in phases] for g, h in first.items()}
            moments = np.concatenate(([0], np.cumsum([ms for ms, _ in phases]))).tolist()
            cycle = moments.pop()
            for (a, b), needed in pairs.items():
                if a not in first:
                    continue
                ends = [t for k, t in enumerate(moments) if shown[a][k - 1] and not shown[a][k]]
                starts = [t for k, t in enumerate(moments) if shown[b][k] and not shown[b][k - 1]]
                for end in ends:
                    got = min(((start - end) % cycle for start in starts), default=cycle)
                    if got < needed:
                        faults.append(f"{light}: {a} to {b} {got} ms, matrix {needed} ms")
    return faults


@each_net
def test_the_shipped_program_keeps_the_matrix(net: Path) -> None:
    assert undercut(load_network(net).network, ElementTree.parse(net).getroot()) == []


@pytest.mark.parametrize(
    "rows",
    [
        # A wide crossing ends, another stage of 6 s follows before the road it clears opens.
        "20 rrGrG\n6 GrGrr\n3 yryrr\n20 rGrGr\n3 ryryr\n2 rrrrr",
        # 1 clears for 9 s into the crossing; to 0 there is a stage of 5 s in between.
        """10 rGrrr\n3 ryrrr\n9 rrrrr\n10 rrrrG\n2 rrrrr\n10 rGrrr\n3 ryrrr\n5 rrrGr\n3 rrryr
        20 GrGrr\n3 yryrr""",
    ],
)
def test_a_program_with_a_short_stage_between_keeps_the_matrix(cross: Cross, rows: str) -> None:
    path = cross(program(rows))
    assert undercut(load_network(path).network, ElementTree.parse(path).getroot()) == []


# ---- worked by hand ----


PLAIN_ROWS = """
    20 GrGrG
    8 GrGrr
    3 yryrr
    2 rrrrr
    25 rGrGr
    3 ryryr
    1 rrrrr
"""


def test_plain_program(cross: Cross) -> None:
    """Stages, minimum greens, yellows, intergreens and splits of an everyday program."""
    imported = load_network(cross(program(PLAIN_ROWS)))
    network = imported.network
    assert network.junction_ids == ("C",)
    assert network.head_group.tolist() == [0, 1, 0, 1, 2]
    assert network.group_kind.tolist() == [VEHICLE, VEHICLE, PEDESTRIAN]
    assert network.group_yellow_ms.tolist() == [3000, 3000, 0]
    # Pedestrian clearance 8 s, yellow 3 s, all red 2 s; the other way yellow 3 s, all red 1 s.
    assert conflicts(network) == {(0, 1): 5000, (1, 0): 4000, (1, 2): 4000, (2, 1): 13_000}
    assert stages(network) == ["GrG", "rGr"]
    assert network.stage_min_green_ms.tolist() == [5000, 5000]
    assert network.stage_max_green_ms.tolist() == [0, 0]
    assert network.group_min_green_ms.tolist() == [5000, 5000, 7000 + 12_800 - 13_000]
    assert network.group_length_m.tolist() == pytest.approx([0, 0, 12.8])
    assert network.group_max_red_ms.tolist() == [180_000] * 3
    assert network.program_cycle_ms.tolist() == [62_000]
    assert network.program_stage.tolist() == [0, 1]
    assert network.program_start_ms.tolist() == [0, 33_000]
    assert network.program_split_ms.tolist() == [33_000, 29_000]
    assert network.program_offset_ms.tolist() == [0]
    assert imported.oddities == ()


def test_roads_and_turns(cross: Cross) -> None:
    network = load_network(cross(program(PLAIN_ROWS))).network
    assert set(network.link_ids) == {f"{a}C" for a in "NESW"} | {f"C{a}" for a in "NESW"}
    into = {name for name, j in zip(network.link_ids, network.link_junction, strict=True) if j == 0}
    assert into == {"NC", "EC", "SC", "WC"}
    # Two lanes and a pavement each; nobody drives on the pavement.
    assert np.diff(network.link_lane_ptr).tolist() == [3] * 8
    assert network.lane_use.reshape(8, 3).tolist() == [[2, 0, 0]] * 8
    assert len(network.approach_lanes) == 8
    moves = {
        (network.link_ids[a], network.link_ids[b])
        for a, b in zip(network.move_from_link, network.move_to_link, strict=True)
    }
    assert moves == {("NC", "CS"), ("EC", "CW"), ("SC", "CN"), ("WC", "CE")}
    assert network.link_speed_mps.tolist() == pytest.approx([13.89] * 8)
    assert network.conn_share.tolist() == [1.0] * 8


def test_a_long_pedestrian_minimum(cross: Cross) -> None:
    """7 s to start plus 12.8 s to walk, less the 5 s that the program clears."""
    network = load_network(cross(program("20 GrGrG\n3 yryrr\n2 rrrrr\n25 rGrGr\n3 ryryr"))).network
    assert conflicts(network)[2, 1] == 5000
    assert network.group_min_green_ms[2] == 14_800


def test_minimum_never_above_the_shipped_green(cross: Cross) -> None:
    rows = "4 GrGrG\n3 yryrr\n2 rrrrr\n25 rGrGr\n3 ryryr"
    network = load_network(cross(program(rows))).network
    assert network.group_min_green_ms.tolist() == [4000, 5000, 4000]


def test_min_max_next_and_actuated(cross: Cross) -> None:
    rows = """
        20 GrGrG minDur=12 maxDur=40
        8 GrGrr
        3 yryrr next=3
        2 rrrrr
        25 rGrGr minDur=6.5 maxDur=50
        3 ryryr
    """
    imported = load_network(cross(program(rows, 'type="actuated" programID="a" offset="7.5"')))
    network = imported.network
    assert stages(network) == ["GrG", "rGr"]
    assert network.stage_min_green_ms.tolist() == [12_000, 6500]
    assert network.stage_max_green_ms.tolist() == [40_000, 50_000]
    assert network.program_ids == ("a",)
    assert network.program_offset_ms.tolist() == [7500]
    assert kinds(imported) == {"shipped program is actuated", "phase order may jump ('next')"}


def test_mixed_transitions(cross: Cross) -> None:
    """Phases in which one head is green and another yellow are on the way between stages."""
    rows = """
        20 GrGrr
        3 Gryrr
        10 Grrrr
        3 yrrrr
        2 rrrrr
        10 rGrrr
        3 ryrGr
        15 rrrGr
        3 rrryr
        2 rrrrr
    """
    imported = load_network(cross(program(rows)))
    network = imported.network
    assert network.head_group.tolist() == [0, 1, 2, 3, 4]
    assert stages(network) == ["GrGrr", "Grrrr", "rGrrr", "rrrGr"]
    assert network.program_start_ms.tolist() == [0, 23_000, 38_000, 51_000]
    assert network.program_split_ms.tolist() == [23_000, 15_000, 13_000, 20_000]
    # 0 to 1: yellow 3 s, all red 2 s. 2 to 1: a stage lies between, so yellow and the clearance
    # into 1. 3 to 0 and to 2: yellow and all red. 1 to 0 and 2: a stage between.
    expected = {(0, 1): 5000, (2, 1): 5000, (3, 0): 5000, (3, 2): 5000}
    got = conflicts(network)
    assert {pair: got[pair] for pair in expected} == expected
    assert set(got) == {(a, b) for a in (0, 2, 4) for b in (1, 3) if a + b != 9} | {
        (b, a) for a in (0, 2, 4) for b in (1, 3)
    } | {(4, 1), (4, 3)}
    assert network.group_min_green_ms[:4].tolist() == [5000] * 4
    assert "signal group is never green" in kinds(imported)


def test_green_only_in_a_yellow_phase_is_a_stage_all_the_same(cross: Cross) -> None:
    rows = "20 GrGrr\n3 yryrr\n20 rGrrr\n3 ryrGr\n3 rrryr"
    imported = load_network(cross(program(rows)))
    assert stages(imported.network) == ["Grrr", "rGrr", "rrGr"]
    assert imported.network.group_min_green_ms.tolist() == [5000, 5000, 3000, 5000]
    assert "stage taken from a yellow phase" in kinds(imported)


def test_a_program_that_starts_in_mid_stage(cross: Cross) -> None:
    """The first and the last phase are the same stage: it starts before the cycle ends."""
    rows = "12 GrGrG\n5 GrGrr\n3 yryrr\n2 rrrrr\n25 rGrGr\n3 ryryr\n10 GrGrG"
    network = load_network(cross(program(rows))).network
    assert stages(network) == ["GrG", "rGr"]
    assert network.program_cycle_ms.tolist() == [60_000]
    assert dict(
        zip(network.program_stage.tolist(), network.program_start_ms.tolist(), strict=True)
    ) == {
        0: 50_000,
        1: 22_000,
    }
    assert sorted(network.program_split_ms.tolist()) == [28_000, 32_000]


def test_right_on_red_letters(cross: Cross) -> None:
    """'s' is stop, then go: no green, so the conflict stays; it is shown in its stage."""
    network = load_network(cross(program("20 GrGsr\n3 yryrr\n25 rGrGr\n3 ryryr"))).network
    assert network.head_group.tolist() == [0, 1, 0, 2, 3]
    assert stages(network) == ["Grsr", "rGGr"]
    assert (0, 2) in conflicts(network)
    assert network.group_yellow_ms[:3].tolist() == [3000] * 3


def test_permissive_green_is_no_conflict(cross: Cross) -> None:
    """Shown together with one of them giving way, crossing greens are allowed together."""
    imported = load_network(cross(program("20 Ggrrr\n3 yyrrr\n25 rrGgr\n3 rryyr")))
    pairs = conflicts(imported.network)
    assert stages(imported.network) == ["Ggrrr", "rrGgr"]
    assert not {(0, 1), (1, 0), (2, 3), (3, 2)} & set(pairs)
    assert {(1, 2), (2, 1), (0, 3), (3, 0)} <= set(pairs)
    assert not [kind for kind in kinds(imported) if kind.startswith("crossing greens")]


def test_crossing_priority_greens_are_told(cross: Cross) -> None:
    imported = load_network(cross(program("20 GGrrr\n3 yyrrr\n25 rrGrr\n3 rryrr")))
    assert "crossing greens shown as priority by the shipped program" in kinds(imported)


def test_several_programs_from_an_additional_file(cross: Cross, tmp_path: Path) -> None:
    """All are kept; the last one loaded runs, as in SUMO; the quickest yellow shown counts."""
    path = cross(program(PLAIN_ROWS))
    extra = tmp_path / "night.add.xml"
    night = program(
        "10 GrGrG\n4 yryrr\n1 rrrrr\n10 rGrGr\n4 ryryr",
        'type="static" programID="night" offset="5"',
    )
    extra.write_text(f"<additional>{night}</additional>")
    imported = load_network(path, [extra])
    network = imported.network
    assert network.program_ids == ("0", "night")
    assert network.junction_program.tolist() == [1]
    assert network.program_cycle_ms.tolist() == [62_000, 29_000]
    assert network.program_offset_ms.tolist() == [0, 5000]
    assert network.group_yellow_ms.tolist() == [3000, 3000, 0]
    assert conflicts(network) == {(0, 1): 5000, (1, 0): 4000, (1, 2): 4000, (2, 1): 5000}
    assert stages(network) == ["GrG", "rGr"]
    assert kinds(imported) == {"several programs"}
    done = subprocess.run(
        [sys.executable, "-c", LIGHTS, str(path), "-a", str(extra)],
        env={**os.environ, "LIBSUMO_AS_TRACI": "quiet"},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert json.loads(done.stdout.splitlines()[-1])["C"][1] == "night"


def test_joined_nodes(joined_net: Path) -> None:
    imported = load_network(joined_net)
    network = imported.network
    assert network.junction_ids == ("J",)
    assert "one program over several nodes" in kinds(imported)
    into = {network.link_ids[k] for k in np.flatnonzero(network.link_junction == 0)}
    assert into == {"wa", "na", "ab", "sb"}
    # Middle of where the four approaches end: A (0, 0) twice, B (40, 0) twice; SUMO moves the
    # south-west corner of the map to the origin.
    assert network.junction_xy_m.tolist() == [[220.0, 200.0]]


def test_clustered_nodes(clustered_net: Path) -> None:
    network = load_network(clustered_net).network
    assert network.junction_ids == ("cluster_A_B",)
    into = {network.link_ids[k] for k in np.flatnonzero(network.link_junction == 0)}
    assert into == {"WA", "EB", "ANA", "BSB"}


def test_rail_crossings_are_left_alone(rail_net: Path) -> None:
    imported = load_network(rail_net)
    network = imported.network
    assert network.junction_ids == ("T",)
    assert "rail signals left alone" in kinds(imported)
    at_rail = [k for k, name in enumerate(network.link_ids) if name in ("WX", "TX", "NX")]
    assert network.link_junction[at_rail].tolist() == [-1] * 3
    rail = network.link_ids.index("NX")
    assert network.lane_use[network.link_lane_ptr[rail]] == 2


@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (4, 4), (2, 5)])
def test_size_follows_the_grid(tmp_path: Path, columns: int, rows: int) -> None:
    """Ten times the roads, ten times the links: 8 of a single crossroads, 80 of 4 by 4."""
    network = load_network(grid(tmp_path, columns, rows, "--no-turnarounds")).network
    links = 4 * columns * rows + 2 * (columns + rows)
    assert network.links == links
    assert network.lanes == links
    assert network.junctions == columns * rows
    assert len(network.move_from_link) == 12 * columns * rows
    assert (network.link_junction >= 0).sum() == 4 * columns * rows


# ---- a map with crossings ----

# A street of three lanes a way, the one at the kerb for buses, crosses one of one lane a way.
OSM = """<osm version="0.6">
 <node id="1" lat="37.5000" lon="127.0250" version="1"/>
 <node id="2" lat="37.5000" lon="127.0275" version="1">
  <tag k="highway" v="traffic_signals"/>
 </node>
 <node id="3" lat="37.5000" lon="127.0300" version="1"/>
 <node id="4" lat="37.4980" lon="127.0275" version="1"/>
 <node id="5" lat="37.5020" lon="127.0275" version="1"/>
 <way id="10" version="1"><nd ref="1"/><nd ref="2"/><nd ref="3"/>
  <tag k="highway" v="primary"/><tag k="lanes" v="6"/>
  <tag k="bus:lanes:forward" v="no|no|designated"/>
  <tag k="bus:lanes:backward" v="no|no|designated"/></way>
 <way id="11" version="1"><nd ref="4"/><nd ref="2"/><nd ref="5"/>
  <tag k="highway" v="secondary"/><tag k="lanes" v="2"/></way>
</osm>
"""


def test_a_map_with_crossings(tmp_path: Path) -> None:
    """Walkers get crossings on all four arms; each walk is cleared before traffic crosses it."""
    source = tmp_path / "town.osm"
    source.write_text(OSM)
    bare = import_osm(source, tmp_path / "bare.net.xml").network
    assert not (bare.group_kind == PEDESTRIAN).any()
    imported = import_osm(source, tmp_path / "town.net.xml", crossings=True)
    network = imported.network
    assert not imported.oddities
    assert network.junctions == 1
    assert network.program_cycle_ms.tolist() == [120_000]
    walk = np.flatnonzero(network.group_kind == PEDESTRIAN)
    heads = network.head_group[network.junction_head_ptr[0] : network.junction_head_ptr[1]]
    assert np.isin(heads, walk).sum() == 4
    pairs, walks_ms = conflicts(network), []
    for g in walk:
        after = [ms for (a, b), ms in pairs.items() if a == g and b not in walk]
        assert after
        assert min(after) >= 6400
        walks_ms.append(int(network.group_min_green_ms[g]) + min(after))
    # 7 s and the length at 1 m/s over the large street, 19.2 m; over the small one, 6.4 m, the
    # 14 s that the program keeps for walkers, after a green that is as short as it may be.
    assert walks_ms[1 - int(np.argmin(walks_ms))] == 26_200
    assert 14_000 + 5_000 <= min(walks_ms) < 26_200
    root = ElementTree.parse(tmp_path / "town.net.xml").getroot()
    lanes = {lane.get("id"): lane.get("allow") for lane in root.iter("lane")}
    assert lanes["10#0_0"] == "pedestrian"
    assert lanes["10#0_1"] == "bus bicycle"


def test_crossings_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "town.osm").write_text(OSM)
    done = topis("network", "import", "town.osm", "--crossings", cwd=tmp_path)
    assert "2 of them crossings" in done.stdout


# ---- identity ----


def test_hash_is_stable_and_sees_a_phase(cross: Cross, tmp_path: Path) -> None:
    path = cross(program(PLAIN_ROWS))
    first = load_network(path).network.hash
    assert load_network(path).network.hash == first
    packed = tmp_path / "packed.net.xml.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert load_network(packed).network.hash == first
    other = (
        "from pathlib import Path; import sys; from topis.ingest.network_file import load_network;"
        "print(load_network(Path(sys.argv[1])).network.hash)"
    )
    done = subprocess.run(
        [sys.executable, "-c", other, str(path)],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip() == first
    for rows in (
        PLAIN_ROWS.replace("20 GrGrG", "20 GrGrr"),
        PLAIN_ROWS.replace("20 GrGrG", "20 grgrG"),
        PLAIN_ROWS.replace("25 rGrGr", "26 rGrGr"),
        PLAIN_ROWS.replace("3 ryryr", "4 ryryr"),
    ):
        assert load_network(cross(program(rows))).network.hash != first


def test_arrays_are_frozen(cross: Cross) -> None:
    network = load_network(cross(program(PLAIN_ROWS))).network
    with pytest.raises(ValueError, match="read-only"):
        network.group_yellow_ms[0] = 1


# ---- broken files ----


def refused(path: Path, error: type[TopisError], *words: str, extra: Sequence[Path] = ()) -> str:
    """The message of the refusal: one line, naming the file and what is asked for here."""
    with pytest.raises(error) as caught:
        load_network(path, extra)
    message = str(caught.value)
    assert "\n" not in message
    for word in (path.name if not extra else extra[-1].name, *words):
        assert word in message, message
    return message


def line_of(path: Path, text: str, last: bool = True) -> str:
    lines = [k for k, line in enumerate(path.read_text().splitlines(), 1) if text in line]
    return f"{path.name}:{lines[-1 if last else 0]}:"


def test_missing_file_and_folder(tmp_path: Path) -> None:
    refused(tmp_path / "no.net.xml", InputError, "no such file")
    refused(tmp_path, InputError, "folder")


def test_truncated_and_damaged_gzip(cross: Cross, tmp_path: Path) -> None:
    whole = gzip.compress(cross(program(PLAIN_ROWS)).read_bytes())
    for number, data in enumerate([whole[: len(whole) // 2], whole[:12], whole[:-4]]):
        path = tmp_path / f"cut{number}.net.xml.gz"
        path.write_bytes(data)
        refused(path, InputError, "damaged")
    path = tmp_path / "noise.net.xml.gz"
    path.write_bytes(whole[:40] + bytes(200) + whole[240:])
    refused(path, InputError)


@pytest.mark.parametrize("text", ["", "hello", "<net><edge", "<net></nets>", "\0\0", "<net>\xff"])
def test_not_xml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.net.xml"
    path.write_text(text, encoding="latin-1")
    refused(path, InputError, ":1:")


def test_unknown_root_and_empty_network(tmp_path: Path) -> None:
    path = tmp_path / "routes.net.xml"
    path.write_text("<routes></routes>")
    refused(path, InputError, "<routes>", "<net>")
    path.write_text("<net></net>")
    refused(path, InputError, "no edge")


def test_an_additional_file_that_is_none(cross: Cross, tmp_path: Path) -> None:
    path = cross(program(PLAIN_ROWS))
    extra = tmp_path / "extra.add.xml"
    extra.write_text("<net/>")
    refused(path, InputError, "<net>", extra=[extra])


def test_osm_is_sent_to_the_importer(tmp_path: Path) -> None:
    path = tmp_path / "map.osm"
    path.write_text("<osm/>")
    refused(path, InputError, "topis network import")


def test_duplicate_edge(cross: Cross) -> None:
    path = cross(
        program(PLAIN_ROWS),
        change=lambda text: text.replace('<edge id="CN"', '<edge id="NC"'),
    )
    refused(path, NetworkError, "'NC'", "twice", f"{path.name}:")


def test_duplicate_program(cross: Cross) -> None:
    path = cross(program(PLAIN_ROWS), program(PLAIN_ROWS))
    refused(path, NetworkError, "'C'", "'0'", "twice", line_of(path, "<tlLogic"))


def test_duplicate_program_in_an_additional_file(cross: Cross, tmp_path: Path) -> None:
    """SUMO would not start ("Another logic with id 'C' and programID '0' exists")."""
    path = cross(program(PLAIN_ROWS))
    extra = tmp_path / "again.add.xml"
    extra.write_text(f"<additional>{program(PLAIN_ROWS)}</additional>")
    refused(path, NetworkError, "'C'", "'0'", "twice", extra=[extra])


def test_wrong_state_length(cross: Cross) -> None:
    path = cross(program(PLAIN_ROWS.replace("yryrr", "yryr")))
    refused(path, NetworkError, "'C'", "phase 2", "4 letters", "5 signals")


def test_all_states_too_short(cross: Cross) -> None:
    path = cross(program("20 GrGr\n3 yryr\n20 rGrG\n3 ryry"))
    refused(path, NetworkError, "'C'", "4 letters", "5 signals")


@pytest.mark.parametrize("letter", ["x", "é", "1"])
def test_unknown_letter(cross: Cross, letter: str) -> None:
    path = cross(program(PLAIN_ROWS.replace("GrGrG", f"GrGr{letter}")))
    refused(path, NetworkError, "'C'", "unknown letter")


@pytest.mark.parametrize("duration", ["-3", "nan", "inf", "soon", ""])
def test_impossible_duration(cross: Cross, duration: str) -> None:
    path = cross(
        program(PLAIN_ROWS),
        change=lambda text: text.replace('duration="8"', f'duration="{duration}"'),
    )
    refused(path, NetworkError, line_of(path, 'state="GrGrr"'))


@pytest.mark.parametrize("name", ["minDur", "maxDur"])
@pytest.mark.parametrize("value", ["-3", "nan", "inf", "soon"])
def test_impossible_bounds_of_a_phase(cross: Cross, name: str, value: str) -> None:
    path = cross(program(PLAIN_ROWS.replace("25 rGrGr", f"25 rGrGr {name}={value}")))
    refused(path, NetworkError)


def test_a_cycle_of_nothing(cross: Cross) -> None:
    refused(cross(program("0 GrGrG\n0 rGrGr")), NetworkError, "'C'", "0 s")


def test_no_phase(cross: Cross) -> None:
    refused(cross('<tlLogic id="C" type="static" programID="0" offset="0"/>'), NetworkError, "'C'")


def test_unknown_edge_in_a_connection(cross: Cross) -> None:
    path = cross(
        program(PLAIN_ROWS),
        change=lambda text: text.replace(
            '<connection from="NC" to="CS"', '<connection from="NC" to="X"'
        ),
    )
    refused(path, NetworkError, "'X'", "unknown edge")


def test_unknown_lane_in_a_connection(cross: Cross) -> None:
    path = cross(
        program(PLAIN_ROWS),
        change=lambda text: text.replace('to="CS" fromLane="1"', 'to="CS" fromLane="9"'),
    )
    refused(path, NetworkError, "lane 9", "'NC'")


def test_a_signal_without_a_head_number(cross: Cross) -> None:
    path = cross(
        program(PLAIN_ROWS),
        change=lambda text: text.replace('tl="C" linkIndex="0"', 'tl="C"'),
    )
    refused(path, NetworkError, "linkIndex")


BAD_VALUES = [
    None,
    "",
    "nan",
    "inf",
    "-1",
    "-7",
    "1e300",
    "99",
    "100000000",
    "abc",
    "é",
    "0",
    "a b",
]


def test_any_broken_attribute_is_refused_in_one_line_or_read(cross: Cross, tmp_path: Path) -> None:
    """Every attribute of every kind of element, broken in every way: no other exception."""
    whole = ElementTree.parse(cross(program(PLAIN_ROWS)))
    seen: dict[tuple[str, str], ElementTree.Element] = {}
    for element in whole.iter():
        kind = f"{element.tag}/{element.get('function') or element.get('type') or ''}"
        if element.tag == "connection":
            kind += f"{'tl' in element.attrib} {element.attrib['from'].startswith(':')}"
        for name in element.attrib:
            seen.setdefault((kind, name), element)
    assert len(seen) > 60
    path = tmp_path / "broken.net.xml"
    bad = []
    for (kind, name), element in seen.items():
        good = dict(element.attrib)
        for value in BAD_VALUES:
            if value is None:
                del element.attrib[name]
            else:
                element.set(name, value)
            whole.write(path, encoding="utf-8")
            try:
                load_network(path)
            except TopisError as error:
                if path.name not in str(error) or "\n" in str(error):
                    bad.append(f"{kind} {name}={value!r}: message {str(error)!r}")
            except Exception as error:
                bad.append(f"{kind} {name}={value!r}: {type(error).__name__}: {error}")
            element.attrib.clear()
            element.attrib.update(good)
    assert not bad, "\n".join([f"{len(bad)} of them:", *bad])
