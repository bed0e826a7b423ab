"""Plans to choose from: for junctions that nobody counts at, the shipped programs of the day.

Programs of one name across the junctions of a sub-area are one plan of it (night, morning, ...).
Every quarter of an hour the plan with the least HCM delay at the flows of the hour is looked for;
flows that nobody counts are what probes and the balance of the roads tell. A change of plan costs
a transition, in which offsets are on the way: it must gain more until the next look. A program that
leaves out an approach or a crossing which another serves is not changed to.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from topis.control.appraisal import hcm_delay
from topis.control.service import (
    Service,
    intergreen_ms,
    permissive_rates,
    service_table,
)
from topis.control.timeline import ALL, Some, plan_commands
from topis.model.lamp import is_green
from topis.model.network import NOT_MOTOR, Network
from topis.units import MS_PER_S, to_ms

F8 = NDArray[np.float64]
I4 = NDArray[np.int32]
#: Time between two looks: what a change must have paid back by then.
LOOK_S = 900.0
#: In a transition a cycle is longer by so much at most, until its offset is right (the usual
#: "add" method of controllers, Traffic Signal Timing Manual, FHWA-HOP-08-024, ch. 6).
LONGER_SHARE = 0.2


@dataclass(frozen=True)
class _Plans:
    """What each program of the network gives: [programs], and [programs, s] of its cycle."""

    cycle_s: NDArray[np.int64]
    offset_s: NDArray[np.int64]
    command: NDArray[np.int16]


class PlanLibrary:
    """``program`` int32[junctions]: the one chosen for each junction."""

    def __init__(self, network: Network) -> None:
        self._network = network
        change_s = intergreen_ms(network) / MS_PER_S
        count = len(network.program_cycle_ms)
        owner = np.repeat(
            np.arange(network.junctions, dtype=np.int32), np.diff(network.junction_program_ptr)
        )
        rows = [plan_commands(network, int(owner[p]), p, change_s) for p in range(count)]
        cycle_s = np.array([len(row) for row in rows], dtype=np.int64)
        command = np.zeros((count, int(cycle_s.max(initial=1))), dtype=np.int16)
        for row, own in zip(command, rows, strict=True):
            row[: len(own)] = own
        offset_s = np.rint(network.program_offset_ms / MS_PER_S).astype(np.int64)
        self._plans = _Plans(cycle_s, offset_s, command)
        self._owner = owner
        self._names, name = np.unique(np.array(network.program_ids), return_inverse=True)
        # Number of each junction's program of each name, -1 if it has none to change to.
        self._of_name = np.full((network.junctions, len(self._names)), -1, dtype=np.int32)
        whole = _whole(network, owner)
        self._of_name[owner[whole], name[whole]] = np.flatnonzero(whole)
        self.program: I4 = network.junction_program.astype(np.int32).copy()
        self._green_s = _greens(network, owner)
        self._next_ms: int | None = None
        self.notes: list[tuple[int, str]] = []

    def ahead(self, now_s: int, horizon_s: int, which: Some = ALL) -> NDArray[np.int16]:
        """Local number of the stage planned in each of the next seconds, int16[which, s]."""
        plans, program = self._plans, self.program[which]
        since = now_s - plans.offset_s[program]
        second = (since[:, None] + np.arange(horizon_s)) % plans.cycle_s[program][:, None]
        return np.asarray(plans.command[program[:, None], second])

    def update(self, now_ms: int, flow_vps: NDArray[np.float32], area: I4) -> None:
        """Look whether other plans would be worth it; ``flow_vps`` float32[lanes].

        ``area`` int32[junctions]: the sub-areas that change together.
        """
        if self._next_ms is not None and now_ms < self._next_ms:
            return
        self._next_ms = now_ms + to_ms(LOOK_S)
        if len(self._names) < 2:
            return
        cost = self._costs(flow_vps)
        areas = int(area.max(initial=-1)) + 1
        # Who has no program of a name keeps its own.
        own = np.where(self._of_name >= 0, self._of_name, self.program[:, None])
        by_name = np.stack([np.bincount(area, cost[p], minlength=areas) for p in own.T], axis=1)
        now = np.bincount(area, cost[self.program], minlength=areas)
        best = by_name.argmin(axis=1)
        gain = (now - np.take_along_axis(by_name, best[:, None], 1)[:, 0]) * LOOK_S
        wanted = own[np.arange(len(area)), best[area]].astype(np.int32)
        loss = np.bincount(area, self._transition(wanted, flow_vps), minlength=areas)
        changes = (gain > loss) & (gain > 0.0)
        moved = changes[area] & (wanted != self.program)
        for k in np.flatnonzero(np.bincount(area[moved], minlength=areas)).tolist():
            text = (
                f"sub-area {k}: plan {self._names[best[k]]}; until the next look it saves "
                f"{gain[k]:.0f} vehicle-seconds, the transition costs {loss[k]:.0f}"
            )
            self.notes.append((now_ms, text))
        self.program = np.where(moved, wanted, self.program).astype(np.int32)

    def _costs(self, flow_vps: NDArray[np.float32]) -> F8:
        """Delay of each program at these flows, vehicle-seconds per second, float64[programs]."""
        network = self._network
        service = service_table(network, permissive_rates(network, flow_vps))
        program, lane, green_s = _lane_greens(network, self._owner, self._green_s, service)
        cycle_s = self._plans.cycle_s[program].astype(np.float64)
        uniform, random = hcm_delay(flow_vps[lane], green_s, cycle_s)
        cost: F8 = np.bincount(program, uniform + random, minlength=len(self._owner)).astype(
            np.float64
        )
        return cost

    def _transition(self, wanted: I4, flow_vps: NDArray[np.float32]) -> F8:
        """Vehicle-seconds that the way to another program costs, float64[junctions]."""
        network, plans = self._network, self._plans
        cycle_s = plans.cycle_s[wanted].astype(np.float64)
        way_s = (plans.offset_s[wanted] - plans.offset_s[self.program]) % plans.cycle_s[wanted]
        cycles = np.ceil(way_s / (LONGER_SHARE * cycle_s))
        # Cycles on the way are longer: those who come in them wait half of what they are longer.
        lasts_s = cycles * cycle_s + way_s
        more_s = way_s / np.maximum(cycles, 1.0) / 2.0
        lanes = network.approach_lanes
        owner = network.link_junction[network.lane_link[lanes]]
        traffic = np.bincount(owner, flow_vps[lanes], minlength=network.junctions)
        return np.asarray(traffic * lasts_s * more_s, dtype=np.float64)


def _whole(network: Network, owner: I4) -> NDArray[np.bool_]:
    """Programs that give green to every group another of their junction does, bool[programs]."""
    ptr, stage = network.program_stage_ptr, network.program_stage
    greens = [
        np.any([is_green(network.stage_codes(k)) for k in stage[first:last].tolist()], axis=0)
        for first, last in pairwise(ptr)
    ]
    of_any = [
        np.any(greens[first:last], axis=0) for first, last in pairwise(network.junction_program_ptr)
    ]
    whole = [(green >= of_any[j]).all() for green, j in zip(greens, owner, strict=True)]
    return np.array(whole, dtype=bool)


def _greens(network: Network, owner: I4) -> F8:
    """Vehicle green of each step of each program (s), float64[steps of programs]."""
    lost_s = intergreen_ms(network, vehicles_only=True) / MS_PER_S
    ptr, stage = network.program_stage_ptr, network.program_stage
    following = np.arange(1, len(stage) + 1)
    ends = ptr[1:] > ptr[:-1]
    following[ptr[1:][ends] - 1] = ptr[:-1][ends]
    program = np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))
    local = stage[following] - network.junction_stage_ptr[owner[program]]
    return np.asarray(network.program_split_ms / MS_PER_S - lost_s[stage, local])


def _lane_greens(
    network: Network, owner: I4, green_s: F8, service: Service
) -> tuple[NDArray[np.int64], NDArray[np.int64], F8]:
    """(program, lane, effective green a cycle) of every lane that a program serves."""
    ptr, stage = network.program_stage_ptr, network.program_stage
    count = np.diff(service.ptr)[stage]
    step = np.repeat(np.arange(len(stage)), count)
    first = service.ptr[stage][step]
    within = np.arange(len(step)) - np.repeat(np.cumsum(count) - count, count)
    pair = first + within
    lane = service.lane[pair].astype(np.int64)
    program = np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))[step]
    served_s = service.rate[pair] * np.maximum(green_s[step] - 1.0, 0.0)
    motor = network.lane_use[lane] != NOT_MOTOR
    key, which = np.unique((program * network.lanes + lane)[motor], return_inverse=True)
    total: F8 = np.bincount(which, served_s[motor], minlength=len(key)).astype(np.float64)
    return key // network.lanes, key % network.lanes, total
