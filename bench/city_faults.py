"""A city's morning with things that fail: a district's feeds, a third of all sensors, bridges.

One city of `topis city build`, mesoscopic, one run a case, one after the other; a run that is there
already is not made again. Figures per kilometre are those from the fault on (07:10), each against
the run of the same controller in which nothing fails.

What the lamps then show is judged apart, on a part of the district cut out and run microscopically:
there SUMO records every lamp, and the independent checker of `tests/audit` reads it.

    topis city build --junctions 1500 --seed 1 --out c1500
    python bench/city_faults.py c1500 --out faults
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import click
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.audit import INFORMATION, audit, write_recorder
from topis.cli.city_compare import districts_of_links
from topis.config import LAYOUTS
from topis.ingest.city import files
from topis.ingest.city.close import bridge_edges, close_edges
from topis.ingest.city.cut import cut_district
from topis.ingest.network_file import load_network
from topis.report.city_compare import CityRun, compare_city
from topis.report.measures import measure_run
from topis.run.batch import run_batch
from topis.run.simulate import RunSpec

#: From an empty city at 07:00; the fault begins at 07:10; the run ends at 07:40.
FAULT_S, END_S = files.HOUR_S[0] + 600, files.HOUR_S[0] + 2400
REFERENCE, CITY = "shipped", "city"
NOTHING, FEEDS, THIRD = "nothing", "feeds", "third"
BRIDGE, BRIDGES = "bridge", "bridges"
TITLES = {
    NOTHING: "nothing wrong",
    FEEDS: "feeds of district {district} lost",
    THIRD: "a third of all sensors dead",
    BRIDGE: "bridge {bridge} closed",
    BRIDGES: "all bridges closed but the last",
}
#: `shipped` asks no sensor: it is run where streets change, and once as it is.
RUNS = [(NOTHING, REFERENCE), (NOTHING, CITY), (FEEDS, CITY), (THIRD, CITY)]
RUNS += [(case, controller) for case in (BRIDGE, BRIDGES) for controller in (REFERENCE, CITY)]
#: In the part feeds come back after five minutes, and it is watched for five more.
BACK_S, WATCHED_S = FAULT_S + 300, FAULT_S + 600
#: Zones of a case: no district, those concerned, all others.
CONCERNED, OTHERS = 1, 2


@dataclass(frozen=True)
class Case:
    """What to run: a configuration, and what fails besides."""

    config: Path
    outage: Path | None
    concerned: set[int]


@click.command()
@click.argument("city", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the runs.")
@click.option("--district", default=2, show_default=True, help="Whose feeds are lost.")
@click.option("--bridge", default=2, show_default=True, help="Which is closed; 1: the westernmost.")
@click.option("--seed", default=1, show_default=True)
@click.option("--part", default=60, show_default=True, help="Signals judged lamp by lamp; 0: none.")
def main(city: Path, out: Path, district: int, bridge: int, seed: int, part: int) -> None:
    """Run all cases of CITY and print one table, and another of the part judged."""
    cases = write_cases(city, out, district, bridge)
    done = {}
    for name, controller in RUNS:
        folder = out / name / f"{controller}-seed{seed}"
        if not folder.exists():
            run(cases[name], controller, seed, folder)
        done[name, controller] = CityRun.read(folder, FAULT_S), folder
    print(
        "| case | controller | journey (s/veh) | arrived | city (s/km) | districts concerned | "
        "others | signals worse: concerned | others | refused | least green | teleports |"
    )
    print("|---" * 12 + "|")
    home = districts_of_links(done[NOTHING, CITY][0].network, city / files.PLACES)
    for (name, controller), (result, folder) in done.items():
        base = done[NOTHING, controller][0]
        title = TITLES[name].format(district=district, bridge=bridge)
        zone = zones(home, cases[name].concerned)
        print(f"| {title} | {controller} | " + " | ".join(cells(base, result, zone, folder)) + " |")
    if part:
        judge(city, out / "part", district, part, seed)


def write_cases(city: Path, out: Path, district: int, bridge: int) -> dict[str, Case]:
    """Configurations of half a morning, files of outages, the closed city."""
    out.mkdir(parents=True, exist_ok=True)
    whole = brief(city / files.MESO, out / "whole" / files.MESO)
    count = json.loads((city / files.FACTS).read_text())["bridges"]
    closed = {}
    for name, numbers in ((BRIDGE, [bridge]), (BRIDGES, range(1, count))):
        edges = [edge for number in numbers for edge in bridge_edges(city, number)]
        folder = out / f"closed_{name}"
        close_edges(city, edges, FAULT_S, files.HOUR_S[1], folder)
        shut = brief(folder / files.MESO, folder / "brief.sumocfg")
        closed[name] = Case(shut, None, ends_in(city, edges))
    places = os.path.relpath(city / files.PLACES, out)
    feeds, third = out / "feeds.toml", out / "third.toml"
    feeds.write_text(
        f'[[outage]]\nfrom_s = {FAULT_S}\ndistrict = {district}\nplaces = "{places}"\n'
    )
    third.write_text(f"[[outage]]\nfrom_s = {FAULT_S}\nshare = 0.33\n")
    return {
        NOTHING: Case(whole, None, set()),
        FEEDS: Case(whole, feeds, {district}),
        THIRD: Case(whole, third, set()),
        **closed,
    }


def ends_in(city: Path, edges: list[str]) -> set[int]:
    """Districts of the roads of bridges."""
    rows = (row.split(",") for row in (city / files.PLACES).read_text().splitlines())
    return {int(row[2]) for row in rows if row[0] == "links" and row[1] in edges}


def brief(config: Path, path: Path, end_s: int = END_S, besides: Path | None = None) -> Path:
    """A configuration that ends earlier, from another folder, with an additional file besides."""
    path.parent.mkdir(parents=True, exist_ok=True)
    root = ElementTree.parse(config).getroot()
    for element in root.iter():
        if element.tag in ("net-file", "route-files", "additional-files"):
            there = [config.parent / name for name in element.get("value", "").split(",")]
            if besides and element.tag == "additional-files":
                there.append(besides)
            element.set("value", ",".join(os.path.relpath(file, path.parent) for file in there))
        elif element.tag == "end":
            element.set("value", str(end_s))
    path.write_text(ElementTree.tostring(root, encoding="unicode"))
    return path


def run(case: Case, controller: str, seed: int, folder: Path, *, meso: bool = True) -> None:
    """One run, in a process of its own."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    spec = RunSpec(
        str(case.config), case.config, controller, seed, LAYOUTS["city"], folder,
        outage=case.outage, meso=meso,
    )  # fmt: skip
    (status,) = run_batch([spec], 1, lambda _: None)
    if status.error:
        raise status.error


