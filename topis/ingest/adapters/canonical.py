"""Parquet or Arrow files that hold a canonical feed already."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from topis.errors import InputError
from topis.ingest.rows import Parsed, Rows
from topis.model.schemas import FEEDS, TIME, Feed

BATCH_ROWS = 250_000


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
            yield from _rows(path)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise InputError.at(path, f"cannot be read ({error})", "is it whole?") from None


def is_foreign(path: Path) -> bool:
    """Whether the file is a whole one of its kind and does not name a feed of ours."""
    if not Canonical().claims(path):
        return False
    try:
        return _feed(_opened(path)[0]) is None
    except (OSError, ValueError, pa.ArrowException):
        return False


def _opened(path: Path) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    if path.suffix.lower() == ".parquet":
        file = pq.ParquetFile(path)
        return file.schema_arrow, file.iter_batches(BATCH_ROWS)
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    return reader.schema, (reader.get_batch(i) for i in range(reader.num_record_batches))


def _label(schema: pa.Schema) -> str:
    label: bytes = (schema.metadata or {}).get(b"topis", b"")
    return label.decode(errors="replace")


def _feed(schema: pa.Schema) -> Feed | None:
    feed = FEEDS.get(_label(schema).partition("/")[0])
    return feed if feed and _label(schema) == f"{feed.name}/{feed.version}" else None


def _rows(path: Path) -> Iterator[Parsed]:
    schema, batches = _opened(path)
    feed = _feed(schema)
    if feed is None:
        raise InputError.at(
            path,
            f"its schema is labelled {_label(schema)!r}",
            f"known are {', '.join(f'{f.name}/{f.version}' for f in FEEDS.values())}",
        )
    extra = sorted(set(schema.names) - set(feed.schema.names))
    if extra:
        raise InputError.at(path, f"unknown column {extra[0]!r}", "leave it out")
    if len(set(schema.names)) < len(schema.names):
        raise InputError.at(path, "two columns have the same name", "leave one out")
    kinds = {name: _plain(path, feed, schema.field(name)) for name in schema.names}
    first = 1
    for batch in batches:
        # A damaged file may hold bytes that are no letters, or refer to what is not there.
        batch.validate(full=True)
        row = np.arange(first, first + len(batch), dtype=np.int64)
        first += len(batch)
        columns = {name: _cast(batch[name], kind) for name, kind in kinds.items()}
        yield Parsed(Rows(feed.name, columns, row, _row_text(batch)))


def _plain(path: Path, feed: Feed, field: pa.Field) -> pa.DataType:
    """The type a column is checked as; other programs write the same in other ways.

    Raises
    ------
    InputError
        It holds something else altogether.
    """
    kind = field.type
    while pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        kind = kind.value_type
    wanted = feed.column(field.name).type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if pa.types.is_string_view(kind) or is_text:
        return pa.string()
    if pa.types.is_null(kind):
        return wanted
    if pa.types.is_timestamp(kind) and wanted == TIME:
        return kind
    if pa.types.is_decimal(kind) or pa.types.is_float16(kind):
        kind = pa.float64()
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if pa.types.is_boolean(kind) and wanted != TIME:
        number = True
    if number and not pa.types.is_string(wanted):
        return kind
    raise InputError.at(path, f"column {field.name!r} is of type {field.type}", f"give {wanted}")


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    elif pa.types.is_run_end_encoded(column.type):
        column = pc.run_end_decode(column)
    return column if column.type == kind else column.cast(kind)


def _row_text(batch: pa.RecordBatch) -> Callable[[int], str]:
    def text(i: int) -> str:
        return json.dumps(batch.slice(i, 1).to_pylist()[0], default=str)

    return text
