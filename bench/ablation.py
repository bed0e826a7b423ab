"""What each part of the adaptive controller is worth: mean delay with the part left out.

Seeds 21 and up, which took no part in tuning and stand in no other table.

    python bench/ablation.py resco:cologne3 resco:ingolstadt7 gangnam --seeds 3
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from pathlib import Path

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from topis.config import LAYOUTS, SensingLayout
from topis.report.measures import measure_run
from topis.run.batch import run_batch
from topis.run.scenarios import find_scenario
from topis.run.simulate import RunSpec

CITY = LAYOUTS["city"]
FIRST_SEED = 21

#: What is left out, and how.
VARIANTS: dict[str, tuple[dict[str, float], SensingLayout]] = {
    "all of it": ({}, CITY),
    "base policy asked once": ({"base_every_s": 30.0, "worth_s": 2.0}, CITY),
    "neighbours": ({"neighbours": 0.0}, CITY),
    "spill-back weight": ({"spill": 0.0}, CITY),
    "fading of later cost": ({"fade_s": 10000.0}, CITY),
    "level 2, always free": ({"free": 1.0}, CITY),
    "level 2, always planned": ({"free": 0.0}, CITY),
    "weight of the plan, a tenth": ({"plan_weight": 10.0}, CITY),
    "probes": ({}, dataclasses.replace(CITY, probe_share=0.0)),
    "cameras": ({}, dataclasses.replace(CITY, camera_junction_share=0.0)),
}


@click.command()
@click.argument("scenarios", nargs=-1, required=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--jobs", default=2, show_default=True)
def main(scenarios: tuple[str, ...], seeds: int, jobs: int) -> None:
    """Print mean delay (s/veh) and teleports of each variant as a table."""
    print("| left out | " + " | ".join(scenarios) + " |")
    print("|---" * (len(scenarios) + 1) + "|", flush=True)
    for name, (settings, layout) in VARIANTS.items():
        cells = [delay(scenario, settings, layout, seeds, jobs) for scenario in scenarios]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def delay(
    scenario: str, settings: dict[str, float], layout: SensingLayout, seeds: int, jobs: int
) -> str:
    """One cell: mean delay, and teleports where there are any."""
    with tempfile.TemporaryDirectory() as root:
        specs = [
            RunSpec(
                scenario, find_scenario(scenario), "adaptive", seed, layout,
                Path(root, str(seed)), settings=settings,
            )
            for seed in range(FIRST_SEED, FIRST_SEED + seeds)
        ]  # fmt: skip
        for status in run_batch(specs, jobs, lambda _: None):
            if status.error:
                raise status.error
        measures = [measure_run(spec.folder) for spec in specs]
    teleports = sum(m.teleports for m in measures)
    mean_s = float(np.mean([m.delay_s for m in measures]))
    return f"{mean_s:.1f}" + (f" ({teleports} tele)" if teleports else "")


if __name__ == "__main__":
    main()
