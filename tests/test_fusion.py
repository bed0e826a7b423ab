"""Sensors and probes together: votes, travel times, turns, and how sure all that is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topis.config import LAYOUTS, SensingLayout
from topis.estimation.estimator import Estimator
from topis.estimation.fusion import Fusion, prior_turn_share
from topis.estimation.probe_memory import PARKED_S, ProbeMemory
from topis.estimation.reach import REACH_M, find_reach
from topis.ingest.placement import place_sensors
from topis.ingest.synth_city import make_city
from topis.model.lamp import PRIORITY
from topis.model.network import Network
from topis.model.observation import Observation, ProbeReports

PROBES_ONLY = SensingLayout("probes", loop_approach_share=0.0, probe_share=0.1, probe_period_s=1.0)
Report = tuple[int, int, float, float]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return make_city(tmp_path_factory.mktemp("city"), 0.0005, 1, LAYOUTS["loops"], None).network


class Street:
    """An estimate fed by hand, all signals red."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.sensors = place_sensors(network, PROBES_ONLY, 1)
        self.estimator = Estimator(network, self.sensors)
        self.fusion = Fusion(network, self.estimator, 1.0)
        self.second = 0

    def tick(self, *reports: Report) -> None:
        self.second += 1
        columns = list(zip(*reports, strict=True)) or [(), (), (), ()]
        kinds = (np.int64, np.int32, np.float32, np.float32)
        probes = ProbeReports(*(np.array(c, k) for c, k in zip(columns, kinds, strict=True)))
        observation = Observation(
            self.second * 1000, np.zeros((len(self.sensors), 2), np.float32), probes
        )
        lamps = np.zeros(self.network.groups, np.uint8)
        self.fusion.update(observation, self.estimator.update(observation, lamps > 9), lamps)


def bay(network: Network) -> tuple[int, int, float]:
    """An approach lane on a link of three lanes: (lane, its number, length)."""
    lanes = np.diff(network.link_lane_ptr)[network.lane_link[network.approach_lanes]]
    number = int(np.flatnonzero(lanes == 3)[1])
    lane = int(network.approach_lanes[number])
    return lane, number, float(network.lane_length_m[lane])


def test_reach_goes_upstream_to_the_next_signal(network: Network) -> None:
    reach = find_reach(network)
    lane, number, length_m = bay(network)
    rows = np.flatnonzero(reach.number == number)
    at = np.searchsorted(reach.ptr, rows, side="right") - 1
    assert lane in at.tolist()
    beyond = dict(zip(at.tolist(), reach.beyond_m[rows].tolist(), strict=True))
    assert beyond[lane] == 0.0
    others = [k for k in beyond if k != lane]
    assert others
    assert not network.is_approach_lane[others].any()
    assert min(beyond[k] for k in others) == pytest.approx(length_m, rel=1e-4)
    assert max(beyond.values()) < REACH_M


def test_who_stops_tells_where_the_queue_ends(network: Network) -> None:
    lane, number, length_m = bay(network)
    street = Street(network)
    before = float(street.fusion.state().queue_veh[number]) if street.second else 0.0
    for k in range(6):
        street.tick((7, lane, length_m - 40.0 + 5 * k, 9.0))
    street.tick((7, lane, length_m - 15.0, 0.0))
    state = street.fusion.state()
    assert state.queue_veh[number] > before + 0.5
    assert state.queue_age_s[number] == 0.0
    elsewhere = network.lane_link[network.approach_lanes] != network.lane_link[lane]
    assert (state.queue_age_s[elsewhere] > 0).all()


@settings(max_examples=30, deadline=None)
@given(
    reports=st.lists(
        st.tuples(st.floats(0, 1, width=32), st.sampled_from([0.0, 0.5, 5.0, 13.0])),
        min_size=1,
        max_size=29,
    )
)
def test_one_vehicle_moves_nothing_by_more_than_its_vote(
    network: Network, reports: list[tuple[float, float]]
) -> None:
    """Whatever it says for half a minute, beside the same half minute without it."""
    lane, _, length_m = bay(network)
    told, silent = Street(network), Street(network)
    for share, speed in reports:
        told.tick((7, lane, share * length_m, speed))
        silent.tick()
    with_it, without = told.fusion.state(), silent.fusion.state()
    moved = np.abs(with_it.queue_veh - without.queue_veh)
    # A vote, and what the flow that its drive vouches for adds in the meantime.
    assert moved.max() <= 3.0 + 1.0


@pytest.mark.parametrize("speed_mps", [4.0, 8.0, 12.0])
def test_travel_time_is_length_over_speed_of_many_probes(
    network: Network, speed_mps: float
) -> None:
    street = Street(network)
    lane, _, length_m = bay(network)
    link = int(network.lane_link[lane])
    for second in range(900):
        number, into = divmod(second, max(1, int(length_m / speed_mps)))
        street.tick((number, lane, min(into * speed_mps, length_m), speed_mps))
    state = street.fusion.state()
    assert state.travel_s[link] == pytest.approx(length_m / speed_mps, rel=0.15)
    assert state.travel_age_s[link] <= 1.0
    other = int(np.flatnonzero(np.arange(network.links) != link)[0])
    assert np.isinf(state.travel_age_s[other])
    assert state.travel_var[link] < 0.3 * state.travel_s[link] ** 2


