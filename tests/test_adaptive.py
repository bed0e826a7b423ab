"""The adaptive controller as a whole: what it must do on small networks, and its policy."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import networks
from tests.scenario_files import copy_single, make_net, topis
from tests.stream_cases import joined, pair_in_a_row, turned
from topis.control.adaptive import POCKET_FROM, SPILL_FROM, Adaptive, AdaptiveSettings
from topis.control.appraisal import PolicyAppraisal
from topis.control.policy import GIVE_UP, GREEN_WAVE, TAKE_UP
from topis.control.streams import compile_streams, pocket_lanes
from topis.control.timeline import PlanTimeline
from topis.ingest.network_file import load_network
from topis.model.network import BUS_ONLY, Network
from topis.units import BASE_SAT_FLOW_VPS, JAM_SPACING_M

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


# ---- queues that fill their lane ----

#: Lanes of the small networks are 200 m.
FULL_VEH = 200.0 / JAM_SPACING_M


def weights(network: Network, fill: float, spill: float = 2.0) -> dict[tuple[str, int], float]:
    """Weight of each ("lane", number) and ("walk", group) with every lane filled so far."""
    adaptive = Adaptive(network, AdaptiveSettings(spill=spill))
    streams = compile_streams(network, 1.0)
    queue_veh = (fill * network.lane_length_m / JAM_SPACING_M).astype(np.float32)
    found = adaptive._weights(queue_veh)
    assert found.dtype == np.float32
    assert (found[(streams.lane < 0) & (streams.walk < 0)] == 0.0).all()
    kinds = {"lane": streams.lane, "walk": streams.walk}
    return {
        (kind, int(number[k])): float(found[k])
        for kind, number in kinds.items()
        for k in np.flatnonzero(number >= 0).tolist()
    }


@pytest.mark.parametrize(
    ("fill", "more"),
    [(0.0, 0.0), (0.5, 0.0), (SPILL_FROM, 0.0), (0.85, 0.25), (0.9, 0.5), (1.0, 1.0), (3.0, 1.0)],
)
@pytest.mark.parametrize("spill", [0.0, 2.0, 5.0])
def test_a_queue_that_fills_a_lane_fed_by_a_signal_weighs_more(
    fill: float, more: float, spill: float
) -> None:
    found = weights(pair_in_a_row(), fill, spill)
    assert found.pop(("lane", 3)) == pytest.approx(1.0 + spill * more, rel=1e-5)
    # The other lanes come from outside: nobody is held up behind them.
    assert len(found) == 5
    assert set(found.values()) == {1.0}


def test_a_queue_that_fills_a_pocket_weighs_more(tmp_path: Path) -> None:
    """Turn bays and the lanes beside them part from the lanes of the road before."""
    bays = make_net(tmp_path, "--turn-lanes", 1, "--turn-lanes.length", 50, columns=2, rows=2)
    network = load_network(bays).network
    pocket = pocket_lanes(network)
    assert pocket.any()
    # They are short, and the road before them has a lane less.
    assert (network.lane_length_m[pocket] < 60).all()
    lanes = np.diff(network.link_lane_ptr)
    before = network.move_from_link[np.isin(network.move_to_link, network.lane_link[pocket])]
    assert lanes[before].max() < lanes[network.lane_link[pocket]].max()
    (tmp_path / "plain").mkdir()
    assert not pocket_lanes(load_network(make_net(tmp_path / "plain")).network).any()
    adaptive = Adaptive(network, AdaptiveSettings(spill=0.0, pocket=4.0))
    streams = compile_streams(network, 1.0)
    lane = np.flatnonzero(streams.lane >= 0)
    in_pocket = pocket[streams.lane[lane]]
    for fill, more in ((0.0, 0.0), (POCKET_FROM, 0.0), ((1 + POCKET_FROM) / 2, 0.5), (1.5, 1.0)):
        room_veh = np.maximum(network.lane_length_m / JAM_SPACING_M, 1.0)
        found = adaptive._weights((fill * room_veh).astype(np.float32))[lane]
        assert found[in_pocket] == pytest.approx(1.0 + 4.0 * more, rel=1e-5)
        assert (found[~in_pocket] == 1.0).all()


@given(fills=st.tuples(st.floats(0.0, 2.0), st.floats(0.0, 2.0)))
@settings(max_examples=30, deadline=None)
def test_the_weight_never_falls_with_the_queue(fills: tuple[float, float]) -> None:
    less, more = (weights(pair_in_a_row(), fill)["lane", 3] for fill in sorted(fills))
    assert 1.0 <= less <= more <= 3.0


def test_crossings_and_padding_do_not_pass_for_the_first_lane() -> None:
    """They have no lane; lane 0 stands in for it, here one that is fed."""
    pair = networks.build([networks.crossroads(), networks.crossroads()])
    found = weights(turned(pair, {2: 0}), 1.0)
    assert found.pop(("lane", 0)) == pytest.approx(3.0)
    assert set(found.values()) == {1.0}


def test_a_full_lane_inside_a_junction_weighs_more_and_a_short_one_does_not() -> None:
    """Others lead to lane 2 alone; a lane of a few places is the end of a longer road."""
    assert weights(joined(), 1.0) == {("lane", 0): 1.0, ("lane", 1): 1.0, ("lane", 2): 3.0}
    assert set(weights(joined(inner_m=30.0), 1.0).values()) == {1.0}


def test_a_bus_lane_that_fills_weighs_more_than_a_bus_lane() -> None:
    network = pair_in_a_row()
    use = network.lane_use.copy()
    use[3] = BUS_ONLY
    network = dataclasses.replace(network, lane_use=use)
    bus = AdaptiveSettings().bus_lane_weight
    assert weights(network, 0.0)["lane", 3] == bus
    assert weights(network, 1.0)["lane", 3] == pytest.approx(3.0 * bus)
