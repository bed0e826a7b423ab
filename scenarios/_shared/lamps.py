"""Fixed-time signal programmes: from stages and green times to SUMO's state strings.

A stage names the turns that have green and the crossings that have walk.  The timing rules are
the Korean ones: walk time is 7 s plus the crossing length at 1.0 m/s; yellow and all-red follow
from approach speed and junction width.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from scenarios._shared.streets import Streets

WALK_ENTRY_S = 7.0
WALK_SPEED_MPS = 1.0
REACTION_S = 1.0
BRAKING_MPS2 = 5.0
START_UP_S = 1.5
"""Time after which the first vehicle of the next stage reaches the conflict area."""
CAR_LENGTH_M = 5.0
YELLOW_MIN_S, YELLOW_MAX_S = 3, 5
ALL_RED_MIN_S, ALL_RED_MAX_S = 1, 2
WALK_ONLY_CLEARANCE_S = 14
"""All-red after a stage in which only people move.  Longer than the street would need, because
SUMO's pedestrians step out until the last second of green, flashing or not."""


@dataclass(frozen=True)
class Stage:
    """Turns and crossings that are green together.

    ``go`` lists turns as side and turn, e.g. ``"Ns Ss"``: straight on from the north and the
    south arm.  The right turn of every arm named is open too, yielding to pedestrians.
    ``walk`` lists the arms whose crossing has walk, e.g. ``"EW"``.
    """

    name: str
    go: str
    walk: str = ""


@dataclass(frozen=True)
class Programme:
    """A fixed plan of one junction. All times in whole seconds."""

    offset_s: int
    greens_s: tuple[int, ...]
    """Vehicle green of each stage, in stage order."""


def walk_s(crossing_length_m: float) -> int:
    """Return the walk time (steady and flashing) of a crossing."""
    return math.ceil(WALK_ENTRY_S + crossing_length_m / WALK_SPEED_MPS)


def intergreen_s(speed_mps: float, width_m: float) -> tuple[int, int]:
    """Return (yellow, all-red) for an approach speed and a stop-line-to-far-side width.

    Yellow is the stopping time, at least 3 s; what the clearance of the junction needs beyond it
    becomes all-red of 1-2 s.
    """
    total_s = (
        REACTION_S
        + speed_mps / (2.0 * BRAKING_MPS2)
        + (width_m + CAR_LENGTH_M) / speed_mps
        - START_UP_S
    )
    stop_s = math.ceil(REACTION_S + speed_mps / (2.0 * BRAKING_MPS2))
    yellow_s = min(max(stop_s, YELLOW_MIN_S), YELLOW_MAX_S)
    all_red_s = min(max(math.ceil(total_s) - yellow_s, ALL_RED_MIN_S), ALL_RED_MAX_S)
    return yellow_s, all_red_s


