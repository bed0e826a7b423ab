"""Open data of every 30 s: queues and volumes by link, as a digital twin of the city wants them.

From loops and cameras alone: what they count names nobody, while an estimate that probes had a
part in would tell of a single one on a quiet road. Speeds come from the released cells of
`topis.ingest.publish` (five minutes, k vehicles), never from elsewhere.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from topis.errors import InputError, OutputError
from topis.estimation.estimator import WARM_UP_MS
from topis.ingest.road_map import RoadMap
from topis.model.network import Network
from topis.model.state import StreetState
from topis.run.archive_run import SliceOptions, open_slice
from topis.run.street_states import PERIOD_MS, street_states
from topis.run.streets import Streets
from topis.units import S_PER_H

#: What tells of nobody.
FEEDS = ("loop_event", "cctv_track")
#: An estimate that nothing was seen for is none (s).
OLDEST_S = 300.0

SNAPSHOT_SCHEMA = pa.schema(
    [
        ("time", pa.timestamp("ms", tz="UTC")),
        ("link", pa.string()),
        ("queue_veh", pa.uint16()),
        ("volume_vph", pa.uint16()),
    ],
    metadata={"topis": "snapshot/1"},
)


@dataclass(frozen=True)
class Snapshot:
    """What was written: rows of the Parquet file, and the GeoJSON of the last moment."""

    rows: int
    path: Path
    map_path: Path


def write_snapshot(
    options: SliceOptions, into: Path, name: str, speeds: pa.Table | None
) -> Snapshot:
    """Write every 30 s of the slice to ``NAME.parquet``, and its last moment to ``NAME.geojson``.

    ``speeds``: released cells (`topis.ingest.publish.PUBLISHED_SCHEMA`), for the map.

    Raises
    ------
    InputError
        The archive has no detectors or cameras in that time, or something does not fit.
    OutputError
        The folder cannot be written.
    """
    begin_ms = options.begin_ms
    options = replace(options, begin_ms=begin_ms - WARM_UP_MS, feeds=FEEDS)
    streets, road_map = Streets.read_with_map(options.network_file, options.sensor_file)
    run = open_slice(options, streets)
    if road_map.projection is None:
        raise InputError.at(
            options.network_file, "does not say where on Earth it is", "name one with a projection"
        )
    watched = np.unique(run.network.lane_link[run.network.approach_lanes])
    path, map_path = into / f"{name}.parquet", into / f"{name}.geojson"
    draft = path.with_name(f".{path.name}")
    rows, last = 0, None
    try:
        into.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(draft, SNAPSHOT_SCHEMA, compression="zstd") as writer:
            for state in street_states(run):
                if state.time_ms <= begin_ms:
                    continue
                table = _table(run.network, watched, state)
                writer.write_table(table)
                rows, last = rows + len(table), table
        if last is None or not rows:
            draft.unlink()
            raise InputError(
                f"{options.archive}: neither loops nor cameras tell of that time; "
                "see topis data describe"
            )
        map_path.write_text(
            json.dumps(_map(run.network, road_map, last, speeds), ensure_ascii=False)
        )
        draft.replace(path)
    except OSError as error:
        raise OutputError(f"{into}: cannot be written ({error.strerror}); choose another") from None
    return Snapshot(rows, path, map_path)


def _table(network: Network, watched: NDArray[np.int32], state: StreetState) -> pa.Table:
    """Links whose detectors tell something now."""
    link = network.lane_link[network.approach_lanes]
    fresh = (state.queue_age_s <= OLDEST_S) & (state.flow_age_s <= OLDEST_S)
    lanes = np.bincount(link, minlength=network.links)
    seen = np.bincount(link, fresh, minlength=network.links)
    # A link is told whole or not at all.
    told = watched[seen[watched] == lanes[watched]]
    queue = np.bincount(link, state.queue_veh, minlength=network.links)[told]
    volume = np.bincount(link, state.flow_vps, minlength=network.links)[told] * S_PER_H
    time = np.full(len(told), state.time_ms - PERIOD_MS)
    return pa.table(
        {
            "time": pa.array(time).cast(SNAPSHOT_SCHEMA.field("time").type),
            "link": pa.array([network.link_ids[k] for k in told], pa.string()),
            "queue_veh": np.rint(np.minimum(queue, 65_535)).astype(np.uint16),
            "volume_vph": np.rint(np.minimum(volume, 65_535)).astype(np.uint16),
        },
        schema=SNAPSHOT_SCHEMA,
    )


def _map(
    network: Network, road_map: RoadMap, told: pa.Table, speeds: pa.Table | None
) -> dict[str, object]:
    """A GeoJSON FeatureCollection (RFC 7946) of the links that something is told of."""
    facts: dict[str, dict[str, object]] = {}
    for row in told.to_pylist():
        facts[row["link"]] = {
            "queue_veh": row["queue_veh"],
            "volume_vph": row["volume_vph"],
            "time": row["time"].isoformat(),
        }
    if speeds is not None:
        for row in speeds.sort_by("time").to_pylist():
            own = facts.setdefault(row["link"], {})
            own["speed_kmh"], own["speed_time"] = row["speed_kmh"], row["time"].isoformat()
    number = {name: k for k, name in enumerate(network.link_ids)}
    projection = road_map.projection
    assert projection is not None
    features = []
    for name, properties in sorted(facts.items()):
        if name not in number:
            continue
        k = number[name]
        line = road_map.shape_m[road_map.shape_ptr[k] : road_map.shape_ptr[k + 1]]
        lon, lat = projection.inverse(line[:, 0], line[:, 1])
        points = [
            [round(x, 6), round(y, 6)] for x, y in zip(lon.tolist(), lat.tolist(), strict=True)
        ]
        features.append(
            {
                "type": "Feature",
                "id": name,
                "geometry": {"type": "LineString", "coordinates": points},
                "properties": {"link": name, **properties},
            }
        )
    return {"type": "FeatureCollection", "features": features}
