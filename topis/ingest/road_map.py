"""The road map positions are matched to: lines of links, what follows them, lat/lon to metres.

Links are those of a `Network`, in its order. A link's line is the middle of its carriageway, so
that the two directions of a road lie apart.
"""

from __future__ import annotations

import gzip
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topis.errors import InputError
from topis.ingest.compile import compile_network
from topis.ingest.sumo_xml import RawEdge, RawNetwork, read_network
from topis.model.network import F8, I4, NOT_MOTOR, Network

_BLOCK = 8192
_MOST_DEGREE = 5
_MARGIN_M = 500.0
#: Error of the polynomials that stand for a projection (m): below what float32 keeps of 50 km.
_EXACT_M = 0.005
E7 = 1e-7
#: What is seen of a lane is taken to be straight over this length before its end (m).
STRAIGHT_M = 60.0
#: What SUMO writes where a map is not projected, or in a way PROJ does not know.
_NOWHERE = ("!", "-", ".")


class Projection:
    """WGS 84 to a map's metres.

    Over a city a projection is smooth enough for a polynomial in latitude and longitude, fitted
    once, to be as exact as float32 metres and ten times as fast as PROJ.
    """

    def __init__(self, definition: str, offset_m: tuple[float, float], box_m: F8) -> None:
        """``definition``: for PROJ; ``box_m``: west, south, east, north of the map."""
        from pyproj import Transformer

        self.offset_m = offset_m
        self._exact = Transformer.from_crs("EPSG:4326", definition, always_xy=True)
        x = box_m[[0, 2, 0, 2]] - offset_m[0] + _MARGIN_M * np.array([-1, 1, -1, 1])
        y = box_m[[1, 1, 3, 3]] - offset_m[1] + _MARGIN_M * np.array([-1, -1, 1, 1])
        corners = np.column_stack(self._exact.transform(x, y, direction="INVERSE"))
        self._middle: F8 = (corners.min(axis=0) + corners.max(axis=0)) / 2
        self._half: F8 = (corners.max(axis=0) - corners.min(axis=0)) / 2
        self._degree = 0
        self._fit()

    def exact(self, lon: NDArray[Any], lat: NDArray[Any]) -> tuple[F8, F8]:
        """Metres as PROJ has them."""
        x, y = self._exact.transform(lon, lat)
        return np.asarray(x) + self.offset_m[0], np.asarray(y) + self.offset_m[1]

    def inverse(self, x_m: NDArray[Any], y_m: NDArray[Any]) -> tuple[F8, F8]:
        """Longitude and latitude (deg) of places on the map."""
        lon, lat = self._exact.transform(
            x_m - self.offset_m[0], y_m - self.offset_m[1], direction="INVERSE"
        )
        return np.asarray(lon), np.asarray(lat)

    def _fit(self) -> None:
        nodes = np.cos((np.arange(16) + 0.5) * np.pi / 16)
        u, v = (axis.ravel() for axis in np.meshgrid(nodes, nodes))
        x, y = self.exact(self._middle[0] + self._half[0] * u, self._middle[1] + self._half[1] * v)
        for degree in range(1, _MOST_DEGREE + 1):
            powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
            table = np.column_stack([u**i * v**j for i, j in powers])
            found = np.linalg.lstsq(table, np.column_stack((x, y)), rcond=None)[0]
            if np.abs(table @ found - np.column_stack((x, y))).max() < _EXACT_M:
                self._degree = degree
                self._factor = np.zeros((2, degree + 1, degree + 1))
                for (i, j), pair in zip(powers, found, strict=True):
                    self._factor[:, i, j] = pair
                return

    def __call__(self, lat_e7: NDArray[np.int32], lon_e7: NDArray[np.int32]) -> tuple[F8, F8]:
        """East and north in the map's metres; NaN outside the map's box."""
        x, y = np.empty(len(lat_e7)), np.empty(len(lat_e7))
        for first in range(0, len(lat_e7), _BLOCK):
            some = slice(first, first + _BLOCK)
            u = (lon_e7[some] * E7 - self._middle[0]) / self._half[0]
            v = (lat_e7[some] * E7 - self._middle[1]) / self._half[1]
            inside = (np.abs(u) <= 1) & (np.abs(v) <= 1)
            if self._degree:
                x[some], y[some] = (self._horner(factor, u, v) for factor in self._factor)
            else:
                x[some], y[some] = self.exact(lon_e7[some] * E7, lat_e7[some] * E7)
            if not inside.all():
                x[some][~inside] = y[some][~inside] = np.nan
        return x, y

    def _horner(self, factor: F8, u: F8, v: F8) -> F8:
        total = np.full(len(u), factor[self._degree, 0])
        for i in range(self._degree - 1, -1, -1):
            inner = np.full(len(u), factor[i, self._degree - i])
            for j in range(self._degree - i - 1, -1, -1):
                inner *= v
                inner += factor[i, j]
            total *= u
            total += inner
        return total


