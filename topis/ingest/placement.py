"""Where a sensing layout puts its sensors on a network."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from topis.config import SensingLayout
from topis.model.network import Network
from topis.model.observation import (
    CAMERA,
    CAMERA_LINE,
    KIND_NAMES,
    LOOP_ADVANCE,
    LOOP_STOP_LINE,
    SensorTable,
)

#: A vehicle stands with its front about 1 m from the line: a loop here lies under it.
STOP_LINE_SETBACK_M = 3.0
#: An advance loop closer than this to the stop-line loop would tell nothing new.
LEAST_LOOP_SPACING_M = 8.0
#: A vehicle cannot stand on a shorter lane: its loops lie on the lane that leads into it.
SHORTEST_LOOPED_LANE_M = 6.0
#: A sensor lies at least this far from the ends of its lane.
LANE_MARGIN_M = 0.1
#: A vehicle whose front is in the next stretch still lies in the last one: stretches end so
#: much earlier that each vehicle is counted in one of them.
VEHICLE_LENGTH_M = 5.0


@dataclass
class _Draft:
    kind: list[int] = field(default_factory=list)
    lane: list[int] = field(default_factory=list)
    serves: list[int] = field(default_factory=list)
    junction: list[int] = field(default_factory=list)
    start_m: list[float] = field(default_factory=list)
    end_m: list[float] = field(default_factory=list)
    distance_m: list[float] = field(default_factory=list)

    def add(
        self,
        kind: int,
        lane: int,
        serves: int,
        junction: int,
        start_m: float,
        end_m: float,
        distance_m: float,
    ) -> None:
        self.kind.append(kind)
        self.lane.append(lane)
        self.serves.append(serves)
        self.junction.append(junction)
        self.start_m.append(start_m)
        self.end_m.append(end_m)
        self.distance_m.append(distance_m)


def place_sensors(
    network: Network, layout: SensingLayout, seed: int, sensed: np.ndarray | None = None
) -> SensorTable:
    """Sensors of a layout, drawn by seed: deterministic for (network, layout, seed, sensed).

    ``sensed`` bool[junctions]: the junctions that get any, of which the layout's shares are; all
    if not given.
    """
    rng = np.random.default_rng([seed, 0x70B15])
    if sensed is None:
        sensed = np.ones(network.junctions, dtype=bool)
    with_camera = np.zeros(network.junctions, dtype=bool)
    cameras = round(layout.camera_junction_share * int(sensed.sum()))
    with_camera[rng.permutation(np.flatnonzero(sensed))[:cameras]] = True
    approaches = np.unique(network.lane_link[network.approach_lanes])
    approaches = approaches[sensed[network.link_junction[approaches]]]
    looped = set(_draw_approaches(network, approaches, layout.loop_approach_share, rng))
    draft = _Draft()
    lane_before = _LaneBefore(network)
    for lane in network.approach_lanes.tolist():
        link = int(network.lane_link[lane])
        junction = int(network.link_junction[link])
        if with_camera[junction]:
            _add_camera(draft, network, lane, junction, layout)
            _add_line(draft, network, lane_before, lane, junction)
        elif link in looped:
            _add_loops(draft, network, lane_before, lane, junction, layout.advance_m)
    _look_past(draft, network, lane_before, with_camera, layout)
    count = len(draft.kind)
    alive = np.ones(count, dtype=bool)
    alive[rng.permutation(count)[: round(layout.dead_share * count)]] = False
    return SensorTable(
        ids=_ids(network, draft),
        kind=np.array(draft.kind, dtype=np.uint8),
        lane=np.array(draft.lane, dtype=np.int32),
        serves=np.array(draft.serves, dtype=np.int32),
        junction=np.array(draft.junction, dtype=np.int32),
        start_m=np.array(draft.start_m, dtype=np.float32),
        end_m=np.array(draft.end_m, dtype=np.float32),
        distance_m=np.array(draft.distance_m, dtype=np.float32),
        alive=alive,
        probe_share=layout.probe_share,
        probe_period_s=layout.probe_period_s,
        research_only=layout.research_only,
    )


def _ids(network: Network, draft: _Draft) -> tuple[str, ...]:
    """Kind and lane told of; the second and later stretches of a camera numbered."""
    seen: Counter[str] = Counter()
    names = []
    for kind, lane, serves in zip(draft.kind, draft.lane, draft.serves, strict=True):
        name = f"topis.{KIND_NAMES[kind]}.{network.lane_ids[serves if serves >= 0 else lane]}"
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}.{seen[name]}")
    return tuple(names)


def _draw_approaches(
    network: Network, approaches: np.ndarray, share: float, rng: np.random.Generator
) -> list[int]:
    return [int(a) for a in rng.permutation(approaches)[: round(share * len(approaches))]]


def _add_camera(
    draft: _Draft, network: Network, lane: int, junction: int, layout: SensingLayout
) -> None:
    length = float(network.lane_length_m[lane])
    start = max(0.0, length - layout.camera_view_m)
    _add_stretches(draft, lane, lane, junction, start, length, 0.0, layout.camera_zone_m)


def _add_stretches(
    draft: _Draft,
    lane: int,
    serves: int,
    junction: int,
    start_m: float,
    end_m: float,
    distance_m: float,
    zone_m: float,
) -> None:
    """Divide what a camera sees of a lane, from the stop line back."""
    beyond_m, stretch_m = distance_m, zone_m if zone_m > VEHICLE_LENGTH_M else end_m - start_m
    length_m = end_m
    while end_m - start_m > LANE_MARGIN_M:
        begin_m = max(start_m, end_m - stretch_m)
        if begin_m - start_m < 2 * VEHICLE_LENGTH_M:
            begin_m = start_m
        last_m = end_m if end_m == length_m else end_m - VEHICLE_LENGTH_M
        draft.add(CAMERA, lane, serves, junction, begin_m, last_m, beyond_m + length_m - end_m)
        end_m = begin_m


def _add_line(
    draft: _Draft, network: Network, before: _LaneBefore, approach: int, junction: int
) -> None:
    lane, distance_m = _long_enough(network, before, approach)
    at_m = _stop_line_m(network, lane)
    draft.add(CAMERA_LINE, lane, approach, junction, at_m, at_m, distance_m)


def _long_enough(network: Network, before: _LaneBefore, lane: int) -> tuple[int, float]:
    """The lane, or one before, that a vehicle can stand on; distance from its end to the line."""
    distance_m = 0.0
    while network.lane_length_m[lane] < SHORTEST_LOOPED_LANE_M and before(lane) >= 0:
        distance_m += float(network.lane_length_m[lane])
        lane = before(lane)
    return lane, distance_m


def _stop_line_m(network: Network, lane: int) -> float:
    """Who waits on the lane before a short approach stops 1 m short of its end: not nearer."""
    length = float(network.lane_length_m[lane])
    return max(length - STOP_LINE_SETBACK_M, length / 2)


def _add_loops(
    draft: _Draft,
    network: Network,
    before: _LaneBefore,
    approach: int,
    junction: int,
    advance_m: float,
) -> None:
    lane, distance_m = _long_enough(network, before, approach)
    stop = _stop_line_m(network, lane)
    draft.add(LOOP_STOP_LINE, lane, approach, junction, stop, stop, distance_m)
    behind_m = distance_m + float(network.lane_length_m[lane]) - stop
    # The upstream loop may lie on a lane before, as long as all its traffic comes here.
    while distance_m + network.lane_length_m[lane] < advance_m and before.all_of(lane) >= 0:
        distance_m += float(network.lane_length_m[lane])
        lane = before.all_of(lane)
    length = float(network.lane_length_m[lane])
    head = min(LANE_MARGIN_M, length / 4)
    advance = max(length - max(advance_m - distance_m, LANE_MARGIN_M), head)
    if distance_m + length - advance - behind_m >= LEAST_LOOP_SPACING_M:
        draft.add(LOOP_ADVANCE, lane, approach, junction, advance, advance, distance_m)


class _LaneBefore:
    """The one lane that leads into a lane without a signal, -1 if none or several do."""

    def __init__(self, network: Network) -> None:
        into = np.bincount(network.conn_to_lane, minlength=network.lanes)
        self._only = np.full(network.lanes, -1, dtype=np.int32)
        free = network.conn_group < 0
        self._only[network.conn_to_lane[free]] = network.conn_from_lane[free]
        self._only[into != 1] = -1
        self._forks = np.diff(network.lane_conn_ptr) > 1

    def __call__(self, lane: int) -> int:
        return int(self._only[lane])

    def all_of(self, lane: int) -> int:
        """The lane before, if it leads nowhere else; else -1."""
        before = self(lane)
        return -1 if before < 0 or self._forks[before] else before


def _look_past(
    draft: _Draft,
    network: Network,
    before: _LaneBefore,
    with_camera: np.ndarray,
    layout: SensingLayout,
) -> None:
    """Where an approach lane is shorter than the view, its camera sees on along the road before.

    A lane that forks into several approach lanes is told of once, for all of them.
    """
    approaches = set(network.approach_lanes.tolist())
    seen: set[int] = set()
    for approach in network.approach_lanes.tolist():
        junction = int(network.link_junction[network.lane_link[approach]])
        seen_m = float(network.lane_length_m[approach])
        lane = before(approach)
        while with_camera[junction] and seen_m < layout.camera_view_m and lane >= 0:
            if lane in approaches or lane in seen:
                break
            seen.add(lane)
            length = float(network.lane_length_m[lane])
            start_m = max(0.0, length - (layout.camera_view_m - seen_m))
            _add_stretches(draft, lane, -1, junction, start_m, length, seen_m, layout.camera_zone_m)
            seen_m += length
            lane = before(lane)
