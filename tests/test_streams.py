"""Junctions as streams, and what feeds what: `control/streams.py` and `model/feeds.py`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import networks
from tests.stream_cases import (
    giving_way,
    joined,
    pair_in_a_row,
    plain_junction,
    stage_rows,
    state_with,
    worth_row,
)
from topis.control.service import PERMISSIVE_RATE, UNOPPOSED_RATE
from topis.control.streams import (
    ENDLESS_VEH,
    PAD,
    Rates,
    RoadsBehind,
    Streams,
    compile_streams,
    stream_rates,
)
from topis.estimation.arrivals import RING_S
from topis.ingest.network_file import load_network
from topis.model.feeds import START_S, find_lane_feeds
from topis.model.lamp import PRIORITY, is_green
from topis.model.network import NOT_MOTOR, PEDESTRIAN, Network
from topis.units import JAM_SPACING_M

SCENARIOS = Path(__file__).resolve().parents[1] / "scenarios"
SHIPPED = {
    "single": SCENARIOS / "single" / "single.net.xml",
    "gangnam": SCENARIOS / "gangnam" / "gangnam.net.xml.gz",
}


@pytest.fixture(scope="module", params=SHIPPED)
def shipped(request: pytest.FixtureRequest) -> Network:
    return load_network(SHIPPED[request.param]).network


# ---- streams ----


def check_streams(network: Network) -> tuple[Streams, Rates]:
    """What must hold of the streams of any network."""
    streams = compile_streams(network, 1.0)
    rates = stream_rates(network, streams)
    # Every approach lane and every crossing is one stream of its own junction, no other is.
    lanes, walks = streams.lane[streams.lane >= 0], streams.walk[streams.walk >= 0]
    assert sorted(lanes.tolist()) == network.approach_lanes.tolist()
    assert sorted(walks.tolist()) == np.flatnonzero(network.group_kind == PEDESTRIAN).tolist()
    assert not ((streams.lane >= 0) & (streams.walk >= 0)).any()
    owner = np.full(network.lanes, -1)
    signalised = np.flatnonzero(network.conn_group >= 0)
    owner[network.conn_from_lane[signalised]] = network.group_junction[
        network.conn_group[signalised]
    ]
    for j in range(network.junctions):
        mine = range(streams.stream_ptr[j], streams.stream_ptr[j + 1])
        assert len(mine) % PAD == 0
        assert len(mine) > 0
        for stream in mine:
            assert streams.junction[stream] == j
            if streams.lane[stream] >= 0:
                assert owner[streams.lane[stream]] == j
            if streams.walk[stream] >= 0:
                assert network.group_junction[streams.walk[stream]] == j
    padding = (streams.lane < 0) & (streams.walk < 0)
    assert (streams.cap[padding] == 0).all()
    assert (streams.cap[~padding] > 0).all()
    seen = 0
    for stage in range(network.stages):
        rate, passing = stage_rows(network, streams, rates, stage)
        seen += rate.size
        own = junction_slice(network, streams, stage)
        # The rates found here by hand are those `cell_of` points to.
        asked = np.zeros(network.junctions, np.int32)
        asked[network.stage_junction[stage]] = stage - low_stage(network, stage)
        np.testing.assert_array_equal(rates.rate[streams.cell_of(asked)][own], rate)
        assert (rate[padding[own]] == 0).all()
        assert (passing[padding[own]] == 0).all()
        for values in (rate, passing):
            assert ((values >= 0) & (values <= 1)).all()
        # A stream goes just if something of it is green.
        codes = network.stage_codes(stage)
        low = network.junction_group_ptr[network.stage_junction[stage]]
        for k, stream in enumerate(range(own.start, own.stop)):
            green = []
            if streams.walk[stream] >= 0:
                green = [streams.walk[stream] - low]
            elif streams.lane[stream] >= 0:
                lane = streams.lane[stream]
                conns = np.flatnonzero((network.conn_from_lane == lane) & (network.conn_group >= 0))
                green = [
                    network.conn_group[conn] - low for conn in conns if network.conn_share[conn] > 0
                ]
            goes = any(is_green(codes[group]) for group in green)
            assert (rate[k] > 0) == goes
            assert (passing[k] > 0) == goes
        worth = worth_row(network, streams, rates, stage)
        # The base policy never thinks more of a stage than it does.
        assert (worth <= rate * passing**2 + 1e-6).all()
        assert (worth >= 0).all()
    assert seen == streams.cells == len(rates.rate) == len(rates.pass_share)
    assert len(rates.rate_of) == streams.cells_of
    for table in (streams.hold_s, streams.lost_s, streams.min_green_s):
        assert (table >= 0).all()
    inside = np.diff(streams.stream_ptr)[
        np.repeat(np.arange(network.junctions), inner_counts(streams))
    ]
    count = streams.inner_ptr[-1]
    for ends in (streams.inner_from, streams.inner_to):
        assert len(ends) == count + 1
        assert ((ends[:count] >= 0) & (ends[:count] < inside)).all()
    return streams, rates


def inner_counts(streams: Streams) -> np.ndarray:
    return np.diff(streams.inner_ptr)


def low_stage(network: Network, stage: int) -> int:
    return int(network.junction_stage_ptr[network.stage_junction[stage]])


def junction_slice(network: Network, streams: Streams, stage: int) -> slice:
    return slice(*streams.stream_ptr[network.stage_junction[stage] :][:2].tolist())


def test_streams_of_the_shipped_scenarios(shipped: Network) -> None:
    check_streams(shipped)


@settings(max_examples=60, deadline=None)
@given(junctions=st.lists(networks.junctions(), min_size=1, max_size=3))
def test_streams_of_any_network(junctions: list[networks.Junction]) -> None:
    network = networks.build(junctions)
    streams, _ = check_streams(network)
    # Every road out ends at no signal: nothing stands inside and nothing is fed.
    assert not inner_counts(streams).any()
    assert len(find_lane_feeds(network).to) == 0


def test_a_crossing_clears_while_the_traffic_beside_it_still_goes() -> None:
    streams = compile_streams(networks.build([networks.crossroads()]), 1.0)
    # To east-west: ten seconds for the walkers, of which the last five are the vehicles' own.
    assert streams.hold_s[0, 1] == 5
    assert streams.lost_s[0, 1] == 5 + 1
    assert streams.hold_s[1, 0] == 0
    assert streams.min_green_s.tolist() == [7, 5]


def test_lanes_that_no_motor_traffic_uses_are_no_streams() -> None:
    network = networks.build([networks.crossroads()])
    use = network.lane_use.copy()
    use[1] = NOT_MOTOR
    streams, _ = check_streams(dataclasses.replace(network, lane_use=use))
    assert 1 not in streams.lane


# ---- giving way ----


def test_turns_give_way_to_streams_that_have_priority() -> None:
    """Lane 2 crosses lanes 0 and 1; what it meets depends on the stage."""
    stages = ["GGg", "Grg", "gGg", "rrG"]
    network = giving_way(networks.build([plain_junction(*stages)]), {2: [0, 1]})
    streams, rates = check_streams(network)
    foes = []
    for stage in range(len(stages)):
        rows = range(streams.yield_ptr[stage], streams.yield_ptr[stage + 1])
        assert all(streams.yield_stream[k] == 2 for k in rows)
        assert all(streams.yield_share[k] == 1.0 for k in rows)
        foes.append([streams.foe_stream[slice(*streams.foe_ptr[k : k + 2])].tolist() for k in rows])
    assert foes == [[[0, 1]], [[0]], [[1]], []]
    # Past a queue that has priority it goes as if nobody came, in the gaps.
    turn = [float(stage_rows(network, streams, rates, s)[0][2]) for s in range(len(stages))]
    assert turn == pytest.approx([UNOPPOSED_RATE, UNOPPOSED_RATE, UNOPPOSED_RATE, 1.0])
    worth = [float(worth_row(network, streams, rates, s)[2]) for s in range(len(stages))]
    assert max(worth[:3]) < UNOPPOSED_RATE
    assert worth[3] == 1.0


def test_a_permissive_green_without_known_foes_gives_way_to_nobody() -> None:
    network = networks.build([plain_junction("Gg")])
    streams, rates = check_streams(network)
    assert len(streams.yield_stream) == 0
    rate, _ = stage_rows(network, streams, rates, 0)
    assert rate[:2].tolist() == [1.0, PERMISSIVE_RATE]


def check_yields(network: Network, streams: Streams) -> None:
    """Who gives way is green without priority, to streams that are green with it."""
    ptr, conn, code = network.conn_stage_code
    for stage in range(network.stages):
        mine = slice(ptr[stage], ptr[stage + 1])
        first = streams.stream_ptr[network.stage_junction[stage]]
        lanes, has_priority = network.conn_from_lane[conn[mine]], code[mine] == PRIORITY
        ahead, behind = set(lanes[has_priority].tolist()), set(lanes[~has_priority].tolist())
        for k in range(streams.yield_ptr[stage], streams.yield_ptr[stage + 1]):
            assert int(streams.lane[first + streams.yield_stream[k]]) in behind
            against = streams.foe_stream[slice(*streams.foe_ptr[k : k + 2])]
            assert len(against) > 0
            assert {int(streams.lane[first + s]) for s in against} <= ahead


@settings(max_examples=60, deadline=None)
@given(data=st.data(), junctions=st.lists(networks.junctions(), min_size=1, max_size=3))
def test_yields_of_any_network(data: st.DataObject, junctions: list[networks.Junction]) -> None:
    network = networks.build(junctions)
    junction_of = network.group_junction[network.conn_group]
    foes = {}
    for conn in range(len(network.conn_to_lane)):
        others = np.flatnonzero(junction_of == junction_of[conn])
        some = st.lists(st.sampled_from(others[others != conn].tolist()), unique=True)
        foes[conn] = data.draw(some) if len(others) > 1 else []
    network = giving_way(network, foes)
    streams, _ = check_streams(network)
    check_yields(network, streams)


# ---- joined junctions and feeds ----


def test_inner_feeds_are_within_joined_junctions_only() -> None:
    network = joined()
    streams, _ = check_streams(network)
    assert streams.inner_ptr.tolist() == [0, 1]
    assert (streams.inner_from[0], streams.inner_to[0]) == (0, 2)
    assert streams.inner_share[0] == 1.0
    assert streams.inner_room[0] == pytest.approx(60 / JAM_SPACING_M)
    feeds = find_lane_feeds(network)
    assert feeds.internal.tolist() == [0, 0, 1]
    assert len(feeds.to) == 0


def test_a_long_road_back_to_the_same_junction_is_not_inside_it() -> None:
    network = joined(inner_m=200.0)
    streams, _ = check_streams(network)
    assert streams.inner_ptr.tolist() == [0, 0]
    feeds = find_lane_feeds(network)
    assert feeds.internal.tolist() == [0, 0, 0]
    assert feeds.to.tolist() == [2]


def test_from_one_junction_to_the_next_there_is_a_feed_and_nothing_inner() -> None:
    network = pair_in_a_row()
    streams, _ = check_streams(network)
    assert not inner_counts(streams).any()
    feeds = find_lane_feeds(network)
    assert not feeds.internal.any()
    assert network.approach_lanes.tolist() == [0, 1, 3, 4]
    # Numbered among the approaches, lane 3 is the third.
    assert feeds.ptr.tolist() == [0, 1, 1, 1, 1]
    assert feeds.to.tolist() == [2]
    assert feeds.share.tolist() == [1.0]
    assert feeds.travel_s.tolist() == [round(200 / 13.9 + START_S)]


def test_feeds_of_the_shipped_scenarios(shipped: Network) -> None:
    feeds = find_lane_feeds(shipped)
    lanes = len(shipped.approach_lanes)
    assert len(feeds.ptr) == lanes + 1
    assert feeds.ptr[-1] == len(feeds.to) == len(feeds.share) == len(feeds.travel_s)
    assert ((feeds.to >= 0) & (feeds.to < lanes)).all()
    assert (feeds.share > 0).all()
    assert (feeds.travel_s >= START_S).all()
    # The last second a departure is spread to must still be in the ring.
    assert (feeds.travel_s + 1 < RING_S).all()
    junction = shipped.link_junction[shipped.lane_link[shipped.approach_lanes]]
    for lane in range(lanes):
        mine = slice(feeds.ptr[lane], feeds.ptr[lane + 1])
        assert (junction[feeds.to[mine]] != junction[lane]).all()
        # No lane sends on more than it has.
        assert feeds.share[mine].sum() <= 1.0 + 1e-5


def test_a_signal_too_far_off_tells_nothing() -> None:
    network = pair_in_a_row()
    length_m = np.full(network.links, 3000.0, np.float32)
    assert len(find_lane_feeds(dataclasses.replace(network, link_length_m=length_m)).to) == 0


# ---- room behind the stop line ----


@pytest.mark.parametrize(
    ("vehicles", "room"), [(0.0, 24.0), (10.0, 14.0), (24.0, 0.0), (99.0, 0.0)]
)
def test_room_is_what_the_road_to_the_next_signal_still_takes(vehicles: float, room: float) -> None:
    network = pair_in_a_row()
    behind, refill = RoadsBehind(network).room(state_with(network, vehicles, 0.25), 0.9)
    assert behind[0] == pytest.approx(room, abs=1e-4)
    assert refill[0] == pytest.approx(0.25)
    # The others lead to no signal: they are never full.
    others = network.approach_lanes[1:]
    assert (behind[others] >= 0.9 * ENDLESS_VEH).all()
    assert (refill[others] == ENDLESS_VEH).all()
