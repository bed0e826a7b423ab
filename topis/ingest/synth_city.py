"""The streets of a made-up day: a grid of any size, or a network that is there, put on the map."""

from __future__ import annotations

import gzip
import math
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from topis.config import SensingLayout
from topis.errors import InputError, SumoError
from topis.ingest.network_file import load_network
from topis.ingest.placement import place_sensors
from topis.ingest.road_map import RoadMap, road_map_of_sumo_net
from topis.ingest.sensor_file import write_sensors
from topis.model.network import Network
from topis.model.observation import SensorTable

#: Signalised intersections of Seoul, and its districts (gu).
SIGNALS, DISTRICTS = 12_800, 25
NETWORK_FILE, SENSOR_FILE, PLACES_FILE = "city.net.xml.gz", "sensors.csv", "places.csv"
BLOCK_M = 220
#: Where streets are put that do not say where on Earth they are: south of the Han, UTM zone 52.
_PROJECTION = "+proj=utm +zone=52 +ellps=WGS84 +datum=WGS84 +units=m +no_defs"
_CORNER_M = (320_000.0, 4_148_000.0)
_MOST_HEAD = 65_536


@dataclass(frozen=True)
class City:
    """A network with its sensors, and where it lies. ``district`` int64[junctions], from 1."""

    network: Network
    road_map: RoadMap
    sensors: SensorTable
    district: NDArray[np.int64]


def make_city(
    folder: Path, scale: float, seed: int, layout: SensingLayout, source: Path | None
) -> City:
    """Write network, sensors and places into ``folder``; ``source``: a SUMO network to use.

    Raises
    ------
    InputError
        The source cannot be read.
    SumoError
        SUMO's netgenerate is not installed.
    """
    target = folder / NETWORK_FILE
    if source is None:
        _grid(target, scale, seed)
    else:
        _copy(source, target)
    network = load_network(target).network
    if not network.junctions:
        raise InputError.at(source or target, "has no signals", "name a network with signals")
    sensors = place_sensors(network, layout, seed)
    write_sensors(folder / SENSOR_FILE, network, sensors)
    district = _districts(network)
    write_places(folder / PLACES_FILE, network, sensors, district)
    return City(network, road_map_of_sumo_net(target, network), sensors, district)


def _grid(target: Path, scale: float, seed: int) -> None:
    """A perturbed grid with two lanes and turn bays, as wide as high."""
    import sumolib  # SUMO is an extra: only who needs it loads it.

    columns = max(3, math.ceil(math.sqrt(SIGNALS * scale)))
    rows = max(3, round(SIGNALS * scale / columns))
    draft = target.with_name("draft.net.xml")
    command = [
        sumolib.checkBinary("netgenerate"), "--grid", "--grid.x-number", str(columns),
        "--grid.y-number", str(rows), "--grid.length", str(BLOCK_M),
        "--grid.attach-length", str(BLOCK_M), "--perturb-x", "norm(0,12)",
        "--perturb-y", "norm(0,12)", "--default.lanenumber", "2", "--turn-lanes", "1",
        "--turn-lanes.length", "60", "--no-turnarounds", "true", "--default.speed", "13.89",
        "--default-junction-type", "traffic_light", "--tls.default-type", "static",
        "--tls.cycle.time", "120", "--seed", str(seed), "--output-file", str(draft),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise SumoError(
            "netgenerate not found; install the extra: pip install topis[sumo]"
        ) from None
    if done.returncode or not draft.exists():
        raise SumoError(f"netgenerate failed: {done.stderr.strip()[-300:]}; is SUMO whole?")
    _copy(draft, target)
    draft.unlink()


def _copy(source: Path, target: Path) -> None:
    """The network with a place on Earth, if it names none; without the date it was made at."""
    try:
        data = source.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError) as error:
        raise InputError.at(source, f"cannot be read ({error})", "check it") from None
    pack_network(data, target)


def pack_network(data: bytes, target: Path, level: int = 9) -> None:
    """Write a network gzipped, with a place on Earth if it names none, without its date."""
    head = re.sub(rb"<!--.*?-->\s*", b"", data[:_MOST_HEAD], count=1, flags=re.DOTALL)
    located = rb'(<location netOffset=")[^"]*(".*?projParameter=")[!.-]?(")'
    x_m, y_m = _CORNER_M
    put = rb"\g<1>%.2f,%.2f\g<2>%s\g<3>" % (-x_m, -y_m, _PROJECTION.encode())
    head = re.sub(located, put, head, count=1, flags=re.DOTALL)
    with target.open("wb") as file, gzip.GzipFile("", "wb", level, file, 0) as packed:
        packed.write(head + data[_MOST_HEAD:])


def _districts(network: Network) -> NDArray[np.int64]:
    """A square of cells over the city, `DISTRICTS` at most, of some tens of junctions or more."""
    side = max(1, min(math.isqrt(DISTRICTS), math.isqrt(network.junctions // 16)))
    xy_m = network.junction_xy_m
    low, span = xy_m.min(axis=0), np.maximum(np.ptp(xy_m, axis=0), 1.0)
    cell = np.minimum(((xy_m - low) / span * side).astype(np.int64), side - 1)
    return np.asarray(1 + cell[:, 1] * side + cell[:, 0])


def link_districts(network: Network, district: NDArray[np.int64]) -> NDArray[np.int64]:
    """District of each link: of the junction it leads to; of the one it comes from, else 0."""
    of_link = np.zeros(network.links, dtype=np.int64)
    begins = network.move_junction >= 0
    of_link[network.move_to_link[begins]] = district[network.move_junction[begins]]
    ends = network.link_junction >= 0
    of_link[ends] = district[network.link_junction[ends]]
    return of_link


def write_places(
    path: Path, network: Network, sensors: SensorTable, district: NDArray[np.int64]
) -> None:
    """Write what lies in which district: cameras, controllers, detectors and links."""
    rows = [("kind", "name", "district")]
    names = {int(j): network.junction_ids[j] for j in range(network.junctions)}
    for j, name in names.items():
        rows += [("cameras", name, str(district[j])), ("controllers", name, str(district[j]))]
    for k, name in enumerate(sensors.ids):
        rows.append(("detectors", name, str(district[sensors.junction[k]])))
    of_link = link_districts(network, district)
    rows += [
        ("links", network.link_ids[link], str(of_link[link]))
        for link in np.flatnonzero(of_link).tolist()
    ]
    path.write_text("".join(",".join(row) + "\n" for row in rows))
