"""Which loops tell nonsense, from their own rows: silent, stuck on, chattering, counting double.

In bins of five minutes, after the tests of Payne et al. (1976) and Chen et al. (2003, Transp. Res.
Rec. 1855): nothing for too long, covered for too long without counting, events shorter than any
vehicle, more vehicles than a lane can carry.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from topis.ingest.archive import partitions

BIN_S = 300
#: No vehicle covers a loop for less: a motorcycle at 100 km/h takes 130 ms over 2 m.
SHORTEST_ON_MS = 60
CHATTER_SHARE, CHATTER_EVENTS = 0.3, 10
#: Share of a bin covered, with fewer events than this, that no queue causes for long.
STUCK_SHARE, STUCK_EVENTS = 0.7, 6
#: A lane carries no more in five minutes (veh/h); a loop that counts this much counts twice.
CAPACITY_VPH = 2200.0
#: Silence is a fault when a loop with its flow would be silent so long once in so many years.
SILENCE_CHANCE = 1e-9
#: Two passages nearer than this are one vehicle told twice (s).
CLOSEST_S = 0.5
CLOSE_SHARE = 0.3
#: Shorter faults than this are not told (bins).
LEAST_BINS = 4


@dataclass(frozen=True)
class Fault:
    """What is wrong with a detector, from when until when (UTC ms), and the evidence."""

    detector: int
    kind: str
    begin_ms: int
    end_ms: int
    evidence: str


@dataclass(frozen=True)
class _Bins:
    """Per detector and bin: events, time covered, too short ones, too close ones."""

    detectors: NDArray[np.int64]
    begin_ms: int
    events: NDArray[np.int64]
    covered_ms: NDArray[np.int64]
    short: NDArray[np.int64]
    close: NDArray[np.int64]


def loop_faults(archive: Path) -> list[Fault]:
    """Faults of all loops of an archive, over all its hours, in order of detector and time.

    Raises
    ------
    InputError
        The folder is no archive.
    """
    paths = [path for partition, path in partitions(archive) if partition.feed == "loop_event"]
    bins = _bins(pq.read_table(p, partitioning=None) for p in paths)
    if bins is None:
        return []
    kinds = {
        "stuck on": (bins.covered_ms >= STUCK_SHARE * BIN_S * 1000) & (bins.events <= STUCK_EVENTS),
        "chatter": (bins.short >= CHATTER_SHARE * bins.events) & (bins.events >= CHATTER_EVENTS),
        "over-count": ((bins.close >= CLOSE_SHARE * bins.events) & (bins.events >= CHATTER_EVENTS))
        | (bins.events * 3600 / BIN_S > CAPACITY_VPH),
    }
    kinds["over-count"] &= ~kinds["chatter"]
    kinds["silent"] = _silent(bins.events) & ~kinds["stuck on"]
    faults = []
    for row, detector in enumerate(bins.detectors.tolist()):
        for kind, found in kinds.items():
            for first, last in _runs(_bridged(found[row])):
                if last - first >= LEAST_BINS:
                    evidence = (
                        f"{int(bins.events[row, first:last].sum())} events, "
                        f"{bins.covered_ms[row, first:last].sum() / 1000:.0f} s covered, "
                        f"{int(bins.short[row, first:last].sum())} shorter than "
                        f"{SHORTEST_ON_MS} ms, in {(last - first) * BIN_S // 60} min"
                    )
                    begin = bins.begin_ms + first * BIN_S * 1000
                    end = bins.begin_ms + last * BIN_S * 1000
                    faults.append(Fault(detector, kind, begin, end, evidence))
    return sorted(faults, key=lambda f: (f.detector, f.begin_ms, f.kind))


def _bins(tables: Iterable[pa.Table]) -> _Bins | None:
    """Hour by hour: only sums are kept."""
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
    for table in tables:
        detector = table["detector"].to_numpy().astype(np.int64)
        time_ms = table["time"].cast(pa.int64()).to_numpy()
        on_ms = table["on_ms"].to_numpy().astype(np.int64)
        order = np.lexsort([time_ms, detector])
        detector, time_ms, on_ms = detector[order], time_ms[order], on_ms[order]
        near = np.zeros(len(time_ms), dtype=np.int64)
        near[1:] = (np.diff(time_ms) < CLOSEST_S * 1000) & (np.diff(detector) == 0)
        counted = np.ones_like(on_ms)
        detector, time_ms, on_ms, near, counted = _spread(detector, time_ms, on_ms, near, counted)
        keys = np.stack([detector, time_ms // (BIN_S * 1000)])
        cells, cell = np.unique(keys, axis=1, return_inverse=True)
        values = np.stack([counted, on_ms, (on_ms < SHORTEST_ON_MS) & (counted > 0), near])
        sums = np.stack(
            [np.bincount(cell, row, minlength=cells.shape[1]).astype(np.int64) for row in values]
        )
        parts.append((cells[0], cells[1], sums))
    if not parts:
        return None
    detector = np.concatenate([part[0] for part in parts])
    number = np.concatenate([part[1] for part in parts])
    sums = np.concatenate([part[2] for part in parts], axis=1)
    names, row = np.unique(detector, return_inverse=True)
    first = int(number.min())
    grid = np.zeros((4, len(names), int(number.max()) - first + 1), dtype=np.int64)
    for k in range(4):
        np.add.at(grid[k], (row, number - first), sums[k])
    return _Bins(names, first * BIN_S * 1000, *grid)


def _spread(
    detector: NDArray[np.int64],
    time_ms: NDArray[np.int64],
    on_ms: NDArray[np.int64],
    near: NDArray[np.int64],
    counted: NDArray[np.int64],
) -> tuple[NDArray[np.int64], ...]:
    """Long events cut at the ends of bins, so that each bin has its own part of them."""
    bin_ms = BIN_S * 1000
    pieces = (time_ms % bin_ms + np.maximum(on_ms, 1) - 1) // bin_ms + 1
    which = np.repeat(np.arange(len(pieces)), pieces)
    number = np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    begin = np.where(number == 0, time_ms[which], (time_ms[which] // bin_ms + number) * bin_ms)
    end = np.minimum(time_ms[which] + on_ms[which], (begin // bin_ms + 1) * bin_ms)
    first = number == 0
    return detector[which], begin, end - begin, near[which] * first, counted[which] * first


def _silent(events: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Bins in runs of zeros that are too long for the loop's own flow around them.

    Vehicles come at random (Poisson): none for a time t at flow q has the chance exp(-q t).
    Flow at the time is that of all loops, scaled to this one's share of it.
    """
    out = np.zeros(events.shape, dtype=bool)
    typical = np.median(events, axis=0)
    for row, counts in enumerate(events):
        alive = counts > 0
        expected = typical * (counts[alive].sum() / max(typical[alive].sum(), 1.0))
        for first, last in _runs(~alive):
            # Platoons come together: a third of the vehicles are independent of each other.
            if expected[first:last].sum() / 3.0 > -np.log(SILENCE_CHANCE):
                out[row, first:last] = True
    return out


def _bridged(found: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Two sound bins within a fault belong to it."""
    out = found.copy()
    for first, last in _runs(~found):
        if first > 0 and last < len(found) and last - first <= 2:
            out[first:last] = True
    return out


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Pairs (first, one past the last) of runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
