"""Streets, junctions and crossings as plain data, and their SUMO plain-XML form.

A scenario lists its places (gateways and signalised junctions) and the two-way links between
them; this module turns the list into netconvert input and netconvert's answer into a network
file that is the same byte for byte on every machine with the same SUMO version.

Lane numbering follows SUMO: lane 0 is the pavement, lane 1 the rightmost traffic lane.  Every
carriageway leaves room for its left-turn bays: the bays open out of the median, so that the
through lanes run straight from link to link.
"""

from __future__ import annotations

import gzip
import itertools
import math
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import sumolib

SUMO_VERSION = "1.28.0"
"""Version the committed files were built with; another netconvert may round differently."""

PAVEMENT_WIDTH_M = 4.0
TRAFFIC = "passenger taxi bus delivery truck motorcycle emergency"
BUS_LANE = "bus emergency"
SIDES = ("N", "E", "S", "W")


@dataclass(frozen=True)
class Place:
    """A node: a junction with signals, or a gateway where traffic enters and leaves.

    ``x_m`` and ``y_m`` are in the unrotated grid, so that the arms of a junction have sides
    N, E, S and W; the whole grid may be turned when it is written.
    """

    id: str
    x_m: float
    y_m: float
    signal: bool = False
    crossings: str = ""
    """Sides of the arms that have a pedestrian crossing, e.g. ``"NESW"``."""


@dataclass(frozen=True)
class Road:
    """Cross-section and speed of a street, per direction."""

    name: str
    lanes: int
    bays: int
    """Left-turn bay lanes before a junction at which a left turn exists."""
    speed_mps: float
    bus_lane: bool = False
    """A median bus lane, left of the left-turn bay, as on Seoul's bus corridors."""
    lane_width_m: float = 3.2
    bay_length_m: float = 130.0
    """Length of the bay, from its opening to the centre of the junction."""

    @property
    def half_width_m(self) -> float:
        """Width of one carriageway with its bay, kerb to centre line."""
        return (self.lanes + self.bays + self.bus_lane) * self.lane_width_m


@dataclass(frozen=True)
class Link:
    """A two-way street section between two places."""

    a: str
    b: str
    road: Road


@dataclass(frozen=True)
class Movement:
    """One turn at a junction: from the arm on ``side``, ``turn`` in s(traight), l(eft), r(ight)."""

    junction: str
    side: str
    turn: str
    from_edge: str
    to_edge: str


