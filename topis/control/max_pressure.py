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

from topis.config import setting
from topis.control.protocol import EXACT, Measure, Reasons, Why
from topis.control.service import (
    best_of_junction,
    changes_s,
    intergreen_ms,
    least_green_s,
    pedestrian_stages,
    service_table,
    stage_order,
)
from topis.model.command import Commands
from topis.model.lamp import RED
from topis.model.network import Network
from topis.model.state import SignalState, TrafficState, zero_if_unknown
from topis.units import JAM_SPACING_M, MS_PER_S

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
        self._service = service_table(network)
        self._lost_s = intergreen_ms(network, vehicles_only=True) / MS_PER_S + 1.0
        self._walk = pedestrian_stages(network)
        self._next_ms = np.full(network.junctions, -1, dtype=np.int64)
        self._target = np.full(network.junctions, -1, dtype=np.int32)
        self._unserved_s = np.zeros(network.lanes, dtype=np.float32)
        self._last_ms: int | None = None
        self._roads = _RoadsBehind(network)
        self._value = np.full(network.stages, np.nan)
        self._steady, self._due, self._late = (
            np.zeros(network.junctions, dtype=bool) for _ in range(3)
        )

    def decide(self, state: TrafficState, signals: SignalState) -> Commands:
        """See `topis.control.protocol.Controller`."""
        self._wait(state, signals)
        pressure = self.stage_pressure(state)
        self._steady = signals.coming < 0
        self._due = due = self._steady & (state.time_ms >= self._next_ms)
        target = self._choose(pressure, signals, state.time_ms)
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
            why.astype(np.uint8), self._due, unsaid, unsaid, self._value.astype(np.float32),
            np.full(self._network.stages, EXACT, dtype=np.uint8),
        )  # fmt: skip

    def stage_pressure(self, state: TrafficState) -> NDArray[np.float64]:
        """Vehicles each stage could discharge, float64[stages]."""
        table, network = self._service, self._network
        queue = zero_if_unknown(state.vehicles_veh)
        free = self._roads.free(state, self._set.full_share)
        pressure: NDArray[np.float64] = np.bincount(
            table.stage,
            queue[table.lane] * table.rate * free[table.lane],
            minlength=network.stages,
        ).astype(np.float64)
        return pressure

    def _choose(
        self, pressure: NDArray[np.float64], signals: SignalState, now_ms: int
    ) -> NDArray[np.int32]:
        network, worth_s = self._network, self._set.worth_s
        shown = signals.stage
        own = np.where(shown >= 0, shown, network.junction_stage_ptr[:-1])
        owner = network.stage_junction
        local = np.arange(network.stages) - network.junction_stage_ptr[owner]
        lost_s = self._lost_s[own[owner], local]
        value = pressure * np.maximum(1.0 - lost_s / worth_s, 0.05)
        is_own = np.arange(network.stages) == shown[owner]
        value = np.where(is_own, pressure + 1e-6, value)
        self._value, overdue = value, self._overdue(signals, now_ms)
        self._late = np.bincount(owner, overdue, minlength=network.junctions) > 0.0
        return best_of_junction(network, value + overdue)

    def _wait(self, state: TrafficState, signals: SignalState) -> None:
        """Seconds each lane has had a queue and no stage that serves it."""
        dt_s = 0.0 if self._last_ms is None else (state.time_ms - self._last_ms) / MS_PER_S
        self._last_ms = state.time_ms
        table = self._service
        served = np.zeros(self._network.lanes, dtype=bool)
        now_shown = np.zeros(self._network.stages, dtype=bool)
        now_shown[signals.stage[(signals.stage >= 0) & (signals.coming < 0)]] = True
        served[table.lane[now_shown[table.stage] & (table.rate >= 0.2)]] = True
        waiting = zero_if_unknown(state.queue_veh) >= 1.0
        self._unserved_s = np.where(waiting & ~served, self._unserved_s + dt_s, 0.0)

    def _overdue(self, signals: SignalState, now_ms: int) -> NDArray[np.float64]:
        """A large value for stages that serve a lane or a crossing that waited too long."""
        table = self._service
        late = np.maximum(self._unserved_s - self._set.max_wait_s, 0.0)
        bonus = np.bincount(
            table.stage,
            np.where(table.rate >= 0.2, late[table.lane], 0.0),
            minlength=self._network.stages,
        )
        stage, group = self._walk
        red_s = (now_ms - signals.group_since_ms[group]) / MS_PER_S
        red_s = np.where(signals.group_code[group] == RED, red_s, 0.0)
        np.add.at(bonus, stage, np.maximum(red_s - self._set.walk_wait_s, 0.0))
        return np.asarray(1e3 * bonus, dtype=np.float64)


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

    def __init__(self, network: Network) -> None:
        signalised = np.flatnonzero(network.conn_group >= 0)
        self._from_lane = network.conn_from_lane[signalised]
        self._to_lane = network.conn_to_lane[signalised]
        self._share = network.conn_share[signalised].astype(np.float64)
        self._storage_veh = np.maximum(network.lane_length_m / JAM_SPACING_M, LEAST_STORAGE_VEH)
        self._lanes = network.lanes

    def free(self, state: TrafficState, full_share: float) -> NDArray[np.float64]:
        """1 where every way on is open, 0 where all are full, float64[lanes]."""
        full = zero_if_unknown(state.queue_veh) / self._storage_veh
        blocked = (full[self._to_lane] >= full_share).astype(np.float64)
        closed = np.bincount(self._from_lane, self._share * blocked, minlength=self._lanes)
        return np.asarray(np.maximum(1.0 - closed, 0.0), dtype=np.float64)
