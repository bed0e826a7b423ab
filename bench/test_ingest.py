"""Map matching: speed, accuracy, growth, beside fastmm and Valhalla's Meili.

A city of 400 signals (3,280 directed links, some of them cut in two where a turn bay begins), half
of the time standing; traces of SUMO, errors of 5 and 15 m that are alike over 5 s, headings off by
6 degrees, known while a vehicle moves. Right is the link SUMO has the vehicle on; inside a
junction the one before or the one after. Speeds are points per second of CPU, best of three.

The peers run in an interpreter of their own, named by ``TOPIS_MATCH_PEERS``, with fastmm,
pyvalhalla, osmium and numpy; they get neither headings nor speeds, and the true sigma.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from grids import build_scenario
from pyproj import Transformer
from pytest_benchmark.fixture import BenchmarkFixture

from tests.traces import Trace, drive
from topis.ingest.map_match import MapMatcher, Points
from topis.ingest.road_map import Projection, RoadMap, road_map_of_sumo_net
from topis.ingest.sumo_xml import read_network

Figure = Callable[[str, float, str], None]

PEERS = os.environ.get("TOPIS_MATCH_PEERS", "")
SIGMAS_M, EVERY_S = (5, 15), (1, 5, 10, 30)
#: Vehicles that report in Seoul, and points given to the peers.
FLEET, PEER_POINTS = 79_400, 100_000


@dataclasses.dataclass(frozen=True)
class City:
    """The map, where it is from, and what receivers told by size of error."""

    net_file: Path
    roads: RoadMap
    seen: dict[int, Trace]


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> City:
    config = build_scenario(
        tmp_path_factory.mktemp("match"), 20, seconds=900, vehicles_per_junction_h=30
    )
    net_file = config.with_name("grid20.net.xml")
    roads = road_map_of_sumo_net(net_file)
    trace = drive(config, roads.link_ids)
    return City(net_file, roads, {sigma: trace.noisy(sigma) for sigma in SIGMAS_M})


def cpu_s(work: Callable[[], object], rounds: int = 3) -> float:
    spent = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return min(spent)


def fresh_cpu_s(roads: RoadMap, points: Points) -> float:
    """Of `MapMatcher.match` by a matcher that knows nothing yet."""
    matchers = [MapMatcher(roads) for _ in range(3)]
    return cpu_s(lambda: matchers.pop().match(points))


def test_match_speed(benchmark: BenchmarkFixture, figure: Figure, city: City) -> None:
    seen = city.seen[5]
    points = seen.points()
    matcher = MapMatcher(city.roads)
    benchmark.pedantic(lambda: matcher.match_traces(points), rounds=3, iterations=1)
    count = len(points.vehicle)
    figure("match.points", count, "points")
    figure("match.points_per_s", count / fresh_cpu_s(city.roads, points), "1/s")
    figure("match.traces_points_per_s", count / cpu_s(lambda: matcher.match_traces(points)), "1/s")
    sparse = seen.every(10).points()
    figure(
        "match.points_per_s_at_10s",
        len(sparse.vehicle) / fresh_cpu_s(city.roads, sparse),
        "1/s",
    )


@pytest.mark.parametrize("sigma_m", SIGMAS_M)
@pytest.mark.parametrize("every_s", EVERY_S)
def test_match_accuracy(figure: Figure, city: City, sigma_m: int, every_s: int) -> None:
    seen = city.seen[sigma_m].every(every_s)
    matcher = MapMatcher(city.roads)
    name = f"{sigma_m}m_{every_s}s"
    figure(f"match.accuracy.{name}", seen.right(matcher.match(seen.points()).link), "share")
    traces = matcher.match_traces(seen.points())
    figure(f"match.traces_accuracy.{name}", seen.right(traces.link), "share")
    blind = matcher.match_traces(seen.points(heading=False))
    figure(f"match.traces_accuracy_no_heading.{name}", seen.right(blind.link), "share")


def tiled(roads: RoadMap, times: int) -> RoadMap:
    """The city side by side with itself."""
    wide_m = np.ptp(roads.shape_m[:, 0]) + 500
    shift = np.repeat(np.arange(times), len(roads.shape_m))[:, None] * [wide_m, 0]
    links = np.repeat(np.arange(times), len(roads.next_link)) * roads.links

    def pointer(ptr: np.ndarray) -> np.ndarray:
        return np.concatenate(([0], np.cumsum(np.tile(np.diff(ptr), times)))).astype(np.int32)

    return RoadMap(
        tuple(f"{k}/{name}" for k in range(times) for name in roads.link_ids),
        pointer(roads.shape_ptr),
        np.tile(roads.shape_m, (times, 1)) + shift,
        pointer(roads.next_ptr),
        (np.tile(roads.next_link, times) + links).astype(np.int32),
    )


def spread(points: Points, roads: RoadMap, times: int) -> Points:
    """The vehicles of every tile of such a city."""
    wide_m = np.ptp(roads.shape_m[:, 0]) + 500
    tile = np.repeat(np.arange(times), len(points.vehicle))
    columns = {name: np.tile(values, times) for name, values in vars(points).items()}
    columns["x_m"] = columns["x_m"] + tile * wide_m
    columns["vehicle"] = columns["vehicle"] + tile * (int(points.vehicle.max()) + 1)
    return Points(**columns)


def test_match_growth_and_tick(figure: Figure, city: City) -> None:
    """Ten cities and their vehicles; then a fleet's reports of one second, in random order."""
    some = city.seen[5].take(city.seen[5].vehicle % 8 == 0).points()
    roads = tiled(city.roads, 10)
    one_s = fresh_cpu_s(city.roads, some)
    figure("match.growth", fresh_cpu_s(roads, spread(some, city.roads, 10)) / one_s, "x")

    points = spread(city.seen[5].points(), city.roads, 10)
    first = np.flatnonzero(np.diff(points.vehicle, prepend=-1))
    long = first[np.diff(np.append(first, len(points.vehicle))) > 60]
    # Each vehicle once more an hour later, as another, until the fleet is large enough.
    begins = np.resize(long, FLEET)
    matcher, rng, spent = MapMatcher(roads), np.random.default_rng(1), []
    for tick in range(40):
        order = rng.permutation(FLEET)
        rows = (begins + tick)[order]
        report = Points(
            order,
            np.full(FLEET, tick * 1000),
            *(column[rows] for column in (points.x_m, points.y_m)),
            points.speed_mps[rows],
            points.heading_deg[rows],
        )
        began = time.process_time()
        matcher.match(report)
        spent.append(time.process_time() - began)
    figure("match.tick_79400_ms", float(np.median(spent[10:])) * 1000, "ms")


