"""What adapters share that find records of texts: their rows in batches, angles, the day meant."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from topis.clock import written_time_ms
from topis.errors import InputError
from topis.ingest.adapters.mapping import Mapping
from topis.ingest.rows import Parsed, Reject, Rows, whole_letters

BATCH_ROWS = 50_000
#: What Arrow reads as a number, and is one.
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_DAY = re.compile(r"_(\d{8})$")


class Record(NamedTuple):
    """A record by column; ``raw`` is what its text is made of, should it be refused."""

    row: int
    values: dict[str, str]
    raw: Any


def as_json(raw: Any) -> str:
    """The usual text of a record."""
    return whole_letters(json.dumps(raw, ensure_ascii=False, default=str))


def batches(
    mapping: Mapping,
    path: Path,
    found: Iterable[Record | Reject],
    text: Callable[[Any], str] = as_json,
) -> Iterator[Parsed]:
    """Records as rows of the mapping's feed; a column a record lacks is missing in it."""
    wanted = sorted({f.column for f in mapping.fields.values() if f.column is not None})
    stream = iter(found)
    while batch := list(itertools.islice(stream, BATCH_ROWS)):
        records = [item for item in batch if isinstance(item, Record)]
        table = pa.table({name: _column([r.values.get(name) for r in records]) for name in wanted})
        # Of no records nothing is told, not even a type.
        columns = mapping.apply(table, path) if records else {}
        row = np.array([record.row for record in records], dtype=np.int64)
        yield Parsed(
            Rows(mapping.feed.name, columns, row, _texts(records, text)),
            [item for item in batch if isinstance(item, Reject)],
        )


def _column(values: list[str | None]) -> pa.Array:
    try:
        return pa.array(values, pa.string())
    except (UnicodeError, pa.ArrowInvalid):
        return pa.array([None if v is None else whole_letters(v) for v in values], pa.string())


def _texts(records: list[Record], text: Callable[[Any], str]) -> Callable[[int], str]:
    return lambda i: text(records[i].raw)


def heading(degrees: str) -> str:
    """360 degrees, and what rounds to it, are 0."""
    try:
        return "0" if 359.995 <= float(degrees) <= 360 else degrees
    except ValueError:
        return degrees


def named_day_ms(path: Path) -> int:
    """Midnight in Seoul of the day in which the file's name ends, as ms UTC.

    Raises
    ------
    InputError
        It ends in none.
    """
    found = _DAY.search(path.stem)
    moment = written_time_ms(found.group(1), "%Y%m%d", "Asia/Seoul") if found else None
    if moment is None:
        raise InputError.at(
            path,
            "no day: its times are without one",
            f"end the file's name in the day it stands for, e.g. {path.stem}_20261117{path.suffix}",
        )
    return moment
