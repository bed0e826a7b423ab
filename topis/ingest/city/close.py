"""A city of which some streets are closed for a while, as a scenario beside the whole one.

The city's files stay where they are and are named from there. New are a rerouter of SUMO's, which
tells every vehicle that comes within `TOLD_M` of the closed streets and wants to use them, once, to
look for another way; and the configurations, which give all vehicles a routing device, so that it
is the fastest way by the travel times of that moment. Nobody else changes its route.
"""

from __future__ import annotations

import gzip
import heapq
import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from topis.errors import InputError
from topis.ingest.city import files
from topis.ingest.city.vehicles import write_routes
from topis.ingest.sumo_xml import RawNetwork, read_network

#: Drivers hear of it so far ahead (m along the streets).
TOLD_M = 3000.0
CLOSURE = "closure.add.xml"
#: Travel times that drivers look for another way by are those of the last half minute, smoothed;
#: no vehicle looks for one of its own accord (periods of 0).
_ROUTING = {
    "device.rerouting.probability": "1",
    "device.rerouting.period": "0",
    "device.rerouting.pre-period": "0",
    "device.rerouting.adaptation-interval": "30",
}
#: Options of a configuration that name files to read.
_INPUTS = ("net-file", "route-files", "additional-files")
_STOP = re.compile(r'<stop busStop="S([^"]*)" duration="\d+"/>')
_ROUTE = re.compile(r'<route edges="([^"]+)"')
#: So many names are told in an error.
_NAMED = 3


@dataclass(frozen=True)
class Closure:
    """What was closed.

    ``told`` edges on which drivers hear of it; ``cut_trips`` that begin or end on a closed edge;
    ``dropped_stops`` of buses there.
    """

    edges: tuple[str, ...]
    told: int
    cut_trips: int
    dropped_stops: int


def bridge_edges(folder: Path, number: int) -> tuple[str, ...]:
    """Edges of a city's bridge, both ways; 1 is the westernmost.

    Raises
    ------
    InputError
        The city has no such bridge, or does not say which edges its bridges are.
    """
    path = folder / files.FACTS
    try:
        bridges = json.loads(path.read_text())["bridge_edges"]
    except FileNotFoundError:
        raise InputError.at(folder, "is no city", "first run: topis city build") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError.at(
            path, "does not say which edges its bridges are", "name them with --edge"
        ) from None
    if not 1 <= number <= len(bridges):
        raise InputError.at(
            folder, f"has no bridge {number}", f"name one of 1 (the westernmost) to {len(bridges)}"
        )
    return tuple(bridges[number - 1])


def close_edges(
    folder: Path, edges: Sequence[str], from_s: float, until_s: float, out: Path
) -> Closure:
    """Write the scenario of the city in ``folder`` with closed edges to ``out``.

    Raises
    ------
    InputError
        No city there, edges it does not have, or a time that ends before it begins.
    """
    configs = sorted(folder.glob("*.sumocfg"))
    if not configs:
        raise InputError.at(folder, "has no .sumocfg", "build the city with its demand")
    if out.resolve() == folder.resolve():
        raise InputError.at(f"--out {out}", "is the city itself", "name another folder")
    if not -math.inf < from_s < until_s < math.inf:
        raise InputError.at(
            f"--until {until_s:g}", f"is not after --from {from_s:g}", "give seconds of the day"
        )
    raw = read_network(folder / files.NET)
    closed = tuple(dict.fromkeys(edges))
    strange = [edge for edge in closed if edge not in raw.edges]
    if strange:
        raise InputError.at(
            folder / files.NET,
            f"has no edge {', '.join(map(repr, strange[:_NAMED]))}",
            "a street's two directions are E7.0 and -E7.0",
        )
    told = _before(raw, closed)
    if not told:
        raise InputError.at(
            folder / files.NET, "no other edge leads to the closed ones", "close fewer"
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / CLOSURE).write_text(_rerouter(closed, told, from_s, until_s))
    moved, dropped, cut = _routes(folder, out, set(closed))
    for path in configs:
        (out / path.name).write_text(_config(path, out, moved))
    return Closure(closed, len(told), cut, dropped)


