"""Every kernel gives the same bits as its slow twin in `tests.reference`, and writes no input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import topis
from tests import networks
from tests.reference import interlock as slow_interlock
from tests.reference import lane_tracker as slow_tracker
from tests.reference import split as slow_split
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


@st.composite
def tracker_runs(draw: st.DrawFn) -> tuple[dict[str, np.ndarray], list[Any]]:
    """Arrays of some lanes and rows of (readings, green, step in s, probes)."""
    lanes, sensors = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    sensor = st.integers(0, sensors - 1)
    seen_by, cameras, weights, stop, advance = [], [], [], [], []
    ptr = [0]
    for _ in range(lanes):
        seen_by.append(draw(st.sampled_from([0, 1, 1, 2])))
        mine = draw(st.lists(sensor, max_size=3)) if seen_by[-1] == 2 else []
        cameras += mine
        weights += [draw(st.sampled_from([1.0, 0.5, 1 / 3])) for _ in mine]
        ptr.append(len(cameras))
        stop.append(draw(sensor) if seen_by[-1] == 1 else -1)
        advance.append(draw(st.one_of(st.just(-1), sensor)) if seen_by[-1] == 1 else -1)

    def floats(low: float, high: float) -> np.ndarray:
        values = st.lists(float32s(low, high), min_size=lanes, max_size=lanes)
        return np.array(draw(values), np.float32)

    arrays = {
        "seen_by": np.array(seen_by, np.uint8),
        "camera_ptr": np.array(ptr, np.int32),
        "camera_sensor": np.array(cameras, np.int32),
        "camera_weight": np.array(weights, np.float32),
        "stop_sensor": np.array(stop, np.int32),
        "advance_sensor": np.array(advance, np.int32),
        "between_veh": floats(1, 10),
        "transit_s": floats(1, 20),
        "view_s": floats(1, 20),
        "free_pass_s": floats(0.125, 2),
        "sat_flow_vps": floats(0.125, 1),
        "assumed_vps": floats(0, 0.5),
    } | {name: np.zeros(lanes, np.float32) for name in slow_tracker.STATE}
    arrays["gap_s"] += np.float32(99)
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


LANE_SIZES = ("between_veh", "transit_s", "view_s", "free_pass_s")


@pytest.mark.parametrize("probe_kmh", [0.0, 50.0])
def test_lane_tracker_worked_by_hand(probe_kmh: float) -> None:
    """One unseen lane: 0.25 veh/s for 8 s of red, then a probe 30 m from the line."""
    arrays = {
        "seen_by": np.zeros(1, np.uint8),
        "camera_ptr": np.zeros(2, np.int32),
        "camera_sensor": np.zeros(0, np.int32),
        "camera_weight": np.zeros(0, np.float32),
        "stop_sensor": np.full(1, -1, np.int32),
        "advance_sensor": np.full(1, -1, np.int32),
        "assumed_vps": np.full(1, 0.25, np.float32),
        "sat_flow_vps": np.full(1, 0.5, np.float32),
    } | {name: np.ones(1, np.float32) for name in LANE_SIZES}
    arrays |= {name: np.zeros(1, np.float32) for name in slow_tracker.STATE}
    kernel = LaneTracker(**arrays)
    nothing, red, green = np.zeros((0, 2), np.float32), np.zeros(1, np.uint8), np.ones(1, np.uint8)
    for _ in range(8):
        kernel.update(nothing, red, 1.0)
    assert arrays["queue_veh"][0] == 2.0
    lane = np.zeros(1, np.int32)
    kernel.bound(lane, np.array([30], np.float32), np.array([probe_kmh / 3.6], np.float32), 7.5)
    # Standing 4 vehicle lengths from the line it is the fifth; driving there it tells nothing
    # of a queue of two.
    assert arrays["queue_veh"][0] == (5.0 if probe_kmh == 0 else 2.0)
    kernel.update(nothing, green, 4.0)
    assert arrays["queue_veh"][0] == (4.0 if probe_kmh == 0 else 1.0)


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
