"""What the signals showed in a time of the archive, from the controllers' own events."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topis.ingest.observe import TICK_MS, Keys
from topis.ingest.program_lamps import green_table
from topis.ingest.slices import ArchiveSlices, int64_ms
from topis.model.lamp import PRIORITY, RED, YELLOW
from topis.model.network import Network

#: Indiana codes of a phase that change its lamps, and what it shows then.
LAMP_OF_EVENT = {1: PRIORITY, 7: PRIORITY, 8: YELLOW, 9: YELLOW, 10: RED, 11: RED, 12: RED}
BLOCK_S = 300
#: A controller of which nothing came for longer than any cycle lasts is not heard any more (ms).
SILENT_MS = 600_000


class SignalHistory:
    """Lamps of every group, tick by tick; phases are groups of their junction, from 1 on.

    Groups of which no event has come, and those of controllers that have fallen silent, show what
    their shipped program would at that time of day.
    """

    def __init__(self, slices: ArchiveSlices, keys: Keys, network: Network, begin_ms: int) -> None:
        self._slices, self._keys, self._network = slices, keys, network
        self._code = np.zeros(network.groups, dtype=np.uint8)
        self._told = np.zeros(network.groups, dtype=bool)
        self._junction = np.repeat(
            np.arange(network.junctions), np.diff(network.junction_group_ptr)
        )
        self._heard_ms = np.full(network.junctions, begin_ms, dtype=np.int64)
        self._program = green_table(network)
        # What shows when the slice begins was told before.
        self._block_ms = begin_ms - BLOCK_S * 1000
        self._time_ms = np.zeros(0, dtype=np.int64)
        self._group = np.zeros(0, dtype=np.int64)
        self._event = np.zeros(0, dtype=np.uint8)
        self._next = 0

    def at(self, now_ms: int) -> NDArray[np.uint8]:
        """Lamp code of each group in the tick that ends at ``now_ms``; asked in order of time."""
        while self._block_ms < now_ms:
            self._read_block()
        last = int(np.searchsorted(self._time_ms, now_ms - TICK_MS, side="right"))
        group = self._group[self._next : last]
        # Of several events of a group the last one stays.
        self._code[group] = self._event[self._next : last]
        self._told[group] = True
        self._heard_ms[self._junction[group]] = now_ms
        self._told[(now_ms - self._heard_ms > SILENT_MS)[self._junction]] = False
        self._next = last
        if self._told.all():
            return self._code.copy()
        ptr, offset_s, code = self._program
        second = (now_ms // 1000 - 1 - offset_s) % np.diff(ptr)
        return np.where(self._told, self._code, code[ptr[:-1] + second])

    def _read_block(self) -> None:
        end_ms = self._block_ms + BLOCK_S * 1000
        table = self._slices.rows(
            "signal_event", self._block_ms, end_ms, ["controller", "code", "parameter"]
        )
        controller = table["controller"].to_numpy()
        junction = self._keys.controller[np.minimum(controller, len(self._keys.controller) - 1)]
        code, phase = table["code"].to_numpy(), table["parameter"].to_numpy().astype(np.int64)
        lamp = np.full(656, 255, dtype=np.uint8)
        lamp[list(LAMP_OF_EVENT)] = list(LAMP_OF_EVENT.values())
        ptr = self._network.junction_group_ptr
        group = ptr[junction] + phase - 1
        known = (junction >= 0) & (lamp[code] != 255) & (phase >= 1)
        known &= group < ptr[np.maximum(junction, 0) + 1]
        time_ms = int64_ms(table["time"])[known]
        # At one moment yellow comes before red.
        order = np.lexsort([code[known], time_ms])
        rest = slice(self._next, len(self._time_ms))
        self._time_ms = np.concatenate([self._time_ms[rest], time_ms[order]])
        self._group = np.concatenate([self._group[rest], group[known][order]])
        self._event = np.concatenate([self._event[rest], lamp[code[known]][order]])
        self._next = 0
        self._block_ms = end_ms
