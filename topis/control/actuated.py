"""Vehicle-actuated control: gap-out and max-out on our own sensors.

A stage lasts its minimum, then as long as vehicles keep coming at less than the passage
time, at most its maximum, and only while someone else waits. The next stage is the next
in the shipped order that somebody calls for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from topis.config import setting
from topis.control.protocol import EXACT, Measure, Reasons, Why
from topis.control.service import WELL_SERVED, pedestrian_stages, service_table, stage_order
from topis.model.command import Commands
from topis.model.lamp import RED
from topis.model.network import Network
from topis.model.state import SignalState, TrafficState, zero_if_unknown
from topis.units import MS_PER_S


@dataclass(frozen=True)
class ActuatedSettings:
    """Usual practice (FHWA Signal Timing Manual, 2nd ed., ch. 5)."""

    passage_s: float = setting(3.0, 0.5, 10, "a longer gap ends the green")
    max_green_s: float = setting(50.0, 10, 300, "longest green where the program names none")
    walk_recall_s: float = setting(60.0, 0, 300, "a crossing red this long calls")


class Actuated:
    """Gap-out/max-out with stage skipping."""

    name = "actuated"
    measure: Measure | None = None

    def __init__(self, network: Network, settings: ActuatedSettings | None = None) -> None:
        self._network = network
        self._set = settings or ActuatedSettings()
        self._service = service_table(network)
        self._well = self._service.rate >= WELL_SERVED
        # A stage in which everyone gives way is extended by those it has.
        all_weak = np.ones(network.stages, dtype=bool)
        all_weak[self._service.stage[self._well]] = False
        self._extends = self._well | all_weak[self._service.stage]
        self._walk = pedestrian_stages(network)
        self._max_ms = np.where(
            network.stage_max_green_ms > 0,
            network.stage_max_green_ms,
            int(self._set.max_green_s * MS_PER_S),
        )
        # Only stages of the active program take their turn.
        self._in_order = np.zeros(network.stages, dtype=bool)
        for junction in range(network.junctions):
            self._in_order[stage_order(network, junction)] = True
        self._counts = np.diff(network.junction_stage_ptr)
        self._why = np.full(network.junctions, Why.CHANGING, dtype=np.uint8)

    def decide(self, state: TrafficState, signals: SignalState) -> Commands:
        """See `topis.control.protocol.Controller`."""
        network, table = self._network, self._service
        shown = np.where(signals.stage >= 0, signals.stage, network.junction_stage_ptr[:-1])
        stages = np.arange(network.stages)
        is_shown = stages == shown[network.stage_junction]
        served = np.zeros(network.lanes, dtype=bool)
        served[table.lane[is_shown[table.stage] & self._well]] = True
        extend = np.zeros(network.stages, dtype=bool)
        coming = state.gap_s[table.lane] < self._set.passage_s
        extend[table.stage[self._extends & coming & is_shown[table.stage]]] = True
        waiting = zero_if_unknown(state.vehicles_veh[table.lane]) >= 0.5
        call = np.zeros(network.stages, dtype=bool)
        call[table.stage[waiting & ~served[table.lane] & (self._well | self._extends)]] = True
        stage, group = self._walk
        red_ms = state.time_ms - signals.group_since_ms[group]
        late = (signals.group_code[group] == RED) & (red_ms >= self._set.walk_recall_s * MS_PER_S)
        call[stage[late]] = True
        call &= ~is_shown & self._in_order
        # Next stage in order with a call, counted from the one shown; 0 when nobody calls.
        count = self._counts[network.stage_junction]
        ahead = (stages - shown[network.stage_junction]) % count
        ahead = np.where(call, ahead, count)
        step = np.minimum.reduceat(ahead, network.junction_stage_ptr[:-1]) % self._counts
        low = network.junction_stage_ptr[:-1]
        following = low + (shown - low + step) % self._counts
        green_ms = state.time_ms - signals.since_ms
        done = green_ms >= network.stage_min_green_ms[shown]
        over = green_ms >= self._max_ms[shown]
        steady = (signals.coming < 0) & (signals.stage >= 0)
        leave = done & (~extend[shown] | over) & steady
        target = np.where(leave, following, shown)
        self._why = np.select(
            [~steady, ~done, ~leave, following == shown, extend[shown]],
            [Why.CHANGING, Why.MIN_GREEN, Why.EXTENDED, Why.NO_CALL, Why.MAX_GREEN],
            Why.GAP,
        ).astype(np.uint8)
        return Commands(
            state.time_ms, np.where(signals.coming >= 0, signals.coming, target).astype(np.int32)
        )

    def reasons(self) -> Reasons:
        """See `topis.control.protocol.Explains`; stages take turns, none is weighed."""
        network = self._network
        unsaid = np.full(network.junctions, -1, dtype=np.int32)
        return Reasons(
            self._why, np.zeros(network.junctions, dtype=bool), unsaid, unsaid,
            np.full(network.stages, np.nan, dtype=np.float32),
            np.full(network.stages, EXACT, dtype=np.uint8),
        )  # fmt: skip
