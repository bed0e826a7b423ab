"""Korean coordinates to WGS 84, the system told by the range of the numbers.

Seoul's services say GRS80 TM, which is EPSG:5181 (false northing 500 km). EPSG:5186 is the same
100 km further north, so numbers of Seoul in one are numbers off the coast in the other: ranges
do not overlap, and what lies in neither is refused, not guessed.
"""

from __future__ import annotations

import functools

import pyproj

from topis.errors import InputError

#: Easting and northing (m) of the capital region in each system; degrees as (lon, lat).
_RANGES = {
    "EPSG:4326": ((126.3, 127.9), (36.8, 38.4)),
    "EPSG:5181": ((140_000.0, 280_000.0), (360_000.0, 540_000.0)),
    "EPSG:5186": ((140_000.0, 280_000.0), (540_000.0, 640_000.0)),
    "EPSG:5179": ((890_000.0, 1_030_000.0), (1_860_000.0, 2_040_000.0)),
}


def detect_crs(x: float, y: float) -> str:
    """The system in which (x, y) lies in the capital region.

    Raises
    ------
    InputError
        None, or the axes are swapped.
    """
    for code, ((west, east), (south, north)) in _RANGES.items():
        if west <= x <= east and south <= y <= north:
            return code
    for code, ((west, east), (south, north)) in _RANGES.items():
        if west <= y <= east and south <= x <= north:
            raise InputError(f"({x}, {y}) is {code} with its axes swapped; swap them")
    raise InputError(f"({x}, {y}) lies in no known system; known are {', '.join(_RANGES)}")


def to_wgs84(x: float, y: float) -> tuple[float, float]:
    """(lat, lon) in degrees.

    Raises
    ------
    InputError
        The coordinates lie in no known system.
    """
    lon, lat = _transformer(detect_crs(x, y)).transform(x, y)
    return float(lat), float(lon)


@functools.cache
def _transformer(code: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(code, "EPSG:4326", always_xy=True)
