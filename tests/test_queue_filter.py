"""Standing queues: the filter as its twin has it, and as traffic flow theory says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference.queue_filter import QueueFilter as SlowFilter
from topis._core.queue_filter import QueueFilter

F4 = np.float32
STATE = (
    "queue_veh", "queue_var", "age_s", "green_s", "sat_flow_vps", "sat_var",
    "stood_veh", "passed_veh", "passed_s", "idle_s",
)  # fmt: skip


def arrays(
    lanes: int, seen_by: int | list[int] = 0, queue_veh: float = 0.0, most_veh: float = 60.0
) -> dict[str, np.ndarray]:
    found = {name: np.zeros(lanes, F4) for name in STATE}
    found["seen_by"] = np.array(np.broadcast_to(seen_by, lanes), np.uint8)
    found["between_veh"] = np.full(lanes, 7.0, F4)
    found["view_veh"] = np.full(lanes, 13.0, F4)
    found["most_veh"] = np.full(lanes, most_veh, F4)
    found["queue_veh"][:] = queue_veh
    found["queue_var"][:] = 4.0
    found["sat_flow_vps"][:] = 0.5
    found["sat_var"][:] = 0.08**2
    return found


def tick(fast: QueueFilter, lanes: int, green: float, arrive_vps: float, **seen: float) -> None:
    def full(value: float) -> np.ndarray:
        return np.full(lanes, value, F4)

    fast.update(
        full(green), full(arrive_vps), full(seen.get("standing", 0)), full(seen.get("left", 0)),
        full(seen.get("covered", 0)), full(seen.get("clear", 0)), full(1.0), 1.0,
    )  # fmt: skip


values = st.floats(0, 20, width=32)
step = st.fixed_dictionaries(
    {
        "green": st.sampled_from([0.0, 0.4, 1.0]),
        "arrive": st.floats(0, 0.5, width=32),
        "standing": values,
        "left": st.sampled_from([0.0, 0.0, 1.0, 2.0]),
        "covered": st.sampled_from([0.0, 1.0, 5.0]),
        "clear": st.sampled_from([0.0, 2.0, 5.0]),
        "flowing": st.floats(0, 1, width=32),
    }
)


@settings(max_examples=60, deadline=None)
@given(
    seen_by=st.lists(st.integers(0, 2), min_size=1, max_size=4),
    steps=st.lists(st.lists(step, min_size=4, max_size=4), min_size=1, max_size=40),
    votes=st.lists(
        st.tuples(st.integers(0, 3), values, st.integers(-1, 1), st.floats(0.5, 9, width=32)),
        max_size=6,
    ),
)
def test_as_the_twin_has_it(
    seen_by: list[int],
    steps: list[list[dict[str, float]]],
    votes: list[tuple[int, float, int, float]],
) -> None:
    lanes = len(seen_by)
    mine, its = arrays(lanes, seen_by), arrays(lanes, seen_by)
    fast, slow = QueueFilter(**mine), SlowFilter(**its)
    for rows in steps:
        columns = [
            np.array([rows[lane][name] for lane in range(lanes)], F4)
            for name in ("green", "arrive", "standing", "left", "covered", "clear", "flowing")
        ]
        fast.update(*columns, 1.0)
        slow.update(*columns, 1.0)
        some = [vote for vote in votes if vote[0] < lanes]
        if some:
            lane, tail, kind, variance = (np.array(c) for c in zip(*some, strict=True))
            told = lane.astype(np.int32), tail.astype(F4), kind.astype(np.int8), variance.astype(F4)
            fast.vote(*told)
            slow.vote(*told)
        for name in STATE:
            assert mine[name] == pytest.approx(its[name], rel=1e-3, abs=1e-3), name
            # What rounding moves must not grow over the steps.
            its[name][:] = mine[name]
        assert (mine["queue_veh"] >= 0).all()
        assert (mine["queue_var"] > 0).all()


def test_a_queue_that_nobody_sees_grows_at_red_and_goes_at_green() -> None:
    state = arrays(1)
    fast = QueueFilter(**state)
    for _ in range(60):
        tick(fast, 1, 0.0, 0.2)
    assert state["queue_veh"][0] == pytest.approx(12.0, rel=1e-4)
    grown = float(state["queue_var"][0])
    assert grown > 4.0 + 12.0, "random arrivals alone would give 12"
    # The starting wave overtakes what arrives: 12 / (0.87 - 0.2) s.
    seconds = 0
    while state["queue_veh"][0] > 0.0:
        tick(fast, 1, 1.0, 0.2)
        seconds += 1
    assert seconds == pytest.approx(12.0 / (0.87 - 0.2) + 1.5, abs=2.0)
    for _ in range(30):
        tick(fast, 1, 1.0, 0.2)
    assert state["queue_var"][0] < 0.2 * grown


def test_a_camera_is_believed_and_a_full_view_is_a_lower_bound() -> None:
    state = arrays(1, 2, queue_veh=20.0)
    fast = QueueFilter(**state)
    tick(fast, 1, 0.0, 0.0, standing=5.0)
    assert state["queue_veh"][0] == pytest.approx(5.0, abs=1.0)
    assert state["queue_var"][0] < 0.2
    state["queue_veh"][0], state["queue_var"][0] = 20.0, 4.0
    tick(fast, 1, 0.0, 0.0, standing=12.5)
    assert state["queue_veh"][0] == 20.0
    state["queue_veh"][0] = 3.0
    tick(fast, 1, 0.0, 0.0, standing=12.5)
    assert state["queue_veh"][0] > 10.0


def test_loops_bound_a_queue_from_both_sides() -> None:
    state = arrays(1, 1, queue_veh=20.0)
    fast = QueueFilter(**state)
    tick(fast, 1, 0.0, 0.0, covered=0.0)
    assert 7.0 < state["queue_veh"][0] < 12.0, "the upstream loop is clear at red"
    state["queue_veh"][0], state["queue_var"][0] = 2.0, 4.0
    tick(fast, 1, 0.0, 0.0, covered=5.0)
    assert 5.0 < state["queue_veh"][0] < 7.0
    for _ in range(10):
        tick(fast, 1, 0.0, 0.0, clear=5.0)
    assert state["queue_veh"][0] < 0.3


@settings(max_examples=50, deadline=None)
@given(queue=values, tail=values, kind=st.integers(-1, 1), var=st.floats(0.125, 100, width=32))
def test_no_vote_moves_a_queue_far_or_the_wrong_way(
    queue: float, tail: float, kind: int, var: float
) -> None:
    state = arrays(1, queue_veh=queue)
    state["queue_var"][0] = 1000.0
    QueueFilter(**state).vote(
        np.zeros(1, np.int32), np.array([tail], F4), np.array([kind], np.int8), np.array([var], F4)
    )
    moved = float(state["queue_veh"][0]) - queue
    assert abs(moved) <= 3.0 + 1e-5
    assert moved * (tail - queue) >= 0.0
    assert not (kind > 0 and moved < 0)
    assert not (kind < 0 and moved > 0)


@pytest.mark.parametrize("headway_s", [1.7, 2.0, 2.5])
def test_saturation_flow_is_found_from_headways(headway_s: float) -> None:
    """Cycles of 40 s red and 50 s green with a queue of 20 that leaves at that headway."""
    state = arrays(1, 2)
    fast = QueueFilter(**state)
    for _ in range(60):
        for _ in range(40):
            tick(fast, 1, 0.0, 0.5, standing=10.0)
        state["queue_veh"][0] = 20.0
        gone = 0.0
        for second in range(50):
            now = max(0.0, min(20.0, (second - 2.0) / headway_s))
            left = float(int(now) - int(gone))
            gone = now
            tick(fast, 1, 1.0, 0.0, standing=12.9 if now < 20 else 0.0, left=left)
    assert 1.0 / float(state["sat_flow_vps"][0]) == pytest.approx(headway_s, rel=0.06)
    assert state["sat_var"][0] < 0.03**2


def test_random_passages_at_green_are_no_saturation_flow() -> None:
    state = arrays(1, 2)
    fast = QueueFilter(**state)
    rng = np.random.default_rng(1)
    for _ in range(40):
        for _ in range(40):
            tick(fast, 1, 0.0, 0.0)
        for _ in range(50):
            tick(fast, 1, 1.0, 0.0, left=float(rng.random() < 0.3))
    assert state["sat_flow_vps"][0] == 0.5
