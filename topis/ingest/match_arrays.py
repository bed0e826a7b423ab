"""A road map and settings as the arrays of `topis._core.map_match`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from topis._core.link_ways import link_ways
from topis.errors import InputError
from topis.ingest.road_map import RoadMap
from topis.model.network import F4, I4

CELL_M = 50.0
_MOST_CELLS = 1 << 25


@dataclass(frozen=True)
class MatchSettings:
    """How much to trust what; tuned on simulated traces (``bench/test_ingest.py``).

    ``sigma_m`` of positions, ``sigma_deg`` of headings: standard deviations, larger than a good
    receiver's, since errors have tails. ``radius_m``: links further off are not considered.
    ``slack_m``, ``slack_share``: mean difference between the way along links and the movement,
    constant and as a share of the movement. ``jump``: the most a step costs, in units of log
    probability, as is ``waiting``: for a vehicle that stands short of a link's begin, where few
    stand but many seem to whose place is the stop line before. ``moving_mps``: headings count
    above it. ``step_m``: movement between steps; ``still_m``: standing vehicles seem to move less
    than that. ``forget_s``: what is older tells nothing. ``reach_m``: ways between links are
    known up to this length; a longer one may be any longer.
    """

    sigma_m: float = 10.0
    sigma_deg: float = 15.0
    radius_m: float = 50.0
    slack_m: float = 5.0
    slack_share: float = 0.2
    jump: float = 15.0
    moving_mps: float = 1.5
    step_m: float = 5.0
    still_m: float = 60.0
    waiting: float = 5.0
    forget_s: float = 300.0
    reach_m: float = 1000.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = 0 if name in ("slack_share", "waiting", "step_m") else 1e-3
            if not (math.isfinite(value) and value >= least):
                raise InputError.at(f"map matching: {name}", f"is {value}", f"give {least} or more")
        if self.radius_m > 4 * CELL_M:
            raise InputError.at("map matching: radius_m", f"is {self.radius_m}", "at most 200 m")


def match_arrays(road_map: RoadMap, settings: MatchSettings) -> dict[str, Any]:
    """What `topis._core.map_match.MapMatch` is made of.

    Raises
    ------
    InputError
        No link has a line, or the map is too large.
    """
    lines = _Lines(road_map)
    if not len(lines.segment):
        raise InputError.at("map matching", "no link of this map has a line")
    degrees = np.radians(np.arange(361))
    return {
        "segment_link": lines.segment_link,
        "segment_offset_m": lines.segment[:, 5].copy(),
        **_grid(lines, settings.radius_m),
        **_ways(road_map, lines, settings.reach_m),
        "length_m": lines.length_m,
        "unit": np.column_stack((np.sin(degrees), np.cos(degrees))).astype(np.float32),
        "cell_m": CELL_M,
        "radius_m": settings.radius_m,
        "half_precision": 0.5 / settings.sigma_m**2,
        "heading_weight": 1 / math.radians(settings.sigma_deg) ** 2,
        "slack_m": settings.slack_m,
        "slack_share": settings.slack_share,
        "jump": settings.jump,
        "moving_mps": settings.moving_mps,
        "step_m": settings.step_m,
        "still_m": settings.still_m,
        "waiting": settings.waiting,
        "forget_ms": round(settings.forget_s * 1000),
    }


class _Lines:
    """The map's lines cut into segments, in metres from its south-west corner."""

    def __init__(self, road_map: RoadMap) -> None:
        shape = road_map.shape_m
        counts = np.diff(road_map.shape_ptr)
        owner = np.repeat(np.arange(road_map.links), counts)
        local = shape - road_map.origin_m
        start = np.flatnonzero(owner[1:] == owner[:-1])
        step = local[start + 1] - local[start]
        length = np.hypot(step[:, 0], step[:, 1])
        drawn = length > 0
        start, step, length = start[drawn], step[drawn], length[drawn]
        self.segment_link = owner[start].astype(np.int32)
        total = np.cumsum(length) - length
        first = np.searchsorted(self.segment_link, np.arange(road_map.links))
        offset = total - np.append(total, 0.0)[first][self.segment_link]
        self.length_m = np.bincount(self.segment_link, length, minlength=road_map.links).astype(
            np.float32
        )
        self.segment = np.column_stack(
            (local[start], step / length[:, None], length, offset)
        ).astype(np.float32)
        # Where links begin and end; NaN for those without a line.
        self.ends = np.full((2, road_map.links, 2), np.nan)
        there = np.flatnonzero(counts)
        self.ends[0, there] = local[road_map.shape_ptr[:-1][there]]
        self.ends[1, there] = local[road_map.shape_ptr[1:][there] - 1]


