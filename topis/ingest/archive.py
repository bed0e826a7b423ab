"""The archive on disk: what lies where, and what its files say of themselves.

``DIR/feed=F/date=D/hour=H/district=K/part.parquet`` holds every row once, in order of entity and
time within row groups of a fixed time. What a partition has taken in of which source stands in
its own metadata, so that work cut short anywhere can be done again (`topis.ingest.merging`).
"""

from __future__ import annotations

import calendar
import contextlib
import json
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from topis.errors import InputError
from topis.model.schemas import FEEDS, Feed
from topis.units import MS_PER_HOUR

_TAKEN, _NETWORKS = "topis.sources", "topis.networks"
#: Small alphabets are told by a dictionary, all else by differences (measured: a fifth smaller).
_DICTIONARY = {pa.uint8(), pa.string()}
ZSTD_LEVEL = 3
CONTRADICTION = "same key as another row, other values"
_FOLDER = re.compile(r"feed=(\w+)/date=(\d{4}-\d\d-\d\d)/hour=(\d\d)/district=(\d{1,5})")
#: What to do about a damaged partition.
_CURE = "remove it and ingest its sources again (topis data describe lists them)"

#: What a partition has of each source: rows, duplicates, contradictions.
Counts = dict[str, dict[str, int]]


@dataclass(frozen=True)
class Partition:
    """One hour of one feed in one district."""

    feed: str
    date: str
    hour: int
    district: int

    @property
    def folder(self) -> Path:
        """Below the archive's folder."""
        return Path(
            f"feed={self.feed}",
            f"date={self.date}",
            f"hour={self.hour:02d}",
            f"district={self.district}",
        )

    @property
    def file(self) -> Path:
        """Its rows, below the archive's folder."""
        return self.folder / "part.parquet"

    @property
    def name(self) -> str:
        """As the name of a file."""
        return f"{self.feed}_{self.date}_{self.hour:02d}_{self.district}"

    @property
    def begin_ms(self) -> int:
        """Begin of its hour, UTC."""
        year, month, day = map(int, self.date.split("-"))
        return calendar.timegm((year, month, day, self.hour, 0, 0)) * 1000

    @classmethod
    def named(cls, name: str) -> Partition:
        """The inverse of ``name``."""
        feed, date, hour, district = name.rsplit("_", 3)
        return cls(feed, date, int(hour), int(district))

    @classmethod
    def at(cls, feed: str, time_ms: int, district: int) -> Partition:
        """Where a moment (UTC) belongs."""
        date = str(np.datetime64(time_ms, "ms").astype("datetime64[D]"))
        return cls(feed, date, time_ms // MS_PER_HOUR % 24, district)


def clean(archive: Path) -> None:
    """Remove what a killed call left half done; whole things have other names."""
    for path in (archive / "_staging").glob(".*"):
        if path.suffix in (".draft", ".done"):
            shutil.rmtree(path)
    ours = ("quarantine/.*.parquet", "_sources/.*.json", "feed=*/*/*/*/.part.draft")
    for pattern in ("*.json.draft", *ours):
        for path in archive.glob(pattern):
            path.unlink()


def staged_sources(archive: Path) -> list[str]:
    """Sources that are staged whole and not merged yet."""
    folder = archive / "_staging"
    if not folder.is_dir():
        return []
    return sorted(
        p.name
        for p in folder.iterdir()
        if not p.name.startswith(".") and (p / "source.json").is_file()
    )


def known_sources(archive: Path) -> dict[str, dict[str, object]]:
    """Sources that are in the archive, with their facts.

    Raises
    ------
    InputError
        What is written of one is damaged.
    """
    found: dict[str, dict[str, object]] = {}
    for path in sorted((archive / "_sources").glob("*.json")):
        facts = None
        with contextlib.suppress(OSError, ValueError):
            facts = json.loads(path.read_text())
        if not isinstance(facts, dict) or not facts.keys() >= {"file", "partitions", "marks"}:
            raise InputError.at(
                path, "is not what is written of a source", "restore it, or make a new archive"
            )
        found[path.stem] = facts
    return found


def parts_of(facts: dict[str, object]) -> list[Partition]:
    """The partitions a source has rows in, by its facts."""
    names = facts.get("partitions")
    return [Partition.named(str(name)) for name in names] if isinstance(names, list) else []


def partitions(archive: Path) -> list[tuple[Partition, Path]]:
    """All partitions of an archive, in order.

    Raises
    ------
    InputError
        The folder is no archive, or has a partition with a name that is none.
    """
    if not archive.is_dir():
        raise InputError.at(archive, "no such folder", "name an archive that topis ingest wrote")
    found = []
    for path in archive.glob("feed=*/*/*/*/part.parquet"):
        named = _FOLDER.fullmatch(path.parent.relative_to(archive).as_posix())
        if named is None or named[1] not in FEEDS or not _is_hour(named[2], int(named[3])):
            raise InputError.at(path, "is no partition of an archive", "move it out of there")
        found.append((Partition(named[1], named[2], int(named[3]), int(named[4])), path))
    return sorted(found, key=lambda pair: pair[0].name)


def _is_hour(date: str, hour: int) -> bool:
    try:
        np.datetime64(date)
    except ValueError:
        return False
    return hour < 24


def taken_in(path: Path) -> Counts:
    """What a partition has of each source: rows, duplicates, contradictions.

    Raises
    ------
    InputError
        The file is not a partition, or damaged.
    """
    with open_partition(path) as file:
        return counts_in(path, file)


def networks_in(file: pq.ParquetFile) -> dict[str, str]:
    """Sources whose rows of this partition were matched, and the network's hash."""
    stored = (file.metadata.metadata or {}).get(_NETWORKS.encode(), b"{}")
    return {str(k): str(v) for k, v in json.loads(stored).items()}


def counts_in(path: Path, file: pq.ParquetFile) -> Counts:
    """As `taken_in`, of a partition that is open."""
    try:
        stored = json.loads(file.metadata.metadata[_TAKEN.encode()])
        return {str(k): dict(v) for k, v in stored.items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError.at(path, "not a partition of an archive", _CURE) from None


@contextlib.contextmanager
def open_partition(path: Path) -> Iterator[pq.ParquetFile]:
    """A partition to read from; closed again afterwards.

    Raises
    ------
    InputError
        The file is damaged; told of what is read in the block, too.
    """
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (OSError, pa.ArrowInvalid) as error:
        # What the system refuses has a number: a full disk is no damage.
        if isinstance(error, OSError) and error.errno is not None and path.exists():
            raise
        raise InputError.at(path, f"damaged ({error})", _CURE) from None


@contextlib.contextmanager
def passing_over(path: Path, damaged: dict[str, str] | None) -> Iterator[None]:
    """A damaged partition of the block is told in ``damaged`` (by path) and left out.

    Without such a table it stays an error.
    """
    try:
        yield
    except InputError as error:
        if damaged is None:
            raise
        damaged[str(path)] = str(error).removeprefix(f"{path}: ")


class WrittenAnew:
    """A partition written beside the old one, which it replaces when the block ends well."""

    def __init__(self, path: Path, feed: Feed, facts: dict[bytes, bytes] | None = None) -> None:
        self._path, self._feed = path, feed
        self._facts = {
            key: (facts or {}).get(key.encode(), b"{}").decode() for key in (_TAKEN, _NETWORKS)
        }
        self._draft = path.with_name(".part.draft")

    def __enter__(self) -> WrittenAnew:
        self._writer = pq.ParquetWriter(self._draft, self._feed.schema, **encoding(self._feed))
        return self

    def write(self, table: pa.Table) -> None:
        """One row group."""
        table = table.combine_chunks()
        self._writer.write_table(table, row_group_size=max(len(table), 1))

    def takes(self, counts: Counts, networks: dict[str, str]) -> None:
        """What it says of itself."""
        self._facts = {
            _TAKEN: json.dumps(counts, sort_keys=True),
            _NETWORKS: json.dumps(networks, sort_keys=True),
        }

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            self._writer.close()
            return
        self._writer.add_key_value_metadata(self._facts)
        self._writer.close()
        sync(self._draft)
        self._draft.replace(self._path)
        sync(self._path.parent)


def slots_of(feed: Feed, time_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Within the hour, the row group that each moment belongs to."""
    if not feed.row_group_s:
        return np.zeros(len(time_ms), dtype=np.int64)
    return time_ms % MS_PER_HOUR // (feed.row_group_s * 1000)


def row_groups_by_slot(feed: Feed, footer: pq.FileMetaData) -> dict[int, list[int]]:
    """Row groups of a partition by the slot of time they hold."""
    found: dict[int, list[int]] = defaultdict(list)
    column = feed.schema.names.index("time")
    for group in range(footer.num_row_groups):
        if footer.row_group(group).num_rows:
            moment = footer.row_group(group).column(column).statistics.min
            time_ms = np.array([round(moment.timestamp() * 1000)], dtype=np.int64)
            found[int(slots_of(feed, time_ms)[0])].append(group)
    return found


def encoding(feed: Feed) -> dict[str, object]:
    """How a feed is written: settings of pyarrow's ParquetWriter."""
    small = [c.name for c in feed.columns if c.type in _DICTIONARY]
    return {
        "compression": "zstd",
        "compression_level": ZSTD_LEVEL,
        "use_dictionary": small,
        "column_encoding": {
            c.name: "DELTA_BINARY_PACKED" for c in feed.columns if c.name not in small
        },
        "write_page_index": True,
    }


def sync(path: Path) -> None:
    """Written to the disk, not only to the system's memory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def utc_ms(moment: object) -> int:
    """UTC ms of a time in a file's statistics."""
    return int(pa.scalar(moment, pa.timestamp("ms", tz="UTC")).cast(pa.int64()).as_py())
