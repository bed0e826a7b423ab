"""How vehicles of a made-up day move along their lanes: one behind the other, all the way."""

from __future__ import annotations

import numpy as np
import pytest

from tests.test_street_queues import PRIORITY, RED, Drive, Streets, Way
from topis._core.street_queues import StreetQueues
from topis.ingest.synth_motion import Departures, Motion
from topis.ingest.synth_traffic import Passages
from topis.units import JAM_SPACING_M

LENGTH_M = 200.0


@pytest.fixture(scope="module")
def passages() -> Passages:
    """Two hours on a lane whose signal is asked for more than it carries, now and then."""
    streets = Streets(
        [1, 1], [Way(0, 1, 0)], [(0, [PRIORITY] * 40 + [RED] * 50)], [30, 1000], free_s=15.0
    )
    rng = np.random.default_rng(5)
    rate = np.where(np.arange(7200) // 1800 % 2 == 0, 0.18, 0.3)
    at_s = np.flatnonzero(rng.random(7200) < rate) + rng.random()
    drive = Drive(StreetQueues, streets, [(0, float(t)) for t in at_s])
    rows = [row for row in drive.on(0, 7200) if row[0] == 0]
    lane, conn, _, number, enter_s, arrive_s, depart_s = map(np.array, zip(*rows, strict=True))
    free_mps = LENGTH_M / (arrive_s - enter_s)
    queue_m = np.zeros(len(rows))
    return Passages(lane, conn, number, enter_s, arrive_s, depart_s, queue_m, free_mps)


@pytest.fixture(scope="module")
def motion(passages: Passages) -> Motion:
    return Motion(passages, Departures.none())


def test_places_and_times_of_passing_agree(passages: Passages, motion: Motion) -> None:
    who = np.arange(len(passages))
    before_s = passages.enter_s - 1e-9
    for before_m in (LENGTH_M, 150.0, 97.3, 40.0, 7.6, 7.4, 1.0):
        time_s = motion.passing_s(who, np.full(len(who), before_m))
        assert (time_s >= before_s).all()
        place_m, speed = motion.places(who, time_s)
        assert place_m == pytest.approx(before_m, abs=1e-6)
        assert (speed >= 0).all()
        before_s = time_s
    assert motion.passing_s(who, np.zeros(len(who))) == pytest.approx(passages.depart_s)
    assert (motion.passing_s(who, np.full(len(who), -6.0)) > passages.depart_s).all()


def test_who_stands_has_room_before_and_behind(passages: Passages, motion: Motion) -> None:
    """At any moment those on the lane are in order, and a standing one's rear is clear."""
    stood = 0
    for t in np.arange(60.0, 7100.0, 7.3):
        who = np.flatnonzero((passages.enter_s <= t) & (passages.depart_s > t))
        place_m, speed = motion.places(who, np.full(len(who), t))
        assert (place_m >= 0).all()
        apart_m = np.diff(place_m)
        standing = speed[:-1] == 0
        stood += int(standing.sum())
        assert (apart_m[standing] >= JAM_SPACING_M - 1.01).all()
    assert stood > 1000


def test_a_queue_moves_up_green_by_green(passages: Passages, motion: Motion) -> None:
    """Who needs several greens stands several times, nearer each time."""
    slow = np.flatnonzero(passages.depart_s - passages.arrive_s > 130)
    assert len(slow) > 20
    for who in slow[::5]:
        times = np.arange(passages.enter_s[who], passages.depart_s[who] - 0.5, 0.5)
        place_m, speed = motion.places(np.full(len(times), who), times)
        assert (np.diff(place_m) <= 1e-6).all(), "nobody backs up"
        stands = np.unique(np.round(place_m[speed == 0], 3))
        assert len(stands) >= 2
        assert np.rint((stands - 1) / JAM_SPACING_M) * JAM_SPACING_M + 1 == pytest.approx(stands)


def test_what_is_known_of_those_ahead_is_enough(passages: Passages, motion: Motion) -> None:
    """A window knows the last to leave before it, and tells the same as the whole."""
    from_s = 4000.0
    now = passages.take(passages.depart_s >= from_s)
    before = motion.departures.last(np.array([30]), from_s)
    assert len(before.lane) == 30
    part = Motion(now, before)
    whole = np.flatnonzero(passages.depart_s >= from_s)
    who = np.arange(len(now))
    for before_m in (150.0, 40.0, 3.0):
        place = np.full(len(who), before_m)
        assert part.passing_s(who, place).tolist() == motion.passing_s(whole, place).tolist()
    at_s = np.maximum(now.depart_s - 20.0, now.enter_s)
    assert part.places(who, at_s)[0] == pytest.approx(motion.places(whole, at_s)[0], abs=1e-6)