class Lamps:
    """The signal links of one junction, read from a built network."""

    def __init__(self, net: ET.Element, streets: Streets, junction: str) -> None:
        self.junction = junction
        movements = {(m.from_edge, m.to_edge): m for m in streets.movements(junction)}
        lane_length_m = {
            lane.get("id", ""): float(lane.get("length", 0))
            for edge in net.findall("edge")
            for lane in edge.findall("lane")
        }
        sides = {
            side: streets.crossing_edges(junction, side) for side in streets.neighbours(junction)
        }
        crossing_side = {
            edge.get("id"): side
            for edge in net.findall("edge")
            if edge.get("function") == "crossing"
            for side, pair in sides.items()
            if set(edge.get("crossingEdges", "").split()) == set(pair)
        }
        self.turns: dict[int, str] = {}
        self.crossings: dict[int, str] = {}
        self.crossing_length_m: dict[str, float] = {}
        self.width_m = 0.0
        for link in net.findall("connection"):
            if link.get("tl") != junction:
                continue
            index = int(link.get("linkIndex", -1))
            side = crossing_side.get(link.get("to"))
            if side:
                self.crossings[index] = side
                self.crossing_length_m[side] = lane_length_m[f"{link.get('to')}_0"]
                continue
            move = movements[link.get("from", ""), link.get("to", "")]
            self.turns[index] = move.side + move.turn
            if move.turn == "s":
                self.width_m = max(self.width_m, lane_length_m[link.get("via", "")])
        self.speed_mps = max(
            streets.road[other, junction].speed_mps
            for other in streets.neighbours(junction).values()
        )
        self.yellow_s, self.all_red_s = intergreen_s(self.speed_mps, self.width_m)
        self.foes = self._foes(net)

    def _foes(self, net: ET.Element) -> list[str]:
        """Return per link the conflict mask, lowest link first."""
        node = next(j for j in net.findall("junction") if j.get("id") == self.junction)
        return [request.get("foes", "")[::-1] for request in node.findall("request")]

    def stage_walk_s(self, stage: Stage) -> int:
        """Return the walk time of a stage, 0 without a crossing."""
        return max((walk_s(self.crossing_length_m[side]) for side in stage.walk), default=0)

    def state(self, stage: Stage, walking: bool = True) -> str:
        """Return SUMO's state string of a stage."""
        go = set(stage.go.split())
        arms = {turn[0] for turn in go}
        state = []
        for index in range(len(self.turns) + len(self.crossings)):
            turn = self.turns.get(index, "")
            if index in self.crossings:
                state.append("G" if walking and self.crossings[index] in stage.walk else "r")
            elif turn in go and turn[1] != "r":
                state.append("G")
            else:
                state.append("g" if turn[1] == "r" and turn[0] in arms else "r")
        self._refuse_conflicts(stage, "".join(state))
        return "".join(state)

    def _refuse_conflicts(self, stage: Stage, state: str) -> None:
        for i, mine in enumerate(state):
            for j, theirs in enumerate(state):
                if mine == theirs == "G" and self.foes[i][j] == "1":
                    raise ValueError(
                        f"junction {self.junction}, stage {stage.name}: links {i} "
                        f"({self.turns.get(i)}) and {j} ({self.turns.get(j)}) conflict"
                    )

    def programme(self, stages: tuple[Stage, ...], plan: Programme) -> ET.Element:
        """Return the ``tlLogic`` element of a fixed plan.

        A stage with a crossing shows walk first; what is left of its green has the crossing at
        red.  A turn that stays open in the next stage is not interrupted.
        """
        logic = ET.Element(
            "tlLogic", id=self.junction, type="static", programID="field", offset=str(plan.offset_s)
        )

        def phase(duration_s: int, state: str, name: str) -> None:
            ET.SubElement(logic, "phase", duration=str(duration_s), state=state, name=name)

        for i, (stage, green_s) in enumerate(zip(stages, plan.greens_s, strict=True)):
            need_s = self.stage_walk_s(stage)
            if green_s < need_s:
                raise ValueError(
                    f"junction {self.junction}, stage {stage.name}: green of {green_s} s is "
                    f"shorter than the {need_s} s walk"
                )
            walking, waiting = self.state(stage), self.state(stage, walking=False)
            if need_s:
                phase(need_s, walking, f"{stage.name}, walk")
            if green_s > need_s:
                phase(green_s - need_s, waiting, stage.name)
            if not stage.go:
                phase(WALK_ONLY_CLEARANCE_S, waiting, f"{stage.name}, clearance")
                continue
            follower = self.state(stages[(i + 1) % len(stages)])
            pairs = list(zip(waiting, follower, strict=True))
            change = ["y" if a in "Gg" and b == "r" else a for a, b in pairs]
            clear = ["r" if a == "y" else a for a in change]
            phase(self.yellow_s, "".join(change), f"{stage.name}, yellow")
            phase(self.all_red_s, "".join(clear), f"{stage.name}, all-red")
        return logic

    def change_s(self, stage: Stage) -> int:
        """Return the time from the end of a stage's green to the start of the next stage."""
        return self.yellow_s + self.all_red_s if stage.go else WALK_ONLY_CLEARANCE_S

    def cycle_s(self, stages: tuple[Stage, ...], plan: Programme) -> int:
        """Return the cycle length of a plan."""
        return sum(plan.greens_s) + sum(self.change_s(stage) for stage in stages)
