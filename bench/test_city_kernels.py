"""Kernels over all junctions of a city at once, beside NumPy, plain Python and a copy.

Made-up junctions of 8 stages and 16 lanes (4 to a stage), and for offsets four links in, of three
movements each, on 60 bins. NumPy does all junctions of a city in one go; plain Python (lists and
dicts, a junction after the other, as in sumo-rl) does some, and is counted up to the whole city. So
does NumPy in the rollout, where junctions end their plays at different times.
All find the same; a published controller in Python does what it does instead, which is less. CPU
time of one thread, the least of several runs; a copy is one of as many bytes as the kernel reads
and writes. Growth: time per junction in larger cities, each junction with its own memory, over
that of 4,500.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from cpu_time import cpu_s
from published_python import decide_flexibly, share_a_cycle
from pytest_benchmark.fixture import BenchmarkFixture
from test_control import Bank

from tests.reference import cycle_split as slow_split
from tests.reference import link_profiles as slow_offsets
from tests.reference.rollout import search
from tests.rollout_plain import search_plain
from topis._core.cycle_split import cycles_and_splits
from topis._core.link_profiles import LinkProfiles
from topis._core.offset_descent import descend
from topis._core.pressure import choose_stages
from topis.control.coordination import EQUAL_SHARE, Descent

CITY, LARGER = 4_500, (12_800, 128_000)
STAGES, LANES, SERVED = 8, 16, 4
BINS, WIDTH = 60, 64
BUSY_LOAD = 0.4
Figure = Callable[[str, float, str], None]


@dataclass
class Kernel:
    """``work(threads)`` does a whole city; ``bytes`` that it reads and writes."""

    work: Callable[[int], object]
    bytes: int


def each_s(work: Callable[[], object], least_s: float = 0.05) -> float:
    """CPU time of one call, of so many together that a clock tells it."""
    began = time.process_time()
    work()
    times = max(1, int(least_s / max(time.process_time() - began, 1e-6)))
    return cpu_s(lambda: [work() for _ in range(times)]) / times


def copy_s(count: int) -> float:
    source, target = np.ones(count, np.uint8), np.zeros(count, np.uint8)
    return each_s(lambda: np.copyto(target, source))


def size_of(arrays: Any) -> int:
    return sum(a.nbytes for a in arrays if isinstance(a, np.ndarray))


def tell(
    figure: Figure, name: str, make: Callable[[int], Kernel], numpy_s: float, python_s: float,
    larger: tuple[int, ...] = LARGER,
) -> float:  # fmt: skip
    """Figures of one kernel; the largest growth."""
    kernel = make(CITY)
    own_s = each_s(lambda: kernel.work(1))
    figure(f"city.{name}", 1e3 * own_s, "ms")
    figure(f"city.{name}.over_numpy", numpy_s / own_s, "x")
    figure(f"city.{name}.over_python", python_s / own_s, "x")
    figure(f"city.{name}.over_copy", own_s / copy_s(kernel.bytes), "x")
    growth = 0.0
    for count in larger:
        big = make(count)
        growth = max(growth, each_s(lambda big=big: big.work(1)) / count / (own_s / CITY))
    figure(f"city.{name}.growth", growth, "x")
    return growth


# ---- made-up junctions ----


@dataclass
class Stages:
    """Lanes of each stage, in CSR."""

    count: int

    def __post_init__(self) -> None:
        rng = np.random.default_rng(1)
        stages = self.count * STAGES
        self.stage_ptr = np.arange(0, stages + 1, STAGES, dtype=np.int32)
        lane = np.argsort(rng.random((stages, LANES)), axis=1)[:, :SERVED]
        lane = np.sort(lane, axis=1) + (np.arange(stages) // STAGES * LANES)[:, None]
        self.lane = lane.ravel().astype(np.int32)
        self.ptr = np.arange(0, len(self.lane) + 1, SERVED, dtype=np.int32)
        self.rate = rng.choice([0.5, 1.0], len(self.lane)).astype(np.float32)
        lanes = self.count * LANES
        self.vehicles = rng.uniform(0, 20, lanes).astype(np.float32)
        self.flow = (rng.random(lanes) * 0.03).astype(np.float32)
        self.free = np.where(rng.random(lanes) < 0.9, 1.0, 0.5)
        self.change = rng.integers(0, 3, (stages, STAGES)).astype(np.uint16)
        self.worth = np.array([0.5, 0.6, 0.7])
        self.shown = (self.stage_ptr[:-1] + rng.integers(0, STAGES, self.count)).astype(np.int32)
        self.need_s = (2.0 / self.rate).astype(np.float32)
        self.least_s = np.full(stages, 6.0)
        self.lost_s, self.low_s, self.high_s = (
            np.full(self.count, value) for value in (20.0, 40.0, 140.0)
        )


# ---- max-pressure ----


def pressure_kernel(count: int) -> Kernel:
    city = Stages(count)
    none = np.zeros(0, np.int32)
    args = (
        city.stage_ptr, city.ptr, city.lane, city.rate, np.zeros(count * STAGES + 1, np.int32),
        none, city.change, city.worth, city.shown, city.vehicles, city.free,
        np.zeros(count * LANES, np.float32), np.zeros(0),
    )  # fmt: skip
    out = (
        np.zeros(count, np.uint8), np.zeros(count * STAGES, np.float32), np.zeros(count, np.int32)
    )  # fmt: skip
    return Kernel(
        lambda threads: choose_stages(*args, threads, *out) or out[2],
        # Of the changes one row of each junction, of waits and crossings nothing.
        size_of((*args[:4], city.shown, city.vehicles, city.free, *out)) + 2 * STAGES * count,
    )


def pressure_numpy(city: Stages) -> np.ndarray:
    pushing = city.vehicles[city.lane] * city.rate * city.free[city.lane]
    pressure = np.add.reduceat(pushing, city.ptr[:-1])
    worth = city.worth[city.change[city.shown]].ravel()
    value = pressure * worth
    value[city.shown] = pressure[city.shown] + 1e-6
    best: np.ndarray = value.reshape(-1, STAGES).argmax(axis=1)
    return best + city.stage_ptr[:-1]


def pressure_python(junctions: list[dict[str, Any]]) -> list[int]:
    chosen = []
    for junction in junctions:
        best, most = 0, -1.0
        for stage, served in enumerate(junction["served"]):
            pressure = 0.0
            for lane, rate in served:
                pressure += junction["vehicles"][lane] * rate * junction["free"][lane]
            if stage == junction["shown"]:
                pressure += 1e-6
            else:
                pressure *= junction["worth"][stage]
            if pressure > most:
                best, most = stage, pressure
        chosen.append(best)
    return chosen


def as_dicts(city: Stages, count: int) -> list[dict[str, Any]]:
    """The first junctions as a Python programmer would hold them."""
    found = []
    for j in range(count):
        first, low = j * STAGES, j * LANES
        served = [
            [
                (f"lane{city.lane[k] - low}", float(city.rate[k]), float(city.need_s[k]))
                for k in range(city.ptr[s], city.ptr[s + 1])
            ]
            for s in range(first, first + STAGES)
        ]
        lanes = {f"lane{k}": low + k for k in range(LANES)}
        found.append({
            "served": [[(lane, rate) for lane, rate, _ in stage] for stage in served],
            "needs": [[(lane, need) for lane, _, need in stage] for stage in served],
            "vehicles": {name: float(city.vehicles[k]) for name, k in lanes.items()},
            "free": {name: float(city.free[k]) for name, k in lanes.items()},
            "flow": {name: float(city.flow[k]) for name, k in lanes.items()},
            "shown": int(city.shown[j]) - first,
            "worth": city.worth[city.change[city.shown[j]]].tolist(),
        })  # fmt: skip
    return found


def as_names(
    junctions: list[dict[str, Any]],
) -> tuple[list[dict[str, float]], list[list[list[str]]]]:
    """(vehicles of each lane, lanes of each stage) of each junction."""
    served = [[[lane for lane, _ in stage] for stage in j["served"]] for j in junctions]
    return [j["vehicles"] for j in junctions], served


def test_pressure(benchmark: BenchmarkFixture, figure: Figure) -> None:
    city, some = Stages(CITY), 100
    junctions = as_dicts(city, some)
    chosen = pressure_kernel(CITY).work(1)
    assert (chosen == pressure_numpy(city)).all()
    assert pressure_python(junctions) == (chosen - city.stage_ptr[:-1])[:some].tolist()
    python_s = each_s(lambda: pressure_python(junctions)) * CITY / some
    kernel = pressure_kernel(CITY)
    benchmark.pedantic(lambda: kernel.work(1), rounds=20)
    numpy_s = each_s(lambda: pressure_numpy(city))
    GROWTH["pressure"] = tell(figure, "pressure", pressure_kernel, numpy_s, python_s)
    theirs_s = each_s(decide_flexibly(*as_names(junctions))) * CITY / some
    figure("city.pressure.over_sumoitscontrol", theirs_s / each_s(lambda: kernel.work(1)), "x")


# ---- cycle and split ----


def split_kernel(count: int) -> Kernel:
    city = Stages(count)
    args = (
        city.stage_ptr, city.ptr, city.lane, city.need_s, city.flow, city.least_s, city.lost_s,
        1.0, city.low_s, city.high_s,
    )  # fmt: skip
    steps = count * STAGES
    out = np.zeros(steps, np.float32), np.zeros(count), np.zeros(steps), np.zeros(count)
    return Kernel(
        lambda threads: cycles_and_splits(*args, threads, *out) or out, size_of((*args, *out))
    )


def split_numpy(city: Stages) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    need = city.flow[city.lane] * city.need_s
    ratio = np.maximum.reduceat(need, city.ptr[:-1]).reshape(-1, STAGES).astype(np.float64)
    least = city.least_s.reshape(-1, STAGES) - 1.0
    total = ratio.sum(axis=1)
    lost = city.lost_s + STAGES
    cycle = np.where(total < 0.99, (1.5 * lost + 5.0) / np.maximum(1.0 - total, 1e-9), np.inf)
    cycle = np.clip(cycle, city.low_s, city.high_s)
    cycle = np.maximum(cycle, lost + least.sum(axis=1))
    share = (cycle - lost) / total
    before = None
    while True:
        held = ratio * share[:, None] < least
        if before is not None and (held == before).all():
            break
        before = held
        left = cycle - lost - np.where(held, least, 0.0).sum(axis=1)
        # Where all are held up nothing is left.
        share = left / np.maximum(np.where(held, 0.0, ratio).sum(axis=1), 1e-9)
    effective = np.maximum(ratio * share[:, None], least)
    saturation = (ratio * cycle[:, None] / effective).max(axis=1)
    return cycle, (effective + 1.0).ravel(), saturation


def split_python(junctions: list[dict[str, Any]], least_s: float) -> list[slow_split.Found]:
    found = []
    for junction in junctions:
        flow = junction["flow"]
        ratio = [max(flow[lane] * need for lane, need in lanes) for lanes in junction["needs"]]
        total, lost = sum(ratio), 20.0 + STAGES
        cycle = (1.5 * lost + 5.0) / (1.0 - total) if total < 0.99 else 140.0
        cycle = max(min(max(cycle, 40.0), 140.0), 20.0 + STAGES * least_s)
        least = least_s - 1.0
        free, left = ratio, cycle - lost
        share = left / total
        while True:
            kept = [y for y in free if y * share >= least]
            if len(kept) == len(free):
                break
            free = kept
            share = (left - least * (len(ratio) - len(free))) / max(sum(free), 1e-9)
        green = [max(y * share, least) + 1.0 for y in ratio]
        fullest = max(y * cycle / (g - 1.0) for y, g in zip(ratio, green, strict=True))
        found.append(slow_split.Found(cycle, green, fullest, []))
    return found


def test_split(benchmark: BenchmarkFixture, figure: Figure) -> None:
    city, some = Stages(CITY), 100
    junctions = as_dicts(city, some)
    _, cycle_s, green_s, saturation = split_kernel(CITY).work(1)
    for mine, theirs in zip((cycle_s, green_s, saturation), split_numpy(city), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)
    for j, found in enumerate(split_python(junctions, 6.0)):
        assert cycle_s[j] == pytest.approx(found.cycle_s, rel=1e-5)
        assert green_s[j * STAGES : (j + 1) * STAGES] == pytest.approx(found.green_s, rel=1e-4)
        assert saturation[j] == pytest.approx(found.saturation, rel=1e-4)
    kernel = split_kernel(CITY)
    benchmark.pedantic(lambda: kernel.work(1), rounds=20)
    python_s = each_s(lambda: split_python(junctions, 6.0)) * CITY / some
    numpy_s = each_s(lambda: split_numpy(city))
    GROWTH["split"] = tell(figure, "split", split_kernel, numpy_s, python_s)
    theirs_s = each_s(share_a_cycle(*as_names(junctions))) * CITY / some
    figure("city.split.over_sumoitscontrol", theirs_s / each_s(lambda: kernel.work(1)), "x")


# ---- offsets ----


class Grid:
    """Junctions on a torus, four roads in, two turns as on a chequerboard; flows at random."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(1)
        rows = next(r for r in range(int(count**0.5), 1, -1) if count % (2 * r) == 0 and r % 2 == 0)
        number = np.arange(count).reshape(rows, -1)
        up = np.stack([np.roll(number, by, axis) for axis in (0, 1) for by in (1, -1)], axis=-1)
        up, down = up.reshape(-1), np.repeat(np.arange(count), 4)
        self.up, self.down = up.astype(np.int32), down.astype(np.int32)
        colour = np.add(*np.divmod(np.arange(count), number.shape[1])) % 2
        self.black, self.order = np.flatnonzero(colour == 0), np.argsort(colour, kind="stable")
        links, self.count = len(up), count
        self.late_bins = rng.uniform(3, 12, links)
        self.factor = (1.0 / (1.0 + 0.35 * self.late_bins)).astype(np.float32)
        self.feed_veh = rng.random((links, 3, 5)) < 0.35
        self.feed_veh[..., 0] = False
        self.class_veh = (rng.random((links, 2, 5)) < 0.4) * np.array([1.0, 2.0])[:, None]
        self.class_veh[..., 0] = 0.0
        # Three of the twelve lanes that come in upstream.
        self.feed_lane = (12 * np.repeat(self.up, 3) + rng.integers(0, 12, 3 * links)).astype(
            np.int32
        )
        shown = np.repeat(rng.integers(0, 5, (count, 8)), 8, axis=1)
        self.shown = np.ascontiguousarray(shown.astype(np.int16))
        self.flow = (rng.random(3 * links) * 0.1).astype(np.float32)
        self.offset = rng.integers(0, BINS, count).astype(np.int32)
        self.bins = np.full(count, BINS, np.int32)
        lanes = np.arange(0, 3 * links + 1, 3)
        self.arrays = {
            "link_way_ptr": np.arange(links + 1, dtype=np.int32),
            "link_down": self.down,
            "way_up": self.up,
            "way_link": np.arange(links, dtype=np.int32),
            "way_late_bins": self.late_bins,
            "way_factor": self.factor,
            "feed_ptr": lanes.astype(np.int32),
            "feed_veh_ptr": np.arange(0, 15 * links, 5, dtype=np.int32),
            "feed_veh": self.feed_veh.astype(np.float32).ravel(),
            "conn_ptr": np.arange(3 * links + 1, dtype=np.int32),
            "conn_lane": self.feed_lane,
            "conn_share": np.full(3 * links, 1 / 3, np.float32),
            "class_ptr": np.arange(0, 2 * links + 1, 2, dtype=np.int32),
            "class_lane_ptr": np.sort(np.concatenate((lanes, lanes[:-1] + 1))).astype(np.int32),
            "class_lane": np.arange(3 * links, dtype=np.int32),
            "class_veh_ptr": np.arange(0, 10 * links, 5, dtype=np.int32),
            "class_veh": self.class_veh.astype(np.float32).ravel(),
        }
        self.profiles = LinkProfiles(**self.arrays, bin_s=2.0, tells_up_to=0.9, fades_over=0.15)
        self.delay = np.zeros((links, WIDTH), np.float32)
        self.told = np.zeros(links, np.uint8)
        self.graph = Descent(count, self.up, self.down, 1, self.order)._graph
        assert len(self.graph[0]) == 3

    def sweep(self, threads: int) -> np.ndarray:
        """All tables, then each junction once to its best offset."""
        scratch = np.empty((threads, LinkProfiles.scratch_size(WIDTH)), np.float32)
        self.profiles.delays(
            self.bins, self.shown, self.flow, scratch, threads, self.delay, self.told
        )
        offset, look = self.offset.copy(), np.ones(self.count, np.uint8)
        cost = np.empty((threads, WIDTH), np.float32)
        descend(
            *self.graph, self.bins, self.delay, 1, EQUAL_SHARE, cost, threads, look, offset
        )  # fmt: skip
        return offset

    def link(self, number: int) -> slow_offsets.Link:
        feeds = [
            slow_offsets.Feed([(int(self.feed_lane[3 * number + k]), 1 / 3)], veh.tolist())
            for k, veh in enumerate(self.feed_veh[number].astype(float))
        ]
        way = slow_offsets.Way(float(self.late_bins[number]), float(self.factor[number]), feeds)
        first = 3 * number
        lanes = [first], [first + 1, first + 2]
        return slow_offsets.Link(
            int(self.up[number]), int(self.down[number]), [way],
            [slow_offsets.Class(k, veh.tolist())
             for k, veh in zip(lanes, self.class_veh[number], strict=True)],
        )  # fmt: skip


