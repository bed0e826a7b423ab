"""Every kernel gives the same bits as its slow twin in `tests.reference`, and writes no input."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import topis
from tests import networks
from tests.reference import arrivals as slow_arrivals
from tests.reference import interlock as slow_interlock
from tests.reference import lane_tracker as slow_tracker
from tests.reference import split as slow_split
from topis._core.arrivals import ArrivalForecast, add_planned, waits_ahead
from topis._core.interlock import Interlock
from topis._core.lane_tracker import LaneTracker
from topis._core.split import split_greens

KEEP, LOCAL = -1, -2
MOVING = {
    "interlock": (
        "group_code", "group_since_ms", "green_end_ms", "end_ms",
        "stage", "coming", "since_ms", "start_ms",
    ),
    "lane_tracker": slow_tracker.STATE,
}  # fmt: skip


def f4(values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def frozen(arrays: dict[str, np.ndarray], moving: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Inputs made read-only, outputs copied."""
    out = {}
    for name, value in arrays.items():
        out[name] = value.copy()
        out[name].flags.writeable = name in moving
    return out


def test_every_kernel_has_a_twin() -> None:
    kernels = {path.stem for path in (Path(topis.__file__).parent / "_core").glob("*.pyx")}
    twins = {path.stem for path in (Path(__file__).parent / "reference").glob("[!_]*.py")}
    assert kernels == twins


# ---- interlock ----


def interlock_arrays(junctions: list[networks.Junction], start_ms: int) -> dict[str, np.ndarray]:
    network = networks.build(junctions)
    safe, serving = [], []
    first = 0
    for junction in junctions:
        good = junction.safe_stages()
        safe += [number in good for number in range(len(junction.stages))]
        for group in range(len(junction.groups)):
            served = [s for s in good if junction.stages[s][group] in "gG"]
            serving.append(first + served[-1] if served else -1)
        first += len(junction.stages)
    moments = {
        name: np.full(network.groups, start_ms, np.int64)
        for name in ("group_since_ms", "green_end_ms", "end_ms")
    }
    return moments | {
        "junction_group_ptr": network.junction_group_ptr,
        "junction_stage_ptr": network.junction_stage_ptr,
        "stage_code_ptr": network.stage_code_ptr,
        "stage_code": network.stage_code,
        "stage_safe": np.array(safe, np.uint8),
        "stage_min_green_ms": network.stage_min_green_ms,
        "group_min_green_ms": network.group_min_green_ms,
        "group_yellow_ms": network.group_yellow_ms,
        "group_max_red_ms": network.group_max_red_ms,
        "group_serving_stage": np.array(serving, np.int32),
        "conflict_ptr": network.conflict_ptr,
        "conflict_idx": network.conflict_idx,
        "conflict_ms": network.conflict_intergreen_ms,
        "group_code": np.zeros(network.groups, np.uint8),
        "stage": np.full(network.junctions, -1, np.int32),
        "coming": np.full(network.junctions, -1, np.int32),
        "since_ms": np.full(network.junctions, start_ms, np.int64),
        "start_ms": np.full(network.junctions, start_ms, np.int64),
    }


@st.composite
def interlock_runs(draw: st.DrawFn) -> tuple[list[networks.Junction], list[Any]]:
    """Some junctions and rows of (ticks, step in ms, one request per junction, lamps)."""
    unsafe = draw(st.booleans())
    grain_ms = draw(st.sampled_from([1000, 100]))
    some = st.lists(networks.junctions(unsafe=unsafe, grain_ms=grain_ms), min_size=1, max_size=3)
    junctions = draw(some)
    stages = sum(len(j.stages) for j in junctions)
    groups = sum(len(j.groups) for j in junctions)
    request = st.one_of(
        st.integers(0, stages - 1),
        st.sampled_from([KEEP, LOCAL, -3, stages, 2**31 - 1, -(2**31)]),
    )
    row = st.tuples(
        st.integers(1, 12),
        st.sampled_from([1000, 1000, 1000, 100, 900, 2500, 5000]),
        st.lists(request, min_size=len(junctions), max_size=len(junctions)),
        st.lists(st.sampled_from([0, 0, 1, 2, 3]), min_size=groups, max_size=groups),
    )
    return junctions, draw(st.lists(row, min_size=1, max_size=20))


