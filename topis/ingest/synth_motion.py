"""Where vehicles are between coming onto a lane and leaving it, from when they did so.

After Newell (2002, Transp. Res. B 36): who follows is where the one ahead was a moment before, a
vehicle's space behind; who has nobody near drives freely. So a queue moves up by as many places as
have left, however many greens that takes, and nobody stands where another one does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from topis.ingest.synth_traffic import QUEUE_MPS, STOOD_S, Passages
from topis.units import BASE_SAT_FLOW_VPS, JAM_SPACING_M

#: How far before the line the first of a queue stands (m).
FRONT_M = 1.0
#: A place moves up so long after the one before it (s): then the queue leaves at its headway.
FOLLOW_S = 1.0 / BASE_SAT_FLOW_VPS - JAM_SPACING_M / QUEUE_MPS
#: Departures are looked up by lane and time in one number; a day is shorter than this (s).
_LANE_S = 1e6
F8 = NDArray[np.float64]
Which = NDArray[np.intp]


@dataclass(frozen=True)
class Departures:
    """Who left which lane when, by lane, then time: arrays [departures]."""

    lane: NDArray[np.int32]
    depart_s: F8

    @classmethod
    def none(cls) -> Departures:
        """Nobody has left."""
        return cls(np.zeros(0, np.int32), np.zeros(0))

    def last(self, most: NDArray[np.int64], until_s: float) -> Departures:
        """Of those until then the last of each lane, ``most`` [lanes] at the most."""
        gone = self.depart_s < until_s
        lane, depart_s = self.lane[gone], self.depart_s[gone]
        after = np.searchsorted(lane, lane, side="right") - np.arange(len(lane))
        late = after <= most[lane]
        return Departures(lane[late], depart_s[late])


class Motion:
    """Ways of passages, given with all who left the same lanes not long before them.

    ``which`` [n] are numbers of passages throughout; distances are those from a vehicle's front to
    the end of its lane (m), times seconds of the day.
    """

    def __init__(self, passages: Passages, before: Departures) -> None:
        self._passages = passages
        lane = np.concatenate((before.lane, passages.lane))
        depart_s = np.concatenate((before.depart_s, passages.depart_s))
        order = np.lexsort((depart_s, lane))
        #: All who left, those before and the passages.
        self.departures = Departures(lane[order], depart_s[order])
        number = np.empty(len(order), dtype=np.intp)
        number[order] = np.arange(len(order))
        #: Of each passage among them; of the first of its lane.
        self._own = number[len(before.lane) :]
        self._first = np.searchsorted(self.departures.lane, passages.lane)

    @cached_property
    def _key(self) -> F8:
        """Grows by lane, and in a lane with every departure."""
        lane = self.departures.lane
        rank = np.arange(len(lane)) - np.searchsorted(lane, lane)
        return lane * _LANE_S + self.departures.depart_s - FOLLOW_S * rank

    def _moves_up_s(self, which: Which, place: Which) -> F8:
        """When each may pass the end of the place (0: the line); long ago if nobody is known."""
        ahead = self._own[which] - place
        known = ahead >= self._first[which]
        depart_s = self.departures.depart_s[np.where(known, ahead, 0)]
        return np.where(known, depart_s + FOLLOW_S * place, -np.inf)

    def passing_s(self, which: Which, before_m: F8) -> F8:
        """When each passes a point; beyond the line, it drives on as it left."""
        some = self._passages
        free_mps = some.free_mps[which]
        place = np.maximum(before_m // JAM_SPACING_M, 0.0).astype(np.intp)
        into_m = before_m - JAM_SPACING_M * place
        queued_s = np.where(
            into_m > FRONT_M,
            self._moves_up_s(which, place + 1) + (JAM_SPACING_M - into_m) / QUEUE_MPS,
            self._moves_up_s(which, place) - into_m / QUEUE_MPS,
        )
        before_s = np.maximum(some.arrive_s[which] - before_m / free_mps, queued_s)
        held = some.depart_s[which] > some.arrive_s[which] + STOOD_S
        beyond_s = some.depart_s[which] - before_m / np.where(held, QUEUE_MPS, free_mps)
        return np.where(before_m >= 0.0, before_s, beyond_s)

    def places(self, which: Which, time_s: F8) -> tuple[F8, F8]:
        """(distance, speed in m/s) of each at a time before it leaves."""
        some = self._passages
        own = self._own[which]
        wanted = some.lane[which] * _LANE_S + time_s - FOLLOW_S * (own - self._first[which])
        # The first of those ahead whose leaving has not moved this one up yet.
        ahead = np.searchsorted(self._key, wanted, side="right")
        place = own - np.clip(ahead, self._first[which], own)
        stand_m = JAM_SPACING_M * place
        until_s = self._moves_up_s(which, place)
        since_s = self._moves_up_s(which, place + 1)
        coming_m = stand_m + JAM_SPACING_M - QUEUE_MPS * (time_s - since_s)
        going_m = stand_m + QUEUE_MPS * (until_s - time_s)
        standing_m = np.minimum(stand_m + FRONT_M, going_m)
        queued_m = np.maximum(coming_m, standing_m)
        free_m = some.free_mps[which] * (some.arrive_s[which] - time_s)
        moving = (coming_m > standing_m) | (going_m < stand_m + FRONT_M)
        speed = np.where(moving, QUEUE_MPS, 0.0)
        speed = np.where(free_m >= queued_m, some.free_mps[which], speed)
        return np.maximum(free_m, queued_m), speed
