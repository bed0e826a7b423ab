"""What a map of a city shows: levels of service and queues of its roads, and how signals are run.

A road to a signal has the level of service of its control delay in a stretch of time (HCM or KHCM
limits): time lost there over the vehicles that came. Where nobody came but vehicles stood the level
is the last. Vehicles that stand are counted on every road.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from topis.errors import InputError
from topis.model.network import Network
from topis.model.observation import CAMERA, SensorTable
from topis.report.journal import JournalReader
from topis.report.service_level import HCM_LIMITS, KHCM_LIMITS

U1 = NDArray[np.uint8]
F4 = NDArray[np.float32]
#: Level of a road that leads to no signal, or that nobody was on.
NO_LEVEL = 255
#: How a signal is run: by cameras, by loops, by a plan since nobody counts there, by itself.
MODES = ("timed by cameras", "timed by loops", "by plan: nobody counts", "its own program")
LIMITS = {"hcm": HCM_LIMITS, "khcm": KHCM_LIMITS}


@dataclass(frozen=True)
class CityMap:
    """Frames of one run, or the one empty frame of a network.

    ``times_s`` float64[frames], each the begin of ``window_s``; ``level`` uint8[frames, links]
    into ``letters``, `NO_LEVEL` where there is none; ``standing_veh`` float32[frames, links]: mean
    of vehicles that stand; ``mode`` uint8[junctions] into `MODES`, or 255.
    """

    title: str
    network: Network
    letters: tuple[str, ...]
    window_s: float
    times_s: NDArray[np.float64]
    level: U1
    standing_veh: F4
    mode: U1

    def shapes(self) -> list[NDArray[np.float32]]:
        """The line of each link, float32[points, 2] in m."""
        ptr, points = self.network.link_shape_ptr, self.network.link_shape_m
        return [points[a:b] for a, b in itertools.pairwise(ptr.tolist())]


def map_of_network(network: Network, title: str) -> CityMap:
    """Streets and signals alone."""
    return CityMap(
        title=title,
        network=network,
        letters=(*HCM_LIMITS, "F"),
        window_s=0.0,
        times_s=np.zeros(1),
        level=np.full((1, network.links), NO_LEVEL, dtype=np.uint8),
        standing_veh=np.zeros((1, network.links), dtype=np.float32),
        mode=np.full(network.junctions, NO_LEVEL, dtype=np.uint8),
    )


def map_of_run(folder: Path, window_s: float, limits: str = "hcm") -> CityMap:
    """Frames of a run of `topis simulate`.

    Raises
    ------
    InputError
        The folder is no run folder, or one without figures of its links.
    """
    journal = JournalReader(folder)
    file = folder / "links.parquet"
    if not file.is_file():
        raise InputError.at(
            folder, "has no links.parquet: not a run of topis simulate", "name one, or a network"
        )
    network = journal.network
    rows = pd.read_parquet(file)
    index = pd.Series(np.arange(network.links), index=list(network.link_ids))
    link = index.reindex(rows["link"]).to_numpy()
    begin_s = rows["interval_begin_s"].to_numpy(dtype=np.float64)
    first_s = float(begin_s.min()) if len(rows) else 0.0
    frame = ((begin_s - first_s) // window_s).astype(np.int64)
    frames = int(frame.max(initial=0)) + 1

    def total(column: str) -> NDArray[np.float64]:
        sums = np.bincount(
            frame * network.links + link, rows[column], minlength=frames * network.links
        )
        return np.asarray(sums.reshape(frames, network.links), dtype=np.float64)

    lost_s, stood_s, came = total("time_loss_s"), total("waiting_s"), total("vehicles")
    values = LIMITS[limits]
    letters = (*values, "FFF" if limits == "khcm" else "F")
    delay_s = lost_s / np.maximum(came, 1.0)
    level = np.searchsorted(np.array(list(values.values())), delay_s, side="left").astype(np.uint8)
    level[(came < 1.0) & (stood_s > 0.0)] = len(values)
    level[(came < 1.0) & (stood_s <= 0.0)] = NO_LEVEL
    level[:, network.link_junction < 0] = NO_LEVEL
    return CityMap(
        title=f"{journal.manifest['controller']}, seed {journal.manifest['seed']}",
        network=network,
        letters=letters,
        window_s=window_s,
        times_s=first_s + window_s * np.arange(frames, dtype=np.float64),
        level=level,
        standing_veh=(stood_s / window_s).astype(np.float32),
        mode=modes_of(network, journal.sensors, str(journal.manifest["controller"])),
    )


def modes_of(network: Network, sensors: SensorTable, controller: str) -> U1:
    """How each signal is run, by who counts at it, uint8[junctions] into `MODES`."""
    if controller == "shipped":
        return np.full(network.junctions, MODES.index("its own program"), dtype=np.uint8)
    living = sensors.alive & (sensors.junction >= 0)
    camera = living & (sensors.kind == CAMERA)
    by_camera = np.bincount(sensors.junction[camera], minlength=network.junctions) > 0
    counted = np.bincount(sensors.junction[living], minlength=network.junctions) > 0
    return np.where(by_camera, 0, np.where(counted, 1, 2)).astype(np.uint8)


def shares(shown: CityMap) -> NDArray[np.float64]:
    """Share of the roads with a level that has each letter, float64[frames, letters]."""
    counts = np.stack([(shown.level == k).sum(axis=1) for k in range(len(shown.letters))], axis=1)
    made: NDArray[np.float64] = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return made


def check_alike(maps: Sequence[CityMap]) -> None:
    """Maps side by side must be of the same streets.

    Raises
    ------
    InputError
        They are not.
    """
    for other in maps[1:]:
        if other.network.hash != maps[0].network.hash:
            raise InputError(
                f"{other.title} and {maps[0].title} are runs of different networks; map them apart"
            )


def frame_at(shown: CityMap, at_s: float | None) -> int:
    """The frame of a time, or the one in which most vehicles stand.

    Raises
    ------
    InputError
        The run has no such time.
    """
    if at_s is None:
        return int(shown.standing_veh.sum(axis=1).argmax())
    frame = int((at_s - shown.times_s[0]) // shown.window_s) if shown.window_s else 0
    if not 0 <= frame < len(shown.times_s):
        first, last = shown.times_s[0], shown.times_s[-1] + shown.window_s
        raise InputError(f"--at is {at_s:g}; {shown.title} ran from {first:g} to {last:g} s")
    return frame
