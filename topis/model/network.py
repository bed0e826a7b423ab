"""`Network`: roads and signals as read-only arrays, compiled once, validated once.

Indices, not names, connect everything; names live in the ``*_ids`` tuples and never
enter a kernel. ``x_ptr`` arrays are CSR pointers: the items of owner ``i`` are
``x_ptr[i]:x_ptr[i + 1]``.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.errors import NetworkError
from topis.model.lamp import is_green

I4 = NDArray[np.int32]
F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
U1 = NDArray[np.uint8]

VEHICLE, PEDESTRIAN = 0, 1
STRAIGHT, LEFT, RIGHT, TURNAROUND = 0, 1, 2, 3
MOTOR, BUS_ONLY, NOT_MOTOR = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Network:
    """A road network with its signals.

    A *junction* here is one signal controller; it may span several nodes of the source
    network (joined junctions). Lengths in m, speeds in m/s, times in ms.

    Links (directed roads) and their lanes:
        ``link_length_m``, ``link_speed_mps``, ``link_lane_ptr`` (lanes of a link, right
        to left), ``link_junction`` (junction the link runs into, -1 if none),
        ``link_shape_ptr`` / ``link_shape_m`` (polyline, N x 2).
        ``lane_link``, ``lane_length_m``, ``lane_use`` (motor, bus only, not motor).

    Movements (from-link to to-link through a node, signalised or not):
        ``move_from_link``, ``move_to_link``, ``move_junction`` (-1 unsignalised),
        ``move_turn`` (straight, left, right, turnaround), ``link_move_ptr`` (movements
        out of a link; movements are sorted by from-link).

    Connections (lane to lane), sorted by from-lane, ``lane_conn_ptr`` points into them:
        ``conn_to_lane``, ``conn_move``, ``conn_group`` (signal group, -1 unsignalised),
        ``conn_share`` (prior share of its lane's traffic),
        ``conn_yield_ptr`` / ``conn_yield_idx`` (connections it gives way to).

    Signals:
        ``junction_head_ptr`` / ``head_group``: signal heads (positions of the state
        string) to groups. ``junction_group_ptr``; per group ``group_kind``,
        ``group_min_green_ms``, ``group_yellow_ms``, ``group_max_red_ms``,
        ``group_length_m`` (of the crossing, 0 for vehicles).
        ``conflict_ptr`` / ``conflict_idx`` / ``conflict_intergreen_ms``: for group *i*
        every conflicting group *j* and the time from end of green of *i* to start of
        green of *j*.
        ``junction_stage_ptr``; per stage ``stage_min_green_ms``, ``stage_max_green_ms``;
        ``stage_code_ptr`` / ``stage_code``: lamp code of each group of its junction.

    Programs as shipped (all that show a green; ``junction_program`` is the active one):
        ``junction_program_ptr``, ``program_cycle_ms``, ``program_offset_ms``,
        ``program_stage_ptr`` / ``program_stage`` / ``program_split_ms`` (the split holds
        the intergreen that follows the green), ``program_start_ms`` (start of the
        stage's green in the cycle).
    """

    junction_ids: tuple[str, ...]
    link_ids: tuple[str, ...]
    lane_ids: tuple[str, ...]
    program_ids: tuple[str, ...]

    junction_xy_m: F8
    link_length_m: F4
    link_speed_mps: F4
    link_lane_ptr: I4
    link_junction: I4
    link_shape_ptr: I4
    link_shape_m: F4
    lane_link: I4
    lane_length_m: F4
    lane_use: U1
    move_from_link: I4
    move_to_link: I4
    move_junction: I4
    move_turn: U1
    link_move_ptr: I4
    lane_conn_ptr: I4
    conn_from_lane: I4
    conn_to_lane: I4
    conn_move: I4
    conn_group: I4
    conn_share: F4
    conn_yield_ptr: I4
    conn_yield_idx: I4
    junction_head_ptr: I4
    head_group: I4
    junction_group_ptr: I4
    group_kind: U1
    group_min_green_ms: I4
    group_yellow_ms: I4
    group_max_red_ms: I4
    group_length_m: F4
    conflict_ptr: I4
    conflict_idx: I4
    conflict_intergreen_ms: I4
    junction_stage_ptr: I4
    stage_min_green_ms: I4
    stage_max_green_ms: I4
    stage_code_ptr: I4
    stage_code: U1
    junction_program_ptr: I4
    junction_program: I4
    program_cycle_ms: I4
    program_offset_ms: I4
    program_stage_ptr: I4
    program_stage: I4
    program_split_ms: I4
    program_start_ms: I4

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                frozen = np.ascontiguousarray(value)
                frozen.flags.writeable = False
                object.__setattr__(self, field.name, frozen)

    # ---- sizes ----

    @property
    def junctions(self) -> int:
        """Number of signal controllers."""
        return len(self.junction_ids)

    @property
    def links(self) -> int:
        """Number of directed roads."""
        return len(self.link_ids)

    @property
    def lanes(self) -> int:
        """Number of lanes on links."""
        return len(self.lane_ids)

    @property
    def groups(self) -> int:
        """Number of signal groups."""
        return len(self.group_kind)

    @property
    def stages(self) -> int:
        """Number of stages over all junctions."""
        return len(self.stage_min_green_ms)

    # ---- derived, computed once ----

    @functools.cached_property
    def hash(self) -> str:
        """SHA-256 over every array and name: the identity journals carry."""
        digest = hashlib.sha256()
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            digest.update(field.name.encode())
            if isinstance(value, np.ndarray):
                digest.update(str((value.dtype, value.shape)).encode())
                digest.update(value.tobytes())
            else:
                digest.update("\0".join(value).encode())
        return digest.hexdigest()

    @functools.cached_property
    def group_junction(self) -> I4:
        """Junction of each group, int32[groups]."""
        return np.repeat(
            np.arange(self.junctions, dtype=np.int32), np.diff(self.junction_group_ptr)
        )

    @functools.cached_property
    def stage_junction(self) -> I4:
        """Junction of each stage, int32[stages]."""
        return np.repeat(
            np.arange(self.junctions, dtype=np.int32), np.diff(self.junction_stage_ptr)
        )

    @functools.cached_property
    def is_approach_lane(self) -> NDArray[np.bool_]:
        """Whether a signal controls the motor traffic of each lane, bool[lanes]."""
        signalised = np.zeros(self.lanes, dtype=bool)
        signalised[self.conn_from_lane[self.conn_group >= 0]] = True
        return np.asarray(signalised & (self.lane_use != NOT_MOTOR))

    @functools.cached_property
    def approach_lanes(self) -> I4:
        """Motor-traffic lanes that a signal controls, ascending, int32[n]."""
        return np.flatnonzero(self.is_approach_lane).astype(np.int32)

    @functools.cached_property
    def conn_stage_code(self) -> tuple[I4, I4, U1]:
        """Per stage the served connections: (ptr int32[stages+1], connection, lamp code).

        Only connections whose group is green (priority or permissive) in the stage.
        """
        by_group = np.argsort(self.conn_group, kind="stable").astype(np.int32)
        sorted_groups = self.conn_group[by_group]
        start = np.searchsorted(sorted_groups, np.arange(self.groups))
        stop = np.searchsorted(sorted_groups, np.arange(self.groups), side="right")
        green = np.flatnonzero(is_green(self.stage_code))
        stage = np.searchsorted(self.stage_code_ptr, green, side="right") - 1
        group = (
            green - self.stage_code_ptr[stage] + self.junction_group_ptr[self.stage_junction[stage]]
        )
        counts = stop[group] - start[group]
        total = int(counts.sum())
        offset = np.repeat(np.cumsum(counts) - counts, counts)
        conn = by_group[np.repeat(start[group], counts) + np.arange(total) - offset]
        per_stage = np.bincount(np.repeat(stage, counts), minlength=self.stages)
        ptr = np.concatenate(([0], np.cumsum(per_stage))).astype(np.int32)
        return ptr, conn.astype(np.int32), np.repeat(self.stage_code[green], counts)

    @functools.cached_property
    def lane_green_share(self) -> F8:
        """Share of the active program's cycle in which each lane has a green, float64[lanes]."""
        group_share = np.zeros(self.groups)
        for junction, program in enumerate(self.junction_program):
            first, last = self.program_stage_ptr[program : program + 2]
            low = self.junction_group_ptr[junction]
            for k in range(first, last):
                codes = self.stage_codes(int(self.program_stage[k]))
                share = self.program_split_ms[k] / self.program_cycle_ms[program]
                group_share[low : low + len(codes)] += share * is_green(codes)
        best = np.zeros(self.lanes)
        signalised = self.conn_group >= 0
        np.maximum.at(
            best, self.conn_from_lane[signalised], group_share[self.conn_group[signalised]]
        )
        return np.minimum(best, 1.0)

    def stage_codes(self, stage: int) -> U1:
        """Lamp code of each group of the stage's junction."""
        return self.stage_code[self.stage_code_ptr[stage] : self.stage_code_ptr[stage + 1]]

    def validate(self) -> None:
        """Check what every later floor relies on.

        Raises
        ------
        NetworkError
            A pointer is out of range, a stage shows conflicting groups green, an
            intergreen is shorter than the yellow that starts it.
        """
        self._check_pointers()
        conflicts = _pair_set(self.conflict_ptr, self.conflict_idx)
        for stage in range(self.stages):
            first = int(self.junction_group_ptr[self.stage_junction[stage]])
            green = [first + int(g) for g in np.flatnonzero(is_green(self.stage_codes(stage)))]
            for group in green:
                clash = conflicts.get(group, frozenset()).intersection(green)
                if clash:
                    raise NetworkError(
                        f"junction {self.junction_ids[self.stage_junction[stage]]!r}: stage "
                        f"{stage} shows conflicting groups {group} and {min(clash)} green"
                    )
        owner = np.repeat(np.arange(self.groups), np.diff(self.conflict_ptr))
        short = self.conflict_intergreen_ms < self.group_yellow_ms[owner]
        if short.any():
            group = int(owner[np.argmax(short)])
            junction = self.junction_ids[self.group_junction[group]]
            raise NetworkError(
                f"junction {junction!r}: intergreen of group {group} shorter than its yellow"
            )

    def _check_pointers(self) -> None:
        for field in dataclasses.fields(self):
            if not field.name.endswith("_ptr"):
                continue
            pointer = getattr(self, field.name)
            if len(pointer) == 0 or pointer[0] != 0 or (np.diff(pointer) < 0).any():
                raise NetworkError(f"network: {field.name} is not a pointer array")
        bounds = {
            "lane_link": self.links,
            "move_from_link": self.links,
            "move_to_link": self.links,
            "conn_to_lane": self.lanes,
            "conn_group": self.groups,
            "head_group": self.groups,
            "conflict_idx": self.groups,
            "program_stage": self.stages,
        }
        for name, bound in bounds.items():
            values = getattr(self, name)
            if len(values) and (values.max() >= bound or values.min() < -1):
                raise NetworkError(f"network: {name} points outside its table")


def _pair_set(ptr: I4, idx: I4) -> dict[int, frozenset[int]]:
    return {
        owner: frozenset(idx[ptr[owner] : ptr[owner + 1]].tolist())
        for owner in range(len(ptr) - 1)
        if ptr[owner + 1] > ptr[owner]
    }
