"""Demand of a weekday morning peak: cars, taxis, lorries, buses and people on foot.

All figures are assumptions of this model, chosen for a plausible Gangnam morning; none is a
count.  Every vehicle has an explicit route and departure time, so that the demand is the same
for every simulation seed; what differs between seeds is driving, and pedestrians' arrivals.
"""

from __future__ import annotations

import random
import xml.etree.ElementTree as ET
from collections import defaultdict
from itertools import pairwise

from scenarios._shared.streets import Streets
from scenarios._shared.traffic import (
    Vehicle,
    add_types,
    add_vehicles,
    add_walkers,
    departures,
    draw_kind,
    profile_rate,
)
from scenarios.gangnam.layout import CORRIDORS

BEGIN_S, END_S = 27_900, 30_600
"""07:45 to 08:30, in seconds after midnight."""
SEED = 20_240_308

PROFILE = ((0, 0.60), (600, 0.80), (1200, 1.0), (1800, 1.0), (2400, 0.60), (2700, 0.45))
"""Demand over the peak, as (seconds after begin, share of the peak rate), linear in between."""

INFLOW_VPH = {
    "S1": 2050, "N1": 1450, "WB": 1950, "EB": 1450, "WA": 900, "EA": 800, "WC": 540, "EC": 450,
    "S2": 1000, "N2": 800, "S3": 1100, "N3": 880, "D1": 160, "D2": 160,
}  # fmt: skip
"""Cars, taxis and lorries entering at each gateway at the peak; inbound is from S and W."""

OUTFLOW_VPH = {
    "S1": 1450, "N1": 1880, "WB": 1380, "EB": 1880, "WA": 880, "EA": 950, "WC": 500, "EC": 560,
    "S2": 880, "N2": 950, "S3": 950, "N3": 1000, "D1": 250, "D2": 190,
}  # fmt: skip
"""Attraction of each gateway, scaled to the inflow."""

TURN_FACTOR = (1.0, 0.26, 0.08)
"""Gravity factor of a route with 0, 1 or 2 turns: most traffic stays on its street."""
TAXI_SHARE = 0.066
LORRY_SHARE = 0.04

BUS_LINES = (
    # line, path of places, headway in s, first departure in s, stops served
    ("trunk 1 north", "S1 C1 B1 M1 A1 N1", 150, 20, "north_c north_m"),
    ("trunk 1 south", "N1 A1 M1 B1 C1 S1", 150, 60, "south_m south_c"),
    ("trunk 2 north", "S1 C1 B1 M1 A1 N1", 180, 80, "north_c north_m"),
    ("trunk 2 south", "N1 A1 M1 B1 C1 S1", 180, 110, "south_m south_c"),
    ("express north", "S1 C1 B1 M1 A1 N1", 240, 140, "north_m"),
    ("express south", "N1 A1 M1 B1 C1 S1", 240, 10, "south_m"),
    ("branch 3 east", "WB B1 M2 B2 T1 B3 EB", 240, 30, "east_m east_t"),
    ("branch 3 west", "EB B3 T1 B2 M2 B1 WB", 240, 90, "west_t west_m"),
    ("local 4 north", "S3 C3 T2 B3 A3 N3", 360, 50, "local_n"),
    ("local 4 south", "N3 A3 B3 T2 C3 S3", 360, 200, "local_s"),
)
DWELL_S = (12.0, 24.0)
"""Uniform range of a bus's time at a stop."""
HEADWAY_SPREAD_S = 20.0

BUS_STOPS = (
    # id, edge as (from, to), metres from the start (or, if negative, from the end), median stop
    ("north_c", ("C1", "B1"), 120.0, True),
    ("north_m", ("B1", "M1"), 40.0, True),
    ("south_m", ("A1", "M1"), 180.0, True),
    ("south_c", ("B1", "C1"), 120.0, True),
    ("east_m", ("M2", "B2"), 40.0, False),
    ("east_t", ("T1", "B3"), 50.0, False),
    ("west_t", ("B3", "T1"), 60.0, False),
    ("west_m", ("B2", "M2"), 150.0, False),
    ("local_n", ("T2", "B3"), 60.0, False),
    ("local_s", ("B3", "T2"), 50.0, False),
)
MEDIAN_STOP_M, KERB_STOP_M = 45.0, 28.0

WALKERS_PER_H = {"B1": 70, "M1": 120, "M2": 90, "B2": 45, "B3": 40, "T1": 30, "T2": 20}
"""People per hour and direction over each crossing of a junction; 25 where not given."""
WALKERS_DEFAULT_PER_H = 25


def _corridor_paths() -> dict[tuple[str, str], list[str]]:
    """Return the path along one street for each ordered pair of places on it."""
    paths = {}
    for places, _ in CORRIDORS:
        for i, a in enumerate(places):
            for j, b in enumerate(places):
                if i < j:
                    paths[a, b] = places[i : j + 1]
                elif i > j:
                    paths[a, b] = places[j : i + 1][::-1]
    return paths


