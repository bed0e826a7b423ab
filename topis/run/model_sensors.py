"""What sensors would say of the queue model: the readings that SUMO's detectors give.

See `topis.run.sumo_sensors`; here they follow from where each vehicle is on its lane.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from topis.model.network import Network
from topis.model.observation import CAMERA, Observation, ProbeReports, SensorTable
from topis.units import MS_PER_S, STANDING_MPS

VEHICLE_M = 5.0
#: Moments of a second at which it is looked whether a loop is covered.
LOOKS = 4
#: One who has left the lane in the second covered a loop at its end for this share of it.
LEAVING_SHARE = 0.3
#: Longer than any lane (m).
_APART_M = 1e6


@dataclass(frozen=True)
class Positions:
    """Vehicles under way: arrays [vehicles].

    ``before_m`` and ``at_m`` from the begin of ``lane``, a second ago and now.
    """

    lane: NDArray[np.int32]
    before_m: NDArray[np.float64]
    at_m: NDArray[np.float64]
    number: NDArray[np.int64]


class Vehicles(Protocol):
    """What is sensed: `topis.run.street_model.StreetModel`."""

    now_s: int
    gone: NDArray[np.int32]

    def positions(self) -> Positions:
        """Where everyone is."""


class ModelSensors:
    """Reads the sensors of a table, second by second."""

    def __init__(self, network: Network, sensors: SensorTable) -> None:
        self._sensors = sensors
        self._alive = sensors.alive
        # Along the roads, as the vehicles are sorted: what is sought lies beside what was found.
        along = np.lexsort((sensors.start_m, sensors.lane))
        along = along[sensors.alive[along]]
        self._camera = along[sensors.kind[along] == CAMERA]
        self._loop = along[sensors.kind[along] != CAMERA]
        self._passed: NDArray[np.int64] | None = None
        self._gone: NDArray[np.int32] | None = None
        self._length_m = network.lane_length_m

    def read(self, vehicles: Vehicles) -> Observation:
        """Readings of the last second."""
        at = vehicles.positions()
        reading = np.full((len(self._sensors), 2), np.nan, dtype=np.float32)
        reading[self._alive] = 0.0
        here = np.sort(at.lane * _APART_M + at.at_m)
        self._look(reading, at, here)
        self._count(reading, at, here, vehicles.gone)
        return Observation(vehicles.now_s * MS_PER_S, reading, self._reports(at, vehicles.now_s))

    def _look(self, reading: NDArray[np.float32], at: Positions, here: NDArray[np.float64]) -> None:
        which, table = self._camera, self._sensors
        base = table.lane[which] * _APART_M
        low, high = base + table.start_m[which], base + table.end_m[which]
        stands = at.at_m - at.before_m < STANDING_MPS
        for column, keys in enumerate((here, np.sort((at.lane * _APART_M + at.at_m)[stands]))):
            reading[which, column] = np.searchsorted(keys, high, "right") - np.searchsorted(
                keys, low
            )

    def _count(
        self,
        reading: NDArray[np.float32],
        at: Positions,
        here: NDArray[np.float64],
        gone: NDArray[np.int32],
    ) -> None:
        which, table = self._loop, self._sensors
        lane = table.lane[which]
        place = lane * _APART_M + table.start_m[which]
        beyond = np.searchsorted(here, (lane + 1) * _APART_M) - np.searchsorted(here, place)
        passed = gone[lane].astype(np.int64) + beyond
        if self._passed is None:
            self._passed = passed
        if self._gone is None:
            self._gone = gone.copy()
        count = np.maximum(passed - self._passed, 0)
        covered = np.zeros(len(which))
        for k in range(1, LOOKS + 1):
            keys = np.sort(at.lane * _APART_M + at.before_m + k / LOOKS * (at.at_m - at.before_m))
            covered += np.searchsorted(keys, place + VEHICLE_M, "right") > np.searchsorted(
                keys, place
            )
        left = (gone[lane] - self._gone[lane]) * (
            self._length_m[lane] - table.start_m[which] < 2 * VEHICLE_M
        )
        share = np.minimum(covered / LOOKS + LEAVING_SHARE * left, 1.0)
        reading[which, 0] = count
        reading[which, 1] = np.where((left > 0) & (share > 0.9), 0.9, share)
        self._passed = np.maximum(passed, self._passed)
        self._gone = gone.copy()

    def _reports(self, at: Positions, now_s: int) -> ProbeReports:
        share, period_s = self._sensors.probe_share, self._sensors.probe_period_s
        if share <= 0.0 or not len(at.lane):
            return ProbeReports.none()
        # A number that looks drawn (Knuth's multiplicative hash) says who is one, and when.
        drawn = (at.number * 2654435761) % 2**32
        due = (drawn < share * 2**32) & ((now_s + drawn) % max(1, round(period_s)) == 0)
        speed = at.at_m - at.before_m
        return ProbeReports(
            drawn[due],
            at.lane[due].astype(np.int32),
            at.at_m[due].astype(np.float32),
            speed[due].astype(np.float32),
        )
