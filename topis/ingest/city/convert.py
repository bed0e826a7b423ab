"""Roads to a SUMO network through netconvert."""

from __future__ import annotations

import subprocess
from pathlib import Path

from topis.errors import SumoError
from topis.ingest.city.likeness import SPEED_KMH
from topis.ingest.city.roads import Roads

DRAFT = "draft.net.xml"
#: SUMO's own junction logic; no turn that was not asked for, no place that is not ours.
OPTIONS = (
    "--no-turnarounds", "true", "--offset.disable-normalization", "true",
    "--tls.default-type", "static", "--junctions.corner-detail", "0",
    "--geometry.min-radius.fix", "false", "--no-warnings", "true", "--output.street-names", "false",
    "--precision", "2",
)  # fmt: skip


def convert(roads: Roads, folder: Path) -> Path:
    """Write the plain files and let netconvert build the network; returns its path.

    Raises
    ------
    SumoError
        netconvert is not installed, or failed.
    """
    _write_nodes(folder / "plain.nod.xml", roads)
    _write_edges(folder / "plain.edg.xml", roads)
    _write_links(folder / "plain.con.xml", roads)
    command = [
        "--node-files", str(folder / "plain.nod.xml"), "--edge-files",
        str(folder / "plain.edg.xml"), "--connection-files", str(folder / "plain.con.xml"),
        "--output-file", str(folder / DRAFT), *OPTIONS,
    ]  # fmt: skip
    run_netconvert(command, folder / DRAFT)
    return folder / DRAFT


def run_netconvert(options: list[str], target: Path) -> None:
    """Run netconvert.

    Raises
    ------
    SumoError
        It is not installed, or failed.
    """
    import sumolib  # SUMO is an extra: only who needs it loads it.

    try:
        done = subprocess.run(
            [sumolib.checkBinary("netconvert"), *options],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise SumoError(
            "netconvert not found; install the extra: pip install topis[sumo]"
        ) from None
    if done.returncode or not target.exists():
        raise SumoError(f"netconvert failed: {done.stderr.strip()[-300:]}; is SUMO whole?")


def _write_nodes(path: Path, roads: Roads) -> None:
    signal = roads.layout.signal
    with path.open("w") as file:
        file.write("<nodes>\n")
        for n, (name, (x, y)) in enumerate(zip(roads.name, roads.xy_m, strict=True)):
            kind = "traffic_light" if n < signal.size and signal[n] else "priority"
            file.write(f'<node id="{name}" x="{x:.2f}" y="{y:.2f}" type="{kind}"/>\n')
        file.write("</nodes>\n")


def _write_edges(path: Path, roads: Roads) -> None:
    with path.open("w") as file:
        file.write("<edges>\n")
        for edge in roads.edges:
            lane = f'<lane index="{edge.bus_lane}" allow="bus"/>' if edge.bus else ""
            file.write(
                f'<edge id="{edge.id}" from="{roads.name[edge.begin]}" '
                f'to="{roads.name[edge.end]}" numLanes="{edge.lanes}" '
                f'speed="{SPEED_KMH[edge.rank] / 3.6:.2f}" priority="{2 * edge.rank + 1}" '
                f'disallow="pedestrian">{lane}</edge>\n'
            )
        file.write("</edges>\n")


def _write_links(path: Path, roads: Roads) -> None:
    ids = [edge.id for edge in roads.edges]
    with path.open("w") as file:
        file.write("<connections>\n")
        for a, b, lane, to in roads.links:
            file.write(
                f'<connection from="{ids[a]}" to="{ids[b]}" fromLane="{lane}" toLane="{to}"/>\n'
            )
        file.write("</connections>\n")