@settings(max_examples=300, deadline=None)
@given(run=interlock_runs())
def test_interlock_equals_its_twin(run: tuple[list[networks.Junction], list[Any]]) -> None:
    junctions, rows = run
    now_ms = 1_700_000_000_000
    given_arrays = interlock_arrays(junctions, now_ms)
    arrays = frozen(given_arrays, MOVING["interlock"])
    kernel, twin = Interlock(**arrays), slow_interlock.Interlock(**given_arrays)
    refused = np.full(len(junctions), 99, np.uint8)
    for ticks, dt_ms, wanted, lamps in rows:
        request = np.array(wanted, np.int32)
        for j in np.flatnonzero(request == LOCAL):
            # What the guard does on release, and what it takes note of while it lasts.
            arrays["stage"][j] = arrays["coming"][j] = -1
            twin.junctions[j].stage = twin.junctions[j].coming = -1
            for group in twin.junctions[j].lamps:
                twin.take(group, lamps[group], now_ms)
                lamp = twin.junctions[j].lamps[group]
                arrays["group_code"][group] = lamp.code
                arrays["group_since_ms"][group] = lamp.since
                arrays["green_end_ms"][group] = lamp.green_end
        request.flags.writeable = False
        for _ in range(ticks):
            kernel.step(now_ms, request, refused)
            assert refused.tolist() == twin.step(now_ms, wanted)
            for name, expected in twin.state().items():
                assert arrays[name].tolist() == expected, (name, now_ms)
            now_ms += dt_ms
    for name in given_arrays.keys() - set(MOVING["interlock"]):
        assert (arrays[name] == given_arrays[name]).all(), f"{name} was written"


# ---- lane tracker ----


def float32s(low: float, high: float) -> st.SearchStrategy[float]:
    """Zero or an everyday number: nothing so small that a quotient overflows."""
    least = max(low, 2.0**-10)
    numbers = st.floats(least, high, width=32)
    return numbers if low > 0 else st.one_of(st.just(0.0), numbers)


COMING_S = 15


def tracker_state(lanes: int) -> dict[str, np.ndarray]:
    """What a tracker starts from."""
    arrays = {name: np.zeros(lanes, np.float32) for name in slow_tracker.NUMBERS}
    arrays["gap_s"] += np.float32(99)
    arrays["flowing"] += np.float32(1)
    return arrays | {"coming_vps": np.zeros((lanes, COMING_S), np.float32)}


@st.composite
def tracker_runs(draw: st.DrawFn) -> tuple[dict[str, np.ndarray], list[Any]]:
    """Arrays of some lanes and rows of (readings, green, step in s, probes)."""
    lanes, sensors = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    sensor = st.integers(0, sensors - 1)
    seen_by, cameras, weights, near_s, far_s, stop, advance = [], [], [], [], [], [], []
    ptr = [0]
    for _ in range(lanes):
        seen_by.append(draw(st.sampled_from([0, 1, 1, 2])))
        mine = draw(st.lists(sensor, max_size=3)) if seen_by[-1] == 2 else []
        cameras += mine
        for _ in mine:
            weights.append(draw(st.sampled_from([1.0, 0.5, 1 / 3])))
            near_s.append(draw(float32s(0, 12)))
            # Some look further than the seconds that are told of.
            far_s.append(near_s[-1] + draw(float32s(0.5, 12)))
        ptr.append(len(cameras))
        line = {0: st.just(-1), 1: sensor, 2: st.one_of(st.just(-1), sensor)}[seen_by[-1]]
        stop.append(draw(line))
        advance.append(draw(st.one_of(st.just(-1), sensor)) if seen_by[-1] == 1 else -1)

    def floats(low: float, high: float) -> np.ndarray:
        values = st.lists(float32s(low, high), min_size=lanes, max_size=lanes)
        return np.array(draw(values), np.float32)

    arrays: dict[str, np.ndarray] = {
        "seen_by": np.array(seen_by, np.uint8),
        "camera_ptr": np.array(ptr, np.int32),
        "camera_sensor": np.array(cameras, np.int32),
        "camera_weight": np.array(weights, np.float32),
        "camera_near_s": np.array(near_s, np.float32),
        "camera_far_s": np.array(far_s, np.float32),
        "stop_sensor": np.array(stop, np.int32),
        "advance_sensor": np.array(advance, np.int32),
        "between_veh": floats(1, 10),
        "transit_s": floats(1, 20),
        "view_s": floats(1, 20),
        "view_veh": floats(1, 10),
        "most_beyond_veh": floats(0, 60),
        "free_pass_s": floats(0.125, 2),
        "sat_flow_vps": floats(0.125, 1),
        "assumed_vps": floats(0, 0.5),
    }
    arrays |= tracker_state(lanes)
    count = st.one_of(st.sampled_from([0.0, 0.0, 1.0, 2.0]), float32s(0, 20))
    share = st.one_of(st.sampled_from([0.0, 0.0, 1.0, 0.95]), float32s(0, 1))
    readings = st.lists(st.tuples(count, share), min_size=sensors, max_size=sensors)
    probe = st.tuples(st.integers(0, lanes - 1), float32s(0, 200), float32s(0, 20))
    row = st.tuples(
        st.integers(1, 5),
        readings,
        st.lists(st.integers(0, 1), min_size=lanes, max_size=lanes),
        st.sampled_from([1.0, 1.0, 0.5, 0.1, 5.0, 0.0]),
        st.lists(probe, max_size=3),
    )
    return arrays, draw(st.lists(row, min_size=1, max_size=20))


