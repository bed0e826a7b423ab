"""What a what-if says beside what really happens: SUMO with the one plan, and with the other.

Each scenario, demand, controller and seed is simulated once. From plan A's journal alone the
what-if predicts the delay under plan B; a second simulation with the same seed is the truth.

    python bench/whatif_truth.py resco:cologne3 resco:cologne8 resco:ingolstadt7 \
        --demand 0.6 --demand 0.8 --demand 1.0 --runs runs-whatif
"""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import click
import numpy as np

from topis.config import sensing_layout
from topis.report.measures import measure_run
from topis.run.factual import JournalFactual
from topis.run.scenarios import find_scenario
from topis.run.simulate import RunSpec, simulate
from topis.run.whatif import whatif

PAIRS = (
    ("shipped", "adaptive"),
    ("max-pressure", "actuated"),
    ("adaptive", "shipped"),
    ("shipped", "webster"),
    ("actuated", "max-pressure"),
    ("shipped", "actuated"),
)
FACTS = (
    "scenario", "demand", "a", "b", "truth_a_s", "truth_s", "predicted_s", "low_s", "high_s",
    "error_s", "error_share", "verdict",
)  # fmt: skip


def run_folder(runs: Path, scenario: str, demand: float, controller: str, seed: int) -> Path:
    """Where a simulation lies, or will."""
    name = scenario.removeprefix("resco:")
    return runs / f"{name}-d{demand:g}-city-{controller}-seed{seed}"


def simulate_one(job: tuple[Path, str, float, str, int]) -> None:
    """A simulation, unless it is there; in a process of its own."""
    runs, scenario, demand, controller, seed = job
    folder = run_folder(*job)
    if folder.exists():
        return
    runs.mkdir(parents=True, exist_ok=True)
    simulate(
        RunSpec(
            scenario, find_scenario(scenario), controller, seed, sensing_layout("city"), folder,
            demand_scale=demand,
        ),
        lambda *_: True,
    )  # fmt: skip


def compare(
    runs: Path, scenario: str, demand: float, a: str, b: str, seed: int
) -> dict[str, object]:
    """One case: predicted and true difference of delay, in seconds a demanded vehicle."""
    folder = run_folder(runs, scenario, demand, a, seed)
    truth_a = measure_run(folder)
    truth_b = measure_run(run_folder(runs, scenario, demand, b, seed))
    found = whatif(JournalFactual(folder), b)
    # Who passes no signal is in SUMO's mean, and in no count: told over the same vehicles.
    per = found.vehicles / truth_a.demanded
    values = (
        scenario, demand, a, b, truth_a.delay_s, truth_b.delay_s - truth_a.delay_s,
        per * found.difference_s, per * found.low_s, per * found.high_s, per * found.error_s,
        found.error_share, found.verdict,
    )  # fmt: skip
    return dict(zip(FACTS, values, strict=True))


def summary(cases: list[dict[str, object]]) -> list[str]:
    """The table: by scenario and demand, and of all."""
    head = (
        "| scenario | demand | cases | covered | mean truth | mean error | mean abs. error "
        "| mean half width | conclusive | of these right |"
    )
    groups = sorted({(str(c["scenario"]), float(str(c["demand"]))) for c in cases})
    rows = [
        _row(
            name,
            f"{demand:g}",
            [c for c in cases if (c["scenario"], c["demand"]) == (name, demand)],
        )
        for name, demand in groups
    ]
    return [head, "|---" * 10 + "|", *rows, _row("all", "", cases)]


def _row(name: str, demand: str, cases: list[dict[str, object]]) -> str:
    truth, found, low, high = (
        np.array([c[key] for c in cases], dtype=float)
        for key in ("truth_s", "predicted_s", "low_s", "high_s")
    )
    told = np.array([c["verdict"] != "inconclusive" for c in cases])
    right = told & (np.sign(truth) == np.sign(found))
    covered = (low <= truth) & (truth <= high)
    return (
        f"| {name} | {demand} | {len(cases)} | {covered.sum()} | {np.abs(truth).mean():.1f} s "
        f"| {(found - truth).mean():+.1f} s | {np.abs(found - truth).mean():.1f} s "
        f"| {((high - low) / 2).mean():.1f} s | {told.sum()} | {right.sum()} |"
    )


@click.command()
@click.argument("scenarios", nargs=-1, required=True)
@click.option("--demand", "demands", multiple=True, type=float, default=(0.6, 0.8, 1.0))
@click.option("--seed", default=1)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs-whatif"))
def main(scenarios: tuple[str, ...], demands: tuple[float, ...], seed: int, runs: Path) -> None:
    """Print every case, then the table."""
    names = sorted({name for pair in PAIRS for name in pair})
    jobs = [(runs, s, d, c, seed) for s in scenarios for d in demands for c in names]
    # SUMO's library keeps state: a process a run.
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        pool.map(simulate_one, jobs, chunksize=1)
    cases = []
    for a, b in PAIRS:
        for demand in demands:
            for scenario in scenarios:
                cases.append(compare(runs, scenario, demand, a, b, seed))
                click.echo(json.dumps(cases[-1]))
    for line in summary(cases):
        click.echo(line)


if __name__ == "__main__":
    main()
