"""What the order of a source's rows tells of them: rows that came late, clocks that are off.

Rows are looked at in the order of the file. How they are cut into batches does not matter, and
memory is bounded by the number of entities.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from topis.model.quality import LATE
from topis.model.schemas import Feed

#: Older than this beside what its entity told before, a row is late; else merely out of order.
LATE_MS = 60_000
#: A clock off by more is told.
SKEW_MS = 5_000
#: So many visits (runs of rows) of an entity are evidence of its clock.
_LEAST_VISITS = 20
#: Whose clock is wrong can be told among so many entities, most of them right.
_LEAST_ENTITIES = 5
_MOST_WRONG = 1 / 3
#: A stream in order of arrival strays no more from its running time (ms, typically).
_SPREAD_MS = SKEW_MS / 2
#: The running time is the median of the visits so many before and after.
_HALF = 15
#: Visits kept as evidence; beyond, every other one is forgotten, again and again.
_MOST_SAMPLES = 1 << 22
_AT_ONCE = 1 << 16
#: Times of 2000 to 2099 (ms) are below this.
_TIME_BITS = 42
_NEVER = -1


class Arrivals:
    """The rows of one source, batch by batch; `late`, `unordered`, `skews` tell of them."""

    def __init__(self) -> None:
        self.late = 0
        self.unordered = 0
        self._latest: dict[str, _Latest] = {}
        self._clocks: dict[str, _Clocks] = {}

    def marked(self, feed: Feed, table: pa.Table) -> pa.Table:
        """The next rows, with `LATE` set where they are."""
        if not len(table) or feed.timetable:
            return table
        time_ms = table["time"].cast(pa.int64()).to_numpy()
        late, unordered = self._latest.setdefault(feed.name, _Latest()).take(
            _identity(feed, table), time_ms
        )
        self.late += int(late.sum())
        self.unordered += int(unordered.sum())
        device = table[feed.entity[0]].to_numpy().astype(np.uint64)
        self._clocks.setdefault(feed.name, _Clocks()).take(device, time_ms + _lasts_ms(table))
        if late.any():
            quality = table["quality"].to_numpy() | np.where(late, LATE, 0).astype(np.uint8)
            column = table.schema.get_field_index("quality")
            table = table.set_column(column, table.schema.field("quality"), pa.array(quality))
        return table

    def skews(self) -> tuple[dict[str, dict[str, int]], int]:
        """Clocks that are off by feed and entity (ms), and the number of their rows."""
        found: dict[str, dict[str, int]] = {}
        rows = 0
        for feed, clocks in sorted(self._clocks.items()):
            off = clocks.skews()
            if off:
                found[feed] = {str(device): skew_ms for device, skew_ms in off.items()}
                rows += clocks.rows_of(list(off))
        return found, rows


def _identity(feed: Feed, table: pa.Table) -> NDArray[np.uint64]:
    """One number for whose row it is."""
    out = np.zeros(len(table), dtype=np.uint64)
    for name, bits in identity_bits(feed):
        out = (out << np.uint64(bits)) | table[name].to_numpy().astype(np.uint64)
    return out


def identity_bits(feed: Feed) -> list[tuple[str, int]]:
    """Columns that tell an entity, and the bits each may need; together 64 at most.

    The sender alone where the archive's row groups are so short that its own order has no late
    rows (tracks of a camera are over too soon to be late for themselves), else all that the feed
    is sorted by. Counts over an hour come with those over its last five minutes: the period, too.
    """
    short = 0 < feed.row_group_s * 1000 <= LATE_MS
    names = [*feed.entity[: 1 if short else None], *(k for k in feed.key if k == "period_s")]
    columns = [feed.column(name) for name in names]
    return [
        (c.name, c.type.bit_width if c.high is None else int(c.high).bit_length()) for c in columns
    ]


def _lasts_ms(table: pa.Table) -> NDArray[np.int64]:
    """From a row's time until it could be sent."""
    for name, factor in (("period_s", 1000), ("on_ms", 1)):
        if name in table.column_names:
            return np.asarray(table[name].to_numpy(), dtype=np.int64) * factor
    return np.zeros(len(table), dtype=np.int64)


