"""Traffic for any SUMO network: cars, people on foot and buses, as a scenario of its own.

Cars drive between the network's rim and its inside, at a rate that rises to a peak and falls
again. A street draws them by its lanes and speed; expressways are driven on, but no trip begins or
ends there. People walk a few hundred metres where there are sidewalks and so cross at signals.
Buses run on the paths that cover most of the main streets, with a stop every 400 m. Trips are
SUMO's own (randomTrips.py and duarouter); the same options and seed give the same files.

    python bench/street_demand.py town.net.xml.gz town --vehicles-per-h 6000 --walkers-per-h 2000
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import click
import sumolib

#: Demand over time, in equal parts, over its mean.
PROFILE = (0.6, 0.9, 1.2, 1.3, 1.1, 0.9)
#: Share of trips' ends at the rim of the network; the others lie on its streets.
RIM_SHARE = 0.7
#: Faster roads are expressways: they have no signals, and trips do not end there (m/s).
STREET_MPS = 19.0
CAR_TRIP_M, WALK_M = 700, (150, 800)
#: Drivers' opinions of travel times differ by this factor, so not all take the same way.
ROUTE_FACTOR = 1.5
#: The least important street seems longer by this share: drivers keep to main streets.
PRIORITY_FACTOR = 2.0
STOP_SPACING_M, STOP_M, DWELL_S = 400.0, 30.0, (15, 25)
BUS = {"vClass": "bus", "length": "12", "accel": "1.2", "decel": "3.5", "maxSpeed": "22"}

Edge = Any  # sumolib has no types.


def is_street(edge: Edge, vclass: str) -> bool:
    return bool(edge.allows(vclass) and edge.getSpeed() < STREET_MPS)


def is_main(edge: Edge) -> bool:
    return is_street(edge, "bus") and driving_lanes(edge) >= 2


def driving_lanes(edge: Edge) -> int:
    return sum(lane.allows("passenger") or lane.allows("bus") for lane in edge.getLanes())


def write(root: Element, path: Path) -> None:
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def write_weights(path: Path, edges: list[Edge], rim: list[Edge], vclass: str) -> None:
    """How likely a trip ends on each edge, as randomTrips.py reads it; unnamed edges: never."""
    inside = {e: e.getLength() * driving_lanes(e) ** 2 for e in edges if is_street(e, vclass)}
    ways = {e: e.getSpeed() * driving_lanes(e) ** 2 for e in rim if is_street(e, vclass)}
    if vclass == "pedestrian":
        inside, ways = {e: e.getLength() for e in inside}, {}
    root = Element("edgedata")
    interval = SubElement(root, "interval", begin="0", end="1")
    for weights, share in ((ways, RIM_SHARE), (inside, 1 - RIM_SHARE if ways else 1.0)):
        total = sum(weights.values())
        for edge, weight in weights.items():
            SubElement(interval, "edge", id=edge.getID(), value=f"{share * weight / total:.9f}")
    write(root, path)


def random_trips(
    net_file: Path, out: Path, rate_ph: float, hours: float, seed: int, *options: object
) -> None:
    """Trips by SUMO's randomTrips.py, routed by duarouter; ``out`` gets vehicles or persons."""
    tool = Path(sumolib.checkBinary("sumo")).parents[1] / "tools" / "randomTrips.py"
    rates = [f"{rate_ph * part / (sum(PROFILE) / len(PROFILE)):.3f}" for part in PROFILE]
    trips = out.with_suffix(".trips.xml")
    draw: list[object] = [
        sys.executable, tool, "--net-file", net_file, "--output-trip-file", trips, "--seed", seed,
        "--begin", 0, "--end", 3600 * hours, "--binomial", 5, "--insertion-rate", *rates, *options,
    ]  # fmt: skip
    route: list[object] = [
        sumolib.checkBinary("duarouter"), "--net-file", net_file, "--route-files", trips,
        "--output-file", out, "--ignore-errors", "--no-warnings", "--no-step-log",
        "--seed", seed, "--weights.random-factor", ROUTE_FACTOR,
        "--weights.priority-factor", PRIORITY_FACTOR,
    ]  # fmt: skip
    for command in (draw, route):
        done = subprocess.run(
            [str(c) for c in command], cwd=out.parent, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise click.ClickException(f"{Path(str(command[0])).name}: {done.stderr[-500:]}")


def bus_lines_of(edges: list[Edge], net: Any, number: int) -> list[list[Edge]]:
    """Paths from rim to rim, each the one with most metres of main street not yet served."""
    starts = [e for e in edges if is_main(e) and not e.getIncoming()]
    ends = [e for e in edges if is_main(e) and not e.getOutgoing()]
    paths = []
    for start in starts:
        for end in ends:
            path, _ = net.getOptimalPath(start, end, fastest=True, vClass="bus")
            if path and len(set(path)) == len(path):
                paths.append(list(path))
    served: set[Edge] = set()
    lines: list[list[Edge]] = []
    while paths and len(lines) < number:
        best = max(
            paths, key=lambda p: sum(e.getLength() for e in p if is_main(e) and e not in served)
        )
        paths.remove(best)
        lines.append(best)
        served.update(best)
    return lines


def stop_lanes(path: list[Edge]) -> Iterator[Any]:
    """The kerb lanes at which a line stops."""
    since_m = STOP_SPACING_M / 2
    for edge in path[:-1]:
        since_m += edge.getLength()
        if since_m >= STOP_SPACING_M and edge.getLength() > 2 * STOP_M and is_street(edge, "bus"):
            since_m = 0.0
            yield next(lane for lane in edge.getLanes() if lane.allows("bus"))


def write_buses(
    lines: list[list[Edge]], folder: Path, headway_s: float, end_s: float, rng: random.Random
) -> None:
    stops, buses = Element("additional"), []
    known: set[str] = set()
    for number, path in enumerate(lines):
        lanes = list(stop_lanes(path))
        for lane in lanes:
            if lane.getID() not in known:
                known.add(lane.getID())
                middle_m = lane.getLength() / 2
                SubElement(
                    stops, "busStop", id=f"stop_{lane.getID()}", lane=lane.getID(),
                    startPos=f"{middle_m - STOP_M / 2:.1f}", endPos=f"{middle_m + STOP_M / 2:.1f}",
                )  # fmt: skip
        depart_s = rng.uniform(0, headway_s)
        while depart_s < end_s:
            bus = Element(
                "vehicle", id=f"bus{number}_{depart_s:.0f}", type="bus", line=str(number),
                depart=f"{depart_s:.0f}", departLane="best", departSpeed="max",
            )  # fmt: skip
            SubElement(bus, "route", edges=" ".join(edge.getID() for edge in path))
            for lane in lanes:
                dwell_s = rng.randint(*DWELL_S)
                SubElement(bus, "stop", busStop=f"stop_{lane.getID()}", duration=str(dwell_s))
            buses.append((depart_s, bus))
            depart_s += headway_s
    routes = Element("routes")
    SubElement(routes, "vType", BUS, id="bus")
    routes.extend(bus for _, bus in sorted(buses, key=lambda item: item[0]))
    write(stops, folder / "stops.add.xml")
    write(routes, folder / "bus.rou.xml")


def write_config(folder: Path, net: str, routes: list[str], end_s: float | None) -> Path:
    root = Element("configuration")
    files = SubElement(root, "input")
    SubElement(files, "net-file", value=net)
    SubElement(files, "route-files", value=",".join(routes))
    SubElement(files, "additional-files", value="stops.add.xml")
    time = SubElement(root, "time")
    SubElement(time, "begin", value="0")
    if end_s is not None:
        SubElement(time, "end", value=f"{end_s:g}")
    path = folder / f"{folder.name}.sumocfg"
    write(root, path)
    return path


@click.command()
@click.argument("net_file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--vehicles-per-h", default=4000.0, show_default=True, help="Mean, cars.")
@click.option("--walkers-per-h", default=2000.0, show_default=True, help="Mean, people on foot.")
@click.option("--bus-lines", default=4, show_default=True)
@click.option("--headway-s", default=300.0, show_default=True, help="Between buses of a line.")
@click.option("--hours", default=1.0, show_default=True, help="Time in which trips begin.")
@click.option("--seed", default=1, show_default=True)
@click.option("--end", is_flag=True, help="Stop after --hours. [default: when all have arrived]")
def main(
    net_file: Path,
    folder: Path,
    vehicles_per_h: float,
    walkers_per_h: float,
    bus_lines: int,
    headway_s: float,
    hours: float,
    seed: int,
    end: bool,
) -> None:
    """Write FOLDER/FOLDER.sumocfg with traffic on the SUMO network NET_FILE."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    packed = net_file.read_bytes()[:2] == b"\x1f\x8b"
    net_name = f"{folder.name}.net.xml{'.gz' if packed else ''}"
    shutil.copyfile(net_file, folder / net_name)
    net = sumolib.net.readNet(str(net_file), withConnections=True)
    edges = sorted(net.getEdges(), key=lambda e: str(e.getID()))
    end_s = 3600 * hours
    routes = ["car.rou.xml", "bus.rou.xml"]
    with tempfile.TemporaryDirectory() as scratch:
        sources = [e for e in edges if not e.getIncoming()]
        sinks = [e for e in edges if not e.getOutgoing()]
        for vclass, name in (("passenger", "car"), ("pedestrian", "walk")):
            write_weights(Path(scratch, f"{name}.src.xml"), edges, sources, vclass)
            write_weights(Path(scratch, f"{name}.dst.xml"), edges, sinks, vclass)
        random_trips(
            folder / net_name, Path(scratch, "car.rou.xml"), vehicles_per_h, hours, seed,
            "--weights-prefix", f"{scratch}/car", "--min-distance", CAR_TRIP_M,
            "--vehicle-class", "passenger", "--random-departpos", "--prefix", "car",
            "--trip-attributes", 'departLane="best" departSpeed="max"',
        )  # fmt: skip
        if walkers_per_h > 0:
            random_trips(
                folder / net_name, Path(scratch, "walk.rou.xml"), walkers_per_h, hours, seed,
                "--weights-prefix", f"{scratch}/walk", "--pedestrians", "--prefix", "walk",
                "--min-distance", WALK_M[0], "--max-distance", WALK_M[1],
            )  # fmt: skip
            routes.append("walk.rou.xml")
        for name in (f for f in routes if f != "bus.rou.xml"):
            # Parsed, so that SUMO's comments (the time, our scratch folder) are left behind.
            write(ElementTree.parse(Path(scratch, name)).getroot(), folder / name)
    lines = bus_lines_of(edges, net, bus_lines)
    write_buses(lines, folder, headway_s, end_s, random.Random(seed))
    config = write_config(folder, net_name, routes, end_s if end else None)
    click.echo(f"{config}: {len(lines)} bus lines")


if __name__ == "__main__":
    main()
