"""Build the Gangnam-like scenario: ``python -m scenarios.gangnam.build [--out FOLDER]``.

Run from the top of the repository, with SUMO installed.  The output depends on nothing but the
sources here and SUMO's version: building again gives the committed files byte for byte.
"""

from __future__ import annotations

import argparse
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from scenarios._shared.lamps import Lamps, Programme
from scenarios._shared.streets import run_netconvert, write_config, write_xml
from scenarios.gangnam import demand, layout
from scenarios.gangnam.plan import CYCLE_S, PLAN


def build(folder: Path, plan: dict[str, Programme] = PLAN, cycle_s: int = CYCLE_S) -> None:
    """Write the scenario's files, with ``plan`` as its signal programmes, to ``folder``."""
    streets = layout.streets()
    with tempfile.TemporaryDirectory() as scratch:
        net = run_netconvert(streets, Path(scratch))
    add_programmes(net, plan, cycle_s)
    write_xml(net, folder / "gangnam.net.xml.gz")
    write_xml(demand.build_demand(streets), folder / "gangnam.rou.xml")
    write_xml(demand.build_stops(streets), folder / "gangnam.add.xml")
    write_config(folder, "gangnam.net.xml.gz", demand.BEGIN_S, demand.END_S)


def add_programmes(net: ET.Element, plan: dict[str, Programme], cycle_s: int) -> None:
    """Put the signal programmes of a plan into a built network, ahead of its junctions."""
    streets = layout.streets()
    at = next(i for i, child in enumerate(net) if child.tag == "junction")
    for junction, programme in sorted(plan.items(), reverse=True):
        lamps = Lamps(net, streets, junction)
        stages = layout.STAGES[junction]
        if lamps.cycle_s(stages, programme) != cycle_s:
            raise ValueError(f"junction {junction}: cycle is {lamps.cycle_s(stages, programme)} s")
        net.insert(at, lamps.programme(stages, programme))


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="output folder")
    build(parser.parse_args().out)


if __name__ == "__main__":
    main()
