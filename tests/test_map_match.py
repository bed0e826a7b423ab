"""Map matching: the kernels equal their twins, and vehicles are found where they are."""

from __future__ import annotations

import itertools
import math
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sumolib
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import map_match as slow
from tests.reference.link_ways import link_ways as slow_ways
from tests.traces import Trace, drive
from topis._core.map_match import MapMatch
from topis.errors import InputError
from topis.ingest.map_match import BEAM, PLACE, MapMatcher, Matched, Points
from topis.ingest.match_arrays import MatchSettings, match_arrays
from topis.ingest.network_file import load_network
from topis.ingest.road_map import Projection, RoadMap, road_map_of_sumo_net

NAN = math.nan


def road_map(
    lines: Mapping[str, Sequence[tuple[float, float]]], follows: Mapping[str, Sequence[str]]
) -> RoadMap:
    number = {name: k for k, name in enumerate(lines)}
    onward = [[number[to] for to in follows.get(name, ())] for name in lines]
    return RoadMap(
        link_ids=tuple(lines),
        shape_ptr=np.cumsum([0] + [len(line) for line in lines.values()]).astype(np.int32),
        shape_m=np.array([point for line in lines.values() for point in line], float).reshape(
            -1, 2
        ),
        next_ptr=np.cumsum([0] + [len(to) for to in onward]).astype(np.int32),
        next_link=np.array([to for some in onward for to in some], np.int32),
    )


def points(*rows: tuple[float, float, float, float, float], vehicle: int = 0) -> Points:
    """Rows of (time s, x, y, speed, heading)."""
    time_s, x, y, speed, heading = np.array(rows, float).reshape(-1, 5).T
    return Points(np.full(len(rows), vehicle), np.rint(time_s * 1000), x, y, speed, heading)


def names(roads: RoadMap, matched: Matched) -> list[str | None]:
    return [None if link < 0 else roads.link_ids[link] for link in matched.link]


def both(roads: RoadMap, rows: Points) -> list[Matched]:
    """As a feed comes in, and as a whole trace."""
    return [MapMatcher(roads).match(rows), MapMatcher(roads).match_traces(rows)]


def assert_equal(a: Matched, b: Matched) -> None:
    for name, values in vars(a).items():
        np.testing.assert_array_equal(values, getattr(b, name), err_msg=name)


# ---- kernels and twins ----


@st.composite
def maps(draw: st.DrawFn) -> RoadMap:
    """A few bent links between a few corners, some of them over each other."""
    corner = st.tuples(st.integers(-12, 12), st.integers(-12, 12)).map(
        lambda xy: (17.3 * xy[0], 17.3 * xy[1])
    )
    corners = draw(st.lists(corner, min_size=2, max_size=5, unique=True))
    line = st.lists(st.sampled_from(corners), min_size=2, max_size=4)
    lines = {
        str(k): points for k, points in enumerate(draw(st.lists(line, min_size=1, max_size=7)))
    }
    if all(len(set(line)) == 1 for line in lines.values()):
        lines["0"] = corners[:2]
    onward = st.lists(st.sampled_from(sorted(lines)), max_size=3, unique=True)
    return road_map(lines, {name: draw(onward) for name in lines})


@st.composite
def reports(draw: st.DrawFn) -> Points:
    """Points of up to three vehicles in order of time, now and then out of it."""
    coordinate = st.floats(-250, 250, width=32)
    row = st.tuples(
        st.integers(0, 2),
        st.sampled_from([0, 1000, 1000, 1000, 2000, 10_000, 30_000, 400_000, -1500]),
        coordinate,
        coordinate,
        st.one_of(st.just(NAN), st.just(0.0), st.floats(0, 20, width=32)),
        st.one_of(st.just(NAN), st.floats(0, 360, width=32)),
    )
    rows = np.array(draw(st.lists(row, min_size=1, max_size=25)), float)
    return Points(rows[:, 0], 1_700_000_000_000 + np.cumsum(rows[:, 1]), *rows[:, 2:].T)


SETTINGS = st.sampled_from(
    [
        MatchSettings(),
        MatchSettings(step_m=0.0, jump=4.0, waiting=0.0),
        MatchSettings(radius_m=120.0, sigma_m=40.0, step_m=30.0, reach_m=60.0, slack_share=0.0),
    ]
)


