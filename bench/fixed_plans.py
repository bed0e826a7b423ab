"""Fixed plans on paper, for the signals of any SUMO network.

The rows of a program stay in their order; the greens among them may change, but not fall below
their ``minDur`` (5 s without one), nor below what their walkers need: 7 s, and after them the
length of the crossing at 1 m/s (which the guard asks of other controllers, too). For a common
cycle, each second above the least goes where saturation counts most, and offsets carry platoons
along the busiest pairs of signals.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from xml.etree.ElementTree import Element

LEAST_GREEN_S, LEAST_WALK_S, WALK_MPS = 5.0, 7.0, 1.0
#: A lane's saturation flow, time lost at a start, and the worth of a green that has to give way.
LANE_FLOW_VPH, LOST_S, PERMISSIVE = 1800.0, 2.0, 0.5
#: Speed of platoons over the limit.
PLATOON_SPEED = 0.85
Move = tuple[str, str]  # from edge, to edge
Pair = tuple[Move, Move, int]  # a signalised turn, the next one, s between them


@dataclass(frozen=True)
class Timing:
    """When a program starts, and how long each of its rows is (whole s)."""

    offset_s: int
    rows_s: tuple[int, ...]


Plan = dict[str, Timing]


@dataclass(frozen=True)
class Signal:
    """A light as shipped. ``least_s`` of each row that may change; lanes and links of a turn."""

    states: list[str]
    shipped: Timing
    least_s: dict[int, int]
    links: dict[Move, list[int]]
    lanes: dict[Move, set[int]]

    def green_s(self, move: Move, rows_s: list[int]) -> float:
        """Effective green of a turn."""
        letters = {"G": 1.0, "g": PERMISSIVE}
        shown = zip(self.states, rows_s, strict=True)
        green_s = sum(letters.get(state[self.links[move][0]], 0.0) * s for state, s in shown)
        return max(green_s - LOST_S, 0.5)

    def start_s(self, move: Move, rows_s: tuple[int, ...]) -> int:
        """When a turn's green starts, after the program does."""
        green = [state[self.links[move][0]] in "Gg" for state in self.states]
        starts = [k for k, shown in enumerate(green) if shown and not green[k - 1]]
        return sum(rows_s[: starts[0]]) if starts else 0

    def filled(self, cycle_s: int, flows: Counter[Move]) -> tuple[int, ...]:
        """Rows that fill a cycle: each second above the least goes where it saves most."""
        rows_s = [self.least_s.get(k, s) for k, s in enumerate(self.shipped.rows_s)]
        on_lane: Counter[tuple[str, int]] = Counter()
        for move, lanes in self.lanes.items():
            for lane in lanes:
                on_lane[move[0], lane] += round(flows[move] / len(lanes))
        ratio = {
            move: max(on_lane[move[0], k] for k in lanes) * cycle_s / LANE_FLOW_VPH
            for move, lanes in self.lanes.items()
        }

        def cost(row: int) -> float:
            longer = [s + (k == row) for k, s in enumerate(rows_s)]
            return sum(flows[m] * (r / self.green_s(m, longer)) ** 4 for m, r in ratio.items())

        for _ in range(cycle_s - sum(rows_s)):
            rows_s[min(self.least_s, key=cost)] += 1
        return tuple(rows_s)

    def changed(self, rng: random.Random, old: Timing, edges: Counter[str]) -> Timing:
        """A small random change: of the offset, or of two greens, towards those with delay.

        ``edges``: delay on each edge (s).
        """
        if len(self.least_s) < 2 or rng.random() < 0.4:
            step_s = rng.choice((-15, -9, -5, -2, 2, 5, 9, 15))
            return Timing((old.offset_s + step_s) % sum(old.rows_s), old.rows_s)
        rows_s, free = list(old.rows_s), sorted(self.least_s)
        late_s = [
            1 + sum(edges[m[0]] for m, at in self.links.items() if self.states[k][at[0]] in "Gg")
            for k in free
        ]
        take = rng.choices(free, late_s)[0]
        give = rng.choice([k for k in free if k != take])
        step_s = min(rng.choice((1, 2, 4, 7)), max(rows_s[give] - self.least_s[give], 0))
        rows_s[give] -= step_s
        rows_s[take] += step_s
        return Timing(old.offset_s, tuple(rows_s))


