"""Plans, commands and refusals: what control asks for and what the guard answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

#: A command that is not a stage number.
KEEP = -1
LOCAL = -2


class Reason(IntEnum):
    """Why the guard did not do as told. Values are stored in journals."""

    NONE = 0
    UNKNOWN_STAGE = 1
    CONFLICTING_STAGE = 2
    MIN_GREEN = 3
    CHANGING = 4
    MAX_RED = 5
    NO_RELEASE = 6

    @property
    def text(self) -> str:
        """For people."""
        return _REASON_TEXT[self]


_REASON_TEXT = {
    Reason.NONE: "accepted",
    Reason.UNKNOWN_STAGE: "no such stage at this junction; the stage is kept",
    Reason.CONFLICTING_STAGE: "the stage shows conflicting groups green; the stage is kept",
    Reason.MIN_GREEN: "a green that would end is shorter than its minimum; the stage is kept",
    Reason.CHANGING: "the junction is between stages; the change under way is finished",
    Reason.NO_RELEASE: "its own program may show anything at once; the stage is kept",
    Reason.MAX_RED: "a group has been red for its maximum; it is served first",
}


@dataclass(frozen=True)
class SignalPlan:
    """A fixed-time plan of one junction.

    ``stage`` int32[n] in order; ``split_ms`` int32[n]: green of the stage and the
    intergreen after it; ``offset_ms``: when the cycle starts, modulo ``cycle_ms``;
    ``reason``: why it was made.
    """

    junction: int
    cycle_ms: int
    offset_ms: int
    stage: NDArray[np.int32]
    split_ms: NDArray[np.int32]
    reason: str = ""

    def __post_init__(self) -> None:
        if self.cycle_ms <= 0 or int(self.split_ms.sum()) != self.cycle_ms:
            raise ValueError(
                f"splits sum to {int(self.split_ms.sum())} ms in a cycle of {self.cycle_ms} ms"
            )


@dataclass(frozen=True)
class Commands:
    """What every junction shall show next: ``stage`` int32[junctions].

    A stage number of the network, `KEEP`, or `LOCAL` (the junction's own controller
    runs its own program).
    """

    time_ms: int
    stage: NDArray[np.int32]


@dataclass(frozen=True)
class Refusal:
    """A command the guard did not let through, and why."""

    time_ms: int
    junction: int
    wanted: int
    reason: Reason