class Streets:
    """The street plan of one scenario: what is where, and what its edges are called."""

    def __init__(self, places: list[Place], links: list[Link], rotation_deg: float = 0.0) -> None:
        self.places = {place.id: place for place in places}
        self.links = links
        self.rotation_rad = math.radians(rotation_deg)
        self.road: dict[tuple[str, str], Road] = {}
        for link in links:
            self.road[link.a, link.b] = link.road
            self.road[link.b, link.a] = link.road

    # -- what is where ---------------------------------------------------------------------

    def neighbours(self, node: str) -> dict[str, str]:
        """Return side -> neighbouring place of ``node``."""
        return {self.side(node, b): b for a, b in self.road if a == node}

    def side(self, node: str, other: str) -> str:
        """Return on which side of ``node`` the place ``other`` lies."""
        dx = self.places[other].x_m - self.places[node].x_m
        dy = self.places[other].y_m - self.places[node].y_m
        quarter = round(math.degrees(math.atan2(dx, dy)) / 90.0) % 4
        return SIDES[quarter]

    def turn(self, a: str, b: str, c: str) -> str:
        """Return the turn of the path a-b-c: ``s``, ``l``, ``r`` or ``u``."""
        steps = (SIDES.index(self.side(b, c)) - SIDES.index(self.side(b, a))) % 4
        return {0: "u", 1: "l", 2: "s", 3: "r"}[steps]

    def has_bay(self, a: str, b: str) -> bool:
        """Return whether the link from a to b ends in a left-turn bay."""
        if not self.places[b].signal or not self.road[a, b].bays:
            return False
        return any(self.turn(a, b, c) == "l" for c in self.neighbours(b).values())

    def exit_edge(self, a: str, b: str) -> str:
        """Return the edge on which traffic leaves a for b."""
        return f"{a}_{b}"

    def approach_edge(self, a: str, b: str) -> str:
        """Return the edge on which traffic coming from a reaches the stop line at b."""
        return f"{a}_{b}_bay" if self.has_bay(a, b) else f"{a}_{b}"

    def edges(self, path: list[str]) -> list[str]:
        """Return the edges along a path of places."""
        edges: list[str] = []
        for a, b in itertools.pairwise(path):
            edges.append(self.exit_edge(a, b))
            if self.has_bay(a, b):
                edges.append(self.approach_edge(a, b))
        return edges

    def movements(self, junction: str) -> list[Movement]:
        """Return the turns that exist at a junction (no U-turns)."""
        arms = self.neighbours(junction)
        return [
            Movement(
                junction,
                side,
                self.turn(a, junction, b),
                self.approach_edge(a, junction),
                self.exit_edge(junction, b),
            )
            for side, a in arms.items()
            for b in arms.values()
            if a != b
        ]

    def crossing_edges(self, junction: str, side: str) -> tuple[str, str]:
        """Return (incoming, outgoing) edge of the arm on ``side``."""
        other = self.neighbours(junction)[side]
        return self.approach_edge(other, junction), self.exit_edge(junction, other)

    # -- plain XML -------------------------------------------------------------------------

    def _turned(self, x_m: float, y_m: float) -> tuple[float, float]:
        cos, sin = math.cos(self.rotation_rad), math.sin(self.rotation_rad)
        return x_m * cos - y_m * sin, x_m * sin + y_m * cos

    def _along(self, a: str, b: str, from_b_m: float, right_m: float) -> tuple[float, float]:
        """Return the point ``from_b_m`` before b on the way from a, ``right_m`` to the right."""
        pa, pb = self.places[a], self.places[b]
        dx, dy = pb.x_m - pa.x_m, pb.y_m - pa.y_m
        length = math.hypot(dx, dy)
        ux, uy = dx / length, dy / length
        return self._turned(
            pb.x_m - ux * from_b_m + uy * right_m, pb.y_m - uy * from_b_m - ux * right_m
        )

    def _lanes(self, edge: ET.Element, road: Road, general: int) -> None:
        """Add pavement, ``general`` traffic lanes and, if the road has one, the bus lane."""
        width = f"{road.lane_width_m:g}"
        ET.SubElement(edge, "lane", index="0", allow="pedestrian", width=f"{PAVEMENT_WIDTH_M:g}")
        for index in range(1, general + 1):
            ET.SubElement(edge, "lane", index=str(index), allow=TRAFFIC, width=width)
        if road.bus_lane:
            ET.SubElement(edge, "lane", index=str(general + 1), allow=BUS_LANE, width=width)

    def _connect(self, root: ET.Element, a: str, b: str, lanes: list[tuple[int, int]]) -> None:
        for from_lane, to_lane in lanes:
            ET.SubElement(
                root,
                "connection",
                {"from": a, "to": b, "fromLane": str(from_lane), "toLane": str(to_lane)},
            )

    def _add_leg(
        self, nodes: ET.Element, edges: ET.Element, conns: ET.Element, a: str, b: str
    ) -> None:
        """Add the one-way street from a to b: one edge, or two where a left-turn bay opens."""
        road = self.road[a, b]
        bay = self.has_bay(a, b)
        length_m = math.hypot(
            self.places[a].x_m - self.places[b].x_m, self.places[a].y_m - self.places[b].y_m
        )
        offset_m = road.bays * road.lane_width_m
        split = f"{a}_{b}_open"
        shape = [
            self._along(a, b, length_m, offset_m),
            self._along(a, b, road.bay_length_m if bay else 0.0, offset_m),
        ]
        common = {"speed": f"{road.speed_mps:.2f}", "name": road.name, "spreadType": "right"}
        common["priority"] = str(2 * road.lanes)
        link = ET.SubElement(
            edges,
            "edge",
            {
                "id": self.exit_edge(a, b),
                "from": a,
                "to": split if bay else b,
                "numLanes": str(1 + road.lanes + road.bus_lane),
                "shape": " ".join(f"{x:.2f},{y:.2f}" for x, y in shape),
                **common,
            },
        )
        self._lanes(link, road, road.lanes)
        if not bay:
            return
        x_m, y_m = self._along(a, b, road.bay_length_m, 0.0)
        ET.SubElement(nodes, "node", id=split, x=f"{x_m:.2f}", y=f"{y_m:.2f}", type="priority")
        stub = ET.SubElement(
            edges,
            "edge",
            {
                "id": self.approach_edge(a, b),
                "from": split,
                "to": b,
                "numLanes": str(1 + road.lanes + road.bays + road.bus_lane),
                **common,
            },
        )
        self._lanes(stub, road, road.lanes + road.bays)
        lanes = [(i, i) for i in range(1, road.lanes + 1)]
        lanes += [(road.lanes, road.lanes + k) for k in range(1, road.bays + 1)]
        if road.bus_lane:
            lanes.append((road.lanes + 1, road.lanes + road.bays + 1))
        self._connect(conns, self.exit_edge(a, b), self.approach_edge(a, b), lanes)

    def _add_turns(self, conns: ET.Element, junction: str) -> None:
        """Add the lane-to-lane connections of a junction.

        Right turns come from the rightmost lane, left turns from the bay (or, on a side street
        without a bay, from the leftmost lane), through lanes run straight on.
        """
        arms = self.neighbours(junction)
        for a in arms.values():
            road, bay = self.road[a, junction], self.has_bay(a, junction)
            turns = {self.turn(a, junction, c) for c in arms.values() if c != a}
            for c in arms.values():
                if c == a:
                    continue
                target = self.road[junction, c]
                turn = self.turn(a, junction, c)
                if turn == "r":
                    lanes = [(1, 1)]
                elif turn == "s":
                    lanes = [(i, i) for i in range(1, min(road.lanes, target.lanes) + 1)]
                    if road.bus_lane and target.bus_lane:
                        bus = road.lanes + (road.bays if bay else 0) + 1
                        lanes.append((bus, target.lanes + 1))
                elif bay:
                    lanes = [
                        (road.lanes + k, target.lanes - road.bays + k)
                        for k in range(1, road.bays + 1)
                    ]
                else:
                    first = 2 if "r" in turns and road.lanes > 1 else 1
                    spare = target.lanes - road.lanes
                    lanes = [(i, i + spare) for i in range(first, road.lanes + 1)]
                self._connect(
                    conns, self.approach_edge(a, junction), self.exit_edge(junction, c), lanes
                )

    def write_plain(self, folder: Path) -> list[str]:
        """Write node, edge and connection files to ``folder``; return netconvert arguments."""
        nodes, edges, conns = (ET.Element(tag) for tag in ("nodes", "edges", "connections"))
        for place in self.places.values():
            x_m, y_m = self._turned(place.x_m, place.y_m)
            kind = "traffic_light" if place.signal else "dead_end"
            ET.SubElement(
                nodes, "node", id=place.id, x=f"{x_m:.2f}", y=f"{y_m:.2f}", type=kind, radius="9"
            )
        for link in self.links:
            self._add_leg(nodes, edges, conns, link.a, link.b)
            self._add_leg(nodes, edges, conns, link.b, link.a)
        for place in self.places.values():
            if place.signal:
                self._add_turns(conns, place.id)
            for side in place.crossings:
                pair = " ".join(self.crossing_edges(place.id, side))
                ET.SubElement(
                    conns, "crossing", node=place.id, edges=pair, width="6", priority="true"
                )
        arguments = []
        for option, root in (("node", nodes), ("edge", edges), ("connection", conns)):
            path = folder / f"plain.{option}.xml"
            write_xml(root, path)
            arguments += [f"--{option}-files", str(path)]
        return arguments


