"""Max-pressure control: the stage under the highest pressure gets the green.

Pressure of a stage is what it would discharge: the queues of the lanes it serves, each
at the rate the stage serves it, less where the road behind is full (Varaiya 2013,
Transp. Res. C 36; normalised by storage after Gregoire et al. 2015, IEEE TCNS 2). Two
variants:

- acyclic: every few seconds the stage with the highest pressure; a change must be worth
  the intergreen it costs (switching curve after Hsieh et al. 2017);
- cyclic: stages in the shipped order, the cycle's green split by pressure (after Le et
  al. 2015, Transp. Res. C 55).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis._core.pressure import choose_stages, count_waits, roads_behind, stage_pressures
from topis.config import setting
from topis.control.protocol import EXACT, Measure, Reasons, Why
from topis.control.service import (
    changes_s,
    intergreen_ms,
    least_green_s,
    pedestrian_stages,
    service_table,
    stage_order,
)
from topis.model.command import Commands
from topis.model.network import Network
from topis.model.state import SignalState, TrafficState, zero_if_unknown
from topis.units import JAM_SPACING_M, MS_PER_S

#: What a change leaves at least of a stage's pressure.
LEAST_WORTH = 0.05
#: A shorter piece of road is not the storage behind a stop line, the road after it is.
LEAST_STORAGE_VEH = 8.0


@dataclass(frozen=True)
class MaxPressureSettings:
    """Tuned once on RESCO seeds 101-103; see docs/peers.md."""

    interval_s: float = setting(5.0, 1, 60, "time between two decisions")
    worth_s: float = setting(15.0, 1, 120, "a change is weighed over this time")
    full_share: float = setting(0.8, 0, 1, "a road filled beyond this takes no more")
    max_wait_s: float = setting(80.0, 30, 600, "a lane with a queue is served after this wait")
    walk_wait_s: float = setting(100.0, 30, 600, "a crossing is served after this wait")


class MaxPressure:
    """Acyclic max-pressure with lost time weighed in."""

    name = "max-pressure"
    measure = Measure("pressure", "veh", least=False)

    def __init__(self, network: Network, settings: MaxPressureSettings | None = None) -> None:
        self._network = network
        self._set = settings or MaxPressureSettings()
        self._threads = 1
        self._service = service_table(network)
        lost_s = intergreen_ms(network, vehicles_only=True) / MS_PER_S + 1.0
        worth = np.maximum(1.0 - lost_s / self._set.worth_s, LEAST_WORTH)
        # Few changes differ in what they cost.
        self._worth, change = np.unique(worth, return_inverse=True)
        self._change = change.reshape(worth.shape).astype(np.uint16)
        self._find_waiters()
        self._next_ms = np.full(network.junctions, -1, dtype=np.int64)
        self._target = np.full(network.junctions, -1, dtype=np.int32)
        self._unserved_s = np.zeros(network.lanes, dtype=np.float32)
        self._last_ms: int | None = None
        self._roads = _RoadsBehind(network, self._threads)
        self._value = np.full(network.stages, np.nan, dtype=np.float32)
        self._steady, self._due, self._late = (
            np.zeros(network.junctions, dtype=bool) for _ in range(3)
        )

    def _find_waiters(self) -> None:
        """Lanes and crossings of each junction, and crossings of each stage."""
        network, table = self._network, self._service
        stages, junctions = np.arange(network.stages + 1), np.arange(network.junctions + 1)
        lane = np.unique(table.lane)
        owner = np.zeros(network.lanes, dtype=np.int32)
        owner[table.lane] = network.stage_junction[table.stage]
        lane = lane[np.argsort(owner[lane], kind="stable")]
        self._lanes = np.searchsorted(owner[lane], junctions).astype(np.int32), lane
        # Stages, and with them groups, are in the order of junctions.
        stage, group = pedestrian_stages(network)
        self._walk = np.searchsorted(stage, stages).astype(np.int32), group
        crossing = np.unique(group)
        at = network.group_junction[crossing]
        self._crossings = np.searchsorted(at, junctions).astype(np.int32), crossing

    def decide(self, state: TrafficState, signals: SignalState) -> Commands:
        """See `topis.control.protocol.Controller`."""
        self._steady = signals.coming < 0
        self._due = due = self._steady & (state.time_ms >= self._next_ms)
        target = self._choose(state, signals)
        self._target = np.where(due, target, self._target)
        self._next_ms[due] = state.time_ms + int(self._set.interval_s * MS_PER_S)
        return Commands(state.time_ms, self._target.copy())

    def reasons(self) -> Reasons:
        """See `topis.control.protocol.Explains`."""
        why = np.select(
            [~self._steady, ~self._due, self._late],
            [Why.CHANGING, Why.NOT_DUE, Why.OVERDUE_FIRST],
            Why.PRESSURE,
        )
        unsaid = np.full(self._network.junctions, -1, dtype=np.int32)
        return Reasons(
            why.astype(np.uint8), self._due, unsaid, unsaid, self._value,
            np.full(self._network.stages, EXACT, dtype=np.uint8),
        )  # fmt: skip

    def stage_pressure(self, state: TrafficState) -> NDArray[np.float64]:
        """Vehicles each stage could discharge, float64[stages]."""
        table = self._service
        free = self._roads.free(zero_if_unknown(state.queue_veh), self._set.full_share)
        pressure = np.empty(self._network.stages)
        stage_pressures(
            table.ptr, table.lane, table.rate, zero_if_unknown(state.vehicles_veh), free,
            self._threads, pressure,
        )  # fmt: skip
        return pressure

    def _choose(self, state: TrafficState, signals: SignalState) -> NDArray[np.int32]:
        """The stage each junction would turn to; a change must be worth what it costs.

        Stages that serve a lane or a crossing that waited too long go before all others.
        """
        network, table, threads = self._network, self._service, self._threads
        queue_veh = zero_if_unknown(state.queue_veh)
        dt_s = 0.0 if self._last_ms is None else (state.time_ms - self._last_ms) / MS_PER_S
        self._last_ms = state.time_ms
        lane_late_s = np.zeros(network.lanes, dtype=np.float32)
        walk_late_s = np.zeros(network.groups)
        late = np.empty(network.junctions, dtype=np.uint8)
        count_waits(
            *self._lanes, table.ptr, table.lane, table.rate, *self._crossings,
            signals.stage, signals.coming, queue_veh, signals.group_code, signals.group_since_ms,
            state.time_ms, dt_s, self._set.max_wait_s, self._set.walk_wait_s, threads,
            self._unserved_s, lane_late_s, walk_late_s, late,
        )  # fmt: skip
        self._value = np.empty(network.stages, dtype=np.float32)
        choice = np.empty(network.junctions, dtype=np.int32)
        choose_stages(
            network.junction_stage_ptr, table.ptr, table.lane, table.rate, *self._walk,
            self._change, self._worth, signals.stage, zero_if_unknown(state.vehicles_veh),
            self._roads.free(queue_veh, self._set.full_share), lane_late_s, walk_late_s, threads,
            late, self._value, choice,
        )  # fmt: skip
        self._late = late > 0
        return choice


@dataclass(frozen=True)
class CyclicSettings:
    """The cycle grows with the pressure, between these bounds."""

    min_cycle_s: float = setting(45.0, 20, 300, "shortest cycle")
    max_cycle_s: float = setting(120.0, 30, 300, "longest cycle, if the shipped is not longer")
    headway_s: float = setting(2.1, 1, 5, "green for each vehicle of pressure")
    sharpness: float = setting(1.0, 0.1, 5, "power of the pressure that shares out green")
    full_share: float = setting(0.8, 0, 1, "a road filled beyond this takes no more")


class CyclicMaxPressure:
    """Stages in the shipped order; at each cycle's start the green is shared by pressure.

    Pressures are means over the cycle before. A stage under no pressure gets its minimum.
    """

    name = "max-pressure-cyclic"

    def __init__(self, network: Network, settings: CyclicSettings | None = None) -> None:
        self._network = network
        self._set = settings or CyclicSettings()
        self._acyclic = MaxPressure(network, MaxPressureSettings(full_share=self._set.full_share))
        self._orders = [stage_order(network, j) for j in range(network.junctions)]
        self._change_s = intergreen_ms(network) / MS_PER_S
        self._least_s = least_green_s(network)
        shipped_s = network.program_cycle_ms[network.junction_program] / MS_PER_S
        top_s = np.maximum(self._set.max_cycle_s, shipped_s)
        self._cycle_s = top_s
        self._sum = np.zeros(network.stages)
        self._ticks = np.zeros(network.junctions)
        self._end_ms = np.full(network.junctions, -1, dtype=np.int64)
        # Times (ms) at which each step of the running cycle ends, and its stage.
        self._step_end: list[NDArray[np.int64]] = [np.zeros(0, np.int64)] * network.junctions

    def decide(self, state: TrafficState, signals: SignalState) -> Commands:
        """See `topis.control.protocol.Controller`."""
        network = self._network
        self._sum += self._acyclic.stage_pressure(state)
        self._ticks += 1
        for junction in np.flatnonzero(state.time_ms >= self._end_ms).tolist():
            self._plan_cycle(junction, state.time_ms)
        stage = np.empty(network.junctions, dtype=np.int32)
        for junction, ends in enumerate(self._step_end):
            step = min(int(np.searchsorted(ends, state.time_ms, side="right")), len(ends) - 1)
            stage[junction] = self._orders[junction][step]
        return Commands(state.time_ms, stage)

    def _plan_cycle(self, junction: int, now_ms: int) -> None:
        network, order = self._network, self._orders[junction]
        pressure = self._sum[order] / max(self._ticks[junction], 1.0)
        first, last = network.junction_stage_ptr[junction : junction + 2]
        self._sum[first:last] = 0.0
        self._ticks[junction] = 0
        change_s = changes_s(network, self._change_s, order)
        least_s = self._least_s[order]
        fixed_s = float(change_s.sum() + least_s.sum())
        # As much green as what pressed on the mean would take to go, within the bounds.
        wanted_s = self._set.headway_s * float(pressure.sum())
        bounds_s = self._set.min_cycle_s - fixed_s, self._cycle_s[junction] - fixed_s
        spare_s = max(0.0, float(np.clip(wanted_s, *bounds_s)))
        weight = pressure**self._set.sharpness
        total = weight.sum()
        share = weight / total if total > 0 else np.full(len(order), 1.0 / len(order))
        step_s = change_s + least_s + spare_s * share
        self._step_end[junction] = now_ms + np.cumsum(np.round(step_s * MS_PER_S).astype(np.int64))
        self._end_ms[junction] = self._step_end[junction][-1]


class _RoadsBehind:
    """How much room there is behind the stop line of each lane."""

    def __init__(self, network: Network, threads: int) -> None:
        signalised = np.flatnonzero(network.conn_group >= 0)
        from_lane = network.conn_from_lane[signalised]
        by_lane = signalised[np.argsort(from_lane, kind="stable")]
        lanes = np.arange(network.lanes + 1)
        self._ptr = np.searchsorted(network.conn_from_lane[by_lane], lanes).astype(np.int32)
        self._to_lane = network.conn_to_lane[by_lane]
        self._share = network.conn_share[by_lane]
        storage_veh = network.lane_length_m / JAM_SPACING_M
        self._storage_veh = np.maximum(storage_veh, LEAST_STORAGE_VEH).astype(np.float32)
        self._lanes, self._threads = network.lanes, threads

    def free(self, queue_veh: NDArray[np.float32], full_share: float) -> NDArray[np.float64]:
        """1 where every way on is open, 0 where all are full, float64[lanes]."""
        full, free = np.empty(self._lanes, dtype=np.uint8), np.empty(self._lanes)
        roads_behind(
            self._ptr, self._to_lane, self._share, self._storage_veh, queue_veh, full_share,
            self._threads, full, free,
        )  # fmt: skip
        return free
