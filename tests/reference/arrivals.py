"""Twin of `topis._core.arrivals`: vehicles on their way, each with the second it is due.

There is no ring: a lane keeps a dict of seconds, and whatever is due before now is over.
Kept in float32 as in the kernel, so that both agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

F = np.float32
AVERAGE_S, LEAST_FED, MOST_GAIN = 240.0, F(0.5), 2.0
SPREAD = {-1: F(0.25), 0: F(0.5), 1: F(0.25)}


@dataclass
class Feed:
    """Where a share of a lane's departures goes, and how long it takes."""

    to: Lane
    share: np.float32
    travel_s: int


@dataclass
class Lane:
    """One approach lane."""

    seen_s: np.float32
    internal: bool
    fed: bool
    fed_vps: np.float32
    feeds: list[Feed] = field(default_factory=list)
    due: dict[int, np.float32] = field(default_factory=dict)

    def pass_second(self, second: int, gain: np.float32) -> None:
        came = self.due.pop(second, F(0))
        self.fed_vps = self.fed_vps + gain * (came - self.fed_vps)

    def send(self, vehicles: np.float32, now_s: int) -> None:
        for feed in self.feeds:
            for off, part in SPREAD.items():
                second = now_s + feed.travel_s + off
                more = part * feed.share * vehicles
                feed.to.due[second] = feed.to.due.get(second, F(0)) + more

    def scale_and_rest(self, flow: np.float32) -> tuple[np.float32, np.float32]:
        """By how much what is due counts, and what comes besides."""
        scale, rest = F(1), flow
        if self.fed and self.fed_vps > LEAST_FED * flow:
            scale = F(min(float(flow) / max(float(self.fed_vps), 1e-6), MOST_GAIN))
            rest = F(0)
        elif self.fed:
            rest = flow - self.fed_vps
        return scale, F(0) if self.internal else rest

    def expected(
        self, now_s: int, ring_s: int, horizon: int, flow: np.float32, coming: Any
    ) -> tuple[list[np.float32], np.float32]:
        scale, rest = self.scale_and_rest(flow)
        out = []
        for t in range(horizon):
            if t < self.seen_s:
                out.append(F(coming[t]) if t < len(coming) else F(0))
            else:
                due = self.due.get(now_s + t, F(0)) if t < ring_s else F(0)
                out.append(scale * due + rest)
        return out, scale


class ArrivalForecast:
    """Takes the kernel's arrays (copies them); the ring only for its length."""

    def __init__(self, **arrays: Any) -> None:
        self.ring_s = arrays["ring"].shape[1]
        self.lanes = [
            Lane(F(seen_s), bool(internal), bool(fed), F(fed_vps))
            for seen_s, internal, fed, fed_vps in zip(
                arrays["seen_s"], arrays["internal"], arrays["fed"], arrays["fed_vps"], strict=True
            )
        ]
        for source, k in _feeds(arrays):
            target = self.lanes[arrays["feed_to"][k]]
            feed = Feed(target, F(arrays["feed_share"][k]), int(arrays["feed_s"][k]))
            self.lanes[source].feeds.append(feed)
        self.now_s: int | None = None
        self.elapsed_s = F(0)

    def update(
        self, now_s: int, departed: Any, flow: Any, coming: Any, horizon: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """(arrivals of each lane in each second, scale of each lane)."""
        before = now_s if self.now_s is None else self.now_s
        if not 0 <= now_s - before < self.ring_s:
            before = now_s
            for lane in self.lanes:
                lane.due.clear()
        self.now_s = now_s
        self.elapsed_s = self.elapsed_s + F(now_s - before)
        gain = F(1.0 / min(max(float(self.elapsed_s), 30.0), AVERAGE_S))
        for lane in self.lanes:
            for second in range(before, now_s):
                lane.pass_second(second, gain)
        for lane, vehicles in zip(self.lanes, departed, strict=True):
            lane.send(F(vehicles), now_s)
        told = [
            lane.expected(now_s, self.ring_s, horizon, F(flow[number]), coming[number])
            for number, lane in enumerate(self.lanes)
        ]
        return np.array([row for row, _ in told], F), np.array([scale for _, scale in told], F)

    @property
    def fed_vps(self) -> list[np.float32]:
        """What the kernel keeps beside its ring."""
        return [lane.fed_vps for lane in self.lanes]


def _feeds(arrays: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Pairs (lane that feeds, number of the feed)."""
    ptr = arrays["feed_ptr"]
    return [(lane, k) for lane in range(len(ptr) - 1) for k in range(ptr[lane], ptr[lane + 1])]


def add_planned(arrays: Mapping[str, Any], now_s: int, arrival_vps: np.ndarray) -> np.ndarray:
    """Arrivals with what is planned upstream; ``arrays``: the kernel's inputs by name."""
    out = arrival_vps.copy()
    for lane, asked_s in enumerate(arrays["asked_s"]):
        out[lane, :asked_s] = arrays["forecast_vps"][lane, :asked_s]
    for lane, k in _feeds(arrays):
        to, travel_s = arrays["feed_to"][k], int(arrays["feed_s"][k])
        share = arrays["feed_share"][k] * arrays["fed_scale"][to]
        row = arrays["planned_of"][lane]
        for t in range(arrays["asked_s"][to]):
            leaves_s = now_s + t - travel_s
            if leaves_s < now_s or t < int(arrays["seen_s"][to]):
                continue
            vps = arrays["flow_vps"][lane]
            if row >= 0:
                second = leaves_s - int(arrays["told_s"][row])
                if second < arrays["horizon_s"][row]:
                    vps = arrays["planned_vps"][row, second]
            out[to, t] = out[to, t] + share * vps
    return out


def waits_ahead(arrays: Mapping[str, Any], now_s: int, ahead_s: np.ndarray) -> np.ndarray:
    """Waits at the next signal; ``arrays``: the kernel's inputs by name."""
    out = ahead_s.copy()
    ptr, row_of = arrays["feed_ptr"], arrays["row_of"]
    for lane, row in enumerate(row_of):
        if row < 0:
            continue
        total = [F(0)] * arrays["asked_s"][lane]
        for k in range(ptr[lane], ptr[lane + 1]):
            to = row_of[arrays["feed_to"][k]]
            if to < 0:
                continue
            told = arrays["wait_s"][to, : arrays["horizon_s"][to]]
            mean = F(0)
            for value in told:
                mean = mean + value
            mean = mean / F(max(len(told), 1))
            for t in range(len(total)):
                at = t + int(arrays["feed_s"][k]) + now_s - int(arrays["told_s"][to])
                wait_s = told[at] if at < len(told) else mean
                total[t] = total[t] + arrays["crowded"][to] * arrays["feed_share"][k] * wait_s
        out[row, : len(total)] = total
    return out