def test_who_has_parked_tells_nothing(network: Network) -> None:
    street, silent = Street(network), Street(network)
    lane, _, length_m = bay(network)
    link = int(network.lane_link[lane])
    for _ in range(1500):
        street.tick((7, lane, length_m / 2, 0.0))
        silent.tick()
    with_it, without = street.fusion.state(), silent.fusion.state()
    # Since it was found out, what it said of speeds has faded; the vote it had on the queue stays.
    assert with_it.travel_var[link] > 0.9 * without.travel_var[link]
    number = int(np.flatnonzero(network.approach_lanes == lane)[0])
    assert with_it.queue_veh[number] - without.queue_veh[number] < 4.0
    memory = ProbeMemory()
    report = ProbeReports(
        np.array([7]), np.array([lane], np.int32), np.zeros(1, np.float32), np.zeros(1, np.float32)
    )
    parked = [
        bool(memory.hear(1000 * s, report, network.lane_link).parked[0])
        for s in range(int(PARKED_S) + 20)
    ]
    assert not parked[int(PARKED_S) - 10]
    assert parked[-1]


def test_turns_are_counted(network: Network) -> None:
    street = Street(network)
    lane, _, length_m = bay(network)
    link = int(network.lane_link[lane])
    moves = np.arange(network.link_move_ptr[link], network.link_move_ptr[link + 1])
    wanted = int(moves[0])
    to_link = int(network.move_to_link[wanted])
    to_lane = int(network.link_lane_ptr[to_link])
    prior = prior_turn_share(network)
    before = None
    for k in range(100):
        street.tick((k, lane, length_m - 5.0, 10.0))
        if before is None:
            before = street.fusion.state()
        street.tick((k, to_lane, 5.0, 10.0))
    state = street.fusion.state()
    assert state.turn_share[wanted] > 0.75 > prior[wanted] + 0.1
    assert state.turn_share[moves].sum() == pytest.approx(1.0, abs=1e-5)
    assert before is not None
    assert state.turn_share_var[wanted] < before.turn_share_var[wanted]
    rest = np.setdiff1d(np.arange(len(prior)), moves)
    assert state.turn_share[rest] == pytest.approx(prior[rest], abs=1e-5)


def test_a_full_road_is_told_to_spill_back(network: Network) -> None:
    street = Street(network)
    for _ in range(1800):
        street.tick()
    state = street.fusion.state()
    assert (state.spillback >= 0).all()
    assert (state.spillback <= 1).all()
    # Half an hour of red: every approach with traffic is full.
    busy = state.flow_vps > 0.05
    assert (state.spillback[busy] > 0.4).all()
    first = Street(network)
    first.tick()
    assert (first.fusion.state().spillback < 0.05).mean() > 0.9


@settings(max_examples=30, deadline=None)
@given(st.permutations(list(range(8))), st.integers(0, 1000))
def test_the_order_within_a_tick_does_not_matter(
    network: Network, order: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    one, other = Street(network), Street(network)
    for _ in range(10):
        lanes = rng.integers(0, network.lanes, 8)
        rows = [
            (
                k,
                int(lane),
                float(rng.random() * network.lane_length_m[lane]),
                float(rng.choice([0, 9])),
            )
            for k, lane in enumerate(lanes.tolist())
        ]
        one.tick(*rows)
        other.tick(*(rows[k] for k in order))
    for name, values in vars(one.fusion.state()).items():
        assert np.allclose(values, getattr(other.fusion.state(), name), atol=1e-4), name


def test_a_count_that_comes_back_counts_what_it_counted(network: Network) -> None:
    """While a loop is dead its lane's flow is believed; that is no part of the count after."""
    sensors = place_sensors(network, LAYOUTS["loops"], 1)
    estimator = Estimator(network, sensors)
    fusion = Fusion(network, estimator, 1.0)
    link = network.lane_link[sensors.lane]
    dead = np.flatnonzero(link == link[0])
    number = int(np.flatnonzero(network.approach_lanes == sensors.serves[0])[0])
    lamps = np.full(network.groups, PRIORITY, np.uint8)
    flows = {}
    for second in range(1, 1801):
        reading = np.zeros((len(sensors), 2), np.float32)
        if second % 5 == 0:
            reading[:, 0], reading[:, 1] = 1.0, 0.3
        if 600 < second <= 1200:
            reading[dead] = np.nan
        elif second > 1200:
            # Traffic has gone meanwhile.
            reading[dead] = 0.0
        observation = Observation(second * 1000, reading, ProbeReports.none())
        state = estimator.update(observation, np.ones(network.groups, bool))
        fusion.update(observation, state, lamps)
        if second % 30 == 0:
            flows[second] = float(fusion.state().flow_vps[number])
    assert flows[600] == pytest.approx(0.2, rel=0.02)
    assert flows[1200] == pytest.approx(0.2, rel=0.3)
    assert flows[1260] == 0.0
    assert flows[1800] == 0.0
