"""Pictures of runs, as SVG text that is the same each time.

This file imports matplotlib and is itself imported only where a picture is drawn. Figures are
made for a white card and a narrow page: at most 6.4 inches wide, type of 10 points.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon
from matplotlib.ticker import FuncFormatter, MaxNLocator

from topis.report.comparison import Row
from topis.report.measures import FloatArray, Measures, format_clock, read_columns, read_json

WIDTH_IN = 6.4
MAX_WINDOW_S = 900.0
_MAX_POINTS = 15_000
_MAX_BINS = 240

# Okabe and Ito's colours, in an order whose neighbours differ in brightness too.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_DASHES = ("-", "--", "-.", ":")
LAMP_COLOURS = {"r": "#b2182b", "y": "#f0b323", "g": "#74c69d"}
STYLE: Mapping[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "svg.fonttype": "path",
    "path.simplify": True,
}


def delay_map(
    measures: Sequence[Measures], links: Sequence[Sequence[tuple[float, float]]] = ()
) -> str:
    """Junctions coloured and sized by delay per vehicle, one panel a controller, one scale.

    `links` are polylines (x_m, y_m) drawn beneath. Seeds are pooled. Returns SVG text.
    """
    groups = _by_controller(measures)
    pooled = {name: _pool_junctions(runs) for name, runs in groups.items()}
    delays = [item[2] for junctions in pooled.values() for item in junctions]
    norm = Normalize(0, max([delay for delay in delays if math.isfinite(delay)], default=1.0) or 1)
    columns = min(2, len(groups))
    rows = math.ceil(len(groups) / columns)
    corners = np.array([item[:2] for junctions in pooled.values() for item in junctions])
    lines = [np.asarray(line, dtype=float) for line in links if len(line) > 1]
    extent = np.concatenate([corners.reshape(-1, 2), *lines])
    span = np.ptp(extent, axis=0) if len(extent) else np.ones(2)
    ratio = min(1.6, max(0.35, (span[1] or 1) / (span[0] or 1)))
    with matplotlib.rc_context(dict(STYLE)):
        height = rows * (WIDTH_IN / columns * ratio * 0.95 + 0.35) + 0.9
        figure = Figure(figsize=(WIDTH_IN, min(height, 9.0)), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel, (name, junctions) in zip(panels, pooled.items(), strict=False):
            _map_panel(panel, lines, junctions, norm)
            panel.set_title(_short(name), fontsize=11)
        for panel in panels[len(pooled) :]:
            panel.set_visible(False)
        figure.colorbar(
            matplotlib.cm.ScalarMappable(norm, "viridis_r"),
            ax=list(panels[: len(pooled)]),
            location="bottom",
            label="delay per vehicle at the junction (s)",
            fraction=0.06,
            pad=0.03,
            aspect=40,
        )
        return svg(figure, "map")


def delay_distribution(measures: Sequence[Measures]) -> str:
    """Share of vehicles with at most a delay, per controller, seeds pooled; delay on a log axis."""
    with matplotlib.rc_context(dict(STYLE)):
        figure, axes = single(3.5)
        longest_s = 10.0
        for place, (name, runs) in enumerate(_by_controller(measures).items()):
            delays = np.sort(np.concatenate([run.delays_s for run in runs]))
            if not len(delays):
                continue
            shares = np.linspace(0, 1, min(len(delays), 300))
            # Quantiles of the sorted values, so that a million vehicles draw as 300 points.
            shown = np.maximum(delays[np.round(shares * (len(delays) - 1)).astype(int)], 1.0)
            longest_s = max(longest_s, float(shown[-1]))
            axes.plot(shown, 100 * shares, label=_short(name), **_line(place))
        axes.set_xscale("log")
        axes.set_xlim(1, longest_s * 1.05)
        ticks = [t for t in (1, 3, 10, 30, 100, 300, 1000, 3000, 10000) if t <= longest_s * 1.05]
        axes.set_xticks(ticks, ["≤ 1", *(str(tick) for tick in ticks[1:])])
        axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        axes.set_ylim(0, 101)
        axes.set_xlabel("delay of a vehicle (s, log scale)")
        axes.set_ylabel("vehicles with at most this delay (%)")
        _legend(figure, axes)
        return svg(figure, "ecdf")


def queue_over_time(measures: Sequence[Measures]) -> str:
    """Mean number of standing vehicles over time: mean of the seeds, band from least to most."""
    with matplotlib.rc_context(dict(STYLE)):
        figure, axes = single(3.3)
        begin_s = min((run.begin_s for run in measures), default=0.0)
        for place, (name, runs) in enumerate(_by_controller(measures).items()):
            times_s, queues = _align(runs)
            if not len(times_s):
                continue
            minutes = (times_s - begin_s) / 60
            mean = np.nanmean(queues, axis=0)
            line = _line(place)
            axes.plot(minutes, mean, label=_short(name), **line)
            if len(runs) > 1:
                low, high = np.nanmin(queues, axis=0), np.nanmax(queues, axis=0)
                axes.fill_between(minutes, low, high, color=line["color"], alpha=0.18, lw=0)
        axes.set_ylim(bottom=0)
        axes.margins(x=0.01)
        axes.set_xlabel(f"time since the begin of the run at {format_clock(begin_s)} (min)")
        axes.set_ylabel("standing vehicles")
        _legend(figure, axes)
        return svg(figure, "queue")


def delay_bars(rows: Sequence[Row]) -> str:
    """Mean delay per controller, with its 95 % interval over the seeds."""
    with matplotlib.rc_context(dict(STYLE)):
        figure, axes = single(0.9 + 0.42 * len(rows))
        cells = [row.cells["delay_s"] for row in rows]
        ends = [(cell.mean or 0.0) + (cell.half or 0.0) for cell in cells]
        room = max([*ends, 1e-9])
        for place, (cell, end) in enumerate(zip(cells, ends, strict=True)):
            mean, half = cell.mean or 0.0, cell.half
            axes.barh(place, mean, height=0.62, color=COLOURS[place % len(COLOURS)], alpha=0.85)
            if half is not None:
                axes.errorbar(mean, place, xerr=half, color="#222222", capsize=4, lw=1.4)
            label = "–" if cell.mean is None else f"{mean:.1f}"
            axes.text(end + 0.02 * room, place, label, va="center")
        axes.set_yticks(range(len(rows)), [_short(row.controller) for row in rows])
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.set_xlim(0, room * 1.15)
        axes.set_xlabel("mean delay per vehicle (s)")
        return svg(figure, "bars")


def time_space(
    folder: str | Path,
    begin_s: float | None = None,
    window_s: float = MAX_WINDOW_S,
    name: str = "corridor",
) -> str | None:
    """Time-space diagram of the run's corridor; None when the run has none.

    Lamps of the through heads lie on the stop lines, trajectories are thin lines. The window is
    `window_s` (cut to 15 min) from `begin_s`; without one, the middle of the run. `name` must
    differ between diagrams that share a page.
    """
    path = Path(folder)
    manifest = read_json(path / "manifest.json")
    corridor = manifest.get("corridor")
    if not corridor:
        return None
    moves = read_columns(path / "trajectories.parquet", ("time_s", "vehicle", "position_m"))
    span = float(manifest["begin_s"]), float(manifest["end_s"])
    return time_space_of(path, corridor, moves, span, begin_s=begin_s, window_s=window_s, name=name)


def time_space_of(
    folder: Path,
    corridor: Mapping[str, Any],
    moves: Any,
    span_s: tuple[float, float],
    *,
    begin_s: float | None = None,
    window_s: float = MAX_WINDOW_S,
    name: str = "corridor",
    band_mps: float | None = None,
) -> str:
    """As `time_space`, of a corridor's facts and the columns of ``moves`` at hand.

    ``band_mps``: shade the green bands for that speed.
    """
    moves = {key: np.asarray(moves[key]) for key in ("time_s", "vehicle", "position_m")}
    first_s, last_s = span_s
    window_s = min(window_s, MAX_WINDOW_S, last_s - first_s)
    start_s = (first_s + last_s - window_s) / 2 if begin_s is None else begin_s
    window = (start_s, start_s + window_s)
    signals = read_columns(folder / "signals.parquet", ("time_ms", "junction"), ("state",))
    with matplotlib.rc_context(dict(STYLE)):
        figure, axes = single(4.6)
        axes.add_collection(
            LineCollection(_trajectories(moves, window), colors="#3d5a80", linewidths=0.6)
        )
        for stop_line in corridor["stop_lines"]:
            position_m = float(stop_line["position_m"])
            for lamp, spans in _lamps(signals, stop_line, window).items():
                axes.hlines(
                    [position_m] * len(spans),
                    [span[0] - start_s for span in spans],
                    [span[1] - start_s for span in spans],
                    colors=LAMP_COLOURS[lamp],
                    linewidths=3.5 if lamp == "r" else 2.5,
                    zorder=3,
                )
        if band_mps is not None:
            greens = [
                (float(stop["position_m"]), _lamps(signals, stop, window)["g"])
                for stop in corridor["stop_lines"]
            ]
            for band in green_bands(greens, band_mps):
                points = [(second - start_s, place_m) for second, place_m in band]
                axes.add_patch(Polygon(points, color="#74c69d", alpha=0.25, lw=0, zorder=0))
        axes.grid(False, axis="y")
        axes.set_xlim(0, max(window_s, 1.0))
        axes.set_ylim(-0.02 * corridor["length_m"], 1.02 * corridor["length_m"])
        axes.set_xlabel(f"time since {format_clock(start_s)} (s)")
        axes.set_ylabel("position along the corridor (m)")
        names = {"r": "red", "y": "yellow", "g": "green"}
        entries: list[Any] = [Patch(color=LAMP_COLOURS[lamp], label=names[lamp]) for lamp in names]
        entries.append(Line2D([], [], color="#3d5a80", lw=0.9, label="vehicle"))
        figure.legend(handles=entries, loc="outside upper center", ncols=4)
        return svg(figure, name)


def green_bands(
    greens: Sequence[tuple[float, Sequence[tuple[float, float]]]], speed_mps: float
) -> list[list[tuple[float, float]]]:
    """Bands in which who drives at a speed meets green at all stop lines: corners (s, m).

    ``greens``: place of each stop line in order, and its spans of green (s). A band is what the
    greens have in common once each is moved back by the drive from the first (Little 1966,
    Oper. Res. 14).
    """
    if len(greens) < 2:
        return []
    first_m, last_m = greens[0][0], greens[-1][0]
    common = list(greens[0][1])
    for place_m, spans in greens[1:]:
        drive_s = (place_m - first_m) / speed_mps
        moved = [(begin - drive_s, end - drive_s) for begin, end in spans]
        pairs = ((max(a, c), min(b, d)) for a, b in common for c, d in moved)
        common = [(begin, end) for begin, end in pairs if begin < end]
    drive_s = (last_m - first_m) / speed_mps
    return [
        [(begin, first_m), (end, first_m), (end + drive_s, last_m), (begin + drive_s, last_m)]
        for begin, end in common
    ]


def _by_controller(measures: Sequence[Measures]) -> dict[str, list[Measures]]:
    groups: dict[str, list[Measures]] = {}
    for measure in measures:
        groups.setdefault(measure.controller, []).append(measure)
    return groups


def _pool_junctions(runs: Sequence[Measures]) -> list[tuple[float, float, float]]:
    """(x_m, y_m, delay s/veh) of each junction; NaN where no vehicle came."""
    pooled = []
    for same in zip(*(run.junctions for run in runs), strict=True):
        lost_s = math.fsum(item.delay_veh_h for item in same) * 3600
        vehicles = math.fsum(item.vehicles for item in same)
        delay_s = lost_s / vehicles if vehicles > 0 else math.nan
        pooled.append((same[0].x_m, same[0].y_m, delay_s))
    return pooled


def _map_panel(
    panel: Axes,
    lines: Sequence[FloatArray],
    junctions: Sequence[tuple[float, float, float]],
    norm: Normalize,
) -> None:
    vertices = sum(len(line) for line in lines)
    panel.add_collection(
        LineCollection(
            list(lines), colors="#c4c4c4", linewidths=0.8, rasterized=vertices > _MAX_POINTS
        )
    )
    values = np.array(junctions, dtype=float).reshape(-1, 3)
    empty = np.isnan(values[:, 2])
    panel.scatter(values[empty, 0], values[empty, 1], s=14, c="white", edgecolors="#888888")
    x_m, y_m, delay_s = values[~empty].T
    largest = 260 / (1 + len(values) / 40)
    panel.scatter(
        x_m,
        y_m,
        s=18 + largest * np.asarray(norm(delay_s)),
        c=delay_s,
        cmap="viridis_r",
        norm=norm,
        edgecolors="#333333",
        linewidths=0.6,
        zorder=3,
    )
    panel.autoscale_view()
    panel.margins(0.12)
    panel.set_aspect("equal", adjustable="datalim")
    panel.set_xticks([])
    panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set_visible(False)


def _align(runs: Sequence[Measures]) -> tuple[FloatArray, npt.NDArray[np.float64]]:
    """Common interval begins (n,) and queues (runs, n), NaN where a run has no such interval."""
    times_s = np.unique(np.concatenate([run.queue_begin_s for run in runs]))
    queues = np.full((len(runs), len(times_s)), np.nan)
    for row, run in zip(queues, runs, strict=True):
        row[np.searchsorted(times_s, run.queue_begin_s)] = run.queue_veh
    width = math.ceil(len(times_s) / _MAX_BINS) or 1
    if width > 1:
        kept = len(times_s) // width * width
        times_s = times_s[:kept:width]
        with np.errstate(invalid="ignore"):
            parts = queues[:, :kept].reshape(len(runs), -1, width)
            counts = np.isfinite(parts).sum(axis=2)
            queues = np.where(counts > 0, np.nansum(parts, axis=2) / np.maximum(counts, 1), np.nan)
    return times_s, queues


def _trajectories(
    moves: Mapping[str, npt.NDArray[Any]], window: tuple[float, float]
) -> list[FloatArray]:
    """Polylines (time since the window's begin, position), split where a vehicle was away."""
    inside = (moves["time_s"] >= window[0]) & (moves["time_s"] <= window[1])
    time_s, vehicle, position_m = (
        moves[name][inside] for name in ("time_s", "vehicle", "position_m")
    )
    order = np.lexsort((time_s, vehicle))
    time_s, vehicle, position_m = time_s[order], vehicle[order], position_m[order]
    if len(time_s) < 2:
        return []
    steps_s = np.diff(time_s)
    same = np.diff(vehicle) == 0
    usual_s = float(np.median(steps_s[same])) if same.any() else 1.0
    cuts = np.flatnonzero(~same | (steps_s > 5 * max(usual_s, 1.0))) + 1
    thin = math.ceil(len(time_s) / _MAX_POINTS)
    lines = []
    points = np.column_stack([time_s - window[0], position_m])
    for part in np.split(points, cuts):
        if len(part) > 1:
            # The last point is kept, so that a thinned line still ends where the vehicle did.
            last = [] if (len(part) - 1) % thin == 0 else [part[-1:]]
            lines.append(np.concatenate([part[::thin], *last]))
    return lines


def _lamps(
    signals: Mapping[str, npt.NDArray[Any]],
    stop_line: Mapping[str, Any],
    window: tuple[float, float],
) -> dict[str, list[tuple[float, float]]]:
    """Spans (begin_s, end_s) of each lamp of a stop line's through heads within the window."""
    rows = np.flatnonzero(signals["junction"] == stop_line["junction"])
    rows = rows[np.argsort(signals["time_ms"][rows], kind="stable")]
    starts_s = signals["time_ms"][rows] / 1000
    spans: dict[str, list[tuple[float, float]]] = {"r": [], "y": [], "g": []}
    for place, row in enumerate(rows):
        end_s = starts_s[place + 1] if place + 1 < len(rows) else window[1]
        begin_s, end_s = max(float(starts_s[place]), window[0]), min(float(end_s), window[1])
        if begin_s >= end_s:
            continue
        state = str(signals["state"][row])
        shown = {state[head] for head in stop_line["head"]}
        lamp = "g" if shown & set("Gg") else "y" if shown & set("yY") else "r"
        known = spans[lamp]
        if known and known[-1][1] == begin_s:
            begin_s = known.pop()[0]
        known.append((begin_s, end_s))
    return spans


def single(height_in: float) -> tuple[Figure, Axes]:
    """A figure of the page's width with one panel."""
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    axes: Axes = figure.subplots()
    return figure, axes


def _line(place: int) -> dict[str, Any]:
    dash = _DASHES[place % len(_DASHES)]
    return {"color": COLOURS[place % len(COLOURS)], "linestyle": dash, "linewidth": 1.8}


def _legend(figure: Figure, axes: Axes) -> None:
    entries, labels = axes.get_legend_handles_labels()
    if labels:
        # A row of the legend holds about 56 characters, each entry's line counted as 7.
        columns = max(1, 56 // (7 + max(len(label) for label in labels)))
        figure.legend(entries, labels, loc="outside upper center", ncols=min(columns, len(labels)))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _short(name: str) -> str:
    """Name for a label: not too long, and with a dollar that starts no formula."""
    return (name if len(name) <= 28 else f"{name[:27]}…").replace("$", r"\$")


def svg(figure: Figure, name: str) -> str:
    """SVG element without prolog, size or date; ids carry `name` to be unique on a page."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": name, "savefig.facecolor": "white"}):
        figure.savefig(buffer, format="svg", metadata=nothing, dpi=150)
    text = buffer.getvalue()
    # Comments repeat every label in clear; the text itself is drawn as outlines.
    text = re.sub(r"<!--.*?-->\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    return re.sub(r"url\(#", f"url(#{name}-", text)
