"""What probes tell of a corridor: where they were along it, and how long they took."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from topis.model.corridor import Corridor
from topis.model.network import Network

#: A travel time is told of a stretch that so many probes drove from end to end.
FEWEST_PROBES = 20
#: A probe that was away from the corridor for longer makes another journey (s).
AWAY_S = 120.0


def corridor_positions(folder: Path, network: Network, corridor: Corridor) -> pd.DataFrame:
    """Probes on the corridor: ``time_s``, ``vehicle``, ``position_m`` along it; by vehicle, time.

    From the journal's probe reports; a journey is a vehicle of its own.
    """
    table = pq.read_table(folder / "probes.parquet")
    lane = table["lane"].to_numpy()
    begin_m = np.full(network.links, np.nan)
    lengths_m = network.link_length_m[corridor.links].astype(np.float64)
    begin_m[corridor.links] = np.cumsum(lengths_m) - lengths_m
    at_m = begin_m[network.lane_link[lane]] + table["offset_m"].to_numpy()
    on = ~np.isnan(at_m)
    found = pd.DataFrame(
        {
            "time_s": table["time_ms"].to_numpy()[on] / 1000.0,
            "probe": table["probe"].to_numpy()[on],
            "position_m": at_m[on],
        }
    ).sort_values(["probe", "time_s"], kind="stable")
    new = (found["probe"].diff() != 0) | (found["time_s"].diff() > AWAY_S)
    # Who turns back begins anew.
    new |= found["position_m"].diff() < -lengths_m.max(initial=0.0)
    return pd.DataFrame(
        {
            "time_s": found["time_s"],
            "vehicle": np.cumsum(new.to_numpy()),
            "position_m": found["position_m"],
        }
    ).reset_index(drop=True)


def longest_stretch(
    positions: pd.DataFrame, corridor: Corridor
) -> tuple[float, float, np.ndarray] | None:
    """(from m, to m, travel times s ascending) of the longest stretch that enough probes drove.

    Stretches begin and end at stop lines or the corridor's ends; None where there are too few.
    """
    if positions.empty:
        return None
    journeys = positions.groupby("vehicle")
    first, last = journeys["position_m"].min(), journeys["position_m"].max()
    edges_m = [0.0, *(stop.position_m for stop in corridor.stop_lines), corridor.length_m]
    edges = sorted(set(edges_m))
    pairs = sorted(
        ((a, b) for a in edges for b in edges if b > a), key=lambda pair: pair[0] - pair[1]
    )
    for from_m, to_m in pairs:
        whole = first.index[(first <= from_m + 50.0) & (last >= to_m)]
        if len(whole) >= FEWEST_PROBES:
            times = [
                _passes_s(rows, to_m) - _passes_s(rows, from_m)
                for _, rows in positions[positions["vehicle"].isin(whole)].groupby("vehicle")
            ]
            return from_m, to_m, np.sort(np.array(times))
    return None


def _passes_s(rows: pd.DataFrame, place_m: float) -> float:
    """When a journey came to a place, between its two reports around that."""
    ahead_m = np.maximum.accumulate(rows["position_m"].to_numpy())
    return float(np.interp(place_m, ahead_m, rows["time_s"].to_numpy()))