def kernel_points(roads: RoadMap, rows: Points) -> tuple[np.ndarray, ...]:
    local = (np.column_stack((rows.x_m, rows.y_m)) - roads.origin_m).astype(np.float32)
    return local[:, 0].copy(), local[:, 1].copy(), rows.speed_mps, rows.heading_deg, rows.time_ms


def twin_points(roads: RoadMap, rows: Points) -> list[slow.Point]:
    columns = kernel_points(roads, rows)
    return [slow.Point(x, y, v, h, int(t)) for x, y, v, h, t in zip(*columns, strict=True)]


def frozen(arrays: dict[str, Any]) -> dict[str, Any]:
    for value in arrays.values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    return arrays


@settings(max_examples=150, deadline=None)
@given(roads=maps(), rows=reports(), choice=SETTINGS, threads=st.integers(1, 3))
def test_match_equals_its_twin(
    roads: RoadMap, rows: Points, choice: MatchSettings, threads: int
) -> None:
    arrays = frozen(match_arrays(roads, choice))
    twin = slow.MapMatch(**arrays)
    expected = [
        twin.match(int(vehicle), point)
        for vehicle, point in zip(rows.vehicle, twin_points(roads, rows), strict=True)
    ]
    got = Matched.empty(len(rows.vehicle))
    # Rows 16 apart are of different threads.
    beams = np.zeros(48, BEAM)
    kernel = MapMatch(**arrays)
    own = (rows.vehicle * 16).astype(np.int32)
    kernel.match(*kernel_points(roads, rows), own, beams, *vars(got).values(), threads)
    for name, column in zip(vars(got), zip(*expected, strict=True), strict=True):
        assert getattr(got, name).tolist() == [float(value) for value in column], name


@settings(max_examples=150, deadline=None)
@given(roads=maps(), rows=reports(), choice=SETTINGS, threads=st.integers(1, 3))
def test_match_traces_equals_its_twin(
    roads: RoadMap, rows: Points, choice: MatchSettings, threads: int
) -> None:
    arrays = frozen(match_arrays(roads, choice))
    order = np.lexsort((rows.time_ms, rows.vehicle))
    rows = Points(*(column[order] for column in vars(rows).values()))
    twin, all_points = slow.MapMatch(**arrays), twin_points(roads, rows)
    ptr = np.searchsorted(rows.vehicle, np.arange(4)).astype(np.int32)
    expected = [
        row
        for first, stop in itertools.pairwise(ptr)
        for row in twin.match_trace(all_points[first:stop])
    ]
    count = len(rows.vehicle)
    got, past = Matched.empty(count), (np.empty((count, 4), PLACE), np.empty(count, np.int32))
    kernel = MapMatch(**arrays)
    kernel.match_traces(*kernel_points(roads, rows), ptr, *past, *vars(got).values(), threads)
    for name, column in zip(vars(got), zip(*expected, strict=True), strict=True):
        assert getattr(got, name).tolist() == [float(value) for value in column], name


@settings(max_examples=100, deadline=None)
@given(roads=maps(), most_m=st.sampled_from([1.0, 100.0, 800.0]))
def test_link_ways_equal_their_twin(roads: RoadMap, most_m: float) -> None:
    arrays = match_arrays(roads, MatchSettings(reach_m=most_m))
    owner = np.repeat(np.arange(roads.links), np.diff(roads.next_ptr))
    first, last = roads.shape_ptr[roads.next_link], roads.shape_ptr[owner + 1] - 1
    gap = (roads.shape_m - roads.origin_m)[first] - (roads.shape_m - roads.origin_m)[last]
    inputs = {
        "next_ptr": roads.next_ptr,
        "next_link": roads.next_link,
        "next_m": np.hypot(gap[:, 0], gap[:, 1]).astype(np.float32),
        "length_m": arrays["length_m"],
    }
    for link in range(roads.links):
        low, high = arrays["reach_ptr"][link : link + 2]
        found = dict(zip(arrays["reach_link"][low:high], arrays["reach_m"][low:high], strict=True))
        assert found == slow_ways(link, inputs, most_m)
        assert sorted(found.values()) == list(found.values())