def _before(raw: RawNetwork, closed: Sequence[str]) -> list[str]:
    """Edges from which closed ones are less than `TOLD_M` away; themselves left out."""
    into: dict[str, set[str]] = {}
    for turn in raw.connections:
        if turn.from_edge in raw.edges and turn.to_edge in raw.edges:
            into.setdefault(turn.to_edge, set()).add(turn.from_edge)
    far_m = dict.fromkeys(closed, 0.0)
    heap = [(0.0, edge) for edge in closed]
    while heap:
        way_m, edge = heapq.heappop(heap)
        if way_m > far_m[edge]:
            continue
        for before in into.get(edge, ()):
            # Where a driver comes onto that edge.
            longer_m = way_m + max(lane.length_m for lane in raw.edges[before].lanes)
            if way_m < TOLD_M and longer_m < far_m.get(before, float("inf")):
                far_m[before] = longer_m
                heapq.heappush(heap, (longer_m, before))
    return sorted(set(far_m).difference(closed))


def _rerouter(closed: Sequence[str], told: Sequence[str], from_s: float, until_s: float) -> str:
    # One rerouter for all: several would send vehicles back and forth between them. Without
    # permissions, so that who is past the last turn off drives on instead of standing there.
    return "\n".join(
        [
            "<additional>",
            f'  <rerouter id="closure" edges="{" ".join(told)}">',
            f'    <interval begin="{from_s:g}" end="{until_s:g}">',
            *(f'      <closingReroute id="{edge}"/>' for edge in closed),
            "    </interval>", "  </rerouter>", "</additional>", "",
        ]
    )  # fmt: skip


def _routes(folder: Path, out: Path, closed: set[str]) -> tuple[dict[str, str], int, int]:
    """(names of files that ``out`` has of its own, bus stops left out, trips cut short)."""
    cut = 0
    for line in _lines(folder / files.ROUTES):
        found = _ROUTE.search(line)
        if found:
            route = found[1].split()
            cut += route[0] in closed or route[-1] in closed
    dropped = 0
    kept = []
    for line in _lines(folder / files.BUSES):
        there = [stop for stop in _STOP.finditer(line) if stop[1] in closed]
        dropped += len(there)
        if line.startswith("<vehicle"):
            kept.append(_STOP.sub(lambda stop: "" if stop[1] in closed else stop[0], line))
    if dropped:
        write_routes(out / files.BUSES, kept)
    return ({files.BUSES: files.BUSES} if dropped else {}), dropped, cut


def _lines(path: Path) -> Iterator[str]:
    try:
        with gzip.open(path, "rt") as file:
            yield from file
    except FileNotFoundError:
        raise InputError.at(path, "no such file", "build the city with its demand") from None


def _config(path: Path, out: Path, moved: dict[str, str]) -> str:
    """A configuration of the city as seen from ``out``, with the closure and the device."""
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise InputError.at(path, f"not well-formed XML ({error})", "check the file") from None
    for element in root.iter():
        if element.tag in _INPUTS:
            names = [name.strip() for name in element.get("value", "").split(",") if name.strip()]
            there = [_from(out, path.parent / n, moved.get(n)) for n in names]
            if element.tag == "additional-files":
                there.append(CLOSURE)
            element.set("value", ",".join(there))
    given = root.find("input")
    if given is not None and given.find("additional-files") is None:
        ElementTree.SubElement(given, "additional-files", value=CLOSURE)
    routing = ElementTree.SubElement(root, "routing")
    for name, value in _ROUTING.items():
        ElementTree.SubElement(routing, name, value=value)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _from(out: Path, path: Path, own: str | None) -> str:
    return own or Path(os.path.relpath(path.resolve(), out.resolve())).as_posix()
