"""Stages of each signal: straight then left, opposing approaches together, as in Korea.

An arterial's approaches share a stage for going on and one for turning left; collectors share one
in which left turns give way. A stem of three arms has its own stage. Walkers are not modelled:
each stage lasts at least as long as they need who cross beside its traffic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from topis.ingest.city.likeness import LANE_WIDTH_M, SECONDARY
from topis.ingest.city.roads import LEFT, RIGHT, STRAIGHT, Arm, Roads, acute
from topis.units import WALK_ENTRY_S, WALK_SPEED_MPS

#: Yellow (s), all-red where an arterial is crossed, least green of a left turn and of any stage.
YELLOW_S, ALL_RED_S, LEFT_MIN_S, LEAST_GREEN_S = 3, 1, 7, 7
Move = tuple[int, int]


@dataclass(frozen=True)
class Stage:
    """Movements with priority, those that give way, and the least green.

    ``halts_bus``: bus lanes have red, for the left turns beside them cross their way.
    """

    go: frozenset[Move]
    give_way: frozenset[Move]
    min_s: int
    halts_bus: bool = False

    def letter(self, move: Move, bus: bool) -> str:
        """What a head shows in this stage; ``bus``: it is that of a bus lane."""
        if bus and self.halts_bus:
            return "r"
        return "G" if move in self.go else "g" if move in self.give_way else "r"


@dataclass(frozen=True)
class Signal:
    """One junction's stages in their order; the change from one to the next."""

    node: int
    stages: tuple[Stage, ...]
    all_red_s: int

    @property
    def change_s(self) -> int:
        """Yellow and all-red."""
        return YELLOW_S + self.all_red_s

    @property
    def least_cycle_s(self) -> int:
        """Shortest cycle with every least green."""
        return sum(stage.min_s + self.change_s for stage in self.stages)


def make_signals(roads: Roads) -> list[Signal]:
    """The signals of all junctions that have them, in order of node."""
    layout = roads.layout
    return [_signal(roads, node) for node in range(layout.signal.size) if layout.signal[node]]


def _signal(roads: Roads, node: int) -> Signal:
    arms = roads.arms[node]
    wide = any(_wide(roads, arm) for arm in arms)
    change_s = YELLOW_S + (ALL_RED_S if wide else 0)
    if len(arms) == 3:
        stages = _three(roads, arms, roads.through[node], change_s)
    elif acute(arms):
        stages = [
            Stage(
                _moves(roads, arm, arms, LEFT + STRAIGHT + RIGHT), frozenset(),
                _walk_s(roads, [arms[(k + 1) % len(arms)]], change_s)
            )
            for k, arm in enumerate(arms)
        ]  # fmt: skip
    else:
        axes = sorted(
            ((arms[0], arms[2]), (arms[1], arms[3])),
            key=lambda axis: -max(roads.edges[arm.inward].rank for arm in axis),
        )
        stages = []
        for axis, across in (axes, axes[::-1]):
            stages += _axis(roads, axis, across, arms, change_s)
    return Signal(node, tuple(stages), ALL_RED_S if wide else 0)


def _wide(roads: Roads, arm: Arm) -> bool:
    return roads.edges[arm.inward].rank >= SECONDARY


def _moves(roads: Roads, arm: Arm, arms: list[Arm], turns: str) -> frozenset[Move]:
    moves = ((arm.inward, other.outward) for other in arms)
    return frozenset(m for m in moves if m in roads.turn and roads.turn[m] in turns)


def _walk_s(roads: Roads, crossed: list[Arm], change_s: int) -> int:
    """Green that lets walkers over the arms: 7 s and the way at 1 m/s, less what follows."""
    lanes = max(roads.edges[a.inward].lanes + roads.edges[a.outward].exits for a in crossed)
    walk_s = WALK_ENTRY_S + lanes * LANE_WIDTH_M / WALK_SPEED_MPS - change_s
    return max(LEAST_GREEN_S, math.ceil(walk_s))


def _axis(
    roads: Roads, axis: tuple[Arm, Arm], across: tuple[Arm, Arm], arms: list[Arm], change_s: int
) -> list[Stage]:
    on = frozenset[Move]().union(*(_moves(roads, a, arms, STRAIGHT + RIGHT) for a in axis))
    left = frozenset[Move]().union(*(_moves(roads, a, arms, LEFT) for a in axis))
    walk_s = _walk_s(roads, list(across), change_s)
    if not any(_wide(roads, arm) for arm in axis):
        return [Stage(on, left, walk_s)]
    return [Stage(on, frozenset(), walk_s), Stage(left, frozenset(), LEFT_MIN_S)]


def _three(roads: Roads, arms: list[Arm], through: tuple[int, int], change_s: int) -> list[Stage]:
    """Both ways on; then the left turn into the stem, its own through and the stem's right."""
    stem = arms[3 - sum(through)]
    main = [arms[k] for k in through]
    on = frozenset[Move]().union(*(_moves(roads, a, arms, STRAIGHT + RIGHT) for a in main))
    left = frozenset[Move]().union(*(_moves(roads, a, arms, LEFT) for a in main))
    out = _moves(roads, stem, arms, LEFT + RIGHT)
    stages = [Stage(on, frozenset(), _walk_s(roads, [stem], change_s))]
    if any(_wide(roads, arm) for arm in main):
        turning = next(a for a in main if _moves(roads, a, arms, LEFT))
        lead = left | _moves(roads, turning, arms, STRAIGHT)
        lead |= _moves(roads, stem, arms, RIGHT)
        stages.append(Stage(lead, frozenset(), LEFT_MIN_S, halts_bus=True))
    else:
        stages = [Stage(on, left, stages[0].min_s)]
    stages.append(Stage(out, frozenset(), _walk_s(roads, main, change_s)))
    return stages


@dataclass(frozen=True)
class Head:
    """A signal head: its movement, whether it is a bus lane's, the heads it lets go first."""

    move: Move
    bus: bool
    before: frozenset[int]


def _shown(stage: Stage, heads: list[Head]) -> list[str]:
    """A letter a head. Where left turns in one stage cross for want of room, one gives way."""
    letters = [stage.letter(head.move, head.bus) for head in heads]
    return [
        "g" if a == "G" and any(letters[k] == "G" for k in head.before) else a
        for a, head in zip(letters, heads, strict=True)
    ]


def states(
    signal: Signal, heads: list[Head], greens_s: list[int]
) -> list[tuple[int, str, int | None]]:
    """Rows of the program: duration (s), state, least duration of a stage."""
    rows: list[tuple[int, str, int | None]] = []
    shown = [_shown(stage, heads) for stage in signal.stages]
    for k, (stage, green_s) in enumerate(zip(signal.stages, greens_s, strict=True)):
        following = shown[(k + 1) % len(shown)]
        rows.append((green_s, "".join(shown[k]), stage.min_s))
        rows.append((YELLOW_S, _change(shown[k], following, "y"), None))
        if signal.all_red_s:
            rows.append((signal.all_red_s, _change(shown[k], following, "r"), None))
    return rows


def _change(now: list[str], following: list[str], ending: str) -> str:
    """Between two stages what goes on stays green, what ends shows ``ending``."""
    pairs = zip(now, following, strict=True)
    return "".join(ending if a != "r" and b == "r" else a for a, b in pairs)
