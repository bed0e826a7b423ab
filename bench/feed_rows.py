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
