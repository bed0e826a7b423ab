"""How the field plan was tuned: ``python -m scenarios.gangnam.tune [--rounds N]``.

Step 1, on paper: greens of equal degree of saturation for the peak turn flows, never below the
walk times, and offsets that carry the platoons of the main directions (north on the bus
corridor, east on the business street, north on the other streets).

Step 2, in a platoon model (``platoons.py``): offsets are moved one junction at a time as long as
the modelled delay of the whole network falls, from the paper plan and from random offsets; the
results are run in SUMO and the best is kept.

Step 3, in SUMO: rounds of small random changes of splits and offsets at several junctions at
once.  Each change is judged by the delay on the approaches around its junction; the changes that
helped are put together, and the new plan is kept only if the whole network got better.  The
seeds are not those that results are reported on.

Prints the plan in the form of ``plan.py``; nothing is written into the repository.
"""

from __future__ import annotations

import argparse
import itertools
import random
import subprocess
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import sumolib

from scenarios._shared.lamps import Lamps, Programme, Stage
from scenarios._shared.streets import Streets, run_netconvert, write_config, write_xml
from scenarios.gangnam import demand, layout
from scenarios.gangnam.build import add_programmes
from scenarios.gangnam.plan import CYCLE_S, PLAN
from scenarios.gangnam.platoons import (
    LEFT_FLOW_VPH,
    RIGHT_TURN_WEIGHT,
    THROUGH_FLOW_VPH,
    PlatoonModel,
)

Plan = dict[str, Programme]

TUNING_SEEDS = (101, 102)
SHORTEST_GREEN_S = 10
PROGRESSION_MPS = 12.0
MAIN_DIRECTIONS = (
    # Stage of the first place whose green is to reach the last, along the path.
    ("C1 B1 M1 A1", "Ss"),
    ("B1 M2 B2 T1 B3", "Ws"),
    ("B2 A2", "Ss"),
    ("B3 A3", "Ss"),
    ("B3 T2 C3", "Ns"),
    ("B2 C2", "Ns"),
)


def all_lamps(net: ET.Element, streets: Streets) -> dict[str, Lamps]:
    """Return the signal links of every junction."""
    return {junction: Lamps(net, streets, junction) for junction in layout.STAGES}


def least_greens_s(lamps: Lamps, stages: tuple[Stage, ...]) -> list[int]:
    """Return the shortest admissible green per stage."""
    return [max(SHORTEST_GREEN_S, lamps.stage_walk_s(stage)) for stage in stages]


def flow_ratios(streets: Streets, junction: str) -> dict[str, float]:
    """Return peak flow over saturation flow per turn; right turns count with through traffic."""
    flows = demand.turn_flows(streets)
    ratios: dict[str, float] = {}
    for side, other in streets.neighbours(junction).items():
        road = streets.road[other, junction]
        right = RIGHT_TURN_WEIGHT * flows.get((junction, side + "r"), 0.0)
        through = flows.get((junction, side + "s"), 0.0)
        left = flows.get((junction, side + "l"), 0.0)
        if through:
            ratios[side + "s"] = (through + right) / (road.lanes * THROUGH_FLOW_VPH)
        if left:
            lanes = road.bays if streets.has_bay(other, junction) else 1
            ratios[side + "l"] = left / (lanes * LEFT_FLOW_VPH)
    return ratios


def saturation(
    stages: tuple[Stage, ...], greens_s: list[int], ratios: dict[str, float], cycle_s: int
) -> float:
    """Return the highest degree of saturation of a junction's turns."""
    worst = 0.0
    for turn, ratio in ratios.items():
        green_s = sum(g for g, stage in zip(greens_s, stages, strict=True) if turn in stage.go)
        worst = max(worst, ratio * cycle_s / green_s)
    return worst


def equal_saturation(lamps: Lamps, streets: Streets, cycle_s: int) -> tuple[int, ...]:
    """Return greens that fill the cycle: second by second to where saturation is highest."""
    stages = layout.STAGES[lamps.junction]
    ratios = flow_ratios(streets, lamps.junction)
    greens_s = least_greens_s(lamps, stages)
    spare_s = cycle_s - lamps.cycle_s(stages, Programme(0, tuple(greens_s)))
    if spare_s < 0:
        raise ValueError(f"junction {lamps.junction}: {cycle_s} s cycle is {-spare_s} s too short")
    for _ in range(spare_s):
        choices = []
        for i in range(len(stages)):
            longer = [g + (i == k) for k, g in enumerate(greens_s)]
            choices.append((saturation(stages, longer, ratios, cycle_s), i, longer))
        greens_s = min(choices)[2]
    return tuple(greens_s)


