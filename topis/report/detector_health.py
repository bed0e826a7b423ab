"""Whether the detectors of a journal tell something that can be true."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from topis.report.detections import Channels, Pulses
from topis.units import MS_PER_S, S_PER_H

#: Covered without a break for longer, a detector is stuck (s).
STUCK_S = 300.0
#: No lane carries more over a whole journal (veh/h): a headway of 1.2 s all the time.
MOST_VPH = 3000.0
#: Nothing counted while the other detector of the lane counted this many: silent.
MATE_VEH = 20
#: Shorter journals say nothing of rates (s).
LEAST_S = 300.0


class DetectorHealth:
    """Sums of what each detector told, over a journal."""

    def __init__(self, channels: Channels) -> None:
        count = len(channels)
        self._channels = channels
        self._told_ms, self._missing_ms, self._covered_ms = np.zeros((3, count), dtype=np.int64)
        self._count = np.zeros(count)
        self._run_ms, self._longest_ms = np.zeros((2, count), dtype=np.int64)

    def add(self, pulses: Pulses) -> None:
        """Take in some minutes of readings."""
        length_ms = pulses.length_ms[:, None]
        missing = np.isnan(pulses.count) & np.isnan(pulses.occupancy)
        self._missing_ms += (missing * length_ms).sum(axis=0)
        self._told_ms += (~missing * length_ms).sum(axis=0)
        self._count += np.nan_to_num(pulses.count).sum(axis=0, dtype=np.float64)
        share = np.nan_to_num(pulses.occupancy)
        self._covered_ms += np.rint(share * length_ms).astype(np.int64).sum(axis=0)
        self._runs(share >= 1.0, pulses)

    def _runs(self, full: NDArray[np.bool_], pulses: Pulses) -> None:
        """Longest time covered without a break, runs that go on from block to block included."""
        passed_ms = np.cumsum(pulses.length_ms)
        broken_ms = np.where(full, 0, passed_ms[:, None])
        np.maximum.accumulate(broken_ms, axis=0, out=broken_ms)
        run_ms = passed_ms[:, None] - broken_ms
        run_ms = np.where(broken_ms == 0, run_ms + self._run_ms, run_ms)
        self._longest_ms = np.maximum(self._longest_ms, run_ms.max(axis=0))
        self._run_ms = run_ms[-1]

    @property
    def tells(self) -> NDArray[np.bool_]:
        """Detectors that told something at least half of the time."""
        return np.asarray(self._told_ms >= self._missing_ms)

    def table(self) -> pd.DataFrame:
        """A row a detector: vehicles, flow (veh/h), occupancy, and ``fault`` or an empty text."""
        channels, hours = self._channels, self._told_ms / MS_PER_S / S_PER_H
        with np.errstate(invalid="ignore", divide="ignore"):
            flow_vph = self._count / hours
            occupancy = self._covered_ms / self._told_ms
        mates = np.zeros(int(channels.lane.max(initial=-1)) + 1)
        np.maximum.at(mates, channels.lane, self._count)
        long_enough = self._told_ms >= LEAST_S * MS_PER_S
        fault = np.full(len(channels), "", dtype=object)
        fault[(self._count == 0) & (mates[channels.lane] >= MATE_VEH)] = "silent"
        fault[long_enough & (flow_vph > MOST_VPH)] = "counts too many"
        fault[self._longest_ms >= STUCK_S * MS_PER_S] = "stuck on"
        fault[~self.tells] = "dead"
        return pd.DataFrame(
            {
                "vehicles": self._count.astype(np.int64),
                "flow_vph": flow_vph,
                "occupancy": occupancy,
                "longest_covered_s": self._longest_ms / MS_PER_S,
                "missing_share": self._missing_ms / np.maximum(self._missing_ms + self._told_ms, 1),
                "fault": fault,
            }
        )
