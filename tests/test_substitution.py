"""Dead sensors: lane mates, what is remembered, and flows by conservation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from topis.config import LAYOUTS
from topis.estimation.estimator import GUESSED, STOOD_IN, SURE_LOOPS, Estimator
from topis.estimation.flow_balance import FlowBalance, lane_shares
from topis.estimation.substitution import SLOT_S, FlowMemory, Substitutes
from topis.ingest.network_file import load_network
from topis.ingest.placement import place_sensors
from topis.ingest.synth_city import make_city
from topis.model.network import Network
from topis.model.observation import LOOP_STOP_LINE, Observation, ProbeReports, SensorTable


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    folder = tmp_path_factory.mktemp("city")
    return make_city(folder, 0.0005, 1, LAYOUTS["loops"], None).network


@pytest.fixture(scope="module")
def sensors(network: Network) -> SensorTable:
    return place_sensors(network, LAYOUTS["loops"], 1)


def read(network: Network, sensors: SensorTable, second: int, dead: list[int]) -> Observation:
    """Each loop on a road counts alike: one vehicle every four seconds."""
    reading = np.zeros((len(sensors), 2), np.float32)
    if second % 4 == 0:
        reading[:, 0], reading[:, 1] = 1.0, 0.3
    reading[dead] = np.nan
    return Observation(second * 1000, reading, ProbeReports.none())


def test_a_mate_is_the_nearest_living_loop_of_its_kind_on_the_road(
    network: Network, sensors: SensorTable
) -> None:
    substitutes = Substitutes(network, sensors)
    alive = substitutes.of(np.zeros(len(sensors), bool))
    assert alive.tolist() == list(range(len(sensors)))
    stops = np.flatnonzero(sensors.kind == LOOP_STOP_LINE)
    link = network.lane_link[sensors.lane]
    for k in stops.tolist():
        missing = np.zeros(len(sensors), bool)
        missing[k] = True
        mate = int(substitutes.of(missing)[k])
        assert mate != k
        assert link[mate] == link[k]
        assert sensors.kind[mate] == sensors.kind[k]
        assert abs(int(sensors.lane[mate]) - int(sensors.lane[k])) == 1
    everyone = substitutes.of(np.ones(len(sensors), bool))
    assert (everyone == -1).all()


def test_an_estimate_goes_on_with_the_mate_and_says_so(
    network: Network, sensors: SensorTable
) -> None:
    whole, hurt = Estimator(network, sensors), Estimator(network, sensors)
    dead = int(np.flatnonzero(sensors.kind == LOOP_STOP_LINE)[0])
    lane = int(sensors.serves[dead])
    green = np.ones(network.groups, bool)
    for second in range(600):
        one = whole.update(read(network, sensors, second, []), green)
        other = hurt.update(read(network, sensors, second, [dead] if second > 300 else []), green)
    assert other.flow_vps[lane] == pytest.approx(one.flow_vps[lane], rel=1e-5)
    assert one.confidence[lane] == np.float32(SURE_LOOPS)
    assert other.confidence[lane] == np.float32(STOOD_IN)
    again = hurt.update(read(network, sensors, 600, []), green)
    assert again.confidence[lane] == np.float32(SURE_LOOPS)


def test_a_mate_with_other_traffic_is_scaled_as_it_was(
    network: Network, sensors: SensorTable
) -> None:
    """Half as many vehicles on the lane whose loops die: its mate's count for half."""
    estimator = Estimator(network, sensors)
    dead = int(np.flatnonzero(sensors.kind == LOOP_STOP_LINE)[0])
    lane = int(sensors.serves[dead])
    own = np.flatnonzero(sensors.serves == lane).tolist()
    green = np.ones(network.groups, bool)
    number = int(np.flatnonzero(network.approach_lanes == lane)[0])
    counted = np.zeros(2)
    for second in range(1800):
        told = read(network, sensors, second, [])
        if second % 8 >= 4:
            told.reading[own] = 0.0
        if second >= 900:
            told.reading[dead] = np.nan
        estimator.update(told, green)
        if second >= 300:
            counted[int(second >= 900)] += estimator.evidence.departed_veh[number]
    assert counted[0] == pytest.approx(75, abs=2)
    assert counted[1] / 900 == pytest.approx(counted[0] / 600, rel=0.15)


