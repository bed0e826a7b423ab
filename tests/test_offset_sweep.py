"""Offsets of a whole city: tables and descent against their slow twins, whatever the threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import link_profiles as slow
from tests.reference import offset_descent as slow_descent
from topis._core.link_profiles import LinkProfiles, stage_bins
from topis.control.coordination import EQUAL_SHARE, STEP_WORTH, Descent, LinkTables, best_offsets
from topis.control.cosmos import _middle_s, _wrap

LANES = 16
seeds = st.integers(0, 2**32 - 1)


def i4(values: Any) -> np.ndarray:
    return np.array(values, np.int32)


def f4(values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def starts(parts: Any) -> np.ndarray:
    return i4(np.cumsum([0, *map(len, parts)]))


def random_links(rng: np.random.Generator, bins: np.ndarray, links: int) -> list[slow.Link]:
    """Links among junctions of three stages, some with several ways, feeds and classes."""
    found = []

    def veh() -> list[float]:
        return [0.0, *rng.choice([0.0, 0.5, 1.0, 2.0], 3).tolist()]

    for _ in range(links):
        up = int(rng.integers(len(bins)))
        down = int(rng.choice(np.flatnonzero(bins == bins[up])))
        ways = []
        for _ in range(rng.integers(1, 3)):
            late_bins = float(rng.uniform(0, 2.5 * bins[up]))
            feeds = [
                slow.Feed(
                    [(int(rng.integers(20)), float(F(rng.random()))) for _ in range(k)], veh()
                )
                for k in rng.integers(0, 3, rng.integers(1, 5)).tolist()
            ]
            ways.append(slow.Way(late_bins, 1 / (1 + 0.35 * late_bins), feeds))
        classes = [
            slow.Class(rng.integers(0, 20, int(k)).tolist(), veh())
            for k in rng.integers(1, 3, rng.integers(0, 4))
        ]
        found.append(slow.Link(up, down, ways, classes))
    return found


F = np.float32


def kernel_of(links: list[slow.Link], rules: slow.Rules) -> LinkProfiles:
    ways = [way for link in links for way in link.ways]
    feeds = [feed for way in ways for feed in way.feeds]
    classes = [alike for link in links for alike in link.classes]
    conns = [row for feed in feeds for row in feed.lanes]
    return LinkProfiles(
        link_way_ptr=starts([link.ways for link in links]),
        link_down=i4([link.down for link in links]),
        way_up=i4([link.up for link in links for _ in link.ways]),
        way_link=i4([number for number, link in enumerate(links) for _ in link.ways]),
        way_late_bins=np.array([way.late_bins for way in ways]),
        way_factor=f4([way.factor for way in ways]),
        feed_ptr=starts([way.feeds for way in ways]),
        feed_veh_ptr=starts([feed.veh for feed in feeds])[:-1],
        feed_veh=f4([value for feed in feeds for value in feed.veh]),
        conn_ptr=starts([feed.lanes for feed in feeds]),
        conn_lane=i4([lane for lane, _ in conns]),
        conn_share=f4([share for _, share in conns]),
        class_ptr=starts([link.classes for link in links]),
        class_lane_ptr=starts([alike.lanes for alike in classes]),
        class_lane=i4([lane for alike in classes for lane in alike.lanes]),
        class_veh_ptr=starts([alike.veh for alike in classes])[:-1],
        class_veh=f4([value for alike in classes for value in alike.veh]),
        bin_s=rules.bin_s, tells_up_to=rules.tells_up_to, fades_over=rules.fades_over,
    )  # fmt: skip


def tables_of(
    links: list[slow.Link], bins: np.ndarray, shown: np.ndarray, flow: np.ndarray, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    width = shown.shape[1]
    delay = np.full((len(links), width), np.nan, np.float32)
    told = np.full(len(links), 9, np.uint8)
    scratch = np.full((threads, LinkProfiles.scratch_size(width)), np.nan, np.float32)
    for array in (bins, shown, flow):
        array.flags.writeable = False
    kernel_of(links, slow.Rules()).delays(bins, shown, flow, scratch, threads, delay, told)
    return delay, told


@settings(max_examples=40, deadline=None)
@given(seed=seeds, links=st.integers(1, 40))
def test_link_tables_equal_their_twins(seed: int, links: int) -> None:
    rng = np.random.default_rng(seed)
    bins = i4(rng.choice([1, 2, 5, 13, 16, 30], 5))
    shown = np.full((5, 32), 99, np.int16)
    for junction, count in enumerate(bins.tolist()):
        shown[junction, :count] = rng.integers(0, 4, count)
    flow = (rng.random(20) * 0.3 * (rng.random(20) < 0.8)).astype(np.float32)
    city = random_links(rng, bins, links)
    delay, told = tables_of(city, bins, shown, flow, 1)
    rows = [row[:count].tolist() for row, count in zip(shown, bins.tolist(), strict=True)]
    for number, link in enumerate(city):
        expected = slow.link_delay(link, rows, flow.tolist(), slow.Rules())
        count = int(bins[link.up])
        assert not delay[number, count:].any()
        assert told[number] == (expected is not None)
        if expected is None:
            assert not delay[number].any()
        else:
            assert delay[number, :count] == pytest.approx(expected, rel=2e-3, abs=2e-3)
    again, told_again = tables_of(city, bins, shown, flow, 3)
    assert (again == delay).all()
    assert (told_again == told).all()


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_stages_by_bin_equal_their_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    step_ptr = i4(np.cumsum([0, *rng.integers(1, 5, 4)]))
    steps = int(step_ptr[-1])
    held_s = rng.integers(0, 6, steps) / 2.0
    arrays = rng.integers(0, 12, steps) / 2.0 + held_s, rng.integers(6, 60, steps) / 2.0, held_s
    bins = i4(rng.integers(1, 40, 4))
    local = i4(rng.integers(0, 4, steps))
    shown = np.full((4, 48), 99, np.int16)
    stage_bins(step_ptr, local, *arrays, 2.0, bins, 2, shown)
    rows = slow.stage_bins(
        step_ptr.tolist(), local.tolist(), *(a.tolist() for a in arrays), 2.0, bins.tolist()
    )
    for row, expected in zip(shown, rows, strict=True):
        assert row[: len(expected)].tolist() == expected


# ---- descent ----


def random_city(
    rng: np.random.Generator, junctions: int, bins: int
) -> tuple[LinkTables, slow_descent.City]:
    """Random links with random tables; some of them equal everywhere."""
    links = []
    for _ in range(2 * junctions):
        up, down = rng.choice(junctions, 2, replace=False).tolist()
        links.append((up, down, rng.integers(0, 9, bins) * (rng.random() < 0.9)))
    tables = LinkTables.of(junctions, links, bins)
    rows = [(up, down, table.astype(np.float32)) for up, down, table in links]
    order = list(dict.fromkeys(end for up, down, _ in links for end in (up, down)))
    return tables, slow_descent.City(order, [bins] * junctions, rows)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, junctions=st.integers(2, 9), bins=st.integers(1, 20))
def test_descent_equals_its_twin(seed: int, junctions: int, bins: int) -> None:
    rng = np.random.default_rng(seed)
    tables, city = random_city(rng, junctions, bins)
    descent = Descent(junctions, tables.up, tables.down)
    everywhere = np.ones(junctions, bool)
    zero = np.zeros(junctions, np.int32)
    found = descent._descend(tables, everywhere, zero).tolist()
    assert found == slow_descent.descend(city, [0] * junctions, 12, EQUAL_SHARE)
    start = rng.integers(-5, 3 * bins, junctions)
    reach = i4(rng.integers(0, 5, junctions))
    way = descent.steps(tables, start, reach).tolist()
    begin = (start % bins).tolist()
    assert way == slow_descent.step_all(city, begin, reach.tolist(), STEP_WORTH)
    stake = np.ptp(tables.delay, axis=1)
    order = np.argsort(-stake, kind="stable").tolist()
    best = tables.delay.argmin(axis=1)
    rows = [(int(tables.up[k]), int(tables.down[k]), int(best[k])) for k in order]
    tree = descent._along_tree(tables, everywhere).tolist()
    assert tree == slow_descent.along_tree(junctions, rows, bins)
    links = [(u, d, t.astype(np.float64)) for u, d, t in city.links]
    offset = best_offsets(junctions, links, bins)
    assert tables.at(offset).sum() <= tables.at(np.array(found)).sum() + 1e-6


def test_groups_of_their_own_cycle_do_as_if_alone() -> None:
    rng = np.random.default_rng(3)
    (one, _), (two, _) = random_city(rng, 5, 12), random_city(rng, 7, 20)
    delay = np.full((len(one.up) + len(two.up), 20), 7e9, np.float32)
    delay[: len(one.up), :12], delay[len(one.up) :] = one.delay, two.delay
    both = LinkTables(
        np.concatenate((one.up, two.up + 5)), np.concatenate((one.down, two.down + 5)),
        np.repeat(i4([12, 20]), [5, 7]), delay, np.ones(len(delay), bool),
    )  # fmt: skip
    group = np.repeat(i4([0, 1]), [5, 7])
    together = Descent(12, both.up, both.down).best(both, np.ones(12, bool), group)
    for part, tables in ((slice(0, 5), one), (slice(5, 12), two)):
        count = tables.delay.shape[1]
        n = len(tables.bins)
        links = list(zip(tables.up, tables.down, tables.delay.astype(float), strict=True))
        assert together[part].tolist() == best_offsets(n, links, count).tolist()
    only = Descent(12, both.up, both.down).best(both, group == 1, group)
    assert not only[:5].any()
    assert only[5:].tolist() == together[5:].tolist()


def test_threads_change_nothing_in_a_city() -> None:
    side, bins = 40, 30
    rng = np.random.default_rng(1)
    number = np.arange(side * side).reshape(side, side)
    ends = [(number[:, :-1], number[:, 1:]), (number[:-1], number[1:])]
    up = np.concatenate([a.ravel() for a, b in ends] + [b.ravel() for a, b in ends])
    down = np.concatenate([b.ravel() for a, b in ends] + [a.ravel() for a, b in ends])
    up, down = i4(up), i4(down)
    count = side * side
    # In the order of a chequerboard: two turns.
    order = i4(np.argsort(np.add(*np.divmod(np.arange(count), side)) % 2, kind="stable"))
    delay = rng.random((len(up), 32)).astype(np.float32)
    tables = LinkTables(up, down, np.full(count, bins, np.int32), delay, np.ones(len(up), bool))
    where, group = np.ones(count, bool), np.zeros(count, np.int32)
    one, three = (Descent(count, up, down, threads, order) for threads in (1, 3))
    assert len(one._graph[0]) == 3
    assert one.best(tables, where, group).tolist() == three.best(tables, where, group).tolist()
    start, reach = rng.integers(0, bins, count), np.full(count, 3, np.int32)
    assert one.steps(tables, start, reach).tolist() == three.steps(tables, start, reach).tolist()


@given(
    ways=st.lists(st.integers(-90_000, 90_000), min_size=1, max_size=12),
    cycle=st.integers(1_000, 90_000),
)
def test_the_middle_of_ways_is_least_far_from_all(ways: list[int], cycle: int) -> None:
    way_s = _wrap(np.array(ways) / 1000, cycle / 1000)
    middle_s = _middle_s(way_s, cycle / 1000)
    far = [np.abs(_wrap(way_s - common, cycle / 1000)).sum() for common in way_s]
    chosen = np.abs(_wrap(way_s - middle_s, cycle / 1000)).sum()
    assert chosen == pytest.approx(min(far), abs=2e-3 * len(ways))
