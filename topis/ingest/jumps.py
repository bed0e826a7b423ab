"""Places that a vehicle cannot have got to: the mark `JUMP` of the feed gps.

Worked out of the archive's rows alone, so that it does not matter which file a row came in, in
which order, or how often the work was cut short: each five minutes together with those before
and after, all districts at once. Whenever rows come in, the marks around them are made anew.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from topis.errors import InputError
from topis.ingest.archive import (
    Partition,
    WrittenAnew,
    open_partition,
    row_groups_by_slot,
)
from topis.model.quality import JUMP
from topis.model.schemas import FEEDS
from topis.units import MS_PER_HOUR

#: Faster than this (m/s), over more than so far (m), nothing drives: GPS itself strays by tens.
FASTEST_MPS, LEAST_M = 70.0, 100.0
#: Rows that a vehicle must stay elsewhere for, for it to have moved there.
_STAYS = 3
#: How many runs of possible steps are looked back over.
_LOOK_BACK = 32
_M_PER_E7 = 6_371_000.0 * np.pi / 180 * 1e-7
_GPS = FEEDS["gps"]
_COLUMNS = ["vehicle", "time", "lat_e7", "lon_e7", "quality"]
_SLOTS = 3600 // _GPS.row_group_s

#: Vehicle and time (ms) of marked rows.
Keys = set[tuple[int, int]]


def jump_marks(
    vehicle: NDArray[np.uint64],
    time_ms: NDArray[np.int64],
    lat_e7: NDArray[np.int32],
    lon_e7: NDArray[np.int32],
) -> NDArray[np.bool_]:
    """Rows that are jumps, bool[rows], of rows in any order.

    As few rows of a vehicle are marked as make all steps between the others possible. Where one
    stays away for more than three rows, it has moved, and only its first row there is marked.
    """
    out = np.zeros(len(vehicle), dtype=bool)
    order = np.lexsort((time_ms, vehicle))
    vehicle, time_ms = vehicle[order], time_ms[order]
    lat, lon = lat_e7[order].astype(np.float64), lon_e7[order].astype(np.float64)
    here, there = np.arange(len(order) - 1), np.arange(1, len(order))
    same = vehicle[1:] == vehicle[:-1]
    wrong = same & ~_possible(time_ms, lat, lon, here, there)
    if not wrong.any():
        return out
    first_of_vehicle = np.flatnonzero(np.concatenate(([True], ~same)))
    ends = np.append(first_of_vehicle[1:], len(order))
    for v in np.unique(np.searchsorted(first_of_vehicle, np.flatnonzero(wrong), "right") - 1):
        begin, end = int(first_of_vehicle[v]), int(ends[v])
        cuts = begin + 1 + np.flatnonzero(wrong[begin : end - 1])
        first = np.concatenate(([begin], cuts))
        last = np.concatenate((cuts, [end])) - 1
        for a, b in _odd(first, last, time_ms, lat, lon):
            out[order[a:b]] = True
    return out


def _possible(
    time_ms: NDArray[np.int64],
    lat: NDArray[np.float64],
    lon: NDArray[np.float64],
    here: NDArray[np.int64],
    there: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Whether a vehicle can get from one row to the other."""
    north_m = (lat[there] - lat[here]) * _M_PER_E7
    middle = np.radians((lat[there] + lat[here]) / 2e7)
    way_m = np.hypot(north_m, (lon[there] - lon[here]) * _M_PER_E7 * np.cos(middle))
    within_s = (time_ms[there] - time_ms[here]) / 1000
    return np.asarray((way_m <= LEAST_M) | (way_m <= FASTEST_MPS * within_s))


def _odd(
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    time_ms: NDArray[np.int64],
    lat: NDArray[np.float64],
    lon: NDArray[np.float64],
) -> list[tuple[int, int]]:
    """Spans of rows to mark, of a vehicle's runs in which each step is possible.

    The chain of runs that keeps the most rows; a step in it that is not possible costs as much
    as marking `_STAYS` rows.
    """
    count = len(first)
    worth = np.zeros(count, dtype=np.int64)
    back = np.full(count, -1)
    moved = np.zeros(count, dtype=bool)
    for j in range(count):
        worth[j] = last[j] - first[j] + 1
        before = np.arange(max(0, j - _LOOK_BACK), j)
        if not len(before):
            continue
        goes = _possible(time_ms, lat, lon, last[before], np.full(len(before), first[j]))
        value = worth[before] - np.where(goes, 0, _STAYS)
        best = int(np.argmax(value))
        if value[best] >= 0:
            back[j], moved[j] = before[best], not goes[best]
            worth[j] += value[best]
    kept = np.zeros(count, dtype=bool)
    run = int(np.argmax(worth))
    while run >= 0:
        kept[run] = True
        run = int(back[run])
    spans = [(int(first[j]), int(last[j]) + 1) for j in np.flatnonzero(~kept)]
    return spans + [(int(first[j]), int(first[j]) + 1) for j in np.flatnonzero(kept & moved)]