@settings(max_examples=300, deadline=None)
@given(run=tracker_runs())
def test_lane_tracker_equals_its_twin(run: tuple[dict[str, np.ndarray], list[Any]]) -> None:
    given_arrays, rows = run
    arrays = frozen(given_arrays, MOVING["lane_tracker"])
    kernel, twin = LaneTracker(**arrays), slow_tracker.LaneTracker(**given_arrays)
    for ticks, readings, greens, dt_s, probes in rows:
        reading, green = np.array(readings, np.float32), np.array(greens, np.uint8)
        lane = np.array([p[0] for p in probes], np.int32)
        distance_m = np.array([p[1] for p in probes], np.float32)
        speed_mps = np.array([p[2] for p in probes], np.float32)
        for array in (reading, green, lane, distance_m, speed_mps):
            array.flags.writeable = False
        for _ in range(ticks):
            kernel.update(reading, green, dt_s)
            twin.update(reading, greens, dt_s)
        kernel.bound(lane, distance_m, speed_mps, 7.5)
        twin.bound(lane.tolist(), distance_m, speed_mps, 7.5)
        for name, expected in twin.state().items():
            np.testing.assert_array_equal(arrays[name], expected, err_msg=name)
    for name in given_arrays.keys() - set(MOVING["lane_tracker"]):
        assert (arrays[name] == given_arrays[name]).all(), f"{name} was written"


def one_lane(
    *, seen_by: int, cameras: int = 0, stop: int = -1, advance: int = -1, **changes: float
) -> dict[str, np.ndarray]:
    """Arrays of one lane; every number not given is 1. Its cameras are the first sensors."""
    numbers = {name: changes.pop(name, 1.0) for name in slow_tracker.KNOWN}
    near_s, far_s = changes.pop("near_s", 0.0), changes.pop("far_s", 10.0)
    assert not changes
    return (
        {name: np.full(1, value, np.float32) for name, value in numbers.items()}
        | {
            "seen_by": np.full(1, seen_by, np.uint8),
            "camera_ptr": np.array([0, cameras], np.int32),
            "camera_sensor": np.arange(cameras, dtype=np.int32),
            "camera_weight": np.ones(cameras, np.float32),
            "camera_near_s": np.full(cameras, near_s, np.float32),
            "camera_far_s": np.full(cameras, far_s, np.float32),
            "stop_sensor": np.full(1, stop, np.int32),
            "advance_sensor": np.full(1, advance, np.int32),
        }
        | tracker_state(1)
    )


RED, GREEN = np.zeros(1, np.uint8), np.ones(1, np.uint8)


@pytest.mark.parametrize("probe_kmh", [0.0, 50.0])
def test_lane_tracker_worked_by_hand(probe_kmh: float) -> None:
    """One unseen lane: 0.25 veh/s for 8 s of red, then a probe 30 m from the line."""
    arrays = one_lane(
        seen_by=slow_tracker.UNSEEN, assumed_vps=0.25, sat_flow_vps=0.5, view_veh=20.0
    )
    kernel = LaneTracker(**arrays)
    nothing = np.zeros((0, 2), np.float32)
    for _ in range(8):
        kernel.update(nothing, RED, 1.0)
    # Two are expected; as arrivals are random, it may be root two more.
    assert arrays["queue_veh"][0] == pytest.approx(2.0 + math.sqrt(2.0))
    lane = np.zeros(1, np.int32)
    kernel.bound(lane, np.array([30], np.float32), np.array([probe_kmh / 3.6], np.float32), 7.5)
    # Standing 4 vehicle lengths from the line it is the fifth; driving there it tells nothing
    # of a queue of three.
    queue_veh = 5.0 if probe_kmh == 0 else 2.0 + math.sqrt(2.0)
    assert arrays["queue_veh"][0] == pytest.approx(queue_veh)
    kernel.update(nothing, GREEN, 4.0)
    expected_veh = 4.0 if probe_kmh == 0 else 1.0
    assert arrays["queue_veh"][0] == pytest.approx(expected_veh + math.sqrt(2.0))
    assert arrays["departed_veh"][0] == 2.0


