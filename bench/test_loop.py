"""What the loop costs beside SUMO itself, per simulated second, for 21 and 484 signals.

Peer: the same scenario in libsumo with nothing but `simulationStep`, in the same run.
`loop.over_sumo`: our time outside SUMO's step over the bare step. `loop.total_over_sumo`:
all that TOPIS adds, detectors in SUMO included, on the same traffic (shipped programs).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from grids import build_scenario
from pytest_benchmark.fixture import BenchmarkFixture

from topis.errors import InputError
from topis.run.scenarios import find_scenario

ROUNDS = 2


def measure(config: Path, what: str, warmup_s: int) -> dict[str, float]:
    child = Path(__file__).with_name("loop_child.py")
    done = subprocess.run(
        [sys.executable, str(child), str(config), what, str(warmup_s)],
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def scenario(signals: int, folder: Path) -> tuple[Path, int]:
    if signals == 21:
        try:
            return find_scenario("resco:ingolstadt21"), 57600 + 900
        except InputError as error:
            pytest.skip(str(error))
    return build_scenario(folder, 22, seconds=900, vehicles_per_junction_h=25), 300


@pytest.mark.parametrize("signals", [21, 484])
def test_loop_over_sumo(
    signals: int,
    benchmark: BenchmarkFixture,
    figure: Callable[[str, float, str], None],
    tmp_path: Path,
) -> None:
    config, warmup_s = scenario(signals, tmp_path)
    runs: list[dict[str, dict[str, float]]] = []

    def once() -> None:
        runs.append(
            {what: measure(config, what, warmup_s) for what in ("bare", "shipped", "max-pressure")}
        )

    benchmark.pedantic(once, rounds=ROUNDS, iterations=1)
    bare_ms = min(run["bare"]["step_ms"] for run in runs)
    ours_ms = min(run["max-pressure"]["ours_ms"] for run in runs)
    total_ms = min(run["shipped"]["step_ms"] + run["shipped"]["ours_ms"] for run in runs)
    suffix = "" if signals == 484 else f"_{signals}"
    figure(f"loop.bare_sumo{suffix}", bare_ms, "ms/s")
    figure(f"loop.cost{suffix}", ours_ms, "ms/s")
    figure(f"loop.over_sumo{suffix}", ours_ms / bare_ms, "x")
    figure(f"loop.total_over_sumo{suffix}", (total_ms - bare_ms) / bare_ms, "x")
    benchmark.extra_info.update(runs[-1])
