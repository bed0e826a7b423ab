"""Parquet or Arrow files that hold a canonical feed already."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from topis.errors import InputError
from topis.ingest.rows import Parsed, Rows
from topis.model.schemas import FEEDS

BATCH_ROWS = 1_000_000


class Canonical:
    """What names its feed in the metadata ``topis`` (``gps/1``)."""

    name = "canonical"
    text = "Parquet (.parquet) or Arrow IPC (.arrow) with a canonical schema"

    def claims(self, path: Path) -> bool:
        """See `topis.ingest.rows.Adapter`."""
        return path.suffix.lower() in (".parquet", ".arrow")

    def read(self, path: Path) -> Iterator[Parsed]:
        """See `topis.ingest.rows.Adapter`."""
        try:
            if path.suffix.lower() == ".parquet":
                file = pq.ParquetFile(path)
                schema, batches = file.schema_arrow, file.iter_batches(BATCH_ROWS)
            else:
                reader = pa.ipc.open_file(pa.memory_map(str(path)))
                schema = reader.schema
                batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError.at(path, f"cannot be read ({error})", "is it whole?") from None
        label = (schema.metadata or {}).get(b"topis", b"").decode()
        feed = FEEDS.get(label.partition("/")[0])
        if feed is None or label != f"{feed.name}/{feed.version}":
            raise InputError.at(
                path,
                f"its schema is labelled {label!r}",
                f"known are {', '.join(f'{f.name}/{f.version}' for f in FEEDS.values())}",
            )
        known = [name for name in schema.names if name in feed.schema.names]
        extra = sorted(set(schema.names) - set(known))
        if extra:
            raise InputError.at(path, f"unknown column {extra[0]!r}", "leave it out")
        first = 1
        for batch in batches:
            row = np.arange(first, first + len(batch), dtype=np.int64)
            first += len(batch)
            yield Parsed(Rows(feed.name, {n: batch[n] for n in known}, row, _row_text(batch)))


def _row_text(batch: pa.RecordBatch) -> Callable[[int], str]:
    def text(i: int) -> str:
        return json.dumps(batch.slice(i, 1).to_pylist()[0], default=str)

    return text
