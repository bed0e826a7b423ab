"""Staged sources into the archive: each partition rewritten from what is there and what came.

A merge cut short anywhere can be done again: the files come out the same, bit for bit, as if it
had not been. Staged sources are forgotten only when everything is done.
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from topis.errors import InputError
from topis.ingest.archive import (
    CONTRADICTION,
    Counts,
    Partition,
    WrittenAnew,
    networks_in,
    open_partition,
    row_groups_by_slot,
    staged_sources,
    sync,
    taken_in,
)
from topis.ingest.checks import ROW
from topis.ingest.jumps import Keys, count_marked, mark_jumps
from topis.ingest.staging import StagedPart, forget
from topis.model.schemas import FEEDS, QUARANTINE_SCHEMA, Feed


def merge(archive: Path) -> Iterator[tuple[int, int, Partition]]:
    """Merge all staged sources; yields (partitions done, of how many, which).

    Raises
    ------
    InputError
        A partition that must be rewritten is damaged inside.
    """
    sources = staged_sources(archive)
    parts: dict[Partition, list[str]] = defaultdict(list)
    for source in sources:
        for path in sorted((archive / "_staging" / source).glob("*.arrow")):
            parts[Partition.named(path.stem)].append(source)
    ordered = sorted(parts, key=lambda p: p.name)
    for number, partition in enumerate(ordered, 1):
        _merge_partition(archive, partition, parts[partition])
        yield number, len(ordered), partition
    probes = [partition for partition in ordered if partition.feed == "gps"]
    marked = mark_jumps(archive, probes)
    jumps = _jumps_by_source(archive, {p: parts[p] for p in probes}, marked)
    for source in sources:
        _register(archive, source, jumps.get(source, 0))


def _jumps_by_source(
    archive: Path, parts: dict[Partition, list[str]], marked: Keys
) -> dict[str, int]:
    found: dict[str, int] = defaultdict(int)
    if marked:
        for partition, sources in parts.items():
            for source in sources:
                part = StagedPart(archive / "_staging" / source, partition)
                found[source] += count_marked(part.batches(), marked)
    return found


def _register(archive: Path, source: str, jumps: int) -> None:
    """Everything of a staged source is in the archive: note it, forget what was staged."""
    staged = archive / "_staging" / source
    for folder in ("quarantine", "_sources"):
        (archive / folder).mkdir(exist_ok=True)
    facts = json.loads((staged / "source.json").read_text())
    facts["marks"]["jumps"] = jumps
    refused = archive / "quarantine" / f".{source}.parquet"
    noted = archive / "_sources" / f".{source}.json"
    shutil.copyfile(staged / "quarantine.parquet", refused)
    noted.write_text(json.dumps(facts, sort_keys=True))
    for draft in (refused, noted):
        sync(draft)
        draft.replace(draft.with_name(draft.name[1:]))
        sync(draft.parent)
    forget(staged)


def _merge_partition(archive: Path, partition: Partition, sources: list[str]) -> None:
    path = archive / partition.file
    taken, networks = _set_aside_if_damaged(path)
    staged = {source: StagedPart(archive / "_staging" / source, partition) for source in sources}
    new = [source for source in sources if source not in taken]
    # Taken in already, and matched to another network now, or for the first time.
    again = [
        source
        for source in sources
        if source in taken and staged[source].network not in ("", networks.get(source, ""))
    ]
    if not new and not again:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _merge_into(archive, partition, None, {}, {}, staged, new, again)
        return
    with open_partition(path) as old:
        _merge_into(archive, partition, old, taken, networks, staged, new, again)


def _set_aside_if_damaged(path: Path) -> tuple[Counts, dict[str, str]]:
    """What a partition has of which source; one that is none is kept under another name."""
    if not path.exists():
        return {}, {}
    try:
        taken = taken_in(path)
        with open_partition(path) as file:
            return taken, networks_in(file)
    except InputError:
        path.replace(path.with_name("_damaged.parquet"))
        return {}, {}


def _merge_into(
    archive: Path,
    partition: Partition,
    old: pq.ParquetFile | None,
    taken: Counts,
    networks: dict[str, str],
    staged: dict[str, StagedPart],
    new: list[str],
    again: list[str],
) -> None:
    feed = FEEDS[partition.feed]
    ordered = sorted([*new, *again])
    parts = [staged[source] for source in ordered]
    counts = {
        source: {"rows": staged[source].rows, "duplicates": 0, "contradictions": 0}
        for source in new
    }
    renews = np.array([source in again for source in ordered])
    contradictions: list[pa.Table] = []
    old_slots = {} if old is None else row_groups_by_slot(feed, old.metadata)
    with WrittenAnew(archive / partition.file, feed) as out:
        for slot in sorted(set(old_slots).union(*(part.slots for part in parts))):
            before = [] if old is None else [old.read_row_group(g) for g in old_slots.get(slot, [])]
            kept, dropped = _merged(feed, before, [part.read(slot) for part in parts], renews)
            out.write(kept)
            for number, source in enumerate(ordered):
                if source in again:
                    continue
                own = dropped.rank == number
                for name, which in (
                    ("duplicates", own & ~dropped.differs),
                    ("contradictions", own & dropped.differs),
                ):
                    counts[source][name] += int(which.sum())
                    counts[source]["rows"] -= int(which.sum())
                if (own & dropped.differs).any():
                    rows = _as_quarantine(feed, dropped, own & dropped.differs, parts[number])
                    contradictions.append(rows)
        if contradictions:
            _add_contradictions(archive, partition, pa.concat_tables(contradictions))
        told = {source: staged[source].network for source in ordered if staged[source].network}
        out.takes({**taken, **counts}, {**networks, **told})


@dataclass(frozen=True)
class _Dropped:
    """Rows that were not kept: their source's rank and row; whether another value stands."""

    table: pa.Table
    rank: NDArray[np.int64]
    row: NDArray[np.int64]
    differs: NDArray[np.bool_]


