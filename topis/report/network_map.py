"""A picture of a network: its roads, and its signals by number of stages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from topis.model.network import Network


def draw_network(network: Network, path: Path) -> None:
    """Draw to PNG, SVG or PDF by the file's ending.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    lanes = np.diff(network.link_lane_ptr)
    shapes = [
        network.link_shape_m[a:b]
        for a, b in zip(network.link_shape_ptr, network.link_shape_ptr[1:], strict=False)
    ]
    figure = Figure(figsize=(10, 10), layout="constrained")
    axes = figure.add_subplot()
    axes.add_collection(
        LineCollection(shapes, colors="#8a94a0", linewidths=0.4 + 0.4 * lanes, zorder=1)
    )
    if network.junctions:
        stages = np.diff(network.junction_stage_ptr)
        size = np.clip(4000 / np.sqrt(len(stages)) / 10, 8, 90)
        dots = axes.scatter(
            network.junction_xy_m[:, 0],
            network.junction_xy_m[:, 1],
            c=stages,
            cmap="viridis",
            s=size,
            zorder=2,
            edgecolors="white",
            linewidths=0.6,
        )
        figure.colorbar(dots, ax=axes, shrink=0.5, label="stages of the signal")
    axes.set_aspect("equal")
    axes.autoscale()
    axes.set_xlabel("east (m)")
    axes.set_ylabel("north (m)")
    axes.ticklabel_format(useOffset=False, style="plain")
    axes.set_title(
        f"{network.links} links, {network.link_length_m.sum() / 1000:.0f} km, "
        f"{network.junctions} signalised junctions"
    )
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