def _grid(lines: _Lines, radius_m: float) -> dict[str, Any]:
    """Cells of 50 m, each with every segment that lies within the radius of any point in it."""
    start = lines.segment[:, :2].astype(float)
    step = lines.segment[:, 2:4] * lines.segment[:, 4:5]
    # The grid begins a radius outside the map, so that points just off it are placed too.
    low = np.floor(np.minimum(start, start + step) / CELL_M).astype(np.int64)
    high = np.floor((np.maximum(start, start + step) + 2 * radius_m) / CELL_M).astype(np.int64)
    columns, rows = (int(n) for n in high.max(axis=0) + 1)
    if columns * rows > _MOST_CELLS:
        raise InputError.at(
            "map matching",
            f"the map spans {columns * CELL_M / 1000:.0f} x {rows * CELL_M / 1000:.0f} km",
            "match parts of it one by one",
        )
    wide, tall = (high - low + 1).T
    owner = np.repeat(np.arange(len(low)), wide * tall)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(wide * tall) - wide * tall, wide * tall)
    column = low[owner, 0] + number % wide[owner]
    row = low[owner, 1] + number // wide[owner]
    # Of the cells around a slanting segment, those too far off are left out.
    away = (np.column_stack((column, row)) + 0.5) * CELL_M - radius_m - start[owner]
    unit = lines.segment[owner, 2:4].astype(float)
    along = np.clip((away * unit).sum(axis=1), 0.0, lines.segment[owner, 4])
    away -= along[:, None] * unit
    near = np.hypot(away[:, 0], away[:, 1]) <= radius_m + CELL_M * math.sqrt(0.5) + 0.01
    cell, owner = (row * columns + column)[near], owner[near]
    order = np.argsort(cell, kind="stable")
    return {
        "cell_ptr": np.searchsorted(cell[order], np.arange(columns * rows + 1)).astype(np.int32),
        "cell_segment": owner[order].astype(np.int32),
        "cell_line": lines.segment[owner[order], :5].T.copy(),
        "west_m": -radius_m,
        "south_m": -radius_m,
        "columns": columns,
        "rows": rows,
    }


def _ways(road_map: RoadMap, lines: _Lines, most_m: float) -> dict[str, Any]:
    """Table of ways between links; through a junction they are taken to be straight."""
    owner = np.repeat(np.arange(road_map.links), np.diff(road_map.next_ptr))
    gap = lines.ends[0, road_map.next_link] - lines.ends[1, owner]
    # Nothing leads by way of a link without a line.
    next_m = np.nan_to_num(np.hypot(gap[:, 0], gap[:, 1]), nan=np.inf).astype(np.float32)
    links, room, first = road_map.links, max(64 * road_map.links, 1 << 16), 0
    way_m = np.full(links, np.inf, np.float32)
    waits, queue, touched = np.zeros(links, np.uint8), *np.zeros((2, links), np.int32)
    parts: list[tuple[I4, I4, F4]] = []
    while first < links:
        found = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.float32)
        began = first
        first, count = link_ways(
            first, road_map.next_ptr, road_map.next_link, next_m, lines.length_m, most_m,
            way_m, waits, queue, touched, *found,
        )  # fmt: skip
        parts.append((found[0][:count], found[1][:count], found[2][:count]))
        if first == began:
            room *= 2
    start, to, way = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((to, way, start))
    return {
        "reach_ptr": np.searchsorted(start[order], np.arange(links + 1)).astype(np.int32),
        "reach_link": to[order],
        "reach_m": way[order],
        "most_m": most_m,
    }