@settings(max_examples=120, deadline=None)
@given(run=tracker_runs())
def test_lane_tracker_tells_nothing_impossible(
    run: tuple[dict[str, np.ndarray], list[Any]],
) -> None:
    """No negative number, no queue longer than its storage, whatever the sensors say."""
    arrays, rows = run
    kernel = LaneTracker(**arrays)
    for ticks, readings, greens, dt_s, _ in rows:
        # A camera counts those that stand among those in view.
        reading = np.array([(count, share * count) for count, share in readings], np.float32)
        for _ in range(ticks):
            kernel.update(reading, np.array(greens, np.uint8), dt_s)
            for name in slow_tracker.STATE:
                assert (arrays[name] >= 0).all(), name
            assert (arrays["flowing"] <= 1).all()
            assert (arrays["gap_s"] <= 99).all()
            seen = arrays["seen_by"] != slow_tracker.UNSEEN
            assert (arrays["beyond"] <= arrays["most_beyond_veh"])[seen].all()
            holds_veh = arrays["view_veh"] + arrays["most_beyond_veh"]
            assert (arrays["between"] <= holds_veh)[~seen].all()


@settings(max_examples=100, deadline=None)
@given(
    seen=st.lists(st.tuples(float32s(0, 20), st.floats(0, 1)), min_size=1, max_size=3),
    near_s=float32s(0, 6),
    length_s=float32s(0.5, 8),
)
def test_those_in_view_are_expected_once(
    seen: list[tuple[float, float]], near_s: float, length_s: float
) -> None:
    """All that move in view come within the time the view covers, and no other."""
    arrays = one_lane(
        seen_by=slow_tracker.CAMERAS, cameras=len(seen), near_s=near_s, far_s=near_s + length_s
    )
    reading = np.array([(count, share * count) for count, share in seen], np.float32)
    LaneTracker(**arrays).update(reading, RED, 1.0)
    coming = arrays["coming_vps"][0]
    moving = float((reading[:, 0] - reading[:, 1]).sum())
    assert coming.sum() == pytest.approx(moving, rel=1e-4, abs=1e-4)
    first, last = int(near_s), int(np.ceil(near_s + length_s))
    assert not coming[:first].any()
    assert not coming[last:].any()


def test_a_lane_whose_queue_stays_at_green_is_noticed_and_forgotten() -> None:
    arrays = one_lane(seen_by=slow_tracker.CAMERAS, cameras=1, stop=1, view_veh=20.0)
    kernel = LaneTracker(**arrays)
    stuck, moving = f4([(4, 4), (0, 0)]), f4([(4, 2), (1, 1)])
    told = []
    for reading, green, ticks in ((stuck, GREEN, 30), (stuck, RED, 120), (moving, GREEN, 30)):
        for _ in range(ticks):
            kernel.update(reading, green, 1.0)
            told.append(float(arrays["flowing"][0]))
    # A queue is given time to start; then it is believed within seconds.
    assert told[2] == 1.0
    assert told[29] < 0.05
    # At red nobody can tell: what was believed fades, slowly.
    assert 0.0 < told[40] < 0.5 < told[149]
    assert told[-1] > 0.99


def test_a_queue_past_the_view_grows_at_the_flow_known_before_up_to_its_storage() -> None:
    arrays = one_lane(
        seen_by=slow_tracker.CAMERAS, cameras=1, view_veh=4.0, view_s=10.0, most_beyond_veh=6.0
    )
    kernel = LaneTracker(**arrays)
    for _ in range(1200):
        kernel.update(f4([(2.5, 0)]), RED, 1.0)
    flow = float(arrays["flow_vps"][0])
    # Little's law with the extra time of those that brake: 2.5 in view for 12.5 s.
    assert flow == pytest.approx(0.2, rel=0.02)
    for _ in range(10):
        kernel.update(f4([(4, 4)]), RED, 1.0)
    assert arrays["queue_veh"][0] == pytest.approx(4 + 10 * flow, rel=1e-3)
    for _ in range(100):
        kernel.update(f4([(4, 4)]), RED, 1.0)
    assert arrays["queue_veh"][0] == 10.0
    assert float(arrays["flow_vps"][0]) == flow
    # Once the view is seen to be half empty nothing is left behind it.
    kernel.update(f4([(2, 2)]), GREEN, 1.0)
    assert arrays["queue_veh"][0] == 2.0


def test_departures_are_averaged_over_about_a_cycle() -> None:
    arrays = one_lane(seen_by=slow_tracker.LOOPS, stop=0)
    kernel = LaneTracker(**arrays)
    for second in range(600):
        kernel.update(f4([(second % 4 == 0, 0.25)]), GREEN, 1.0)
    assert arrays["out_vps"][0] == pytest.approx(0.25, rel=0.1)


