"""An archive's slice as a run sees it: streets, sensors, observations, signals, opened together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from topis.errors import InputError
from topis.ingest.archive_files import ArchiveFiles
from topis.ingest.dimensions import FILE as DIMENSIONS
from topis.ingest.dimensions import names_in
from topis.ingest.health import FAULT_COLUMNS, faults_of
from topis.ingest.observe import (
    FEEDS_USED,
    FRAME_MS,
    TICK_MS,
    ArchiveObservations,
    Keys,
    frame_period_ms,
    report_period_s,
)
from topis.ingest.signal_history import SignalHistory
from topis.ingest.slices import ArchiveSlices
from topis.model.network import Network
from topis.model.observation import CAMERA, CAMERA_LINE, SensorTable
from topis.run.streets import Streets
from topis.units import MS_PER_HOUR

#: What is believed of the share of vehicles that report, before the archive tells.
PROBE_SHARE = 0.1
#: Loops are judged by so much before the slice as well.
FAULTS_FROM_MS = 3 * MS_PER_HOUR


@dataclass(frozen=True)
class SliceOptions:
    """Which time of an archive to look at, and with which eyes.

    ``archive``: a folder or an address (`topis.ingest.archive_files`). ``dead_share`` of the
    sensors are taken for dead, drawn by ``seed``.
    """

    archive: str | Path
    network_file: Path
    sensor_file: Path
    begin_ms: int
    end_ms: int
    feeds: Collection[str] = FEEDS_USED
    dead_share: float = 0.0
    seed: int = 1
    probe_share: float = PROBE_SHARE

    @property
    def hours(self) -> range:
        """Hours since 1970 that the slice lies in."""
        return range(self.begin_ms // MS_PER_HOUR, -(-self.end_ms // MS_PER_HOUR))

    def check(self) -> None:
        """Before anything is read.

        Raises
        ------
        InputError
            No time, or feeds that tell nothing.
        """
        if self.end_ms <= self.begin_ms:
            raise InputError("the slice ends before it begins; give --from before --to")
        if self.begin_ms % TICK_MS or self.end_ms % TICK_MS:
            raise InputError(
                "the slice begins or ends within a second; give --from and --to as whole ones"
            )
        unknown = set(self.feeds) - set(FEEDS_USED)
        if unknown:
            raise InputError(
                f"feed {min(unknown)!r} tells nothing of traffic; choose from "
                f"{', '.join(FEEDS_USED)}"
            )


@dataclass(frozen=True)
class Rhythm:
    """How often probes report (s; None: none), their share of all; time between two frames (ms)."""

    probe_period_s: float | None
    probe_share: float
    frame_ms: int

    def applied(self, sensors: SensorTable) -> SensorTable:
        """Sensors with what is known of the probes."""
        if self.probe_period_s is None:
            return sensors
        return replace(sensors, probe_share=self.probe_share, probe_period_s=self.probe_period_s)

    @classmethod
    def of(cls, slices: ArchiveSlices, options: SliceOptions) -> Rhythm:
        """As the first rows of the slice tell."""
        begin_ms, end_ms = options.begin_ms, options.end_ms
        return cls(
            report_period_s(slices, begin_ms, end_ms) if "gps" in options.feeds else None,
            options.probe_share,
            frame_period_ms(slices, begin_ms, end_ms)
            if "cctv_track" in options.feeds
            else FRAME_MS,
        )


@dataclass(frozen=True)
class ArchiveRun:
    """An opened slice, from when until when (UTC ms)."""

    begin_ms: int
    end_ms: int
    network: Network
    sensors: SensorTable
    observations: ArchiveObservations
    signals: SignalHistory
    slices: ArchiveSlices


def open_slice(options: SliceOptions, streets: Streets | None = None) -> ArchiveRun:
    """Open the archive and what lies beside it; ``streets``: those of the files, if at hand.

    Raises
    ------
    InputError, NetworkError
        Something is missing, or does not fit together.
    """
    options.check()
    files = ArchiveFiles(options.archive)
    if streets is None:
        streets = Streets.read(options.network_file, options.sensor_file)
    streets, slices = with_eyes(streets, options), ArchiveSlices(files)
    keys = Keys.of(names_of(files), streets.network, streets.sensors)
    return open_streets(options, streets, keys, slices, Rhythm.of(slices, options))


def open_streets(
    options: SliceOptions, streets: Streets, keys: Keys, slices: ArchiveSlices, rhythm: Rhythm
) -> ArchiveRun:
    """Open the archive for streets at hand."""
    network, sensors = streets.network, rhythm.applied(streets.sensors)
    faults = []
    if "loop_event" in options.feeds:
        # What is wrong with a loop shows beside the hours before; not the whole archive is read.
        from_ms = options.begin_ms - FAULTS_FROM_MS
        hours = range(from_ms // MS_PER_HOUR, -(-options.end_ms // MS_PER_HOUR))
        faults = faults_of(slices.hourly("loop_event", hours, FAULT_COLUMNS))
    observations = ArchiveObservations(
        slices,
        keys,
        network,
        streets.ends,
        sensors,
        options.begin_ms,
        options.end_ms,
        feeds=options.feeds,
        faults=faults,
        frame_ms=rhythm.frame_ms,
    )
    signals = SignalHistory(slices, keys, network, options.begin_ms)
    return ArchiveRun(
        options.begin_ms, options.end_ms, network, sensors, observations, signals, slices
    )


def names_of(files: ArchiveFiles) -> dict[str, dict[int, str]]:
    """The archive's names by kind and key.

    Raises
    ------
    InputError
        They are damaged.
    """
    return names_in(files.text(DIMENSIONS), f"{files.place}/{DIMENSIONS}")


def require_rows(slices: ArchiveSlices, options: SliceOptions) -> None:
    """A slice beside the data is a mistake.

    Raises
    ------
    InputError
        The archive has none of the feeds in these hours.
    """
    if any(slices.has(feed, hour) for feed in options.feeds for hour in options.hours):
        return
    there = "it has none at any time"
    hours = sorted(set().union(*(slices.files.hours(feed) for feed in options.feeds)))
    if hours:
        ends = (np.datetime64(hour, "h") for hour in (hours[0], hours[-1] + 1))
        there = "it has some from {} to {} UTC".format(*ends)
    raise InputError.at(
        slices.files.place,
        f"nothing is stored of {', '.join(options.feeds)} in these hours; {there}",
        "see topis data describe",
    )


@dataclass(frozen=True)
class Found:
    """What was read of a slice, and what of it told nothing.

    ``rows``; ``unknown``: rows of each feed whose detector, lane or link is not in the streets;
    probes' rows ``matched`` to a link and ``unmatched``; ``damaged``: partitions left out, and why.
    """

    rows: int
    unknown: dict[str, int]
    matched: int
    unmatched: int
    damaged: dict[str, str]

    @classmethod
    def in_run(cls, run: ArchiveRun) -> Found:
        """Once the slice has been read."""
        seen = run.observations
        return cls(seen.rows, seen.unknown, seen.matched, seen.unmatched, run.slices.damaged)

    @classmethod
    def one_after_another(cls, parts: Iterable[Found]) -> Found:
        """Of a slice in several times."""
        return cls._joined(parts, sum)

    @classmethod
    def side_by_side(cls, parts: Iterable[Found]) -> Found:
        """Of a time in several parts of the streets: what lies around them is read twice."""
        found = list(parts)
        return replace(cls._joined(found, max), rows=sum(part.rows for part in found))

    @classmethod
    def _joined(cls, parts: Iterable[Found], how: Callable[[list[int]], int]) -> Found:
        found = list(parts)
        feeds = sorted({feed for part in found for feed in part.unknown})
        damaged: dict[str, str] = {}
        for part in found:
            damaged.update(part.damaged)
        return cls(
            how([part.rows for part in found]),
            {feed: how([part.unknown.get(feed, 0) for part in found]) for feed in feeds},
            how([part.matched for part in found]),
            how([part.unmatched for part in found]),
            damaged,
        )

    def left_out(self) -> list[str]:
        """What is in the archive and told nothing, and why, for people."""
        found = []
        if not self.rows:
            found.append(
                "nothing was told in this time: what stands there is believed without data"
            )
        found += [f"left out: {path}: {why}" for path, why in sorted(self.damaged.items())]
        unknown = {
            "loop_event": "loops that the list of sensors does not have",
            "cctv_track": "lanes that the network does not have",
            "gps": "links that the network does not have",
        }
        found += [
            f"left out: {self.unknown[feed]:,} rows of {feed} of {what}"
            for feed, what in unknown.items()
            if self.unknown.get(feed)
        ]
        if self.unmatched and not self.matched:
            found.append(
                f"left out: {self.unmatched:,} rows of gps, none matched to a link; ingest their "
                "files again with --network"
            )
        return found


def with_eyes(streets: Streets, options: SliceOptions) -> Streets:
    """Sensors of other feeds are dead, and of the rest the share that is wanted."""
    sensors = streets.sensors
    camera = (sensors.kind == CAMERA) | (sensors.kind == CAMERA_LINE)
    alive = sensors.alive.copy()
    if "cctv_track" not in options.feeds:
        alive &= ~camera
    if "loop_event" not in options.feeds:
        alive &= camera
    alive &= ~_dead(sensors, camera, options)
    return replace(streets, sensors=replace(sensors, alive=alive))


def _dead(
    sensors: SensorTable, camera: NDArray[np.bool_], options: SliceOptions
) -> NDArray[np.bool_]:
    """Loops die one by one, cameras with all they see."""
    rng = np.random.default_rng([options.seed, 0xDEAD])
    loops = rng.random(len(sensors)) < options.dead_share
    junctions = int(sensors.junction.max(initial=-1)) + 1
    cameras = rng.random(junctions) < options.dead_share
    return np.where(camera, cameras[sensors.junction] if junctions else False, loops)