def write_xml(root: ET.Element, path: Path) -> None:
    """Write an indented XML file; a ``.gz`` name is compressed, without a time stamp."""
    ET.indent(root, " ")
    data = ET.tostring(root, encoding="unicode").encode() + b"\n"
    if path.suffix == ".gz":
        data = gzip.compress(data, compresslevel=9, mtime=0)
    path.write_bytes(data)


def run_netconvert(streets: Streets, folder: Path) -> ET.Element:
    """Return the network element netconvert builds, with its default signal programmes removed.

    Anything netconvert has to say about the input is an error: the layout is ours to fix.
    """
    result = folder / "netconvert.net.xml"
    command = [
        sumolib.checkBinary("netconvert"),
        *streets.write_plain(folder),
        "--output-file",
        str(result),
        "--no-turnarounds",
        "--offset.disable-normalization",
        "--output.street-names",
        "--junctions.corner-detail",
        "5",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or done.stderr.strip():
        raise RuntimeError(f"netconvert: {done.stderr.strip()}")
    root = ET.parse(result).getroot()
    for logic in root.findall("tlLogic"):
        root.remove(logic)
    return root


def write_config(folder: Path, net_file: str, begin_s: int, end_s: int) -> None:
    """Write the SUMO configuration beside a network file; it asks for no output files."""
    name = net_file.partition(".")[0]
    root = ET.Element("sumoConfiguration")
    files = ET.SubElement(root, "input")
    ET.SubElement(files, "net-file", value=net_file)
    ET.SubElement(files, "route-files", value=f"{name}.rou.xml")
    if (folder / f"{name}.add.xml").exists():
        ET.SubElement(files, "additional-files", value=f"{name}.add.xml")
    time = ET.SubElement(root, "time")
    ET.SubElement(time, "begin", value=str(begin_s))
    ET.SubElement(time, "end", value=str(end_s))
    ET.SubElement(time, "step-length", value="1")
    report = ET.SubElement(root, "report")
    ET.SubElement(report, "no-step-log", value="true")
    write_xml(root, folder / f"{name}.sumocfg")
