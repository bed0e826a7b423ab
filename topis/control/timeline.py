"""The shipped programs second by second: which stage each junction is told to show when."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topis.control.service import intergreen_ms
from topis.model.network import Network
from topis.units import MS_PER_S

#: Numbers of junctions, or all of them.
Some = NDArray[np.integer] | slice
ALL = slice(None)


class PlanTimeline:
    """Commands of the active programs, so that greens start when the program starts them."""

    def __init__(self, network: Network) -> None:
        change_s = intergreen_ms(network) / MS_PER_S
        programs = network.junction_program.tolist()
        rows = [plan_commands(network, j, p, change_s) for j, p in enumerate(programs)]
        self._command = np.concatenate([np.zeros(0, np.int16), *rows])
        self._cycle_s = np.array([len(row) for row in rows], dtype=np.int64)
        self._first = np.cumsum(self._cycle_s) - self._cycle_s
        offset_ms = network.program_offset_ms[network.junction_program]
        self._offset_s = np.rint(offset_ms / MS_PER_S).astype(np.int64)

    def ahead(self, now_s: int, horizon_s: int, which: Some = ALL) -> NDArray[np.int16]:
        """Local number of the stage wanted in each of the next seconds, int16[which, s]."""
        since = (now_s - self._offset_s[which])[:, None] + np.arange(horizon_s)[None, :]
        return self._command[self._first[which, None] + since % self._cycle_s[which, None]]


def plan_commands(
    network: Network, junction: int, program: int, change_s: NDArray[np.float64]
) -> NDArray[np.int16]:
    """One cycle of a program: the stage commanded in each second, its intergreen included.

    Local numbers of the junction's stages; ``change_s`` as `service.intergreen_ms` has it.
    """
    steps = slice(*network.program_stage_ptr[program : program + 2])
    low = int(network.junction_stage_ptr[junction])
    stage = network.program_stage[steps]
    start_s = network.program_start_ms[steps] / MS_PER_S
    cycle_s = max(1, round(float(network.program_cycle_ms[program]) / MS_PER_S))
    lead_s = change_s[np.roll(stage, 1), stage - low]
    told_s = np.rint(start_s - lead_s).astype(np.int64) % cycle_s
    row = np.full(cycle_s, stage[0] - low, dtype=np.int16)
    for k in range(len(stage)):
        length = (told_s[(k + 1) % len(stage)] - told_s[k]) % cycle_s or cycle_s
        row[(told_s[k] + np.arange(length)) % cycle_s] = stage[k] - low
    return row
