"""An archive's slice as a run sees it: streets, sensors, observations, signals, opened together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from topis.errors import InputError
from topis.ingest.dimensions import Dimensions
from topis.ingest.health import loop_faults
from topis.ingest.network_file import load_network
from topis.ingest.observe import (
    FEEDS_USED,
    FRAME_MS,
    TICK_MS,
    ArchiveObservations,
    Keys,
    frame_period_ms,
    report_period_s,
)
from topis.ingest.road_map import RoadMap, road_map_of_sumo_net
from topis.ingest.sensor_file import read_sensors
from topis.ingest.signal_history import SignalHistory
from topis.ingest.slices import ArchiveSlices
from topis.model.network import Network
from topis.model.observation import CAMERA, CAMERA_LINE, SensorTable
from topis.units import MS_PER_HOUR

#: What is believed of the share of vehicles that report, before the archive tells.
PROBE_SHARE = 0.1
#: Loops are judged by so much before the slice as well.
FAULTS_FROM_MS = 3 * MS_PER_HOUR


@dataclass(frozen=True)
class SliceOptions:
    """Which part of an archive to look at, and with which eyes.

    ``dead_share`` of the sensors are taken for dead, drawn by ``seed``.
    """

    archive: Path
    network_file: Path
    sensor_file: Path
    begin_ms: int
    end_ms: int
    feeds: Collection[str] = FEEDS_USED
    districts: Sequence[int] | None = None
    dead_share: float = 0.0
    seed: int = 1
    probe_share: float = PROBE_SHARE

    @property
    def hours(self) -> range:
        """Hours since 1970 that the slice lies in."""
        return range(self.begin_ms // MS_PER_HOUR, -(-self.end_ms // MS_PER_HOUR))


@dataclass(frozen=True)
class ArchiveRun:
    """An opened slice, from when until when (UTC ms)."""

    begin_ms: int
    end_ms: int
    network: Network
    sensors: SensorTable
    road_map: RoadMap
    observations: ArchiveObservations
    signals: SignalHistory
    slices: ArchiveSlices


def open_slice(options: SliceOptions) -> ArchiveRun:
    """Open the archive and what lies beside it.

    Raises
    ------
    InputError, NetworkError
        Something is missing, or does not fit together.
    """
    if options.end_ms <= options.begin_ms:
        raise InputError("the slice ends before it begins; give --from before --to")
    if options.begin_ms % TICK_MS or options.end_ms % TICK_MS:
        raise InputError(
            "the slice begins or ends within a second; give --from and --to as whole ones"
        )
    unknown = set(options.feeds) - set(FEEDS_USED)
    if unknown:
        raise InputError(
            f"feed {min(unknown)!r} tells nothing of traffic; choose from {', '.join(FEEDS_USED)}"
        )
    network = load_network(options.network_file).network
    if not len(network.approach_lanes):
        raise InputError.at(options.network_file, "has no signals", "name a network with signals")
    slices = ArchiveSlices(options.archive, options.districts)
    sensors = _with_eyes(read_sensors(options.sensor_file, network), options)
    keys = Keys.of(Dimensions(options.archive), network, sensors)
    if "gps" in options.feeds:
        period_s = report_period_s(slices, options.begin_ms, options.end_ms)
        if period_s is not None:
            sensors = replace(sensors, probe_share=options.probe_share, probe_period_s=period_s)
    faults = []
    if "loop_event" in options.feeds:
        # What is wrong with a loop shows beside the hours before; not the whole archive is read.
        around_ms = options.begin_ms - FAULTS_FROM_MS, options.end_ms
        faults = loop_faults(options.archive, around_ms, slices.damaged)
    frame_ms = FRAME_MS
    if "cctv_track" in options.feeds:
        frame_ms = frame_period_ms(slices, options.begin_ms, options.end_ms)
    road_map = road_map_of_sumo_net(options.network_file, network)
    observations = ArchiveObservations(
        slices,
        keys,
        network,
        road_map,
        sensors,
        options.begin_ms,
        options.end_ms,
        feeds=options.feeds,
        faults=faults,
        frame_ms=frame_ms,
    )
    signals = SignalHistory(slices, keys, network, options.begin_ms)
    return ArchiveRun(
        options.begin_ms, options.end_ms, network, sensors, road_map, observations, signals, slices
    )


def require_rows(run: ArchiveRun, options: SliceOptions) -> None:
    """A slice beside the data is a mistake.

    Raises
    ------
    InputError
        The archive has none of the feeds in these hours.
    """
    hours = set().union(*(run.slices.hours(feed) for feed in options.feeds))
    if hours.isdisjoint(options.hours):
        there = "it has none at any time"
        if hours:
            ends = (np.datetime64(hour, "h") for hour in (min(hours), max(hours) + 1))
            there = "it has some from {} to {} UTC".format(*ends)
        raise InputError.at(
            options.archive,
            f"nothing is stored of {', '.join(options.feeds)} in these hours; {there}",
            "see topis data describe",
        )


def left_out(run: ArchiveRun) -> list[str]:
    """What is in the archive and told nothing, and why, once the slice has been read."""
    seen = run.observations
    found = []
    if not seen.rows:
        found.append("nothing was told in this time: what stands there is believed without data")
    found += [f"left out: {path}: {reason}" for path, reason in run.slices.damaged.items()]
    unknown = {
        "loop_event": "loops that the list of sensors does not have",
        "cctv_track": "lanes that the network does not have",
        "gps": "links that the network does not have",
    }
    found += [
        f"left out: {rows:,} rows of {feed} of {unknown[feed]}"
        for feed, rows in seen.unknown.items()
        if rows
    ]
    if seen.unmatched and not seen.matched:
        found.append(
            f"left out: {seen.unmatched:,} rows of gps, none matched to a link; ingest their "
            "files again with --network"
        )
    return found


def _with_eyes(sensors: SensorTable, options: SliceOptions) -> SensorTable:
    """Sensors of other feeds are dead, and of the rest the share that is wanted."""
    camera = (sensors.kind == CAMERA) | (sensors.kind == CAMERA_LINE)
    alive = sensors.alive.copy()
    if "cctv_track" not in options.feeds:
        alive &= ~camera
    if "loop_event" not in options.feeds:
        alive &= camera
    return replace(sensors, alive=alive & ~_dead(sensors, camera, options))


def _dead(
    sensors: SensorTable, camera: NDArray[np.bool_], options: SliceOptions
) -> NDArray[np.bool_]:
    """Loops die one by one, cameras with all they see."""
    rng = np.random.default_rng([options.seed, 0xDEAD])
    loops = rng.random(len(sensors)) < options.dead_share
    junctions = int(sensors.junction.max(initial=-1)) + 1
    cameras = rng.random(junctions) < options.dead_share
    return np.where(camera, cameras[sensors.junction] if junctions else False, loops)
