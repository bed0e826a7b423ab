"""Purdue coordination diagram and split monitor of a junction, a row of panels a phase.

This file imports matplotlib and is itself imported only where a picture is drawn.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from topis.errors import InputError, OutputError
from topis.report.figures import LAMP_COLOURS, STYLE, svg
from topis.report.measures import format_clock
from topis.report.signal_measures import SignalMeasures
from topis.units import MS_PER_S

_WIDTH_IN = 10.0
_ROW_IN = 2.1
#: Arrivals of the links of a phase, in the order of their names.
_ARRIVALS = (("#1d3557", "o"), ("#8a5a00", "^"), ("#5b2a86", "s"), ("#333333", "x"))
_ENDINGS = {
    "gap-out": ("#009e73", "o"),
    "max-out": ("#d55e00", "^"),
    "force-off": ("#0072b2", "s"),
    "": ("#888888", "."),
}


def draw_signals(measures: SignalMeasures, junction: str, path: Path) -> None:
    """Draw to PNG, SVG or PDF by the file's ending.

    Left the Purdue coordination diagram (Day et al. 2010, TRR 2192): each arrival at its moment,
    and at its time since the last begin of red, under the moments in that cycle when green,
    yellow and the next red began. Right the split monitor: how long each green was and how it
    ended; split failures are ringed.

    Raises
    ------
    InputError
        The junction has no phase that was green, or the ending is unknown.
    OutputError
        The file cannot be written.
    """
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InputError.at(path, "is no picture", "name a .png, .svg or .pdf")
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": junction}):
        figure = _figure(measures, junction)
        try:
            figure.savefig(
                path, dpi=150, metadata={"Date": None} if path.suffix.lower() == ".svg" else None
            )
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror})") from None


def signals_svg(measures: SignalMeasures, junction: str) -> str:
    """The same picture as SVG text, for a page.

    Raises
    ------
    InputError
        The junction has no phase that was green.
    """
    with matplotlib.rc_context(dict(STYLE)):
        return svg(_figure(measures, junction), "signals")


def _figure(measures: SignalMeasures, junction: str) -> Figure:
    cycles = measures.cycles[measures.cycles["junction"] == junction]
    green = cycles[cycles["yellow_ms"] > cycles["green_ms"]]
    shown = sorted(green["phase"].unique())
    if not shown:
        raise InputError(f"junction {junction!r} shows no green to vehicles in this journal")
    figure = Figure(figsize=(_WIDTH_IN, _ROW_IN * len(shown) + 1.0), layout="constrained")
    panels = figure.subplots(len(shown), 2, squeeze=False, sharex=True)
    for (left, right), phase in zip(panels, shown, strict=True):
        rows = cycles[cycles["phase"] == phase]
        facts = measures.phases[
            (measures.phases["junction"] == junction) & (measures.phases["phase"] == phase)
        ]
        arrivals = measures.arrivals[measures.arrivals["group"] == rows["group"].iloc[0]]
        _coordination(left, rows, arrivals[arrivals["link"] >= 0])
        _splits(right, rows, float(facts["programmed_split_s"].iloc[0]))
        left.set_title(f"phase {phase}: {_summary(facts)}", fontsize=9, loc="left")
        right.set_title(f"phase {phase}: {_failures(facts)}", fontsize=9, loc="left")
    for panel in panels[-1]:
        panel.set_xlabel("time of day (h:min)")
        panel.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 1.5, 3, 6, 10]))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda s, _: format_clock(s)[:5]))
        panel.set_xlim(*(cycles[k].agg(f) / MS_PER_S for k, f in _ENDS))
    figure.legend(
        handles=_entries(measures, cycles), loc="outside upper center", ncols=5, fontsize=9
    )
    return figure


_ENDS = (("green_ms", "min"), ("next_ms", "max"))


def _coordination(axes: Axes, rows: pd.DataFrame, arrivals: pd.DataFrame) -> None:
    """Arrivals by their time since the last begin of red; lamps as lines over them."""
    # A cycle here begins with the red after a green; a red at the journal's begin is older.
    if rows["red_ms"].iloc[0] == rows["green_ms"].iloc[0]:
        rows = rows.iloc[1:]
    red_ms = rows["red_ms"].to_numpy()
    red_ms = red_ms[red_ms < rows["next_ms"].max()]
    edges_s = red_ms / MS_PER_S
    for column, lamp in (("green_ms", "g"), ("yellow_ms", "y"), ("red_ms", "r")):
        since_s = rows[column].to_numpy()[1 : len(red_ms)] / MS_PER_S - edges_s[:-1]
        if len(since_s):
            axes.stairs(since_s, edges_s, baseline=None, color=LAMP_COLOURS[lamp], lw=1.6, zorder=2)
    time_ms = arrivals["time_ms"].to_numpy()
    size = float(np.clip(3000 / max(len(time_ms), 1), 1.5, 14))
    for k, link in enumerate(sorted(arrivals["link"].unique())):
        here = time_ms[(arrivals["link"] == link).to_numpy()]
        cycle = np.searchsorted(red_ms, here, side="right") - 1
        here, cycle = here[cycle >= 0], cycle[cycle >= 0]
        colour, marker = _ARRIVALS[k % len(_ARRIVALS)]
        axes.scatter(
            here / MS_PER_S, (here - red_ms[cycle]) / MS_PER_S, s=size, color=colour,
            marker=marker, lw=0.6 if marker == "x" else 0, zorder=3, rasterized=len(here) > 15_000,
        )  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.set_ylabel("time in cycle (s)")


def _splits(axes: Axes, rows: pd.DataFrame, programmed_s: float) -> None:
    """Length of each green that was seen to begin and end."""
    seen = rows[rows["yellow_ms"] > rows["green_ms"]]
    seen = seen[seen["yellow_ms"] < rows["next_ms"].max()]
    at_s = seen["green_ms"] / MS_PER_S
    green_s = (seen["yellow_ms"] - seen["green_ms"]) / MS_PER_S
    for ending, (colour, marker) in _ENDINGS.items():
        some = (seen["ending"] == ending).to_numpy()
        axes.scatter(at_s[some], green_s[some], s=16, color=colour, marker=marker, lw=0, zorder=3)
    failed = seen["split_failure"].to_numpy()
    axes.scatter(
        at_s[failed], green_s[failed], s=60, facecolors="none", edgecolors="#b2182b", lw=1.2
    )
    if not math.isnan(programmed_s):
        axes.axhline(programmed_s, color="#555555", lw=1.2, ls="--")
    axes.set_ylim(0, 1.15 * max([*green_s, 1.0, 0 if math.isnan(programmed_s) else programmed_s]))
    axes.set_ylabel("green (s)")


def _summary(facts: pd.DataFrame) -> str:
    row = facts.iloc[0]
    if not row["arrived_veh"]:
        return "no detector upstream, or nobody came"
    return (
        f"{row['arrived_veh']} arrivals, {100 * row['arrivals_on_green']:.0f} % on green, "
        f"platoon ratio {row['platoon_ratio']:.2f}"
    )


def _failures(facts: pd.DataFrame) -> str:
    row = facts.iloc[0]
    if not row["cycles"]:
        return "no whole cycle"
    return (
        f"{row['cycles']} cycles of {row['cycle_s']:.0f} s, {row['split_failures']} split failures"
    )


def _entries(measures: SignalMeasures, cycles: pd.DataFrame) -> list[Any]:
    """Of the legend, what can be seen in the panels."""
    names = {"g": "begin of green", "y": "begin of yellow", "r": "next begin of red"}
    entries = [Line2D([], [], color=LAMP_COLOURS[k], lw=1.6, label=names[k]) for k in names]
    arrivals = measures.arrivals[measures.arrivals["link"] >= 0]
    most = int(arrivals.groupby("group")["link"].nunique().max()) if len(arrivals) else 0
    entries += [
        Line2D([], [], color=colour, marker=marker, lw=0, ms=5, label=label)
        for (colour, marker), label in zip(
            _ARRIVALS[:most],
            ("arrival", "arrival, other link", "third link", "fourth link"),
            strict=False,
        )
    ]
    found = set(cycles.loc[cycles["yellow_ms"] > cycles["green_ms"], "ending"])
    entries += [
        Line2D(
            [], [], color=colour, marker=marker, lw=0, ms=5, label=name or "green, ending unsaid"
        )
        for name, (colour, marker) in _ENDINGS.items()
        if name in found
    ]
    if cycles["split_failure"].any():
        ring: dict[str, Any] = {"marker": "o", "mfc": "none", "lw": 0, "ms": 8}
        entries.append(Line2D([], [], color="#b2182b", label="split failure", **ring))
    if measures.phases["programmed_split_s"].notna().any():
        label = "programmed split, with intergreen"
        entries.append(Line2D([], [], color="#555555", lw=1.2, ls="--", label=label))
    return entries
