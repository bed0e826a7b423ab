"""A journal's readings as a detector's pulses: when each loop and camera line was covered.

The journal holds, by tick, how many vehicles came onto a detector and for which share of the tick
it was covered. A controller's log holds the moments instead. They are placed inside the tick so
that both numbers are kept, to the millisecond:

- a pulse goes on from tick to tick where the next one is covered and counts nobody, or where this
  one is covered to its end;
- within a tick all pulses are equally long, and so are all gaps;
- a vehicle counted without being seen to cover anything gets 0.1 s; a detector that is covered
  though nobody was counted (a camera may miss a vehicle) is on as well, since what it covers is
  there: only then are there more pulses than vehicles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from topis.model.network import Network
from topis.model.observation import CAMERA, CAMERA_LINE, LOOP_ADVANCE, SensorTable
from topis.report.journal import JournalReader
from topis.units import MS_PER_S

I8 = NDArray[np.int64]
F4 = NDArray[np.float32]

#: What a vehicle counted without any occupancy covers a detector for (ms).
PULSE_MS = 100
#: Cells (ticks times values) worked on at once: some tens of MB.
_CELLS = 4_000_000


@dataclass(frozen=True)
class Channels:
    """The detectors of a journal that count: loops, and lines in a camera's picture.

    All arrays [channels], by junction and number. ``sensor``: row in the sensor table;
    ``number``: from 1 in each junction, by approach lane, the stop line first; ``junction``;
    ``lane`` it serves and the ``link`` of that; ``group``: of the lane's connections that with
    the largest share of its traffic, or most of them, the first of equals; ``advance``: upstream
    of the stop line; ``distance_m`` from it; ``to_line_ms``: the free time from there to it.
    """

    sensor: NDArray[np.int64]
    number: NDArray[np.int32]
    junction: NDArray[np.int32]
    lane: NDArray[np.int32]
    link: NDArray[np.int32]
    group: NDArray[np.int32]
    advance: NDArray[np.bool_]
    distance_m: NDArray[np.float64]
    to_line_ms: I8

    def __len__(self) -> int:
        return len(self.sensor)


def find_channels(network: Network, sensors: SensorTable, junction: int | None = None) -> Channels:
    """Number the detectors; with ``junction``, only those there are kept."""
    kept = np.flatnonzero((sensors.kind != CAMERA) & (sensors.serves >= 0))
    group_of_lane = main_group(network)
    kept = kept[group_of_lane[sensors.serves[kept]] >= 0]
    advance = sensors.kind[kept] == LOOP_ADVANCE
    kept = kept[np.lexsort((advance, sensors.serves[kept], sensors.junction[kept]))]
    if junction is not None:
        kept = kept[sensors.junction[kept] == junction]
    owner, lane = sensors.junction[kept], sensors.serves[kept]
    number = np.arange(len(kept)) - np.searchsorted(owner, owner) + 1
    lies = sensors.lane[kept]
    distance_m = (
        sensors.distance_m[kept].astype(np.float64)
        + network.lane_length_m[lies].astype(np.float64)
        - sensors.start_m[kept].astype(np.float64)
    )
    link = network.lane_link[lane]
    to_line_ms = np.rint(MS_PER_S * distance_m / network.link_speed_mps[link])
    return Channels(
        kept, number.astype(np.int32), owner, lane, link, group_of_lane[lane],
        sensors.kind[kept] == LOOP_ADVANCE, distance_m, to_line_ms.astype(np.int64),
    )  # fmt: skip


def main_group(network: Network) -> NDArray[np.int32]:
    """Group that most of each lane's traffic waits for, -1 for none."""
    conns = np.flatnonzero(network.conn_group >= 0)
    lane, group = network.conn_from_lane[conns], network.conn_group[conns]
    pairs, which = np.unique(lane.astype(np.int64) * network.groups + group, return_inverse=True)
    share = np.bincount(which, network.conn_share[conns], minlength=len(pairs))
    lane, group = pairs // max(network.groups, 1), pairs % max(network.groups, 1)
    # Written in this order, the largest share and of equals the first group comes last.
    order = np.lexsort((-group, share))
    found = np.full(network.lanes, -1, dtype=np.int32)
    found[lane[order]] = group[order]
    return found


