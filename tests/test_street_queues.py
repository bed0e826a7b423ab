"""Queues of a made-up day: as the twin has them, and as traffic theory would have them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference.street_queues import StreetQueues as SlowQueues
from topis._core.street_queues import StreetQueues

RED, PERMISSIVE, PRIORITY = 0, 2, 3
HEADWAY_S, STARTUP_S, CROSSING_S, GAP_S = 1.9, 1.5, 2.0, 4.0
OUT = {
    "lane": np.int32, "conn": np.int32, "ahead": np.int32, "number": np.int64,
    "enter_s": np.float64, "arrive_s": np.float64, "depart_s": np.float64,
}  # fmt: skip
KEPT = ("entered", "arrived", "gone", "link_count")


@dataclass(frozen=True)
class Way:
    """A connection: from lane to lane, under a group (-1: none), with a weight."""

    from_lane: int
    to_lane: int
    group: int = -1
    weight: float = 1.0
    yields: tuple[int, ...] = ()


@dataclass(frozen=True)
class Streets:
    """A small network by hand: lanes of each link, how long each takes, ways, signals."""

    links: list[int]
    ways: list[Way]
    signals: list[tuple[int, list[int]]] = field(default_factory=list)
    storage: list[int] | None = None
    free_s: float = 10.0
    slowest: float = 0.15
    startup_s: float = STARTUP_S
    patience_s: float = 300.0

    def arrays(self) -> dict[str, Any]:
        """What both are built from, their memory empty."""
        lane_link = np.repeat(np.arange(len(self.links)), self.links).astype(np.int32)
        lanes, links, conns = len(lane_link), len(self.links), len(self.ways)
        from_lane = np.array([w.from_lane for w in self.ways], np.int32)
        assert (np.diff(from_lane) >= 0).all()
        to_lane = np.array([w.to_lane for w in self.ways], np.int32)
        link_ptr = np.searchsorted(lane_link[from_lane], np.arange(links + 1)).astype(np.int32)
        below = np.zeros(conns)
        for link in range(links):
            own = slice(link_ptr[link], link_ptr[link + 1])
            weight = np.array([w.weight for w in self.ways[own]])
            below[own] = np.cumsum(weight) / max(weight.sum(), 1e-9)
        storage = self.storage or [1000] * links
        places = sum(storage)
        codes = [codes for _, codes in self.signals]
        return {
            "link_conn_ptr": link_ptr,
            "lane_conn_ptr": np.searchsorted(from_lane, np.arange(lanes + 1)).astype(np.int32),
            "link_storage": np.array(storage, np.int32),
            "lane_link": lane_link,
            "conn_from_lane": from_lane,
            "conn_to_lane": to_lane,
            "conn_group": np.array([w.group for w in self.ways], np.int32),
            "conn_move": (lane_link[from_lane] * links + lane_link[to_lane]).astype(np.int32),
            "conn_below": below,
            "lane_free_s": np.full(lanes, self.free_s),
            "yield_ptr": np.cumsum([0, *(len(w.yields) for w in self.ways)]).astype(np.int32),
            "yield_idx": np.array([k for w in self.ways for k in w.yields], np.int32),
            "code_ptr": np.cumsum([0, *map(len, codes)]).astype(np.int32),
            "offset_s": np.array([offset for offset, _ in self.signals], np.int32),
            "code": np.array([c for own in codes for c in own], np.uint8),
            **{name: np.full(lanes, -1, np.int32) for name in ("head", "tail", "coming")},
            **{name: np.zeros(lanes, np.int32) for name in ("entered", "arrived", "gone")},
            "link_count": np.zeros(links, np.int32),
            "free_s": np.full(lanes, -1e9),
            "last_enter_s": np.full(lanes, -1e9),
            "last_arrive_s": np.full(lanes, -1e9),
            "last_leave_s": np.full(lanes, -1e9),
            "conn_last_s": np.full(conns, -1e9),
            **{
                name: np.zeros(places, np.int32) for name in ("behind", "conn", "ahead", "sequence")
            },
            "unused": np.arange(places, dtype=np.int32),
            **{name: np.zeros(places, np.int64) for name in ("number", "hops")},
            **{name: np.zeros(places) for name in ("enter_s", "arrive_s")},
            "headway_s": np.full(lanes, HEADWAY_S),
            "startup_s": self.startup_s,
            "crossing_s": CROSSING_S,
            "gap_s": GAP_S,
            "patience_s": self.patience_s,
            "slowest": self.slowest,
        }

    def shows(self, group: int, t: int) -> int:
        offset_s, codes = self.signals[group]
        return codes[(t - offset_s) % len(codes)]


Entry = tuple[int, float]


class Drive:
    """Streets with who comes in, driven on as far as one likes."""

    def __init__(self, kind: type[Any], streets: Streets, entries: list[Entry]) -> None:
        self.arrays = streets.arrays()
        frozen = {"code", "link_storage", "lane_link", "conn_below", "yield_idx", "code_ptr"}
        for name in frozen:
            self.arrays[name].flags.writeable = False
        self.queues = kind(**self.arrays)
        entries = sorted(entries)
        self.lanes = np.array([lane for lane, _ in entries], np.int32)
        sources = np.unique(self.lanes)
        self.ptr = np.searchsorted(self.lanes, [*sources, 2**30]).astype(np.int32)
        self.next = self.ptr[:-1].copy()
        self.at_s = np.array([at_s for _, at_s in entries], np.float64)
        self.number = np.arange(len(entries), dtype=np.int64) * 7

    @property
    def come_in(self) -> int:
        return int((self.next - self.ptr[:-1]).sum())

    def on(self, begin_s: int, seconds: int, room: int = 20_000) -> list[tuple[Any, ...]]:
        """Passages of some seconds, as rows of `OUT`."""
        out = {name: np.zeros(room, kind) for name, kind in OUT.items()}
        made = self.queues.run(
            begin_s, seconds, self.ptr, self.next, self.lanes, self.at_s, self.number,
            **{f"out_{name}": values for name, values in out.items()},
        )  # fmt: skip
        return list(zip(*(values[:made].tolist() for values in out.values()), strict=True))


@st.composite
def towns(draw: st.DrawFn) -> tuple[Streets, list[Entry]]:
    """Any links, ways between any lanes of them, any lamps, any entries."""
    links = draw(st.lists(st.integers(1, 3), min_size=1, max_size=5))
    lanes = sum(links)
    groups = draw(st.integers(0, 3))
    run = st.tuples(st.sampled_from([RED, RED, PERMISSIVE, PRIORITY]), st.integers(1, 12))
    signals = []
    for _ in range(groups):
        runs = draw(st.lists(run, min_size=1, max_size=4))
        codes = [code for code, length in runs for _ in range(length)]
        signals.append((draw(st.integers(-30, 30)), codes))
    ends = draw(
        st.lists(
            st.tuples(st.integers(0, lanes - 1), st.integers(0, lanes - 1)),
            max_size=2 * lanes,
            unique=True,
        )
    )
    ways = [
        Way(
            a,
            b,
            draw(st.integers(-1, groups - 1)),
            draw(st.sampled_from([0.0, 0.2, 1.0, 1.0, 3.0])),
            tuple(draw(st.lists(st.integers(0, len(ends) - 1), max_size=2, unique=True))),
        )
        for a, b in sorted(ends)
    ]
    storage = draw(st.lists(st.integers(1, 8), min_size=len(links), max_size=len(links)))
    entry = st.tuples(
        st.integers(0, lanes - 1), st.floats(0.0, 100.0, allow_subnormal=False, width=32)
    )
    streets = Streets(
        links,
        ways,
        signals,
        storage,
        draw(st.sampled_from([0.0, 0.3, 2.0, 15.0])),
        patience_s=draw(st.sampled_from([10.0, 40.0, 300.0])),
    )
    return streets, draw(st.lists(entry, max_size=40))


@settings(max_examples=300, deadline=None)
@given(town=towns(), cuts=st.lists(st.integers(1, 119), max_size=5))
def test_queues_are_as_the_twin_has_them_however_time_is_cut(
    town: tuple[Streets, list[Entry]], cuts: list[int]
) -> None:
    streets, entries = town
    fast, slow = Drive(StreetQueues, streets, entries), Drive(SlowQueues, streets, entries)
    edges = sorted({0, 120, *cuts})
    found = [row for a, b in itertools.pairwise(edges) for row in fast.on(a, b - a)]
    assert found == slow.on(0, 120)
    assert fast.next.tolist() == slow.next.tolist()
    for name in KEPT:
        assert fast.arrays[name].tolist() == slow.arrays[name].tolist(), name


@settings(max_examples=200, deadline=None)
@given(town=towns())
def test_nobody_is_lost_or_passes_at_red_or_where_there_is_no_room(
    town: tuple[Streets, list[Entry]],
) -> None:
    streets, entries = town
    drive = Drive(StreetQueues, streets, entries)
    storage = np.array(streets.storage)
    left = 0
    last: dict[int, float] = {}
    for t in range(120):
        for lane, way, ahead, _, enter_s, arrive_s, depart_s in drive.on(t, 1):
            left += way < 0
            assert enter_s <= arrive_s <= depart_s
            assert t <= depart_s < t + 1
            assert ahead >= 0
            assert depart_s - last.get(lane, -1e9) >= HEADWAY_S - 1e-9, "first in, first out"
            last[lane] = depart_s
            if way >= 0 and streets.ways[way].group >= 0:
                group = streets.ways[way].group
                if streets.shows(group, t) < PERMISSIVE:
                    # The one who waited in the junction while it was green.
                    assert streets.shows(group, t - 1) == PERMISSIVE
                    assert arrive_s < t
        count = drive.arrays["link_count"]
        assert (count <= storage).all()
        assert drive.come_in == left + count.sum()
        on_lane = drive.arrays["entered"] - drive.arrays["gone"]
        lane_link = drive.arrays["lane_link"]
        assert (np.bincount(lane_link, on_lane, minlength=len(count)) == count).all()
        assert (drive.arrays["gone"] <= drive.arrays["arrived"]).all()
        assert (drive.arrays["arrived"] <= drive.arrays["entered"]).all()


def signal(green_s: int, cycle_s: int, code: int = PRIORITY) -> tuple[int, list[int]]:
    """Green from second 0 of the cycle on."""
    return 0, [code] * green_s + [RED] * (cycle_s - green_s)


def test_delay_is_websters_where_arrivals_are_random() -> None:
    """Uniform plus random delay of a fixed-time signal at 70 % saturation (Webster 1958)."""
    cycle_s, green_s, flow_vps, hours = 100, 50, 0.18, 60
    streets = Streets(
        [1, 1], [Way(0, 1, 0)], [signal(green_s, cycle_s)], slowest=0.0, startup_s=0.0
    )
    rng = np.random.default_rng(1)
    at_s = np.cumsum(rng.exponential(1 / flow_vps, round(hours * 3600 * flow_vps)))
    drive = Drive(StreetQueues, streets, [(0, float(t)) for t in at_s])
    passages = drive.on(0, hours * 3600, room=200_000)
    delay_s = [depart - arrive for lane, *_, arrive, depart in passages if lane == 0]
    assert len(delay_s) > 0.99 * len(at_s)
    share, x = green_s / cycle_s, flow_vps * HEADWAY_S / (green_s / cycle_s)
    webster_s = 0.9 * (
        cycle_s * (1 - share) ** 2 / (2 * (1 - share * x)) + x**2 / (2 * flow_vps * (1 - x))
    )
    assert np.mean(delay_s) == pytest.approx(webster_s, rel=0.1)


def test_a_long_queue_discharges_at_the_headway() -> None:
    streets = Streets([1, 1], [Way(0, 1, 0)], [signal(60, 120)])
    drive = Drive(StreetQueues, streets, [(0, 61.0 + 0.1 * k) for k in range(100)])
    passages = [row for row in drive.on(60, 180) if row[0] == 0]
    depart_s = np.array([row[-1] for row in passages])
    assert depart_s[0] == 120 + STARTUP_S
    assert np.diff(depart_s) == pytest.approx(HEADWAY_S)
    # A green of 60 s less what starting takes carries so many.
    assert len(passages) == int((60 - STARTUP_S) / HEADWAY_S) + 1
    assert [row[2] for row in passages] == list(range(len(passages)))


def test_who_comes_late_in_a_green_drives_through() -> None:
    streets = Streets([1, 1], [Way(0, 1, 0)], [signal(60, 120)], slowest=0.0)
    drive = Drive(StreetQueues, streets, [(0, 0.0), (0, 20.0), (0, 45.5)])
    first, second, third = (row for row in drive.on(0, 120) if row[0] == 0)
    for row in (first, second, third):
        assert row[2] == 0
        assert row[-1] == row[-2] == row[-3] + 10.0


def test_a_full_road_holds_back_who_would_go_on() -> None:
    """Two find room behind the red; the third waits at green, however long."""
    streets = Streets(
        [1, 1, 1],
        [Way(0, 1, 0), Way(1, 2, 1)],
        [(0, [PRIORITY]), signal(30, 300)],
        storage=[10, 2, 10],
    )
    drive = Drive(StreetQueues, streets, [(0, 100.0 + k) for k in range(5)])
    before = [row for row in drive.on(60, 240) if row[0] == 0]
    assert len(before) == 2
    after = [row for row in drive.on(300, 30) if row[0] == 0]
    # Room is made by who leaves, not by the light.
    assert len(after) == 3
    assert min(row[-1] for row in after) >= 300 + STARTUP_S


def test_who_gives_way_waits_for_a_gap_and_one_goes_when_green_ends() -> None:
    """Against a stream without gaps nobody turns left; who waited in the junction clears it."""
    streets = Streets(
        [1, 1, 1, 1],
        [Way(0, 2, 0), Way(1, 3, 1, yields=(0,))],
        [(0, [PRIORITY]), signal(60, 120, PERMISSIVE)],
    )
    stream = [(0, 3.0 * k) for k in range(100)]
    drive = Drive(StreetQueues, streets, [*stream, (1, 1.0), (1, 2.0), (1, 3.0)])
    turning = [row[-1] for row in drive.on(0, 240) if row[0] == 1]
    assert turning == [60.0, 180.0]
    free = Drive(StreetQueues, streets, [(1, 1.0), (1, 2.0), (1, 3.0)])
    assert len([row for row in free.on(0, 60) if row[0] == 1]) == 3


def test_queues_round_a_block_do_not_stand_for_ever() -> None:
    """Each of four full roads leads into the next: now and then someone turns off."""
    streets = Streets(
        [1] * 4, [Way(k, (k + 1) % 4, 0) for k in range(4)], [(0, [PRIORITY])], [3] * 4
    )
    drive = Drive(StreetQueues, streets, [(lane, 0.1 * k) for lane in range(4) for k in range(3)])
    assert not [row for row in drive.on(0, 300) if row[1] < 0]
    off = [row for row in drive.on(300, 30) if row[1] < 0]
    assert len(off) == 1, "with room again they go round"
    assert drive.come_in == 12


def test_turns_are_drawn_by_their_shares_and_lanes_by_their_queues() -> None:
    """A quarter turns off; straight on, both lanes are used alike; where no draw leads, nobody."""
    ways = [Way(0, 3, weight=1.0), Way(0, 4, weight=1.0), Way(1, 3), Way(1, 5, weight=0.0)]
    streets = Streets([2, 1, 1, 1, 1], ways)
    # Lanes 0 and 1 lead to link 2 (lane 3); lane 0 alone to link 3 (lane 4).
    drive = Drive(StreetQueues, streets, [(0, 2.0 * k) for k in range(3000)])
    taken = np.bincount([row[1] for row in drive.on(0, 7000) if row[0] < 2], minlength=4)
    assert taken.sum() == 3000
    assert taken[1] == pytest.approx(1000, abs=80)
    assert taken[0] + taken[2] == pytest.approx(2000, abs=80)
    assert taken[2] > 500
    assert taken[3] == 0


def test_too_little_room_for_passages_is_told() -> None:
    streets = Streets([1], [])
    drive = Drive(StreetQueues, streets, [(0, float(k)) for k in range(20)])
    with pytest.raises(MemoryError, match="more passages"):
        drive.on(0, 100, room=3)