def routes(streets: Streets) -> dict[tuple[str, str], list[tuple[list[str], int]]]:
    """Return per pair of gateways its reasonable paths with their number of turns.

    A path uses at most three streets, does not turn back on itself and, among those with the
    same number of turns, is no longer than 1.2 times the shortest.
    """
    along = _corridor_paths()
    gates = sorted(INFLOW_VPH)
    nodes = sorted(place for place in streets.places if place not in INFLOW_VPH)
    found: dict[tuple[str, str], list[tuple[list[str], int]]] = {}
    for a in gates:
        for b in gates:
            if a == b:
                continue
            tries = [[a, b]] + [[a, m, b] for m in nodes]
            tries += [[a, m, n, b] for m in nodes for n in nodes if m != n]
            best: list[tuple[list[str], list[str]]] = []
            for corners in tries:
                if best and len(corners) > len(best[0][0]):
                    break
                if not all(pair in along for pair in pairwise(corners)):
                    continue
                path = [a] + [p for pair in pairwise(corners) for p in along[pair][1:]]
                turns = [streets.turn(*t) for t in zip(path, path[1:], path[2:], strict=False)]
                if len(set(path)) < len(path) or "u" in turns:
                    continue
                if sum(turn != "s" for turn in turns) == len(corners) - 2:
                    best.append((corners, path))
            if best:
                shortest = min(len(path) for _, path in best)
                found[a, b] = [
                    (path, len(corners) - 2)
                    for corners, path in best
                    if len(path) <= 1.2 * shortest
                ]
    return found


def path_flows(streets: Streets) -> dict[tuple[str, ...], float]:
    """Return vehicles per hour at the peak on each path, buses not included.

    A doubly constrained gravity model: the turn factors, balanced to inflow and outflow.
    """
    paths = routes(streets)
    scale = sum(INFLOW_VPH.values()) / sum(OUTFLOW_VPH.values())
    flow = {pair: TURN_FACTOR[options[0][1]] for pair, options in paths.items()}
    flow = {(a, b): f * INFLOW_VPH[a] * OUTFLOW_VPH[b] for (a, b), f in flow.items()}
    for _ in range(50):
        for end, wanted, factor in ((1, OUTFLOW_VPH, scale), (0, INFLOW_VPH, 1.0)):
            total: defaultdict[str, float] = defaultdict(float)
            for pair, value in flow.items():
                total[pair[end]] += value
            flow = {
                pair: value * factor * wanted[pair[end]] / total[pair[end]]
                for pair, value in flow.items()
            }
    return {
        tuple(path): flow[pair] / len(options)
        for pair, options in paths.items()
        for path, _ in options
    }


def turn_flows(streets: Streets) -> dict[tuple[str, str], float]:
    """Return the peak flow in vehicles per hour of each turn: (junction, side and turn)."""
    flows: defaultdict[tuple[str, str], float] = defaultdict(float)
    for path, vph in path_flows(streets).items():
        for a, b, c in zip(path, path[1:], path[2:], strict=False):
            flows[b, streets.side(b, a) + streets.turn(a, b, c)] += vph
    return dict(flows)


def build_demand(streets: Streets) -> ET.Element:
    """Return the route file: types, routes, vehicles in order of departure, pedestrian flows."""
    rng = random.Random(SEED)
    duration_s = END_S - BEGIN_S
    root = ET.Element("routes")
    add_types(root)
    vehicles: list[Vehicle] = []
    for number, (path, vph) in enumerate(sorted(path_flows(streets).items())):
        times = departures(rng, vph, lambda t: profile_rate(PROFILE, t), duration_s)
        if not times:
            continue
        name = f"r{number:03d}"
        ET.SubElement(root, "route", id=name, edges=" ".join(streets.edges(list(path))))
        vehicles += [Vehicle(t, name, draw_kind(rng, TAXI_SHARE, LORRY_SHARE)) for t in times]
    for line, route, headway_s, first_s, stops in BUS_LINES:
        name = line.replace(" ", "_")
        ET.SubElement(root, "route", id=name, edges=" ".join(streets.edges(route.split())))
        for planned_s in range(first_s, duration_s, headway_s):
            time_s = planned_s + rng.uniform(0.0, HEADWAY_SPREAD_S)
            dwells = tuple((stop, rng.uniform(*DWELL_S)) for stop in stops.split())
            if time_s < duration_s:
                vehicles.append(Vehicle(time_s, name, "bus", dwells))
    walkers = {place: WALKERS_PER_H.get(place, WALKERS_DEFAULT_PER_H) for place in streets.places}
    add_walkers(root, streets, walkers, BEGIN_S, END_S)
    add_vehicles(root, vehicles, BEGIN_S)
    return root


def build_stops(streets: Streets) -> ET.Element:
    """Return the bus stops: median stops on the bus lane, the others at the kerb."""
    root = ET.Element("additional")
    for name, (a, b), start_m, median in BUS_STOPS:
        lane = streets.road[a, b].lanes + 1 if median else 1
        length_m = MEDIAN_STOP_M if median else KERB_STOP_M
        ET.SubElement(
            root,
            "busStop",
            id=name,
            lane=f"{streets.exit_edge(a, b)}_{lane}",
            startPos=f"{start_m:g}",
            endPos=f"{start_m + length_m:g}",
        )
    return root