@dataclass(frozen=True, eq=False)
class RoadMap:
    """Lines of directed links, and the links that follow each.

    ``shape_ptr`` int32[links + 1] into ``shape_m`` float64[points, 2] (m, the map's own); a link
    no motor vehicle may use has no points. ``next_ptr`` int32[links + 1] into ``next_link`` int32.
    ``projection``: None where the map does not say where on Earth it is.
    """

    link_ids: tuple[str, ...]
    shape_ptr: I4
    shape_m: F8
    next_ptr: I4
    next_link: I4
    projection: Projection | None = None

    @property
    def links(self) -> int:
        """Number of directed links."""
        return len(self.link_ids)

    @cached_property
    def origin_m(self) -> F8:
        """South-west corner, [2]: float32 metres from here on are exact to millimetres."""
        return self.shape_m.min(axis=0) if len(self.shape_m) else np.zeros(2)


@dataclass(frozen=True)
class LinkEnds:
    """How links end, as cameras see them: taken to be straight over the last `STRAIGHT_M`.

    ``end_m`` float64[links, 2] (m), ``direction`` float64[links, 2] (of length 1); NaN where a
    link has no line.
    """

    end_m: F8
    direction: F8

    @classmethod
    def of(cls, road_map: RoadMap) -> LinkEnds:
        """Of all links of a map."""
        end_m, direction = (np.full((road_map.links, 2), np.nan) for _ in range(2))
        for link in np.flatnonzero(np.diff(road_map.shape_ptr)).tolist():
            line = road_map.shape_m[road_map.shape_ptr[link] : road_map.shape_ptr[link + 1]]
            end = line[-1]
            far = np.flatnonzero(np.hypot(*(line - end).T) >= STRAIGHT_M)
            step = end - (line[far[-1]] if len(far) else line[0])
            end_m[link], direction[link] = end, step / max(float(np.hypot(*step)), 1e-9)
        return cls(end_m, direction)

    def take(self, links: NDArray[np.integer]) -> LinkEnds:
        """Some of them."""
        return LinkEnds(self.end_m[links], self.direction[links])


def network_and_map(path: Path) -> tuple[Network, RoadMap]:
    """A SUMO network compiled, and its map, from one reading.

    Raises
    ------
    InputError, NetworkError
        The file cannot be read, or contradicts itself.
    """
    raw = read_network(path)
    network = compile_network(raw).network
    return network, _road_map(path, raw, network)


def road_map_of_sumo_net(path: Path, network: Network | None = None) -> RoadMap:
    """Read the map of a SUMO network; ``network``: compiled from it, where it is at hand.

    Raises
    ------
    InputError, NetworkError
        The file cannot be read, or is not that of the network.
    """
    raw = read_network(path)
    if network is None:
        network = compile_network(raw).network
    if network.link_ids != tuple(raw.edges):
        raise InputError.at(path, "has other links than the network", "name the file it is from")
    return _road_map(path, raw, network)


def _road_map(path: Path, raw: RawNetwork, network: Network) -> RoadMap:
    usable = np.split(network.lane_use != NOT_MOTOR, network.link_lane_ptr[1:-1])
    shapes = [
        _middle_line(edge, lanes) for edge, lanes in zip(raw.edges.values(), usable, strict=True)
    ]
    shape_m = np.vstack(shapes)
    return RoadMap(
        link_ids=network.link_ids,
        shape_ptr=np.cumsum([0] + [len(shape) for shape in shapes]).astype(np.int32),
        shape_m=shape_m,
        next_ptr=network.link_move_ptr,
        next_link=network.move_to_link,
        projection=_projection(path, shape_m),
    )


def _middle_line(edge: RawEdge, usable: NDArray[np.bool_]) -> F8:
    """Mean of the outermost lanes for motor traffic; they mostly have points at the same places."""
    lanes = [_points(lane.shape) for lane, use in zip(edge.lanes, usable, strict=True) if use]
    if not lanes:
        return np.empty((0, 2))
    if len(lanes[0]) == len(lanes[-1]):
        return (lanes[0] + lanes[-1]) / 2
    return lanes[len(lanes) // 2]


def _points(shape: str) -> F8:
    return np.array([point.split(",")[:2] for point in shape.split()], float).reshape(-1, 2)


def _projection(path: Path, shape_m: F8) -> Projection | None:
    """From the file's ``location``: PROJ definition and offset."""
    with path.open("rb") as probe:
        compressed = probe.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if compressed else path.open("rb") as stream:
        found = (
            element
            for _, element in ElementTree.iterparse(stream, events=("start",))
            if element.tag == "location"
        )
        location = next(found, None)
    definition = "!" if location is None else location.get("projParameter", "!")
    if location is None or definition in _NOWHERE:
        return None
    east_m, north_m = location.get("netOffset", "0,0").split(",")
    box_m = np.concatenate((shape_m.min(axis=0), shape_m.max(axis=0)))
    return Projection(definition, (float(east_m), float(north_m)), box_m)
