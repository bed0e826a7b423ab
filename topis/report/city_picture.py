"""Maps of a city as a picture: one frame large, or a time lapse of several runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from topis.report.city_map import MODES, NO_LEVEL, CityMap, shares

#: Levels of service from free to jammed: a scale that colour-blind eyes tell apart
#: (lightness falls along it), and a road without a level.
LEVEL_COLOURS = (
    "#2c7fb8",
    "#7fcdbb",
    "#fee391",
    "#fe9929",
    "#d7301f",
    "#7f0000",
    "#4a0000",
    "#000000",
)
ROAD_COLOUR = "#c9ced6"
#: Streets alone: the darker the more lanes they have.
LANE_COLOURS = ("#dde1e7", "#c3c9d2", "#98a2b0", "#5f6b7c", "#2d3748")
MODE_COLOURS = ("#08519c", "#41ab5d", "#969696", "#969696")
#: Frames of a time lapse, at most.
MOST_FRAMES = 6
#: Lines are drawn the thinner the more roads there are, between these widths.
_LINE, _THINNEST, _WIDEST = 120.0, 0.45, 2.5


def _line(shown: CityMap, size: float) -> float:
    """Width of lines on a map so many inches wide (points, times lanes)."""
    return size / 13 * float(np.clip(_LINE / np.sqrt(shown.network.links), _THINNEST, _WIDEST))


def _draw(
    axes: Axes, shown: CityMap, frame: int, shapes: list[NDArray[np.float32]], line: float
) -> None:
    level = shown.level[frame]
    lanes = np.diff(shown.network.link_lane_ptr)
    levels = [*map(to_rgba, LEVEL_COLOURS[: len(shown.letters)]), to_rgba(ROAD_COLOUR)]
    plain = level == NO_LEVEL
    streets_alone = bool(plain.all())
    colours = np.array([to_rgba(c) for c in LANE_COLOURS] if streets_alone else levels)
    for which, order in ((plain, 1), (~plain, 2)):
        at = np.flatnonzero(which)
        # The worst on top: a jam must not hide below a free road beside it.
        at = at[np.argsort(level[at], kind="stable")]
        pick = np.where(level[at] == NO_LEVEL, len(shown.letters), level[at])
        if streets_alone:
            at = at[np.argsort(lanes[at], kind="stable")]
            pick = np.minimum(lanes[at], len(LANE_COLOURS)) - 1
        axes.add_collection(
            LineCollection(
                [shapes[k] for k in at.tolist()],
                colors=colours[pick],
                linewidths=line
                * (0.35 + 0.3 * lanes[at] + np.sqrt(shown.standing_veh[frame][at]) / 3),
                zorder=order,
            )
        )
    low, high = shown.network.link_shape_m.min(axis=0), shown.network.link_shape_m.max(axis=0)
    axes.set_xlim(float(low[0]), float(high[0]))
    axes.set_ylim(float(low[1]), float(high[1]))
    axes.set_aspect("equal")
    axes.set_axis_off()


def _signals(axes: Axes, shown: CityMap) -> None:
    xy_m = shown.network.junction_xy_m
    size = float(np.clip(4000.0 / max(len(xy_m), 1), 0.8, 20.0))
    colours = np.array([*MODE_COLOURS, "#3b4450"])[np.minimum(shown.mode, len(MODE_COLOURS))]
    axes.scatter(xy_m[:, 0], xy_m[:, 1], s=size, c=colours.tolist(), linewidths=0, zorder=3)


def _keys(shown: CityMap, *, signals: bool) -> list[Line2D]:
    keys = [
        Line2D([], [], color=colour, linewidth=3, label=letter)
        for letter, colour in zip(shown.letters, LEVEL_COLOURS, strict=False)
        if (shown.level != NO_LEVEL).any()
    ]
    if signals:
        keys += [
            Line2D(
                [], [], color=MODE_COLOURS[k], marker="o", linewidth=0, label=f"{MODES[k]} ({n:,})"
            )
            for k, n in enumerate(
                np.bincount(shown.mode[shown.mode < len(MODES)], minlength=len(MODES)).tolist()
            )
            if n
        ]
    return keys


def draw_map(shown: CityMap, frame: int, path: Path) -> None:
    """One frame, with its signals, as PNG or SVG by the file's ending.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    figure = Figure(figsize=(13, 11), layout="constrained")
    axes = figure.add_subplot()
    _draw(axes, shown, frame, shown.shapes(), _line(shown, 13))
    _signals(axes, shown)
    network = shown.network
    title = f"{shown.title}: {network.junctions:,} signals, {network.links:,} roads"
    if shown.window_s:
        title += (
            f", {clock(shown.times_s[frame])} to {clock(shown.times_s[frame] + shown.window_s)}"
        )
    axes.set_title(title)
    if keys := _keys(shown, signals=True):
        figure.legend(handles=keys, loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path, dpi=160, metadata={"Date": None} if path.suffix == ".svg" else None)


def draw_lapse(maps: Sequence[CityMap], path: Path) -> None:
    """A row of frames for each run, at the same times.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    count = min(len(shown.times_s) for shown in maps)
    frames = np.unique(np.linspace(0, count - 1, min(count, MOST_FRAMES)).round().astype(int))
    figure = Figure(figsize=(3.4 * len(frames), 3.6 * len(maps) + 0.6), layout="constrained")
    grid = figure.subplots(len(maps), len(frames), squeeze=False)
    for row, shown in zip(grid, maps, strict=True):
        shapes, share = shown.shapes(), shares(shown)
        for axes, frame in zip(row, frames.tolist(), strict=True):
            _draw(axes, shown, frame, shapes, _line(shown, 6))
            jammed = 100.0 * float(share[frame, 5:].sum())
            axes.set_title(
                f"{shown.title}\n{clock(shown.times_s[frame])}: {jammed:.1f} % of roads at F",
                fontsize=9,
            )
    figure.legend(
        handles=_keys(maps[0], signals=False), loc="outside lower center", ncols=8, frameon=False
    )
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def clock(seconds: float) -> str:
    """Hours and minutes of a time of day, or of a run that begins at zero."""
    minutes = round(seconds / 60.0)
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
