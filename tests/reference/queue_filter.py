"""Slow twin of `topis._core.queue_filter`."""

from __future__ import annotations

from typing import Any

import numpy as np

STARTS_VPS, REACTION_S = 0.87, 1.5
COVERED_S, CLEAR_S, FULL_VIEW = 3.0, 3.0, 0.85
SETTLED_S, LEAST_S, FOLLOWS_S = 8.0, 6.0, 3.5
LEAST_SAT_VPS, MOST_SAT_VPS, SAT_DRIFT = 0.25, 0.7, 2e-8
MOST_PULL_VEH = 3.0
FLOW_DOUBT, START_DOUBT, LEAST_VAR = 0.25, 0.5, 0.05
UNSEEN, LOOPS, CAMERAS = 0, 1, 2


class QueueFilter:
    """The same in Python's own numbers; arrays are changed in place."""

    def __init__(self, **arrays: Any) -> None:
        for name, values in arrays.items():
            setattr(self, name, values)

    def update(
        self,
        green: Any,
        arrive_vps: Any,
        standing_veh: Any,
        left_veh: Any,
        covered_s: Any,
        clear_s: Any,
        flowing: Any,
        dt_s: float,
    ) -> None:
        s: Any = self
        for lane in range(len(green)):
            is_green = green[lane] > 0
            s.green_s[lane] = s.green_s[lane] + dt_s if is_green else 0.0
            s.age_s[lane] += dt_s
            come = float(arrive_vps[lane]) * dt_s
            start = 0.0
            if s.green_s[lane] > REACTION_S:
                start = STARTS_VPS * dt_s * float(flowing[lane]) * float(green[lane])
            if start > 0 and s.queue_veh[lane] + come <= start:
                s.queue_veh[lane] = 0.0
                keep = 1.0 - min(0.25 * dt_s, 0.5)
                s.queue_var[lane] = max(s.queue_var[lane] * keep, LEAST_VAR)
            else:
                queue = s.queue_veh[lane] + come - start
                s.queue_var[lane] += come * (1.0 + FLOW_DOUBT * queue) + START_DOUBT * start
                s.queue_veh[lane] = min(queue, s.most_veh[lane])
            if s.seen_by[lane] == CAMERAS:
                self._camera(lane, float(standing_veh[lane]))
                self._headways(lane, float(left_veh[lane]), dt_s)
            elif s.seen_by[lane] == LOOPS:
                self._loops(lane, is_green, float(covered_s[lane]), float(clear_s[lane]))
                self._headways(lane, float(left_veh[lane]), dt_s)

    def _camera(self, lane: int, standing: float) -> None:
        s: Any = self
        s.age_s[lane] = 0.0
        in_view = standing < FULL_VIEW * s.view_veh[lane]
        if in_view or s.queue_veh[lane] < standing:
            self._correct(lane, standing, 0.05 + 0.02 * standing)

    def _loops(self, lane: int, is_green: bool, covered_s: float, clear_s: float) -> None:
        s: Any = self
        room = s.between_veh[lane]
        if clear_s >= CLEAR_S:
            s.age_s[lane] = 0.0
            if s.queue_veh[lane] > 0:
                self._correct(lane, 0.0, 0.3)
            return
        if not is_green and clear_s <= 0 and s.queue_veh[lane] < 1:
            s.age_s[lane] = 0.0
            self._correct(lane, 1.0, 0.3)
        if room <= 0:
            return
        reaches = covered_s >= COVERED_S
        if (reaches and s.queue_veh[lane] < room) or (
            not reaches and not is_green and s.queue_veh[lane] > room
        ):
            s.age_s[lane] = 0.0
            self._correct(lane, room, 1.0)

    def _headways(self, lane: int, left: float, dt_s: float) -> None:
        s: Any = self
        s.sat_var[lane] += SAT_DRIFT * dt_s
        s.idle_s[lane] = 0.0 if left > 0 else s.idle_s[lane] + dt_s
        if s.green_s[lane] <= dt_s:
            s.stood_veh[lane] = s.queue_veh[lane]
        discharging = (
            s.green_s[lane] > SETTLED_S
            and s.idle_s[lane] < FOLLOWS_S
            and s.passed_s[lane] >= 0
            and s.green_s[lane] * s.sat_flow_vps[lane] < s.stood_veh[lane]
        )
        if discharging:
            s.passed_veh[lane] += left
            s.passed_s[lane] += dt_s
            return
        if s.passed_s[lane] >= LEAST_S and s.passed_veh[lane] >= 3:
            rate = s.passed_veh[lane] / max(s.passed_s[lane] - s.idle_s[lane], 1.0)
            if LEAST_SAT_VPS < rate < MOST_SAT_VPS:
                variance = rate**2 * 0.1 / s.passed_veh[lane] + 0.3 / s.passed_s[lane] ** 2
                gain = s.sat_var[lane] / (s.sat_var[lane] + variance)
                s.sat_flow_vps[lane] += gain * (rate - s.sat_flow_vps[lane])
                s.sat_var[lane] *= 1 - gain
        s.passed_veh[lane] = 0.0
        s.passed_s[lane] = -1.0 if s.green_s[lane] > SETTLED_S else 0.0

    def _correct(self, lane: int, seen: float, variance: float) -> None:
        s: Any = self
        gain = s.queue_var[lane] / (s.queue_var[lane] + variance)
        s.queue_veh[lane] += gain * (seen - s.queue_veh[lane])
        s.queue_var[lane] = max(s.queue_var[lane] * (1 - gain), LEAST_VAR)

    def vote(self, lane: Any, tail_veh: Any, kind: Any, variance: Any) -> None:
        s: Any = self
        for i, tail, what, spread in zip(lane, tail_veh, kind, variance, strict=True):
            before = s.queue_veh[i]
            if (what > 0 and before >= tail) or (what < 0 and before <= tail):
                continue
            gain = s.queue_var[i] / (s.queue_var[i] + spread)
            s.queue_veh[i] += np.clip(gain * (tail - before), -MOST_PULL_VEH, MOST_PULL_VEH)
            s.queue_var[i] = max(s.queue_var[i] * (1 - gain), LEAST_VAR)
            s.age_s[i] = 0.0
