"""Where one can drive: edges as nodes, movements as arcs; and the queues signals make of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.ingest.city.likeness import COLLECTOR, SECONDARY, SPEED_KMH
from topis.ingest.city.roads import LEFT, RIGHT, STRAIGHT, Roads
from topis.ingest.city.stages import Move, Signal
from topis.units import BASE_SAT_FLOW_VPS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Saturation flow of a lane by what it serves, of the base of a straight lane (HCM 6th ed.,
#: ch. 19: protected left 0.95, right 0.85). Less than that for left turns, whose bays overflow, and
#: half where they give way; right turns share their lane, and get this share of it (assumed).
LEFT_FACTOR, RIGHT_FACTOR, GIVE_WAY_FACTOR, RIGHT_LANE = 0.75, 0.85, 0.5, 0.6
#: Of the base saturation flow, what is left where buses, lorries and turns into alleys hinder.
CITY_FACTOR = 0.9
#: Unsignalised capacity of a lane (veh/s): arterial, collector whose vehicles wait to turn into
#: alleys, and alley that gives way (assumed).
FREE_VPS, COLLECTOR_VPS, ALLEY_VPS = 0.45, 0.28, 0.08
MOST_STAGES = 4
#: Through traffic stays off collectors: their time counts for more when a way is chosen (assumed).
COLLECTOR_FELT = 1.8
#: What a street of each rank usually carries (veh/h and direction), and a turn of it (assumed):
#: what its first green is measured by, before there is an assignment.
USUAL_VPH, USUAL_TURN = (0.0, 120.0, 500.0, 1000.0, 1400.0), 0.12
#: Right turns out of a lane that others go straight on from, beside more such lanes.
SHARED_RIGHT = "shared right"


@dataclass(frozen=True)
class Graph:
    """``time_s`` float64[edges] free; ``begin``, ``end`` int64[arcs] edges; ``queue`` int64[arcs].

    A queue is what stands in the same lanes at a stop line: ``queue_signal`` int64[queues] number
    of the signal, -1 if none; ``queue_stage`` bool[queues, 4]; ``queue_vps`` saturation flow.
    ``felt_s`` float64[edges]: what choosers of ways count; ``usual_vph`` float64[arcs].
    ``reverse`` int64[arcs]: the way back, -1 if there is none.
    """

    time_s: Floats
    begin: Ints
    end: Ints
    queue: Ints
    reverse: Ints
    queue_signal: Ints
    queue_stage: NDArray[np.bool_]
    queue_vps: Floats
    queue_edge: Ints
    felt_s: Floats
    usual_vph: Floats


def make_graph(roads: Roads, signals: list[Signal]) -> Graph:
    """The graph of a network's roads."""
    edges = roads.edges
    time_s = np.array(
        [roads.length_m(e) / (SPEED_KMH[edge.rank] / 3.6) for e, edge in enumerate(edges)]
    )
    felt = np.array([COLLECTOR_FELT if edge.rank <= COLLECTOR else 1.0 for edge in edges])
    usual_vph = np.array(
        [USUAL_VPH[edge.rank] if edge.rank else 0.0 for edge in edges], dtype=np.float64
    )
    lanes: dict[Move, set[int]] = {}
    for a, b, lane, _ in roads.links:
        if not (edges[a].bus and lane == edges[a].bus_lane):
            lanes.setdefault((a, b), set()).add(lane)
    moves = list(lanes)
    signal_of = {signal.node: number for number, signal in enumerate(signals)}
    number = {move: k for k, move in enumerate(moves)}
    queues: dict[tuple[int, str], int] = {}
    queue = np.zeros(len(moves), dtype=np.int64)
    members: list[list[Move]] = []
    for k, move in enumerate(moves):
        key = (move[0], _queue_name(roads, move, lanes))
        if key not in queues:
            queues[key] = len(members)
            members.append([])
        queue[k] = queues[key]
        members[queues[key]].append(move)
    queue_signal = np.full(len(members), -1, dtype=np.int64)
    stage = np.zeros((len(members), MOST_STAGES), dtype=bool)
    vps = np.zeros(len(members))
    for (edge, name), q in queues.items():
        count: float = len(set().union(*(lanes[m] for m in members[q])))
        at = signal_of.get(edges[edge].end)
        turns = {roads.turn[m] for m in members[q]}
        if at is None:
            lane_vps = (ALLEY_VPS, COLLECTOR_VPS, FREE_VPS)[min(edges[edge].rank, SECONDARY)]
            vps[q] = count * (lane_vps if len(roads.arms[edges[edge].end]) > 2 else FREE_VPS)
            continue
        if name == SHARED_RIGHT:
            count = RIGHT_LANE
        elif (edge, SHARED_RIGHT) in queues and STRAIGHT in turns:
            count -= RIGHT_LANE
        queue_signal[q] = at
        factor = LEFT_FACTOR if turns == {LEFT} else 1.0
        factor = RIGHT_FACTOR if turns == {RIGHT} else factor
        for s, of_stage in enumerate(signals[at].stages):
            stage[q, s] = any(m in of_stage.go or m in of_stage.give_way for m in members[q])
            if all(m in of_stage.give_way for m in members[q]):
                factor = GIVE_WAY_FACTOR
        vps[q] = count * factor * CITY_FACTOR * BASE_SAT_FLOW_VPS
    reverse = np.array(
        [number.get((edges[b].reverse, edges[a].reverse), -1) for a, b in moves], dtype=np.int64
    )
    ends = np.array(moves, dtype=np.int64)
    on = np.array([roads.turn[move] == STRAIGHT for move in moves])
    first = np.array([m[0][0] for m in members], dtype=np.int64)
    return Graph(
        time_s, ends[:, 0], ends[:, 1], queue, reverse, queue_signal, stage, vps, first,
        time_s * felt, np.where(on, usual_vph[ends[:, 0]], USUAL_TURN * usual_vph[ends[:, 0]]),
    )  # fmt: skip


def _queue_name(roads: Roads, move: Move, lanes: dict[Move, set[int]]) -> str:
    """Who shares no lane with the other turns stands apart: bays, and right turns at stems."""
    turn = roads.turn[move]
    others: set[int] = set()
    for arm in roads.arms[roads.edges[move[0]].end]:
        other = (move[0], arm.outward)
        if other != move and other in lanes:
            others |= lanes[other]
    if not lanes[move] & others:
        return turn
    signal = roads.edges[move[0]].end < roads.layout.signal.size
    alone = turn == RIGHT and signal and len(others) > 1
    return SHARED_RIGHT if alone else "shared"
