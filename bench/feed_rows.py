"""Made-up rows of feeds in the archive's form, for benchmarks of size: no traffic, right shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from topis.ingest.archive import encoding
from topis.model.schemas import FEEDS

BEGIN_MS = 1_794_697_200_000
FRAME_MS = 100
LANES_PER_CAMERA = 6


def camera_hour(path: Path, cameras: int, minutes: int, seed: int = 1) -> int:
    """Tracks of cameras at 10 frames a second, 14 objects in view each; returns the rows."""
    feed = FEEDS["cctv_track"]
    rng = np.random.default_rng(seed)
    total = 0
    with pq.ParquetWriter(path, feed.schema, **encoding(feed)) as writer:
        for minute in range(minutes):
            table = pa.table(_camera_minute(rng, cameras, minute), schema=feed.schema)
            writer.write_table(table, row_group_size=len(table))
            total += len(table)
    return total


def _camera_minute(
    rng: np.random.Generator, cameras: int, minute: int
) -> dict[str, np.ndarray | pa.Array]:
    """14.4 objects in view at once, each for about 20 s: 43 tracks a camera and minute."""
    tracks = 43 * cameras
    camera = np.repeat(np.arange(1, cameras + 1), 43)
    frames = np.clip(rng.exponential(200, tracks), 10, 600).astype(np.int64)
    start = (rng.random(tracks) * (600 - frames)).astype(np.int64)
    track = np.tile(np.arange(43), cameras) + 43 * minute
    first = np.repeat(np.cumsum(frames) - frames, frames)
    frame = np.arange(frames.sum()) - first
    cell = np.repeat(np.arange(tracks), frames)
    speed = np.repeat(rng.gamma(3, 250, tracks), frames) + rng.normal(0, 30, len(cell))
    lane = camera * LANES_PER_CAMERA + rng.integers(0, LANES_PER_CAMERA, tracks)
    time_ms = BEGIN_MS + 60_000 * minute + FRAME_MS * (start[cell] + frame)
    x_cm = np.repeat(rng.normal(0, 2000, tracks), frames) + frame * speed * 0.1
    return {
        "camera": camera[cell].astype(np.uint16),
        "track": track[cell].astype(np.uint32),
        "time": pa.array(time_ms).cast(FEEDS["cctv_track"].column("time").type),
        "x_cm": np.clip(x_cm, -90_000, 90_000).astype(np.int32),
        "y_cm": rng.normal(0, 500, len(cell)).astype(np.int32),
        "speed_cmps": np.clip(speed, 0, 6000).astype(np.uint16),
        "heading_cdeg": rng.integers(0, 36_000, len(cell)).astype(np.uint16),
        "vehicle_class": np.repeat(rng.integers(1, 5, tracks), frames).astype(np.uint8),
        "confidence_pct": rng.integers(50, 100, len(cell)).astype(np.uint8),
        "lane": lane[cell].astype(np.uint32),
        "quality": np.zeros(len(cell), np.uint8),
    }


def loop_hour(path: Path, detectors: int, seed: int = 1) -> int:
    """Passages of an hour at 400 veh/h a lane, sorted as the archive has them."""
    feed = FEEDS["loop_event"]
    rng = np.random.default_rng(seed)
    total = 0
    with pq.ParquetWriter(path, feed.schema, **encoding(feed)) as writer:
        for slot in range(3600 // feed.row_group_s):
            counts = rng.poisson(400 * feed.row_group_s / 3600, detectors)
            detector = np.repeat(np.arange(1, detectors + 1), counts)
            time_ms = rng.integers(0, feed.row_group_s * 1000, len(detector))
            order = np.lexsort([time_ms, detector])
            speed = np.clip(rng.gamma(8, 140, len(detector)), 100, 3000).astype(np.uint16)
            columns = {
                "detector": detector.astype(np.uint32),
                "time": pa.array(BEGIN_MS + slot * feed.row_group_s * 1000 + time_ms[order]).cast(
                    feed.column("time").type
                ),
                "on_ms": (700_000 / speed).astype(np.uint32),
                "speed_cmps": speed,
                "length_dm": rng.integers(35, 120, len(detector)).astype(np.uint8),
                "quality": np.zeros(len(detector), np.uint8),
            }
            table = pa.table(columns, schema=feed.schema)
            writer.write_table(table, row_group_size=len(table))
            total += len(table)
    return total


def gps_hour(path: Path, vehicles: int, minutes: int, seed: int = 1) -> int:
    """Reports of vehicles each second, half a minute on a link on the average."""
    feed = FEEDS["gps"]
    rng = np.random.default_rng(seed)
    total = 0
    names = np.sort(rng.integers(0, 2**63, vehicles)).astype(np.uint64)
    with pq.ParquetWriter(path, feed.schema, **encoding(feed)) as writer:
        for slot in range(minutes * 60 // feed.row_group_s):
            seconds = feed.row_group_s
            stays = rng.random((vehicles, seconds)) > 1 / 30
            link = (np.cumsum(~stays, axis=1) + rng.integers(1, 7000, (vehicles, 1))).ravel()
            count = vehicles * seconds
            second = np.tile(np.arange(seconds), vehicles)
            columns = {
                "vehicle": np.repeat(names, seconds),
                "time": pa.array(BEGIN_MS + 1000 * (slot * seconds + second)).cast(
                    feed.column("time").type
                ),
                "lat_e7": (374_500_000 + np.cumsum(rng.integers(-900, 1000, count))).astype(
                    np.int32
                ),
                "lon_e7": (1_269_000_000 + rng.integers(-900, 1000, count)).astype(np.int32),
                "speed_cmps": np.clip(rng.normal(800, 300, count), 0, 3000).astype(np.uint16),
                "heading_cdeg": rng.integers(0, 36_000, count).astype(np.uint16),
                "kind": np.ones(count, np.uint8),
                "route": np.zeros(count, np.uint32),
                "link": link.astype(np.uint32),
                "offset_dm": rng.integers(0, 4000, count).astype(np.uint32),
                "quality": np.zeros(count, np.uint8),
            }
            writer.write_table(pa.table(columns, schema=feed.schema), row_group_size=count)
            total += count
    return total
