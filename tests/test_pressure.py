"""Max-pressure at all junctions against its slow twin, whatever the threads."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import pressure as slow
from topis._core.pressure import choose_stages, count_waits, roads_behind, stage_pressures

F = np.float32
RED, GREEN = 0, 3
LANES = 5


def i4(values: Any) -> np.ndarray:
    return np.array(values, np.int32)


def starts(parts: Any) -> np.ndarray:
    return i4(np.cumsum([0, *map(len, parts)]))


def random_junction(rng: np.random.Generator, number: int) -> slow.Junction:
    """Some stages; lanes of equal rates, so that equal pressures are common."""
    lanes = range(LANES * number, LANES * number + LANES)
    stages = int(rng.integers(1, 5))
    served = [
        [(lane, F(rng.choice([0.1, 0.5, 1.0]))) for lane in lanes if rng.random() < 0.6]
        for _ in range(stages)
    ]
    walks = [[2 * number + k for k in range(2) if rng.random() < 0.4] for _ in range(stages)]
    worth = rng.choice([0.05, 0.6, 2 / 3], (stages, stages)).tolist()
    return slow.Junction(served, walks, worth)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 6), threads=st.sampled_from([1, 3]))
def test_pressure_equals_its_twin(seed: int, count: int, threads: int) -> None:
    compare(np.random.default_rng(seed), count, threads)


def test_pressure_equals_its_twin_where_threads_share_the_work() -> None:
    compare(np.random.default_rng(0), 600, 3)


def compare(rng: np.random.Generator, count: int, threads: int) -> None:
    city = [random_junction(rng, number) for number in range(count)]
    lanes, groups = LANES * count, 2 * count
    ways = [
        [(int(rng.integers(lanes)), F(rng.choice([0.3, 0.7, 1.0]))) for _ in range(k)]
        for k in rng.integers(0, 4, lanes)
    ]
    storage = rng.choice([4, 8, 20], lanes).astype(F)
    queue = (rng.integers(0, 20, lanes) / 2).astype(F)
    vehicles = (queue + rng.integers(0, 2, lanes)).astype(F)
    shown = [int(rng.integers(-1, len(j.served))) for j in city]
    coming = rng.choice([-1, -1, 0], count).astype(np.int32)
    stage_ptr = starts([j.served for j in city])
    stages = [stage for j in city for stage in j.served]
    pairs = (
        starts(stages),
        i4([lane for stage in stages for lane, _ in stage]),
        np.array([rate for stage in stages for _, rate in stage], F),
    )
    full, free = np.empty(lanes, np.uint8), np.full(lanes, np.nan)
    roads_behind(
        starts(ways), i4([to for way in ways for to, _ in way]),
        np.array([share for way in ways for _, share in way], F), storage, queue, 0.8, threads,
        full, free,
    )  # fmt: skip
    assert free.tolist() == slow.roads_behind(ways, list(storage), list(queue), 0.8)

    of_junction = [sorted(j.lanes) for j in city]
    crossings = [sorted({g for walk in j.walks for g in walk}) for j in city]
    unserved = (rng.integers(0, 12, lanes) * 10).astype(F)
    expected_s = {lane: F(value) for lane, value in enumerate(unserved)}
    code = rng.choice([RED, GREEN], groups).astype(np.uint8)
    now_ms = 10_000_000
    since_ms = now_ms - rng.integers(0, 200, groups) * 1000
    lane_late, walk_late = np.zeros(lanes, F), np.zeros(groups)
    late = np.full(count, 9, np.uint8)
    first = stage_ptr[:-1]
    at_stage = np.where(i4(shown) < 0, -1, first + i4(shown)).astype(np.int32)
    count_waits(
        starts(of_junction), i4([k for row in of_junction for k in row]), *pairs,
        starts(crossings), i4([k for row in crossings for k in row]), at_stage, coming, queue, code,
        since_ms, now_ms, 1.0, 80.0, 100.0, threads, unserved, lane_late, walk_late, late,
    )  # fmt: skip
    red_s = np.where(code == RED, (now_ms - since_ms) / 1000, 0.0)
    allowed_s = dict(enumerate(np.maximum(red_s - 100.0, 0.0).tolist()))
    all_late: dict[int, np.float32] = {}
    for number, junction in enumerate(city):
        green = shown[number] if shown[number] >= 0 and coming[number] < 0 else None
        all_late |= slow.count_waits(junction, green, queue, 1.0, 80.0, expected_s)
    assert unserved.tolist() == [expected_s[lane] for lane in range(lanes)]
    assert all(lane_late[lane] == value for lane, value in all_late.items())

    pressure = np.full(len(stages), np.nan)
    stage_pressures(*pairs, vehicles, free, threads, pressure)
    expected = [slow.stage_pressure(stage, vehicles, free) for stage in stages]
    assert pressure.tolist() == expected

    most = max(len(j.served) for j in city)
    worth = np.unique([value for j in city for row in j.worth for value in row])
    change = np.zeros((len(stages), most), np.uint16)
    for number, junction in enumerate(city):
        n = len(junction.served)
        change[first[number] : first[number] + n, :n] = np.searchsorted(worth, junction.worth)
    walks = [walk for j in city for walk in j.walks]
    value, choice = np.full(len(stages), np.nan, F), np.full(count, -9, np.int32)
    choose_stages(
        stage_ptr, *pairs, starts(walks), i4([g for walk in walks for g in walk]), change, worth,
        at_stage, vehicles, free, lane_late, walk_late, threads, late, value, choice,
    )  # fmt: skip
    for number, junction in enumerate(city):
        own = shown[number] if shown[number] >= 0 else None
        best, values, overdue = slow.choose(
            junction, own, vehicles, free.tolist(), all_late, allowed_s
        )
        assert choice[number] == first[number] + best
        part = value[first[number] : first[number] + len(values)]
        assert part.tolist() == np.array(values, F).tolist()
        assert late[number] == overdue