@settings(max_examples=50, deadline=None)
@given(roads=maps(), rows=reports(), cuts=st.lists(st.integers(0, 25), max_size=4), data=st.data())
def test_cuts_and_threads_do_not_matter(
    roads: RoadMap, rows: Points, cuts: list[int], data: st.DataObject
) -> None:
    whole = MapMatcher(roads).match(rows)
    matcher = MapMatcher(roads)
    edges = [0, *sorted(min(cut, len(rows.vehicle)) for cut in cuts), len(rows.vehicle)]
    parts = []
    for first, stop in itertools.pairwise(edges):
        some = Points(*(column[first:stop] for column in vars(rows).values()))
        parts.append(matcher.match(some, threads=data.draw(st.integers(1, 3))))
    columns = zip(*(vars(part).values() for part in parts), strict=True)
    assert_equal(whole, Matched(*(np.concatenate(column) for column in columns)))


# ---- where vehicles are found ----

#: A road of two directions 8 m apart, then a junction from which three roads lead on.
CROSS = road_map(
    {
        "in": [(-200, -4), (-12, -4)],
        "back": [(-12, 4), (-200, 4)],
        "on": [(12, -4), (200, -4)],
        "up": [(4, 12), (4, 200)],
        "down": [(-4, -12), (-4, -200)],
    },
    {"in": ["on", "up", "down"]},
)


def test_directions_of_a_road_are_told_apart_by_heading() -> None:
    east = points(*((t, -150 + 10 * t, 0.5, 10, 90) for t in range(10)))
    west = points(*((t, -50 - 10 * t, -0.5, 10, 270) for t in range(10)))
    for matched in both(CROSS, east):
        assert set(names(CROSS, matched)) == {"in"}
        assert np.allclose(matched.offset_m, 50 + 10 * np.arange(10), atol=0.01)
        assert np.allclose(matched.distance_m, 4.5, atol=0.01)
        assert (matched.confidence > 0.99).all()
    for matched in both(CROSS, west):
        assert set(names(CROSS, matched)) == {"back"}


def test_directions_of_a_road_are_told_apart_by_movement() -> None:
    east = points(*((t, -150 + 10 * t, 1.5, NAN, NAN) for t in range(10)))
    for matched in both(CROSS, east):
        assert set(names(CROSS, matched)[2:]) == {"in"}
    # Only looking back shows where the first points were.
    assert set(names(CROSS, MapMatcher(CROSS).match_traces(east))) == {"in"}


def test_a_standing_vehicle_stays_before_the_stop_line() -> None:
    """Its position seems to be 14 m further on, nearer to the next links than to its own."""
    rows = [(t, -100 + 8 * t, -4, 8, 90) for t in range(11)]
    rows += [(11 + t, 2, -8 + t % 3, 0, NAN) for t in range(60)]
    for matched in both(CROSS, points(*rows)):
        assert set(names(CROSS, matched)) == {"in"}
        assert (matched.offset_m[12:] == 188).all()


def test_a_turn_is_followed() -> None:
    rows = [(t, -60 + 10 * t, -4, 10, 90) for t in range(6)]
    rows += [(6 + t, 4, 20 + 10 * t, 10, 0) for t in range(5)]
    for matched in both(CROSS, points(*rows)):
        assert names(CROSS, matched)[:5] == ["in"] * 5
        assert names(CROSS, matched)[6:] == ["up"] * 5


#: A bus lane 4 m beside the road, with a road of its own before and after.
MEDIAN = road_map(
    {
        "road 1": [(0, 0), (300, 0)],
        "road 2": [(300, 0), (600, 0)],
        "bus 1": [(0, 4), (300, 4)],
        "bus 2": [(300, 4), (600, 4)],
        "depot": [(-200, 60), (0, 4)],
        "street": [(-200, -60), (0, 0)],
    },
    {"depot": ["bus 1"], "street": ["road 1"], "road 1": ["road 2"], "bus 1": ["bus 2"]},
)


@pytest.mark.parametrize(("y", "kind"), [(4.0, "bus"), (0.0, "road")])
def test_a_median_bus_lane_is_kept_to(y: float, kind: str) -> None:
    """By history: errors of 5 m do not tell lanes 4 m apart."""
    rng = np.random.default_rng(3)
    steps = np.arange(0, 60)
    side = np.where(kind == "bus", 1, -1) * np.where(steps < 20, 60 - 2.8 * steps, 0) + y
    x = -200 + 10.0 * steps
    heading = np.where(steps < 20, 106 if kind == "bus" else 74, 90)
    noise = rng.normal(0, 5, (2, 60))
    rows = points(*zip(steps, x + noise[0], side + noise[1], np.full(60, 10), heading, strict=True))
    for matched in both(MEDIAN, rows):
        found = names(MEDIAN, matched)[22:]
        assert sum(name is not None and name.startswith(kind) for name in found) >= 0.95 * 38


