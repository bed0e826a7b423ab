"""Flow of unseen lanes from probes: who reports where, and how much is believed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import networks
from tests.stream_cases import plain_junction, sharing, turned
from topis.config import SensingLayout
from topis.estimation.estimator import Estimator
from topis.estimation.probe_flow import VOUCHED_S, WATCHED_M, ProbeFlow, find_stretches
from topis.ingest.placement import place_sensors
from topis.model.network import Network
from topis.model.observation import Observation, ProbeReports

SHARE, PERIOD_S, ASSUMED_VPS = 0.1, 10.0, 0.05


def crossroads() -> Network:
    return networks.build([networks.crossroads()])


def report(lane: int, offset_m: float, speed_mps: float) -> ProbeReports:
    return ProbeReports(
        np.array([7], np.int64),
        np.array([lane], np.int32),
        np.array([offset_m], np.float32),
        np.array([speed_mps], np.float32),
    )


def flow_after(
    network: Network,
    reports: ProbeReports,
    every_s: float,
    hours: float,
    *,
    counted: tuple[int, ...] = (),
    counted_vps: float = 0.0,
    share: float = SHARE,
) -> tuple[np.ndarray, bool]:
    """The same reports every so many seconds."""
    lanes = len(network.approach_lanes)
    seen = np.isin(np.arange(lanes), counted)
    assumed = np.full(lanes, ASSUMED_VPS, np.float32)
    probe_flow = ProbeFlow(network, seen, assumed, share, PERIOD_S)
    flow = np.where(seen, counted_vps, 0.0).astype(np.float32)
    for _ in range(round(hours * 3600 / every_s)):
        probe_flow.update(reports, flow, every_s)
    cautious, _, vouched = probe_flow.estimate()
    return cautious, vouched


@settings(max_examples=20, deadline=None)
@given(flow_vph=st.sampled_from([120, 300, 600]), speed_mps=st.floats(2, 15))
def test_flow_of_steady_probes_is_found_whatever_their_speed(
    flow_vph: int, speed_mps: float
) -> None:
    """Edie: slow probes report more often on the same road, and less road each time."""
    network = crossroads()
    lane = int(network.approach_lanes[0])
    road_m = min(float(network.lane_length_m[lane]), WATCHED_M)
    reports_per_s = SHARE * flow_vph / 3600 * road_m / speed_mps / PERIOD_S
    end_m = float(network.lane_length_m[lane]) - 1.0
    flow, vouched = flow_after(network, report(lane, end_m, speed_mps), 1 / reports_per_s, 3.0)
    assert vouched
    # Two probes' worth of what was assumed, half a standard deviation of caution.
    assert flow[0] * 3600 == pytest.approx(flow_vph, rel=0.3)
    assert (flow[1:] < 0.6 * flow[0]).all()


def test_the_share_of_probes_is_taken_from_lanes_that_are_counted() -> None:
    network = crossroads()
    lanes = network.approach_lanes
    both = ProbeReports(
        np.array([1, 2], np.int64),
        lanes[:2].astype(np.int32),
        network.lane_length_m[lanes[:2]] - 1,
        np.array([10, 10], np.float32),
    )
    # Both lanes have the same probes; one is known to carry 720 veh/h, so the other does too.
    flow, _ = flow_after(network, both, 20.0, 3.0, counted=(0,), counted_vps=0.2)
    assert flow[1] * 3600 == pytest.approx(720, rel=0.2)
    less, _ = flow_after(network, both, 20.0, 3.0, counted=(0,), counted_vps=0.05)
    assert less[1] == pytest.approx(flow[1] / 4, rel=0.5)


def test_the_share_of_probes_stays_when_counting_sensors_die() -> None:
    """What a lane's sensors counted before they died belongs to what its probes were then."""
    network = networks.build([networks.crossroads(), networks.crossroads()])
    lanes = network.approach_lanes
    all_three = ProbeReports(
        np.array([1, 2, 3], np.int64),
        lanes[:3].astype(np.int32),
        network.lane_length_m[lanes[:3]] - 1,
        np.full(3, 10, np.float32),
    )
    count = len(lanes)
    flow = np.where(np.arange(count) < 3, 0.2, 0.0).astype(np.float32)
    both, one = (np.isin(np.arange(count), some) for some in ((0, 1), (0,)))
    likely = []
    for later in (both, one):
        probe_flow = ProbeFlow(network, both, np.full(count, ASSUMED_VPS, np.float32), SHARE, 10.0)
        for second in range(0, 3600, 20):
            if second == 3000:
                probe_flow.count(later)
            probe_flow.update(all_three, flow, 20.0)
        likely.append(probe_flow.estimate()[1][2])
    assert likely[1] == pytest.approx(likely[0], rel=0.1)
    assert likely[1] == pytest.approx(0.2, rel=0.2)


