"""Sensors in SUMO: detectors added at run time, read each step, as blind as real ones."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from topis.model.network import Network
from topis.model.observation import CAMERA, CAMERA_LINE, ProbeReports, SensorTable

#: SUMO insists on an output file and interval for each detector; ours write nothing.
_NOWHERE = 'file="NUL" period="1000000"'
_PROBE_CLASSES = frozenset({"bus", "taxi", "coach"})


def write_detectors(path: Path, network: Network, sensors: SensorTable) -> None:
    """Additional file with one detector per living sensor."""
    lines = ["<additional>"]
    for index, name in enumerate(sensors.ids):
        if not sensors.alive[index]:
            continue
        lane = quoteattr(network.lane_ids[sensors.lane[index]])
        if sensors.kind[index] == CAMERA:
            lines.append(
                f'  <laneAreaDetector id={quoteattr(name)} lane={lane} friendlyPos="true" '
                f'pos="{sensors.start_m[index]:.2f}" endPos="{sensors.end_m[index]:.2f}" '
                f"{_NOWHERE}/>"
            )
        else:
            lines.append(
                f'  <inductionLoop id={quoteattr(name)} lane={lane} friendlyPos="true" '
                f'pos="{sensors.start_m[index]:.2f}" {_NOWHERE}/>'
            )
    path.write_text("\n".join([*lines, "</additional>\n"]))


class SensorReader:
    """Reads all sensors; NaN for the dead ones.

    A loop counts a vehicle when it comes onto it; one that stood there before the step is
    not counted again. A camera misses each vehicle with the same probability, each second
    anew.
    """

    def __init__(
        self,
        api: ModuleType,
        sensors: SensorTable,
        *,
        seed: int,
        missed_share: float,
        subscribe: bool,
    ) -> None:
        camera = (sensors.kind == CAMERA) & sensors.alive
        loop = (sensors.kind != CAMERA) & sensors.alive
        self._cameras = np.flatnonzero(camera)
        self._loops = np.flatnonzero(loop)
        self._lines = np.flatnonzero((sensors.kind == CAMERA_LINE) & sensors.alive)
        self._camera_ids = [sensors.ids[i] for i in self._cameras]
        self._loop_ids = [sensors.ids[i] for i in self._loops]
        self._blank = np.where(sensors.alive, 0.0, np.nan).astype(np.float32)
        self._missed_share = missed_share
        self._rng = np.random.default_rng([seed, 0xCA3E2A])
        self._steps = 0
        self._count = np.zeros(len(self._loops))
        self._occupancy = np.zeros(len(self._loops))
        self._stood: set[int] = set()
        area: Any
        induction: Any
        if subscribe:
            area, induction = (
                _Subscribed(api.lanearea, self._camera_ids),
                _Subscribed(api.inductionloop, self._loop_ids),
            )
        else:
            area, induction = Direct(api, "lanearea"), Direct(api, "inductionloop")
        self._get_vehicles: Callable[[str], int] = area.getLastStepVehicleNumber
        self._get_stopped: Callable[[str], int] = area.getLastStepHaltingNumber
        self._get_passing: Callable[[str], int] = induction.getLastStepVehicleNumber
        self._get_occupancy: Callable[[str], float] = induction.getLastStepOccupancy
        self._get_since: Callable[[str], float] = induction.getTimeSinceDetection

    def after_step(self) -> None:
        """Sum what the loops saw in this step."""
        self._steps += 1
        ids, stood = self._loop_ids, self._stood
        # Most loops see nothing in a step: one call tells, the others are only for the rest.
        passing = list(map(self._get_passing, ids))
        standing = set()
        for index, number in enumerate(passing):
            if number:
                self._count[index] += number - (index in stood)
                self._occupancy[index] += self._get_occupancy(ids[index])
                if self._get_since(ids[index]) == 0.0:
                    standing.add(index)
        self._stood = standing

    def read(self) -> NDArray[np.float32]:
        """Readings since the last call, float32[sensors, 2]."""
        reading = np.stack([self._blank, self._blank], axis=1)
        vehicles = np.array(list(map(self._get_vehicles, self._camera_ids)), dtype=np.int64)
        occupied = np.flatnonzero(vehicles)
        if len(occupied):
            seen = vehicles[occupied]
            stopped = np.array([self._get_stopped(self._camera_ids[i]) for i in occupied])
            # SUMO counts one that stood and has just left the view as standing still.
            stopped = np.minimum(stopped, seen)
            if self._missed_share > 0:
                keep = 1.0 - self._missed_share
                stopped_seen = self._rng.binomial(stopped, keep)
                seen = stopped_seen + self._rng.binomial(seen - stopped, keep)
                stopped = stopped_seen
            reading[self._cameras[occupied], 0] = seen
            reading[self._cameras[occupied], 1] = stopped
        if self._steps:
            reading[self._loops, 0] = np.maximum(self._count, 0.0)
            reading[self._loops, 1] = np.clip(self._occupancy / (100.0 * self._steps), 0.0, 1.0)
            self._count[:] = self._occupancy[:] = 0.0
            self._steps = 0
            passed = reading[self._lines, 0].astype(np.int64)
            if self._missed_share > 0 and passed.any():
                reading[self._lines, 0] = self._rng.binomial(passed, 1.0 - self._missed_share)
        return reading


class Direct:
    """libsumo's getters without the Python function around each: a fifth less a call.

    Where a release of libsumo has no such inner function, the public one serves.
    """

    def __init__(self, api: ModuleType, domain: str) -> None:
        self._inner = getattr(api.libsumo, "_libsumo", None) if hasattr(api, "libsumo") else None
        self._public = getattr(api, domain)
        self._domain = domain

    def __getattr__(self, name: str) -> Any:
        public = getattr(self._public, name)
        return getattr(self._inner, f"{self._domain}_{name}", public)


class _Subscribed:
    """The getters used above, answered from subscriptions: one message a step over a socket."""

    def __init__(self, domain: ModuleType, ids: list[str]) -> None:
        import traci.constants as tc

        self._domain = domain
        self._vehicles = tc.LAST_STEP_VEHICLE_NUMBER
        self._halting = tc.LAST_STEP_VEHICLE_HALTING_NUMBER
        self._occupancy = tc.LAST_STEP_OCCUPANCY
        self._since = tc.LAST_STEP_TIME_SINCE_DETECTION
        is_area = "lanearea" in getattr(domain, "_name", "").lower()
        variables = [self._vehicles, self._halting if is_area else self._occupancy]
        if not is_area:
            variables.append(self._since)
        for name in ids:
            domain.subscribe(name, variables)

    def _value(self, name: str, variable: int) -> float:
        return float(self._domain.getSubscriptionResults(name).get(variable, 0.0))

    def getLastStepVehicleNumber(self, name: str) -> int:  # noqa: N802 - SUMO's name
        return int(self._value(name, self._vehicles))

    def getLastStepHaltingNumber(self, name: str) -> int:  # noqa: N802 - SUMO's name
        return int(self._value(name, self._halting))

    def getLastStepOccupancy(self, name: str) -> float:  # noqa: N802 - SUMO's name
        return self._value(name, self._occupancy)

    def getTimeSinceDetection(self, name: str) -> float:  # noqa: N802 - SUMO's name
        return self._value(name, self._since)


class ProbeReader:
    """Vehicles that report: all buses and taxis, and others up to the share wanted.

    Who is a probe follows from the seed and the vehicle's name alone; what is handed on
    is a pseudonym, a lane, a position with GPS error and a speed.
    """

    def __init__(
        self,
        api: ModuleType,
        network: Network,
        *,
        share: float,
        seed: int,
        period_ticks: int,
        error_m: float,
    ) -> None:
        self._api = api
        self._network = network
        self._lane_index = {name: i for i, name in enumerate(network.lane_ids)}
        self._share = share
        self._seed = seed
        self._period = period_ticks
        self._error_m = error_m
        self._rng = np.random.default_rng([seed, 0x6B5])
        self._tick = 0
        self._departed = 0
        self._transit = 0
        self._due: list[dict[str, int]] = [{} for _ in range(period_ticks)]
        self._slot: dict[str, int] = {}

    def after_step(self) -> None:
        """Enlist who departed, forget who arrived."""
        if self._share <= 0:
            return
        for vehicle in self._api.simulation.getDepartedIDList():
            self._departed += 1
            draw = zlib.crc32(f"{self._seed}:{vehicle}".encode())
            is_transit = self._api.vehicle.getVehicleClass(vehicle) in _PROBE_CLASSES
            self._transit += is_transit
            transit_share = min(self._transit / self._departed, 0.999)
            others = max(0.0, (self._share - transit_share) / (1.0 - transit_share))
            if is_transit or draw < others * 2**32:
                slot = draw % self._period
                self._slot[vehicle] = slot
                self._due[slot][vehicle] = draw
        for vehicle in self._api.simulation.getArrivedIDList():
            slot = self._slot.pop(vehicle, -1)
            if slot >= 0:
                del self._due[slot][vehicle]

    def read(self) -> ProbeReports:
        """Reports that are due in this tick; vehicles inside a junction are between roads."""
        slot = self._tick % self._period
        self._tick += 1
        rows = []
        on_road = self._api.vehicle
        for vehicle, pseudonym in self._due[slot].items():
            lane = self._lane_index.get(on_road.getLaneID(vehicle))
            if lane is not None:
                rows.append(
                    (pseudonym, lane, on_road.getLanePosition(vehicle), on_road.getSpeed(vehicle))
                )
        if not rows:
            return ProbeReports.none()
        probe, lanes, offset, speed = zip(*rows, strict=True)
        lane_index = np.array(lanes, dtype=np.int32)
        noisy = np.array(offset) + self._rng.normal(0.0, self._error_m, len(rows))
        return ProbeReports(
            np.array(probe, dtype=np.int64),
            lane_index,
            np.clip(noisy, 0.0, self._network.lane_length_m[lane_index]).astype(np.float32),
            np.array(speed, dtype=np.float32),
        )


class MicroReader:
    """Sensors and probes of a microscopic run."""

    def __init__(self, sensors: SensorReader, probes: ProbeReader) -> None:
        self._sensors, self._probes = sensors, probes

    def after_step(self) -> None:
        """To be called after each of SUMO's steps."""
        self._sensors.after_step()
        self._probes.after_step()

    def read(self) -> tuple[NDArray[np.float32], ProbeReports]:
        """(readings since the last call, float32[sensors, 2]; reports of probes)."""
        return self._sensors.read(), self._probes.read()