@dataclass(frozen=True)
class Pulses:
    """Parts of ticks in which detectors were covered, and what the detectors told.

    ``channel``, ``begin_ms``, ``end_ms`` [parts]; ``starts`` / ``stops``: it is switched on at
    the begin, off at the end (else the part goes on from the tick before, into the next one). All
    that begins before ``until_ms`` is told by now. ``count`` and ``occupancy`` [ticks, channels]
    with ``tick_ms``, the ends of the ticks: the readings themselves, NaN from the dead.
    """

    channel: NDArray[np.int64]
    begin_ms: I8
    end_ms: I8
    starts: NDArray[np.bool_]
    stops: NDArray[np.bool_]
    until_ms: int
    tick_ms: I8
    length_ms: I8
    count: F4
    occupancy: F4


def read_pulses(journal: JournalReader, channels: Channels) -> Iterator[Pulses]:
    """All pulses, some minutes at a time.

    The first tick is left out: its readings are of the time before the journal begins.
    """
    ticks = np.array(journal.ticks_ms, dtype=np.int64)
    before_ms = ticks[:1]
    count = occupancy = np.zeros((0, len(channels)), dtype=np.float32)
    times = ticks[:0]
    carried = np.zeros(len(channels), dtype=bool)
    exact = journal.sensors.kind[channels.sensor] != CAMERA_LINE
    for tick_ms, values in _readings(journal, channels.sensor, ticks):
        new = tick_ms > before_ms[0]
        times = np.concatenate([times, tick_ms[new]])
        count = np.concatenate([count, values[new, :, 0]])
        occupancy = np.concatenate([occupancy, values[new, :, 1]])
        last = len(times) and times[-1] == ticks[-1]
        ready = len(times) - (0 if last else 1)
        if ready <= 0:
            continue
        starts_ms = np.concatenate([before_ms, times[: ready - 1]])
        pulses, carried = _place(
            starts_ms, times[:ready], count[: ready + 1], occupancy[: ready + 1], carried, exact
        )
        yield pulses
        before_ms = times[ready - 1 : ready]
        times, count, occupancy = times[ready:], count[ready:], occupancy[ready:]


