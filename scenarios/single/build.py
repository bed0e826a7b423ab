"""Build the single-junction scenario: ``python -m scenarios.single.build [--out FOLDER]``.

A four-arm junction of a main street (west-east) and a lesser street (north-south): small enough
to follow every vehicle by eye.  All figures are assumptions of this model, none is a count.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from scenarios._shared.lamps import Lamps, Programme, Stage
from scenarios._shared.streets import (
    Link,
    Place,
    Road,
    Streets,
    run_netconvert,
    write_config,
    write_xml,
)
from scenarios._shared.traffic import (
    Vehicle,
    add_types,
    add_vehicles,
    add_walkers,
    departures,
    draw_kind,
    profile_rate,
)

BEGIN_S, END_S = 0, 1200
SEED = 7
KMH = 1.0 / 3.6

MAIN = Road("main street", lanes=2, bays=1, speed_mps=50 * KMH, bay_length_m=90.0)
LESSER = Road("lesser street", lanes=2, bays=1, speed_mps=40 * KMH, bay_length_m=90.0)
PLACES = [
    Place("X", 0, 0, signal=True, crossings="NESW"),
    Place("N", 0, 300),
    Place("E", 300, 0),
    Place("S", 0, -300),
    Place("W", -300, 0),
]
LINKS = [Link("X", arm, LESSER if arm in "NS" else MAIN) for arm in "NESW"]

FLOW_VPH = {
    "WE": 310, "WN": 45, "WS": 40,
    "EW": 220, "ES": 40, "EN": 35,
    "NS": 75, "NE": 25, "NW": 25,
    "SN": 70, "SW": 25, "SE": 20,
}  # fmt: skip
"""Vehicles per hour from the first arm to the second, at the peak."""
PROFILE = ((0.0, 0.9), (480.0, 1.0), (720.0, 1.0), (1200.0, 0.9))
TAXI_SHARE, LORRY_SHARE = 0.09, 0.04
WALKERS_PER_H = 40.0

STAGES = (
    Stage("EW straight", "Es Ws", walk="NS"),
    Stage("EW left", "El Wl"),
    Stage("NS straight", "Ns Ss", walk="EW"),
    Stage("NS left", "Nl Sl"),
)
PLAN = Programme(0, (31, 11, 27, 11))
"""Cycle 100 s.  The lesser street's straight green is its crossings' walk time; the left turns
get what carries them at a degree of saturation below 0.5; the main street gets the rest."""


def streets() -> Streets:
    """Return the street plan."""
    return Streets(PLACES, LINKS)


def build_demand(plan: Streets) -> ET.Element:
    """Return the route file."""
    rng = random.Random(SEED)
    root = ET.Element("routes")
    add_types(root)
    vehicles: list[Vehicle] = []
    for pair, vph in FLOW_VPH.items():
        a, b = pair[0], pair[1]
        name = f"{a}_to_{b}"
        ET.SubElement(root, "route", id=name, edges=" ".join(plan.edges([a, "X", b])))
        times = departures(rng, vph, lambda t: profile_rate(PROFILE, t), END_S - BEGIN_S)
        vehicles += [Vehicle(t, name, draw_kind(rng, TAXI_SHARE, LORRY_SHARE)) for t in times]
    add_walkers(root, plan, {"X": WALKERS_PER_H}, BEGIN_S, END_S)
    add_vehicles(root, vehicles, BEGIN_S)
    return root


def build(folder: Path) -> None:
    """Write the scenario's files to ``folder``."""
    plan = streets()
    with tempfile.TemporaryDirectory() as scratch:
        net = run_netconvert(plan, Path(scratch))
    at = next(i for i, child in enumerate(net) if child.tag == "junction")
    net.insert(at, Lamps(net, plan, "X").programme(STAGES, PLAN))
    write_xml(net, folder / "single.net.xml")
    write_xml(build_demand(plan), folder / "single.rou.xml")
    write_config(folder, "single.net.xml", BEGIN_S, END_S)


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="output folder")
    build(parser.parse_args().out)


if __name__ == "__main__":
    main()