def stage_start_s(lamps: Lamps, plan: Programme, turn: str) -> int:
    """Return when ``turn`` gets green, after the start of the plan's cycle."""
    start_s = 0
    for stage, green_s in zip(layout.STAGES[lamps.junction], plan.greens_s, strict=True):
        if turn in stage.go.split():
            break
        start_s += green_s + lamps.change_s(stage)
    return start_s


def paper_plan(lamps: dict[str, Lamps], streets: Streets, cycle_s: int) -> Plan:
    """Return step 1: equal saturation and simple progression."""
    plan = {
        junction: Programme(0, equal_saturation(lamps[junction], streets, cycle_s))
        for junction in layout.STAGES
    }
    for path, turn in MAIN_DIRECTIONS:
        places = path.split()
        for a, b in itertools.pairwise(places):
            pa, pb = streets.places[a], streets.places[b]
            travel_s = (abs(pa.x_m - pb.x_m) + abs(pa.y_m - pb.y_m)) / PROGRESSION_MPS
            start_s = plan[a].offset_s + stage_start_s(lamps[a], plan[a], turn) + travel_s
            offset_s = round(start_s - stage_start_s(lamps[b], plan[b], turn)) % cycle_s
            plan[b] = Programme(offset_s, plan[b].greens_s)
    return plan


def model_offsets(model: PlatoonModel, plan: Plan) -> Plan:
    """Return step 2: the plan with the offsets at which no single change helps any more."""
    best, before = model.delay_s(plan), float("inf")
    print(f"# model, paper plan: {best:.2f} s per vehicle and queue", flush=True)
    while best < before - 0.02:
        before = best
        for junction in plan:
            for shift_s in range(0, model.cycle_s, 3):
                offset_s = (plan[junction].offset_s + shift_s) % model.cycle_s
                trial = {**plan, junction: Programme(offset_s, plan[junction].greens_s)}
                delay_s = model.delay_s(trial)
                if delay_s < best:
                    best, plan = delay_s, trial
    print(f"# model, offsets moved: {best:.2f} s per vehicle and queue", flush=True)
    return plan


def random_offsets(rng: random.Random, plan: Plan, cycle_s: int) -> Plan:
    """Return the plan with offsets drawn at random."""
    return {j: Programme(rng.randrange(cycle_s), old.greens_s) for j, old in plan.items()}


class Trial:
    """Runs plans in SUMO, in a scratch folder."""

    def __init__(self, folder: Path, scale: float) -> None:
        self.folder, self.scale = folder, scale
        self.streets = layout.streets()
        self.bare_net = ET.tostring(run_netconvert(self.streets, folder))
        write_xml(demand.build_demand(self.streets), folder / "gangnam.rou.xml")
        stops = demand.build_stops(self.streets)
        ET.SubElement(stops, "edgeData", id="loss", file="loss.xml", excludeEmpty="true")
        write_xml(stops, folder / "gangnam.add.xml")
        write_config(folder, "gangnam.net.xml.gz", demand.BEGIN_S, demand.END_S)
        self.lamps = all_lamps(ET.fromstring(self.bare_net), self.streets)

    def run(
        self, plan: Plan, cycle_s: int, seeds: tuple[int, ...]
    ) -> tuple[float, dict[str, float]]:
        """Return (mean delay in s per vehicle, total delay in s per edge) over the seeds."""
        net = ET.fromstring(self.bare_net)
        add_programmes(net, plan, cycle_s)
        write_xml(net, self.folder / "gangnam.net.xml.gz")
        delay_s, vehicles = 0.0, 0
        edges: dict[str, float] = {}
        for seed in seeds:
            options = ["--seed", str(seed), "--scale", str(self.scale), "--no-warnings", "true"]
            options += ["--tripinfo-output", "trips.xml", "--tripinfo-output.write-unfinished"]
            options += ["--tripinfo-output.write-undeparted"]
            options += ["--end", str(demand.END_S + 1800)]
            subprocess.run(
                [sumolib.checkBinary("sumo"), "-c", "gangnam.sumocfg", *options],
                cwd=self.folder,
                check=True,
            )
            for trip in ET.parse(self.folder / "trips.xml").getroot().iter("tripinfo"):
                wait_s = float(trip.get("departDelay", 0))
                delay_s += wait_s + max(float(trip.get("timeLoss", 0)), 0.0)
                vehicles += 1
                edge = trip.get("departLane", "").rsplit("_", 1)[0]
                edges[edge] = edges.get(edge, 0.0) + wait_s
            for row in ET.parse(self.folder / "loss.xml").getroot().iter("edge"):
                name = row.get("id", "")
                edges[name] = edges.get(name, 0.0) + float(row.get("timeLoss", 0))
        return delay_s / vehicles, edges

    def local_delay_s(self, edges: dict[str, float], junction: str) -> float:
        """Return the delay on the approaches of a junction and of its neighbours."""
        total_s = 0.0
        neighbours = self.streets.neighbours(junction).values()
        for centre in (junction, *neighbours):
            for other in self.streets.neighbours(centre).values():
                approach = self.streets.edges([other, centre])
                total_s += sum(edges.get(edge, 0.0) for edge in approach)
        return total_s


