"""Picture of a what-if: queues over time under both plans, and delay by junction.

This file imports matplotlib and is itself imported only where a picture is drawn.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from topis.errors import OutputError
from topis.report.figures import COLOURS, STYLE, WIDTH_IN, svg
from topis.report.whatif_result import BLOCK_S, WhatIf

_JUNCTIONS = 12


def draw_whatif(result: WhatIf, path: Path) -> None:
    """Draw to PNG, SVG or PDF by the file's ending.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    with matplotlib.rc_context(dict(STYLE) | {"svg.hashsalt": "whatif"}):
        figure = _figure(result)
        dateless = {"Date": None} if path.suffix.lower() == ".svg" else None
        try:
            figure.savefig(path, dpi=150, metadata=dateless)
        except (OSError, ValueError) as error:
            raise OutputError(f"{path}: cannot be written ({error})") from None


def whatif_svg(result: WhatIf) -> str:
    """The same picture as SVG text, for a page."""
    with matplotlib.rc_context(dict(STYLE)):
        return svg(_figure(result), "whatif")


def _figure(result: WhatIf) -> Figure:
    bars_in = 0.5 + 0.32 * min(max(len(result.junctions), 1), _JUNCTIONS)
    figure = Figure(figsize=(WIDTH_IN, 4.0 + bars_in), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[3.2, bars_in])
    _over_time(above, result)
    _by_junction(below, result)
    return figure


def _over_time(axes: Axes, result: WhatIf) -> None:
    minutes = (np.arange(len(result.measured_a_veh)) + 0.5) * BLOCK_S / 60.0
    axes.plot(minutes, result.measured_a_veh, color="#222222", lw=1.8, label="A, measured")
    axes.plot(minutes, result.model_a_veh, color=COLOURS[0], ls="--", lw=1.8, label="A, model")
    axes.plot(minutes, result.model_b_veh, color=COLOURS[1], lw=1.8, label="B, model")
    axes.fill_between(
        minutes, result.model_b_low_veh, result.model_b_high_veh, color=COLOURS[1], alpha=0.2, lw=0
    )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("time since the begin of the slice (min)")
    axes.set_ylabel("queued vehicles")
    axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(0.0, 1.0), fontsize=9)


def _by_junction(axes: Axes, result: WhatIf) -> None:
    most = sorted(result.junctions, key=lambda j: -abs(j.delay_b_veh_h - j.delay_a_veh_h))
    shown = most[:_JUNCTIONS]
    place = np.arange(len(shown))
    change = np.array([j.delay_b_veh_h - j.delay_a_veh_h for j in shown])
    low, high = (np.array([getattr(j, n) for j in shown]) for n in ("low_veh_h", "high_veh_h"))
    colours = [COLOURS[2] if value < 0 else COLOURS[1] for value in change]
    axes.barh(place, change, height=0.6, color=colours, alpha=0.85)
    axes.errorbar(
        change, place, xerr=np.array([change - low, high - change]), fmt="none", ecolor="#222222"
    )
    axes.axvline(0.0, color="#555555", lw=1)
    axes.set_yticks(place, [j.junction.replace("$", r"\$")[:28] for j in shown])
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set_xlabel(f"delay under {result.controller} less what it was (veh h)")