@dataclass(frozen=True)
class _Slot:
    """The rows of five minutes: its columns, and which of them lie in which row group."""

    columns: dict[str, NDArray[np.generic]]
    groups: list[tuple[Path, int, int, int]]


def mark_jumps(archive: Path, touched: Iterable[Partition]) -> Keys:
    """Make the marks of the feed gps right again, around partitions into which rows came.

    Returns the marked rows of the hours that these are of. May be cut short and done again.
    """
    hours = {partition.begin_ms // MS_PER_HOUR for partition in touched}
    slots = sorted(
        {slot for hour in hours for slot in range(hour * _SLOTS - 1, (hour + 1) * _SLOTS + 1)}
    )
    marked: Keys = set()
    window: dict[int, _Slot] = {}
    changed: dict[Path, dict[int, NDArray[np.bool_]]] = defaultdict(dict)
    for number, slot in enumerate(slots):
        window = {
            k: window[k] if k in window else _read(archive, k) for k in range(slot - 1, slot + 2)
        }
        marks = _marks(window[slot - 1], window[slot], window[slot + 1])
        own = window[slot]
        if slot // _SLOTS in hours:
            vehicle, time_ms = (own.columns[name][marks].tolist() for name in ("vehicle", "time"))
            marked.update(zip(vehicle, time_ms, strict=True))
        before = (own.columns["quality"].astype(np.uint8) & JUMP) > 0
        for path, group, begin, end in own.groups:
            if (before[begin:end] != marks[begin:end]).any():
                changed[path][group] = marks[begin:end]
        following = slots[number + 1] if number + 1 < len(slots) else None
        if following is None or following // _SLOTS > slot // _SLOTS:
            # An hour is done; its files are not looked at again but for their places.
            for path in sorted(changed):
                _rewrite(path, changed[path])
            changed.clear()
    return marked


def _marks(before: _Slot, own: _Slot, after: _Slot) -> NDArray[np.bool_]:
    vehicle, time_ms, lat_e7, lon_e7 = (
        np.concatenate([slot.columns[name] for slot in (before, own, after)])
        for name in _COLUMNS[:4]
    )
    begin = len(before.columns["vehicle"])
    found = jump_marks(
        vehicle.astype(np.uint64),
        time_ms.astype(np.int64),
        lat_e7.astype(np.int32),
        lon_e7.astype(np.int32),
    )
    return found[begin : begin + len(own.columns["vehicle"])]


def _read(archive: Path, slot: int) -> _Slot:
    """Slots are numbered since 1970."""
    hour, within = divmod(slot, _SLOTS)
    groups: list[tuple[Path, int, int, int]] = []
    tables = [_GPS.schema.empty_table().select(_COLUMNS)]
    begin = 0
    folder = archive / Partition.at(_GPS.name, hour * MS_PER_HOUR, 0).folder.parent
    for path in sorted(folder.glob("district=*/part.parquet")):
        # What cannot be read is told by `describe`, and must not keep other hours' rows out.
        with contextlib.suppress(InputError):
            for group, table in _slot_of(path, within):
                groups.append((path, group, begin, begin + len(table)))
                begin += len(table)
                tables.append(table)
    table = pa.concat_tables(tables)
    columns = {
        name: np.asarray(
            (table[name].cast(pa.int64()) if name == "time" else table[name]).to_numpy()
        )
        for name in _COLUMNS
    }
    return _Slot(columns, groups)


def _slot_of(path: Path, slot: int) -> list[tuple[int, pa.Table]]:
    with open_partition(path) as file:
        return [
            (
                group,
                file.read_row_group(group, columns=_COLUMNS).replace_schema_metadata(
                    _GPS.schema.metadata
                ),
            )
            for group in row_groups_by_slot(_GPS, file.metadata).get(slot, [])
        ]


def _rewrite(path: Path, marks: dict[int, NDArray[np.bool_]]) -> None:
    """The partition with these row groups marked so, all else as it was."""
    with open_partition(path) as file, WrittenAnew(path, _GPS, file.metadata.metadata) as out:
        for group in range(file.metadata.num_row_groups):
            table = file.read_row_group(group)
            if group in marks:
                quality = table["quality"].to_numpy() & np.uint8(255 - JUMP)
                quality |= np.where(marks[group], JUMP, 0).astype(np.uint8)
                column = table.schema.get_field_index("quality")
                table = table.set_column(column, _GPS.schema.field("quality"), pa.array(quality))
            out.write(table)


def count_marked(batches: Iterable[pa.RecordBatch], marked: Keys) -> int:
    """How many of these rows are marked."""
    vehicles = np.array(sorted({vehicle for vehicle, _ in marked}), dtype=np.uint64)
    total = 0
    for batch in batches:
        rows = np.flatnonzero(np.isin(batch["vehicle"].to_numpy(), vehicles))
        vehicle = batch["vehicle"].to_numpy()[rows].tolist()
        time_ms = batch["time"].cast(pa.int64()).to_numpy()[rows].tolist()
        total += sum(map(marked.__contains__, zip(vehicle, time_ms, strict=True)))
    return total
