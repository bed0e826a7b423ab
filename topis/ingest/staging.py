"""Sources on their way in: each checked and cut by partition in a folder of its own.

The folder appears whole or not at all; `topis.ingest.merging` reads it.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from topis.ingest.archive import Partition, slots_of, sync
from topis.ingest.rows import Reject, whole_letters
from topis.model.quality import JUMP, SKEWED
from topis.model.schemas import FEEDS, QUARANTINE_SCHEMA, Feed
from topis.units import MS_PER_HOUR

#: Stands for the text of a row that may name a vehicle; the source file has it.
WITHHELD = "withheld, it may name a vehicle"
#: Refused rows held in memory.
_MOST_REJECTS = 20_000


class StagedSource:
    """Writes one source's rows into a folder of its own; `commit` makes it appear."""

    def __init__(self, archive: Path, source: str, file: str) -> None:
        """``file``: the source's name for people."""
        self.source = source
        self._file = file
        self._final = archive / "_staging" / source
        self._draft = archive / "_staging" / f".{source}.draft"
        shutil.rmtree(self._draft, ignore_errors=True)
        self._draft.mkdir(parents=True)
        self._writers: dict[Partition, pa.ipc.RecordBatchFileWriter] = {}
        self._slots: dict[Partition, list[int]] = defaultdict(list)
        self._rejects: list[tuple[str, Reject]] = []
        self._quarantine = pq.ParquetWriter(
            self._draft / "quarantine.parquet", QUARANTINE_SCHEMA, compression="zstd"
        )
        self.reasons: Counter[str] = Counter()
        self.rows = 0

    def scratch(self, name: str) -> Path:
        """A file that goes with the draft; to be removed before `commit`."""
        return self._draft / name

    def add(self, feed: Feed, table: pa.Table, district: NDArray[np.int64]) -> None:
        """Rows of a feed, canonical with `ROW`; ``district`` int64[rows]."""
        time_ms = table["time"].cast(pa.int64()).to_numpy()
        self.rows += len(table)
        slot = slots_of(feed, time_ms)
        where = np.stack([time_ms // MS_PER_HOUR, district, slot])
        cells, cell = np.unique(where, axis=1, return_inverse=True)
        for k, (hour, place, number) in enumerate(cells.T.tolist()):
            partition = Partition.at(feed.name, hour * MS_PER_HOUR, place)
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
        self.reasons.update(reject.reason for reject in rejects)
        known = FEEDS.get(feed)
        if known is None or any(column.name == "vehicle" for column in known.columns):
            rejects = [dataclasses.replace(reject, raw=WITHHELD, detail="") for reject in rejects]
        self._rejects += [(feed, reject) for reject in rejects]
        while len(self._rejects) >= _MOST_REJECTS:
            self._write_rejects(_MOST_REJECTS)

    def commit(self, facts: dict[str, object]) -> None:
        """Make the staged source appear, in the place of an earlier try."""
        for writer in self._writers.values():
            writer.close()
        slots = {p.name: numbers for p, numbers in self._slots.items()}
        (self._draft / "slots.json").write_text(json.dumps(slots, sort_keys=True))
        self._write_rejects(len(self._rejects))
        self._quarantine.close()
        facts = {
            "file": self._file,
            "rows": self.rows,
            "quarantined": self.reasons.total(),
            "reasons": dict(self.reasons),
            "partitions": sorted(slots),
            **facts,
        }
        (self._draft / "source.json").write_text(json.dumps(facts, sort_keys=True))
        for path in self._draft.iterdir():
            sync(path)
        sync(self._draft)
        if self._final.exists():
            forget(self._final)
        self._draft.replace(self._final)

    def abandon(self) -> None:
        """Remove what was staged."""
        for writer in self._writers.values():
            writer.close()
        self._quarantine.close()
        shutil.rmtree(self._draft, ignore_errors=True)

    def _write_rejects(self, count: int) -> None:
        if not count:
            return
        rows = [
            {
                "feed": feed, "file": self._file, "row": r.row, "reason": r.reason,
                "detail": whole_letters(r.detail), "raw": whole_letters(r.raw),
            }
            for feed, r in self._rejects[:count]
        ]  # fmt: skip
        self._quarantine.write_table(pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA))
        del self._rejects[:count]


class StagedPart:
    """One staged source's rows of one partition, read slot by slot from a memory map."""

    def __init__(self, folder: Path, partition: Partition) -> None:
        facts = json.loads((folder / "source.json").read_text())
        slots = json.loads((folder / "slots.json").read_text())[partition.name]
        self.file = str(facts["file"])
        #: Hash of the network that the rows were matched to; "" none.
        self.network = str(facts["network"])
        feed = FEEDS[partition.feed]
        off = facts["skews"].get(feed.name, {})
        self._off = np.array(sorted(map(int, off)), dtype=np.uint64)
        self._sender = feed.entity[0]
        self._reader = pa.ipc.open_file(pa.memory_map(str(folder / f"{partition.name}.arrow")))
        self._batches: dict[int, list[int]] = defaultdict(list)
        for number, slot in enumerate(slots):
            self._batches[slot].append(number)
        self.slots = set(slots)
        self.rows = sum(batch.num_rows for batch in self.batches())

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, as they were staged."""
        return map(self._reader.get_batch, range(self._reader.num_record_batches))

    def read(self, slot: int) -> list[pa.RecordBatch]:
        """Rows of a slot, with what only the whole source tells of them."""
        return [self._judged(self._reader.get_batch(number)) for number in self._batches[slot]]

    def _judged(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        # Jumps are told of the archive's rows, not of what a file says.
        quality = batch["quality"].to_numpy() & np.uint8(255 - JUMP)
        if len(self._off):
            off = np.isin(batch[self._sender].to_numpy().astype(np.uint64), self._off)
            quality |= np.where(off, SKEWED, 0).astype(np.uint8)
        column = batch.schema.get_field_index("quality")
        return batch.set_column(column, batch.schema.field("quality"), pa.array(quality))


def forget(staged: Path) -> None:
    """A staged source that is not needed any more: gone at once, then removed."""
    gone = staged.with_name(f".{staged.name}.done")
    shutil.rmtree(gone, ignore_errors=True)
    staged.replace(gone)
    shutil.rmtree(gone)
