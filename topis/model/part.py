"""A part of a network: some junctions, the roads to them and from them, and nothing else.

What the engine does at a junction depends on the roads that lead there and on the signals next to
it, so districts can be worked on apart, each with a ring of its neighbours' junctions around it.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.model.corridor import MOST_TRAVEL_S
from topis.model.feeds import find_lane_feeds
from topis.model.network import I4, Network

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Part:
    """A network cut out of another, with the numbers its things have there.

    ``junctions``, ``links``, ``lanes``, ``stages``: int32, ascending, numbers in the whole network
    by number in the part.
    """

    network: Network
    junctions: I4
    links: I4
    lanes: I4
    stages: I4


def adjacent(network: Network) -> tuple[I4, I4]:
    """Pairs of signals of which the first feeds the second, int32[pairs] each."""
    feeds = find_lane_feeds(network)
    of_lane = network.link_junction[network.lane_link[network.approach_lanes]]
    source = of_lane[np.repeat(np.arange(len(of_lane)), np.diff(feeds.ptr))]
    pairs = np.unique(np.stack([source, of_lane[feeds.to]]), axis=1)
    return pairs[0].astype(np.int32), pairs[1].astype(np.int32)


def with_neighbours(network: Network, pairs: tuple[I4, I4], junctions: I4) -> I4:
    """These junctions and those one signal further, up and down the roads, int32, ascending."""
    source, target = pairs
    wanted = np.zeros(network.junctions, dtype=bool)
    wanted[junctions] = True
    ring = wanted.copy()
    ring[target[wanted[source]]] = True
    ring[source[wanted[target]]] = True
    return np.flatnonzero(ring).astype(np.int32)


def cut(network: Network, junctions: NDArray[np.integer]) -> Part:
    """The part around some junctions.

    Roads are followed to the next signal, or as far as platoons hold together
    (`topis.model.corridor.MOST_TRAVEL_S`). Where they meet a signal that is not in the part, the
    part ends.
    """
    kept = np.zeros(network.junctions, dtype=bool)
    kept[junctions] = True
    link = _links(network, kept)
    lane = link[network.lane_link]
    # Movements over signals that are not in the part are none of its own.
    owner = network.move_junction
    move = link[network.move_from_link] & link[network.move_to_link]
    move &= (owner < 0) | kept[owner]
    conn = move[network.conn_move]
    group = kept[network.group_junction]
    stage = kept[network.stage_junction]
    head = np.repeat(kept, np.diff(network.junction_head_ptr))
    program = np.repeat(kept, np.diff(network.junction_program_ptr))
    code = np.repeat(stage, np.diff(network.stage_code_ptr))
    step = np.repeat(program, np.diff(network.program_stage_ptr))
    new_link, new_lane, new_move, new_conn, new_group, new_stage, new_program, new_junction = (
        _renumbered(mask) for mask in (link, lane, move, conn, group, stage, program, kept)
    )
    yield_ptr, yield_idx = _pairs(network.conn_yield_ptr, network.conn_yield_idx, conn, conn)
    conflict_ptr, conflict_idx = _pairs(network.conflict_ptr, network.conflict_idx, group, group)
    conflicts = np.repeat(group, np.diff(network.conflict_ptr)) & group[network.conflict_idx]
    shape = np.repeat(link, np.diff(network.link_shape_ptr))
    found = Network(
        junction_ids=_named(network.junction_ids, kept),
        link_ids=_named(network.link_ids, link),
        lane_ids=_named(network.lane_ids, lane),
        program_ids=_named(network.program_ids, program),
        junction_xy_m=network.junction_xy_m[kept],
        link_length_m=network.link_length_m[link],
        link_speed_mps=network.link_speed_mps[link],
        link_lane_ptr=_ptr(network.link_lane_ptr, link),
        link_junction=_through(new_junction, network.link_junction[link]),
        link_shape_ptr=_ptr(network.link_shape_ptr, link),
        link_shape_m=network.link_shape_m[shape],
        lane_link=new_link[network.lane_link[lane]],
        lane_length_m=network.lane_length_m[lane],
        lane_use=network.lane_use[lane],
        move_from_link=new_link[network.move_from_link[move]],
        move_to_link=new_link[network.move_to_link[move]],
        move_junction=_through(new_junction, network.move_junction[move]),
        move_turn=network.move_turn[move],
        link_move_ptr=_ptr_of(network.link_move_ptr, move, link),
        lane_conn_ptr=_ptr_of(network.lane_conn_ptr, conn, lane),
        conn_from_lane=new_lane[network.conn_from_lane[conn]],
        conn_to_lane=new_lane[network.conn_to_lane[conn]],
        conn_move=new_move[network.conn_move[conn]],
        conn_group=_through(new_group, network.conn_group[conn]),
        conn_share=network.conn_share[conn],
        conn_yield_ptr=yield_ptr,
        conn_yield_idx=new_conn[yield_idx],
        junction_head_ptr=_ptr(network.junction_head_ptr, kept),
        head_group=_through(new_group, network.head_group[head]),
        junction_group_ptr=_ptr(network.junction_group_ptr, kept),
        group_kind=network.group_kind[group],
        group_min_green_ms=network.group_min_green_ms[group],
        group_yellow_ms=network.group_yellow_ms[group],
        group_max_red_ms=network.group_max_red_ms[group],
        group_length_m=network.group_length_m[group],
        conflict_ptr=conflict_ptr,
        conflict_idx=new_group[conflict_idx],
        conflict_intergreen_ms=network.conflict_intergreen_ms[conflicts],
        junction_stage_ptr=_ptr(network.junction_stage_ptr, kept),
        stage_min_green_ms=network.stage_min_green_ms[stage],
        stage_max_green_ms=network.stage_max_green_ms[stage],
        stage_code_ptr=_ptr(network.stage_code_ptr, stage),
        stage_code=network.stage_code[code],
        junction_program_ptr=_ptr(network.junction_program_ptr, kept),
        junction_program=_through(new_program, network.junction_program[kept]),
        program_cycle_ms=network.program_cycle_ms[program],
        program_offset_ms=network.program_offset_ms[program],
        program_stage_ptr=_ptr(network.program_stage_ptr, program),
        program_stage=new_stage[network.program_stage[step]],
        program_split_ms=network.program_split_ms[step],
        program_start_ms=network.program_start_ms[step],
    )
    return Part(found, _numbers(kept), _numbers(link), _numbers(lane), _numbers(stage))


def _links(network: Network, kept: Mask) -> Mask:
    """Links of the part: to the junctions and from them, up to the next signals, bool[links]."""
    through = network.move_junction
    inner = (through >= 0) & kept[through]
    into = (network.link_junction >= 0) & kept[network.link_junction]
    into[network.move_from_link[inner]] = True
    out = np.zeros(network.links, dtype=bool)
    out[network.move_to_link[inner]] = True
    free = through < 0
    from_link, to_link = network.move_from_link[free], network.move_to_link[free]
    travel_s = network.link_length_m / np.maximum(network.link_speed_mps, 1.0)
    down = _reached(from_link, to_link, out & (network.link_junction < 0), travel_s)
    up = _reached(to_link, from_link, into, travel_s)
    return np.asarray(into | out | down | up)


def _reached(
    from_link: NDArray[np.int32], to_link: NDArray[np.int32], begin: Mask, travel_s: np.ndarray
) -> Mask:
    """Links within reach along these pairs, by travel time (Dijkstra)."""
    order = np.argsort(from_link, kind="stable")
    ptr = np.searchsorted(from_link[order], np.arange(len(begin) + 1))
    onward = to_link[order]
    time_s = np.full(len(begin), np.inf)
    time_s[begin] = 0.0
    queue = [(0.0, int(link)) for link in np.flatnonzero(begin)]
    while queue:
        at_s, link = heapq.heappop(queue)
        if at_s > time_s[link]:
            continue
        for k in onward[ptr[link] : ptr[link + 1]].tolist():
            then_s = at_s + float(travel_s[k])
            if then_s < min(time_s[k], MOST_TRAVEL_S):
                time_s[k] = then_s
                heapq.heappush(queue, (then_s, k))
    return np.asarray(np.isfinite(time_s))


def _numbers(mask: Mask) -> I4:
    return np.flatnonzero(mask).astype(np.int32)


def _renumbered(mask: Mask) -> I4:
    """Numbers in the part by number in the whole; -1 for what is not in it."""
    return np.where(mask, np.cumsum(mask) - 1, -1).astype(np.int32)


def _through(numbers: I4, values: NDArray[np.int32]) -> I4:
    """-1 stays -1."""
    return np.append(numbers, np.int32(-1))[values]


def _named(names: tuple[str, ...], mask: Mask) -> tuple[str, ...]:
    return tuple(names[k] for k in np.flatnonzero(mask).tolist())


def _ptr(ptr: I4, owners: Mask) -> I4:
    """Pointers of the owners that stay, each with all it has."""
    return np.concatenate(([0], np.cumsum(np.diff(ptr)[owners]))).astype(np.int32)


def _ptr_of(ptr: I4, items: Mask, owners: Mask) -> I4:
    """Pointers of the owners that stay, each with those of its items that stay."""
    total = np.concatenate(([0], np.cumsum(items)))
    counts = (total[ptr[1:]] - total[ptr[:-1]])[owners]
    return np.concatenate(([0], np.cumsum(counts))).astype(np.int32)


def _pairs(ptr: I4, idx: I4, owners: Mask, targets: Mask) -> tuple[I4, I4]:
    """Pairs of which both stay: pointers, and targets by their old numbers."""
    stay = np.repeat(owners, np.diff(ptr)) & targets[idx]
    return _ptr_of(ptr, stay, owners), idx[stay]
