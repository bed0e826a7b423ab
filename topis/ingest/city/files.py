"""The small files of a city: configurations, modes, sensors and places, facts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topis.config import sensing_layout
from topis.ingest.network_file import load_network
from topis.ingest.placement import place_sensors
from topis.ingest.sensor_file import write_sensors
from topis.ingest.synth_city import write_places

NET, ROUTES, BUSES, STOPS = (
    "city.net.xml.gz",
    "city.rou.xml.gz",
    "buses.rou.xml.gz",
    "stops.add.xml",
)
DAY, PLANS, TIMES = "day.add.xml", "plans.csv", "edge_times.csv"
SENSORS, PLACES, MODES, FACTS = "sensors.csv", "places.csv", "modes.csv", "city.json"
CONFIG, MESO, DAY_CONFIG = "city.sumocfg", "city_meso.sumocfg", "city_day.sumocfg"
#: The hour simulated: from an empty city at 7 to the peak's first quarter and on to 8.
HOUR_S = (7 * 3600, 8 * 3600)
DAY_S = (0, 24 * 3600)


def write_configs(folder: Path, seed: int) -> None:
    """The morning hour microscopic and mesoscopic, and the day with its programs."""
    # The last as SUMO asks for streets with a bus lane: there buses queue with all the others.
    meso = {
        "mesosim": "true",
        "meso-junction-control": "true",
        "meso-ignore-lanes-by-vclass": "pedestrian,bicycle,bus",
    }
    _config(folder / CONFIG, [STOPS], HOUR_S, seed, {})
    _config(folder / MESO, [STOPS], HOUR_S, seed, meso)
    if (folder / DAY).exists():
        _config(folder / DAY_CONFIG, [STOPS, DAY], DAY_S, seed, meso)


def _config(
    path: Path, additional: list[str], time_s: tuple[int, int], seed: int, process: dict[str, str]
) -> None:
    rows = [
        "<configuration>", "  <input>", f'    <net-file value="{NET}"/>',
        f'    <route-files value="{ROUTES},{BUSES}"/>',
        f'    <additional-files value="{",".join(additional)}"/>', "  </input>", "  <time>",
        f'    <begin value="{time_s[0]}"/>', f'    <end value="{time_s[1]}"/>',
        '    <step-length value="1"/>', "  </time>", "  <processing>",
        '    <time-to-teleport value="300"/>',
        *(f'    <{name} value="{value}"/>' for name, value in process.items()),
        "  </processing>", "  <random_number>", f'    <seed value="{seed}"/>',
        "  </random_number>", "  <report>", '    <no-step-log value="true"/>', "  </report>",
        "</configuration>", "",
    ]  # fmt: skip
    path.write_text("\n".join(rows))


def write_sensing(
    folder: Path, adaptive: dict[str, bool], district: dict[str, int], seed: int
) -> dict[str, int]:
    """Sensors of the adaptive junctions, places and modes; returns counts of what there is."""
    network = load_network(folder / NET).network
    names = network.junction_ids
    sensed: NDArray[np.bool_] = np.array([adaptive[name] for name in names], dtype=bool)
    sensors = place_sensors(network, sensing_layout("city"), seed, sensed)
    write_sensors(folder / SENSORS, network, sensors)
    of_junction = np.array([district[name] for name in names], dtype=np.int64)
    write_places(folder / PLACES, network, sensors, of_junction)
    with (folder / MODES).open("w") as file:
        file.write("junction,mode,district\n")
        for name in names:
            mode = "adaptive" if adaptive[name] else "plan"
            file.write(f"{name},{mode},{district[name]}\n")
    cameras = {int(j) for j in sensors.junction[np.char.startswith(list(sensors.ids), "topis.cam")]}
    return {
        "adaptive": int(sensed.sum()), "camera_junctions": len(cameras),
        "sensors": len(sensors.ids), "approach_lanes": len(network.approach_lanes),
    }  # fmt: skip


def write_facts(folder: Path, facts: dict[str, Any]) -> None:
    """What the city has, counted."""
    (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n")
