"""Which approach lanes may go, of what the signal groups show."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topis.model.lamp import PERMISSIVE, PRIORITY
from topis.model.network import Network

#: An unseen queue is taken to leave at green for at least this share of its lane's traffic, as a
#: part of what any stage serves.
WHOLE_SHARE = 0.9


class Greens:
    """Which lanes are green, of what the signal groups show."""

    def __init__(self, network: Network) -> None:
        lanes = network.approach_lanes
        number = np.full(network.lanes, -1, dtype=np.intp)
        number[lanes] = np.arange(len(lanes))
        signalised = (network.conn_group >= 0) & (number[network.conn_from_lane] >= 0)
        self._lane = number[network.conn_from_lane[signalised]]
        self._group = network.conn_group[signalised]
        self._share = network.conn_share[signalised].astype(np.float64)
        self._lanes = len(lanes)
        ptr, conn, _ = network.conn_stage_code
        stage = np.repeat(np.arange(network.stages), np.diff(ptr))
        own = number[network.conn_from_lane[conn]]
        cell, which = np.unique(
            own[own >= 0] * network.stages + stage[own >= 0], return_inverse=True
        )
        served = np.bincount(which, network.conn_share[conn[own >= 0]], minlength=len(cell))
        self._most = np.zeros(len(lanes))
        if len(cell):
            np.maximum.at(self._most, cell // network.stages, served)

    def any(self, group_green: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Lanes of which any signal is green, uint8[lanes]."""
        green = np.zeros(self._lanes, dtype=np.uint8)
        green[self._lane[group_green[self._group]]] = 1
        return green

    def whole(self, group_green: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Lanes of which as much of the traffic has green as ever has, uint8[lanes].

        With less, one who may not go soon stands at the front and holds up the rest.
        """
        served = np.bincount(
            self._lane, self._share * group_green[self._group], minlength=self._lanes
        )
        return ((served > 0.0) & (served >= WHOLE_SHARE * self._most)).astype(np.uint8)

    def best(self, group_code: NDArray[np.uint8], gives_way: float) -> NDArray[np.float32]:
        """Of the signals of each lane the best, float32[lanes].

        0 red, 1 green with priority, ``gives_way`` where a green has to.
        """
        worth = np.zeros(256, np.float32)
        worth[PRIORITY], worth[PERMISSIVE] = 1.0, gives_way
        green = np.zeros(self._lanes, np.float32)
        np.maximum.at(green, self._lane, worth[group_code[self._group]])
        return green
