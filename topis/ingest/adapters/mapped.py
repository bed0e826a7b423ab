"""CSV and JSON lines of any shape, by a mapping file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from topis.errors import InputError
from topis.ingest.adapters.mapping import Mapping
from topis.ingest.rows import Parsed, Reject, Rows

BATCH_ROWS = 200_000
_BLOCK_BYTES = 8 << 20


class MappedCsv:
    """Comma-separated text, UTF-8 or CP949."""

    name = "csv"
    text = "CSV by a mapping file (--mapping)"

    def __init__(self, mapping: Mapping | None) -> None:
        self._mapping = mapping

    def claims(self, path: Path) -> bool:
        """See `topis.ingest.rows.Adapter`."""
        return self._mapping is not None and path.suffix.lower() == ".csv"

    def read(self, path: Path) -> Iterator[Parsed]:
        """See `topis.ingest.rows.Adapter`."""
        if self._mapping is None:
            raise InputError.at(path, "no mapping", "name one with --mapping (docs/data.md)")
        text = _decoded(path, self._mapping.encoding)
        header, _, body = text.partition("\n")
        names = next(iter(_split_line(header)), [])
        if len(set(names)) < len(names):
            raise InputError.at(path, "two columns have the same name", "rename one")
        if not names:
            raise InputError.at(path, "is empty", "hand over a file with a header line")
        lines = body.split("\n")
        if lines and not lines[-1]:
            lines.pop()
        for start in range(0, len(lines), BATCH_ROWS):
            chunk = lines[start : start + BATCH_ROWS]
            yield self._parsed(path, names, chunk, start + 2)

    def _parsed(self, path: Path, names: list[str], lines: list[str], first: int) -> Parsed:
        """Lines of text; ``first``: the number of the first in the file."""
        assert self._mapping is not None
        rejects: list[Reject] = []

        def refuse(bad: pacsv.InvalidRow) -> str:
            rejects.append(
                Reject(
                    first + bad.number - 1,
                    "wrong number of columns",
                    f"{bad.actual_columns} instead of {bad.expected_columns}",
                    bad.text,
                )
            )
            return "skip"

        table = pacsv.read_csv(
            io.BytesIO("\n".join(lines).encode()),
            read_options=pacsv.ReadOptions(
                column_names=names, use_threads=False, block_size=1 << 30
            ),
            parse_options=pacsv.ParseOptions(invalid_row_handler=refuse, ignore_empty_lines=False),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
        bad = {reject.row for reject in rejects}
        row = np.array(
            [n for n in range(first, first + len(lines)) if n not in bad], dtype=np.int64
        )
        if len(row) != len(table):
            raise InputError.at(path, "has fields with line breaks", "write one row a line")
        columns = self._mapping.apply(table, path)
        rows = Rows(self._mapping.feed.name, columns, row, lambda i: lines[int(row[i]) - first])
        return Parsed(rows, rejects)


class MappedJsonLines:
    """One JSON object a line."""

    name = "jsonl"
    text = "JSON lines by a mapping file (--mapping)"

    def __init__(self, mapping: Mapping | None) -> None:
        self._mapping = mapping

    def claims(self, path: Path) -> bool:
        """See `topis.ingest.rows.Adapter`."""
        return self._mapping is not None and path.suffix.lower() in (".jsonl", ".ndjson")

    def read(self, path: Path) -> Iterator[Parsed]:
        """See `topis.ingest.rows.Adapter`."""
        if self._mapping is None:
            raise InputError.at(path, "no mapping", "name one with --mapping (docs/data.md)")
        wanted = [f.column for f in self._mapping.fields.values() if f.column is not None]
        with path.open("rb") as file:
            first = 1
            while lines := file.readlines(_BLOCK_BYTES):
                yield self._parsed(path, lines, first, wanted)
                first += len(lines)

    def _parsed(self, path: Path, lines: list[bytes], first: int, wanted: list[str]) -> Parsed:
        assert self._mapping is not None
        rejects: list[Reject] = []
        numbers: list[int] = []
        values: dict[str, list[str | None]] = {name: [] for name in wanted}
        for number, line in enumerate(lines, first):
            try:
                item = json.loads(line)
                if not isinstance(item, dict):
                    raise ValueError("not an object")
            except (ValueError, RecursionError) as error:
                raw = line.decode(errors="replace").rstrip("\n")
                rejects.append(Reject(number, "not a JSON object", str(error), raw))
                continue
            numbers.append(number)
            for name in wanted:
                value = item.get(name)
                values[name].append(None if value is None else _as_text(value))
        row = np.array(numbers, dtype=np.int64)
        table = pa.table({name: pa.array(column, pa.string()) for name, column in values.items()})
        rows = Rows(
            self._mapping.feed.name,
            self._mapping.apply(table, path),
            row,
            lambda i: lines[int(row[i]) - first].decode(errors="replace").rstrip("\n"),
        )
        return Parsed(rows, rejects)


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _split_line(line: str) -> list[list[str]]:

    return list(csv.reader([line.rstrip("\r")]))


def _decoded(path: Path, encoding: str) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError.at(path, f"cannot be read ({error.strerror})", "check it") from None
    for name in ("utf-8-sig", "cp949") if encoding == "auto" else (encoding,):
        try:
            return data.decode(name).replace("\r\n", "\n")
        except (UnicodeDecodeError, LookupError):
            continue
    raise InputError.at(path, f"is not text in {encoding}", "name its encoding in the mapping")
