"""What a decision costs, and the delay the adaptive controller reaches on RESCO's scenarios.

Decision: one junction of 8 stages and 16 streams at a horizon of 60 s, beside the same search in
NumPy (`tests/reference`) and in plain Python (`tests/rollout_plain.py`), which play every choice
from its first second to the end; and a tick of 4,500 such junctions.

Delay: seeds 1-5, fresh processes, every demanded vehicle until the scenario's end, each run's
switch states audited. Seeds and demands of the tables took no part in tuning.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from peers import recorded_copy
from pytest_benchmark.fixture import BenchmarkFixture

from tests.audit import INFORMATION, audit
from tests.reference.rollout import Rules, search
from tests.rollout_plain import search_plain
from tests.test_rollout import pack, random_junction
from topis.config import sensing_layout
from topis.errors import InputError
from topis.report.measures import measure_run
from topis.run.batch import run_batch
from topis.run.scenarios import find_scenario
from topis.run.simulate import RunSpec
from topis.run.sumocfg import read_sumocfg

SCENARIOS = (
    "cologne1", "cologne3", "cologne8", "ingolstadt1", "ingolstadt7", "ingolstadt21",
    "grid4x4", "arterial4x4",
)  # fmt: skip
SEEDS = range(1, 6)


@pytest.mark.parametrize("sensing", ["city", "loops", "ideal"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_delay(
    scenario: str, sensing: str, figure: Callable[[str, float, str], None], tmp_path: Path
) -> None:
    try:
        config = read_sumocfg(find_scenario(f"resco:{scenario}"))
    except InputError as error:
        pytest.skip(str(error))
    specs, states = [], []
    for seed in SEEDS:
        folder = tmp_path / str(seed)
        folder.mkdir()
        states.append(folder / "states.xml")
        copy = recorded_copy(config, folder, states[-1])
        layout = sensing_layout(sensing)
        specs.append(RunSpec(scenario, copy, "adaptive", seed, layout, folder / "run"))
    for status in run_batch(specs, 2, lambda _: None):
        if status.error:
            raise status.error
    measures = [measure_run(spec.folder) for spec in specs]
    delay_s = [m.delay_s for m in measures]
    name = f"control.{scenario}.{sensing}"
    figure(f"{name}.delay", float(np.mean(delay_s)), "s")
    figure(f"{name}.delay_sd", float(np.std(delay_s, ddof=1)), "s")
    figure(f"{name}.teleports", float(sum(m.teleports for m in measures)), "vehicles")
    for recording in states:
        found = audit(config.net_file, recording, config.additional_files)
        assert not [v for v in found if v.kind not in INFORMATION]


class Bank:
    """Junctions of 8 stages and 16 streams with traffic, ready to decide."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(1)
        kinds = [
            random_junction(rng, 16, 8, 60, shared=True, turns=True, blocked=k % 4 == 0)
            for k in range(min(count, 150))
        ]
        self.junctions = [kinds[k % len(kinds)] for k in range(count)]
        self.rules = Rules()
        self.packed = packed = pack(self.junctions)
        self.kernel = packed.search(self.rules)
        self.inputs = packed.inputs
        shape = (int(packed.stream_ptr[-1]), packed.horizon)
        stages = len(packed.inputs["allowed"])
        self.out = {
            "choice": np.zeros(count, np.int32),
            "cost": np.zeros(count, np.float32),
            "keep_cost": np.zeros(count, np.float32),
            "planned_vps": np.zeros(shape, np.float32),
            "wait_s": np.zeros(shape, np.float32),
            "stage_cost": np.zeros(stages, np.float32),
            "stage_bound": np.zeros(stages, np.uint8),
            "extend_s": np.zeros(count, np.int32),
            "next_stage": np.zeros(count, np.int32),
        }
        self.scratch = np.zeros((1, self.kernel.scratch_size), np.float32)

    def decide(self, due: np.ndarray) -> None:
        self.kernel.decide(due, **self.inputs, scratch=self.scratch, threads=1, **self.out)


def test_decision(benchmark: BenchmarkFixture, figure: Callable[[str, float, str], None]) -> None:
    bank = Bank(150)
    kernel_s, numpy_s, python_s = [], [], []
    for junction in range(150):
        due = np.array([junction], np.int32)
        began = time.perf_counter()
        bank.decide(due)
        kernel_s.append(time.perf_counter() - began)
    for junction in bank.junctions[:5]:
        began = time.perf_counter()
        search(junction, bank.rules)
        numpy_s.append(time.perf_counter() - began)
        began = time.perf_counter()
        search_plain(junction, bank.rules)
        python_s.append(time.perf_counter() - began)
    figure("control.decision", 1e6 * float(np.median(kernel_s)), "us")
    figure("control.decision.over_numpy", float(np.mean(numpy_s) / np.mean(kernel_s[:5])), "x")
    figure("control.decision.over_python", float(np.mean(python_s) / np.mean(kernel_s[:5])), "x")
    city, small = Bank(4500), Bank(450)
    began = time.perf_counter()
    small.decide(np.arange(450, dtype=np.int32))
    small_s = time.perf_counter() - began
    benchmark.pedantic(lambda: city.decide(np.arange(4500, dtype=np.int32)), rounds=3)
    tick_s = float(benchmark.stats.stats.min)
    figure("control.tick_4500", tick_s, "s")
    figure("control.growth", tick_s / 4500 / (small_s / 450), "x")
