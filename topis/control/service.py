"""Which lanes each stage serves, and how well: the table all controllers share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.model.lamp import PRIORITY, is_green
from topis.model.network import NOT_MOTOR, PEDESTRIAN, Network
from topis.model.state import zero_if_unknown
from topis.units import BASE_SAT_FLOW_VPS, MS_PER_S

#: Discharge of a permissive connection relative to one with priority, where nothing is
#: known of the traffic it gives way to.
PERMISSIVE_RATE = 0.5
#: Gap that a permissive turn waits for and headway of those that follow through it (s):
#: values for turns across two lanes, HCM 6th ed. exhibit 20-12 ff.
CRITICAL_GAP_S = 6.0
FOLLOW_UP_S = 3.5
#: Rate of a permissive connection that meets nobody: its drivers still look.
UNOPPOSED_RATE = 0.7
#: A stage serves a lane well from this share of its saturation flow on.
WELL_SERVED = 0.55


@dataclass(frozen=True)
class Service:
    """Pairs of (stage, lane), sorted by stage.

    ``stage`` int32[n], ``lane`` int32[n] (network lane), ``rate`` float32[n]: share of the
    lane's saturation flow that the stage lets go. A shared lane whose first vehicle may
    not go is blocked by it, so a lane of which only a share p of the traffic is served
    gets p squared. ``ptr`` int32[stages + 1].
    """

    ptr: NDArray[np.int32]
    stage: NDArray[np.int32]
    lane: NDArray[np.int32]
    rate: NDArray[np.float32]


def service_table(network: Network, conn_rate: NDArray[np.float64] | None = None) -> Service:
    """Compile the table of a network.

    ``conn_rate`` float64[pairs of `Network.conn_stage_code`]: rate of each served
    connection where it is known better than by its lamp alone.
    """
    ptr, conn, code = network.conn_stage_code
    stage_of = np.repeat(np.arange(network.stages), np.diff(ptr))
    lane_of = network.conn_from_lane[conn]
    motor = network.lane_use[lane_of] != NOT_MOTOR
    key = (stage_of.astype(np.int64) * network.lanes + lane_of)[motor]
    share = network.conn_share[conn][motor].astype(np.float64)
    if conn_rate is None:
        conn_rate = np.where(code == PRIORITY, 1.0, PERMISSIVE_RATE)
    rate = conn_rate[motor]
    pairs, inverse = np.unique(key, return_inverse=True)
    served = np.bincount(inverse, share, minlength=len(pairs))
    weighted = np.bincount(inverse, share * rate, minlength=len(pairs))
    stage = (pairs // max(network.lanes, 1)).astype(np.int32)
    # mean rate of what is served, times the square of the share that is served
    value = (weighted / np.maximum(served, 1e-9)) * np.minimum(served, 1.0) ** 2
    return Service(
        ptr=np.searchsorted(stage, np.arange(network.stages + 1)).astype(np.int32),
        stage=stage,
        lane=(pairs % max(network.lanes, 1)).astype(np.int32),
        rate=value.astype(np.float32),
    )


def permissive_rates(network: Network, flow_vps: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rate of each served connection, permissive ones by the gaps left to them.

    Gap acceptance in the form of HCM 6th ed. ch. 20: s = v exp(-v tc) / (1 - exp(-v tf))
    of the flow v that is given way to and green in the same stage. Never below two
    vehicles in 90 s of green, about what turns as the light changes.
    """
    ptr, conn, code = network.conn_stage_code
    stage = np.repeat(np.arange(network.stages), np.diff(ptr))
    rate = np.ones(len(conn))
    conn_flow = zero_if_unknown(flow_vps)[network.conn_from_lane] * network.conn_share
    permissive = np.flatnonzero(code != PRIORITY)
    first = network.conn_yield_ptr[conn[permissive]]
    foes = network.conn_yield_ptr[conn[permissive] + 1] - first
    item = np.repeat(np.arange(len(permissive)), foes)
    within = np.arange(len(item)) - np.repeat(np.cumsum(foes) - foes, foes)
    foe = network.conn_yield_idx[first[item] + within]
    width = max(len(network.conn_share), 1)
    served = np.sort(stage.astype(np.int64) * width + conn)
    asked = stage[permissive][item].astype(np.int64) * width + foe
    at = np.minimum(np.searchsorted(served, asked), max(len(served) - 1, 0))
    comes = np.where(served[at] == asked, conn_flow[foe], 0.0) if len(asked) else np.zeros(0)
    against = np.bincount(item, comes, minlength=len(permissive))
    with np.errstate(invalid="ignore"):
        gaps = against * np.exp(-CRITICAL_GAP_S * against)
        gaps /= 1.0 - np.exp(-FOLLOW_UP_S * against)
    least = 2.0 / 90.0 / BASE_SAT_FLOW_VPS
    alone = np.where(foes == 0, PERMISSIVE_RATE, UNOPPOSED_RATE)
    through = np.clip(gaps / BASE_SAT_FLOW_VPS, least, 0.9)
    rate[permissive] = np.where(against <= 0.0, alone, through)
    return rate