def test_a_tunnel_is_bridged() -> None:
    """60 s unseen on a long link: what comes out is on the link that leads out, with certainty."""
    roads = road_map(
        {"in": [(0, 0), (100, 0)], "tunnel": [(100, 0), (900, 0)], "out": [(900, 0), (1100, 0)],
         "above": [(800, 6), (1100, 6)]},
        {"in": ["tunnel"], "tunnel": ["out"]},
    )  # fmt: skip
    rows = points(
        *((t, 10 + 14 * t, 0, 14, 90) for t in range(6)),
        *((66 + t, 920 + 14 * t, 2.5, 14, 90) for t in range(6)),
    )
    for matched in both(roads, rows):
        assert names(roads, matched)[6:] == ["out"] * 6


def test_teleports_and_gaps_heal() -> None:
    rows = points(
        *((t, -150 + 10 * t, -4, 10, 90) for t in range(5)),
        *((5 + t, 4, 100 + 10 * t, 10, 0) for t in range(5)),
        *((1000 + t, -150 - 10 * t, 4, 10, 270) for t in range(4)),
    )
    for matched in both(CROSS, rows):
        assert names(CROSS, matched) == ["in"] * 5 + ["up"] * 5 + ["back"] * 4


def test_off_the_map_there_is_no_link() -> None:
    rows = points(
        (0, -100, -4, 10, 90),
        (1, -100, 80, 10, 90),
        (2, 5000, 0, 10, 90),
        (3, NAN, NAN, 10, 90),
        (4, -60, -4, 10, 90),
        (5, 1e9, -1e9, NAN, NAN),
    )
    for matched in both(CROSS, rows):
        assert names(CROSS, matched) == ["in", None, None, None, "in", None]
        off = matched.link < 0
        assert not matched.confidence[off].any()
        assert not matched.distance_m[off].any()


def test_more_links_than_are_kept() -> None:
    roads = road_map({str(k): [(0, k), (100, k)] for k in range(40)}, {})
    matched = MapMatcher(roads).match(points((0, 50, 33.2, NAN, NAN), (1, 50, 2.9, NAN, NAN)))
    assert names(roads, matched) == ["33", "3"]


def test_late_points_stand_alone() -> None:
    on_time = points((0, -100, -4, 10, 90), (5, -50, -4, 10, 90))
    matcher, other = MapMatcher(CROSS), MapMatcher(CROSS)
    matcher.match(on_time)
    other.match(on_time)
    late = matcher.match(points((1, -90, 4, 10, 270)))
    assert names(CROSS, late) == ["back"]
    after = points((6, -40, 0, 10, NAN))
    assert_equal(matcher.match(after), other.match(after))


def test_vehicles_expire() -> None:
    matcher, other = MapMatcher(CROSS), MapMatcher(CROSS)
    for vehicle in (7, 3, 90):
        old = points((vehicle, -100, -4, 10, 90), vehicle=vehicle)
        matcher.match(old)
        other.match(old)
    assert matcher.vehicles == 3
    assert matcher.expire(8000) == 2
    assert matcher.vehicles == 1
    for vehicle in (5, 3, 90, 12):
        new = points((1000, -100, 0, NAN, NAN), (1001, -110, 0, NAN, NAN), vehicle=vehicle)
        assert_equal(matcher.match(new), other.match(new))
    assert matcher.vehicles == 4
    with pytest.raises(InputError, match="dimension table"):
        matcher.match(points((0, 0, 0, 0, 0), vehicle=2**31))


def test_bad_input_is_refused() -> None:
    matcher = MapMatcher(CROSS)
    with pytest.raises(InputError, match="one value a point"):
        Points(np.zeros(2), np.zeros(2), np.zeros(2), np.zeros(3), np.zeros(2), np.zeros(2))
    with pytest.raises(InputError, match="heading"):
        matcher.match(points((0, 0, 0, 0, 361)))
    with pytest.raises(InputError, match="sort"):
        matcher.match_traces(points((5, 0, 0, 0, 0), (4, 0, 0, 0, 0)))
    with pytest.raises(InputError, match="projection"):
        matcher.metres(np.zeros(1, np.int32), np.zeros(1, np.int32))
    with pytest.raises(InputError, match="sigma_m"):
        MatchSettings(sigma_m=0)
    with pytest.raises(InputError, match="no link"):
        MapMatcher(road_map({"a": []}, {}))
    assert len(matcher.match(points()).link) == 0
    assert len(matcher.match_traces(points()).link) == 0