def test_without_probes_nothing_is_vouched_for() -> None:
    network = crossroads()
    flow, vouched = flow_after(network, ProbeReports.none(), 10.0, 2.0, share=0.0)
    assert not vouched
    assert flow == pytest.approx(ASSUMED_VPS)


def test_probes_vouch_only_after_a_while() -> None:
    network = crossroads()
    soon = 0.9 * VOUCHED_S / SHARE / 3600
    assert not flow_after(network, ProbeReports.none(), 1.0, soon)[1]
    assert flow_after(network, ProbeReports.none(), 1.0, 1.5 * soon)[1]


def test_nobody_seen_for_long_means_little_flow() -> None:
    network = crossroads()
    flow, _ = flow_after(network, ProbeReports.none(), 10.0, 2.0)
    assert (flow < 0.5 * ASSUMED_VPS).all()
    assert (flow > 0).all()


def test_short_approaches_are_told_of_by_the_road_before() -> None:
    """A road without a signal at its end leads to approach lane 3, which is 8 m long."""
    pair = networks.build([networks.crossroads(), networks.crossroads()])
    road = next(x for x in range(pair.lanes) if not pair.is_approach_lane[x])
    from_lane, to_lane = pair.conn_from_lane.copy(), pair.conn_to_lane.copy()
    group = pair.conn_group.copy()
    from_lane[-1], to_lane[-1], group[-1] = road, 3, -1
    length_m = pair.lane_length_m.copy()
    length_m[3] = 8.0
    network = dataclasses.replace(
        pair,
        conn_from_lane=from_lane,
        conn_to_lane=to_lane,
        conn_group=group,
        lane_length_m=length_m,
    )
    number = int(np.flatnonzero(network.approach_lanes == 3)[0])
    before_m = float(length_m[road])
    assert find_stretches(network).length_m[number] == pytest.approx(min(8.0 + before_m, WATCHED_M))
    passing = report(road, before_m - 1.0, 10.0)
    on_road, _ = flow_after(network, passing, 30.0, 1.0)
    nobody, _ = flow_after(network, ProbeReports.none(), 30.0, 1.0)
    others = np.arange(len(on_road)) != number
    assert on_road[number] > 2 * nobody[number]
    assert on_road[number] > 2 * on_road[others].max()
    # Lane 0 is an approach itself: what drives there is another junction's business.
    at_signal = turned(network, {0: 3})
    stretches = find_stretches(at_signal)
    first = int(np.flatnonzero(network.approach_lanes == 0)[0])
    assert stretches.to[stretches.ptr[0] : stretches.ptr[1]].tolist() == [first]


def test_reports_beyond_the_watched_road_do_not_count() -> None:
    network = crossroads()
    lane = int(network.approach_lanes[0])
    length_m = network.lane_length_m.copy()
    length_m[lane] = 2 * WATCHED_M
    network = dataclasses.replace(network, lane_length_m=length_m)
    near, _ = flow_after(network, report(lane, 1.5 * WATCHED_M, 10.0), 30.0, 1.0)
    far, _ = flow_after(network, report(lane, 0.5 * WATCHED_M, 10.0), 30.0, 1.0)
    nobody, _ = flow_after(network, ProbeReports.none(), 30.0, 1.0)
    assert near[0] > 2 * far[0]
    assert far == pytest.approx(nobody)


def test_an_unseen_shared_lane_goes_only_when_its_whole_traffic_has_green() -> None:
    """With green for half its traffic, one who may not go soon stands at the front."""
    layout = SensingLayout("none", loop_approach_share=0.0, probe_share=0.1)
    network = sharing(networks.build([plain_junction("GG", "rG")]), 0.5)
    lane = network.approach_lanes[0]
    queue = {}
    for shown in ((True, True), (False, True)):
        sensors = place_sensors(network, layout, 1)
        estimator = Estimator(network, sensors)
        for second in range(120):
            readings = np.zeros((len(sensors), 2), np.float32)
            green = np.array(shown) if second > 60 else np.zeros(2, bool)
            state = estimator.update(
                Observation(second * 1000, readings, ProbeReports.none()), green
            )
        queue[shown] = float(state.queue_veh[lane])
    assert queue[True, True] < 1.0
    assert queue[False, True] > 3.0