def intergreen_ms(network: Network, *, vehicles_only: bool = False) -> NDArray[np.int32]:
    """Time from the command for a change to the start of the stage, int32[stages, most].

    Row: stage shown; column: local number of the stage that follows. What the guard will
    need, computed from the same conflicts; used to weigh a change, never to time lamps.
    ``vehicles_only``: the part in which vehicles have no green. The rest is pedestrian
    clearance, during which the traffic beside the crossing still goes.
    """
    most = int(np.diff(network.junction_stage_ptr).max(initial=1))
    table = np.zeros((network.stages, most), dtype=np.int32)
    owner = np.repeat(np.arange(network.groups), np.diff(network.conflict_ptr))
    for junction in range(network.junctions):
        first, last = network.junction_stage_ptr[junction : junction + 2]
        low, high = network.junction_group_ptr[junction : junction + 2]
        pairs = slice(*network.conflict_ptr[[low, high]])
        i, j = owner[pairs] - low, network.conflict_idx[pairs] - low
        clear = network.conflict_intergreen_ms[pairs]
        yellow = network.group_yellow_ms[low:high]
        counted = np.full(high - low, not vehicles_only) | (
            network.group_kind[low:high] != PEDESTRIAN
        )
        green = [is_green(network.stage_codes(s)) for s in range(first, last)]
        for a in range(last - first):
            for b in range(last - first):
                if a == b:
                    continue
                ends, starts = green[a] & ~green[b], green[b] & ~green[a]
                needed = clear[ends[i] & starts[j] & counted[i]]
                table[first + a, b] = max(
                    int(needed.max(initial=0)), int(yellow[ends].max(initial=0))
                )
    return table


def stage_order(network: Network, junction: int) -> NDArray[np.int32]:
    """Stages of the active program in its order, each once."""
    program = int(network.junction_program[junction])
    steps = network.program_stage[slice(*network.program_stage_ptr[program : program + 2])]
    _, first = np.unique(steps, return_index=True)
    return steps[np.sort(first)]


def changes_s(
    network: Network, change_s: NDArray[np.float64], order: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Intergreen before each stage of a cyclic order (s), from `intergreen_ms` in seconds."""
    if len(order) < 2:
        return np.zeros(len(order))
    low = int(network.junction_stage_ptr[network.stage_junction[order[0]]])
    return change_s[np.roll(order, 1), order - low]


def least_green_s(network: Network) -> NDArray[np.float64]:
    """Shortest green of each stage that the guard lets end, crossings included (s)."""
    least = network.stage_min_green_ms / MS_PER_S
    stage, group = pedestrian_stages(network)
    np.maximum.at(least, stage, network.group_min_green_ms[group] / MS_PER_S)
    return np.ascontiguousarray(least, dtype=np.float64)


def pedestrian_stages(network: Network) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Pairs (stage, pedestrian group green in it), both int32[n]."""
    stages, groups = [], []
    for stage in range(network.stages):
        low = int(network.junction_group_ptr[network.stage_junction[stage]])
        green = np.flatnonzero(is_green(network.stage_codes(stage))) + low
        walking = green[network.group_kind[green] == PEDESTRIAN]
        stages += [stage] * len(walking)
        groups += walking.tolist()
    return np.array(stages, dtype=np.int32), np.array(groups, dtype=np.int32)
