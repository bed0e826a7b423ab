"""Signal plans by the time of day, and how they are written.

A sub-area is one of some tens of arterial signals of a district, or all the other signals of it;
its signals share a cycle. The morning's flows are those assigned; in the evening each goes its
way back; day and night have a share of both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from topis.ingest.city.graph import Floats, Graph, Ints
from topis.ingest.city.layout import clusters
from topis.ingest.city.likeness import SECONDARY
from topis.ingest.city.offsets import Blocks, best_offsets
from topis.ingest.city.roads import Roads
from topis.ingest.city.stages import Head, Signal, states
from topis.ingest.city.timing import Junctions, Timing, whole_greens
from topis.ingest.sumo_xml import read_network

#: Arterial signals of a sub-area, about.
AREA_SIGNALS = 80
#: Share of the morning peak's flows on their way, and on their way back (assumed).
PERIODS = {"night": (0.1, 0.1), "am": (1.0, 0.0), "day": (0.33, 0.33), "pm": (0.05, 0.9)}
#: Which program runs from when (hour); the last until the first.
DAY = ((0.0, "night"), (6.0, "am"), (10.0, "day"), (16.5, "pm"), (20.5, "day"), (23.0, "night"))
ACTIVE = "am"
_TL_LOGIC = re.compile(rb'    <tlLogic id="([^"]*)".*?</tlLogic>\n', re.DOTALL)


@dataclass(frozen=True)
class Plans:
    """``timing`` and ``offset_s`` of each program; ``heads``: the movement of each head."""

    signals: list[Signal]
    area: Ints
    timing: dict[str, Timing]
    offset_s: dict[str, Ints]


def areas(roads: Roads, signals: list[Signal]) -> Ints:
    """Number of the sub-area of each signal."""
    node = np.array([signal.node for signal in signals])
    xy_m = roads.layout.xy_m[node]
    district = roads.layout.district[node]
    wide = np.array(
        [any(roads.edges[a.inward].rank >= SECONDARY for a in roads.arms[n]) for n in node.tolist()]
    )
    area = np.zeros(len(node), dtype=np.int64)
    made = 0
    for d in np.unique(district):
        for group in (wide, ~wide):
            members = np.flatnonzero(group & (district == d))
            if not len(members):
                continue
            parts = max(1, round(len(members) / AREA_SIGNALS)) if group is wide else 1
            _, home = np.unique(clusters(xy_m[members], parts), return_inverse=True)
            area[members] = made + home
            made += int(home.max()) + 1
    return area


def make_plans(
    graph: Graph, junctions: Junctions, blocks: Blocks, signals: list[Signal], arc_vph: Floats
) -> Plans:
    """The programs of all periods for the morning's flows."""
    there = graph.reverse >= 0
    back = np.zeros_like(arc_vph)
    back[there] = arc_vph[graph.reverse[there]]
    timing, offset = {}, {}
    for period, (on_way, way_back) in PERIODS.items():
        flow = on_way * arc_vph + way_back * back
        timing[period] = whole_greens(junctions.timing(flow), junctions)
        offset[period] = best_offsets(graph, blocks, signals, timing[period], junctions.area, flow)
    return Plans(signals, junctions.area, timing, offset)


def read_heads(network: Path, roads: Roads) -> dict[str, list[Head]]:
    """What is behind each signal head of a network that netconvert made, by junction."""
    number = {edge.id: k for k, edge in enumerate(roads.edges)}
    raw = read_network(network)
    found: dict[str, dict[int, Head]] = {}
    for c in raw.connections:
        if c.light:
            a = number[c.from_edge]
            bus = roads.edges[a].bus and c.from_lane == roads.edges[a].bus_lane
            response = raw.nodes[c.light].response[c.head][::-1]
            before = frozenset(k for k, bit in enumerate(response) if bit == "1")
            found.setdefault(c.light, {})[c.head] = Head((a, number[c.to_edge]), bus, before)
    return {light: [moves[h] for h in range(len(moves))] for light, moves in found.items()}


def program_xml(plans: Plans, signal: int, name: str, heads: list[Head], period: str) -> str:
    """One program as SUMO writes it."""
    timing = plans.timing[period]
    greens = [int(g) for g in timing.green_s[signal] if g > 0]
    offset_s = int(plans.offset_s[period][signal])
    head = f'id="{name}" type="static" programID="{period}" offset="{offset_s}"'
    lines = [f"    <tlLogic {head}>\n"]
    for duration_s, state, min_s in states(plans.signals[signal], heads, greens):
        least = "" if min_s is None else f' minDur="{min_s}"'
        lines.append(f'        <phase duration="{duration_s}" state="{state}"{least}/>\n')
    return "".join(lines) + "    </tlLogic>\n"


def with_programs(network: bytes, programs: dict[str, str]) -> bytes:
    """A network as text with other signal programs, by junction."""
    return _TL_LOGIC.sub(lambda found: programs[found[1].decode()].encode(), network)


def write_day(path: Path, plans: Plans, names: list[str], heads: dict[str, list[Head]]) -> None:
    """The other periods' programs, and which runs when, as an additional file of SUMO."""
    with path.open("w") as file:
        file.write("<additional>\n")
        for period in PERIODS:
            for k, name in enumerate(names if period != ACTIVE else []):
                file.write(program_xml(plans, k, name, heads[name], period))
        file.write(f'    <WAUT id="day" refTime="0" startProg="{DAY[0][1]}">\n')
        for hour, period in DAY[1:]:
            file.write(f'        <wautSwitch time="{hour * 3600:.0f}" to="{period}"/>\n')
        file.write("    </WAUT>\n")
        for name in names:
            file.write(f'    <wautJunction wautID="day" junctionID="{name}" synchron="true"/>\n')
        file.write("</additional>\n")


def write_plans(path: Path, names: list[str]) -> None:
    """Which program each junction runs from when until when, as a CSV."""
    ends = [*(hour for hour, _ in DAY[1:]), 24.0]
    with path.open("w") as file:
        file.write("junction,program,from,to\n")
        for name in names:
            for (begin, period), end in zip(DAY, ends, strict=True):
                file.write(f"{name},{period},{_clock(begin)},{_clock(end)}\n")


def _clock(hour: float) -> str:
    return f"{int(hour):02d}:{round(hour % 1 * 60):02d}"
