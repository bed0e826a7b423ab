"""Why each green ended, as far as a journal lets us say: in a controller's own words.

A controller's log tells gap-out, max-out or force-off. Here:

- **force-off**: the green ended by a plan's clock, since the junction was under local control or
  the controller runs plans (`PLANNED`). What ran locally is not known: a local program that is
  actuated is told as force-off too;
- **gap-out**: no stop-line detector of the phase was covered in the last 3 s of the green;
- **max-out**: the green reached the maximum of a stage it belongs to; or the controller is
  `actuated`, which ends a green that is still used for no other reason;
- otherwise a green that was still used was cut by choice, which is a **force-off** again.

Without a detector at the stop line that tells something, and without a plan, nothing is said.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topis.model.command import LOCAL
from topis.model.lamp import is_green
from topis.model.network import VEHICLE, Network
from topis.report.cycle_sums import CycleSums
from topis.report.journal import JournalReader
from topis.report.lamp_log import LampLog

UNSAID, GAP_OUT, MAX_OUT, FORCE_OFF = 0, 4, 5, 6
#: Controllers whose greens end by a plan.
PLANNED = frozenset({"shipped", "webster", "cosmos", "max-pressure-cyclic"})


class Endings:
    """Tells how greens of a journal ended.

    ``watched`` bool[groups]: a stop-line detector of the group tells something.
    """

    def __init__(self, journal: JournalReader, log: LampLog, watched: NDArray[np.bool_]) -> None:
        network = journal.network
        controller = str(journal.manifest.get("controller", ""))
        junction = network.group_junction[log.group]
        planned = _under_local(journal, junction, log.yellow_ms) | (controller in PLANNED)
        most_ms = _longest_stage_ms(network)[log.group]
        at_most = (log.yellow_ms - log.green_ms >= most_ms) & (most_ms > 0)
        at_most |= controller == "actuated"
        self._used = np.where(at_most, MAX_OUT, FORCE_OFF)
        self._unused = np.where(planned, FORCE_OFF, GAP_OUT)
        self._used[planned] = FORCE_OFF
        unknown = ~planned & ~watched[log.group]
        ended = (log.yellow_ms > log.green_ms) & (log.yellow_ms < log.end_ms)
        silent = unknown | ~ended | (network.group_kind[log.group] != VEHICLE)
        self._used[silent] = self._unused[silent] = UNSAID

    def codes(self, sums: CycleSums, rows: slice | NDArray[np.integer]) -> NDArray[np.int64]:
        """Event codes (`UNSAID` for none) of rows of the log, whose pulses have been added."""
        # The first rows of the sums are those of the phases, in the order of the log.
        return np.where(sums.late_ms[rows] > 0, self._used[rows], self._unused[rows])


def _under_local(
    journal: JournalReader, junction: NDArray[np.int32], time_ms: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether the last command to a junction before a time left it to its own controller."""
    told_ms, told, stage = journal.decisions()
    if not len(told):
        return np.ones(len(time_ms), dtype=bool)
    order = np.lexsort((told_ms, told))
    span = np.int64(max(told_ms.max(), time_ms.max(initial=0)) + 1)
    key = told[order].astype(np.int64) * span + told_ms[order]
    last = np.searchsorted(key, junction.astype(np.int64) * span + time_ms, side="left") - 1
    found = order[np.maximum(last, 0)]
    return np.asarray((last >= 0) & (told[found] == junction) & (stage[found] == LOCAL))


def _longest_stage_ms(network: Network) -> NDArray[np.int64]:
    """Largest maximum green of the stages each group is green in, 0 where none is set."""
    most = np.zeros(network.groups, dtype=np.int64)
    green = np.flatnonzero(is_green(network.stage_code))
    stage = np.searchsorted(network.stage_code_ptr, green, side="right") - 1
    first = network.junction_group_ptr[network.stage_junction[stage]]
    group = first + green - network.stage_code_ptr[stage]
    np.maximum.at(most, group, network.stage_max_green_ms[stage].astype(np.int64))
    return most