def test_a_road_without_a_loop_left_keeps_the_flow_it_had(
    network: Network, sensors: SensorTable
) -> None:
    estimator = Estimator(network, sensors)
    first = int(np.flatnonzero(sensors.kind == LOOP_STOP_LINE)[0])
    link = network.lane_link[sensors.lane]
    dead = np.flatnonzero(link == link[first]).tolist()
    lane = int(sensors.serves[first])
    green = np.ones(network.groups, bool)
    for second in range(900):
        state = estimator.update(
            read(network, sensors, second, dead if second > 600 else []), green
        )
        if second == 600:
            before = float(state.flow_vps[lane])
    assert before == pytest.approx(0.25, rel=0.1)
    assert state.flow_vps[lane] == pytest.approx(before, rel=0.1)
    assert state.confidence[lane] == np.float32(GUESSED)
    assert np.isfinite(state.queue_veh[network.approach_lanes]).all()


def test_dead_from_the_start_is_as_dead_as_later(network: Network, sensors: SensorTable) -> None:
    alive = sensors.alive.copy()
    alive[::3] = False
    dead = np.flatnonzero(~alive).tolist()
    installed, told = Estimator(network, replace(sensors, alive=alive)), Estimator(network, sensors)
    green = np.ones(network.groups, bool)
    for second in range(60):
        one = installed.update(read(network, sensors, second, dead), green)
        other = told.update(read(network, sensors, second, dead), green)
        assert np.array_equal(one.queue_veh, other.queue_veh, equal_nan=True)
        assert np.array_equal(one.confidence, other.confidence)


def test_flows_are_remembered_by_the_time_of_day() -> None:
    memory = FlowMemory(2)
    seen = np.array([True, False])
    none = np.full(2, np.nan, np.float32)
    day_ms = 86_400_000
    for day, (morning, noon) in enumerate(((0.2, 0.1), (0.4, 0.1))):
        for slot, flow in ((28, morning), (48, noon), (49, 0.0)):
            for second in range(0, SLOT_S, 10):
                now_ms = day * day_ms + slot * SLOT_S * 1000 + second * 1000
                memory.update(now_ms, 10.0, seen, np.full(2, flow, np.float32), none)
    memory.update(2 * day_ms + 28 * SLOT_S * 1000, 1.0, ~seen, np.zeros(2, np.float32), none)
    known = memory.recall()
    assert known[0] == pytest.approx(0.3, rel=1e-3), "yesterday counts as much as all before"
    memory.update(2 * day_ms + 60 * SLOT_S * 1000, 1.0, ~seen, np.zeros(2, np.float32), none)
    assert memory.recall()[0] == pytest.approx(0.0, abs=1e-6), "the last that was seen"


def test_what_comes_in_goes_out() -> None:
    """A stream that splits by the turn shares: flows of the uncounted lanes follow."""
    path = Path(__file__).parents[1] / "scenarios" / "single" / "single.net.xml"
    network = load_network(path).network
    lanes = network.approach_lanes
    counted = np.ones(len(lanes), bool)
    balance = FlowBalance(network, counted)
    flow = np.full(len(lanes), 0.1, np.float32)
    assert balance.tells
    assert balance.estimate(flow) == pytest.approx(flow, rel=0.5)
    assert not FlowBalance(network, ~counted).tells


