"""A junction's answer at a moment: why it was given, and what else was weighed."""

from __future__ import annotations

import difflib
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topis.control.protocol import AT_LEAST, AT_MOST, EXACT, Measure, Why
from topis.errors import InputError
from topis.model.network import LEFT, RIGHT, STRAIGHT, TURNAROUND, Network
from topis.report.lane_evidence import AHEAD_S, LaneSeen
from topis.units import MS_PER_S

_TURN_NAMES = {STRAIGHT: "straight", LEFT: "left", RIGHT: "right"}
_BOUND_NAMES = {EXACT: "exact", AT_LEAST: "at least", AT_MOST: "at most"}


@dataclass(frozen=True)
class Alternative:
    """A stage that could be shown next, its ``value``, and how that is to be read (``bound``)."""

    stage: int
    value: float
    bound: int


@dataclass(frozen=True)
class Weighing:
    """When a junction weighed its ``alternatives``, which stage it showed then, which it chose.

    ``next_stage`` follows ``extend_s`` later, as it meant then; -1: it did not say.
    """

    time_ms: int
    shown: int
    wanted: int
    next_stage: int
    extend_s: int
    alternatives: tuple[Alternative, ...]


@dataclass(frozen=True)
class Answer:
    """What a junction answered in a tick; stages are numbers of the network, -1 for none.

    ``shown`` then, ``wanted`` next; ``weighing``: the last before, None if there was none.
    """

    time_ms: int
    shown: int
    wanted: int
    why: Why
    weighing: Weighing | None = None
    refused: str = ""


@dataclass(frozen=True)
class Explanation:
    """An `Answer` of one junction with its evidence."""

    network: Network
    junction: int
    controller: str
    measure: Measure | None
    answer: Answer
    lanes: tuple[LaneSeen, ...]

    @property
    def ranked(self) -> tuple[Alternative, ...]:
        """Alternatives of the last weighing, best first; of equal ones that which was chosen."""
        weighing = self.answer.weighing
        if weighing is None:
            return ()
        sign = 1.0 if self.measure is None or self.measure.least else -1.0
        return tuple(
            sorted(
                weighing.alternatives, key=lambda a: (sign * a.value, a.stage != weighing.wanted)
            )
        )

    def local(self, stage: int) -> int | None:
        """Number of a stage within its junction, as `topis network show` has it."""
        if stage < 0:
            return None
        return stage - int(self.network.junction_stage_ptr[self.junction])

    def as_dict(self) -> dict[str, Any]:
        """For programs: plain values, None where something is unknown, stages by local number."""
        answer, weighing = self.answer, self.answer.weighing
        rows: dict[str, Any] = {
            "junction": self.network.junction_ids[self.junction],
            "time_s": answer.time_ms / MS_PER_S,
            "controller": self.controller,
            "shown": self.local(answer.shown),
            "wanted": self.local(answer.wanted),
            "why": answer.why.name.lower(),
            "refused": answer.refused or None,
            "measure": None if self.measure is None else asdict(self.measure),
            "weighing": None if weighing is None else self._weighed(weighing),
            "arrivals_within_s": AHEAD_S,
            "lanes": [asdict(lane) for lane in self.lanes],
        }
        return {key: _without_nan(value) for key, value in rows.items()}

    def _weighed(self, weighing: Weighing) -> dict[str, Any]:
        return {
            "time_s": weighing.time_ms / MS_PER_S,
            "shown": self.local(weighing.shown),
            "chosen": self.local(weighing.wanted),
            "next_stage": self.local(weighing.next_stage),
            "extend_s": None if weighing.extend_s < 0 else weighing.extend_s,
            "alternatives": [
                {
                    "stage": self.local(row.stage),
                    "value": row.value,
                    "bound": _BOUND_NAMES[row.bound],
                    "serves": served_turns(self.network, row.stage),
                }
                for row in self.ranked
            ],
        }


def served_turns(network: Network, stage: int) -> dict[str, list[str]]:
    """Links whose vehicles have a green in a stage, and which turns; no link: walkers alone."""
    ptr, conn, _ = network.conn_stage_code
    conn = conn[ptr[stage] : ptr[stage + 1]]
    conn = conn[network.is_approach_lane[network.conn_from_lane[conn]]]
    move = np.unique(network.conn_move[conn])
    return _turns(network, move)


def served_text(network: Network, stage: int) -> list[str]:
    """The same in words; of a link whose every turn has a green only the name."""
    words = []
    for link, turns in served_turns(network, stage).items():
        number = network.link_ids.index(link)
        move = np.arange(*network.link_move_ptr[number : number + 2])
        whole = turns == _turns(network, move).get(link)
        words.append(link if whole else f"{link} {'+'.join(turns)}")
    return words


def _turns(network: Network, move: NDArray[np.integer]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    pairs = zip(network.move_from_link[move].tolist(), network.move_turn[move], strict=True)
    for link, turn in sorted({(link, int(turn)) for link, turn in pairs}):
        # Who may turn back may turn left, and seldom does.
        if turn != TURNAROUND:
            found.setdefault(network.link_ids[link], []).append(_TURN_NAMES[turn])
    return found


def find_junction(network: Network, name: str) -> int:
    """Number of a junction.

    Raises
    ------
    InputError
        There is none of that name.
    """
    if name in network.junction_ids:
        return network.junction_ids.index(name)
    near = difflib.get_close_matches(name, network.junction_ids, n=3, cutoff=0.5)
    cure = f"close to it are {', '.join(near)}" if near else "topis network show lists them"
    raise InputError(f"junction {name!r} is unknown: it has no signal in this run; {cure}")


def _without_nan(value: Any) -> Any:
    """Plain values with None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
