"""Probes to links as they are taken in: the columns ``link`` and ``offset_dm`` of the feed gps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from topis.ingest.checks import ROW
from topis.ingest.dimensions import Dimensions
from topis.ingest.map_match import MapMatcher, Points
from topis.ingest.road_map import road_map_of_sumo_net

#: Less sure than this a place is not told: another link is about as likely.
LEAST_CONFIDENCE = 0.5
_FORGET_ALL = 2**62
#: Rows of so long are matched at once (ms).
_AT_ONCE_MS = 60_000


class Spool:
    """Rows of a source on disk, given back in order of time, however they came.

    A vehicle's place depends on those before: matched in the order of the file, the links would
    depend on how it is cut and shuffled.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pa.ipc.RecordBatchFileWriter | None = None
        self._batches: dict[int, list[int]] = defaultdict(list)
        self._count = 0

    def add(self, table: pa.Table) -> None:
        """Keep rows, canonical with `ROW`."""
        if self._writer is None:
            self._writer = pa.ipc.new_file(str(self._path), table.schema)
        minute = table["time"].cast(pa.int64()).to_numpy() // _AT_ONCE_MS
        for number in np.unique(minute).tolist():
            rows = table.filter(pa.array(minute == number)).combine_chunks()
            for batch in rows.to_batches():
                self._writer.write_batch(batch)
                self._batches[number].append(self._count)
                self._count += 1

    def tables(self) -> Iterator[pa.Table]:
        """All rows, a minute at a time, by vehicle and time; the file is gone then."""
        if self._writer is None:
            return
        self._writer.close()
        with pa.memory_map(str(self._path)) as source:
            reader = pa.ipc.open_file(source)
            for _, batches in sorted(self._batches.items()):
                table = pa.Table.from_batches([reader.get_batch(k) for k in batches])
                keys = [("vehicle", "ascending"), ("time", "ascending"), (ROW, "ascending")]
                yield table.take(pc.sort_indices(table, keys))
        self._path.unlink()


class GpsMatching:
    """Fills in links of a SUMO network; their names are keys of the dimension table links."""

    def __init__(self, network_file: Path, dimensions: Dimensions) -> None:
        road_map = road_map_of_sumo_net(network_file)
        self._matcher = MapMatcher(road_map)
        self._names = pa.array(list(road_map.link_ids), pa.string())
        self._dimensions = dimensions
        self._number: dict[int, int] = {}
        self._key_of_link = np.zeros(road_map.links + 1, dtype=np.uint32)

    def begin(self) -> None:
        """A new source: nothing is known of any vehicle."""
        self._matcher.expire(_FORGET_ALL)
        self._number.clear()

    def fill(self, gps: pa.Table) -> pa.Table:
        """Canonical rows with their links, where one is sure enough. Batch cuts do not matter.

        Raises
        ------
        InputError
            The network does not say where on Earth it is.
        """
        if not len(gps):
            return gps
        vehicle = gps["vehicle"].to_numpy()
        time_ms = gps["time"].cast(pa.int64()).to_numpy()
        x_m, y_m = self._matcher.metres(gps["lat_e7"].to_numpy(), gps["lon_e7"].to_numpy())
        speed_mps = _floats(gps["speed_cmps"], 0.01)
        heading_deg = _floats(gps["heading_cdeg"], 0.01)
        # The matcher wants each vehicle's reports in order of time, as the archive mostly has them.
        sorted_runs = _runs(vehicle, time_ms)
        order = None
        if sorted_runs is None:
            order = np.lexsort([time_ms, vehicle])
            vehicle, time_ms = vehicle[order], time_ms[order]
            x_m, y_m = x_m[order], y_m[order]
            speed_mps, heading_deg = speed_mps[order], heading_deg[order]
            sorted_runs = np.flatnonzero(np.append(True, vehicle[1:] != vehicle[:-1]))
        dense = self._dense(vehicle[sorted_runs])
        lengths = np.diff(np.append(sorted_runs, len(vehicle)))
        matched = self._matcher.match(
            Points(np.repeat(dense, lengths), time_ms, x_m, y_m, speed_mps, heading_deg)
        )
        link = np.where(matched.confidence >= LEAST_CONFIDENCE, matched.link, -1)
        offset_dm = np.rint(10.0 * np.maximum(matched.offset_m, 0.0)).astype(np.uint32)
        if order is not None:
            link[order], offset_dm[order] = link.copy(), offset_dm.copy()
        key = self._keys(link)
        unsure = link < 0
        for name, values in (("link", key), ("offset_dm", offset_dm)):
            column = gps.schema.get_field_index(name)
            gps = gps.set_column(column, gps.schema.field(name), pa.array(values, mask=unsure))
        return gps

    def _keys(self, link: NDArray[np.integer]) -> NDArray[np.uint32]:
        """Keys of the dimension table, 0 where there is no link (-1)."""
        # The last one stands for none.
        key = self._key_of_link[link]
        fresh = np.unique(link[(key == 0) & (link >= 0)])
        if len(fresh):
            keys = self._dimensions.keys("links", self._names.take(pa.array(fresh)))
            self._key_of_link[fresh] = keys
            key = self._key_of_link[link]
        return np.asarray(key)

    def _dense(self, vehicle: NDArray[np.uint64]) -> NDArray[np.int64]:
        number = [self._number.setdefault(name, len(self._number)) for name in vehicle.tolist()]
        return np.array(number, dtype=np.int64)


def _runs(vehicle: NDArray[np.uint64], time_ms: NDArray[np.int64]) -> NDArray[np.intp] | None:
    """Where each vehicle's rows begin, if they stand together and in order of time."""
    another = vehicle[1:] != vehicle[:-1]
    if not (another | (time_ms[1:] >= time_ms[:-1])).all():
        return None
    first = np.flatnonzero(np.append(True, another))
    return first if len(np.unique(vehicle[first])) == len(first) else None


def _floats(column: pa.ChunkedArray, unit: float) -> NDArray[np.float32]:
    """Missing is NaN."""
    return np.asarray(column.cast(pa.float32()).to_numpy() * np.float32(unit), dtype=np.float32)
