"""Positions of simulated vehicles, the links they were on, and what a receiver makes of them."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import sumolib

from topis.ingest.map_match import Points


@dataclass(frozen=True, eq=False)
class Trace:
    """Vehicles' positions sorted by vehicle and time, and what is true of each.

    ``link``: where it was; inside a junction the link it came from, and ``after`` the one it goes
    to. -1: not known (the first link is never left, or the last never reached).
    """

    vehicle: np.ndarray
    time_ms: np.ndarray
    x_m: np.ndarray
    y_m: np.ndarray
    speed_mps: np.ndarray
    heading_deg: np.ndarray
    link: np.ndarray
    after: np.ndarray

    def take(self, rows: np.ndarray) -> Trace:
        return Trace(*(array[rows] for array in vars(self).values()))

    def every(self, seconds: int) -> Trace:
        """Sparser: vehicles report one by one, not all at once."""
        return self.take((self.time_ms // 1000 + self.vehicle) % seconds == 0)

    def noisy(self, sigma_m: float, *, heading_deg: float = 6.0, corr_s: float = 5.0) -> Trace:
        """Errors of ``sigma_m`` in each axis that are alike over ``corr_s`` (AR(1))."""
        rng = np.random.default_rng(1)
        error = rng.standard_normal((len(self.x_m), 2))
        gap_s = np.diff(self.time_ms, prepend=0) / 1000
        begins = np.diff(self.vehicle, prepend=-1) != 0
        kept = np.where(begins, 0.0, np.exp(-np.maximum(gap_s, 0) / corr_s))
        fresh = np.sqrt(1 - kept**2)
        for i in range(1, len(error)):
            error[i] = kept[i] * error[i - 1] + fresh[i] * error[i]
        turned = rng.normal(0, heading_deg, len(self.x_m))
        return dataclasses.replace(
            self,
            x_m=self.x_m + sigma_m * error[:, 0],
            y_m=self.y_m + sigma_m * error[:, 1],
            heading_deg=(self.heading_deg + turned) % 360,
        )

    def points(self, *, heading: bool = True) -> Points:
        angle = self.heading_deg if heading else np.full(len(self.link), np.nan)
        return Points(self.vehicle, self.time_ms, self.x_m, self.y_m, self.speed_mps, angle)

    def right(self, link: np.ndarray) -> float:
        """Share of points on the right link; inside junctions either of two is right."""
        known = (self.link >= 0) & (self.after >= 0)
        good = (link == self.link) | (link == self.after)
        return float(good[known].mean())


def drive(config: Path, link_ids: Sequence[str], *, seed: int = 1) -> Trace:
    """Simulate a SUMO scenario and note every vehicle in every second."""
    output = config.with_suffix(".fcd.parquet")
    if not output.exists():
        options = ["--no-step-log", "--no-warnings", "--seed", str(seed), "--step-length", "1"]
        subprocess.run(
            [
                sumolib.checkBinary("sumo"), "-c", str(config), *options,
                "--fcd-output", str(output), "--fcd-output.attributes", "x,y,angle,speed,lane",
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip
    table = pq.read_table(output)
    # People on foot are rows without a lane.
    table = table.filter(table["vehicle_lane"].is_valid())
    vehicle = table["vehicle_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    lanes = table["vehicle_lane"].combine_chunks().dictionary_encode()
    index = {name: number for number, name in enumerate(link_ids)}
    links = [index.get(name.rpartition("_")[0], -1) for name in lanes.dictionary.to_pylist()]
    link = np.array(links)[lanes.indices.to_numpy()]
    time_ms = np.rint(table["timestep_time"].to_numpy() * 1000).astype(np.int64)
    order = np.lexsort((time_ms, vehicle))
    vehicle, link = vehicle[order], link[order]
    x, y, speed, angle = (
        table[f"vehicle_{name}"].to_numpy()[order] for name in ("x", "y", "speed", "angle")
    )
    came, goes = link.copy(), link.copy()
    for i in range(1, len(link)):
        if came[i] < 0 and vehicle[i] == vehicle[i - 1]:
            came[i] = came[i - 1]
    for i in range(len(link) - 2, -1, -1):
        if goes[i] < 0 and vehicle[i] == vehicle[i + 1]:
            goes[i] = goes[i + 1]
    return Trace(vehicle.astype(np.int64), time_ms[order], x, y, speed, angle, came, goes)