class _Latest:
    """The latest time that each entity told."""

    def __init__(self) -> None:
        self._entity = np.zeros(0, dtype=np.uint64)
        self._time_ms = np.zeros(0, dtype=np.int64)

    def take(
        self, entity: NDArray[np.uint64], time_ms: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which rows are late, which merely out of order."""
        names, which = np.unique(entity, return_inverse=True)
        order = np.argsort(which, kind="stable")
        # Each entity's times lie above all those of the one before: one running maximum does.
        floor = which[order].astype(np.int64) << _TIME_BITS
        running = np.maximum.accumulate(floor | time_ms[order])
        before = np.empty_like(running)
        before[0] = _NEVER
        before[1:] = np.where(running[:-1] >= floor[1:], running[:-1] - floor[1:], _NEVER)
        known = self._of(names)
        latest = np.empty_like(time_ms)
        latest[order] = np.maximum(before, known[which[order]])
        late = time_ms < latest - LATE_MS
        unordered = (time_ms < latest) & ~late
        last = np.flatnonzero(np.diff(which[order], append=len(names)))
        self._keep(names, np.maximum(known, running[last] - floor[last]))
        return late, unordered

    def _of(self, names: NDArray[np.uint64]) -> NDArray[np.int64]:
        at = np.searchsorted(self._entity, names)
        out = np.full(len(names), _NEVER, dtype=np.int64)
        inside = at < len(self._entity)
        inside[inside] = self._entity[at[inside]] == names[inside]
        out[inside] = self._time_ms[at[inside]]
        return out

    def _keep(self, names: NDArray[np.uint64], latest: NDArray[np.int64]) -> None:
        both = np.concatenate((names, self._entity))
        # Of those named twice the first is taken, which is the newer.
        self._entity, first = np.unique(both, return_index=True)
        self._time_ms = np.concatenate((latest, self._time_ms))[first]


class _Clocks:
    """Each entity's time beside the stream's running time.

    Consecutive rows of an entity are one visit, so a file sorted by entity has hardly any: it
    tells nothing of clocks. The running time at a visit is the median of those around it, which
    is the visit's own where all are in order.
    """

    def __init__(self) -> None:
        self._open: tuple[NDArray[np.uint64], NDArray[np.int64]] = _nothing()
        self._around: tuple[NDArray[np.uint64], NDArray[np.int64]] = _nothing()
        self._visits = 0
        self._halvings = 0
        self._samples = 0
        self._kept: list[tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.int64]]] = []
        self._device = np.zeros(0, dtype=np.uint64)
        self._rows = np.zeros(0, dtype=np.int64)

    def take(self, device: NDArray[np.uint64], time_ms: NDArray[np.int64]) -> None:
        """The next rows: whose, and when."""
        names, which = np.unique(np.concatenate((self._device, device)), return_inverse=True)
        weight = np.concatenate((self._rows, np.ones(len(device), dtype=np.int64)))
        self._device = names
        self._rows = np.bincount(which, weight, minlength=len(names)).astype(np.int64)
        device = np.concatenate((self._open[0], device))
        time_ms = np.concatenate((self._open[1], time_ms))
        # Whether the last row ends its visit is not known yet.
        ends = device[1:] != device[:-1]
        self._open = device[-1:], time_ms[-1:]
        for start in range(0, len(ends), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            self._measure(device[:-1][part][ends[part]], time_ms[:-1][part][ends[part]])

    def skews(self) -> dict[int, int]:
        """Entities whose clocks are off, and by how much (ms, median); none without evidence."""
        if not self._kept:
            return {}
        device = np.concatenate([part[1] for part in self._kept])
        apart = np.concatenate([part[2] for part in self._kept]).astype(np.float64)
        if not len(apart):
            return {}
        apart -= np.median(apart)
        if np.median(np.abs(apart)) > _SPREAD_MS:
            return {}
        names, which = np.unique(device, return_inverse=True)
        count = np.bincount(which)
        skew = _medians(which, apart)
        spread = _medians(which, np.abs(apart - skew[which]))
        known = count >= _LEAST_VISITS
        # A clock that is off is so by as much all the time.
        off = known & (np.abs(skew) > SKEW_MS) & (spread <= np.abs(skew) / 4)
        if known.sum() < _LEAST_ENTITIES or off.sum() > _MOST_WRONG * known.sum():
            return {}
        return {int(names[i]): round(float(skew[i])) for i in np.flatnonzero(off)}

    def rows_of(self, devices: list[int]) -> int:
        """How many rows these entities have."""
        wanted = np.array(devices, dtype=np.uint64)
        return int(self._rows[np.isin(self._device, wanted)].sum())

    def _measure(self, device: NDArray[np.uint64], time_ms: NDArray[np.int64]) -> None:
        device = np.concatenate((self._around[0], device))
        time_ms = np.concatenate((self._around[1], time_ms))
        self._around = device[-2 * _HALF :], time_ms[-2 * _HALF :]
        count = len(time_ms) - 2 * _HALF
        if count <= 0:
            return
        number = np.arange(self._visits, self._visits + count)
        self._visits += count
        at = np.flatnonzero(self._wanted(number))
        around = np.lib.stride_tricks.sliding_window_view(time_ms, 2 * _HALF + 1)[at]
        running = np.partition(around, _HALF, axis=1)[:, _HALF]
        self._kept.append((number[at], device[at + _HALF], time_ms[at + _HALF] - running))
        self._samples += len(at)
        while self._samples > _MOST_SAMPLES:
            self._halvings += 1
            self._kept = [
                tuple(column[self._wanted(part[0])] for column in part)  # type: ignore[misc]
                for part in self._kept
            ]
            self._samples = sum(len(part[0]) for part in self._kept)

    def _wanted(self, number: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Visits that are evidence, by a hash of their number: entities come in turns."""
        if not self._halvings:
            return np.ones(len(number), dtype=bool)
        mixed = number.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        return np.asarray(mixed >> np.uint64(64 - self._halvings) == 0)


def _nothing() -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)


def _medians(which: NDArray[np.intp], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median of the values of each group 0, 1, 2 ..., the lower of two in the middle."""
    order = np.lexsort((values, which))
    count = np.bincount(which)
    first = np.cumsum(count) - count
    return np.asarray(values[order][first + (count - 1) // 2])
