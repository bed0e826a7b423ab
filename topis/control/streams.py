"""Junctions as streams and stages: the network compiled for `topis._core.rollout`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topis.control.service import (
    PERMISSIVE_RATE,
    UNOPPOSED_RATE,
    intergreen_ms,
    least_green_s,
    pedestrian_stages,
)
from topis.model.corridor import link_ahead, road_ahead
from topis.model.lamp import PRIORITY
from topis.model.network import NOT_MOTOR, PEDESTRIAN, STRAIGHT, Network
from topis.model.state import TrafficState, zero_if_unknown
from topis.units import BASE_SAT_FLOW_VPS, JAM_SPACING_M, MS_PER_S

#: Streams and stages of a junction are padded to a multiple of this, for vector units.
PAD = 4
#: Walkers step off at once when their light turns green.
WALKER_CAP_PER_S = 10.0
#: What a base policy takes off the rate of a turn that gives way to others.
OPPOSED_LOSS = 0.3
#: Ways that fewer take hold up nobody.
LEAST_SHARE = 0.01
#: Room on a road that ends at no signal.
ENDLESS_VEH = 1e4


@dataclass(frozen=True)
class Streams:
    """All streams, junction by junction, padded; arrays as `RolloutSearch` wants them.

    ``lane`` int32[streams]: network lane, -1 for crossings and padding; ``walk``
    int32[streams]: pedestrian group, -1 otherwise; ``cap`` float32[streams]: saturation
    flow (per s). ``cells`` and ``cells_of``: sizes of the blocks of `Rates`.
    """

    stream_ptr: NDArray[np.int32]
    lane: NDArray[np.int32]
    walk: NDArray[np.int32]
    junction: NDArray[np.int32]
    cap: NDArray[np.float32]
    rate_ptr: NDArray[np.int32]
    rate_of_ptr: NDArray[np.int32]
    wide: NDArray[np.int32]
    hold_s: NDArray[np.int32]
    lost_s: NDArray[np.int32]
    min_green_s: NDArray[np.int32]
    inner_ptr: NDArray[np.int32]
    inner_from: NDArray[np.int32]
    inner_to: NDArray[np.int32]
    inner_share: NDArray[np.float32]
    inner_room: NDArray[np.float32]
    yield_ptr: NDArray[np.int32]
    yield_stream: NDArray[np.int32]
    yield_share: NDArray[np.float32]
    foe_ptr: NDArray[np.int32]
    foe_stream: NDArray[np.int32]
    cells: int
    cells_of: int

    def __len__(self) -> int:
        return len(self.lane)

    def cell_of(self, local: NDArray[np.int32]) -> NDArray[np.int64]:
        """Where the rate of each stream is in the blocks of `Rates`, int64[streams].

        ``local`` int32[junctions]: local number of the stage asked for.
        """
        width = np.diff(self.stream_ptr)[self.junction]
        within = np.arange(len(self)) - self.stream_ptr[self.junction]
        return np.asarray(
            self.rate_ptr[self.junction] + local[self.junction] * width + within, dtype=np.int64
        )


def compile_streams(network: Network, startup_s: float) -> Streams:
    """Streams of every junction; ``startup_s``: green lost as a queue starts."""
    signalised = np.flatnonzero(
        (network.conn_group >= 0) & (network.lane_use[network.conn_from_lane] != NOT_MOTOR)
    )
    owner = network.group_junction[network.conn_group[signalised]]
    pair = np.unique(owner.astype(np.int64) * network.lanes + network.conn_from_lane[signalised])
    lane_owner, lane = pair // max(network.lanes, 1), pair % max(network.lanes, 1)
    walk = np.flatnonzero(network.group_kind == PEDESTRIAN)
    walk_owner = network.group_junction[walk]
    count = np.bincount(lane_owner, minlength=network.junctions) + np.bincount(
        walk_owner, minlength=network.junctions
    )
    padded = -(-np.maximum(count, 1) // PAD) * PAD
    ptr = np.concatenate(([0], np.cumsum(padded))).astype(np.int32)
    total = int(ptr[-1])
    stream_lane = np.full(total, -1, dtype=np.int32)
    stream_walk = np.full(total, -1, dtype=np.int32)
    kinds = np.concatenate((lane_owner, walk_owner))
    order = np.argsort(kinds, kind="stable")
    within = np.arange(len(kinds)) - np.searchsorted(kinds[order], kinds[order])
    place = ptr[kinds[order]] + within
    stream_lane[place] = np.concatenate((lane, np.full(len(walk), -1)))[order]
    stream_walk[place] = np.concatenate((np.full(len(lane), -1), walk))[order]
    stages = np.diff(network.junction_stage_ptr)
    wide = -(-np.maximum(stages, 1) // PAD) * PAD
    whole_s = intergreen_ms(network) / MS_PER_S
    lost_s = intergreen_ms(network, vehicles_only=True) / MS_PER_S
    hold = np.rint(whole_s - lost_s).astype(np.int32)
    cap = np.where(stream_lane >= 0, BASE_SAT_FLOW_VPS, 0.0)
    cap[stream_walk >= 0] = WALKER_CAP_PER_S
    return Streams(
        stream_ptr=ptr,
        lane=stream_lane,
        walk=stream_walk,
        junction=np.repeat(np.arange(network.junctions, dtype=np.int32), padded),
        cap=cap.astype(np.float32),
        rate_ptr=np.concatenate(([0], np.cumsum(padded * stages)[:-1])).astype(np.int32),
        rate_of_ptr=np.concatenate(([0], np.cumsum(padded * wide)[:-1])).astype(np.int32),
        wide=wide.astype(np.int32),
        hold_s=np.ascontiguousarray(hold),
        lost_s=np.ascontiguousarray(np.rint(lost_s + startup_s).astype(np.int32)),
        min_green_s=np.ceil(least_green_s(network)).astype(np.int32),
        **_inner_feeds(network, ptr, stream_lane),
        **_yields(network, ptr, stream_lane),
        cells=int((padded * stages).sum()),
        cells_of=int((padded * wide).sum()),
    )


def _inner_feeds(
    network: Network, stream_ptr: NDArray[np.int32], stream_lane: NDArray[np.int32]
) -> dict[str, NDArray[Any]]:
    """Streams of joined junctions that discharge into others of the same junction."""
    ahead = link_ahead(network)
    of_lane = np.full(network.lanes, -1, dtype=np.int64)
    of_lane[stream_lane[stream_lane >= 0]] = np.flatnonzero(stream_lane >= 0)
    rows = []
    for conn in np.flatnonzero(network.conn_group >= 0).tolist():
        junction = int(network.group_junction[network.conn_group[conn]])
        source, lane = int(of_lane[network.conn_from_lane[conn]]), int(network.conn_to_lane[conn])
        if source < 0:
            continue
        road = road_ahead(network, ahead, int(network.lane_link[lane]))
        targets = [lane] if network.is_approach_lane[lane] else road.lanes
        if not road.is_short:
            continue
        room_veh = road.storage_veh / max(len(road.lanes), 1)
        for target in targets:
            if network.link_junction[network.lane_link[target]] != junction:
                continue
            share = float(network.conn_share[conn]) / len(targets)
            first = int(stream_ptr[junction])
            rows.append(
                (junction, source - first, int(of_lane[target]) - first, share, max(room_veh, 1.0))
            )
    rows.sort()
    junction_of = np.array([r[0] for r in rows], dtype=np.int32)
    return {
        "inner_ptr": np.searchsorted(junction_of, np.arange(network.junctions + 1)).astype(
            np.int32
        ),
        # One entry more than needed: a kernel may take the address of the end.
        "inner_from": np.array([r[1] for r in rows] + [0], dtype=np.int32),
        "inner_to": np.array([r[2] for r in rows] + [0], dtype=np.int32),
        "inner_share": np.array([r[3] for r in rows] + [0], dtype=np.float32),
        "inner_room": np.array([r[4] for r in rows] + [0], dtype=np.float32),
    }


def _yields(
    network: Network, stream_ptr: NDArray[np.int32], stream_lane: NDArray[np.int32]
) -> dict[str, NDArray[Any]]:
    """Per stage the streams that give way in it, and to which streams."""
    of_lane = np.full(network.lanes, -1, dtype=np.int64)
    of_lane[stream_lane[stream_lane >= 0]] = np.flatnonzero(stream_lane >= 0)
    ptr, conn, code = network.conn_stage_code
    rows: list[tuple[int, int, float, list[int]]] = []
    for stage in range(network.stages):
        mine = slice(ptr[stage], ptr[stage + 1])
        first = int(stream_ptr[network.stage_junction[stage]])
        green = dict(zip(conn[mine].tolist(), code[mine].tolist(), strict=True))
        found: dict[int, tuple[float, set[int]]] = {}
        for own, lamp in green.items():
            stream = int(of_lane[network.conn_from_lane[own]])
            if lamp == PRIORITY or stream < 0:
                continue
            foes = network.conn_yield_idx[slice(*network.conn_yield_ptr[own : own + 2])]
            against = {
                int(of_lane[network.conn_from_lane[f]]) - first
                for f in foes.tolist()
                if green.get(f) == PRIORITY and of_lane[network.conn_from_lane[f]] >= 0
            }
            if against:
                share, known = found.get(stream, (0.0, set()))
                found[stream] = share + float(network.conn_share[own]), known | against
        rows += [(stage, s - first, share, sorted(f)) for s, (share, f) in sorted(found.items())]
    stage_of = np.array([r[0] for r in rows], dtype=np.int32)
    foes_of = [r[3] for r in rows]
    return {
        "yield_ptr": np.searchsorted(stage_of, np.arange(network.stages + 1)).astype(np.int32),
        "yield_stream": np.array([r[1] for r in rows], dtype=np.int32),
        "yield_share": np.array([r[2] for r in rows], dtype=np.float32),
        "foe_ptr": np.concatenate(([0], np.cumsum([len(f) for f in foes_of]))).astype(np.int32),
        "foe_stream": np.array([f for foes in foes_of for f in foes], dtype=np.int32),
    }


def pocket_lanes(network: Network) -> NDArray[np.bool_]:
    """Approach lanes that begin where a lane without a signal parts in two or more, bool[lanes].

    A queue that fills one of them blocks the lane before it, and so who wants to the others.
    """
    free = (network.conn_group < 0) & (network.lane_use[network.conn_to_lane] != NOT_MOTOR)
    within = network.move_turn[network.conn_move] == STRAIGHT
    conns = np.flatnonzero(free & within)
    ways = np.bincount(network.conn_from_lane[conns], minlength=network.lanes)
    parted = np.zeros(network.lanes, dtype=bool)
    parted[network.conn_to_lane[conns[ways[network.conn_from_lane[conns]] > 1]]] = True
    return parted & network.is_approach_lane


@dataclass(frozen=True)
class Rates:
    """What each stage does for each stream, in the blocks of `RolloutSearch`."""

    rate: NDArray[np.float32]
    rate_of: NDArray[np.float32]
    pass_share: NDArray[np.float32]


def stream_rates(network: Network, streams: Streams) -> Rates:
    """Rates by the lamps alone; who gives way to whom the search works out itself."""
    ptr, conn, code = network.conn_stage_code
    stage = np.repeat(np.arange(network.stages), np.diff(ptr))
    conn_rate = np.where(code == PRIORITY, 1.0, _permissive_rate(network, stage, conn, code))
    of_lane = np.full(network.lanes, -1, dtype=np.int64)
    of_lane[streams.lane[streams.lane >= 0]] = np.flatnonzero(streams.lane >= 0)
    stream = of_lane[network.conn_from_lane[conn]]
    keep = stream >= 0
    share = network.conn_share[conn].astype(np.float64)
    cell = _cell(network, streams, stage[keep], stream[keep])
    served = np.bincount(cell, share[keep], minlength=streams.cells)
    weighted = np.bincount(cell, (share * conn_rate)[keep], minlength=streams.cells)
    rate = weighted / np.maximum(served, 1e-9)
    passing = np.minimum(served, 1.0)
    passing[passing > 0.999] = 1.0
    walk_stage, group = pedestrian_stages(network)
    of_group = np.full(network.groups, -1, dtype=np.int64)
    of_group[streams.walk[streams.walk >= 0]] = np.flatnonzero(streams.walk >= 0)
    cell = _cell(network, streams, walk_stage, of_group[group])
    rate[cell] = passing[cell] = 1.0
    rate_of = np.zeros(streams.cells_of)
    for_stage = np.repeat(
        np.arange(network.stages), np.diff(streams.stream_ptr)[network.stage_junction]
    )
    junction = network.stage_junction[for_stage]
    width = np.diff(streams.stream_ptr)[junction]
    local = for_stage - network.junction_stage_ptr[junction]
    within = np.arange(streams.cells) - streams.rate_ptr[junction] - local * width
    # A base policy sees a shared lane at the square of what passes, and a turn that gives way
    # at about half its rate, as max-pressure does.
    weak = np.ones(streams.cells)
    of_stage, turning = yielding(network, streams)
    weak[_cell(network, streams, of_stage, turning)] -= OPPOSED_LOSS * streams.yield_share
    rate_of[streams.rate_of_ptr[junction] + within * streams.wide[junction] + local] = (
        rate * weak * passing**2
    )
    return Rates(rate.astype(np.float32), rate_of.astype(np.float32), passing.astype(np.float32))


def yielding(network: Network, streams: Streams) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(stage, stream) that gives way in it, as in ``Streams.yield_stream``."""
    of_stage = np.repeat(np.arange(network.stages), np.diff(streams.yield_ptr))
    first = streams.stream_ptr[network.stage_junction[of_stage]]
    return of_stage, (first + streams.yield_stream).astype(np.int64)