def offset_kernel(count: int) -> Kernel:
    grid = Grid(count)
    touched = (*grid.arrays.values(), grid.shown, grid.flow, *grid.graph, grid.offset, grid.offset)
    # Tables are written, and read at both ends.
    return Kernel(grid.sweep, size_of(touched) + 3 * grid.delay.nbytes)


def tables_numpy(grid: Grid, some: slice) -> np.ndarray:
    """All links of a slice side by side, bin by bin; float32 as the kernel."""
    up, down = grid.up[some], grid.down[some]
    links, f = np.arange(len(up)), np.float32
    lane = grid.feed_lane.reshape(-1, 3)[some]
    arriving = grid.flow[lane] * f(1 / 3) * f(2.0)
    veh = grid.feed_veh[some].astype(f)
    shown = grid.shown[up][:, None, :BINS].astype(np.intp)
    capacity = np.take_along_axis(veh, np.broadcast_to(shown, (len(up), 3, BINS)), axis=2)
    queue, leaving = np.zeros_like(arriving), np.zeros((len(up), 3, BINS), f)
    for b in [*range(BINS), *range(BINS)]:
        queue = queue + arriving
        leaving[:, :, b] = np.minimum(queue, capacity[:, :, b])
        queue = queue - leaving[:, :, b]
    platoon = leaving.sum(axis=1)
    whole = grid.late_bins[some].astype(np.intp)
    part = (grid.late_bins[some] - whole).astype(f)[:, None]
    at = (np.arange(BINS) - whole[:, None]) % BINS
    late = (1 - part) * np.take_along_axis(platoon, at, 1)
    late += part * np.take_along_axis(platoon, at - 1, 1)
    now, coming = late.mean(axis=1), np.empty_like(late)
    for b in [*range(BINS), *range(BINS)]:
        now = now + grid.factor[some] * (late[:, b] - now)
        coming[:, b] = now
    flow = grid.flow.reshape(-1, 3)[some]
    offered = np.stack((flow[:, 0], flow[:, 1] + flow[:, 2]), axis=1) * f(2.0 * BINS)
    counted, total = offered.sum(axis=1), coming.sum(axis=1)
    quiet = (total <= 0) | (counted <= 0)
    total = np.where(quiet, 1, total)
    scale, rest = np.minimum(counted / total, 1), np.maximum(counted - total, 0) / f(BINS)
    coming = coming * scale[:, None] + rest[:, None]
    even = (np.roll(coming, 1, 1) + 2 * coming + np.roll(coming, -1, 1)) / 4
    shown = np.broadcast_to(grid.shown[down][:, None, :BINS].astype(np.intp), (len(up), 2, BINS))
    capacity = np.take_along_axis(grid.class_veh[some].astype(f), shown, axis=2)
    degree = offered / np.maximum(capacity.sum(axis=2), f(1e-9))
    weight = np.clip((f(1.05) - degree) / f(0.15), 0, 1)
    share = offered / np.maximum(counted, f(1e-9))[:, None]
    arrivals = even[:, None] * (share * np.minimum(0.95 / degree, 1))[..., None]
    backwards = np.tile(np.roll(capacity[..., ::-1], 1, -1), 2)
    queue, delay = np.zeros_like(capacity), np.zeros_like(capacity)
    for turn in range(2):
        for b in range(BINS):
            queue += arrivals[..., b, None]
            queue -= backwards[..., BINS - b : 2 * BINS - b]
            np.maximum(queue, 0, out=queue)
            if turn:
                delay += queue
    delay = (delay * (weight * f(2.0))[..., None]).sum(axis=1)
    delay[quiet[links]] = 0
    return delay


