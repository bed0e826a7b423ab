"""What is remembered of each probe: where it was last, how it moved, and whether it has voted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.model.observation import ProbeReports
from topis.units import STANDING_MPS

#: Who stands for longer than any red has parked (s).
PARKED_S = 240.0
#: Who was not heard of for so long is forgotten (ms).
FORGET_MS = 600_000
#: One vehicle tells of a queue's back once per link in this time, and of free road once (ms).
VOTE_MS = 30_000


@dataclass(frozen=True)
class Heard:
    """Reports of a tick, one a probe, beside what was known before. Arrays [reports].

    ``link_before`` -1 where the probe is new; ``stopped`` just now;
    ``stands``; ``parked``; ``may_tell_back`` of a queue, ``may_tell_free`` road: it has not yet,
    on this link in these 30 s.
    """

    reports: ProbeReports
    link: NDArray[np.int32]
    link_before: NDArray[np.int32]
    stopped: NDArray[np.bool_]
    stands: NDArray[np.bool_]
    parked: NDArray[np.bool_]
    may_tell_back: NDArray[np.bool_]
    may_tell_free: NDArray[np.bool_]
    row: NDArray[np.intp]


class ProbeMemory:
    """Sorted by probe; grows with the probes under way."""

    def __init__(self) -> None:
        self._probe = np.zeros(0, np.int64)
        self._last_ms = np.zeros(0, np.int64)
        self._link = np.zeros(0, np.int32)
        self._stood_s = np.zeros(0, np.float32)
        self._told_back, self._told_free = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._swept_ms = 0

    def hear(self, now_ms: int, reports: ProbeReports, lane_link: NDArray[np.int32]) -> Heard:
        """Take in a tick's reports; of a probe that reports twice the last one counts."""
        reports = _last_of_each(reports)
        self._make_room(now_ms, reports.probe)
        row = np.searchsorted(self._probe, reports.probe)
        link = lane_link[reports.lane]
        before = self._link[row]
        since_s = ((now_ms - self._last_ms[row]) / 1000.0).astype(np.float32)
        stands = reports.speed_mps < STANDING_MPS
        stood_s = np.where(stands, self._stood_s[row] + np.minimum(since_s, PARKED_S), 0.0)
        stood_s = np.where((before == link) | ~stands, stood_s, 0.0).astype(np.float32)
        heard = Heard(
            reports=reports,
            link=link,
            link_before=before,
            stopped=stands & (self._stood_s[row] <= 0.0) & (before == link),
            stands=stands,
            parked=stood_s > PARKED_S,
            may_tell_back=(self._told_back[row] != now_ms // VOTE_MS) | (before != link),
            may_tell_free=(self._told_free[row] != now_ms // VOTE_MS) | (before != link),
            row=row,
        )
        self._link[row] = link
        self._last_ms[row] = now_ms
        # Zero means "moves": one that stands since this tick has stood for a moment at least.
        self._stood_s[row] = np.where(stands, np.maximum(stood_s, np.float32(1e-3)), 0.0)
        return heard

    def voted(
        self, heard: Heard, back: NDArray[np.bool_], free: NDArray[np.bool_], now_ms: int
    ) -> None:
        """These have used their votes."""
        self._told_back[heard.row[back]] = now_ms // VOTE_MS
        self._told_free[heard.row[free]] = now_ms // VOTE_MS

    def _make_room(self, now_ms: int, probe: NDArray[np.int64]) -> None:
        if now_ms - self._swept_ms >= FORGET_MS:
            self._swept_ms = now_ms
            keep = now_ms - self._last_ms < FORGET_MS
            for name in ("_probe", "_last_ms", "_link", "_stood_s", "_told_back", "_told_free"):
                setattr(self, name, getattr(self, name)[keep])
        at = np.searchsorted(self._probe, probe)
        known = np.zeros(len(probe), dtype=bool)
        inside = at < len(self._probe)
        known[inside] = self._probe[at[inside]] == probe[inside]
        if known.all():
            return
        at, fresh = at[~known], probe[~known]
        self._probe = np.insert(self._probe, at, fresh)
        self._last_ms = np.insert(self._last_ms, at, now_ms)
        self._link = np.insert(self._link, at, np.int32(-1))
        self._stood_s = np.insert(self._stood_s, at, np.float32(0.0))
        self._told_back = np.insert(self._told_back, at, np.int64(-1))
        self._told_free = np.insert(self._told_free, at, np.int64(-1))


def _last_of_each(reports: ProbeReports) -> ProbeReports:
    order = np.argsort(reports.probe, kind="stable")
    probe = reports.probe[order]
    last = order[np.append(probe[1:] != probe[:-1], True)] if len(probe) else order
    return ProbeReports(
        reports.probe[last], reports.lane[last], reports.offset_m[last], reports.speed_mps[last]
    )