def _permissive_rate(
    network: Network,
    stage: NDArray[np.integer],
    conn: NDArray[np.int32],
    code: NDArray[np.uint8],
) -> NDArray[np.float64]:
    """Rate of each served connection if it gives way, while nobody comes that it gives way to."""
    green = set(zip(stage[code == PRIORITY].tolist(), conn[code == PRIORITY].tolist(), strict=True))
    rate = np.full(len(conn), PERMISSIVE_RATE)
    for k in np.flatnonzero(code != PRIORITY).tolist():
        foes = network.conn_yield_idx[slice(*network.conn_yield_ptr[conn[k] : conn[k] + 2])]
        if any((int(stage[k]), f) in green for f in foes.tolist()):
            rate[k] = UNOPPOSED_RATE
    return rate


def _cell(
    network: Network, streams: Streams, stage: NDArray[np.integer], stream: NDArray[np.integer]
) -> NDArray[np.int64]:
    """Position of (stage, stream) in the rate block."""
    junction = network.stage_junction[stage]
    local = stage - network.junction_stage_ptr[junction]
    width = np.diff(streams.stream_ptr)[junction]
    return np.asarray(
        streams.rate_ptr[junction] + local * width + stream - streams.stream_ptr[junction],
        dtype=np.int64,
    )


