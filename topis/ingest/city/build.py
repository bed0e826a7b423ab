"""A whole city into a folder: streets, plans, sensors, demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from topis.errors import InputError
from topis.ingest.city import files
from topis.ingest.city.assign import BUSY_SHARE, Trips, assign
from topis.ingest.city.convert import convert
from topis.ingest.city.graph import Floats, Graph, make_graph
from topis.ingest.city.lanes import connect
from topis.ingest.city.layout import lay_out
from topis.ingest.city.likeness import LIKENESSES, RANK_NAMES, check_signals, likeness
from topis.ingest.city.offsets import make_blocks
from topis.ingest.city.plans import (
    ACTIVE,
    Plans,
    areas,
    make_plans,
    program_xml,
    read_heads,
    with_programs,
    write_day,
    write_plans,
)
from topis.ingest.city.roads import Roads, make_roads
from topis.ingest.city.stages import Head, make_signals
from topis.ingest.city.timing import Junctions
from topis.ingest.city.transit import bus_lines, make_transit, stop_lines
from topis.ingest.city.vehicles import LEVEL, TRIP_VPH, TYPES, vehicle_lines, write_routes
from topis.ingest.city.zones import make_zones
from topis.ingest.sumo_xml import read_network
from topis.ingest.synth_city import pack_network

#: Of Seoul's 12,800 signals 4,500 are adaptive; a smaller city is so altogether.
ALL_ADAPTIVE, ADAPTIVE_SHARE = 4500, 4500 / 12800

Show = Callable[[str, int, int], None]
_STEPS = ("streets", "netconvert", "traffic", "plans", "network", "buses", "routes", "sensors")


@dataclass(frozen=True)
class CityOptions:
    """What is asked for.

    ``adaptive``: how many junctions are, None for the usual share;
    ``version`` of what builds it.
    """

    like: str
    signals: int
    seed: int
    adaptive: int | None = None
    demand: bool = True
    version: str = ""


def build_city(folder: Path, options: CityOptions, show: Show) -> dict[str, Any]:
    """Build a city into ``folder``; returns its facts, as written to `files.FACTS`.

    Raises
    ------
    InputError
        Unknown likeness or impossible size.
    SumoError
        netconvert is missing or failed.
    """
    like = likeness(options.like)
    check_signals(options.signals)
    wanted = options.adaptive
    if wanted is None:
        many = options.signals > ALL_ADAPTIVE
        wanted = round(options.signals * ADAPTIVE_SHARE) if many else options.signals
    if not 0 <= wanted <= options.signals:
        raise InputError.at(
            f"--adaptive {wanted}", f"the city has {options.signals} signals", "give no more"
        )
    folder.mkdir(parents=True, exist_ok=True)

    def at(step: str) -> None:
        show(step, _STEPS.index(step), len(_STEPS))

    at("streets")
    roads = make_roads(lay_out(like, options.signals, options.seed), options.seed)
    connect(roads)
    signals = make_signals(roads)
    graph = make_graph(roads, signals)
    at("netconvert")
    draft = convert(roads, folder)
    heads = read_heads(draft, roads)
    at("traffic")
    area = areas(roads, signals)
    junctions = Junctions(graph, signals, area)
    trips = assign(graph, junctions, make_zones(roads), TRIP_VPH, options.seed)
    at("plans")
    plans = make_plans(graph, junctions, make_blocks(roads, graph, signals), signals, trips.arc_vph)
    names = [roads.name[signal.node] for signal in signals]
    at("network")
    _write_network(folder, draft, plans, names, heads)
    at("buses")
    lane_m = {
        lane.id: lane.length_m
        for edge in read_network(folder / files.NET).edges.values()
        for lane in edge.lanes
    }
    transit = make_transit(roads, graph, lane_m, options.seed)
    (folder / files.STOPS).write_text(
        TYPES + "".join(stop_lines(roads, transit, lane_m)) + "</additional>\n"
    )
    at("routes")
    if options.demand:
        buses = bus_lines(roads, transit, options.seed)
        write_routes(folder / files.BUSES, buses)
        write_routes(folder / files.ROUTES, vehicle_lines(like, roads, trips, options.seed))
        files.write_configs(folder, options.seed)
    _write_times(folder / files.TIMES, roads, graph, trips)
    at("sensors")
    district = {roads.name[s.node]: int(roads.layout.district[s.node]) for s in signals}
    sensing = files.write_sensing(
        folder, _adaptive(roads, graph, names, trips.arc_vph, wanted), district, options.seed
    )
    facts = _facts(options, roads, plans, junctions, trips)
    facts |= sensing
    facts["bus_lines"], facts["bus_stops"] = len(transit.routes) // 2, len(transit.edges)
    facts["vehicles"] = len(trips.ptr) - 1 if options.demand else 0
    facts["buses"] = len(buses) if options.demand else 0
    files.write_facts(folder, facts)
    return facts


def _write_network(
    folder: Path, draft: Path, plans: Plans, names: list[str], heads: dict[str, list[Head]]
) -> None:
    programs = {
        name: program_xml(plans, k, name, heads[name], ACTIVE) for k, name in enumerate(names)
    }
    pack_network(with_programs(draft.read_bytes(), programs), folder / files.NET, LEVEL)
    draft.unlink()
    for plain in folder.glob("plain.*.xml"):
        plain.unlink()
    write_day(folder / files.DAY, plans, names, heads)
    write_plans(folder / files.PLANS, names)


def _adaptive(
    roads: Roads, graph: Graph, names: list[str], arc_vph: Floats, wanted: int
) -> dict[str, bool]:
    """The most loaded junctions."""
    load = np.zeros(len(roads.name))
    end = np.array([edge.end for edge in roads.edges])
    np.add.at(load, end[graph.begin], arc_vph)
    number = {name: n for n, name in enumerate(roads.name)}
    order = sorted(names, key=lambda name: (-round(float(load[number[name]]), 3), number[name]))
    chosen = set(order[:wanted])
    return {name: name in chosen for name in names}


def _write_times(path: Path, roads: Roads, graph: Graph, trips: Trips) -> None:
    """Mean seconds on each edge in the peak, the wait at its end included."""
    queue_s = trips.arc_s - graph.time_s[graph.end]
    size = len(roads.edges)
    weight = np.bincount(graph.begin, trips.arc_vph + 1e-3, size)
    wait_s = np.bincount(graph.begin, queue_s * (trips.arc_vph + 1e-3), size)
    time_s = graph.time_s + wait_s / np.maximum(weight, 1e-3)
    flow = np.bincount(graph.begin, trips.arc_vph, size)
    with path.open("w") as file:
        file.write("edge,seconds,veh_per_h\n")
        for edge, seconds, vph in zip(roads.edges, time_s, flow, strict=True):
            file.write(f"{edge.id},{seconds:.1f},{vph:.0f}\n")


def _facts(
    options: CityOptions, roads: Roads, plans: Plans, junctions: Junctions, trips: Trips
) -> dict[str, Any]:
    layout = roads.layout
    km = [0.0] * len(RANK_NAMES)
    for number in range(0, len(roads.edges), 2):
        km[roads.edges[number].rank] += roads.length_m(number) / 1000
    x = np.sort(junctions.approaches(junctions.saturation(trips.arc_vph, plans.timing[ACTIVE])))
    busiest = x[-max(1, round(BUSY_SHARE * len(x))) :]
    return {
        "like": LIKENESSES[options.like].name,
        "seed": options.seed,
        "version": options.version,
        "signals": layout.signals,
        "districts": int(layout.district.max()),
        "sub_areas": int(plans.area.max()) + 1,
        "bridges": int(layout.lattice.bridge.sum()),
        "bridge_edges": roads.bridges(),
        "road_km": {name: round(k, 1) for name, k in zip(RANK_NAMES, km, strict=True)},
        "road_km_total": round(sum(km), 1),
        "lanes": sum(edge.lanes for edge in roads.edges),
        "cycles_s": {
            name: [int(t.cycle_s.min()), int(t.cycle_s.max())] for name, t in plans.timing.items()
        },
        "peak_trips_per_h": round((len(trips.ptr) - 1) * TRIP_VPH),
        "degree_of_saturation": {
            "mean_of_busiest_5_percent": round(float(busiest.mean()), 2),
            **{f"p{p}": round(float(np.percentile(x, p)), 2) for p in (50, 75, 90, 95, 99)},
        },
        "river_width_m": round(layout.river_width_m),
        "river_m": [[round(float(v), 1) for v in point] for point in layout.river_m],
    }
