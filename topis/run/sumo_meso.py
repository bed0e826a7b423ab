"""Sensors in SUMO's mesoscopic model, which has no detectors that could be read while it runs.

There a road is a row of stretches, and of a vehicle only its road and stretch are known. Where on
its lane it would be follows as on real streets: it drives freely until it meets who stands before
it, and who stands at the line was there first. What cameras, loops and probes would tell is read
off these places (`topis.run.model_sensors`); nothing else of the simulation is handed on.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from topis.model.network import BUS_ONLY, NOT_MOTOR, Network
from topis.model.observation import CAMERA, CAMERA_LINE, ProbeReports, SensorTable
from topis.run.model_sensors import ModelSensors, Positions
from topis.run.sumo_sensors import Direct
from topis.units import JAM_SPACING_M

#: Who waits at the line stands so far before the lane's end (m).
LINE_M = 1.0
#: Length of a stretch, unless the scenario says otherwise (``meso-edgelength``); SUMO rounds the
#: number of stretches, so that roads shorter than one and a half are one.
STRETCH_M, PARTED_FROM = 98.0, 1.4
#: Whoever should have left the lane so long ago is held up (s).
HELD_UP_S = 1.5


class _OnRoad:
    """What is remembered of a vehicle on a watched road."""

    __slots__ = ("at_m", "came_s", "lane", "number", "stretch_m")

    def __init__(self, lane: int, number: int, now_s: float) -> None:
        self.lane, self.number, self.came_s = lane, number, now_s
        self.stretch_m = self.at_m = 0.0


class MesoStreet:
    """Where the vehicles of a mesoscopic SUMO are on the roads to signals.

    ``gone`` int32[lanes]: vehicles that have left each lane over its stop line.
    """

    def __init__(self, api: ModuleType, network: Network, stretch_m: float = STRETCH_M) -> None:
        self._api = api
        self._vehicles_on = Direct(api, "edge").getLastStepVehicleIDs
        self._stretch_of = Direct(api, "vehicle").getLanePosition
        self.now_s = 0
        self.gone = np.zeros(network.lanes, dtype=np.int32)
        self._length_m = network.lane_length_m.astype(np.float64)
        self._speed_mps = network.link_speed_mps[network.lane_link].astype(np.float64)
        links = np.unique(network.lane_link[network.approach_lanes])
        # A road of one stretch needs no asking in which of them a vehicle is.
        parted = network.link_length_m[links] >= PARTED_FROM * stretch_m
        self._watched = [
            (int(link), network.link_ids[link], bool(asks))
            for link, asks in zip(links, parted, strict=True)
        ]
        # Buses may use all lanes for motor traffic, others not those for buses alone.
        self._ways = {
            bus: _ways_on(network, links, network.lane_use != (NOT_MOTOR if bus else BUS_ONLY))
            for bus in (False, True)
        }
        self._on: dict[int, dict[str, _OnRoad]] = {}
        self._route: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._is_bus: dict[str, bool] = {}
        self._came = 0

    def after_step(self) -> None:
        """Look at every road to a signal; to be called once a simulated second."""
        now_s = self._api.simulation.getTime()
        self.now_s = round(now_s)
        on_roads = {}
        for link, name, asks in self._watched:
            ids = self._vehicles_on(name)
            before = self._on.get(link)
            if not ids and not before:
                continue
            now_on: dict[str, _OnRoad] = {}
            for vehicle in ids:
                known = before.pop(vehicle, None) if before else None
                if known is None:
                    known = self._enlist(vehicle, link, now_on, now_s)
                if asks and (stretch_m := self._stretch_of(vehicle)) != known.stretch_m:
                    known.stretch_m, known.came_s = stretch_m, now_s
                now_on[vehicle] = known
            for left in before.values() if before else ():
                self.gone[left.lane] += 1
            if now_on:
                on_roads[link] = now_on
        self._on = on_roads
        for vehicle in self._api.simulation.getArrivedIDList():
            self._route.pop(vehicle, None)

    def _enlist(self, vehicle: str, link: int, others: dict[str, _OnRoad], now_s: float) -> _OnRoad:
        """A vehicle that has come onto a road takes the emptier of the lanes that lead its way."""
        api = self._api.vehicle
        name, route = self._route.get(vehicle, ("", ()))
        # Who is sent another way gets a route of another name.
        if name != (now := api.getRouteID(vehicle)):
            route = api.getRoute(vehicle)
            self._route[vehicle] = now, route
        kind = api.getTypeID(vehicle)
        if kind not in self._is_bus:
            self._is_bus[kind] = api.getVehicleClass(vehicle) == "bus"
        at = api.getRouteIndex(vehicle)
        onto = route[at + 1] if 0 <= at < len(route) - 1 else ""
        ways = self._ways[self._is_bus[kind]]
        lanes = ways.get((link, onto)) or ways[link, ""]
        lane = lanes[0]
        if len(lanes) > 1:
            taken = [known.lane for known in others.values()]
            lane = min(lanes, key=taken.count)
        self._came += 1
        return _OnRoad(lane, self._came, now_s)

    def positions(self) -> Positions:
        """Where everyone is on the watched roads; to be asked once a tick."""
        everyone = [known for road in self._on.values() for known in road.values()]
        lane = np.array([v.lane for v in everyone], dtype=np.int32)
        before_m = np.array([v.at_m for v in everyone], dtype=np.float64)
        came_s = np.array([v.came_s for v in everyone], dtype=np.float64)
        free_m = np.array([v.stretch_m for v in everyone], dtype=np.float64)
        free_m = free_m + self._speed_mps[lane] * (self.now_s - came_s)
        end_m = self._length_m[lane] - LINE_M
        # Who is nearer to the line by free driving, and longer there, is before the others.
        order = np.lexsort((came_s, -free_m, lane))
        rank = _rank_in_lane(lane[order])
        standing = np.zeros(len(lane), dtype=bool)
        standing[order] = _behind_held(
            lane[order], (free_m - end_m)[order] > HELD_UP_S * self._speed_mps[lane[order]]
        )
        queue_m = np.empty(len(lane))
        queue_m[order] = end_m[order] - JAM_SPACING_M * rank
        at_m = np.where(standing, np.minimum(free_m, queue_m), np.minimum(free_m, end_m))
        at_m = np.maximum(at_m, np.minimum(before_m, end_m))
        for known, place_m in zip(everyone, at_m.tolist(), strict=True):
            known.at_m = place_m
        number = np.array([v.number for v in everyone], dtype=np.int64)
        return Positions(lane, before_m, at_m, number)


class MesoReader:
    """Reads the sensors of a table in a mesoscopic run, as blind as `SensorReader` does."""

    def __init__(
        self, api: ModuleType, network: Network, sensors: SensorTable, *, seed: int,
        missed_share: float, error_m: float, stretch_m: float = STRETCH_M,
    ) -> None:  # fmt: skip
        self._street = MesoStreet(api, network, stretch_m)
        self._sensors = ModelSensors(network, sensors)
        self._camera = np.flatnonzero(sensors.alive & (sensors.kind == CAMERA))
        self._line = np.flatnonzero(sensors.alive & (sensors.kind == CAMERA_LINE))
        self._missed, self._error_m = missed_share, error_m
        self._length_m = network.lane_length_m
        self._rng = np.random.default_rng([seed, 0x3E50])

    def after_step(self) -> None:
        """To be called once a simulated second."""
        self._street.after_step()

    def read(self) -> tuple[NDArray[np.float32], ProbeReports]:
        """(readings since the last call, float32[sensors, 2]; reports of probes)."""
        seen = self._sensors.read(self._street)
        reading, probes = seen.reading, seen.probes
        if self._missed > 0:
            keep, draw = 1.0 - self._missed, self._rng.binomial
            vehicles, stopped = (reading[self._camera, k].astype(np.int64) for k in (0, 1))
            stopped_seen = draw(stopped, keep)
            reading[self._camera, 0] = stopped_seen + draw(vehicles - stopped, keep)
            reading[self._camera, 1] = stopped_seen
            reading[self._line, 0] = draw(reading[self._line, 0].astype(np.int64), keep)
        noisy = probes.offset_m + self._rng.normal(0.0, self._error_m, len(probes.lane))
        offset_m = np.clip(noisy, 0.0, self._length_m[probes.lane]).astype(np.float32)
        return reading, ProbeReports(probes.probe, probes.lane, offset_m, probes.speed_mps)


def _ways_on(
    network: Network, links: NDArray[np.integer], usable: NDArray[np.bool_]
) -> dict[tuple[int, str], list[int]]:
    """Usable lanes of each link by the name of the road they lead onto; all of them by ""."""
    usable = usable & (network.lane_use != NOT_MOTOR)
    ways: dict[tuple[int, str], list[int]] = {}
    for link in links.tolist():
        lanes = np.arange(*network.link_lane_ptr[[link, link + 1]])
        ways[link, ""] = lanes[usable[lanes]].tolist() or lanes.tolist()
    watched = np.isin(network.lane_link[network.conn_from_lane], links)
    for conn in np.flatnonzero(watched & usable[network.conn_from_lane]).tolist():
        lane = int(network.conn_from_lane[conn])
        onto = network.link_ids[network.lane_link[network.conn_to_lane[conn]]]
        lanes_on = ways.setdefault((int(network.lane_link[lane]), onto), [])
        if lane not in lanes_on:
            lanes_on.append(lane)
    return ways


def _rank_in_lane(lane: NDArray[np.int32]) -> NDArray[np.int64]:
    """Place of each in its lane, 0 the first; ``lane`` is sorted."""
    place = np.arange(len(lane))
    first = np.r_[True, lane[1:] != lane[:-1]] if len(lane) else np.zeros(0, dtype=bool)
    return np.asarray(place - np.maximum.accumulate(np.where(first, place, 0)))


def _behind_held(lane: NDArray[np.int32], held: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether the first of one's lane is held up; ``lane`` is sorted."""
    if not len(lane):
        return held
    first = np.r_[True, lane[1:] != lane[:-1]]
    return np.asarray(held[np.maximum.accumulate(np.where(first, np.arange(len(lane)), 0))])