def least_rows_s(rows: list[Element], walk_m: dict[int, float]) -> dict[int, int]:
    """Least length of the rows that may change: greens, and what clears a crossing.

    ``walk_m``: length of the crossing at each link of people on foot. Yellow and all-red stay.
    """
    states = [row.get("state", "") for row in rows]
    green = [any(x in "Gg" for x in state) and "y" not in state.lower() for state in states]
    ended: list[list[int]] = []
    for k, state in enumerate(states):
        other = [i for i, x in enumerate(state) if x != states[k - 1][i]]
        ended.append(other if all(i in walk_m and state[i] == "r" for i in other) else [])

    def fixed_after_s(k: int) -> float:
        after_s, j = 0.0, (k + 1) % len(rows)
        while not green[j] and not ended[j]:
            after_s, j = after_s + float(rows[j].get("duration", 0)), (j + 1) % len(rows)
        return after_s

    least_s: dict[int, int] = {}
    for k, row in enumerate(rows):
        clear_s = max((walk_m[i] / WALK_MPS for i in ended[k]), default=0.0) - fixed_after_s(k)
        if ended[k]:
            least_s[k] = math.ceil(max(clear_s, 1.0))
        elif green[k] and float(row.get("duration", 0)) >= LEAST_GREEN_S:
            need_s = float(row.get("minDur", LEAST_GREEN_S))
            for link in (i for i in walk_m if states[k][i] in "Gg"):
                cleared = link in ended[(k + 1) % len(rows)]
                left_s = 0.0 if cleared else walk_m[link] / WALK_MPS - fixed_after_s(k)
                need_s = max(need_s, LEAST_WALK_S + max(left_s, 0.0))
            least_s[k] = math.ceil(need_s)
    return least_s


class Signals:
    """All fixed-time lights of a network, and which of them signals a turn."""

    def __init__(self, net: Element, logics: list[Element]) -> None:
        """``logics``: programs in the order in which SUMO loads them; the last one runs."""
        lanes = {e.get("id", ""): e.findall("lane")[-1] for e in net.iter("edge")}
        self._length_m = {edge: float(lane.get("length", 0)) for edge, lane in lanes.items()}
        self._time_s = {e: m / float(lanes[e].get("speed", 1)) for e, m in self._length_m.items()}
        self.by_light: dict[str, Signal] = {}
        self._light_of: dict[Move, str] = {}
        links: dict[str, list[Element]] = defaultdict(list)
        for connection in net.iter("connection"):
            links[connection.get("tl", "")].append(connection)
        for logic in logics:
            self._read(logic, links[logic.get("id", "")])

    def _read(self, logic: Element, connections: list[Element]) -> None:
        light, rows = logic.get("id", ""), logic.findall("phase")
        if not rows or logic.get("type") == "NEMA" or any(row.get("next") for row in rows):
            return
        links: dict[Move, list[int]] = defaultdict(list)
        lanes: dict[Move, set[int]] = defaultdict(set)
        walk_m: dict[int, float] = {}
        for c in connections:
            move, link = (c.get("from", ""), c.get("to", "")), int(c.get("linkIndex", 0))
            if move[0].startswith(":"):
                walk_m[link] = max(walk_m.get(link, 0.0), self._length_m[move[1]])
            else:
                links[move].append(link)
                lanes[move].add(int(c.get("fromLane", 0)))
        least_s = least_rows_s(rows, walk_m)
        if least_s:
            rows_s = tuple(round(float(row.get("duration", 0))) for row in rows)
            shipped = Timing(round(float(logic.get("offset", 0))), rows_s)
            states = [row.get("state", "") for row in rows]
            self.by_light[light] = Signal(states, shipped, least_s, links, lanes)
            self._light_of.update(dict.fromkeys(links, light))

    def shipped(self) -> Plan:
        return {light: signal.shipped for light, signal in self.by_light.items()}

    def flows(self, vehicles: list[Element]) -> tuple[Counter[Move], Counter[Pair]]:
        """Vehicles per hour of each turn; how many go from one signal to the next in how long.

        ``vehicles``: SUMO's vehroute-output.
        """
        moves, pairs = Counter[Move](), Counter[Pair]()
        departs_s = [float(vehicle.get("depart", 0)) for vehicle in vehicles]
        for vehicle in vehicles:
            last, time_s = None, 0.0
            for move in pairwise([r.get("edges", "") for r in vehicle.iter("route")][-1].split()):
                time_s += self._time_s[move[0]] / PLATOON_SPEED
                moves[move] += 1
                if move in self._light_of:
                    pairs[last or move, move, round(time_s)] += 1
                    last, time_s = move, 0.0
        hours = max(max(departs_s) - min(departs_s), 60.0) / 3600
        return Counter({move: round(n / hours) for move, n in moves.items()}), pairs

    def paper(self, cycle_s: int, vehicles: list[Element]) -> Plan:
        """Splits by flow; offsets along a tree of the busiest pairs: platoons find green."""
        flows, pairs = self.flows(vehicles)
        rows_s = {light: signal.filled(cycle_s, flows) for light, signal in self.by_light.items()}
        offset_s, tree = dict.fromkeys(rows_s, 0), {light: {light} for light in rows_s}
        for (a, b, time_s), _ in pairs.most_common():
            one, two = self._light_of[a], self._light_of[b]
            if tree[one] is tree[two]:
                continue
            arrive_s = offset_s[one] + self.by_light[one].start_s(a, rows_s[one]) + time_s
            shift_s = arrive_s - self.by_light[two].start_s(b, rows_s[two]) - offset_s[two]
            for light in tree[two]:
                offset_s[light] += shift_s
            tree[one] |= tree[two]
            tree.update(dict.fromkeys(tree[two], tree[one]))
        return {k: Timing(offset_s[k] % sum(rows), rows) for k, rows in rows_s.items()}
