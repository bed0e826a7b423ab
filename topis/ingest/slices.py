"""Slices of an archive: the record batches of a feed in a time, and nothing else read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from topis.errors import InputError
from topis.ingest.archive import Partition, partitions, utc_ms
from topis.model.schemas import FEEDS
from topis.units import MS_PER_HOUR

BATCH_ROWS = 1 << 17


class ArchiveSlices:
    """Reads slices; files of the hour at hand stay open.

    ``districts``: only these; ``None``: all. What cannot be read is told in ``damaged`` and left
    out.

    Raises
    ------
    InputError
        The folder is no archive.
    """

    def __init__(self, archive: Path, districts: Sequence[int] | None = None) -> None:
        self.damaged: dict[str, str] = {}
        self._paths: dict[tuple[str, int], list[tuple[Partition, Path]]] = {}
        self._open: dict[Path, tuple[int, pq.ParquetFile]] = {}
        for partition, path in partitions(archive):
            if districts is None or partition.district in districts:
                day = np.datetime64(partition.date, "h").astype(np.int64)
                key = (partition.feed, int(day) + partition.hour)
                self._paths.setdefault(key, []).append((partition, path))

    def feeds(self) -> set[str]:
        """What the archive has, at any time."""
        return {feed for feed, _ in self._paths}

    def hours(self, feed: str) -> set[int]:
        """Hours since 1970 in which it has rows."""
        return {hour for name, hour in self._paths if name == feed}

    def batches(
        self, feed: str, begin_ms: int, end_ms: int, columns: list[str]
    ) -> Iterator[pa.RecordBatch]:
        """Batches that hold all rows of the time, and some of the time around it."""
        first, last = begin_ms // MS_PER_HOUR, -(-end_ms // MS_PER_HOUR)
        self._close_before(first)
        for hour in range(first, last):
            for _, path in self._paths.get((feed, hour), []):
                if str(path) in self.damaged:
                    continue
                try:
                    file = self._file(path, hour)
                    groups = _groups(file, feed, begin_ms, end_ms)
                    if groups:
                        yield from file.iter_batches(BATCH_ROWS, groups, columns)
                except (OSError, pa.ArrowInvalid) as error:
                    self.damaged[str(path)] = f"damaged ({error})"

    def rows(self, feed: str, begin_ms: int, end_ms: int, columns: list[str]) -> pa.Table:
        """The rows of the time, of which nothing is known against (``quality`` 0)."""
        wanted = list(dict.fromkeys([*columns, "time", "quality"]))
        schema = pa.schema([FEEDS[feed].schema.field(name) for name in wanted])
        begin, end = (pa.scalar(t, schema.field("time").type) for t in (begin_ms, end_ms))
        parts = []
        for batch in self.batches(feed, begin_ms, end_ms, wanted):
            inside = pc.and_(pc.greater_equal(batch["time"], begin), pc.less(batch["time"], end))
            parts.append(batch.filter(pc.and_(inside, pc.equal(batch["quality"], 0))))
        return pa.Table.from_batches(parts, schema) if parts else schema.empty_table()

    def _file(self, path: Path, hour: int) -> pq.ParquetFile:
        if path not in self._open:
            self._open[path] = hour, pq.ParquetFile(path)
        return self._open[path][1]

    def _close_before(self, hour: int) -> None:
        for path in [path for path, (of, _) in self._open.items() if of < hour]:
            self._open.pop(path)[1].close()

    def close(self) -> None:
        """Close all files."""
        for _, file in self._open.values():
            file.close()
        self._open.clear()


def _groups(file: pq.ParquetFile, feed: str, begin_ms: int, end_ms: int) -> list[int]:
    """Row groups whose times overlap."""
    column = FEEDS[feed].schema.names.index("time")
    found = []
    for number in range(file.metadata.num_row_groups):
        span = file.metadata.row_group(number).column(column).statistics
        if (
            span is None
            or not span.has_min_max
            or (utc_ms(span.min) < end_ms and utc_ms(span.max) >= begin_ms)
        ):
            found.append(number)
    return found


def time_ms_of(text: str) -> int:
    """UTC ms of an ISO time: ``2026-11-17T07:00`` is UTC, ``...+09:00`` is Seoul's.

    Raises
    ------
    InputError
        It is none.
    """
    for written in (text, f"{text}Z", f"{text}T00:00Z"):
        try:
            moment = pa.scalar(written).cast(pa.timestamp("ms", tz="UTC"))
        except pa.ArrowInvalid:
            continue
        return int(moment.cast(pa.int64()).as_py())
    raise InputError(f"time {text!r} cannot be read; write 2026-11-17T07:00")


def int64_ms(column: pa.ChunkedArray | pa.Array) -> NDArray[np.int64]:
    """Times as UTC ms."""
    return np.asarray(column.cast(pa.int64()).to_numpy())