def _place(
    begin_ms: I8,
    end_ms: I8,
    count: F4,
    occupancy: F4,
    carried: NDArray[np.bool_],
    exact: NDArray[np.bool_],
) -> tuple[Pulses, NDArray[np.bool_]]:
    """Pulses of ticks. Readings may hold one tick more than is placed, to look ahead.

    ``exact`` bool[channels]: who covers the detector was counted, and it is free in between. A
    camera misses frames: who stands at its line seems to leave it, and is still the one counted.
    """
    ticks, length_ms = len(begin_ms), end_ms - begin_ms
    ahead = np.append(length_ms, length_ms[-1:] if len(count) > ticks else length_ms[:0])[:, None]
    number = np.nan_to_num(count).astype(np.int64)
    on_ms = np.rint(np.nan_to_num(occupancy) * ahead).astype(np.int64)
    on_ms = np.where((number > 0) & (on_ms == 0), np.minimum(PULSE_MS * number, ahead // 2), on_ms)
    covered = (number > 0) | (np.nan_to_num(occupancy) > 0)
    covered &= exact | _counted_before(number, covered, carried)
    goes_on = np.zeros((ticks + 1, len(carried)), dtype=bool)
    goes_on[0] = carried
    pairs = len(count) - 1
    goes_on[1 : pairs + 1] = (
        covered[:-1] & covered[1:] & ((number[1:] == 0) | (on_ms[:-1] >= ahead[:-1]))
    )
    stays = ~exact & goes_on[:-1] & goes_on[1:] & (number[:ticks] == 0)
    on_ms[:ticks] = np.where(stays, length_ms[:, None], on_ms[:ticks])
    tick, channel = np.nonzero(covered[:ticks])
    from_before, into_next = goes_on[:-1][tick, channel], goes_on[1:][tick, channel]
    on, room = on_ms[tick, channel], length_ms[tick]
    # Covered without having been counted, or left and covered anew without that.
    uncounted = (number[tick, channel] == 0) & (~from_before | (into_next & (on < room)))
    uncounted &= exact[channel]
    arrivals = number[tick, channel] + uncounted
    parts = arrivals + from_before
    gaps = parts - 1 + ~from_before + ~into_next
    # Each gap and each part takes a millisecond at least, so that no two events coincide.
    on = np.maximum(np.minimum(on, room - gaps), parts)
    part_ms = on / parts
    gap_ms = (room - on) / np.maximum(gaps, 1)
    of = np.repeat(np.arange(len(parts)), parts)
    place = np.arange(len(of)) - np.repeat(np.cumsum(parts) - parts, parts)
    lead_ms = np.where(from_before, 0.0, gap_ms)[of] + place * (part_ms + gap_ms)[of]
    start_ms = begin_ms[tick][of]
    pulses = Pulses(
        channel=channel[of],
        begin_ms=start_ms + np.floor(lead_ms + 0.5).astype(np.int64),
        end_ms=start_ms + np.floor(lead_ms + part_ms[of] + 0.5).astype(np.int64),
        starts=(place > 0) | ~from_before[of],
        stops=(place < parts[of] - 1) | ~into_next[of],
        until_ms=int(end_ms[-1]),
        tick_ms=end_ms,
        length_ms=length_ms,
        count=count[:ticks],
        occupancy=occupancy[:ticks],
    )
    return pulses, goes_on[-1]


def _counted_before(
    number: NDArray[np.int64], covered: NDArray[np.bool_], carried: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Whether somebody was counted since a detector was last free, [ticks, channels]."""
    tick = np.arange(1, len(number) + 1)[:, None]
    last_count = np.maximum.accumulate(np.where(number > 0, tick, np.where(carried, 0, -1)), axis=0)
    last_free = np.maximum.accumulate(np.where(covered, -1, tick), axis=0)
    return np.asarray(last_count > last_free)


def _readings(
    journal: JournalReader, sensor: NDArray[np.int64], ticks: I8
) -> Iterator[tuple[I8, F4]]:
    """Both readings of some sensors at every tick, [ticks, sensors, 2], some ticks at a time."""
    column = np.full(len(journal.sensors) + 1, -1, dtype=np.int64)
    column[sensor] = 2 * np.arange(len(sensor))
    carry = np.full(2 * len(sensor), np.nan, dtype=np.float32)
    most = max(1, _CELLS // max(1, len(carry)))
    done = 0
    for time_ms, number, value, reading, complete_ms in _row_groups(
        journal.folder / "observations.parquet"
    ):
        until = int(np.searchsorted(ticks, complete_ms, side="right"))
        kept = column[number] >= 0
        tick = np.searchsorted(ticks, time_ms[kept])
        cell = column[number[kept]] + value[kept]
        fresh = reading[kept]
        while done < until:
            stop = min(until, done + most)
            low, high = np.searchsorted(tick, [done, stop])
            source = np.zeros((stop - done, len(carry)), dtype=np.int32)
            source[tick[low:high] - done, cell[low:high]] = np.arange(1, high - low + 1)
            np.maximum.accumulate(source, axis=0, out=source)
            filled = np.append(np.float32(0), fresh[low:high])[source]
            filled = np.where(source == 0, carry, filled)
            carry = filled[-1]
            yield ticks[done:stop], filled.reshape(stop - done, -1, 2)
            done = stop


def _row_groups(path: Path) -> Iterator[tuple[I8, NDArray[np.int32], I8, F4, int]]:
    """Rows by row group, cut between ticks; the last number is the tick they are complete to."""
    file = pq.ParquetFile(path)
    names = ("time_ms", "sensor", "value", "reading")
    rest = [file.schema_arrow.empty_table().column(name).to_numpy() for name in names]
    for group in range(file.num_row_groups + 1):
        complete_ms = int(np.iinfo(np.int64).max)
        if group < file.num_row_groups:
            table = file.read_row_group(group)
            rest = [
                np.concatenate([column, table.column(name).to_numpy()])
                for column, name in zip(rest, names, strict=True)
            ]
            # The next row group may go on with the last tick of this one.
            complete_ms = int(rest[0][-1]) - 1
        cut = int(np.searchsorted(rest[0], complete_ms, side="right"))
        time_ms, number, value, reading = (column[:cut] for column in rest)
        rest = [column[cut:] for column in rest]
        yield time_ms, number, value.astype(np.int64), reading, complete_ms
