"""Slow twin of `topis._core.view_counts`: row by row, track by track."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np

NO_SPEED = 65535


class ViewCounts:
    """Gathers all rows and counts at the end."""

    def __init__(self, **facts: Any) -> None:
        self.facts = facts
        self.unknown = 0
        self._rows: list[tuple[int, ...]] = []

    def add(self, *columns: Any) -> None:
        *fields, begin_ms, reading = columns
        end_ms = begin_ms + self.facts["tick_ms"] * len(reading)
        keys = self.facts["lane_of_key"]
        for row in zip(*(field.tolist() for field in fields), strict=True):
            camera, track, time_ms, x, y, speed, key = row
            if not begin_ms <= time_ms < end_ms:
                continue
            lane = int(keys[key]) if key < len(keys) else -1
            if lane < 0:
                self.unknown += lane == -1
                continue
            self._rows.append((camera, track, lane, time_ms, x, y, speed))

    def finish(self, begin_ms: int, reading: Any) -> None:
        f = self.facts
        for (_, _, lane), group in groupby(self._rows, key=lambda row: row[:3]):
            self._follow(list(group), lane, begin_ms, reading)
        self._rows.clear()
        lines = f["line_sensor"]
        for sensor in lines[lines >= 0]:
            reading[:, sensor, 1] = reading[:, sensor, 1].clip(max=1.0)

    def _follow(self, rows: list[tuple[int, ...]], lane: int, begin_ms: int, reading: Any) -> None:
        f = self.facts
        line, line_m = int(f["line_sensor"][lane]), float(f["line_m"][lane])
        passed = False
        before: float | None = None
        # How far it comes by the next frame.
        ahead = np.float32(0.0)
        for number, (_, _, _, time_ms, x, y, speed) in enumerate(rows):
            tick = (time_ms - begin_ms) // f["tick_ms"]
            here = float(f["along_m"][lane] - (f["along_x"][lane] * x + f["along_y"][lane] * y))
            if line >= 0 and not passed and before is not None and before > line_m >= here:
                reading[tick, line, 0] += 1
                passed = True
            if line >= 0 and here <= line_m < here + f["vehicle_m"]:
                reading[tick, line, 1] += f["frame_ms"] / f["tick_ms"]
            before = here
            ahead = np.float32(0 if speed == NO_SPEED else speed * f["frame_ms"]) / np.float32(1e5)
            last = number + 1 == len(rows)
            next_tick = None if last else (rows[number + 1][3] - begin_ms) // f["tick_ms"]
            if next_tick == tick:
                continue
            end_ms = begin_ms + f["tick_ms"] * (tick + 1)
            if end_ms - time_ms > 4 * f["frame_ms"]:
                continue
            for k in range(f["stretch_ptr"][lane], f["stretch_ptr"][lane + 1]):
                if f["near_m"][k] <= here < f["far_m"][k]:
                    sensor = f["stretch_sensor"][k]
                    reading[tick, sensor, 0] += 1
                    if speed != NO_SPEED and speed < f["standing_below"]:
                        reading[tick, sensor, 1] += 1
                    break
        if before is None or line < 0 or passed:
            return
        if before > line_m >= np.float32(before) - ahead:
            reading[tick, line, 0] += 1