class RoadsBehind:
    """Room behind the stop lines: what the road to the next signal still takes.

    A lane that is an approach of its own is looked at alone, a longer road as a whole.
    """

    def __init__(self, network: Network) -> None:
        self._lanes = network.lanes
        ahead = link_ahead(network)
        # Connections of a lane onto the same road are one way on.
        ways: dict[tuple[int, tuple[int, ...]], float] = {}
        storage_of: dict[tuple[int, ...], float] = {}
        for conn in np.flatnonzero(network.conn_group >= 0).tolist():
            lane = int(network.conn_to_lane[conn])
            lanes: tuple[int, ...]
            if network.is_approach_lane[lane]:
                lanes, room = (lane,), float(network.lane_length_m[lane]) / JAM_SPACING_M
            else:
                road = road_ahead(network, ahead, int(network.lane_link[lane]))
                lanes, room = tuple(road.lanes), road.storage_veh
            storage_of[lanes] = max(room, 1.0) if lanes else ENDLESS_VEH
            way = (int(network.conn_from_lane[conn]), lanes)
            ways[way] = ways.get(way, 0.0) + float(network.conn_share[conn])
        self._way = np.repeat(np.arange(len(ways)), [len(lanes) for _, lanes in ways])
        self._on = np.array([lane for _, lanes in ways for lane in lanes], dtype=np.int64)
        self._storage_veh = np.array([storage_of[lanes] for _, lanes in ways], dtype=np.float64)
        self._from_lane = np.array([lane for lane, _ in ways], dtype=np.int64)
        self._share = np.clip(np.array(list(ways.values()), dtype=np.float64), LEAST_SHARE, 1.0)

    def room(
        self, state: TrafficState, full_share: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(vehicles the ways on still take, rate at which they get room), float64[lanes]."""
        count = len(self._storage_veh)
        # A queue that green does not move is there, however far it is only guessed to reach.
        stuck = 1.0 - np.nan_to_num(state.flowing, nan=1.0)
        vehicles_veh = np.maximum(
            zero_if_unknown(state.vehicles_veh), stuck * zero_if_unknown(state.queue_veh)
        )
        on_road = np.bincount(self._way, vehicles_veh[self._on], minlength=count)
        leaving = np.bincount(self._way, zero_if_unknown(state.out_vps)[self._on], minlength=count)
        free = np.maximum(full_share * self._storage_veh - on_road, 0.0)
        endless = self._storage_veh >= ENDLESS_VEH
        leaving[endless] = free[endless] = ENDLESS_VEH
        room, refill = np.full(self._lanes, ENDLESS_VEH), np.full(self._lanes, ENDLESS_VEH)
        # Whose way is full holds up all behind, as in a first-in-first-out diverge (Daganzo 1995,
        # Transp. Res. B 29): so many pass until the first comes who finds no room.
        np.minimum.at(room, self._from_lane, (free + 1.0 - self._share) / self._share)
        np.minimum.at(refill, self._from_lane, leaving / self._share)
        return room, refill
