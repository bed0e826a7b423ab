"""Twin of `topis._core.lane_tracker`: one object per lane, numbers one at a time.

Everything is kept in float32 as in the kernel, so that both agree to the last bit; where
the kernel's literals make an expression double precision, `float` says so here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

UNSEEN, LOOPS, CAMERAS = 0, 1, 2
F = np.float32
COVERED_S, CLEAR_S, COVERED_SHARE = F(2.0), F(3.0), F(0.95)
VOUCHED_VEH, FREE_PASS = F(8.0), F(1.4)
FLOW_AVERAGE_S, STOPPING_EXTRA_S, LONG_GAP_S = F(240.0), F(2.5), F(99.0)
FULL_VIEW, OUT_AVERAGE_S, UNSEEN_START_S = F(0.7), F(60.0), F(3.0)
STARTED_S, BELIEVE_S, FORGET_S = F(4.0), F(5.0), F(60.0)
#: Numbers given once per lane, numbers that move, and the row of seconds that moves too.
KNOWN = (
    "between_veh", "transit_s", "view_s", "view_veh", "free_pass_s", "sat_flow_vps",
    "assumed_vps", "most_beyond_veh",
)  # fmt: skip
NUMBERS = (
    "queue_veh", "vehicles_veh", "gap_s", "flow_vps", "between", "beyond", "transit",
    "covered_s", "clear_s", "departed_veh", "green_s", "idle_s", "flowing", "out_vps",
)  # fmt: skip
STATE = (*NUMBERS, "coming_vps")


@dataclass(frozen=True)
class Camera:
    """A camera as one lane sees it: its share of what is seen, and how far off in time."""

    sensor: int
    weight: np.float32
    near_s: np.float32
    far_s: np.float32


class Lane:
    """One approach lane: its sensors and what is believed of it."""

    between_veh: np.float32
    transit_s: np.float32
    view_s: np.float32
    view_veh: np.float32
    free_pass_s: np.float32
    sat_flow_vps: np.float32
    assumed_vps: np.float32
    most_beyond_veh: np.float32
    queue_veh: np.float32
    vehicles_veh: np.float32
    gap_s: np.float32
    flow_vps: np.float32
    between: np.float32
    beyond: np.float32
    transit: np.float32
    covered_s: np.float32
    clear_s: np.float32
    departed_veh: np.float32
    green_s: np.float32
    idle_s: np.float32
    flowing: np.float32
    out_vps: np.float32

    def __init__(self, arrays: Mapping[str, Any], number: int) -> None:
        self.seen_by = int(arrays["seen_by"][number])
        mine = range(arrays["camera_ptr"][number], arrays["camera_ptr"][number + 1])
        self.cameras = [
            Camera(
                int(arrays["camera_sensor"][k]),
                F(arrays["camera_weight"][k]),
                F(arrays["camera_near_s"][k]),
                F(arrays["camera_far_s"][k]),
            )
            for k in mine
        ]
        self.stop = int(arrays["stop_sensor"][number])
        self.advance = int(arrays["advance_sensor"][number])
        for name in (*KNOWN, *NUMBERS):
            setattr(self, name, F(arrays[name][number]))
        self.coming_vps = [F(value) for value in arrays["coming_vps"][number]]

    def update(
        self, reading: Sequence[Any], *, green: bool, dt: np.float32, gain: np.float32
    ) -> None:
        self.coming_vps = [F(0)] * len(self.coming_vps)
        if self.seen_by == CAMERAS:
            self.by_camera(reading, green=green, dt=dt, gain=gain)
        elif self.seen_by == LOOPS:
            self.by_loops(reading, green=green, dt=dt, gain=gain)
        else:
            self.by_assumption(green=green, dt=dt)
        if dt > 0:
            error = self.departed_veh / dt - self.out_vps
            step = min(float(dt / OUT_AVERAGE_S), 1.0)
            self.out_vps = F(float(self.out_vps) + step * float(error))

    def by_camera(
        self, reading: Sequence[Any], *, green: bool, dt: np.float32, gain: np.float32
    ) -> None:
        vehicles = stopped = F(0)
        for camera in self.cameras:
            seen, standing = reading[camera.sensor]
            vehicles = vehicles + camera.weight * seen
            stopped = stopped + camera.weight * standing
            self.expect(camera.weight * (seen - standing), camera.near_s, camera.far_s)
        moving = vehicles - stopped
        if self.stop >= 0:
            self.departed_veh = reading[self.stop][0]
            self.watch_flow(waiting=bool(stopped >= 1), green=green, dt=dt)
        elif green:
            self.departed_veh = dt * min(self.sat_flow_vps, moving / self.view_s)
        else:
            self.departed_veh = F(0)
        if stopped > 0.5:
            self.gap_s = F(0)
        elif vehicles > 0:
            self.gap_s = min(self.view_s / vehicles, LONG_GAP_S)
        else:
            self.gap_s = LONG_GAP_S
        if stopped >= FULL_VIEW * self.view_veh:
            unseen = max(F(0), self.beyond + self.flow_vps * dt - self.departed_veh)
            self.beyond = min(unseen, self.most_beyond_veh)
        else:
            self.beyond = F(0)
            moving_flow = moving / (self.view_s + STOPPING_EXTRA_S)
            self.flow_vps = self.flow_vps + gain * (moving_flow - self.flow_vps)
        self.queue_veh, self.vehicles_veh = stopped + self.beyond, vehicles + self.beyond

    def expect(self, vehicles: np.float32, near_s: np.float32, far_s: np.float32) -> None:
        """Lay them over the seconds in which they may be at the line, by the overlap."""
        if vehicles <= 0:
            return
        for second in range(min(math.ceil(far_s), len(self.coming_vps))):
            overlap = min(far_s, F(second + 1)) - max(near_s, F(second))
            if overlap > 0:
                more = vehicles * overlap / (far_s - near_s)
                self.coming_vps[second] = self.coming_vps[second] + more

    def watch_flow(self, *, waiting: bool, green: bool, dt: np.float32) -> None:
        if not green:
            self.green_s = self.idle_s = F(0)
            back = min(float(dt / FORGET_S), 1.0) * (1.0 - float(self.flowing))
            self.flowing = F(float(self.flowing) + back)
            return
        self.green_s = self.green_s + dt
        self.idle_s = F(0) if self.departed_veh > 0 else self.idle_s + dt
        if self.green_s >= STARTED_S:
            blocked = waiting and self.idle_s >= STARTED_S
            step = min(float(dt / BELIEVE_S), 1.0)
            error = (F(0) if blocked else F(1)) - self.flowing
            self.flowing = F(float(self.flowing) + step * float(error))

    def by_loops(
        self, reading: Sequence[Any], *, green: bool, dt: np.float32, gain: np.float32
    ) -> None:
        out, stop_share = reading[self.stop]
        into, share = reading[self.advance] if self.advance >= 0 else (out, stop_share)
        self.covered_s = self.covered_s + dt if share >= COVERED_SHARE else F(0)
        self.clear_s = self.clear_s + dt if stop_share <= 0 else F(0)
        self.departed_veh = out
        queue_over_loop = self.covered_s >= COVERED_S
        line_clear = self.clear_s >= CLEAR_S
        if (self.advance < 0 or not queue_over_loop) and dt > 0:
            self.flow_vps = self.flow_vps + gain * (into / dt - self.flow_vps)
        if self.advance >= 0:
            leaving = float(self.transit) * min(1.0, float(dt / self.transit_s))
            self.transit = F(float(self.transit) + (float(into) - leaving))
            self.between = max(F(0), self.between + into - out)
            if line_clear:
                self.between = min(self.between, self.transit)
            if stop_share >= COVERED_SHARE:
                self.between = max(self.between, F(1))
            if queue_over_loop and not green:
                self.between = self.between_veh
            self.between = min(self.between, self.between_veh)
        elif stop_share >= COVERED_SHARE:
            self.between = F(1)
        else:
            self.between = min(out, F(1))
        if queue_over_loop:
            self.beyond = self.beyond + self.flow_vps * dt
        elif self.beyond > 0:
            self.beyond = self.beyond + (self.flow_vps * dt - into)
            if share <= 0 and green and line_clear:
                self.beyond = F(0)
            elif green and into > 0 and share * dt < FREE_PASS * self.free_pass_s * into:
                self.beyond = self.beyond * F(0.5)
            self.beyond = max(self.beyond, F(0))
        self.beyond = min(self.beyond, self.most_beyond_veh)
        self.watch_flow(waiting=bool(self.between >= 1 and stop_share > 0), green=green, dt=dt)
        self.queue_veh = self.between + self.beyond
        self.vehicles_veh = min(self.queue_veh, max(self.between_veh, VOUCHED_VEH))
        nobody = share <= 0 and stop_share <= 0 and into <= 0
        self.gap_s = min(self.gap_s + dt, LONG_GAP_S) if nobody else F(0)

    def by_assumption(self, *, green: bool, dt: np.float32) -> None:
        expected = self.between + self.assumed_vps * dt
        expected = min(expected, self.view_veh + self.most_beyond_veh)
        self.departed_veh = F(0)
        self.green_s = self.green_s + dt if green else F(0)
        if not green:
            self.beyond = np.sqrt(expected)
        elif self.green_s >= UNSEEN_START_S:
            self.departed_veh = min(expected + self.beyond, self.sat_flow_vps * dt)
            if self.departed_veh < expected:
                expected = expected - self.departed_veh
            else:
                self.beyond = max(self.beyond - (self.departed_veh - expected), F(0))
                expected = F(0)
        self.between = expected
        self.queue_veh = self.vehicles_veh = expected + self.beyond
        self.gap_s = F(0) if self.queue_veh > 0.5 else LONG_GAP_S
        self.flow_vps = self.assumed_vps

    def bound(self, distance: np.float32, speed: np.float32, spacing: np.float32) -> None:
        if self.seen_by == CAMERAS:
            return
        ahead = distance / spacing
        length = float(ahead) + 1.0
        if float(speed) < 1.4:
            if float(self.queue_veh) < length:
                if self.seen_by == LOOPS:
                    self.beyond = F(max(float(self.beyond), length - float(self.between)))
                else:
                    self.between = F(length)
                self.queue_veh = F(length)
            self.vehicles_veh = F(max(float(self.vehicles_veh), length))
        elif speed > 8 and self.seen_by == UNSEEN:
            self.between = min(self.between, ahead)
            self.beyond = min(self.beyond, ahead - self.between)
            self.queue_veh = self.vehicles_veh = min(self.queue_veh, ahead)


class LaneTracker:
    """Takes the kernel's arrays (copies them)."""

    def __init__(self, **arrays: Any) -> None:
        self.lanes = [Lane(arrays, i) for i in range(len(arrays["seen_by"]))]
        self.elapsed_s = F(0)

    def update(self, reading: Any, green: Sequence[int], dt_s: float) -> None:
        dt = F(dt_s)
        rows = [(F(count), F(share)) for count, share in reading]
        self.elapsed_s = self.elapsed_s + dt
        average_s = min(max(float(self.elapsed_s), 30.0), float(FLOW_AVERAGE_S))
        gain = F(min(float(dt) / average_s, 1.0))
        for lane, is_green in zip(self.lanes, green, strict=True):
            lane.update(rows, green=bool(is_green), dt=dt, gain=gain)

    def bound(self, lane: Sequence[int], distance_m: Any, speed_mps: Any, spacing_m: float) -> None:
        for number, distance, speed in zip(lane, distance_m, speed_mps, strict=True):
            self.lanes[number].bound(F(distance), F(speed), F(spacing_m))

    def state(self) -> dict[str, np.ndarray]:
        """What the kernel keeps in its INOUT arrays."""
        return {
            name: np.array([getattr(lane, name) for lane in self.lanes], np.float32)
            for name in STATE
        }
