"""Estimated queues, flows and travel times against what SUMO knows, as a table.

Signals run their own programs. The estimate sees what the sensors of each mix report; the truth
is read from the simulation apart from it, and only compared.

    python bench/state_truth.py resco:cologne8 resco:ingolstadt21 --dead 0 --dead 0.1 --dead 0.3
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import tempfile
from pathlib import Path
from types import ModuleType

import click
import numpy as np

from topis.config import LAYOUTS, SensingLayout
from topis.estimation.estimator import Estimator
from topis.estimation.fusion import Fusion
from topis.ingest.network_file import load_network
from topis.ingest.placement import place_sensors
from topis.model.lamp import is_green
from topis.model.network import Network
from topis.report.state_errors import PERIOD_S, ErrorRow, StateErrors, Truth
from topis.run.scenarios import find_scenario
from topis.run.sumo import SumoRun
from topis.run.sumocfg import read_sumocfg
from topis.units import STANDING_MPS

MIXES = {
    "loops": LAYOUTS["loops"],
    "probes": SensingLayout("probes", loop_approach_share=0.0, probe_share=0.1, probe_period_s=1.0),
    "all": SensingLayout(
        "all", camera_junction_share=0.5, loop_approach_share=0.7, probe_share=0.1,
        probe_period_s=1.0,
    ),
}  # fmt: skip


class Watcher:
    """What really happens, second by second, by lane and 30 s."""

    def __init__(self, network: Network) -> None:
        self._lane = {name: k for k, name in enumerate(network.lane_ids)}
        self._road = network.lane_link
        self._lanes = network.lanes
        self._on: dict[str, tuple[int, float]] = {}
        self._rows: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = []
        self._departed, self._travel = np.zeros(self._lanes), np.zeros(self._lanes)

    def look(self, api: ModuleType, now_ms: int) -> None:
        """One second later."""
        road = api.vehicle
        standing = np.zeros(self._lanes)
        seen = {}
        for vehicle in road.getIDList():
            lane = self._lane.get(road.getLaneID(vehicle), -1)
            before = self._on.get(vehicle)
            if before is not None and lane != before[0]:
                # From lane to lane of one road it has not left it.
                if lane >= 0 and self._road[lane] == self._road[before[0]]:
                    before = (lane, before[1])
                else:
                    self._leave(before, now_ms)
                    before = None
            if lane >= 0:
                seen[vehicle] = before or (lane, now_ms / 1000.0)
                standing[lane] += road.getSpeed(vehicle) < STANDING_MPS
        for vehicle in api.simulation.getArrivedIDList():
            if vehicle in self._on:
                self._leave(self._on[vehicle], now_ms)
        self._on = seen
        if now_ms % (1000 * PERIOD_S) == 0:
            self._rows.append((now_ms, standing, self._departed, self._travel))
            self._departed, self._travel = np.zeros(self._lanes), np.zeros(self._lanes)

    def _leave(self, before: tuple[int, float], now_ms: int) -> None:
        lane, since_s = before
        self._departed[lane] += 1
        self._travel[lane] += now_ms / 1000.0 - since_s

    def truth(self) -> Truth:
        """All of it."""
        return Truth(
            np.array([row[0] for row in self._rows]),
            *(np.array([row[k] for row in self._rows]) for k in (1, 2, 3)),
        )


def compare(job: tuple[str, str, float, int]) -> tuple[str, str, float, list[ErrorRow]]:
    """Run one mix; in a process of its own."""
    scenario, mix, dead, seed = job
    config = read_sumocfg(find_scenario(scenario))
    network = load_network(config.net_file, config.additional_files).network
    layout = dataclasses.replace(MIXES[mix], dead_share=dead)
    sensors = place_sensors(network, layout, seed)
    estimator = Estimator(network, sensors)
    fusion = Fusion(network, estimator, layout.probe_period_s)
    seen_by = estimator.evidence.seen_by.copy()
    watcher = Watcher(network)
    states = []
    lamps = np.zeros(network.groups, np.uint8)
    local = np.ones(network.junctions, bool)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        with SumoRun(
            config, network, sensors, seed=seed, work=work,
            camera_missed_share=layout.camera_missed_share, probe_error_m=layout.probe_error_m,
        ) as run:  # fmt: skip
            while (observation := run.next()) is not None:
                for junction, codes in run.changed_lamps(local):
                    first = network.junction_group_ptr[junction]
                    lamps[first : first + len(codes)] = codes
                state = estimator.update(observation, is_green(lamps))
                fusion.update(observation, state, lamps)
                watcher.look(run.api, observation.time_ms)
                if observation.time_ms % (1000 * PERIOD_S) == 0:
                    states.append(fusion.state())
            run.results.before_close(run.api)
    errors = StateErrors(network, watcher.truth(), seen_by)
    for found in states:
        errors.add(found)
    return scenario, mix, dead, errors.table()


@click.command()
@click.argument("scenarios", nargs=-1, required=True)
@click.option("--dead", "deads", multiple=True, default=(0.0,))
@click.option("--seed", default=1)
def main(scenarios: tuple[str, ...], deads: tuple[float, ...], seed: int) -> None:
    """Print the table."""
    jobs = [(s, m, float(d), seed) for s in scenarios for m in MIXES for d in deads]
    click.echo(
        "| scenario | mix | dead | quantity | seen by | values | mean | bias | MAE | RMSE "
        "| guess | within 2 sd |"
    )
    click.echo("|---|---|---|---|---|---|---|---|---|---|---|---|")
    # SUMO's library keeps state: a process a run.
    with multiprocessing.get_context("spawn").Pool(2, maxtasksperchild=1) as pool:
        for scenario, mix, dead, rows in pool.imap(compare, jobs):
            for row in rows:
                within = f"{100 * row.within:.0f} %" if row.within == row.within else ""
                click.echo(
                    f"| {scenario} | {mix} | {dead:g} | {row.quantity} ({row.unit}) "
                    f"| {row.seen_by} | {row.values} | {row.mean:.1f} | {row.bias:+.1f} "
                    f"| {row.mae:.2f} | {row.rmse:.2f} | {row.guess:.2f} | {within} |"
                )


if __name__ == "__main__":
    main()
