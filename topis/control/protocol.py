"""What every controller is to the loop, and how some of them give their reasons."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from topis.model.command import Commands
from topis.model.state import SignalState, TrafficState

#: How the value of an alternative is to be read: as it stands; it is no less (the play was stopped,
#: it could not win); it is no more (plays that begin alike were stopped).
EXACT, AT_LEAST, AT_MOST = 0, 1, 2


class Controller(Protocol):
    """Decides once a tick, from what is handed to it and its own past decisions alone."""

    name: str

    def decide(self, state: TrafficState, signals: SignalState) -> Commands:
        """What every junction shall show next."""


class Why(IntEnum):
    """Why a junction's answer is what it is. Values are stored with runs."""

    LEAST_COST = 0
    AROUND_PLAN = 1
    OVERDUE = 2
    CHANGING = 3
    MIN_GREEN = 4
    NOT_DUE = 5
    BY_GAPS = 6
    PRESSURE = 7
    EXTENDED = 8
    MAX_GREEN = 9
    GAP = 10
    NO_CALL = 11
    OVERDUE_FIRST = 12
    BY_PLAN = 13

    @property
    def text(self) -> str:
        """For people."""
        return _WHY_TEXT[self]


_WHY_TEXT = {
    Why.LEAST_COST: "of all choices it has the least predicted cost",
    Why.AROUND_PLAN: "it has the least predicted cost, and time off the plan costs: the "
    "sub-area keeps to its plan",
    Why.OVERDUE: "somebody has waited longer than is allowed; of keeping the stage and of those "
    "that serve them it has the least predicted cost",
    Why.CHANGING: "the lamps are between two stages, and a change is finished once begun",
    Why.MIN_GREEN: "the stage has not had its minimum green, so nothing was weighed",
    Why.NOT_DUE: "the answer holds until the next decision is due",
    Why.BY_GAPS: "no working sensor sees one of its lanes, so the gaps between vehicles decide, "
    "no search",
    Why.PRESSURE: "it is under the highest pressure, time lost by a change weighed in",
    Why.EXTENDED: "vehicles still come within the passage time",
    Why.MAX_GREEN: "the stage has had its maximum green, and somebody else waits",
    Why.GAP: "no vehicle came within the passage time, and somebody else waits",
    Why.NO_CALL: "the stage could end, but nobody else waits",
    Why.BY_PLAN: "no working sensor sees the junction, so it shows its plan",
    Why.OVERDUE_FIRST: "somebody has waited longer than is allowed, and is served first",
}


@dataclass(frozen=True)
class Measure:
    """What alternatives are compared by; ``least``: the least is best, else the most."""

    name: str
    unit: str
    least: bool


@dataclass(frozen=True)
class Reasons:
    """What the answers of the last tick rest on; valid until the next.

    [junctions] ``why``: a `Why`; ``weighed``: whether its alternatives were weighed in this tick;
    ``next_stage``: what follows the stage wanted now as far as it means to (-1: it has not said),
    ``extend_s`` after so many seconds. [stages] ``value`` of showing each next, NaN where it was
    no alternative, and ``bound``: `EXACT`, `AT_LEAST` or `AT_MOST`; both of junctions that weighed.
    """

    why: NDArray[np.uint8]
    weighed: NDArray[np.bool_]
    next_stage: NDArray[np.int32]
    extend_s: NDArray[np.int32]
    value: NDArray[np.float32]
    bound: NDArray[np.uint8]


@runtime_checkable
class Explains(Protocol):
    """A controller that keeps the reasons of its last answers."""

    @property
    def measure(self) -> Measure | None:
        """What its alternatives are compared by; None: it compares none."""

    def reasons(self) -> Reasons:
        """Those of the tick it decided last."""
