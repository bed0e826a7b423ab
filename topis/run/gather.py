"""Shards to one run folder: every table in order of time, in the numbers of the run's streets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from topis.errors import InputError
from topis.model.network import I4
from topis.run.advising import reason_writer
from topis.run.archive_run import Found
from topis.run.shards import FACTS, Shard, group_folder, shard_folder
from topis.run.streets import PART, OwnPart

#: What the numbers in a column are; the first of them says whose row it is.
NUMBERS: dict[str, dict[str, str]] = {
    "ticks": {},
    "observations": {"sensor": "sensors"},
    "probes": {"lane": "lanes"},
    "decisions": {"junction": "junctions", "stage": "stages"},
    "refusals": {"junction": "junctions", "wanted": "stages"},
    "local_lamps": {"junction": "junctions"},
    "signals": {"junction": "junctions"},
    "advice": {"junction": "junctions", "shown": "stages", "wanted": "stages"},
    "reasons": {
        "junction": "junctions",
        "shown": "stages",
        "wanted": "stages",
        "next_stage": "stages",
        "stage": "stages",
    },
}
#: Rows of one time are in this order; of other tables by junction.
ORDER = {"observations": ("sensor", "value"), "probes": ("probe",)}
#: A table is put together this much at a time (ms).
SLAB_MS = 300_000


def gather(work: Path, shards: Sequence[Shard], into: Path) -> list[dict[str, Any]]:
    """Put the tables of all shards together in an existing folder; returns the shards' facts.

    Raises
    ------
    InputError
        A shard is not done.
    """
    for shard in shards:
        if not (shard_folder(work, shard) / FACTS).is_file():
            raise InputError.at(shard_folder(work, shard), "a shard is missing", "call it again")
    for name in ("network.npz", "sensors.parquet"):
        shutil.copyfile(work / "run" / name, into / name)
    run_part = OwnPart.load(work / "run" / PART)
    groups = sorted({shard.group for shard in shards})
    numbers = {
        group: _Numbers.of_part(OwnPart.load(group_folder(work, group) / PART), run_part)
        for group in groups
    }
    for table in NUMBERS:
        if all((shard_folder(work, shard) / f"{table}.parquet").exists() for shard in shards):
            _join(work, shards, numbers, table, into / f"{table}.parquet")
    return [json.loads((shard_folder(work, shard) / FACTS).read_text()) for shard in shards]


def found_in(shards: Sequence[Shard], facts: Sequence[dict[str, Any]]) -> Found:
    """What all shards read."""
    pairs = sorted(zip(shards, facts, strict=True), key=lambda pair: pair[0].begin_ms)
    return Found.one_after_another(
        Found.side_by_side(Found(**own["found"]) for _, own in at_once)
        for _, at_once in groupby(pairs, key=lambda pair: pair[0].begin_ms)
    )


@dataclass(frozen=True)
class _Numbers:
    """Numbers of a group's part in the run, -1 for what is not its own; by kind, one longer."""

    of: dict[str, I4]

    @classmethod
    def of_part(cls, part: OwnPart, run: OwnPart) -> _Numbers:
        found = {}
        for kind in ("junctions", "lanes", "stages", "sensors"):
            whole, wanted = getattr(part, kind), getattr(run, kind)
            place = np.searchsorted(wanted, whole)
            there = wanted[np.minimum(place, len(wanted) - 1)] == whole if len(wanted) else False
            found[kind] = np.append(np.where(there, place, -1), -1).astype(np.int32)
        found["junctions"][:-1][~part.own_junction] = -1
        found["lanes"][:-1][~part.own_lane] = -1
        found["sensors"][:-1][~part.own_sensor] = -1
        return cls(found)


def _join(
    work: Path, shards: Sequence[Shard], numbers: dict[int, _Numbers], table: str, into: Path
) -> None:
    writer = None
    for _, at_once in groupby(sorted(shards, key=lambda s: s.begin_ms), key=lambda s: s.begin_ms):
        group = list(at_once)
        # Ticks are the same for all.
        group = group[:1] if table == "ticks" else group
        files = [pq.ParquetFile(shard_folder(work, s) / f"{table}.parquet") for s in group]
        schema = files[0].schema_arrow
        for from_ms in range(group[0].begin_ms, group[0].end_ms, SLAB_MS):
            parts = [
                _own(part, numbers[shard.group], NUMBERS[table])
                for shard, file in zip(group, files, strict=True)
                for part in _rows(file, from_ms, from_ms + SLAB_MS)
            ]
            if writer is None:
                writer = (
                    reason_writer(into)
                    if table == "reasons"
                    else pq.ParquetWriter(into, schema, compression="zstd")
                )
            if parts:
                rows = pa.concat_tables(parts).combine_chunks()
                if len(group) > 1:
                    names = ["time_ms", *ORDER.get(table, ("junction",))]
                    keys = [(name, "ascending") for name in names]
                    rows = rows.take(pc.sort_indices(rows.select(names), keys))
                writer.write_table(rows)
        for file in files:
            file.close()
    if writer is not None:
        writer.close()


def _rows(file: pq.ParquetFile, after_ms: int, until_ms: int) -> Iterator[pa.Table]:
    """Rows of the ticks that end in a time."""
    for number in range(file.metadata.num_row_groups):
        about = file.metadata.row_group(number)
        span = about.column(0).statistics
        if not about.num_rows or span.max <= after_ms or span.min > until_ms:
            continue
        rows = file.read_row_group(number)
        if span.min <= after_ms or span.max > until_ms:
            time = rows["time_ms"]
            rows = rows.filter(pc.and_(pc.greater(time, after_ms), pc.less_equal(time, until_ms)))
        yield rows


def _own(rows: pa.Table, numbers: _Numbers, kinds: dict[str, str]) -> pa.Table:
    """Rows that are the part's own, in the numbers of the run."""
    if not kinds:
        return rows
    first, kind = next(iter(kinds.items()))
    owner = numbers.of[kind][rows[first].to_numpy()]
    if (owner < 0).any():
        rows = rows.filter(pa.array(owner >= 0))
    for name, kind in kinds.items():
        place = rows.schema.get_field_index(name)
        fresh = [_new(chunk, numbers, kind) for chunk in rows[name].chunks]
        field = rows.schema.field(name)
        rows = rows.set_column(place, field, pa.chunked_array(fresh, field.type))
    return rows


def _new(column: pa.Array, numbers: _Numbers, kind: str) -> pa.Array:
    if pa.types.is_list(column.type):
        values = _new(column.flatten(), numbers, kind)
        offsets = np.asarray(column.offsets) - np.asarray(column.offsets)[0]
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, type=column.type)
    old: NDArray[np.int32] = column.to_numpy(zero_copy_only=False)
    # What is below 0 is no number (local control, no stage) and stays.
    return pa.array(np.where(old >= 0, numbers.of[kind][old], old), column.type)
