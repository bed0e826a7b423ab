"""A fixed plan for any SUMO scenario, tuned in SUMO: cycle, splits and offsets.

The method of `scenarios/gangnam/tune.py`, without its layout. Paper plans of several cycles
(`bench/fixed_plans.py`) and the scenario's own plan are run; the best one is then changed at
several junctions at once; a change stays where delay fell around its junction, and all of them
only if the network got better.

    python bench/tune_plan.py town/town.sumocfg --out town-tuned --rounds 40 --seeds 101 102
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import sumolib

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.fixed_plans import Plan, Signals
from topis.clock import stopwatch_s
from topis.run.sumocfg import SumoConfig, read_sumocfg

REPORTED_SEEDS = range(1, 6)
CYCLES_S = (80, 100, 120, 140, 160, 180)
#: What a vehicle that SUMO had to lift out of a jam counts (s).
TELEPORT_S = 600.0


def read_xml(path: Path) -> Element:
    data = path.read_bytes()
    return ElementTree.fromstring(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)


class Trial:
    """A scenario, and the folder in which plans for it are written and run."""

    def __init__(self, config: SumoConfig, folder: Path, seeds: list[int]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.seeds, self.plan_file = seeds, folder / "plan.add.xml"
        self.config = folder / f"{folder.name}.sumocfg"
        root = ElementTree.parse(config.path).getroot()
        for element in root.iter():
            if element.tag.endswith(("-file", "-files")):
                names = element.get("value", "").split(",")
                paths = [os.path.relpath(config.path.parent / n.strip(), folder) for n in names]
                element.set("value", ",".join(paths))
        files = [os.path.relpath(path, folder) for path in config.additional_files]
        found = root.find(".//additional-files")
        element = SubElement(root, "additional-files") if found is None else found
        element.set("value", ",".join([*files, self.plan_file.name]))
        ElementTree.ElementTree(root).write(self.config)
        net = read_xml(config.net_file)
        parts = (net, *map(read_xml, config.additional_files))
        self.signals = Signals(net, [logic for part in parts for logic in part.iter("tlLogic")])

    def write(self, plan: Plan) -> None:
        root = Element("additional")
        signals = self.signals.by_light
        for light, timing in plan.items():
            about = {"id": light, "type": "static", "programID": self.config.stem}
            logic = SubElement(root, "tlLogic", about, offset=str(timing.offset_s))
            for state, row_s in zip(signals[light].states, timing.rows_s, strict=True):
                SubElement(logic, "phase", duration=str(row_s), state=state)
        ElementTree.indent(root)
        ElementTree.ElementTree(root).write(self.plan_file)

    def run(self, plan: Plan, routes: Path | None = None) -> tuple[float, int, Counter[str]]:
        """Mean cost (s per vehicle), teleports, and delay per edge (s), over the seeds."""
        self.write(plan)
        cost_s, vehicles, jumps, edges = 0.0, 0, 0, Counter[str]()
        files = list(read_sumocfg(self.config).additional_files)
        with tempfile.TemporaryDirectory() as scratch:
            trips, loss, count, add = (Path(scratch, name) for name in ("t", "l", "c", "a.xml"))
            add.write_text(f'<additional><edgeData id="l" file="{loss}"/></additional>')
            for seed in self.seeds:
                command = [
                    sumolib.checkBinary("sumo"), "-c", self.config, "--seed", seed, "-a",
                    ",".join(map(str, [*files, add])), "--no-warnings", "--no-step-log",
                    "--statistic-output", count, "--tripinfo-output", trips,
                    "--tripinfo-output.write-unfinished", "--tripinfo-output.write-undeparted",
                ]  # fmt: skip
                command += ["--vehroute-output", routes] if routes else []
                subprocess.run([str(c) for c in command], check=True)
                for trip in read_xml(trips).iter("tripinfo"):
                    wait_s = float(trip.get("departDelay", 0))
                    cost_s += wait_s + max(float(trip.get("timeLoss", 0)), 0.0)
                    vehicles += 1
                    edges[trip.get("departLane", "").rsplit("_", 1)[0]] += round(wait_s)
                for row in read_xml(loss).iter("edge"):
                    edges[row.get("id", "")] += round(float(row.get("timeLoss", 0)))
                jumps += sum(int(t.get("total", 0)) for t in read_xml(count).iter("teleports"))
        return (cost_s + TELEPORT_S * jumps) / max(vehicles, 1), jumps, edges

    def near_s(self, light: str, edges: Counter[str]) -> int:
        """Delay on the edges into and out of a junction."""
        links = self.signals.by_light[light].links
        return sum(edges[e] for e in {e for move in links for e in move})


def climb(trial: Trial, plan: Plan, rounds: int, minutes: float) -> Plan:
    rng, began_s = random.Random(1), stopwatch_s()
    best, _, edges = trial.run(plan)
    for turn in range(rounds):
        if stopwatch_s() - began_s > 60 * minutes:
            break
        # Where much time is lost there is more to gain: junctions are drawn by their delay.
        lights, number = sorted(plan), max(len(plan) // rng.choice((4, 8, 16)), 1)
        late_s = [1 + trial.near_s(light, edges) for light in lights]
        chosen = sorted(set(rng.choices(lights, late_s, k=number)))
        moved = {k: trial.signals.by_light[k].changed(rng, plan[k], edges) for k in chosen}
        cost, jumps, after = trial.run({**plan, **moved})
        if cost >= best:
            better = [k for k in moved if trial.near_s(k, after) < trial.near_s(k, edges)]
            moved = {k: moved[k] for k in better}
            cost, jumps, after = trial.run({**plan, **moved}) if moved else (cost, jumps, after)
        if moved and cost < best:
            best, edges, plan = cost, after, {**plan, **moved}
        print(f"round {turn}: {cost:.1f} s, {jumps} teleports; best {best:.1f} s", flush=True)
    return plan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("scenario", type=Path, help="a .sumocfg")
    parser.add_argument("--out", type=Path, required=True, help="folder of the tuned scenario")
    parser.add_argument("--cycles-s", type=int, nargs="*", default=CYCLES_S, help="on paper")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--minutes", type=float, default=60.0, help="of rounds, at most")
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102])
    given = parser.parse_args()
    if set(given.seeds) & set(REPORTED_SEEDS):
        parser.error("seeds 1 to 5 are for reporting; tune on others")
    trial = Trial(read_sumocfg(given.scenario), given.out.resolve(), given.seeds)
    plans = {"as shipped": trial.signals.shipped()}
    costs = {}
    with tempfile.TemporaryDirectory() as scratch:
        routes = Path(scratch, "routes.xml")
        trial.run(plans["as shipped"], routes)
        vehicles = list(read_xml(routes).iter("vehicle"))
    for cycle_s in given.cycles_s:
        plans[f"{cycle_s} s on paper"] = trial.signals.paper(cycle_s, vehicles)
    for name, plan in plans.items():
        costs[name], jumps, _ = trial.run(plan)
        print(f"{name}: {costs[name]:.1f} s, {jumps} teleports", flush=True)
    trial.write(climb(trial, plans[min(plans, key=costs.__getitem__)], given.rounds, given.minutes))
    print(trial.config)


if __name__ == "__main__":
    main()
