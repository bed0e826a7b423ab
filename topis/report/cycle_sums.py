"""What detectors saw in each green, yellow and red: sums by cycle of a phase or a lane group.

A *phase* is a signal group; a *lane group* is a phase on one link, since a group often serves two
opposite ones. Both are *units*, and each has a row for every cycle of its group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.report.detections import Channels, Pulses
from topis.report.lamp_log import LampLog
from topis.units import MS_PER_S

I4 = NDArray[np.int32]
I8 = NDArray[np.int64]

#: The begin of red in which a detector that is still covered tells of those left behind (ms):
#: ROR5 of Freije et al. 2014 (Graphical performance measures ... split failure trouble calls).
RED_START_MS = 5 * MS_PER_S
#: A green that ends after so long without a vehicle at the stop line has gapped out (ms).
GAP_MS = 3 * MS_PER_S


@dataclass(frozen=True)
class Units:
    """Phases and lane groups: ``group``, ``link`` (-1: all links of the phase) [units].

    ``of_phase``, ``of_lane_group`` [channels]: the two units each detector tells of. The first
    units are the groups, in their order.
    """

    group: I4
    link: I4
    of_phase: I8
    of_lane_group: I8


def find_units(groups: int, channels: Channels) -> Units:
    """All phases, and each link of a phase on which a detector tells of it."""
    pairs, which = np.unique(
        np.stack([channels.group, channels.link], axis=1), axis=0, return_inverse=True
    )
    return Units(
        np.concatenate([np.arange(groups), pairs[:, 0]]).astype(np.int32),
        np.concatenate([np.full(groups, -1), pairs[:, 1]]).astype(np.int32),
        channels.group.astype(np.int64),
        groups + which.reshape(-1).astype(np.int64),
    )


class CycleSums:
    """Sums over the rows of `LampLog`, repeated for every unit.

    ``unit``, ``row`` (of the log) [rows here]. Vehicles: ``passed`` the stop-line detectors,
    ``on_yellow`` and ``on_red`` of them; ``arrived`` at the advance detectors,
    ``arrived_green`` and ``arrived_red`` of them, each when it would reach the stop line freely
    (``to_line``) or when the detector saw it; ``wait_ms``: from then to the green, of those that
    came at red. Time (ms) any of the unit's stop-line detectors was covered: ``green_ms`` in
    green, ``red_start_ms`` in the first 5 s of red, ``late_ms`` in the last 3 s of green.
    With ``keep``, the ``arrivals`` themselves are kept as (unit, ms).
    """

    def __init__(
        self,
        log: LampLog,
        channels: Channels,
        units: Units,
        *,
        to_line: bool = True,
        keep: bool = False,
    ) -> None:
        self._log, self._channels, self._units = log, channels, units
        rows = np.diff(log.group_ptr)[units.group]
        self._first = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
        self.unit = np.repeat(np.arange(len(units.group), dtype=np.int32), rows)
        self.row = np.arange(len(self.unit)) + np.repeat(
            log.group_ptr[units.group] - self._first[:-1], rows
        )
        count = len(self.unit)
        self.passed, self.on_yellow, self.on_red = np.zeros((3, count), dtype=np.int32)
        self.arrived, self.arrived_green, self.arrived_red = np.zeros((3, count), dtype=np.int32)
        self.wait_ms = np.zeros(count, dtype=np.int64)
        self.green_ms, self.red_start_ms, self.late_ms = np.zeros((3, count), dtype=np.int64)
        self._shift_ms = channels.to_line_ms if to_line else np.zeros(len(channels), np.int64)
        self._keep = keep
        self._kept: list[tuple[I4, I8]] = []
        # One sorted key finds the row of any (group, time) at once.
        self._span = np.int64(log.end_ms - log.begin_ms + 1)
        self._key = log.group * self._span + (log.green_ms - log.begin_ms)

    def add(self, pulses: Pulses) -> None:
        """Take in some minutes of pulses."""
        advance = self._channels.advance[pulses.channel]
        begins = pulses.starts
        self._arrive(pulses.channel[begins & advance], pulses.begin_ms[begins & advance])
        self._pass(pulses.channel[begins & ~advance], pulses.begin_ms[begins & ~advance])
        channel, begin_ms, end_ms = (
            values[~advance] for values in (pulses.channel, pulses.begin_ms, pulses.end_ms)
        )
        for unit_of in (self._units.of_phase, self._units.of_lane_group):
            self._cover(*_united(unit_of[channel], begin_ms, end_ms, pulses.tick_ms))

    @property
    def arrivals(self) -> tuple[I4, I8]:
        """Unit and time of every arrival, if they were to be kept."""
        if not self._kept:
            return np.zeros(0, np.int32), np.zeros(0, np.int64)
        unit, time_ms = zip(*self._kept, strict=True)
        return np.concatenate(unit), np.concatenate(time_ms)

    def _find(self, unit: I8, time_ms: I8) -> tuple[I8, I8]:
        """Row here and row of the log that a moment of a unit lies in."""
        group = self._units.group[unit].astype(np.int64)
        log = self._log
        within = np.clip(time_ms, log.begin_ms, log.end_ms) - log.begin_ms
        row = np.searchsorted(self._key, group * self._span + within, side="right") - 1
        return self._first[unit] + row - log.group_ptr[group], row

    def _arrive(self, channel: I8, time_ms: I8) -> None:
        time_ms = time_ms + self._shift_ms[channel]
        inside = time_ms < self._log.end_ms
        channel, time_ms = channel[inside], time_ms[inside]
        for unit_of in (self._units.of_phase, self._units.of_lane_group):
            unit = unit_of[channel]
            here, row = self._find(unit, time_ms)
            green = time_ms < self._log.yellow_ms[row]
            red = time_ms >= self._log.red_ms[row]
            np.add.at(self.arrived, here, 1)
            np.add.at(self.arrived_green, here[green], 1)
            np.add.at(self.arrived_red, here[red], 1)
            np.add.at(self.wait_ms, here[red], self._log.next_ms[row[red]] - time_ms[red])
            if self._keep:
                self._kept.append((unit.astype(np.int32), time_ms))

    def _pass(self, channel: I8, time_ms: I8) -> None:
        for unit_of in (self._units.of_phase, self._units.of_lane_group):
            here, row = self._find(unit_of[channel], time_ms)
            red = time_ms >= self._log.red_ms[row]
            yellow = (time_ms >= self._log.yellow_ms[row]) & ~red
            np.add.at(self.passed, here, 1)
            np.add.at(self.on_yellow, here[yellow], 1)
            np.add.at(self.on_red, here[red], 1)

    def _cover(self, unit: I8, begin_ms: I8, end_ms: I8) -> None:
        """Add what parts of ticks, shorter than any cycle, share with the windows of a row."""
        here, row = self._find(unit, begin_ms)
        here_too, row_too = self._find(unit, end_ms - 1)
        across = row_too != row
        self._share(here, row, begin_ms, end_ms)
        self._share(here_too[across], row_too[across], begin_ms[across], end_ms[across])

    def _share(self, here: I8, row: I8, begin_ms: I8, end_ms: I8) -> None:
        log = self._log
        green_ms, yellow_ms, red_ms = log.green_ms[row], log.yellow_ms[row], log.red_ms[row]
        for sums, low_ms, high_ms in (
            (self.green_ms, green_ms, yellow_ms),
            (self.late_ms, np.maximum(yellow_ms - GAP_MS, green_ms), yellow_ms),
            (self.red_start_ms, red_ms, np.minimum(red_ms + RED_START_MS, log.next_ms[row])),
        ):
            shared = np.minimum(end_ms, high_ms) - np.maximum(begin_ms, low_ms)
            some = shared > 0
            np.add.at(sums, here[some], shared[some])


def _united(unit: I8, begin_ms: I8, end_ms: I8, tick_ms: I8) -> tuple[I8, I8, I8]:
    """The times in which any detector of a unit is covered, each once, still cut by tick."""
    if not len(unit):
        return unit, begin_ms, end_ms
    order = np.lexsort((begin_ms, unit))
    unit, begin_ms, end_ms = unit[order], begin_ms[order], end_ms[order]
    # Units lie one behind the other on one axis, so that a running maximum never leaves one.
    offset = unit * (end_ms.max() - begin_ms.min() + 1) - begin_ms.min()
    reach = np.maximum.accumulate(end_ms + offset)
    tick = np.searchsorted(tick_ms, begin_ms, side="right")
    first = np.ones(len(unit), dtype=bool)
    first[1:] = (begin_ms[1:] + offset[1:] > reach[:-1]) | (tick[1:] != tick[:-1])
    starts = np.flatnonzero(first)
    ends = np.append(starts[1:], len(unit)) - 1
    return unit[starts], begin_ms[starts], reach[ends] - offset[ends]