def sweep_numpy(grid: Grid) -> np.ndarray:
    """Slices of links that stay in the cache, then all junctions of a colour at once."""
    links = len(grid.up)
    delay = np.concatenate([
        tables_numpy(grid, slice(k, min(k + 256, links))) for k in range(0, links, 256)
    ])  # fmt: skip
    offset, d = grid.offset.copy(), np.arange(BINS)
    into = np.argsort(grid.down, kind="stable").reshape(-1, 4)
    out = np.argsort(grid.up, kind="stable").reshape(-1, 4)
    for colour in (grid.black, np.setdiff1d(np.arange(grid.count), grid.black)):
        cost = np.zeros((len(colour), BINS), np.float32)
        for k in range(4):
            link = into[colour, k]
            cost += delay[link[:, None], (d - offset[grid.up[link], None]) % BINS]
            link = out[colour, k]
            cost += delay[link[:, None], (offset[grid.down[link], None] - d) % BINS]
        best, row = cost.argmin(axis=1), np.arange(len(colour))
        better = cost[row, best] < cost[row, offset[colour]] * (1 - EQUAL_SHARE)
        offset[colour] = np.where(better, best, offset[colour])
    return offset


def best_python(offset: list[int], around: list[tuple[int, bool, list[float]]], own: int) -> int:
    costs = []
    for d in range(BINS):
        cost = 0.0
        for other, comes_in, table in around:
            cost += table[(d - offset[other] if comes_in else offset[other] - d) % BINS]
        costs.append(cost)
    best = min(range(BINS), key=costs.__getitem__)
    return best if costs[best] < costs[own] * (1 - EQUAL_SHARE) else own