def test_metres(figure: Figure) -> None:
    definition = "+proj=utm +zone=52 +datum=WGS84 +units=m +no_defs"
    box = np.array([300e3, 4140e3, 340e3, 4180e3])
    projection = Projection(definition, (0.0, 0.0), box)
    rng = np.random.default_rng(1)
    lat_e7 = rng.integers(374_200_000, 377_000_000, 1_000_000).astype(np.int32)
    lon_e7 = rng.integers(1_267_800_000, 1_271_500_000, 1_000_000).astype(np.int32)
    ours_s = cpu_s(lambda: projection(lat_e7, lon_e7))
    proj = Transformer.from_crs("EPSG:4326", definition, always_xy=True)
    proj_s = cpu_s(lambda: proj.transform(lon_e7 * 1e-7, lat_e7 * 1e-7))
    figure("match.metres_points_per_s", len(lat_e7) / ours_s, "1/s")
    figure("match.metres_over_proj", proj_s / ours_s, "x")


def peer_case(city: City, seen: Trace, sigma_m: float) -> dict[str, object]:
    """What ``match_peers.py`` wants; a junction is where the links' ends are on average."""
    edges = read_network(city.net_file).edges.values()
    number: dict[str, int] = {}
    ends = [[number.setdefault(n, len(number)) for n in (e.from_node, e.to_node)] for e in edges]
    from_node, to_node = np.array(ends).T
    shape, ptr = city.roads.shape_m, city.roads.shape_ptr
    place, count = np.zeros((len(number), 2)), np.zeros((len(number), 1))
    for node, point in ((from_node, shape[ptr[:-1]]), (to_node, shape[ptr[1:] - 1])):
        np.add.at(place, node, point)
        np.add.at(count, node, 1)
    begins = np.flatnonzero(np.diff(seen.vehicle, prepend=-1))
    return {
        "line_ptr": ptr, "line_m": shape, "from_node": from_node, "to_node": to_node,
        "node_m": place / count, "trace_ptr": np.append(begins, len(seen.vehicle)),
        "x_m": seen.x_m, "y_m": seen.y_m, "time_s": seen.time_ms / 1000, "sigma_m": sigma_m,
    }  # fmt: skip


@pytest.mark.parametrize("peer", ["fastmm", "meili"])
@pytest.mark.parametrize(("sigma_m", "every_s"), [(5, 1), (5, 10), (15, 1), (15, 10)])
def test_match_peers(
    peer: str, sigma_m: int, every_s: int, figure: Figure, city: City, tmp_path: Path
) -> None:
    if not PEERS:
        pytest.skip("TOPIS_MATCH_PEERS names no interpreter with fastmm, pyvalhalla and osmium")
    seen = city.seen[sigma_m]
    share = max(len(seen.vehicle) // PEER_POINTS, 1)
    seen = seen.take(seen.vehicle % share == 0).every(every_s)
    case, answer = tmp_path / "case.npz", tmp_path / "answer.npz"
    np.savez(case, **peer_case(city, seen, sigma_m))
    script = Path(__file__).with_name("match_peers.py")
    command = [PEERS, str(script), peer, str(case), str(answer)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{peer} does not run: {done.stderr.strip().splitlines()[-1]}")
    with np.load(answer) as told:
        link, peer_s = told["link"], float(told["cpu_s"])
    name = f"{sigma_m}m_{every_s}s"
    figure(f"match.{peer}_accuracy.{name}", seen.right(link), "share")
    # Peers see the whole trace at once: at 10 s so do we, for there it is worth it.
    matcher = MapMatcher(city.roads)
    place = matcher.match if every_s == 1 else matcher.match_traces
    ours = place(seen.points()).link
    figure(f"match.accuracy_on_{peer}_points.{name}", seen.right(ours), "share")
    points = seen.points()
    ours_s = fresh_cpu_s(city.roads, points) if every_s == 1 else cpu_s(lambda: place(points))
    figure(f"match.over_{peer}.{name}", peer_s / ours_s, "x")
