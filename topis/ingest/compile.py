"""`RawNetwork` to `Network`: names become indices, programs become stages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topis.errors import NetworkError
from topis.ingest import signals
from topis.ingest.signals import Heads, Oddity, SignalSpec
from topis.ingest.sumo_xml import (
    RAIL_NODE_TYPES,
    RawConnection,
    RawEdge,
    RawLane,
    RawNetwork,
    RawNode,
    RawProgram,
)
from topis.model.network import (
    BUS_ONLY,
    LEFT,
    MOTOR,
    NOT_MOTOR,
    PEDESTRIAN,
    RIGHT,
    STRAIGHT,
    TURNAROUND,
    VEHICLE,
    Network,
)

#: More signal heads than any light has; a larger number is a mistake in the file.
MOST_HEADS = 10_000

_TURNS = {"s": STRAIGHT, "l": LEFT, "L": LEFT, "r": RIGHT, "R": RIGHT, "t": TURNAROUND}
#: Prior weight of a turn among the connections of one lane, before any count is seen.
_TURN_WEIGHT = {STRAIGHT: 1.0, LEFT: 0.5, RIGHT: 0.5, TURNAROUND: 0.02}


@dataclass(frozen=True)
class Imported:
    """A compiled network and everything odd found on the way."""

    network: Network
    oddities: tuple[Oddity, ...]


def compile_network(raw: RawNetwork) -> Imported:
    """Compile, then validate.

    Raises
    ------
    NetworkError
        The source contradicts itself: a connection or edge names something missing, a
        program has states of the wrong length.
    """
    compiler = _Compiler(raw)
    network = compiler.build()
    network.validate()
    return Imported(network, tuple(compiler.oddities))


class _Compiler:
    def __init__(self, raw: RawNetwork) -> None:
        self.raw = raw
        self.oddities: list[Oddity] = []
        self.link_index = {edge_id: i for i, edge_id in enumerate(raw.edges)}
        self.edges = list(raw.edges.values())
        for edge in self.edges:
            if not edge.lanes:
                raise NetworkError(f"{raw.source}: edge {edge.id!r} has no lane")
            if edge.to_node not in raw.nodes:
                raise NetworkError(
                    f"{raw.source}: edge {edge.id!r} runs to unknown junction {edge.to_node!r}"
                )
        counts = np.array([len(edge.lanes) for edge in self.edges], dtype=np.int64)
        self.lane_ptr = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
        self.lane_ids = tuple(lane.id for edge in self.edges for lane in edge.lanes)
        if len(set(self.lane_ids)) != len(self.lane_ids):
            seen: set[str] = set()
            twice = next(x for x in self.lane_ids if x in seen or seen.add(x))  # type: ignore[func-returns-value]
            raise NetworkError(
                f"{raw.source}: lane id {twice!r} is used twice; rename or remove one"
            )
        self.conns = self._ordered_connections()
        self.of_light: dict[str, list[int]] = defaultdict(list)
        for number, connection in enumerate(self.conns):
            if connection.light:
                self.of_light[connection.light].append(number)
        self.crossings_of_light: dict[str, list[RawConnection]] = defaultdict(list)
        for connection in raw.crossing_connections:
            self.crossings_of_light[connection.light].append(connection)
        if raw.time_switched:
            self._note("programs switched by time (WAUT)", f"{raw.time_switched} schedules")

    def _note(self, kind: str, where: str, detail: str = "") -> None:
        self.oddities.append(Oddity(kind, where, detail))

    # ---- connections in request order ----

    def _lane_number(self, edge_id: str, lane: int) -> int:
        try:
            link = self.link_index[edge_id]
        except KeyError:
            raise NetworkError(
                f"{self.raw.source}: a connection names unknown edge {edge_id!r}"
            ) from None
        if not 0 <= lane < self.lane_ptr[link + 1] - self.lane_ptr[link]:
            raise NetworkError(
                f"{self.raw.source}: a connection names lane {lane} of edge {edge_id!r}, "
                f"which has {self.lane_ptr[link + 1] - self.lane_ptr[link]}"
            )
        return int(self.lane_ptr[link]) + lane

    def _ordered_connections(self) -> list[RawConnection]:
        """All lane-to-lane connections sorted by from-lane, file order kept within a lane."""
        keys = [self._lane_number(c.from_edge, c.from_lane) for c in self.raw.connections]
        order = np.argsort(np.array(keys, dtype=np.int64), kind="stable")
        self.from_lane = np.array(keys, dtype=np.int32)[order]
        ordered = [self.raw.connections[i] for i in order]
        self.to_lane = np.array(
            [self._lane_number(c.to_edge, c.to_lane) for c in ordered], dtype=np.int32
        )
        self.conn_ptr = np.searchsorted(self.from_lane, np.arange(len(self.lane_ids) + 1)).astype(
            np.int32
        )
        return ordered

    @cached_property
    def lane_number(self) -> dict[str, int]:
        return {lane_id: i for i, lane_id in enumerate(self.lane_ids)}

    def _requests_of(self, node: RawNode) -> list[int]:
        """Connections of a node in the order of its request rows."""
        numbers: list[int] = []
        for lane_id in node.incoming_lanes:
            lane = self.lane_number.get(lane_id)
            if lane is not None:
                numbers += range(self.conn_ptr[lane], self.conn_ptr[lane + 1])
        return numbers

    # ---- building ----

    def build(self) -> Network:
        self.conn_group = np.full(len(self.conns), -1, dtype=np.int32)
        light_of_conn, specs = self._signals()
        return Network(
            junction_ids=tuple(light for light, _ in specs),
            link_ids=tuple(self.raw.edges),
            lane_ids=self.lane_ids,
            program_ids=tuple(plan.program for _, spec in specs for plan in spec.plans),
            **self._roads(light_of_conn, len(specs)),
            **self._movements(light_of_conn),
            **self._yields(),
            **_signal_arrays([spec for _, spec in specs]),
        )

    def _signals(self) -> tuple[NDArray[np.int32], list[tuple[str, SignalSpec]]]:
        programs: dict[str, list[RawProgram]] = defaultdict(list)
        for program in self.raw.programs:
            programs[program.light].append(program)
        light_of_conn = np.full(len(self.conns), -1, dtype=np.int32)
        specs: list[tuple[str, SignalSpec]] = []
        rail = first_group = 0
        for light in sorted(set(self.of_light) | set(self.crossings_of_light)):
            if self._is_rail(light):
                rail += 1
                continue
            if light not in programs:
                self._note("signal without a program (left alone)", light)
                continue
            spec = self._spec(light, programs[light])
            if not spec.stages:
                self._note("program never shows green (left alone)", light)
                continue
            for number in self.of_light[light]:
                light_of_conn[number] = len(specs)
                self.conn_group[number] = first_group + spec.head_group[self.conns[number].head]
            specs.append((light, spec))
            first_group += len(spec.kind)
            self.oddities += spec.oddities
        if rail:
            self._note("rail signals left alone", f"{rail} lights")
        for light in sorted(set(programs) - set(self.of_light) - set(self.crossings_of_light)):
            self._note("program without a signal", light)
        return light_of_conn, specs

    def _is_rail(self, light: str) -> bool:
        nodes = {self._node_of(c).type for c in self._connections_of(light)}
        return bool(nodes) and nodes <= RAIL_NODE_TYPES

    def _connections_of(self, light: str) -> list[RawConnection]:
        vehicles = [self.conns[number] for number in self.of_light.get(light, [])]
        return vehicles + self.crossings_of_light.get(light, [])

    def _node_of(self, connection: RawConnection) -> RawNode:
        if connection.from_edge in self.raw.edges:
            return self.raw.nodes[self.raw.edges[connection.from_edge].to_node]
        # ":node_w0" or ":node_c0"; node ids may hold underscores themselves.
        node = self.raw.nodes.get(connection.from_edge[1:].rsplit("_", 1)[0])
        if node is None:
            raise NetworkError(
                f"{self.raw.source}: a connection over a crossing names {connection.from_edge!r}, "
                "which belongs to no junction"
            )
        return node

    def _spec(self, light: str, programs: Sequence[RawProgram]) -> SignalSpec:
        numbers = self.of_light.get(light, [])
        crossings = self.crossings_of_light.get(light, [])
        signalled = [self.conns[n] for n in numbers] + crossings
        for connection in signalled:
            if not 0 <= connection.head < MOST_HEADS:
                raise NetworkError(
                    f"{self.raw.source}: connection from {connection.from_edge!r} to "
                    f"{connection.to_edge!r}: linkIndex is {connection.head} at tl {light!r}; "
                    "give each signal its position in the states"
                )
        highest = max(max(c.head, c.second_head) for c in signalled)
        lengths = {len(phase.state) for program in programs for phase in program.phases}
        count = max(highest + 1, lengths.pop() if len(lengths) == 1 else 0)
        kind = np.full(count, VEHICLE, dtype=np.uint8)
        length_m = np.zeros(count, dtype=np.float32)
        used = np.zeros(count, dtype=bool)
        heads_at: dict[str, list[tuple[int, int]]] = defaultdict(list)
        requests: dict[str, dict[int, int]] = {}
        for number in numbers:
            node = self._node_of(self.conns[number])
            if node.id not in requests:
                requests[node.id] = {n: row for row, n in enumerate(self._requests_of(node))}
            head = self.conns[number].head
            used[head] = True
            if number not in requests[node.id]:
                raise NetworkError(
                    f"{self.raw.source}: junction {node.id!r}: incLanes lacks lane "
                    f"{self.lane_ids[self.from_lane[number]]!r}, from which a connection starts"
                )
            heads_at[node.id].append((head, requests[node.id][number]))
        for connection in crossings:
            node = self._node_of(connection)
            crossing = connection.to_edge
            if crossing not in self.raw.crossing_length_m:
                crossing = connection.from_edge
            walks = [lane for lane in node.internal_lanes if "_c" in lane.rsplit(":", 1)[-1]]
            if crossing + "_0" not in walks:
                raise NetworkError(
                    f"{self.raw.source}: junction {node.id!r}: intLanes lacks crossing {crossing!r}"
                )
            row = len(self._requests_of(node)) + walks.index(crossing + "_0")
            for head in (connection.head, connection.second_head):
                if head >= 0:
                    kind[head], used[head] = PEDESTRIAN, True
                    length_m[head] = self.raw.crossing_length_m[crossing]
                    heads_at[node.id].append((head, row))
        foe = np.zeros((count, count), dtype=bool)
        known = np.zeros((count, count), dtype=bool)
        for node_id, heads in heads_at.items():
            foes = self.raw.nodes[node_id].foes
            at = np.array([h for h, _ in heads])
            rows = np.array([r for _, r in heads])
            # Bit strings are written with request 0 last.
            table = np.array(
                [
                    np.frombuffer(foes.get(r, "").encode().ljust(len(foes), b"0"), np.uint8)[::-1]
                    for _, r in heads
                ]
            )
            pairs = np.ix_(at, at)
            known[pairs] = True
            foe[pairs] |= table[:, rows] == ord("1")
        foe |= foe.T
        if len(heads_at) > 1:
            self._note("one program over several nodes", light, f"{len(heads_at)} nodes")
        unknown = ~known & used[:, None] & used[None, :]
        return signals.analyse(light, programs, Heads(kind, length_m, used, foe, unknown))

    def _roads(self, light_of_conn: NDArray[np.int32], junctions: int) -> dict[str, Any]:
        lanes = [lane for edge in self.edges for lane in edge.lanes]
        lane_link = np.repeat(np.arange(len(self.edges), dtype=np.int32), np.diff(self.lane_ptr))
        link_junction = np.full(len(self.edges), -1, dtype=np.int32)
        signalised = light_of_conn >= 0
        link_junction[lane_link[self.from_lane[signalised]]] = light_of_conn[signalised]
        ends = np.array(
            [(self.raw.nodes[e.to_node].x_m, self.raw.nodes[e.to_node].y_m) for e in self.edges]
        )
        xy = np.zeros((junctions, 2))
        has = link_junction >= 0
        counts = np.maximum(np.bincount(link_junction[has], minlength=junctions), 1)
        for axis in range(2):
            sums = np.bincount(link_junction[has], ends[has, axis], minlength=junctions)
            xy[:, axis] = sums / counts
        shapes = [_polyline(edge) for edge in self.edges]
        return {
            "junction_xy_m": xy,
            "link_length_m": np.array([e.lanes[0].length_m for e in self.edges], dtype=np.float32),
            "link_speed_mps": np.array(
                [max(lane.speed_mps for lane in e.lanes) for e in self.edges], dtype=np.float32
            ),
            "link_lane_ptr": self.lane_ptr,
            "link_junction": link_junction,
            "link_shape_ptr": np.concatenate(([0], np.cumsum([len(s) for s in shapes]))).astype(
                np.int32
            ),
            "link_shape_m": np.vstack(shapes).astype(np.float32),
            "lane_link": lane_link,
            "lane_length_m": np.array([lane.length_m for lane in lanes], dtype=np.float32),
            "lane_use": np.array([_use(lane) for lane in lanes], dtype=np.uint8),
        }

    def _movements(self, light_of_conn: NDArray[np.int32]) -> dict[str, Any]:
        lane_link = np.repeat(np.arange(len(self.edges), dtype=np.int64), np.diff(self.lane_ptr))
        from_link, to_link = lane_link[self.from_lane], lane_link[self.to_lane]
        keys, first, conn_move = np.unique(
            from_link * len(self.edges) + to_link, return_index=True, return_inverse=True
        )
        turn = np.array([_TURNS.get(c.turn, STRAIGHT) for c in self.conns], dtype=np.uint8)
        # A movement is signalised when any of its connections is.
        junction = np.full(len(keys), -1, dtype=np.int32)
        np.maximum.at(junction, conn_move, light_of_conn)
        weight = np.array([_TURN_WEIGHT[int(t)] for t in turn])
        per_lane = np.bincount(self.from_lane, weight, minlength=len(self.lane_ids))
        links = np.arange(len(self.edges) + 1)
        return {
            "move_from_link": (keys // len(self.edges)).astype(np.int32),
            "move_to_link": (keys % len(self.edges)).astype(np.int32),
            "move_junction": junction,
            "move_turn": turn[first],
            "link_move_ptr": np.searchsorted(keys // len(self.edges), links).astype(np.int32),
            "lane_conn_ptr": self.conn_ptr,
            "conn_from_lane": self.from_lane,
            "conn_to_lane": self.to_lane,
            "conn_move": conn_move.ravel().astype(np.int32),
            "conn_group": self.conn_group,
            "conn_share": (weight / per_lane[self.from_lane]).astype(np.float32),
        }

    def _yields(self) -> dict[str, Any]:
        """Connections each connection gives way to, from the response rows of its node."""
        to: list[list[int]] = [[] for _ in self.conns]
        for node in self.raw.nodes.values():
            if not node.response:
                continue
            numbers = self._requests_of(node)
            for row, number in enumerate(numbers):
                bits = node.response.get(row, "")
                if "1" in bits:
                    to[number] = [
                        numbers[k]
                        for k, bit in enumerate(reversed(bits))
                        if bit == "1" and k < len(numbers)
                    ]
        ptr = np.concatenate(([0], np.cumsum([len(t) for t in to]))).astype(np.int32)
        return {
            "conn_yield_ptr": ptr,
            "conn_yield_idx": np.array([n for t in to for n in t], dtype=np.int32),
        }


def _use(lane: RawLane) -> int:
    if lane.allow:
        allowed = set(lane.allow.split())
        if allowed & {"passenger", "all", "private"}:
            return MOTOR
        return BUS_ONLY if allowed & {"bus", "taxi", "coach", "hov"} else NOT_MOTOR
    refused = set(lane.disallow.split())
    if "all" in refused:
        return NOT_MOTOR
    if "passenger" in refused:
        return NOT_MOTOR if "bus" in refused else BUS_ONLY
    return MOTOR


def _polyline(edge: RawEdge) -> NDArray[np.float64]:
    text = edge.shape or edge.lanes[0].shape
    points = [point.split(",")[:2] for point in text.split()]
    return np.array(points, dtype=float).reshape(-1, 2)


def _signal_arrays(specs: list[SignalSpec]) -> dict[str, Any]:
    """Concatenate the junctions' local tables into the network's global ones."""
    groups = np.array([len(s.kind) for s in specs], dtype=np.int64)
    first_group = np.concatenate(([0], np.cumsum(groups))).astype(np.int64)
    stage_counts = [len(s.stages) for s in specs]
    first_stage = np.concatenate(([0], np.cumsum(stage_counts))).astype(np.int64)
    conflict_counts, conflict_idx, intergreen = [0], [], []
    for spec, first in zip(specs, first_group, strict=False):
        for row in spec.intergreen_ms:
            others = np.flatnonzero(row >= 0)
            conflict_counts.append(len(others))
            conflict_idx.append(others + first)
            intergreen.append(row[others])
    plans = [(spec, plan, k) for k, spec in enumerate(specs) for plan in spec.plans]
    plan_counts = [len(s.plans) for s in specs]

    def joined(parts: list[NDArray], kind: type) -> NDArray:  # type: ignore[type-arg]
        return np.concatenate([np.zeros(0, dtype=kind), *parts]).astype(kind)

    def pointer(counts: Sequence[int]) -> NDArray[np.int32]:
        return np.concatenate(([0], np.cumsum(counts))).astype(np.int32)

    last_program = np.cumsum(plan_counts) - 1 if specs else np.zeros(0)
    return {
        "junction_head_ptr": pointer([len(s.head_group) for s in specs]),
        "head_group": joined(
            [s.head_group + f for s, f in zip(specs, first_group, strict=False)], np.int32
        ),
        "junction_group_ptr": first_group.astype(np.int32),
        "group_kind": joined([s.kind for s in specs], np.uint8),
        "group_min_green_ms": joined([s.min_green_ms for s in specs], np.int32),
        "group_yellow_ms": joined([s.yellow_ms for s in specs], np.int32),
        "group_max_red_ms": joined([s.max_red_ms for s in specs], np.int32),
        "group_length_m": joined([s.length_m for s in specs], np.float32),
        "conflict_ptr": pointer(conflict_counts[1:]),
        "conflict_idx": joined(conflict_idx, np.int32),
        "conflict_intergreen_ms": joined(intergreen, np.int32),
        "junction_stage_ptr": first_stage.astype(np.int32),
        "stage_min_green_ms": joined([np.array(s.stage_min_ms) for s in specs], np.int32),
        "stage_max_green_ms": joined([np.array(s.stage_max_ms) for s in specs], np.int32),
        "stage_code_ptr": pointer([len(c) for s in specs for c in s.stages]),
        "stage_code": joined([c for s in specs for c in s.stages], np.uint8),
        "junction_program_ptr": pointer(plan_counts),
        "junction_program": last_program.astype(np.int32),
        "program_cycle_ms": np.array([p.cycle_ms for _, p, _ in plans], dtype=np.int32),
        "program_offset_ms": np.array([p.offset_ms for _, p, _ in plans], dtype=np.int32),
        "program_stage_ptr": pointer([len(p.stage) for _, p, _ in plans]),
        "program_stage": joined(
            [np.array(p.stage, dtype=np.int64) + first_stage[k] for _, p, k in plans], np.int32
        ),
        "program_split_ms": joined([np.array(p.split_ms) for _, p, _ in plans], np.int32),
        "program_start_ms": joined([np.array(p.start_ms) for _, p, _ in plans], np.int32),
    }
