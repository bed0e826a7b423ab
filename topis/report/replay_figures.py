"""Pictures of a replay: levels of service on the map, queues, what would have been otherwise.

This file imports matplotlib and is itself imported only where a picture is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D

from topis.model.network import Network
from topis.report.advice import Difference
from topis.report.figures import COLOURS, STYLE, single, svg
from topis.report.measures import format_clock

#: Levels of service from good to bad, to be told apart without red and green as well.
LOS_COLOURS: Mapping[str, str] = {
    "A": "#1a6faf", "B": "#63b1d6", "C": "#c9dfc0", "D": "#f6c667", "E": "#e2803c", "F": "#a31f34",
    "": "#b7bdc6",
}  # fmt: skip
_MOST_LINKS = 4_000


def los_map(network: Network, junctions: pd.DataFrame) -> str:
    """Signals in the colour of their level of service (HCM), on the roads; SVG text."""
    with matplotlib.rc_context(dict(STYLE)):
        figure, axes = single(5.2)
        shapes = [
            network.link_shape_m[a:b]
            for a, b in zip(network.link_shape_ptr, network.link_shape_ptr[1:], strict=False)
        ]
        axes.add_collection(
            LineCollection(
                shapes, colors="#c4cad3", linewidths=0.7, zorder=1,
                rasterized=len(shapes) > _MOST_LINKS,
            )
        )  # fmt: skip
        level = dict(zip(junctions["junction"], junctions["los_hcm"], strict=True))
        levels = [level.get(name, "") for name in network.junction_ids]
        axes.scatter(
            network.junction_xy_m[:, 0], network.junction_xy_m[:, 1],
            c=[LOS_COLOURS[letter] for letter in levels], edgecolors="#333333", linewidths=0.5,
            s=float(np.clip(4000 / max(len(levels), 1), 6, 110)), zorder=2,
        )  # fmt: skip
        axes.set_aspect("equal")
        axes.autoscale()
        axes.grid(False)
        axes.set_xlabel("east (m)")
        axes.set_ylabel("north (m)")
        dot = {"marker": "o", "lw": 0, "ms": 7, "mec": "#333333", "mew": 0.5}
        entries = [
            Line2D([], [], color=LOS_COLOURS[k], label=k or "unknown", **dot)  # type: ignore[arg-type]
            for k in LOS_COLOURS
        ]
        figure.legend(handles=entries, loc="outside upper center", ncols=7)
        return svg(figure, "los")


def queue_by_minute(queues: pd.DataFrame) -> str:
    """All estimated queues together over time; SVG text."""
    with matplotlib.rc_context(dict(STYLE)):
        figure, axes = single(2.9)
        minutes = (queues["time_ms"] - queues["time_ms"].min()) / 60_000.0
        axes.plot(minutes, queues["queue_veh"], color=COLOURS[0], lw=1.6)
        axes.set_ylim(bottom=0)
        axes.set_xlim(0, max(float(minutes.max()), 1.0))
        start = format_clock(float(queues["time_ms"].min()) / 1000.0)
        axes.set_xlabel(f"minutes since {start} UTC")
        axes.set_ylabel("vehicles in queues")
        return svg(figure, "queues")


def other_stages(rows: Sequence[Difference]) -> str:
    """Share of time in which another stage was wanted, the first junctions; SVG text."""
    with matplotlib.rc_context(dict(STYLE)):
        figure, axes = single(0.8 + 0.28 * len(rows))
        names = [row.junction[:24] for row in rows][::-1]
        axes.barh(names, [100 * row.other_share for row in rows][::-1], color=COLOURS[0])
        axes.grid(False, axis="y")
        axes.set_xlabel("time in which another stage was wanted (%)")
        return svg(figure, "other")


def travel_times(from_m: float, to_m: float, times_s: np.ndarray) -> str:
    """How many probes took at most so long over a stretch of the corridor; SVG text."""
    with matplotlib.rc_context(dict(STYLE)):
        figure, axes = single(3.0)
        share = 100.0 * np.arange(1, len(times_s) + 1) / len(times_s)
        axes.step(times_s, share, where="post", color=COLOURS[0], lw=1.8)
        for part in (50, 95):
            at_s = float(np.percentile(times_s, part))
            axes.plot([at_s, at_s], [0, part], color="#777777", lw=1, ls=":")
            axes.annotate(f"{part} %: {at_s:.0f} s", (at_s, part), (4, -10),
                          textcoords="offset points", fontsize=9)  # fmt: skip
        axes.set_ylim(0, 102)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"travel time over {to_m - from_m:.0f} m of the corridor (s)")
        axes.set_ylabel("probes (%)")
        return svg(figure, "travel")
