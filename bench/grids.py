"""Grid cities of any size for benchmarks: network by netgenerate, routes by random walk."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import sumolib


def build_network(folder: Path, side: int) -> Path:
    """A grid of side x side signalised junctions, two lanes and a turn bay each way."""
    path = folder / f"grid{side}.net.xml"
    if not path.exists():
        subprocess.run(
            [
                sumolib.checkBinary("netgenerate"), "--grid", "--grid.number", str(side),
                "--grid.length", "180", "--grid.attach-length", "180",
                "--default.lanenumber", "2", "--turn-lanes", "1", "--turn-lanes.length", "60",
                "--no-turnarounds", "true", "--default-junction-type", "traffic_light",
                "--tls.guess", "true", "--output-file", str(path),
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip
    return path


def build_scenario(folder: Path, side: int, *, seconds: int, vehicles_per_junction_h: int) -> Path:
    """Network plus demand that keeps to straight roads mostly; returns the sumocfg."""
    net_file = build_network(folder, side)
    net = sumolib.net.readNet(str(net_file))
    rng = np.random.default_rng(7)
    starts = [e for e in net.getEdges() if not e.getIncoming()]
    number = side * side * vehicles_per_junction_h * seconds // 3600
    lines = ["<routes>", '  <vType id="car" vClass="passenger"/>']
    for k, depart in enumerate(np.sort(rng.uniform(0, seconds, number))):
        edge = starts[rng.integers(len(starts))]
        route = [edge.getID()]
        while edge.getOutgoing() and len(route) < 3 * side:
            onward = [c for cs in edge.getOutgoing().values() for c in cs[:1]]
            straight = [c for c in onward if c.getDirection() == "s"]
            pick = straight if straight and rng.random() < 0.8 else onward
            edge = pick[rng.integers(len(pick))].getTo()
            route.append(edge.getID())
        lines.append(
            f'  <vehicle id="v{k}" type="car" depart="{depart:.1f}" departLane="best">'
            f'<route edges="{" ".join(route)}"/></vehicle>'
        )
    (folder / f"grid{side}.rou.xml").write_text("\n".join([*lines, "</routes>\n"]))
    config = folder / f"grid{side}.sumocfg"
    config.write_text(
        f'<configuration><input><net-file value="{net_file.name}"/>'
        f'<route-files value="grid{side}.rou.xml"/></input>'
        f'<time><begin value="0"/><end value="{seconds}"/></time></configuration>\n'
    )
    return config
