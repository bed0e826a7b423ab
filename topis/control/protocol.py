"""What every controller is to the loop."""

from __future__ import annotations

from typing import Protocol

from topis.model.command import Commands
from topis.model.state import SignalState, TrafficState


class Controller(Protocol):
    """Decides once a tick, from what is handed to it and its own past decisions alone."""

    name: str

    def decide(self, state: TrafficState, signals: SignalState) -> Commands:
        """What every junction shall show next."""