# ---- maps and metres ----


def test_a_projection_is_fitted_to_millimetres() -> None:
    """40 km of Seoul in UTM 52 N; far off there are no metres."""
    projection = Projection(
        "+proj=utm +zone=52 +ellps=WGS84 +datum=WGS84 +units=m +no_defs",
        (-300_000.0, -4_140_000.0),
        np.array([0.0, 0.0, 40_000.0, 40_000.0]),
    )
    rng = np.random.default_rng(1)
    lat_e7 = np.rint(rng.uniform(37.42, 37.70, 10_000) * 1e7).astype(np.int32)
    lon_e7 = np.rint(rng.uniform(126.78, 127.15, 10_000) * 1e7).astype(np.int32)
    x, y = projection(lat_e7, lon_e7)
    exact_x, exact_y = projection.exact(lon_e7 * 1e-7, lat_e7 * 1e-7)
    assert np.abs(x - exact_x).max() < 0.005
    assert np.abs(y - exact_y).max() < 0.005
    assert np.isnan(projection(lat_e7[:1], np.array([1_280_000_000], np.int32))).all()


def test_the_map_of_a_network(grid: Path) -> None:
    imported = load_network(grid)
    roads = road_map_of_sumo_net(grid, imported.network)
    assert roads.link_ids == imported.network.link_ids
    assert roads.projection is None
    lengths = MapMatcher(roads).road_map.shape_ptr
    assert len(lengths) == imported.network.links + 1
    with pytest.raises(InputError, match="other links"):
        road_map_of_sumo_net(Path("scenarios/single/single.net.xml"), imported.network)


# ---- simulated traffic ----


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("map_match") / "grid.net.xml"
    subprocess.run(
        [
            sumolib.checkBinary("netgenerate"), "--grid", "--grid.number", "4",
            "--grid.length", "150", "--grid.attach-length", "150", "--default.lanenumber", "2",
            "--no-turnarounds", "true", "--default-junction-type", "traffic_light",
            "--output-file", str(path),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def traffic(grid: Path) -> tuple[RoadMap, Trace]:
    """Ten minutes of 250 vehicles that turn at random."""
    net = sumolib.net.readNet(str(grid))
    rng = np.random.default_rng(1)
    starts = [edge for edge in net.getEdges() if not edge.getIncoming()]
    lines = ["<routes>"]
    for k in range(250):
        edge = starts[rng.integers(len(starts))]
        route = [edge.getID()]
        while edge.getOutgoing():
            onward = list(edge.getOutgoing())
            edge = onward[rng.integers(len(onward))]
            route.append(edge.getID())
        lines.append(
            f'<vehicle id="{k}" depart="{2 * k}"><route edges="{" ".join(route)}"/></vehicle>'
        )
    grid.with_name("grid.rou.xml").write_text("\n".join([*lines, "</routes>"]))
    config = grid.with_name("grid.sumocfg")
    config.write_text(
        '<configuration><input><net-file value="grid.net.xml"/>'
        '<route-files value="grid.rou.xml"/></input><time><end value="600"/></time></configuration>'
    )
    roads = road_map_of_sumo_net(grid)
    return roads, drive(config, roads.link_ids)


@pytest.mark.parametrize(
    ("sigma_m", "every_s", "online", "traces"),
    [(5, 1, 0.98, 0.99), (5, 10, 0.97, 0.98), (15, 1, 0.90, 0.92), (15, 10, 0.85, 0.90)],
)
def test_simulated_vehicles_are_found(
    traffic: tuple[RoadMap, Trace], sigma_m: float, every_s: int, online: float, traces: float
) -> None:
    roads, trace = traffic
    seen = trace.noisy(sigma_m).every(every_s)
    matcher = MapMatcher(roads)
    assert seen.right(matcher.match(seen.points()).link) >= online
    assert seen.right(matcher.match_traces(seen.points()).link) >= traces
    blind = MapMatcher(roads).match_traces(seen.points(heading=False))
    assert seen.right(blind.link) >= traces - 0.1


def test_without_errors_nearly_all_are_right(traffic: tuple[RoadMap, Trace]) -> None:
    roads, trace = traffic
    matched = MapMatcher(roads).match(trace.points())
    assert trace.right(matched.link) > 0.995
    on_link = trace.link == trace.after
    assert (matched.distance_m[on_link & (matched.link == trace.link)] < 2).all()