def sweep_python(grid: Grid, junctions: list[int]) -> tuple[float, dict[int, int]]:
    """(CPU time per junction, offsets): four tables and the candidates of each."""
    flow, start = grid.flow.tolist(), grid.offset.tolist()
    shown = [row[:BINS] for row in grid.shown.tolist()]
    rules, spent, found = slow_offsets.Rules(), 0.0, {}
    for junction in junctions:
        around = np.flatnonzero((grid.up == junction) | (grid.down == junction)).tolist()
        links = {number: grid.link(number) for number in around}
        tables = {}
        began = time.process_time()
        for number, link in links.items():
            if link.down == junction:
                tables[number] = slow_offsets.link_delay(link, shown, flow, rules)
        spent += time.process_time() - began
        for number, link in links.items():
            # The other ends' tables: counted with their own junctions.
            if number not in tables:
                tables[number] = slow_offsets.link_delay(link, shown, flow, rules)
        rows = [
            (link.up if link.down == junction else link.down, link.down == junction, tables[number])
            for number, link in links.items()
        ]
        told = [(other, comes_in, table) for other, comes_in, table in rows if table is not None]
        began = time.process_time()
        found[junction] = best_python(start, told, start[junction])
        spent += time.process_time() - began
    return spent / len(junctions), found


