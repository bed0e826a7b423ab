"""Vehicles of the morning as SUMO routes, in order of departure."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from topis.ingest.city.assign import Trips
from topis.ingest.city.graph import Floats
from topis.ingest.city.likeness import Likeness
from topis.ingest.city.roads import Roads

#: Seconds of the day the demand begins and ends, and its level by quarter hours (assumed: the
#: shape of a morning peak; 1 is the level the plans are made for).
BEGIN_S, END_S = 7 * 3600, 9 * 3600
QUARTERS = (0.62, 0.74, 0.86, 0.95, 1.0, 1.0, 0.95, 0.86)
QUARTER_S = 900
#: Vehicles an hour of the peak that a trip of the two hours stands for.
TRIP_VPH = 4.0 / sum(QUARTERS)
#: A third of the size of gzip's best at a fifth of its time.
LEVEL = 4
TYPES = """<additional>
    <vType id="car" vClass="passenger" length="4.7" minGap="2.2" speedFactor="normc(1,0.07,0.8,1.15)"/>
    <vType id="taxi" vClass="taxi" length="4.9" minGap="2.2" speedFactor="normc(1,0.07,0.8,1.15)"/>
    <vType id="truck" vClass="delivery" length="6.5" minGap="2.5" accel="2.0"/>
    <vType id="bus" vClass="bus" length="11" minGap="2.5" accel="1.2"/>
"""  # noqa: E501


def write_routes(path: Path, lines: Iterable[str]) -> None:
    """Vehicles, one a line, as a route file."""
    with path.open("wb") as raw, gzip.GzipFile("", "wb", LEVEL, raw, 0) as file:
        file.write(b"<routes>\n")
        for line in lines:
            file.write(line.encode())
        file.write(b"</routes>\n")


def departures(trips: int, seed: int) -> Floats:
    """Seconds of the day at which so many trips begin."""
    rng = np.random.default_rng([seed, 0xDE9])
    share = np.array(QUARTERS) / sum(QUARTERS)
    quarter = rng.choice(len(QUARTERS), trips, p=share)
    at: Floats = BEGIN_S + (quarter + rng.random(trips)) * QUARTER_S
    return np.floor(at * 10) / 10


def vehicle_lines(like: Likeness, roads: Roads, trips: Trips, seed: int) -> Iterable[str]:
    """The vehicles of the trips."""
    count = len(trips.ptr) - 1
    depart_s = departures(count, seed)
    rng = np.random.default_rng([seed, 0x7A1])
    draw = rng.random(count)
    kind = np.where(draw < like.taxi_share, 1, np.where(draw > 1 - like.truck_share, 2, 0))
    ids = [edge.id for edge in roads.edges]
    names = ("car", "taxi", "truck")
    ptr = trips.ptr.tolist()
    for number, k in enumerate(np.argsort(depart_s, kind="stable").tolist()):
        edges = " ".join([ids[e] for e in trips.edges[ptr[k] : ptr[k + 1]].tolist()])
        yield (
            f'<vehicle id="v{number}" type="{names[kind[k]]}" depart="{depart_s[k]:.1f}" '
            f'departLane="best" departPos="random_free" departSpeed="max">'
            f'<route edges="{edges}"/></vehicle>\n'
        )
