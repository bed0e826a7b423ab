"""Slices of an archive: the record batches of a feed in a time, and nothing else read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from topis.clock import stopwatch_s
from topis.errors import InputError
from topis.ingest.archive import Partition, utc_ms
from topis.ingest.archive_files import ArchiveFiles
from topis.model.schemas import FEEDS
from topis.units import MS_PER_HOUR

BATCH_ROWS = 1 << 17


class ArchiveSlices:
    """Reads slices; files of the hour at hand stay open.

    ``districts``: only these; ``None``: all. What cannot be read is told in ``damaged`` (by path)
    and left out. ``scan_s``, ``read``: seconds spent on reading, and the partitions read.
    """

    def __init__(self, files: ArchiveFiles, districts: Collection[int] | None = None) -> None:
        self.files = files
        self.damaged: dict[str, str] = {}
        self.scan_s = 0.0
        self.read: set[str] = set()
        self._districts = None if districts is None else frozenset(districts)
        self._open: dict[str, tuple[int, pq.ParquetFile]] = {}

    def has(self, feed: str, hour: int) -> bool:
        """Whether there are rows of a feed in an hour since 1970."""
        return bool(self.names(feed, hour))

    def names(self, feed: str, hour: int) -> list[str]:
        """Partitions of an hour, by their paths below the archive."""
        return [
            Partition.at(feed, hour * MS_PER_HOUR, district).file.as_posix()
            for district in self.files.districts(feed, hour)
            if self._districts is None or district in self._districts
        ]

    def batches(
        self, feed: str, begin_ms: int, end_ms: int, columns: list[str]
    ) -> Iterator[pa.RecordBatch]:
        """Batches that hold all rows of the time, and some of the time around it."""
        first, last = begin_ms // MS_PER_HOUR, -(-end_ms // MS_PER_HOUR)
        self._close_before(first)
        for hour in range(first, last):
            for name in self.names(feed, hour):
                path = f"{self.files.place}/{name}"
                if path in self.damaged:
                    continue
                try:
                    file = self._file(name, hour)
                    _check_columns(file, feed, columns)
                    groups = _groups(file, feed, begin_ms, end_ms)
                    if groups:
                        self.read.add(name)
                        yield from self._timed(file.iter_batches(BATCH_ROWS, groups, columns))
                except (OSError, pa.ArrowInvalid) as error:
                    self.damaged[path] = f"damaged ({error})"

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

    def hourly(self, feed: str, hours: Iterable[int], columns: list[str]) -> Iterator[pa.Table]:
        """All rows of a feed, a table for each hour and district."""
        for hour in hours:
            for name in self.names(feed, hour):
                path = f"{self.files.place}/{name}"
                if path in self.damaged:
                    continue
                try:
                    with self.files.parquet(name) as file:
                        _check_columns(file, feed, columns)
                        table = file.read(columns)
                except (OSError, pa.ArrowInvalid) as error:
                    self.damaged[path] = f"damaged ({error})"
                    continue
                yield table

    def _timed(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        while True:
            began_s = stopwatch_s()
            batch = next(batches, None)
            self.scan_s += stopwatch_s() - began_s
            if batch is None:
                return
            yield batch

    def _file(self, name: str, hour: int) -> pq.ParquetFile:
        if name not in self._open:
            self._open[name] = hour, self.files.parquet(name)
        return self._open[name][1]

    def _close_before(self, hour: int) -> None:
        for name in [name for name, (of, _) in self._open.items() if of < hour]:
            self._open.pop(name)[1].close()

    def close(self) -> None:
        """Close all files."""
        for _, file in self._open.values():
            file.close()
        self._open.clear()


def _check_columns(file: pq.ParquetFile, feed: str, columns: list[str]) -> None:
    """A partition of another schema is told as damaged, not read as something else.

    Raises
    ------
    pyarrow.ArrowInvalid
        A column is missing or of another type.
    """
    stored = file.schema_arrow
    for name in columns:
        wanted = FEEDS[feed].schema.field(name).type
        if stored.get_field_index(name) < 0:
            raise pa.ArrowInvalid(f"no column {name}: it is of another version")
        if stored.field(name).type != wanted:
            raise pa.ArrowInvalid(f"column {name} is {stored.field(name).type}, not {wanted}")


def _groups(file: pq.ParquetFile, feed: str, begin_ms: int, end_ms: int) -> list[int]:
    """Row groups whose times overlap."""
    column = file.schema_arrow.get_field_index("time")
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