def test_offset_sweep(benchmark: BenchmarkFixture, figure: Figure) -> None:
    grid = Grid(CITY)
    kernel = offset_kernel(CITY)
    offset = kernel.work(1)
    grid.sweep(1)
    tables = np.concatenate([tables_numpy(grid, slice(k, k + 256)) for k in range(0, 1024, 256)])
    np.testing.assert_allclose(grid.delay[:1024, :BINS], tables, rtol=1e-3, atol=2e-3)
    # The best of almost equals may be another.
    assert (offset == sweep_numpy(grid)).mean() > 0.98
    python_s, found = sweep_python(grid, grid.black[:6].tolist())
    assert sum(offset[junction] == best for junction, best in found.items()) >= 5
    benchmark.pedantic(lambda: kernel.work(1), rounds=5)
    numpy_s = cpu_s(lambda: sweep_numpy(grid))
    GROWTH["offset_sweep"] = tell(figure, "offset_sweep", offset_kernel, numpy_s, python_s * CITY)


# ---- rollout ----


class Banks(Bank):
    """Many banks one after the other, each with its own memory."""

    def __init__(self, count: int, times: int) -> None:
        super().__init__(count)
        packed, whole = self.packed, {}
        sizes = {
            "rate_ptr": len(packed.inputs["rate"]),
            "rate_of_ptr": len(packed.inputs["rate_of"]),
        }
        for name, table in packed.tables.items():
            if name in sizes:
                whole[name] = np.concatenate([table + k * sizes[name] for k in range(times)])
            elif name.endswith("_ptr"):
                parts = [table[:-1] + k * table[-1] for k in range(times)]
                whole[name] = np.append(np.concatenate(parts), times * table[-1])
            else:
                whole[name] = np.tile(table, (times, 1) if table.ndim == 2 else times)
            whole[name] = whole[name].astype(table.dtype)
        rows = len(packed.inputs["arrival_vps"])
        self.inputs = {
            name: np.tile(values, (times, 1) if values.ndim == 2 else times)
            for name, values in packed.inputs.items()
        }
        of = [
            np.where(packed.inputs["arrival_of"] < 0, -1, packed.inputs["arrival_of"] + k * rows)
            for k in range(times)
        ]
        self.inputs["arrival_of"] = np.concatenate(of).astype(np.int32)
        packed.tables.update(whole)
        self.kernel = packed.search(self.rules)
        self.out = {
            name: np.zeros((len(out) * times, *out.shape[1:]), out.dtype)
            for name, out in self.out.items()
        }
        self.scratch = np.zeros((2, self.kernel.scratch_size), np.float32)


