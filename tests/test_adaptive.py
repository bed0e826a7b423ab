"""The adaptive controller as a whole: what it must do on small networks, and its policy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.scenario_files import copy_single, topis
from topis.control.appraisal import PolicyAppraisal
from topis.control.policy import GIVE_UP, GREEN_WAVE, TAKE_UP
from topis.control.timeline import PlanTimeline
from topis.ingest.network_file import load_network
from topis.model.network import Network
from topis.units import BASE_SAT_FLOW_VPS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def gangnam() -> Network:
    folder = ROOT / "scenarios" / "gangnam"
    return load_network(folder / "gangnam.net.xml.gz", (folder / "gangnam.add.xml",)).network


@pytest.fixture(scope="module")
def single() -> Network:
    return load_network(ROOT / "scenarios" / "single" / "single.net.xml").network


def appraised(network: Network, saturation: float) -> float:
    """Cost of free choice over that of the plan, at flows of this share of shipped capacity."""
    flow = saturation * BASE_SAT_FLOW_VPS * network.lane_green_share
    cost = PolicyAppraisal(network).compare(flow.astype(np.float32))
    return float(cost.free_s[0] / cost.plan_s[0])


@pytest.mark.parametrize("saturation", [0.4, 0.6, 0.8])
def test_a_tuned_plan_with_long_crossings_is_kept(gangnam: Network, saturation: float) -> None:
    assert appraised(gangnam, saturation) > GIVE_UP


def test_short_stages_would_be_chosen_freely_even_in_a_green_wave(single: Network) -> None:
    assert appraised(single, 0.2) < TAKE_UP


def test_a_lone_junction_has_no_green_wave_to_lose(single: Network) -> None:
    flow = (0.6 * BASE_SAT_FLOW_VPS * single.lane_green_share).astype(np.float32)
    assert (PolicyAppraisal(single).compare(flow).progression > GREEN_WAVE).all()


def test_offsets_tuned_for_the_platoons_are_worth_something(gangnam: Network) -> None:
    flow = (0.5 * BASE_SAT_FLOW_VPS * gangnam.lane_green_share).astype(np.float32)
    assert PolicyAppraisal(gangnam).compare(flow).progression[0] < GREEN_WAVE


def test_the_timeline_repeats_with_the_cycle_and_tells_every_stage(gangnam: Network) -> None:
    timeline = PlanTimeline(gangnam)
    cycle_s = int(gangnam.program_cycle_ms[gangnam.junction_program[0]]) // 1000
    rows = timeline.ahead(30_000, 2 * cycle_s)
    assert (rows[:, :cycle_s] == rows[:, cycle_s:]).all()
    for junction in range(gangnam.junctions):
        program = gangnam.junction_program[junction]
        first, last = gangnam.program_stage_ptr[program : program + 2]
        planned = gangnam.program_stage[first:last] - gangnam.junction_stage_ptr[junction]
        assert set(rows[junction].tolist()) == set(planned.tolist())


def delay_s(run: Path) -> float:
    vehicles = pd.read_parquet(run / "vehicles.parquet")
    return float((vehicles.time_loss_s + vehicles.depart_delay_s).mean())


def test_it_saves_delay_and_tells_its_policy(tmp_path: Path) -> None:
    config = copy_single(tmp_path)
    names = ("shipped", "adaptive")
    options = [part for name in names for part in ("-c", name)]
    topis("simulate", config.name, *options, "-o", "out", "--no-report", cwd=config.parent)
    runs = {name: config.parent / "out" / f"{name}-seed1" for name in names}
    assert delay_s(runs["adaptive"]) < 0.8 * delay_s(runs["shipped"])
    notes = json.loads((runs["adaptive"] / "notes.json").read_text())["notes"]
    assert "free choice" in notes[0]["text"]


def test_following_the_plan_is_the_plan(tmp_path: Path) -> None:
    """Whole weight on the plan: delay within a few per cent of the shipped programs."""
    config = copy_single(tmp_path)
    topis("simulate", config.name, "-c", "shipped", "-o", "a", "--no-report", cwd=config.parent)
    topis(
        "simulate", config.name, "-c", "adaptive", "--set", "free=0", "--set",
        "plan_weight=100000", "-o", "b", "--no-report", cwd=config.parent,
    )  # fmt: skip
    shipped = delay_s(config.parent / "a" / "shipped-seed1")
    followed = delay_s(config.parent / "b" / "adaptive-seed1")
    assert followed == pytest.approx(shipped, rel=0.08)
