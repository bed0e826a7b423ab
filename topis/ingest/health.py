"""Which loops tell nonsense, from their own rows: silent, stuck on, chattering, counting double.

And whose clocks are off, as was found when their rows came in.

In bins of five minutes, after the tests of Payne et al. (1976) and Chen et al. (2003, Transp. Res.
Rec. 1855): nothing for too long, covered for too long without counting, events shorter than any
vehicle, more vehicles than a lane can carry.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from topis.ingest.archive import (
    Partition,
    known_sources,
    open_partition,
    partitions,
    passing_over,
)
from topis.units import MS_PER_HOUR

BIN_S = 300
_BINS_PER_HOUR = 3600 // BIN_S
#: No vehicle covers a loop for less: a motorcycle at 100 km/h takes 130 ms over 2 m.
SHORTEST_ON_MS = 60
CHATTER_SHARE, CHATTER_EVENTS = 0.3, 10
#: Share of a bin covered, with fewer events than this, that no queue causes for long.
STUCK_SHARE, STUCK_EVENTS = 0.7, 6
#: In a jam as well, but there every vehicle leaves the loop free for longer before the next one.
JAM_GAP_MS = 400
#: Covered for more than there is time: the same vehicles are told again.
MOST_SHARE = 1.2
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
class ClockOff:
    """An entity whose clock is off in one source, before the others (+) or behind."""

    file: str
    feed: str
    entity: int
    skew_ms: int


def clocks_off(archive: Path) -> list[ClockOff]:
    """Clocks that are off, by source and entity.

    Raises
    ------
    InputError
        What is written of a source is damaged.
    """
    found = []
    for facts in known_sources(archive).values():
        by_feed = facts.get("skews")
        for feed, skews in (by_feed if isinstance(by_feed, dict) else {}).items():
            found += [ClockOff(str(facts["file"]), feed, int(k), v) for k, v in skews.items()]
    return sorted(found, key=lambda clock: (clock.file, clock.feed, clock.entity))


@dataclass(frozen=True)
class _Bins:
    """Events, time covered, too short ones and too close ones, where there are any.

    ``number`` int64[bins]: bins since 1970 of the hours that have rows, and no others: one row of
    a clock that is decades off costs an hour. Cells are sorted by detector: those of the d-th are
    ``ptr[d]`` to ``ptr[d + 1]``, each with its ``place`` in ``number`` and ``sums[4, cells]``.
    """

    detectors: NDArray[np.int64]
    number: NDArray[np.int64]
    ptr: NDArray[np.int64]
    place: NDArray[np.int64]
    sums: NDArray[np.int64]

    def of(self, row: int) -> NDArray[np.int64]:
        """All bins of a detector, int64[4, bins]."""
        cells = slice(self.ptr[row], self.ptr[row + 1])
        out = np.zeros((4, len(self.number)), dtype=np.int64)
        out[:, self.place[cells]] = self.sums[:, cells]
        return out

    def spans(self) -> list[slice]:
        """Bins that follow one another without a gap."""
        cuts = np.flatnonzero(np.diff(self.number) > 1) + 1
        edges = [0, *cuts.tolist(), len(self.number)]
        return [slice(a, b) for a, b in itertools.pairwise(edges)]

    def typical(self) -> NDArray[np.float64]:
        """Median of all detectors' events in each bin; most may have none."""
        events = self.sums[0]
        order = np.lexsort((events, self.place))
        ordered = np.append(events[order], 0)
        first = np.searchsorted(self.place[order], np.arange(len(self.number) + 1))
        none = len(self.detectors) - np.diff(first)
        middle = []
        for rank in ((len(self.detectors) - 1) // 2, len(self.detectors) // 2):
            at = np.where(rank < none, len(events), first[:-1] + rank - none)
            middle.append(ordered[at])
        return np.asarray((middle[0] + middle[1]) / 2)


def loop_faults(
    archive: Path,
    between_ms: tuple[int, int] | None = None,
    damaged: dict[str, str] | None = None,
) -> list[Fault]:
    """Faults of all loops of an archive, in order of detector and time.

    ``between_ms``: only of the hours from one time to the other (UTC ms); over all otherwise.
    ``damaged``: takes up what cannot be read, by path; it is left out then.

    Raises
    ------
    InputError
        The folder is no archive; without ``damaged`` also, a partition cannot be read.
    """
    paths = [
        path
        for partition, path in partitions(archive)
        if partition.feed == "loop_event" and _touches(partition, between_ms)
    ]
    return faults_of(_readable(paths, damaged))


#: What `faults_of` needs of an event.
FAULT_COLUMNS = ["detector", "time", "on_ms"]


def faults_of(tables: Iterable[pa.Table]) -> list[Fault]:
    """As `loop_faults`, of the events at hand: a table (`FAULT_COLUMNS`) an hour and district."""
    bins = _bins(tables)
    if bins is None:
        return []
    faults = []
    typical, spans = bins.typical(), bins.spans()
    for row, detector in enumerate(bins.detectors.tolist()):
        sums = bins.of(row)
        flow = sums[0][sums[0] > 0].sum() / max(typical[sums[0] > 0].sum(), 1.0)
        for span in spans:
            expected = typical[span] * flow
            faults += _faults(detector, bins.number[span], sums[:, span], expected)
    return sorted(faults, key=lambda f: (f.detector, f.begin_ms, f.kind))


def _touches(partition: Partition, between_ms: tuple[int, int] | None) -> bool:
    if between_ms is None:
        return True
    hour = int(np.datetime64(partition.date, "h").astype(np.int64)) + partition.hour
    return between_ms[0] < (hour + 1) * MS_PER_HOUR and hour * MS_PER_HOUR < between_ms[1]


def _readable(paths: list[Path], damaged: dict[str, str] | None) -> Iterator[pa.Table]:
    for path in paths:
        table = None
        with passing_over(path, damaged), open_partition(path) as file:
            table = file.read(columns=FAULT_COLUMNS)
        if table is not None:
            yield table


def _faults(
    detector: int,
    number: NDArray[np.int64],
    sums: NDArray[np.int64],
    expected: NDArray[np.float64],
) -> list[Fault]:
    """Of bins without a gap; ``expected``: events by the loop's own flow."""
    events, covered_ms, short, close = sums
    free_ms = BIN_S * 1000 - covered_ms
    kinds = {
        "stuck on": (free_ms <= (1 - STUCK_SHARE) * BIN_S * 1000)
        & (events <= STUCK_EVENTS)
        & (free_ms <= JAM_GAP_MS * np.maximum(events, 1)),
        "chatter": (short >= CHATTER_SHARE * events) & (events >= CHATTER_EVENTS),
        "over-count": ((close >= CLOSE_SHARE * events) & (events >= CHATTER_EVENTS))
        | (events * 3600 / BIN_S > CAPACITY_VPH)
        | (covered_ms > MOST_SHARE * BIN_S * 1000),
    }
    kinds["over-count"] &= ~kinds["chatter"]
    kinds["stuck on"] &= ~kinds["over-count"]
    kinds["silent"] = _silent(events, expected) & ~kinds["stuck on"]
    faults = []
    for kind, found in kinds.items():
        for first, last in _runs(_bridged(found)):
            if last - first >= LEAST_BINS:
                evidence = (
                    f"{int(events[first:last].sum())} events, "
                    f"{covered_ms[first:last].sum() / 1000:.0f} s covered, "
                    f"{int(short[first:last].sum())} shorter than "
                    f"{SHORTEST_ON_MS} ms, in {(last - first) * BIN_S // 60} min"
                )
                begin = int(number[first]) * BIN_S * 1000
                end = int(number[last - 1] + 1) * BIN_S * 1000
                faults.append(Fault(detector, kind, begin, end, evidence))
    return faults


def _bins(tables: Iterable[pa.Table]) -> _Bins | None:
    """Hour by hour: only sums are kept."""
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
    hours: list[NDArray[np.int64]] = []
    for table in tables:
        detector = table["detector"].to_numpy().astype(np.int64)
        time_ms = table["time"].cast(pa.int64()).to_numpy()
        on_ms = table["on_ms"].to_numpy().astype(np.int64)
        order = np.lexsort([time_ms, detector])
        detector, time_ms, on_ms = detector[order], time_ms[order], on_ms[order]
        near = np.zeros(len(time_ms), dtype=np.int64)
        near[1:] = (np.diff(time_ms) < CLOSEST_S * 1000) & (np.diff(detector) == 0)
        counted = np.ones_like(on_ms)
        hours.append(np.unique(time_ms // MS_PER_HOUR))
        detector, time_ms, on_ms, near, counted = _spread(detector, time_ms, on_ms, near, counted)
        values = np.stack([counted, on_ms, (on_ms < SHORTEST_ON_MS) & (counted > 0), near])
        parts.append(_summed(detector, time_ms // (BIN_S * 1000), values))
    if not parts or not sum(len(part[0]) for part in parts):
        return None
    # A long event goes on in the next hour's part.
    detector, number, sums = _summed(
        *(np.concatenate([part[k] for part in parts], axis=-1) for k in range(3))
    )
    names, first = np.unique(detector, return_index=True)
    of_hours = np.unique(np.concatenate(hours))[:, None] * _BINS_PER_HOUR
    known = np.union1d(number, of_hours + np.arange(_BINS_PER_HOUR))
    known = known[(known >= number.min()) & (known <= number.max())]
    ptr = np.append(first, len(detector))
    return _Bins(names, known, ptr, np.searchsorted(known, number), sums)


def _summed(
    detector: NDArray[np.int64], number: NDArray[np.int64], values: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Sums by detector and bin, in that order."""
    order = np.lexsort((number, detector))
    detector, number = detector[order], number[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(detector) != 0) | (np.diff(number) != 0)
    first = np.flatnonzero(new)
    sums = np.add.reduceat(values[:, order].astype(np.int64), first, axis=1)
    return detector[first], number[first], sums


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


def _silent(events: NDArray[np.int64], expected: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Bins in runs of zeros that are too long for the loop's own flow around them.

    Vehicles come at random (Poisson): none for a time t at flow q has the chance exp(-q t).
    Flow at the time is that of all loops, scaled to this one's share of it.
    """
    out = np.zeros(len(events), dtype=bool)
    for first, last in _runs(events == 0):
        # Platoons come together: a third of the vehicles are independent of each other.
        if expected[first:last].sum() / 3.0 > -np.log(SILENCE_CHANCE):
            out[first:last] = True
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
