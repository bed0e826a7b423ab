"""Vehicles and people on foot: random departures from a fixed seed, and their route files."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from scenarios._shared.streets import Streets

VEHICLE_TYPES = (
    {"id": "car", "vClass": "passenger", "length": "4.7", "minGap": "2.2", "tau": "1.1"},
    {"id": "taxi", "vClass": "taxi", "length": "4.9", "minGap": "2.2", "tau": "1.1"},
    {"id": "lorry", "vClass": "delivery", "length": "6.5", "accel": "2.0", "minGap": "2.5"},
    {"id": "bus", "vClass": "bus", "length": "11", "accel": "1.2", "minGap": "2.5"},
)
SPEED_FACTOR = "normc(1.0,0.07,0.8,1.15)"
"""Desired speed over the limit: mean, deviation, bounds."""
WALK_IN_M = 25.0
"""Distance from the crossing at which a walk begins and ends."""


@dataclass(frozen=True)
class Vehicle:
    """One departure; ``time_s`` is after the begin of the scenario."""

    time_s: float
    route: str
    kind: str
    stops: tuple[tuple[str, float], ...] = ()
    """Bus stops served, each with the time spent there in s."""


def profile_rate(profile: tuple[tuple[float, float], ...], time_s: float) -> float:
    """Return a profile's value, linear between its (time in s, share of the peak) points."""
    for (t0, r0), (t1, r1) in pairwise(profile):
        if time_s <= t1:
            return r0 + (r1 - r0) * (time_s - t0) / (t1 - t0)
    return profile[-1][1]


def departures(
    rng: random.Random, peak_vph: float, rate: Callable[[float], float], duration_s: float
) -> list[float]:
    """Return Poisson departure times whose rate is ``rate(time) * peak_vph`` (by thinning)."""
    times: list[float] = []
    now_s = 0.0
    while True:
        now_s += rng.expovariate(peak_vph / 3600.0)
        if now_s >= duration_s:
            return times
        if rng.random() < rate(now_s):
            times.append(now_s)


def draw_kind(rng: random.Random, taxi_share: float, lorry_share: float) -> str:
    """Return car, taxi or lorry."""
    draw = rng.random()
    if draw < taxi_share:
        return "taxi"
    return "lorry" if draw < taxi_share + lorry_share else "car"


def add_types(root: ET.Element) -> None:
    """Add the vehicle types."""
    for attributes in VEHICLE_TYPES:
        ET.SubElement(root, "vType", {**attributes, "speedFactor": SPEED_FACTOR})


def add_vehicles(root: ET.Element, vehicles: list[Vehicle], begin_s: int) -> None:
    """Add the vehicles in order of departure, numbered within their kind."""
    counts: Counter[str] = Counter()
    for vehicle in sorted(vehicles, key=lambda v: (v.time_s, v.route)):
        element = ET.SubElement(
            root,
            "vehicle",
            {
                "id": f"{vehicle.kind}_{counts[vehicle.kind]}",
                "type": vehicle.kind,
                "route": vehicle.route,
                "depart": f"{begin_s + vehicle.time_s:.1f}",
                "departLane": "best",
                "departSpeed": "max",
            },
        )
        counts[vehicle.kind] += 1
        if vehicle.stops:
            element.set("line", vehicle.route)
        for stop, dwell_s in vehicle.stops:
            ET.SubElement(element, "stop", busStop=stop, duration=f"{dwell_s:.0f}")


def add_walkers(
    root: ET.Element, streets: Streets, per_h: Mapping[str, float], begin_s: int, end_s: int
) -> None:
    """Add two opposite flows of people over every crossing, arriving at random.

    To be called before ``add_vehicles``: SUMO wants route files in order of departure.
    ``per_h`` gives people per hour and direction over each crossing of a junction.
    """
    for place in streets.places.values():
        for side in place.crossings:
            near, far = streets.crossing_edges(place.id, side)
            ends = ((near, -WALK_IN_M, far, WALK_IN_M), (far, WALK_IN_M, near, -WALK_IN_M))
            for way, (start, start_m, finish, finish_m) in zip("ab", ends, strict=True):
                flow = ET.SubElement(
                    root,
                    "personFlow",
                    id=f"walk_{place.id}{side}{way}",
                    begin=str(begin_s),
                    end=str(end_s),
                    period=f"exp({per_h[place.id] / 3600:.5f})",
                    departPos=f"{start_m:g}",
                )
                ET.SubElement(flow, "walk", edges=f"{start} {finish}", arrivalPos=f"{finish_m:g}")
