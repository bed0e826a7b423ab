"""Positions of vehicles (GPS) to places on directed links.

`MapMatcher.match` answers each point at once, from what the vehicle reported so far: for live
feeds and for dense ones (1 Hz). `MapMatcher.match_traces` looks at whole traces: for archives of
sparse ones (10 to 30 s). Both are `topis._core.map_match`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topis._core.map_match import MapMatch
from topis.errors import InputError
from topis.ingest.match_arrays import MatchSettings, match_arrays
from topis.ingest.road_map import RoadMap
from topis.model.network import F4, F8, I4

I8 = NDArray[np.int64]

_BEAM = 4
#: What is known of one vehicle, as `topis._core.map_match.Beam`.
BEAM = np.dtype(
    [
        ("time_ms", "i8"), ("speed_mps", "f4"), ("x_m", "f4"), ("y_m", "f4"), ("moved_m", "f4"),
        ("link", "i4", _BEAM), ("offset_m", "f4", _BEAM), ("score", "f4", _BEAM), ("size", "i4"),
    ],
    align=True,
)  # fmt: skip
#: A place as `topis._core.map_match.Candidate`.
PLACE = np.dtype(
    [("link", "i4"), ("back", "i4"), ("offset_m", "f4"), ("distance_m", "f4"), ("score", "f4")]
)
_MOST_KEYS = 1 << 26


@dataclass(frozen=True, eq=False)
class Points:
    """Positions, all arrays [points]; made contiguous and of the kernel's types.

    ``vehicle``: keys of a dimension table (0, 1, 2 ...); ``time_ms``; ``x_m``, ``y_m``: the map's
    metres (`MapMatcher.metres`); ``speed_mps``, ``heading_deg`` clockwise from north: NaN where
    not known.
    """

    vehicle: NDArray[Any]
    time_ms: I8
    x_m: NDArray[Any]
    y_m: NDArray[Any]
    speed_mps: F4
    heading_deg: F4

    def __post_init__(self) -> None:
        types = {"vehicle": np.int64, "time_ms": np.int64, "x_m": np.float64, "y_m": np.float64}
        for name, value in vars(self).items():
            array = np.ascontiguousarray(value, types.get(name, np.float32))
            if array.shape != (len(self.vehicle),):
                raise InputError.at(
                    f"points: {name}", f"has shape {array.shape}", "give one value a point"
                )
            object.__setattr__(self, name, array)


@dataclass(frozen=True, eq=False)
class Matched:
    """Where points are, all arrays [points].

    ``link`` int32, -1: on no link; ``offset_m`` float32 along the link's line; ``distance_m``
    float32 from it; ``confidence`` float32: the link's share among those it may be on, 0 to 1.
    """

    link: I4
    offset_m: F4
    distance_m: F4
    confidence: F4

    @classmethod
    def empty(cls, points: int) -> Matched:
        """Room for the answers to so many points."""
        return cls(np.empty(points, np.int32), *(np.empty(points, np.float32) for _ in range(3)))


class MapMatcher:
    """A map made ready, and what is known of each vehicle."""

    def __init__(self, road_map: RoadMap, settings: MatchSettings | None = None) -> None:
        settings = settings or MatchSettings()
        self.road_map = road_map
        self._kernel = MapMatch(**match_arrays(road_map, settings))
        self._beams = np.zeros(0, BEAM)
        self._row_of = np.zeros(0, np.int32)
        self._key_of = np.zeros(0, np.int64)

    @property
    def vehicles(self) -> int:
        """Number of vehicles something is known of."""
        return int((self._key_of >= 0).sum())

    def metres(self, lat_e7: NDArray[np.int32], lon_e7: NDArray[np.int32]) -> tuple[F8, F8]:
        """WGS 84 (1e-7 degrees) to the map's metres east and north; NaN far off the map.

        Raises
        ------
        InputError
            The map does not say where on Earth it is.
        """
        if self.road_map.projection is None:
            raise InputError.at(
                "map matching", "the network has no projection", "import it from OpenStreetMap"
            )
        return self.road_map.projection(lat_e7, lon_e7)

    def match(self, points: Points, threads: int = 1) -> Matched:
        """Place points, each vehicle's in order of time; continues where the last call ended.

        However points are cut into calls, and whatever the number of threads, results are equal.
        A point older than its vehicle's last is placed by itself.
        """
        matched = Matched.empty(len(points.vehicle))
        rows = self._rows(points.vehicle)
        self._kernel.match(
            *self._kernel_points(points),
            rows,
            self._beams,
            matched.link,
            matched.offset_m,
            matched.distance_m,
            matched.confidence,
            threads,
        )
        return matched

    def match_traces(self, points: Points, threads: int = 1) -> Matched:
        """Place points sorted by vehicle and time, each with regard to its vehicle's whole trace.

        Nothing is remembered from one call to the next.

        Raises
        ------
        InputError
            The points are not sorted.
        """
        count = len(points.vehicle)
        same = np.diff(points.vehicle) == 0
        if (same & (np.diff(points.time_ms) < 0)).any() or (np.diff(points.vehicle) < 0).any():
            raise InputError.at("points", "are not in order", "sort them by vehicle, then time")
        trace_ptr = np.concatenate(([0], np.flatnonzero(~same) + 1, [count] if count else []))
        matched = Matched.empty(count)
        self._kernel.match_traces(
            *self._kernel_points(points),
            trace_ptr.astype(np.int32),
            np.empty((count, _BEAM), PLACE),
            np.empty(count, np.int32),
            matched.link,
            matched.offset_m,
            matched.distance_m,
            matched.confidence,
            threads,
        )
        return matched

    def expire(self, before_ms: int) -> int:
        """Forget vehicles not placed since ``before_ms``; returns their number.

        Changes no result if no later point is older than ``before_ms`` + ``forget_s``.
        """
        old = (self._key_of >= 0) & (self._beams["time_ms"] < before_ms)
        self._row_of[self._key_of[old]] = -1
        self._key_of[old] = -1
        return int(old.sum())

    def _kernel_points(self, points: Points) -> tuple[F4, F4, F4, F4, I8]:
        heading = points.heading_deg
        if len(heading) and (np.fmin.reduce(heading) < 0 or np.fmax.reduce(heading) > 360):
            raise InputError.at("points: heading_deg", "is out of range", "give 0 to 360, or NaN")
        return (
            (points.x_m - self.road_map.origin_m[0]).astype(np.float32),
            (points.y_m - self.road_map.origin_m[1]).astype(np.float32),
            points.speed_mps,
            heading,
            points.time_ms,
        )

    def _rows(self, keys: I8) -> I4:
        """Row of each vehicle's `BEAM`; new ones take those that were given up, then more."""
        if not len(keys):
            return np.empty(0, np.int32)
        top = int(keys.max()) + 1
        if keys.min() < 0 or top > _MOST_KEYS:
            raise InputError.at(
                "points: vehicle",
                f"keys run from {keys.min()} to {top - 1}",
                f"give keys of a dimension table, 0 to {_MOST_KEYS - 1}",
            )
        if top > len(self._row_of):
            more = np.full(max(top, 2 * len(self._row_of)) - len(self._row_of), -1, np.int32)
            self._row_of = np.concatenate((self._row_of, more))
        rows = self._row_of[keys]
        if (rows >= 0).all():
            return rows
        new = np.unique(keys[rows < 0])
        free = np.flatnonzero(self._key_of < 0)[: len(new)]
        short = len(new) - len(free)
        if short:
            size = len(self._key_of)
            room = max(short, size)
            self._key_of = np.concatenate((self._key_of, np.full(room, -1)))
            self._beams = np.concatenate((self._beams, np.zeros(room, BEAM)))
            free = np.concatenate((free, np.arange(size, size + short)))
        self._beams["size"][free] = 0
        self._key_of[free] = new
        self._row_of[new] = free
        return self._row_of[keys]
