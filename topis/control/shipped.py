"""The programs as they are: every junction stays under its own local control."""

from __future__ import annotations

import numpy as np

from topis.model.command import LOCAL, Commands
from topis.model.network import Network
from topis.model.state import SignalState, TrafficState


class Shipped:
    """Leaves every junction to the program it came with (fixed, actuated, time of day)."""

    name = "shipped"

    def __init__(self, network: Network) -> None:
        self._stage = np.full(network.junctions, LOCAL, dtype=np.int32)

    def decide(self, state: TrafficState, signals: SignalState) -> Commands:
        """Local control for all."""
        return Commands(state.time_ms, self._stage)
