"""Controllers against theory, on junctions small enough to know the answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.networks import build, crossroads
from tests.reference import platoon as slow_platoon
from topis._core.platoon import queue_by_offset
from topis._core.split import split_greens
from topis.control.coordination import BIN_S, best_offsets, platoon_delay
from topis.control.plans import PlanFollower
from topis.control.registry import check_controller, controller_names, make_controller
from topis.errors import InputError
from topis.model.command import SignalPlan
from topis.units import BASE_SAT_FLOW_VPS


def two_stage_split(
    flows_vph: tuple[float, float], cycle_s: float, lost_s: float = 8.0
) -> tuple[np.ndarray, float]:
    """Greens and delay rate of a junction with one critical lane per stage."""
    green, delay = np.zeros(2), np.zeros(1)
    split_greens(
        np.array([0, 2], np.int32),
        np.array([cycle_s]),
        np.array([lost_s]),
        np.array([5.0, 5.0]),
        np.array([0, 1, 2], np.int32),
        np.array([0, 1], np.int32),
        np.ones(2, np.float32),
        np.array(flows_vph, np.float32) / np.float32(3600),
        np.full(2, BASE_SAT_FLOW_VPS, np.float32),
        1.0,
        np.zeros(2),
        green,
        delay,
    )
    return green, float(delay[0])


def test_greens_fill_the_cycle_and_follow_the_flows() -> None:
    """Webster 1958: least delay shares green in proportion to the flow ratios, nearly."""
    green, _ = two_stage_split((800, 400), 80.0)
    assert green.sum() == pytest.approx(72.0)
    assert green[0] / green.sum() == pytest.approx(2 / 3, abs=0.06)
    equal, _ = two_stage_split((600, 600), 80.0)
    assert abs(equal[0] - equal[1]) <= 1.0


def test_best_cycle_is_near_websters() -> None:
    """C0 = (1.5 L + 5) / (1 - Y); delay is flat around it (Webster 1958)."""
    flows, lost_s = (700.0, 500.0), 10.0
    # The kernel counts a second of start-up loss per stage besides the intergreens.
    y = sum(flows) / (3600 * BASE_SAT_FLOW_VPS)
    webster_s = (1.5 * (lost_s + 2.0) + 5.0) / (1.0 - y)
    cycles = np.arange(30.0, 161.0, 5.0)
    delays = [two_stage_split(flows, c, lost_s)[1] for c in cycles]
    best_s = cycles[int(np.argmin(delays))]
    assert 0.75 * webster_s <= best_s <= 1.5 * webster_s


def test_delay_is_hcms_uniform_delay_when_traffic_is_light() -> None:
    """d1 = C/2 (1 - g/C)^2 / (1 - X g/C): the rest is small at low degrees of saturation."""
    flow_vph, cycle_s = 60.0, 60.0
    green, delay = two_stage_split((flow_vph, 0.0), cycle_s)
    share = (green[0] - 1.0) / cycle_s
    x = flow_vph / (3600 * BASE_SAT_FLOW_VPS * share)
    uniform_s = 0.5 * cycle_s * (1 - share) ** 2 / (1 - x * share)
    assert delay * 3600 / flow_vph == pytest.approx(uniform_s, rel=0.05)


def test_minimum_greens_that_do_not_fit_are_infeasible() -> None:
    _, delay = two_stage_split((100, 100), 15.0)
    assert delay > 1e29


def test_platoon_through_an_equal_green_has_no_delay_at_the_travel_time() -> None:
    bins, travel = 30, 7
    departures = np.zeros(bins)
    departures[:10] = 1.0
    capacity = np.zeros(bins)
    capacity[:14] = 2.0
    delay = platoon_delay(departures, capacity, travel)
    # Vehicles pass when downstream green starts as the platoon comes, or a little before.
    best = int(np.argmin(delay))
    assert delay[best] == pytest.approx(0.0, abs=1e-9)
    assert delay[travel - 1] == pytest.approx(0.0, abs=1e-9)
    worst = int(np.argmax(delay))
    assert delay[worst] > 10 * BIN_S


def test_offsets_make_a_green_wave() -> None:
    bins = 40
    tables = []
    for travel in (6, 9):
        departures = np.zeros(bins)
        departures[:12] = 1.0
        capacity = np.zeros(bins)
        capacity[:16] = 2.0
        tables.append(platoon_delay(departures, capacity, travel))
    pairs = [(0, 1, tables[0]), (1, 2, tables[1])]
    offset = best_offsets(3, pairs, bins)
    for up, down, table in pairs:
        assert table[(offset[down] - offset[up]) % bins] == pytest.approx(table.min())


def test_plan_is_followed_by_the_clock() -> None:
    plan = SignalPlan(0, 60_000, 10_000, np.array([4, 5], np.int32), np.array([25_000, 35_000]))
    follower = PlanFollower([plan])
    shown = [int(follower.stages(t)[0]) for t in (10_000, 34_999, 35_000, 69_999, 70_000, 9_999)]
    assert shown == [4, 4, 5, 5, 4, 5]
    with pytest.raises(ValueError, match="splits sum"):
        SignalPlan(0, 60_000, 0, np.array([4, 5], np.int32), np.array([25_000, 30_000]))


def test_every_controller_is_made_by_name() -> None:
    network = build([crossroads()])
    for name in controller_names():
        assert make_controller(name, network).name == name
    with pytest.raises(InputError, match="choose one of"):
        make_controller("magic", network)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_impossible_settings_are_refused(value: float) -> None:
    with pytest.raises(InputError, match="interval_s"):
        check_controller("max-pressure", {"interval_s": value})
    with pytest.raises(InputError, match="known are"):
        check_controller("max-pressure", {"unknown": 1.0})


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_queues_by_offset_are_those_of_the_twin(data: st.DataObject) -> None:
    bins = data.draw(st.integers(1, 12))
    amounts = st.lists(st.floats(0.0, 3.0), min_size=bins, max_size=bins)
    arrivals, capacity = (np.array(data.draw(amounts)) for _ in range(2))
    queue, delay = np.empty(bins), np.empty(bins)
    backwards = np.tile(np.roll(capacity[::-1], 1), 2)
    queue_by_offset(arrivals, backwards, queue, delay)
    assert delay.tolist() == slow_platoon.queue_by_offset(arrivals, capacity).tolist()