@pytest.mark.parametrize("late_s", [100.0, 600.0])
def test_a_tick_that_comes_very_late_overshoots_no_average(late_s: float) -> None:
    arrays = one_lane(seen_by=slow_tracker.LOOPS, stop=0, advance=1)
    kernel = LaneTracker(**arrays)
    nobody = np.zeros((2, 2), np.float32)
    for _ in range(60):
        kernel.update(f4([(1, 0.3), (1, 0.3)]), GREEN, 1.0)
    # The lane is blocked for a while, then nothing is heard for long.
    for _ in range(10):
        kernel.update(f4([(0, 1), (0, 0)]), GREEN, 1.0)
    kernel.update(nobody, RED, late_s)
    assert arrays["out_vps"][0] >= 0
    assert arrays["flow_vps"][0] >= 0
    assert 0 <= arrays["flowing"][0] <= 1


# ---- arrivals ----

RING_S = 32


@st.composite
def forecasts(draw: st.DrawFn) -> tuple[dict[str, np.ndarray], list[Any]]:
    """Lanes that feed one another, and rows of (seconds since the last, left, flow, coming)."""
    lanes = draw(st.integers(1, 4))
    feeds = draw(
        st.lists(
            st.tuples(
                st.integers(0, lanes - 1),
                st.integers(0, lanes - 1),
                float32s(0.0625, 1),
                st.integers(1, RING_S - 2),
            ),
            max_size=8,
        ).map(sorted)
    )
    flags = st.lists(st.integers(0, 1), min_size=lanes, max_size=lanes)
    source = [feed[0] for feed in feeds]
    arrays: dict[str, np.ndarray] = {
        "feed_ptr": np.searchsorted(source, np.arange(lanes + 1)).astype(np.int32),
        "feed_to": np.array([feed[1] for feed in feeds], np.int32),
        "feed_share": np.array([feed[2] for feed in feeds], np.float32),
        "feed_s": np.array([feed[3] for feed in feeds], np.int32),
        "seen_s": np.array(
            draw(st.lists(float32s(0, 8), min_size=lanes, max_size=lanes)), np.float32
        ),
        "internal": np.array(draw(flags), np.uint8),
        "fed": np.array(draw(flags), np.uint8),
        "ring": np.zeros((lanes, RING_S), np.float32),
        "fed_vps": np.zeros(lanes, np.float32),
    }
    # Ticks come late, several in a second, and after jumps of the clock both ways.
    later = st.sampled_from([1, 1, 1, 1, 0, 2, 5, RING_S - 1, RING_S, 1000, -3])
    of_lanes = st.lists(st.one_of(st.just(0.0), float32s(0, 4)), min_size=lanes, max_size=lanes)
    coming = st.lists(float32s(0, 2), min_size=5, max_size=5)
    row = st.tuples(later, of_lanes, of_lanes, st.lists(coming, min_size=lanes, max_size=lanes))
    return arrays, draw(st.lists(row, min_size=1, max_size=30))


FORECAST_MOVES = ("ring", "fed_vps")


@settings(max_examples=150, deadline=None)
@given(run=forecasts(), horizon=st.sampled_from([3, 20, RING_S + 5]))
def test_arrival_forecast_equals_its_twin(
    run: tuple[dict[str, np.ndarray], list[Any]], horizon: int
) -> None:
    given_arrays, rows = run
    lanes = len(given_arrays["seen_s"])
    arrays = frozen(given_arrays, FORECAST_MOVES)
    kernel = ArrivalForecast(**arrays)
    twin = slow_arrivals.ArrivalForecast(**given_arrays)
    arrival, scale = np.full((lanes, horizon), np.nan, np.float32), np.full(lanes, np.nan, "f4")
    now_s = 1_700_000_000
    for later_s, left, flow, coming in rows:
        now_s += later_s
        departed, flow_vps, coming_vps = f4(left), f4(flow), f4(coming)
        for array in (departed, flow_vps, coming_vps):
            array.flags.writeable = False
        kernel.update(now_s, departed, flow_vps, coming_vps, arrival, scale)
        expected, expected_scale = twin.update(now_s, departed, flow_vps, coming_vps, horizon)
        np.testing.assert_array_equal(arrival, expected)
        np.testing.assert_array_equal(scale, expected_scale)
        np.testing.assert_array_equal(arrays["fed_vps"], twin.fed_vps)
        for values in (arrival, scale, *(arrays[name] for name in FORECAST_MOVES)):
            assert (values >= 0).all()
    for name in given_arrays.keys() - set(FORECAST_MOVES):
        assert (arrays[name] == given_arrays[name]).all(), f"{name} was written"


