"""Journals as hi-resolution controller events: lamps, pulses of detectors, what lies where."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hand_journal import write_journal
from tests.networks import crossroads
from topis.report.detections import _place, find_channels, read_pulses
from topis.report.events import (
    EVENT_SCHEMA,
    as_atspm,
    controller_events,
    detector_config,
    phase_config,
)
from topis.report.journal import JournalReader
from topis.report.lamp_log import read_lamps

#         0         1         2         3         4
#         0123456789012345678901234567890123456789012
NORTH = "rrrrrGGGGGGGGGGyyyrrrrrrrrrrrrrrrrrgGGGGGGG"
EAST_ = "GGyyyrrrrrrrrrrrrrrrGGGGGGGGGGyyyrrrrrrrrrr"
WALK_ = "rrrrrGGGGGGGrrrrrrrrrrrrrrrrrrrrrrrGGGGGGGG"
LAMPS = (NORTH, EAST_, WALK_)


def events(journal: JournalReader) -> pd.DataFrame:
    batches = list(controller_events(journal))
    table = pa.Table.from_batches(batches, EVENT_SCHEMA).to_pandas()
    return table.assign(s=table["time"].astype("int64") / 1000).drop(columns="time")


def told(table: pd.DataFrame, *codes: int, parameter: int | None = None) -> list[tuple]:
    some = table[table["code"].isin(codes)]
    if parameter is not None:
        some = some[some["parameter"] == parameter]
    return list(zip(some["s"], some["code"], some["parameter"], strict=True))


# ---- lamps ----


def test_greens_yellows_and_reds(tmp_path: Path) -> None:
    log = read_lamps(write_journal(tmp_path / "run", crossroads(), LAMPS))
    rows = [
        (int(g), *(int(t) // 1000 for t in times), bool(begun), bool(done))
        for g, *times, begun, done in zip(
            log.group, log.green_ms, log.yellow_ms, log.red_ms, log.next_ms, log.begun, log.done,
            strict=True,
        )
    ]  # fmt: skip
    assert rows == [
        (0, 0, 0, 0, 5, False, True),
        (0, 5, 15, 18, 35, True, True),
        (0, 35, 42, 42, 42, True, False),
        (1, 0, 2, 5, 20, False, True),
        (1, 20, 30, 33, 42, True, False),
        (2, 0, 0, 0, 5, False, True),
        (2, 5, 12, 12, 35, True, True),
        (2, 35, 42, 42, 42, True, False),
    ]
    assert log.group_ptr.tolist() == [0, 3, 5, 8]


def test_lamps_as_events(tmp_path: Path) -> None:
    """Intergreen 5 s with 3 s of yellow: an all-red of 2 s. The crossing clears in 10 s."""
    table = events(write_journal(tmp_path / "run", crossroads(), LAMPS, lanes=()))
    assert (table["controller"] == 0).all()
    assert told(table, *range(13), parameter=1) == [
        (5, 0, 1), (5, 1, 1), (15, 6, 1), (15, 7, 1), (15, 8, 1), (18, 9, 1), (18, 10, 1),
        (20, 11, 1), (20, 12, 1), (35, 0, 1), (35, 1, 1),
    ]  # fmt: skip
    assert told(table, *range(13), parameter=2) == [
        (0, 0, 2), (0, 1, 2), (2, 6, 2), (2, 7, 2), (2, 8, 2), (5, 9, 2), (5, 10, 2),
        (7, 11, 2), (7, 12, 2), (20, 0, 2), (20, 1, 2), (30, 6, 2), (30, 7, 2), (30, 8, 2),
        (33, 9, 2), (33, 10, 2), (35, 11, 2), (35, 12, 2),
    ]  # fmt: skip
    assert told(table, 21, 22, 23) == [(5, 21, 3), (12, 22, 3), (22, 23, 3), (35, 21, 3)]
    assert table["s"].is_monotonic_increasing


def test_times_of_day_are_kept(tmp_path: Path) -> None:
    journal = write_journal(tmp_path / "run", crossroads(), LAMPS, begin_s=30_000)
    batch = next(controller_events(journal))
    named = as_atspm(batch, journal.network)
    assert named.schema.names == ["TimeStamp", "DeviceId", "EventId", "Parameter"]
    assert named["DeviceId"][0].as_py() == "j0"
    assert str(named["TimeStamp"][0].as_py()) == "1970-01-01 08:20:00"


@pytest.mark.parametrize(
    ("controller", "late", "code"),
    [
        ("shipped", {}, 6),
        ("cosmos", {}, 6),
        ("adaptive", {}, 4),
        ("adaptive", {14: (1, 0.5)}, 6),
        ("adaptive", {11: (1, 0.5)}, 4),
        ("actuated", {14: (1, 0.5)}, 5),
        ("actuated", {}, 4),
    ],
)
def test_why_a_green_ended(controller: str, late: dict, code: int, tmp_path: Path) -> None:
    """The green lasts from 5 to 15 s: what is read at 11 s was over more than 3 s before."""
    readings = {0: late}
    journal = write_journal(tmp_path / "run", crossroads(), LAMPS, readings, controller=controller)
    assert told(events(journal), 4, 5, 6, parameter=1) == [(15, code, 1)]


@pytest.mark.parametrize(("green_s", "code"), [(60, 5), (59, 6)])
def test_a_green_at_its_maximum(green_s: int, code: int, tmp_path: Path) -> None:
    """The stages here have a maximum of 60 s, and a vehicle uses the last second of green."""
    north = "rr" + "G" * green_s + "yyyrr"
    lamps = (north, "r" * len(north), "r" * len(north))
    readings = {0: {green_s + 1: (1, 0.5)}}
    journal = write_journal(tmp_path / "run", crossroads(), lamps, readings, controller="adaptive")
    assert told(events(journal), 4, 5, 6) == [(green_s + 2, code, 1)]


def test_a_journal_of_one_moment(tmp_path: Path) -> None:
    assert events(write_journal(tmp_path / "run", crossroads(), ("G", "r", "r"))).empty


def test_nothing_is_said_without_detector_or_plan(tmp_path: Path) -> None:
    journal = write_journal(tmp_path / "run", crossroads(), LAMPS, controller="adaptive")
    assert told(events(journal), 4, 5, 6, parameter=2) == []


# ---- detectors ----


def test_pulses_lie_inside_their_ticks(tmp_path: Path) -> None:
    readings = {
        0: {3: (1, 0.4), 4: (0, 1.0), 5: (0, 0.25), 10: (2, 0.5), 20: (1, 0.0), 30: (0, 0.5)}
    }
    table = events(write_journal(tmp_path / "run", crossroads(), LAMPS, readings))
    ons = [s for s, _, _ in told(table, 82, parameter=1)]
    offs = [s for s, _, _ in told(table, 81, parameter=1)]
    # Second 3 is (2, 3]: it comes late enough to stand at 3.0, and leaves 0.25 s into the fifth.
    assert (ons[0], offs[0]) == (2.6, 4.25)
    # Two in a second, half covered: a gap, a pulse, and so on, evenly.
    assert ons[1:3] == [9.167, 9.583]
    assert offs[1:3] == [9.417, 9.833]
    # Counted, yet nothing covered: 0.1 s.
    assert offs[3] - ons[3] == pytest.approx(0.1)
    # Covered, yet nobody counted: it is on.
    assert offs[4] - ons[4] == pytest.approx(0.5)
    assert len(ons) == len(offs) == 5


def test_the_first_tick_tells_of_the_time_before(tmp_path: Path) -> None:
    journal = write_journal(tmp_path / "run", crossroads(), LAMPS, {0: {0: (3, 1.0)}})
    assert told(events(journal), 81, 82) == []


def test_a_detector_that_dies_is_off(tmp_path: Path) -> None:
    readings = {0: {k: (1 if k == 3 else 0, 0.5 if k == 3 else 1.0) for k in range(3, 20)}}
    journal = write_journal(
        tmp_path / "run", crossroads(), LAMPS, readings, dead={0: range(10, 43)}
    )
    # Off within the last tick it told of, to the millisecond that a gap takes.
    assert told(events(journal), 81, 82) == [(2.5, 82, 1), (8.999, 81, 1)]


ticks = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.0, 0.2, 0.5, 0.9, 1.0])),
    min_size=1, max_size=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(ticks, st.integers(0, 12))
def test_count_and_occupancy_are_kept(told_by: list[tuple[int, float]], cut: int) -> None:
    """Whatever is read, and wherever the blocks of ticks are cut."""
    count = np.array([[n] for n, _ in told_by], np.float32)
    occupancy = np.array([[o] for _, o in told_by], np.float32)
    edges = 1000 * np.arange(len(told_by) + 1, dtype=np.int64)
    cut = min(cut, len(told_by))
    carried = np.zeros(1, bool)
    on: list[tuple[int, int]] = []
    starts = stops = 0
    for low, high in ((0, cut), (cut, len(told_by))):
        if low == high:
            continue
        ahead = high + 1
        pulses, carried = _place(
            edges[low:high], edges[low + 1 : high + 1], count[low:ahead], occupancy[low:ahead],
            carried, np.ones(1, bool),
        )  # fmt: skip
        on += list(zip(pulses.begin_ms.tolist(), pulses.end_ms.tolist(), strict=True))
        starts += int(pulses.starts.sum())
        stops += int(pulses.stops.sum())
    for k, (number, share) in enumerate(told_by):
        inside = [(b, e) for b, e in on if 1000 * k <= b < 1000 * (k + 1)]
        assert all(b < e <= 1000 * (k + 1) for b, e in inside)
        assert all(a[1] < b[0] for a, b in itertools.pairwise(inside))
        covered = sum(e - b for b, e in inside)
        # To the millisecond by pulse; one vehicle after another needs a gap.
        expected = 1000 * share if share else min(100 * number, 500)
        assert covered == pytest.approx(expected, abs=2 * number + 3)
    assert starts == stops
    uncounted = sum(n == 0 and o > 0 for n, o in told_by)
    assert count.sum() <= starts <= count.sum() + uncounted


@settings(max_examples=300, deadline=None)
@given(ticks, st.integers(0, 12))
def test_at_the_line_of_a_camera_only_who_was_counted_came(
    told_by: list[tuple[int, float]], cut: int
) -> None:
    """Frames that are missed make nobody come, wherever the blocks of ticks are cut."""
    count = np.array([[n] for n, _ in told_by], np.float32)
    occupancy = np.array([[o] for _, o in told_by], np.float32)
    edges = 1000 * np.arange(len(told_by) + 1, dtype=np.int64)
    carried, starts, stops = np.zeros(1, bool), 0, 0
    spans: list[tuple[int, int]] = []
    cut = min(cut, len(told_by))
    for low, high in ((0, cut), (cut, len(told_by))):
        if low == high:
            continue
        pulses, carried = _place(
            edges[low:high], edges[low + 1 : high + 1], count[low : high + 1],
            occupancy[low : high + 1], carried, np.zeros(1, bool),
        )  # fmt: skip
        starts += int(pulses.starts.sum())
        stops += int(pulses.stops.sum())
        spans += list(zip(pulses.begin_ms.tolist(), pulses.end_ms.tolist(), strict=True))
    assert starts == stops == count.sum()
    assert all(a < b for a, b in spans)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))


def test_blocks_of_any_size_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    readings = {
        s: {k: (int(rng.integers(0, 2)), float(rng.random())) for k in range(1, 43)}
        for s in range(4)
    }
    journal = write_journal(tmp_path / "run", crossroads(), LAMPS, readings, lanes=(0, 1))
    whole = events(journal)
    monkeypatch.setattr("topis.report.detections._CELLS", 1)
    channels = find_channels(journal.network, journal.sensors)
    assert len(list(read_pulses(journal, channels))) > 20
    pd.testing.assert_frame_equal(events(journal), whole)


# ---- what lies where ----


def test_configuration(tmp_path: Path) -> None:
    journal = write_journal(tmp_path / "run", crossroads(), LAMPS, lanes=(1, 0))
    config = detector_config(journal)
    assert config[["DeviceId", "Phase", "Parameter", "Function"]].to_numpy().tolist() == [
        ["j0", 1, 1, "Presence"], ["j0", 1, 1, "Yellow_Red"], ["j0", 1, 2, "Advance"],
        ["j0", 2, 3, "Presence"], ["j0", 2, 3, "Yellow_Red"], ["j0", 2, 4, "Advance"],
    ]  # fmt: skip
    assert config["Sensor"].tolist() == ["loop2", "loop2", "loop3", "loop0", "loop0", "loop1"]
    assert config["Distance_m"].tolist() == [3, 3, 50, 3, 3, 50]
    phases = phase_config(journal.network)
    assert phases["Phase"].tolist() == [1, 2, 3]
    assert phases["Kind"].tolist() == ["vehicles", "vehicles", "crossing"]
    assert phases["Links"].tolist() == ["j0in0", "j0in1", ""]
    assert phases["RedClearance_s"].tolist() == [2, 2, 10]
