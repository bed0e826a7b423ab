"""Cycles and splits of all junctions against their slow twins and against theory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.networks import build, crossroads
from tests.reference import cycle_split as slow
from topis._core.cycle_split import cycles_and_splits, share_out
from topis.control.cycle_split import WebsterCycles
from topis.control.saturation import LOST_AT_START_S
from topis.control.service import service_table, stage_order
from topis.control.timing import Timing
from topis.units import BASE_SAT_FLOW_VPS

F = np.float32
LANES = 6


def i4(values: Any) -> np.ndarray:
    return np.array(values, np.int32)


def starts(parts: Any) -> np.ndarray:
    return i4(np.cumsum([0, *map(len, parts)]))


def random_junction(rng: np.random.Generator, number: int) -> slow.Junction:
    own = range(LANES * number, LANES * number + LANES)
    steps = [
        slow.Step(
            [(lane, F(rng.uniform(1, 4))) for lane in own if rng.random() < 0.4],
            float(rng.integers(1, 20)),
        )
        for _ in range(rng.integers(1, 6))
    ]
    low_s = float(rng.integers(20, 60))
    return slow.Junction(steps, float(rng.integers(0, 20)), low_s, low_s + rng.integers(0, 90))


def found_by_kernel(
    city: list[slow.Junction], flow: np.ndarray, threads: int
) -> tuple[np.ndarray, ...]:
    steps = [step for junction in city for step in junction.steps]
    ratio, green_s = np.full(len(steps), np.nan, F), np.full(len(steps), np.nan)
    cycle_s, saturation = (np.full(len(city), np.nan) for _ in range(2))
    cycles_and_splits(
        starts([junction.steps for junction in city]), starts([step.lanes for step in steps]),
        i4([lane for step in steps for lane, _ in step.lanes]),
        np.array([need for step in steps for _, need in step.lanes], F), flow,
        np.array([step.least_s for step in steps]), np.array([j.lost_s for j in city]), 1.0,
        np.array([j.low_s for j in city]), np.array([j.high_s for j in city]), threads,
        ratio, cycle_s, green_s, saturation,
    )  # fmt: skip
    return ratio, cycle_s, green_s, saturation


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 5))
def test_cycles_and_splits_equal_their_twin(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    city = [random_junction(rng, number) for number in range(count)]
    flow = (rng.random(LANES * count) * rng.choice([0.0, 0.05, 0.2])).astype(F)
    ratio, cycle_s, green_s, saturation = found_by_kernel(city, flow, 2)
    first = 0
    for number, junction in enumerate(city):
        twin = slow.cycle_and_split(junction, flow.tolist(), 1.0)
        part = slice(first, first + len(junction.steps))
        first = part.stop
        assert ratio[part] == pytest.approx(twin.ratio)
        assert cycle_s[number] == pytest.approx(twin.cycle_s)
        assert green_s[part] == pytest.approx(twin.green_s, abs=1e-6)
        assert saturation[number] == pytest.approx(twin.saturation, rel=1e-5, abs=1e-9)
        # They fill the cycle, and none is too short.
        assert green_s[part].sum() == pytest.approx(cycle_s[number] - junction.lost_s)
        assert all(green_s[part] >= np.array([s.least_s for s in junction.steps]) - 1e-9)


def test_threads_change_no_cycle() -> None:
    rng = np.random.default_rng(2)
    city = [random_junction(rng, number) for number in range(600)]
    flow = (rng.random(LANES * 600) * 0.1).astype(F)
    for one, three in zip(
        found_by_kernel(city, flow, 1), found_by_kernel(city, flow, 3), strict=True
    ):
        assert (one == three).all()


@given(
    rows=st.lists(
        st.tuples(st.floats(0, 60), st.floats(5, 30), st.floats(0, 40)), min_size=1, max_size=6
    ),
    total=st.floats(0, 300),
)
def test_sharing_out_equals_its_twin(rows: list[tuple[float, float, float]], total: float) -> None:
    wanted, low, room = map(np.array, zip(*rows, strict=True))
    green_s = np.full(2 * len(rows), np.nan)
    twice = [np.tile(a, 2) for a in (wanted, low, low + room)]
    # A junction without steps between two others.
    ptr = i4([0, len(rows), len(rows), 2 * len(rows)])
    share_out(ptr, *twice, np.array([total, 7.0, total]), 1, green_s)
    expected = slow.share_out(*(a.tolist() for a in (wanted, low, low + room)), total)
    assert green_s.tolist() == expected * 2


def test_websters_cycle_of_two_roads() -> None:
    """C0 = (1.5 L + 5) / (1 - Y), and greens in the ratio of the flows (Webster 1958)."""
    network = build([crossroads()])
    timing = Timing(network, [stage_order(network, 0)])
    service = service_table(network)
    flow = np.zeros(network.lanes, F)
    for step, y in enumerate((0.3, 0.2)):
        stage = timing.stage[step]
        lane = service.lane[service.ptr[stage]]
        flow[lane] = y * BASE_SAT_FLOW_VPS * service.rate[service.ptr[stage]]
    found = WebsterCycles(timing, service).at(flow, np.array([10.0]), np.array([300.0]))
    lost_s = timing.lost_s[0] + LOST_AT_START_S * len(timing.stage)
    assert found.ratio[:2] == pytest.approx([0.3, 0.2])
    assert found.cycle_s[0] == pytest.approx((1.5 * lost_s + 5.0) / 0.5)
    assert found.saturation[0] == pytest.approx(
        0.5 * found.cycle_s[0] / (found.cycle_s[0] - lost_s), rel=1e-5
    )