@settings(max_examples=120, deadline=None)
@given(run=forecasts())
def test_what_is_laid_into_the_ring_comes_out_once(
    run: tuple[dict[str, np.ndarray], list[Any]],
) -> None:
    """Seen by nobody and with no flow of its own, a lane is told of just what is sent to it."""
    arrays, rows = run
    lanes = len(arrays["seen_s"])
    arrays |= {
        "seen_s": np.zeros(lanes, np.float32),
        "fed": np.zeros(lanes, np.uint8),
        "internal": np.ones(lanes, np.uint8),
    }
    kernel = ArrivalForecast(**arrays)
    arrival, scale = np.zeros((lanes, RING_S), np.float32), np.zeros(lanes, np.float32)
    none, unseen = np.zeros(lanes, np.float32), np.zeros((lanes, 0), np.float32)
    sent, came, now_s = np.zeros(lanes), np.zeros(lanes), 0
    # Ticks within the reach of the ring only: what a longer pause swallows is lost on purpose.
    ticks = [(later, left) for later, left, _, _ in rows if 0 <= later < RING_S]
    for later_s, left in [*ticks, (RING_S - 1, none), (1, none)]:
        came += arrival[:, :later_s].sum(axis=1, dtype=np.float64)
        now_s += later_s
        kernel.update(now_s, f4(left), none, unseen, arrival, scale)
        for lane in range(lanes):
            for k in range(arrays["feed_ptr"][lane], arrays["feed_ptr"][lane + 1]):
                sent[arrays["feed_to"][k]] += arrays["feed_share"][k] * left[lane]
    assert not arrays["ring"].any()
    np.testing.assert_allclose(came, sent, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("jump_s", [-1, RING_S, 10**6])
def test_a_jump_of_the_clock_forgets_what_was_on_its_way(jump_s: int) -> None:
    arrays: dict[str, np.ndarray] = {
        "feed_ptr": np.array([0, 1, 1], np.int32),
        "feed_to": np.array([1], np.int32),
        "feed_share": np.ones(1, np.float32),
        "feed_s": np.array([10], np.int32),
        "seen_s": np.zeros(2, np.float32),
        "internal": np.zeros(2, np.uint8),
        "fed": np.array([0, 1], np.uint8),
        "ring": np.zeros((2, RING_S), np.float32),
        "fed_vps": np.zeros(2, np.float32),
    }
    kernel = ArrivalForecast(**arrays)
    arrival, scale = np.zeros((2, 20), np.float32), np.zeros(2, np.float32)
    left, flow, unseen = f4([2, 0]), f4([0, 0.5]), np.zeros((2, 0), np.float32)
    kernel.update(1000, left, flow, unseen, arrival, scale)
    # Two leave now: at the next line in ten seconds, spread by one each way, on top of the flow.
    platoon = np.zeros(20, np.float32)
    platoon[9:12] = 0.5, 1.0, 0.5
    np.testing.assert_array_equal(arrival[1], platoon + np.float32(0.5))
    np.testing.assert_array_equal(arrival[0], 0)
    kernel.update(1000 + jump_s, np.zeros(2, np.float32), flow, unseen, arrival, scale)
    np.testing.assert_array_equal(arrival[1], np.float32(0.5))


def test_a_ring_that_tells_of_most_of_the_flow_is_scaled_to_it() -> None:
    """A lane is fed 0.3 veh/s and measures 0.4: the platoons count for all of it."""
    arrays: dict[str, np.ndarray] = {
        "feed_ptr": np.array([0, 1, 1], np.int32),
        "feed_to": np.array([1], np.int32),
        "feed_share": np.full(1, 0.6, np.float32),
        "feed_s": np.array([10], np.int32),
        "seen_s": np.zeros(2, np.float32),
        "internal": np.zeros(2, np.uint8),
        "fed": np.array([0, 1], np.uint8),
        "ring": np.zeros((2, RING_S), np.float32),
        "fed_vps": np.zeros(2, np.float32),
    }
    kernel = ArrivalForecast(**arrays)
    arrival, scale = np.zeros((2, 20), np.float32), np.zeros(2, np.float32)
    unseen = np.zeros((2, 0), np.float32)
    told = 0.0
    for now_s in range(2000):
        left = f4([10.0 if now_s % 20 == 0 else 0.0, 0])
        kernel.update(now_s, left, f4([0, 0.4]), unseen, arrival, scale)
        told += float(arrival[1, 0]) if now_s >= 1000 else 0.0
    assert scale[1] == pytest.approx(4 / 3, rel=0.05)
    assert told / 1000 == pytest.approx(0.4, rel=0.05)


@settings(max_examples=120, deadline=None)
@given(data=st.data(), run=forecasts(), horizon=st.integers(1, 20))
def test_add_planned_equals_its_twin(
    data: st.DataObject, run: tuple[dict[str, np.ndarray], list[Any]], horizon: int
) -> None:
    feeds, _ = run
    lanes = len(feeds["seen_s"])
    rows = data.draw(st.integers(1, 3))
    longest, now_s = 12, 1_700_000_000
    draws = {
        "fed_scale": float32s(0, 2),
        "flow_vps": float32s(0, 1),
    }
    inputs: dict[str, np.ndarray] = {
        name: np.array(data.draw(st.lists(x, min_size=lanes, max_size=lanes)), np.float32)
        for name, x in draws.items()
    }
    age = st.lists(st.sampled_from([0, 1, 5, 11, 40, 10**6]), min_size=rows, max_size=rows)
    reach = st.lists(st.integers(0, longest), min_size=rows, max_size=rows)
    plan = st.lists(float32s(0, 1), min_size=rows * longest, max_size=rows * longest)
    of = st.lists(st.integers(-1, rows - 1), min_size=lanes, max_size=lanes)
    asked = st.lists(st.integers(0, horizon), min_size=lanes, max_size=lanes)
    seen = st.lists(float32s(0, 1), min_size=lanes * horizon, max_size=lanes * horizon)
    inputs |= {
        "asked_s": np.array(data.draw(asked), np.int32),
        "forecast_vps": np.array(data.draw(seen), np.float32).reshape(lanes, horizon),
        "told_s": now_s - np.array(data.draw(age), np.int64),
        "horizon_s": np.array(data.draw(reach), np.int32),
        "planned_vps": np.array(data.draw(plan), np.float32).reshape(rows, longest),
        "planned_of": np.array(data.draw(of), np.int32),
    }
    inputs |= {
        name: feeds[name] for name in ("feed_ptr", "feed_to", "feed_share", "feed_s", "seen_s")
    }
    arrays = frozen(inputs, ())
    before = np.full((lanes, horizon + 1), 7, np.float32)
    after = before.copy()
    add_planned(**arrays, now_s=now_s, arrival_vps=after)
    np.testing.assert_array_equal(after, slow_arrivals.add_planned(inputs, now_s, before))
    for lane in range(lanes):
        # What the lane sees for itself stands, and what nobody asks for.
        asked_s, forecast = int(inputs["asked_s"][lane]), inputs["forecast_vps"][lane]
        seen_s = min(int(inputs["seen_s"][lane]), asked_s)
        assert (after[lane, :seen_s] == forecast[:seen_s]).all()
        assert (after[lane, :asked_s] >= forecast[:asked_s]).all()
        assert (after[lane, asked_s:] == 7).all()
    for name, value in inputs.items():
        assert (arrays[name] == value).all(), f"{name} was written"


def test_a_plan_told_later_than_now_is_not_read_out_of_another_row() -> None:
    """The clock went back: the plan of row 1 begins three seconds from now."""
    inputs: dict[str, np.ndarray] = {
        "feed_ptr": np.array([0, 1, 1], np.int32),
        "feed_to": np.array([1], np.int32),
        "feed_share": np.ones(1, np.float32),
        "feed_s": np.array([4], np.int32),
        "fed_scale": np.ones(2, np.float32),
        "seen_s": np.zeros(2, np.float32),
        "flow_vps": np.zeros(2, np.float32),
        "told_s": np.array([1000, 1003], np.int64),
        "horizon_s": np.full(2, 8, np.int32),
        "planned_vps": np.zeros((2, 8), np.float32),
        "planned_of": np.array([1, -1], np.int32),
        "asked_s": np.full(2, 10, np.int32),
        "forecast_vps": np.zeros((2, 10), np.float32),
    }
    inputs["planned_vps"][0] = 0.5
    arrival = np.ones((2, 10), np.float32)
    add_planned(**inputs, now_s=1000, arrival_vps=arrival)
    assert not arrival.any()


@settings(max_examples=120, deadline=None)
@given(data=st.data(), run=forecasts(), horizon=st.integers(1, 20))
def test_waits_ahead_equals_its_twin(
    data: st.DataObject, run: tuple[dict[str, np.ndarray], list[Any]], horizon: int
) -> None:
    feeds, _ = run
    lanes, now_s = len(feeds["seen_s"]), 1_700_000_000
    rows = lanes + 1
    age = st.lists(st.sampled_from([0, 1, 5, 11, 40, 10**6]), min_size=rows, max_size=rows)
    reach = st.lists(st.integers(0, horizon), min_size=rows, max_size=rows)
    wait = st.lists(float32s(0, 60), min_size=rows * horizon, max_size=rows * horizon)
    crowd = st.lists(float32s(0, 1), min_size=rows, max_size=rows)
    asked = st.lists(st.integers(0, horizon), min_size=lanes, max_size=lanes)
    some = data.draw(st.permutations(range(rows)))[:lanes]
    told = data.draw(st.lists(st.booleans(), min_size=lanes, max_size=lanes))
    inputs = {name: feeds[name] for name in ("feed_ptr", "feed_to", "feed_share", "feed_s")} | {
        "told_s": now_s - np.array(data.draw(age), np.int64),
        "horizon_s": np.array(data.draw(reach), np.int32),
        "wait_s": np.array(data.draw(wait), np.float32).reshape(rows, horizon),
        "row_of": np.where(told, some, -1).astype(np.int32),
        "crowded": np.array(data.draw(crowd), np.float32),
        "asked_s": np.array(data.draw(asked), np.int32),
    }
    arrays = frozen(inputs, ())
    before = np.full((rows, horizon), 7, np.float32)
    after = before.copy()
    waits_ahead(**arrays, now_s=now_s, ahead_s=after)
    np.testing.assert_array_equal(after, slow_arrivals.waits_ahead(inputs, now_s, before))
    # Rows of no lane stand as they were.
    for row in set(range(rows)) - set(inputs["row_of"].tolist()):
        assert (after[row] == 7).all()
    for name, value in inputs.items():
        assert (arrays[name] == value).all(), f"{name} was written"


# ---- split ----


@st.composite
def split_problems(draw: st.DrawFn) -> list[slow_split.Crossroads]:
    """Junctions with their own lanes; a lane may be served by several stages."""
    problems, first_lane = [], 0
    for _ in range(draw(st.integers(1, 3))):
        lanes = range(first_lane, first_lane + draw(st.integers(1, 4)))
        first_lane = lanes.stop
        served = st.lists(st.sampled_from(lanes), max_size=4, unique=True)
        stages = [
            slow_split.Stage(
                draw(st.floats(0, 15)),
                [(lane, draw(float32s(0.125, 1))) for lane in draw(served)],
            )
            for _ in range(draw(st.integers(1, 4)))
        ]
        problems.append(
            slow_split.Crossroads(
                cycle_s=draw(st.floats(30, 120)),
                lost_s=draw(st.floats(0, 20)),
                stages=stages,
                flow={lane: draw(st.one_of(st.just(0.0), float32s(0, 1))) for lane in lanes},
                sat={lane: draw(float32s(0.25, 1)) for lane in lanes},
            )
        )
    return problems


@settings(max_examples=300, deadline=None)
@given(problems=split_problems(), step_s=st.sampled_from([1.0, 0.5, 3.0]))
def test_split_equals_its_twin(problems: list[slow_split.Crossroads], step_s: float) -> None:
    stages = [stage for problem in problems for stage in problem.stages]
    pairs = [pair for stage in stages for pair in stage.serves]
    lanes = sum(len(problem.flow) for problem in problems)
    inputs = {
        "junction_stage_ptr": np.cumsum([0] + [len(p.stages) for p in problems], dtype=np.int32),
        "cycle_s": np.array([p.cycle_s for p in problems]),
        "lost_s": np.array([p.lost_s for p in problems]),
        "min_green_s": np.array([stage.min_green_s for stage in stages]),
        "pair_ptr": np.cumsum([0] + [len(s.serves) for s in stages], dtype=np.int32),
        "pair_lane": np.array([lane for lane, _ in pairs], np.int32),
        "pair_rate": np.array([rate for _, rate in pairs], np.float32),
        "flow_vps": np.array([v for p in problems for v in p.flow.values()], np.float32),
        "sat_vps": np.array([v for p in problems for v in p.sat.values()], np.float32),
    }
    arrays = frozen(inputs, ())
    lane_green_s, green_s = np.full(lanes, np.nan), np.full(len(stages), np.nan)
    delay = np.full(len(problems), np.nan)
    split_greens(**arrays, step_s=step_s, lane_green_s=lane_green_s, green_s=green_s, delay=delay)
    assert delay.tolist() == [problem.split(step_s) for problem in problems]
    assert green_s.tolist() == [stage.green_s for stage in stages]
    for problem in problems:
        for lane, green in problem.lane_green_s.items():
            assert lane_green_s[lane] == green
    for name, value in inputs.items():
        assert (arrays[name] == value).all(), f"{name} was written"
