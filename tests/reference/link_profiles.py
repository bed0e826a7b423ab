"""Twin of `topis._core.link_profiles`: a link, an offset and a bin at a time.

In double precision: tables agree nearly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

F = np.float32
MOST_FILLED, TINY_VEH = 0.95, 1e-9


def stage_bins(
    step_ptr: Sequence[int],
    local_stage: Sequence[int],
    change_s: Sequence[float],
    green_s: Sequence[float],
    held_s: Sequence[float],
    bin_s: float,
    bins: Sequence[int],
) -> list[list[int]]:
    """1 + the local stage of each bin of each junction, 0 while changing."""
    rows = []
    for junction, count in enumerate(bins):
        row, at_s = [0] * count, 0.0
        for step in range(step_ptr[junction], step_ptr[junction + 1]):
            step_s = change_s[step] + green_s[step] - held_s[step]
            begin = round((at_s + change_s[step]) / bin_s)
            for b in range(begin, round((at_s + step_s + held_s[step]) / bin_s)):
                row[b % count] = local_stage[step] + 1
            at_s += step_s
        rows.append(row)
    return rows


@dataclass
class Feed:
    """A movement: (lane, share of its traffic) rows, and vehicles per bin by what is shown."""

    lanes: Sequence[tuple[int, float]]
    veh: Sequence[float]


@dataclass
class Way:
    """Feeds whose platoons take ``late_bins`` until their first arrive."""

    late_bins: float
    factor: float
    feeds: Sequence[Feed]


@dataclass
class Class:
    """Lanes with the same lights, and vehicles per bin by what is shown."""

    lanes: Sequence[int]
    veh: Sequence[float]


@dataclass
class Link:
    up: int
    down: int
    ways: Sequence[Way]
    classes: Sequence[Class]


@dataclass
class Rules:
    bin_s: float = 2.0
    tells_up_to: float = 0.9
    fades_over: float = 0.15


def link_delay(
    link: Link, shown: Sequence[Sequence[int]], flow_vps: Sequence[float], rules: Rules
) -> list[float] | None:
    """Vehicle-seconds a cycle for each difference of offsets; None without traffic."""
    up, down = shown[link.up], shown[link.down]
    bins = len(up)
    coming = [0.0] * bins
    for way in link.ways:
        leaving = [0.0] * bins
        for feed in way.feeds:
            arriving = rules.bin_s * sum(flow_vps[lane] * share for lane, share in feed.lanes)
            for b, gone in enumerate(departures(arriving, [feed.veh[stage] for stage in up])):
                leaving[b] += gone
        for b, vehicles in enumerate(disperse(leaving, way.late_bins, way.factor)):
            coming[b] += vehicles
    cycle_s = bins * rules.bin_s
    offered = [cycle_s * sum(flow_vps[lane] for lane in c.lanes) for c in link.classes]
    counted, total = sum(offered), sum(coming)
    if total <= 0.0 or counted <= 0.0:
        return None
    rest = max(counted - total, 0.0) / bins
    coming = [vehicles * min(counted / total, 1.0) + rest for vehicles in coming]
    even = [
        (coming[b - 1] + 2 * coming[b] + coming[(b + 1) % bins]) / 4 for b in range(bins)
    ]  # fmt: skip
    delay = [0.0] * bins
    for alike, traffic in zip(link.classes, offered, strict=True):
        capacity = [alike.veh[stage] for stage in down]
        degree = traffic / max(sum(capacity), TINY_VEH)
        weight = min((rules.tells_up_to + rules.fades_over - degree) / rules.fades_over, 1.0)
        if weight <= 0.0:
            continue
        scale = traffic / counted * min(MOST_FILLED / max(degree, TINY_VEH), 1.0)
        for d in range(bins):
            waits = waiting([scale * vehicles for vehicles in even], capacity, d)
            delay[d] += weight * rules.bin_s * waits
    return delay


def departures(arriving: float, capacity: Sequence[float]) -> list[float]:
    """What leaves in each bin of the second of two cycles."""
    queue, leaving = 0.0, []
    for most in [*capacity, *capacity]:
        gone = min(queue + arriving, most)
        queue += arriving - gone
        leaving.append(gone)
    return leaving[len(capacity) :]


def disperse(leaving: Sequence[float], late_bins: float, factor: float) -> list[float]:
    bins, whole = len(leaving), int(late_bins)
    part = late_bins - whole
    late = [
        (1 - part) * leaving[(b - whole) % bins] + part * leaving[(b - whole - 1) % bins]
        for b in range(bins)
    ]
    now, arriving = sum(late) / bins, []
    for vehicles in [*late, *late]:
        now += factor * (vehicles - now)
        arriving.append(now)
    return arriving[bins:]


def waiting(arrivals: Sequence[float], capacity: Sequence[float], later: int) -> float:
    """Vehicles that wait, summed over the second cycle; capacity starts ``later`` bins later."""
    queue, total, bins = 0.0, 0.0, len(arrivals)
    for b in range(2 * bins):
        queue = max(queue + arrivals[b % bins] - capacity[(b - later) % bins], 0.0)
        total += queue if b >= bins else 0.0
    return total