def test_uncounted_links_of_a_grid_get_what_flows_in(network: Network) -> None:
    from topis.ingest.synth_traffic import Traffic

    traffic = Traffic(network, 1)
    left = np.zeros(network.lanes)
    for end_s, passages in traffic.drive(7 * 3600, 8 * 3600):
        if end_s > 7 * 3600 + 1200:
            left += np.bincount(passages.lane, minlength=network.lanes)
    true_vps = left[network.approach_lanes] / 2400.0
    link = network.lane_link[network.approach_lanes]
    rng = np.random.default_rng(1)
    uncounted_links = rng.permutation(np.unique(link))[:10]
    counted = ~np.isin(link, uncounted_links)
    balance = FlowBalance(network, counted)
    found = balance.estimate((true_vps * counted).astype(np.float32))
    sums = [(found[link == k].sum(), true_vps[link == k].sum()) for k in uncounted_links]
    errors = [abs(a - b) / b for a, b in sums]
    assert np.mean(errors) < 0.15


def test_turn_bays_are_no_lanes_of_the_road_before(network: Network) -> None:
    """One approach in three is counted, each road with as much a lane: so have the others."""
    approach = network.approach_lanes
    link = network.lane_link[approach]
    lanes = np.diff(network.link_lane_ptr)
    assert (lanes[link] == 3).all(), "two lanes and a bay"
    counted = np.isin(link, np.unique(link)[::3])
    balance = FlowBalance(network, counted)
    per_road_vps = 0.3
    shares = lane_shares(network)[approach]
    found = balance.estimate((per_road_vps * shares * counted).astype(np.float32))
    sums = np.bincount(link, found, minlength=network.links)[np.unique(link)]
    assert sums == pytest.approx(per_road_vps, rel=0.1)


def test_a_bay_takes_from_the_lane_it_opens_from(network: Network) -> None:
    shares = lane_shares(network)
    of_link = np.bincount(network.lane_link, shares, minlength=network.links)
    leads = np.diff(network.link_move_ptr) > 0
    assert of_link[leads] == pytest.approx(1.0)
    for link in np.unique(network.lane_link[network.approach_lanes]).tolist():
        own = shares[network.link_lane_ptr[link] : network.link_lane_ptr[link + 1]]
        assert own == pytest.approx([0.5, 0.25, 0.25], abs=0.02)


def test_a_loop_that_serves_no_signal_tells_of_no_approach(
    network: Network, sensors: SensorTable
) -> None:
    """A loop far from any signal is nobody's, and not the last approach's."""
    serves = sensors.serves.copy()
    lost = int(np.flatnonzero(sensors.kind == LOOP_STOP_LINE)[0])
    lane = int(serves[lost])
    serves[lost] = -1
    estimator = Estimator(network, replace(sensors, serves=serves))
    number = np.flatnonzero(network.approach_lanes == lane)
    whole = Estimator(network, sensors).evidence.seen_by
    seen = estimator.evidence.seen_by
    assert seen[number] != whole[number]
    assert np.array_equal(np.delete(seen, number), np.delete(whole, number))
    green = np.ones(network.groups, bool)
    for second in range(60):
        estimator.update(read(network, sensors, second, []), green)
    counts = estimator.evidence.departed_veh
    for second in range(60, 64):
        told = read(network, sensors, second, [])
        told.reading[lost, 0] = 50.0
        estimator.update(told, green)
        assert counts.max() < 2.0


def test_a_stop_line_loop_alone_counts_all_that_leaves(
    network: Network, sensors: SensorTable
) -> None:
    """It is covered all through red: the flow is that of the cycle, not of its green."""
    alive = sensors.alive & (sensors.kind == LOOP_STOP_LINE)
    estimator = Estimator(network, replace(sensors, alive=alive))
    seen = estimator.evidence.seen_by != 0
    assert seen.any()
    lanes = network.approach_lanes[seen]
    for second in range(1800):
        told = read(network, sensors, second, np.flatnonzero(~alive).tolist())
        green = second % 90 >= 60
        told.reading[alive] = (float(green and second % 3 == 0), 0.3) if green else (0.0, 1.0)
        state = estimator.update(told, np.full(network.groups, green))
    # Ten vehicles a cycle; at the end of green a few more than on average.
    assert state.flow_vps[lanes] == pytest.approx(10 / 90, rel=0.25)
