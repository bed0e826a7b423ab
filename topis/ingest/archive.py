"""The archive on disk: staged sources, merged into partitions sorted for slicing.

``DIR/feed=F/date=D/hour=H/district=K/part.parquet`` holds every row once, in order of entity and
time within row groups of a fixed time. A source is first *staged*: checked and cut by partition
in a folder of its own, which appears whole or not at all. A *merge* then rewrites each partition
that staged rows belong to, from what is there and what is staged. What a partition has taken in
stands in its own metadata, so a merge cut short anywhere can be done again: the files come out
the same, bit for bit, as if it had not been.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from topis.errors import InputError
from topis.ingest.checks import ROW
from topis.ingest.rows import Reject
from topis.model.schemas import FEEDS, QUARANTINE_SCHEMA, Feed

_MS_PER_HOUR, _MS_PER_DAY = 3_600_000, 86_400_000
_TAKEN = "topis.sources"
_NONE_LOST = {"duplicates": 0, "contradictions": 0}
#: Small alphabets are told by a dictionary, all else by differences (measured: a fifth smaller).
_DICTIONARY = {pa.uint8(), pa.string()}
ZSTD_LEVEL = 3
#: Stands for the text of a row that may name a vehicle; the source file has it.
WITHHELD = "withheld, it may name a vehicle"
CONTRADICTION = "same key as another row, other values"


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
    def name(self) -> str:
        """As the name of a file."""
        return f"{self.feed}_{self.date}_{self.hour:02d}_{self.district}"

    @classmethod
    def named(cls, name: str) -> Partition:
        """The inverse of ``name``."""
        feed, date, hour, district = name.rsplit("_", 3)
        return cls(feed, date, int(hour), int(district))


class StagedSource:
    """Writes one source's rows into a folder of its own; `commit` makes it appear."""

    def __init__(self, archive: Path, source: str) -> None:
        self.source = source
        self._final = archive / "_staging" / source
        self._draft = archive / "_staging" / f".{source}.draft"
        shutil.rmtree(self._draft, ignore_errors=True)
        self._draft.mkdir(parents=True)
        self._writers: dict[Partition, pa.ipc.RecordBatchFileWriter] = {}
        self._slots: dict[Partition, list[int]] = defaultdict(list)
        self._rejects: list[tuple[str, Reject]] = []
        self.rows = 0

    def add(self, feed: Feed, table: pa.Table, district: NDArray[np.int64]) -> None:
        """Rows of a feed, canonical with `ROW`; ``district`` int64[rows]."""
        time_ms = table["time"].cast(pa.int64()).to_numpy()
        self.rows += len(table)
        slot = _slots(feed, time_ms)
        where = np.stack([time_ms // _MS_PER_HOUR, district, slot])
        cells, cell = np.unique(where, axis=1, return_inverse=True)
        for k, (hour, place, number) in enumerate(cells.T.tolist()):
            date = str(np.datetime64(hour * _MS_PER_HOUR, "ms").astype("datetime64[D]"))
            partition = Partition(feed.name, date, hour % 24, place)
            writer = self._writers.get(partition)
            if writer is None:
                path = self._draft / f"{partition.name}.arrow"
                writer = pa.ipc.new_file(str(path), table.schema)
                self._writers[partition] = writer
            rows = table.take(pa.array(np.flatnonzero(cell == k)))
            for batch in rows.combine_chunks().to_batches():
                writer.write_batch(batch)
                self._slots[partition].append(number)

    def refuse(self, feed: str, rejects: list[Reject]) -> None:
        """Rows for quarantine; without their text where it may name a vehicle."""
        known = FEEDS.get(feed)
        if known is None or any(column.name == "vehicle" for column in known.columns):
            rejects = [dataclasses.replace(reject, raw=WITHHELD, detail="") for reject in rejects]
        self._rejects += [(feed, reject) for reject in rejects]

    @property
    def refused(self) -> int:
        """How many rows were refused so far."""
        return len(self._rejects)

    def reasons(self) -> Counter[str]:
        """Refused rows by reason."""
        return Counter(reject.reason for _, reject in self._rejects)

    def commit(self, file: str, facts: dict[str, object]) -> None:
        """Make the staged source appear; ``file``: the source's name for people."""
        for writer in self._writers.values():
            writer.close()
        slots = {p.name: numbers for p, numbers in self._slots.items()}
        (self._draft / "slots.json").write_text(json.dumps(slots, sort_keys=True))
        quarantined = pa.Table.from_pylist(
            [
                {
                    "feed": feed, "file": file, "row": r.row, "reason": r.reason,
                    "detail": r.detail, "raw": r.raw,
                }
                for feed, r in self._rejects
            ],
            schema=QUARANTINE_SCHEMA,
        )  # fmt: skip
        pq.write_table(quarantined, self._draft / "quarantine.parquet", compression="zstd")
        facts = {"file": file, "rows": self.rows, "quarantined": self.refused, **facts}
        (self._draft / "source.json").write_text(json.dumps(facts, sort_keys=True))
        for path in self._draft.iterdir():
            _sync(path)
        _sync(self._draft)
        self._draft.replace(self._final)

    def abandon(self) -> None:
        """Remove what was staged."""
        for writer in self._writers.values():
            writer.close()
        shutil.rmtree(self._draft, ignore_errors=True)


def clean(archive: Path) -> None:
    """Remove what a killed call left half done; whole things have other names."""
    for path in (archive / "_staging").glob(".*"):
        if path.suffix in (".draft", ".done"):
            shutil.rmtree(path)
    ours = ("quarantine/.*.parquet", "_sources/.*.json", "feed=*/*/*/*/.part.draft")
    for pattern in ("dimensions.json.draft", *ours):
        for path in archive.glob(pattern):
            path.unlink()


def staged_sources(archive: Path) -> list[str]:
    """Sources that are staged whole and not merged yet."""
    folder = archive / "_staging"
    if not folder.is_dir():
        return []
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def known_sources(archive: Path) -> dict[str, dict[str, object]]:
    """Sources that are in the archive, with their facts."""
    folder = archive / "_sources"
    if not folder.is_dir():
        return {}
    return {p.stem: json.loads(p.read_text()) for p in sorted(folder.glob("*.json"))}


def merge(archive: Path) -> Iterator[tuple[int, int, Partition]]:
    """Merge all staged sources; yields (partitions done, of how many, which)."""
    sources = staged_sources(archive)
    parts: dict[Partition, list[str]] = defaultdict(list)
    for source in sources:
        for path in sorted((archive / "_staging" / source).glob("*.arrow")):
            parts[Partition.named(path.stem)].append(source)
    ordered = sorted(parts, key=lambda p: p.name)
    for number, partition in enumerate(ordered, 1):
        _merge_partition(archive, partition, parts[partition])
        yield number, len(ordered), partition
    for source in sources:
        _register(archive, source)


def _register(archive: Path, source: str) -> None:
    """Everything of a staged source is in the archive: note it, forget what was staged."""
    staged = archive / "_staging" / source
    for folder, name, target in (
        ("quarantine", "quarantine.parquet", f"{source}.parquet"),
        ("_sources", "source.json", f"{source}.json"),
    ):
        (archive / folder).mkdir(exist_ok=True)
        if (staged / name).exists():
            shutil.copyfile(staged / name, archive / folder / f".{target}")
            _sync(archive / folder / f".{target}")
            (archive / folder / f".{target}").replace(archive / folder / target)
    gone = staged.with_name(f".{source}.done")
    staged.replace(gone)
    shutil.rmtree(gone)


def _merge_partition(archive: Path, partition: Partition, sources: list[str]) -> None:
    folder = archive / partition.folder
    path = folder / "part.parquet"
    feed = FEEDS[partition.feed]
    taken: dict[str, dict[str, int]] = {}
    old: pq.ParquetFile | None = None
    if path.exists():
        old = pq.ParquetFile(path)
        taken = json.loads(old.metadata.metadata[_TAKEN.encode()])
    sources = [source for source in sources if source not in taken]
    if not sources:
        return
    staged = [_Staged(archive / "_staging" / source, partition) for source in sources]
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / ".part.draft"
    counts = {
        source: {"rows": part.rows, **_NONE_LOST}
        for source, part in zip(sources, staged, strict=True)
    }
    contradictions: list[pa.Table] = []
    old_slots = _old_slots(feed, old)
    with pq.ParquetWriter(draft, feed.schema, **encoding(feed)) as writer:
        for slot in sorted(set(old_slots).union(*(part.slots for part in staged))):
            before = [] if old is None else [old.read_row_group(g) for g in old_slots.get(slot, [])]
            kept, dropped = _merged(feed, before, [part.read(slot) for part in staged])
            writer.write_table(kept, row_group_size=max(len(kept), 1))
            for number, source in enumerate(sources):
                own = dropped.rank == number
                for name, which in (
                    ("duplicates", own & ~dropped.differs),
                    ("contradictions", own & dropped.differs),
                ):
                    counts[source][name] += int(which.sum())
                    counts[source]["rows"] -= int(which.sum())
                if (own & dropped.differs).any():
                    rows = _as_quarantine(feed, dropped, own & dropped.differs, staged[number])
                    contradictions.append(rows)
        if contradictions:
            _add_contradictions(archive, partition, pa.concat_tables(contradictions))
        taken = dict(sorted({**taken, **counts}.items()))
        writer.add_key_value_metadata({_TAKEN: json.dumps(taken, sort_keys=True)})
    _sync(draft)
    if old is not None:
        old.close()
    draft.replace(path)
    _sync(folder)


class _Staged:
    """One staged source's rows of one partition, read slot by slot from a memory map."""

    def __init__(self, folder: Path, partition: Partition) -> None:
        self.file = str(json.loads((folder / "source.json").read_text())["file"])
        slots = json.loads((folder / "slots.json").read_text())[partition.name]
        self._reader = pa.ipc.open_file(pa.memory_map(str(folder / f"{partition.name}.arrow")))
        self._batches: dict[int, list[int]] = defaultdict(list)
        for number, slot in enumerate(slots):
            self._batches[slot].append(number)
        self.slots = set(slots)
        self.rows = sum(
            self._reader.get_batch(i).num_rows for i in range(self._reader.num_record_batches)
        )

    def read(self, slot: int) -> list[pa.RecordBatch]:
        return [self._reader.get_batch(number) for number in self._batches[slot]]


@dataclass(frozen=True)
class _Dropped:
    """Rows that were not kept: their source's rank and row; whether another value stands."""

    table: pa.Table
    rank: NDArray[np.int64]
    row: NDArray[np.int64]
    differs: NDArray[np.bool_]


def _merged(
    feed: Feed, before: list[pa.Table], staged: list[list[pa.RecordBatch]]
) -> tuple[pa.Table, _Dropped]:
    """In the archive's order, every key once: the first by source, then by row of it."""
    chunks = list(before)
    rank = [np.full(len(table), -1) for table in before]
    row = [np.zeros(len(table), dtype=np.int64) for table in before]
    for number, batches in enumerate(staged):
        for batch in batches:
            chunks.append(pa.Table.from_batches([batch.drop_columns([ROW])], feed.schema))
            rank.append(np.full(len(batch), number))
            row.append(batch[ROW].to_numpy())
    table, ranks, rows = pa.concat_tables(chunks), np.concatenate(rank), np.concatenate(row)
    names = [*feed.order, *(k for k in feed.key if k not in feed.order)]
    columns = {name: _comparable(table[name]) for name in names}
    order = np.lexsort([rows, ranks, *(columns[name] for name in reversed(names))])
    same = np.ones(max(len(order) - 1, 0), dtype=bool)
    for name in feed.key:
        values = columns[name][order]
        same &= values[1:] == values[:-1]
    repeats = np.concatenate(([False], same))
    kept = table.take(pa.array(order[~repeats])).combine_chunks()
    again = order[repeats]
    # Of equal keys the first stands: the last row before it that is no repeat.
    first = order[np.maximum.accumulate(np.where(repeats, 0, np.arange(len(order))))[repeats]]
    differs = np.zeros(len(again), dtype=bool)
    if len(again):
        for name in set(table.column_names) - set(feed.key):
            here, there = (table[name].take(pa.array(index)) for index in (again, first))
            other = pc.fill_null(pc.not_equal(here, there), False)
            other = pc.or_(other, pc.xor(pc.is_null(here), pc.is_null(there)))
            differs |= other.to_numpy()
    return kept, _Dropped(table.take(pa.array(again)), ranks[again], rows[again], differs)


def _comparable(column: pa.ChunkedArray) -> NDArray[np.generic]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return np.asarray(column.to_numpy())


def _as_quarantine(
    feed: Feed, dropped: _Dropped, which: NDArray[np.bool_], part: _Staged
) -> pa.Table:
    rows = dropped.table.filter(pa.array(which)).to_pylist()
    return pa.Table.from_pylist(
        [
            {
                "feed": feed.name, "file": part.file, "row": int(number),
                "reason": CONTRADICTION, "detail": ", ".join(feed.key),
                "raw": json.dumps(row, default=str),
            }
            for number, row in zip(dropped.row[which].tolist(), rows, strict=True)
        ],
        schema=QUARANTINE_SCHEMA,
    )  # fmt: skip


def _add_contradictions(archive: Path, partition: Partition, more: pa.Table) -> None:
    """A merge done again finds the same rows: each is kept once."""
    path = archive / "quarantine" / f"{partition.name}.parquet"
    path.parent.mkdir(exist_ok=True)
    rows = more.to_pylist()
    if path.exists():
        rows += pq.read_table(path).to_pylist()
    unique = {(row["file"], row["row"], row["raw"]): row for row in rows}
    table = pa.Table.from_pylist([unique[k] for k in sorted(unique)], schema=QUARANTINE_SCHEMA)
    draft = path.with_name(f".{path.name}")
    pq.write_table(table, draft, compression="zstd")
    _sync(draft)
    draft.replace(path)


def _slots(feed: Feed, time_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    if not feed.row_group_s:
        return np.zeros(len(time_ms), dtype=np.int64)
    return time_ms % _MS_PER_HOUR // (feed.row_group_s * 1000)


def _old_slots(feed: Feed, old: pq.ParquetFile | None) -> dict[int, list[int]]:
    """Row groups of a partition by the slot of time they hold."""
    found: dict[int, list[int]] = defaultdict(list)
    if old is not None:
        column = feed.schema.names.index("time")
        for group in range(old.metadata.num_row_groups):
            moment = old.metadata.row_group(group).column(column).statistics.min
            time_ms = np.array([round(moment.timestamp() * 1000)], dtype=np.int64)
            found[int(_slots(feed, time_ms)[0])].append(group)
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


def partitions(archive: Path) -> list[tuple[Partition, Path]]:
    """All partitions of an archive, in order.

    Raises
    ------
    InputError
        The folder is no archive.
    """
    if not archive.is_dir():
        raise InputError.at(archive, "no such folder", "name an archive that topis ingest wrote")
    found = []
    for path in archive.glob("feed=*/date=*/hour=*/district=*/part.parquet"):
        values = dict(piece.split("=", 1) for piece in path.parts[-5:-1])
        partition = Partition(
            values["feed"], values["date"], int(values["hour"]), int(values["district"])
        )
        found.append((partition, path))
    return sorted(found, key=lambda pair: pair[0].name)


def taken_in(path: Path) -> dict[str, dict[str, int]]:
    """What a partition has of each source: rows, duplicates, contradictions.

    Raises
    ------
    InputError
        The file is not a partition, or damaged.
    """
    try:
        stored = pq.read_metadata(path).metadata[_TAKEN.encode()]
    except (OSError, pa.ArrowInvalid, KeyError, TypeError) as error:
        raise InputError.at(
            path, f"not a partition ({error})", "ingest its sources again"
        ) from None
    return {str(k): dict(v) for k, v in json.loads(stored).items()}


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