def changed(rng: random.Random, lamps: Lamps, old: Programme, cycle_s: int) -> Programme:
    """Return a small random change of a junction's offset, or of two of its greens."""
    if rng.random() < 0.5:
        step_s = rng.choice((-9, -6, -4, -2, 2, 4, 6, 9))
        return Programme((old.offset_s + step_s) % cycle_s, old.greens_s)
    least_s = least_greens_s(lamps, layout.STAGES[lamps.junction])
    greens_s = list(old.greens_s)
    give, take = rng.sample(range(len(greens_s)), 2)
    step_s = min(rng.choice((1, 2, 3)), greens_s[give] - least_s[give])
    greens_s[give] -= step_s
    greens_s[take] += step_s
    return Programme(old.offset_s, tuple(greens_s))


def climb(trial: Trial, plan: Plan, cycle_s: int, rounds: int, seeds: tuple[int, ...]) -> Plan:
    """Return step 2: the best plan after ``rounds`` rounds."""
    rng = random.Random(1)
    best, edges = trial.run(plan, cycle_s, seeds)
    print(f"# start: {best:.2f} s/veh", flush=True)
    for turn in range(rounds):
        chosen = rng.sample(sorted(plan), 3)
        moved = {j: changed(rng, trial.lamps[j], plan[j], cycle_s) for j in chosen}
        mean, after = trial.run({**plan, **moved}, cycle_s, seeds)
        if mean >= best:
            moved = {
                j: programme
                for j, programme in moved.items()
                if trial.local_delay_s(after, j) < trial.local_delay_s(edges, j)
            }
            if not moved:
                continue
            mean, after = trial.run({**plan, **moved}, cycle_s, seeds)
        if mean < best:
            best, edges, plan = mean, after, {**plan, **moved}
            print(f"# round {turn}: {best:.2f} s/veh, {' '.join(sorted(moved))}", flush=True)
            print(f"# {plan}", flush=True)
        else:
            print(f"# round {turn}: {mean:.2f} s/veh, refused", flush=True)
    return plan


def main() -> None:
    """Read the command line, tune, print the plan."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycle", type=int, default=CYCLE_S, help="common cycle in s")
    parser.add_argument("--starts", type=int, default=1, help="starts of step 2")
    parser.add_argument("--paper", action="store_true", help="skip step 2")
    parser.add_argument("--rounds", type=int, default=0, help="rounds of the hill-climb")
    parser.add_argument("--scale", type=float, default=1.0, help="demand factor")
    parser.add_argument("--seeds", type=int, nargs="+", default=TUNING_SEEDS)
    parser.add_argument("--shipped", action="store_true", help="start from the shipped plan")
    given = parser.parse_args()
    seeds = tuple(given.seeds)
    with tempfile.TemporaryDirectory() as scratch:
        trial = Trial(Path(scratch), given.scale)
        plan = PLAN if given.shipped else paper_plan(trial.lamps, trial.streets, given.cycle)
        if not (given.shipped or given.paper):
            flows = demand.turn_flows(trial.streets)
            model = PlatoonModel(trial.streets, trial.lamps, flows, given.cycle)
            rng = random.Random(5)
            found = []
            for attempt in range(given.starts):
                start = random_offsets(rng, plan, given.cycle) if attempt else plan
                found.append(model_offsets(model, start))
            delays_s = [trial.run(moved, given.cycle, seeds)[0] for moved in found]
            plan = found[delays_s.index(min(delays_s))]
        for junction in plan:
            ratios = flow_ratios(trial.streets, junction)
            greens_s = list(plan[junction].greens_s)
            worst = saturation(layout.STAGES[junction], greens_s, ratios, given.cycle)
            print(f"# {junction}: degree of saturation {worst:.2f} in the peak", flush=True)
        plan = climb(trial, plan, given.cycle, given.rounds, seeds)
    for junction, programme in plan.items():
        print(f'    "{junction}": Programme({programme.offset_s}, {programme.greens_s}),')


if __name__ == "__main__":
    main()
