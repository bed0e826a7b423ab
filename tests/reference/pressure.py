"""Twin of `topis._core.pressure`: a junction, a stage and a lane at a time.

Numbers are of the kernel's width wherever it rounds, so that both decide alike to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

F = np.float32
SERVES_FROM, OWN_BONUS_VEH, OVERDUE_VEH_PER_S = F(0.2), 1e-6, 1e3
#: (lane, share of its saturation flow that a stage lets go).
Served = Sequence[tuple[int, np.float32]]


@dataclass
class Junction:
    """``served``, ``walks``: lanes and crossings of each stage; stages are numbered from 0.

    ``worth`` [stages, stages]: what a change leaves of a pressure.
    """

    served: Sequence[Served]
    walks: Sequence[Sequence[int]]
    worth: Sequence[Sequence[float]]

    @property
    def lanes(self) -> set[int]:
        return {lane for stage in self.served for lane, _ in stage}


def roads_behind(
    ways: Sequence[Sequence[tuple[int, np.float32]]],
    storage_veh: Sequence[np.float32],
    queue_veh: Sequence[np.float32],
    full_share: float,
) -> list[float]:
    """Room behind each lane; ``ways``: (lane it leads to, share of the traffic)."""
    free = []
    for of_lane in ways:
        closed = 0.0
        for to, share in of_lane:
            if queue_veh[to] / storage_veh[to] >= F(full_share):
                closed += float(share)
        free.append(max(1.0 - closed, 0.0))
    return free


def count_waits(
    junction: Junction,
    shown: int | None,
    queue_veh: Sequence[np.float32],
    dt_s: float,
    max_wait_s: float,
    unserved_s: dict[int, np.float32],
) -> dict[int, np.float32]:
    """How much longer than allowed each lane has waited; ``shown``: None while changing."""
    served = set() if shown is None else {k for k, r in junction.served[shown] if r >= SERVES_FROM}
    late = {}
    for lane in junction.lanes:
        waits = queue_veh[lane] >= 1.0 and lane not in served
        unserved_s[lane] = unserved_s[lane] + F(dt_s) if waits else F(0)
        late[lane] = max(unserved_s[lane] - F(max_wait_s), F(0))
    return late


def stage_pressure(
    served: Served, vehicles_veh: Sequence[np.float32], free: Sequence[float]
) -> float:
    total = 0.0
    for lane, rate in served:
        total += float(vehicles_veh[lane] * rate) * free[lane]
    return total


def choose(
    junction: Junction,
    shown: int | None,
    vehicles_veh: Sequence[np.float32],
    free: Sequence[float],
    lane_late_s: dict[int, np.float32],
    walk_late_s: dict[int, float],
) -> tuple[int, list[float], bool]:
    """(stage of most value, values, whether any is overdue)."""
    values, totals, late = [], [], False
    for stage, served in enumerate(junction.served):
        value = stage_pressure(served, vehicles_veh, free)
        if stage == shown:
            value += OWN_BONUS_VEH
        else:
            value *= junction.worth[shown or 0][stage]
        overdue_s = 0.0
        for lane, rate in served:
            if rate >= SERVES_FROM:
                overdue_s += float(lane_late_s[lane])
        for group in junction.walks[stage]:
            overdue_s += walk_late_s[group]
        late |= overdue_s > 0.0
        values.append(value)
        totals.append(value + OVERDUE_VEH_PER_S * overdue_s)
    return totals.index(max(totals)), values, late