def rollout_kernel(count: int) -> Kernel:
    bank = Banks(100, count // 100)
    due = np.arange(count, dtype=np.int32)

    def work(threads: int) -> object:
        bank.kernel.decide(due, **bank.inputs, scratch=bank.scratch, threads=threads, **bank.out)
        return bank.out["choice"]

    return Kernel(work, size_of(bank.inputs.values()) + size_of(bank.out.values()))


def test_rollout(benchmark: BenchmarkFixture, figure: Figure) -> None:
    bank = Bank(100)
    kernel = rollout_kernel(CITY)
    bank.decide(np.arange(100, dtype=np.int32))
    assert (kernel.work(1) == np.tile(bank.out["choice"], CITY // 100)).all()
    some = bank.junctions[:20]
    python_s = cpu_s(lambda: [search_plain(junction, bank.rules) for junction in some]) / len(some)
    numpy_s = cpu_s(lambda: [search(junction, bank.rules) for junction in some]) / len(some)
    benchmark.pedantic(lambda: kernel.work(1), rounds=3)
    # Ten times as many would take 2 GB and a minute.
    GROWTH["rollout"] = tell(
        figure, "rollout", rollout_kernel, numpy_s * CITY, python_s * CITY, LARGER[:1]
    )


# ---- all of them ----

GROWTH: dict[str, float] = {}
KERNELS = {
    "pressure": pressure_kernel,
    "split": split_kernel,
    "offset_sweep": offset_kernel,
    "rollout": rollout_kernel,
}


def test_growth(figure: Figure) -> None:
    if GROWTH:
        figure("city.growth", max(GROWTH.values()), "x")


def test_two_threads(figure: Figure) -> None:
    """Wall clock: what a second thread does for each kernel on a machine that has it free."""

    def wall_s(work: Callable[[int], object], threads: int) -> float:
        best = float("inf")
        for _ in range(7):
            began = time.perf_counter()
            work(threads)
            best = min(best, time.perf_counter() - began)
        return best

    if (os.cpu_count() or 1) < 2 or os.getloadavg()[0] > BUSY_LOAD:
        pytest.skip(f"the machine is busy (load {os.getloadavg()[0]:.1f}): two threads not timed")
    least = float("inf")
    for name, make in KERNELS.items():
        kernel = make(CITY if name in ("rollout", "offset_sweep") else LARGER[0])
        gain = wall_s(kernel.work, 1) / wall_s(kernel.work, 2)
        figure(f"city.{name}.threads2", gain, "x")
        least = min(least, gain)
    figure("city.threads2", least, "x")
