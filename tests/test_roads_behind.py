"""Room behind a stop line whose lane has several ways on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import networks
from tests.stream_cases import pair_in_a_row, plain_junction, seen, sharing, state_with, turned
from topis.control.streams import ENDLESS_VEH, LEAST_SHARE, RoadsBehind
from topis.model.network import Network
from topis.units import JAM_SPACING_M

WHOLE_M = 200.0
FULL_SHARE = 0.9


def fork(share: float, *, both: bool = True) -> Network:
    """Lane 0 of a junction leads to lane 3 of the next, the rest of it to lane 4 or out."""
    pair = networks.build([networks.crossroads(), networks.crossroads()])
    return sharing(turned(pair, {0: 3, 1: 4} if both else {0: 3}), share)


def behind(
    network: Network, vehicles_veh: Mapping[int, float], out_vps: Mapping[int, float]
) -> tuple[float, float]:
    """(room, refill) of lane 0."""
    state = state_with(network, 0.0, 0.0)
    vehicles, out = state.vehicles_veh.copy(), state.out_vps.copy()
    for lane, veh in vehicles_veh.items():
        vehicles[lane] = veh
    for lane, vps in out_vps.items():
        out[lane] = vps
    state = dataclasses.replace(state, vehicles_veh=vehicles, out_vps=out)
    room, refill = RoadsBehind(network).room(state, FULL_SHARE)
    return float(room[0]), float(refill[0])


@pytest.mark.parametrize(("share", "room"), [(0.5, 1.0), (0.25, 3.0), (0.8, 0.25), (0.1, 9.0)])
@pytest.mark.parametrize("both", [True, False])
def test_a_full_way_holds_up_the_whole_lane(share: float, room: float, both: bool) -> None:
    """As many pass as stand before the first who finds no room."""
    veh, _ = behind(fork(share, both=both), {3: 99.0}, {})
    assert veh == pytest.approx(room, rel=1e-5)


def test_roads_out_of_reach_take_all_however_small_the_share_filled() -> None:
    network = networks.build([plain_junction("G")])
    room, _ = RoadsBehind(network).room(seen(network, {}, {}), 0.0)
    assert room[0] >= ENDLESS_VEH


def test_the_fuller_way_is_the_one_that_counts() -> None:
    """24 vehicles fit on each way; nine of ten take the first."""
    ways = fork(0.9)
    assert behind(ways, {3: 23.0, 4: 0.0}, {})[0] == pytest.approx(1.1 / 0.9, rel=1e-4)
    assert behind(ways, {3: 14.0, 4: 24.0}, {})[0] == pytest.approx(9.0, rel=1e-4)
    assert behind(ways, {3: 0.0, 4: 24.0}, {})[0] == pytest.approx(9.0, rel=1e-4)
    assert behind(ways, {3: 18.0, 4: 23.9}, {})[0] == pytest.approx(6.1 / 0.9, rel=1e-4)


fills = st.floats(0.0, 40.0, width=32)
flows = st.floats(0.0, 1.0, width=32)


@settings(max_examples=100, deadline=None)
@given(
    share=st.floats(0.0, 1.0, width=32),
    veh=st.tuples(fills, fills),
    vps=st.tuples(flows, flows),
    both=st.booleans(),
)
def test_room_is_the_least_over_the_ways(
    share: float, veh: tuple[float, float], vps: tuple[float, float], both: bool
) -> None:
    network = fork(share, both=both)
    expected_room, expected_refill = [], []
    for way in range(1 + both):
        part = max(float(network.conn_share[way]), LEAST_SHARE)
        free = max(FULL_SHARE * WHOLE_M / JAM_SPACING_M - veh[way], 0.0)
        expected_room.append((free + 1.0 - part) / part)
        expected_refill.append(vps[way] / part)
    lanes = dict(zip((3, 4), veh, strict=True)), dict(zip((3, 4), vps, strict=True))
    room, refill = behind(network, *lanes)
    if not both:
        expected_refill.append(ENDLESS_VEH / max(float(network.conn_share[1]), LEAST_SHARE))
    assert room == pytest.approx(min(expected_room), rel=1e-6, abs=1e-6)
    assert refill == pytest.approx(min(expected_refill), rel=1e-6, abs=1e-6)


def test_a_way_that_nobody_takes_hardly_counts() -> None:
    room, _ = behind(fork(0.0, both=False), {3: 99.0}, {})
    assert room == pytest.approx((1.0 - LEAST_SHARE) / LEAST_SHARE)
    assert room > WHOLE_M / JAM_SPACING_M


@given(veh=fills)
def test_a_lane_with_one_way_has_the_room_of_it(veh: float) -> None:
    room, _ = behind(pair_in_a_row(), {3: veh}, {})
    assert room == pytest.approx(max(FULL_SHARE * WHOLE_M / JAM_SPACING_M - veh, 0.0), abs=1e-9)


@pytest.mark.parametrize("share", [0.01, 0.5, 1.0])
def test_ways_that_end_at_no_signal_are_never_full(share: float) -> None:
    network = sharing(networks.build([networks.crossroads(), networks.crossroads()]), share)
    room, refill = behind(network, dict.fromkeys(range(network.lanes), 99.0), {})
    assert room >= FULL_SHARE * ENDLESS_VEH
    assert refill >= ENDLESS_VEH


@given(flowing=st.floats(0, 1), queue=st.floats(8, 25))
def test_a_queue_that_does_not_move_fills_the_road(flowing: float, queue: float) -> None:
    """Eight vehicles are vouched for, the queue is guessed longer; green lets nobody go."""
    network = fork(1.0, both=False)
    state = state_with(network, 0.0, 0.0)
    vehicles, queues, flows = (
        array.copy() for array in (state.vehicles_veh, state.queue_veh, state.flowing)
    )
    vehicles[3], queues[3], flows[3] = 8.0, queue, flowing
    state = dataclasses.replace(state, vehicles_veh=vehicles, queue_veh=queues, flowing=flows)
    room, _ = RoadsBehind(network).room(state, FULL_SHARE)
    storage = WHOLE_M / JAM_SPACING_M
    believed = max(8.0, (1.0 - flowing) * queue)
    assert float(room[0]) == pytest.approx(max(FULL_SHARE * storage - believed, 0.0), abs=1e-4)
