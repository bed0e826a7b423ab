"""Readings to a `TrafficState`: which sensors tell of which lane, and what follows.

The arithmetic is `topis._core.lane_tracker`; here the network and the sensors are
compiled into its arrays once, and each tick is one call.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis._core.lane_tracker import LaneTracker
from topis.estimation.arrivals import beyond_storage_veh, forecast_arrivals
from topis.estimation.flow_balance import FlowBalance, lane_shares
from topis.estimation.greens import Greens
from topis.estimation.probe_flow import ProbeFlow
from topis.estimation.sensor_tables import camera_table, count_share, loop_of_lane, view_m
from topis.estimation.substitution import FlowMemory, Substitutes
from topis.model.network import Network
from topis.model.observation import (
    CAMERA_LINE,
    LOOP_ADVANCE,
    LOOP_STOP_LINE,
    Observation,
    SensorTable,
)
from topis.model.state import HORIZON_S, TrafficState, zero_if_unknown
from topis.units import BASE_SAT_FLOW_VPS, JAM_SPACING_M, MS_PER_S, to_ms

UNSEEN, LOOPS, CAMERAS = 0, 1, 2
#: Estimates of a time begin this long before it, so that they are warm (ms).
WARM_UP_MS = 900_000
#: A lane nobody looks at is taken to run at this share of its shipped capacity.
ASSUMED_SATURATION = 0.6
#: Time between two estimates of such a lane's flow from probes (s).
FLOW_EVERY_S = 10.0
#: Counts of so long are more than chance (s).
COUNTED_S = 120.0
#: Traffic of two lanes of a road is taken to be no further apart than this, and known from here.
MOST_APART, LEAST_FLOW_VPS = 4.0, 0.01
#: Confidence in a lane that nobody looks at, without and with probes that vouch for its flow.
GUESSED, VOUCHED = 0.1, 0.5
#: In lanes seen by loops, by cameras, and by the loops of the lane beside.
SURE_LOOPS, SURE_CAMERAS, STOOD_IN = 0.8, 0.95, 0.6
#: Length of road a vehicle covers a point loop for (m).
VEHICLE_LENGTH_M = 5.0
#: Vehicles in a camera's view are placed in time up to this far ahead (s).
COMING_S = 30


@dataclass(frozen=True)
class Evidence:
    """What the sensors of each approach lane tell, for `topis.estimation.fusion`.

    Arrays [approach lanes], live views that each tick changes: ``seen_by`` (0 nobody, 1 loops,
    2 a camera); ``between_veh`` room up to the upstream loop (0: there is none); ``view_veh``
    room in a camera's view; ``most_beyond_veh`` room up to the signal before; ``queue_veh`` and
    the part of it ``beyond_veh`` that no sensor sees; ``covered_s`` since when the farthest loop
    is covered, ``clear_s`` since when that at the stop line is not; ``flowing``;
    ``departed_veh`` over the stop line in the tick; ``flow_vps``; ``likely_vps``: the flow of
    lanes that nobody sees, without the margin for doubt that ``flow_vps`` has there;
    ``count_share``: of what is counted for the lane, the part that is its own (a loop on the
    lane before tells of all the short lanes it leads to).
    """

    seen_by: NDArray[np.uint8]
    between_veh: NDArray[np.float32]
    view_veh: NDArray[np.float32]
    most_beyond_veh: NDArray[np.float32]
    queue_veh: NDArray[np.float32]
    beyond_veh: NDArray[np.float32]
    covered_s: NDArray[np.float32]
    clear_s: NDArray[np.float32]
    flowing: NDArray[np.float32]
    departed_veh: NDArray[np.float32]
    flow_vps: NDArray[np.float32]
    likely_vps: NDArray[np.float32]
    count_share: NDArray[np.float32]


@dataclass(frozen=True)
class _Installed:
    """Which sensors tell of each approach lane as long as all of them live."""

    seen_by: NDArray[np.uint8]
    stop: NDArray[np.int32]
    advance: NDArray[np.int32]
    cameras: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]
    of_camera: NDArray[np.intp]
    between_veh: NDArray[np.float32]


class Estimator:
    """Estimates every approach lane from the sensors of a layout.

    ``lanes`` int32[n]: the approach lanes, in the order of the internal arrays.
    """

    def __init__(self, network: Network, sensors: SensorTable) -> None:
        self.network = network
        self.lanes = network.approach_lanes
        count = len(self.lanes)
        self._of_lane = np.full(network.lanes, -1, dtype=np.int32)
        self._of_lane[self.lanes] = np.arange(count, dtype=np.int32)
        cameras = camera_table(network, sensors, self._of_lane, count)
        stop = loop_of_lane(sensors, LOOP_STOP_LINE, self._of_lane, count)
        advance = loop_of_lane(sensors, LOOP_ADVANCE, self._of_lane, count)
        seen_by = np.where(stop >= 0, LOOPS, UNSEEN)
        seen_by[np.diff(cameras[0]) > 0] = CAMERAS
        line = loop_of_lane(sensors, CAMERA_LINE, self._of_lane, count)
        stop = np.where(stop >= 0, stop, line).astype(np.int32)
        length_m = network.lane_length_m[self.lanes]
        speed_mps = network.link_speed_mps[network.lane_link[self.lanes]]
        between_m = np.full(count, JAM_SPACING_M, dtype=np.float32)
        pair = np.flatnonzero(advance >= 0)
        on_lane = network.lane_length_m[sensors.lane[advance[pair]]]
        between_m[pair] = (
            on_lane + sensors.distance_m[advance[pair]] - sensors.start_m[advance[pair]]
        )
        seen_m = view_m(sensors, cameras, length_m)

        def floats(value: float | NDArray[np.floating]) -> NDArray[np.float32]:
            return np.ascontiguousarray(np.broadcast_to(value, count), dtype=np.float32)

        self._seen_by = seen_by.astype(np.uint8)
        self._queue, self._vehicles, self._flow = (np.zeros(count, np.float32) for _ in range(3))
        self._gap = np.full(count, 99.0, dtype=np.float32)
        view = np.where(seen_by == CAMERAS, seen_m, length_m) / JAM_SPACING_M
        self._view_veh = np.maximum(view, 1.0).astype(np.float32)
        self._flowing = np.ones(count, np.float32)
        self._out = np.zeros(count, np.float32)
        self._departed = np.zeros(count, np.float32)
        self._coming_vps = np.zeros((count, COMING_S), np.float32)
        of_camera = np.repeat(np.arange(count), np.diff(cameras[0]))
        near_m = sensors.distance_m[cameras[1]]
        far_m = near_m + sensors.end_m[cameras[1]] - sensors.start_m[cameras[1]]
        near_s = (near_m / np.maximum(speed_mps[of_camera], 1.0)).astype(np.float32)
        far_s = (far_m / np.maximum(speed_mps[of_camera], 1.0)).astype(np.float32)
        self._assumed_vps = floats(
            ASSUMED_SATURATION * BASE_SAT_FLOW_VPS * network.lane_green_share[self.lanes]
        ).copy()
        self._probe_flow = ProbeFlow(
            network,
            seen_by != UNSEEN,
            self._assumed_vps,
            sensors.probe_share,
            sensors.probe_period_s,
        )
        between_veh = floats(between_m / JAM_SPACING_M + 0.5)
        beyond, covered_s, clear_s = (floats(0.0).copy() for _ in range(3))
        most_beyond_veh = beyond_storage_veh(network)
        self.evidence = Evidence(
            seen_by=self._seen_by,
            between_veh=between_veh.copy(),
            view_veh=self._view_veh,
            most_beyond_veh=most_beyond_veh,
            queue_veh=self._queue,
            beyond_veh=beyond,
            covered_s=covered_s,
            clear_s=clear_s,
            flowing=self._flowing,
            departed_veh=self._departed,
            flow_vps=self._flow,
            likely_vps=self._assumed_vps.copy(),
            count_share=count_share(sensors, stop),
        )
        self._next_flow_ms = 0
        self._elapsed_s = 0.0
        self._installed = _Installed(
            seen_by.astype(np.uint8), stop, advance, cameras, of_camera, between_veh
        )
        self._stop, self._advance = stop.copy(), advance.copy()
        self._tracker = LaneTracker(
            seen_by=self._seen_by,
            camera_ptr=cameras[0],
            camera_sensor=cameras[1],
            camera_weight=cameras[2],
            camera_near_s=near_s,
            camera_far_s=np.maximum(far_s, near_s + np.float32(0.5)),
            view_veh=self._view_veh,
            departed_veh=self._departed,
            green_s=floats(0.0).copy(),
            idle_s=floats(0.0).copy(),
            flowing=self._flowing,
            out_vps=self._out,
            most_beyond_veh=most_beyond_veh,
            coming_vps=self._coming_vps,
            stop_sensor=self._stop,
            advance_sensor=self._advance,
            between_veh=between_veh,
            transit_s=floats(np.maximum(between_m / np.maximum(speed_mps, 1.0), 1.0)),
            view_s=floats(np.maximum(seen_m / np.maximum(speed_mps, 1.0), 1.0)),
            free_pass_s=floats(VEHICLE_LENGTH_M / np.maximum(speed_mps, 1.0)),
            sat_flow_vps=floats(BASE_SAT_FLOW_VPS),
            assumed_vps=self._assumed_vps,
            queue_veh=self._queue,
            vehicles_veh=self._vehicles,
            gap_s=self._gap,
            flow_vps=self._flow,
            between=floats(0.0).copy(),
            beyond=beyond,
            transit=floats(0.0).copy(),
            covered_s=covered_s,
            clear_s=clear_s,
        )
        seen_s = np.where(
            seen_by == CAMERAS,
            np.minimum(seen_m / np.maximum(speed_mps, 1.0), COMING_S),
            np.where(
                (seen_by == LOOPS) & (advance >= 0), between_m / np.maximum(speed_mps, 1), 0.0
            ),
        )
        self.arrival_vps = np.zeros((count, HORIZON_S), np.float32)
        self._fed_scale = np.ones(count, np.float32)
        self._seen_s = seen_s.astype(np.float32)
        self._forecast = forecast_arrivals(network, self._seen_s)
        self._whole_seen_s = self._seen_s.copy()
        self._confidence = np.zeros(network.lanes, np.float32)
        self._view = self._spread(self._view_veh, np.nan)
        self._greens = Greens(network)
        self._last_ms: int | None = None
        self._serves = self._of_lane[np.where(sensors.serves >= 0, sensors.serves, sensors.lane)]
        self._usual = lane_shares(network)[sensors.lane]
        self._substitutes = Substitutes(network, sensors)
        self._memory = FlowMemory(count)
        self._missing: NDArray[np.bool_] | None = None
        self._look(~sensors.alive)

    def _look(self, missing: NDArray[np.bool_]) -> None:
        """Who sees each lane from now on, with these sensors dead."""
        if self._missing is not None and np.array_equal(missing, self._missing):
            return
        self._missing = missing
        whole = self._installed
        source = self._substitutes.of(missing)
        self._mended = np.flatnonzero((source >= 0) & missing)
        self._mended_scale = self._traffic_beside(source)
        self._source = source
        # The last one stands for no sensor at all (-1).
        usable = np.append(source >= 0, False)
        for mine, base in ((self._stop, whole.stop), (self._advance, whole.advance)):
            mine[:] = np.where(usable[base], base, -1)
        blind = (
            np.bincount(whole.of_camera, ~usable[whole.cameras[1]], minlength=len(self.lanes)) > 0
        )
        seen_by = whole.seen_by.copy()
        seen_by[(seen_by == CAMERAS) & blind] = UNSEEN
        seen_by[(seen_by == LOOPS) & (self._stop < 0)] = UNSEEN
        self._seen_by[:] = seen_by
        self._unseen = np.flatnonzero(seen_by == UNSEEN)
        self._unseen_lanes = self.lanes[self._unseen]
        own = np.zeros(len(self.lanes), dtype=bool)
        own[self._stop >= 0] = ~missing[self._stop[self._stop >= 0]]
        confidence = np.array([GUESSED, SURE_LOOPS, SURE_CAMERAS], dtype=np.float32)[seen_by]
        confidence[(seen_by == LOOPS) & ~own] = STOOD_IN
        self._confidence[self.lanes] = confidence
        sees_ahead = (seen_by == CAMERAS) | ((seen_by == LOOPS) & (self._advance >= 0))
        self._seen_s[:] = np.where(sees_ahead, self._whole_seen_s, 0.0)
        self.evidence.between_veh[:] = np.where(self._advance >= 0, whole.between_veh, 0.0)
        self._balance = FlowBalance(self.network, seen_by != UNSEEN)
        self._probe_flow.count(seen_by != UNSEEN)

    def _traffic_beside(self, source: NDArray[np.int32]) -> NDArray[np.float32]:
        """Traffic of each mended loop's lane over that of its mate's, float32[mended].

        As it was when both were seen, else as the lanes lead.
        """
        own, mate = self._serves[self._mended], self._serves[source[self._mended]]
        known = self._memory.recall()
        usual = self._usual[self._mended] / np.maximum(self._usual[source[self._mended]], 1e-6)
        with np.errstate(invalid="ignore", divide="ignore"):
            seen = known[own] / known[mate]
        # A loop before several lanes serves none of them alone.
        both = (own >= 0) & (mate >= 0) & np.isfinite(seen) & (known[mate] > LEAST_FLOW_VPS)
        ratio = np.where(both, seen, usual)
        return np.clip(ratio, 1.0 / MOST_APART, MOST_APART).astype(np.float32)

    def _told(self, reading: NDArray[np.float32]) -> NDArray[np.float32]:
        """Readings with those of the dead filled in by their mates', or nothing."""
        self._look(np.isnan(reading[:, 0]))
        if len(self._mended):
            reading = reading.copy()
            reading[self._mended] = reading[self._source[self._mended]]
            reading[self._mended, 0] *= self._mended_scale
        return zero_if_unknown(reading)

    def update(self, observation: Observation, group_green: NDArray[np.bool_]) -> TrafficState:
        """Take in one tick's readings.

        ``group_green`` bool[groups]: what the signals showed while they were taken.
        """
        now_ms = observation.time_ms
        dt_s = 0.0 if self._last_ms is None else (now_ms - self._last_ms) / MS_PER_S
        self._last_ms = now_ms
        reading = self._told(observation.reading)
        green = self._greens.any(group_green)
        if len(self._unseen_lanes):
            green = np.where(self._seen_by == UNSEEN, self._greens.whole(group_green), green)
        self._tracker.update(reading, green, dt_s)
        advance = np.append(reading[:, 0], np.float32(np.nan))[self._advance]
        seen = self._seen_by != UNSEEN
        self._memory.update(now_ms, dt_s, seen, self._flow, advance)
        self._take_probes(observation, dt_s)
        self._forecast.update(
            now_ms // MS_PER_S,
            self._departed,
            self._flow,
            self._coming_vps,
            self.arrival_vps,
            self._fed_scale,
        )
        return TrafficState(
            time_ms=now_ms,
            arrival_vps=self.arrival_vps.copy(),
            fed_scale=self._fed_scale.copy(),
            seen_s=self._seen_s,
            flowing=self._spread(self._flowing, 1.0),
            out_vps=self._spread(self._out, np.nan),
            queue_veh=self._spread(self._queue, np.nan),
            vehicles_veh=self._spread(self._vehicles, np.nan),
            view_veh=self._view,
            gap_s=self._spread(self._gap, np.nan),
            flow_vps=self._spread(self._flow, np.nan),
            confidence=self._confidence.copy(),
        )

    def _take_probes(self, observation: Observation, dt_s: float) -> None:
        probes = observation.probes
        self._probe_flow.update(probes, self._flow, dt_s)
        if len(self._unseen_lanes) and observation.time_ms >= self._next_flow_ms:
            self._next_flow_ms = observation.time_ms + to_ms(FLOW_EVERY_S)
            self._elapsed_s += FLOW_EVERY_S
            if self._balance.tells and self._elapsed_s > COUNTED_S:
                self._probe_flow.assume(self._balance.estimate(self._flow))
            known_vps = self._memory.recall()
            remembered = self._unseen[~np.isnan(known_vps[self._unseen])]
            self._probe_flow.assume_of(remembered, known_vps[remembered])
            self._assumed_vps[:], self.evidence.likely_vps[:], vouched = self._probe_flow.estimate()
            self._confidence[self._unseen_lanes] = VOUCHED if vouched else GUESSED
        lane = self._of_lane[probes.lane]
        known = np.flatnonzero(lane >= 0)
        if len(known):
            distance_m = self.network.lane_length_m[probes.lane[known]] - probes.offset_m[known]
            self._tracker.bound(
                lane[known], distance_m.astype(np.float32), probes.speed_mps[known], JAM_SPACING_M
            )

    def _spread(self, values: NDArray[np.float32], other: float) -> NDArray[np.float32]:
        """Approach-lane values on all lanes of the network."""
        out = np.full(self.network.lanes, other, dtype=np.float32)
        out[self.lanes] = values
        return out