def zones(home: NDArray[np.int64], concerned: set[int]) -> NDArray[np.int64]:
    """Zone of each link, of its district."""
    return np.where(home == 0, 0, np.where(np.isin(home, list(concerned)), CONCERNED, OTHERS))


def cells(base: CityRun, result: CityRun, zone: NDArray[np.int64], folder: Path) -> list[str]:
    """What a row of the table says of a run."""
    rows = compare_city(base, result, zone).set_index("district")
    same = result is base

    def pace(name: str) -> str:
        if name not in rows.index:
            return "-"
        row = rows.loc[name]
        return f"{row['other_s_per_km']:.1f}" + ("" if same else f" ({row['change_pct']:+.1f} %)")

    def worse(name: str) -> str:
        if same or name not in rows.index:
            return "-"
        return f"{100 * rows.loc[name]['worse_share']:.0f} %"

    counts = json.loads((folder / "counts.json").read_text())
    change = 100 * (result.network_time_s / base.network_time_s - 1)
    refused = counts["refusals"]
    return [
        f"{result.network_time_s:.1f}" + ("" if same else f" ({change:+.1f} %)"),
        f"{result.arrived_veh:,}",
        pace("city"), pace(str(CONCERNED)), pace(str(OTHERS)),
        worse(str(CONCERNED)), worse(str(OTHERS)),
        f"{sum(refused.values()):,}", f"{refused.get('min_green', 0):,}", str(counts["teleports"]),
    ]  # fmt: skip


def judge(city: Path, out: Path, district: int, signals: int, seed: int) -> None:
    """Print what lamps showed in a part of a district that fails and comes back."""
    if not out.exists():
        cut_district(city, district, out, signals, seed)
    names = load_network(out / files.NET).network.junction_ids
    when = f"[[outage]]\nfrom_s = {FAULT_S}\nuntil_s = {BACK_S}\n"
    texts = {
        NOTHING: None,
        FEEDS: f'{when}district = {district}\nplaces = "{files.PLACES}"\n',
        THIRD: f"{when}share = 0.33\n",
    }
    print(f"\n| {len(names)} signals, microscopic | delay (s/veh) | refused | violations |")
    print("|---" * 4 + "|")
    for name, text in texts.items():
        states, recorder = out / f"{name}.states.xml", out / f"{name}.add.xml"
        folder = out / "runs" / name
        if not folder.exists():
            write_recorder(recorder, names, states.absolute())
            outage = out / f"{name}.toml" if text else None
            if outage and text:
                outage.write_text(text)
            config = brief(out / files.CONFIG, out / f"{name}.sumocfg", WATCHED_S, recorder)
            run(Case(config, outage, set()), CITY, seed, folder, meso=False)
        found = [v for v in audit(out / files.NET, states) if v.kind not in INFORMATION]
        refused = json.loads((folder / "counts.json").read_text())["refusals"]
        title = TITLES[name].format(district=district)
        print(
            f"| {title} | {measure_run(folder).delay_s:.1f} | {sum(refused.values()):,} "
            f"| {len(found)} |"
        )


if __name__ == "__main__":
    main()