def _merged(
    feed: Feed,
    before: list[pa.Table],
    staged: list[list[pa.RecordBatch]],
    renews: NDArray[np.bool_],
) -> tuple[pa.Table, _Dropped]:
    """In the archive's order, every key once: the first by source, then by row of it.

    ``renews``: by source, whether it is in the archive already and was given again for its links.
    """
    chunks = [table.replace_schema_metadata(feed.schema.metadata) for table in before]
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
    again = order[repeats]
    # Of equal keys the first stands: the last row before it that is no repeat.
    first = order[np.maximum.accumulate(np.where(repeats, 0, np.arange(len(order))))[repeats]]
    differs = np.zeros(len(again), dtype=bool)
    if len(again):
        for column in feed.columns:
            if column.name in feed.key or column.derived:
                continue
            here, there = (table[column.name].take(pa.array(index)) for index in (again, first))
            other = pc.fill_null(pc.not_equal(here, there), False)
            other = pc.or_(other, pc.xor(pc.is_null(here), pc.is_null(there)))
            differs |= other.to_numpy()
    dropped = _Dropped(table.take(pa.array(again)), ranks[again], rows[again], differs)
    teller = _tellers(feed, table, ranks, renews, first[~differs], again[~differs])
    kept = table.take(pa.array(order[~repeats]))
    for name in _matched_columns(feed):
        told = table[name].take(pa.array(teller[order[~repeats]]))
        kept = kept.set_column(kept.schema.get_field_index(name), kept.schema.field(name), told)
    return kept.combine_chunks(), dropped


def _matched_columns(feed: Feed) -> list[str]:
    return [c.name for c in feed.columns if c.derived and c.name != "quality"]


def _tellers(
    feed: Feed,
    table: pa.Table,
    ranks: NDArray[np.int64],
    renews: NDArray[np.bool_],
    first: NDArray[np.int64],
    again: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The row from which each row has its link: itself, or the same row that came again.

    What has no link takes that of any other; a source that was given again, for its links, is
    believed before what is stored.
    """
    teller = np.arange(len(table))
    names = _matched_columns(feed)
    if not names or not len(again):
        return teller
    has = table[names[0]].is_valid().to_numpy()
    renewed = np.append(renews, False)[ranks]
    for better in (has[again] & ~has[first], renewed[again] & ~renewed[first]):
        # The last to be written stands: the first of the source that comes first.
        teller[first[better][::-1]] = again[better][::-1]
    return teller


def _comparable(column: pa.ChunkedArray) -> NDArray[np.generic]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return np.asarray(column.to_numpy())


def _as_quarantine(
    feed: Feed, dropped: _Dropped, which: NDArray[np.bool_], part: StagedPart
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
    sync(draft)
    draft.replace(path)
