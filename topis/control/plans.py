"""Fixed-time plans followed by the clock: many junctions, one call a tick."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from topis.model.command import SignalPlan


class PlanFollower:
    """What each planned junction shows at a time.

    A stage's split begins with the change to it, so the stage whose split holds now is
    the command; the guard times the lamps.
    """

    def __init__(self, plans: Sequence[SignalPlan]) -> None:
        self.junction = np.array([p.junction for p in plans], dtype=np.int32)
        self._cycle_ms = np.array([p.cycle_ms for p in plans], dtype=np.int64)
        self._offset_ms = np.array([p.offset_ms for p in plans], dtype=np.int64)
        most = max((len(p.stage) for p in plans), default=1)
        self._end_ms = np.full((len(plans), most), np.iinfo(np.int64).max)
        self._stage = np.zeros((len(plans), most), dtype=np.int32)
        for row, plan in enumerate(plans):
            self._end_ms[row, : len(plan.stage)] = np.cumsum(plan.split_ms)
            self._stage[row, : len(plan.stage)] = plan.stage

    def stages(self, time_ms: int) -> NDArray[np.int32]:
        """Stage of each planned junction, int32[plans]."""
        position = (time_ms - self._offset_ms) % self._cycle_ms
        step = (self._end_ms <= position[:, None]).sum(axis=1)
        stage: NDArray[np.int32] = self._stage[np.arange(len(self.junction)), step]
        return stage
