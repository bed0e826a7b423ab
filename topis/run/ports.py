"""The four doors of the loop. SUMO, replay and live differ only in what stands behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from topis.model.command import Commands, Refusal
from topis.model.observation import Observation
from topis.model.state import SignalState

#: Junctions under local control whose lamps changed: (junction, code of each group).
LocalLamps = Sequence[tuple[int, NDArray[np.uint8]]]


class Source(Protocol):
    """Where observations come from. Asking for the next one lets time pass."""

    def next(self) -> Observation | None:
        """The next tick's observation, None when the run is over."""


class Actuator(Protocol):
    """What carries lamp states to the street."""

    def changed_lamps(self, local: NDArray[np.bool_]) -> LocalLamps:
        """Junctions under local control whose lamps changed since last asked, and the lamps.

        ``local`` bool[junctions]. The first call returns every junction.
        """

    def show(self, junction: int, group_code: NDArray[np.uint8]) -> None:
        """Show these lamps from now on."""


class Recorder(Protocol):
    """What keeps a run for later."""

    def record(
        self,
        observation: Observation,
        local_lamps: LocalLamps,
        commands: Commands,
        refusals: list[Refusal],
        signals: SignalState,
    ) -> None:
        """Keep one tick: what was seen, asked for, refused, and then shown."""


class Clock(Protocol):
    """What is told of time passing (progress, interruption); decisions never ask it."""

    def tick(self, time_ms: int) -> bool:
        """Called after each tick; False ends the run cleanly."""


class NoClock:
    """A clock that nobody watches, and that never ends a run."""

    def tick(self, time_ms: int) -> bool:
        """See `Clock`."""
        return True
