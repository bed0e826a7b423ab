"""CSV and JSON lines of any shape, by a mapping file."""

from __future__ import annotations

import codecs
import contextlib
import io
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from topis.errors import InputError
from topis.ingest.adapters.lines import (
    CsvBlock,
    CsvLines,
    encoding_of,
    fields_of,
    text_lines,
)
from topis.ingest.adapters.mapping import Mapping
from topis.ingest.rows import Parsed, Reject, Rows

BATCH_ROWS = 100_000


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
        lines = text_lines(path, self._mapping.encoding)
        names = fields_of(next(lines, ""))
        if len(set(names)) < len(names):
            raise InputError.at(path, "two columns have the same name", "rename one")
        if not names:
            raise InputError.at(path, "is empty", "hand over a file with a header line")
        for block in CsvLines(lines, len(names)).blocks(BATCH_ROWS):
            yield self._parsed(path, names, block)

    def _parsed(self, path: Path, names: list[str], block: CsvBlock) -> Parsed:
        assert self._mapping is not None
        table, kept, widths = _table(names, block.text)
        rejects = [
            Reject(
                block.line[i],
                "wrong number of columns",
                f"{width} instead of {len(names)}",
                block.text[i],
            )
            for i, width in widths.items()
        ]
        rows = Rows(
            self._mapping.feed.name,
            self._mapping.apply(table, path),
            np.asarray(block.line, dtype=np.int64)[kept],
            lambda i: block.text[int(kept[i])],
        )
        return Parsed(rows, sorted(rejects + block.rejects, key=lambda reject: reject.row))


#: Texts by column, the records they are of, and of the other records how many columns they have.
_Read = tuple[pa.Table, NDArray[np.int64], dict[int, int]]


def _table(names: list[str], texts: list[str]) -> _Read:
    """Records as texts by column, in their order; those with other widths are left out."""
    broken = [i for i, text in enumerate(texts) if "\n" in text]
    if broken:
        apart = set(broken)
        plain = np.array([i for i in range(len(texts)) if i not in apart], dtype=np.int64)
    else:
        plain = np.arange(len(texts))
    read = _by_arrow(names, [texts[i] for i in plain.tolist()] if broken else texts)
    if read is None:
        return _one_by_one(names, texts, range(len(texts)))
    table, odd = read
    widths = {int(plain[i]): width for i, width in odd.items()}
    kept = np.delete(plain, list(odd))
    if broken:
        more, more_kept, more_widths = _one_by_one(names, texts, broken)
        table, kept = pa.concat_tables([table, more]), np.concatenate((kept, more_kept))
        widths |= more_widths
        order = np.argsort(kept)
        table, kept = table.take(pa.array(order)), kept[order]
    return table, kept, widths


def _by_arrow(names: list[str], texts: list[str]) -> tuple[pa.Table, dict[int, int]] | None:
    """Records of a line each, and the widths of those that do not fit.

    None where Arrow takes quotes within fields otherwise than is usual.
    """
    widths: dict[int, int] = {}

    def refuse(row: pacsv.InvalidRow) -> str:
        widths[row.number - 1] = row.actual_columns
        return "skip"

    if not texts:
        return None
    try:
        table = pacsv.read_csv(
            io.BytesIO("\n".join([*texts, ""]).encode()),
            read_options=pacsv.ReadOptions(
                column_names=names, use_threads=False, block_size=1 << 30
            ),
            parse_options=pacsv.ParseOptions(invalid_row_handler=refuse, ignore_empty_lines=False),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        return None
    return (table, widths) if len(table) + len(widths) == len(texts) else None


def _one_by_one(names: list[str], texts: list[str], which: Iterable[int]) -> _Read:
    """The same for any record."""
    rows: list[list[str]] = []
    kept: list[int] = []
    widths: dict[int, int] = {}
    for i in which:
        # As Arrow has it, nothing at all is nothing in every column.
        fields = fields_of(texts[i]) if texts[i] else [""] * len(names)
        if len(fields) == len(names):
            rows.append(fields)
            kept.append(i)
        else:
            widths[i] = len(fields)
    cells = {name: pa.array([row[k] for row in rows], pa.string()) for k, name in enumerate(names)}
    return pa.table(cells), np.array(kept, dtype=np.int64), widths


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
        lines = enumerate(_json_lines(path, self._mapping.encoding), 1)
        while block := list(itertools.islice(lines, BATCH_ROWS)):
            yield self._parsed(path, block, wanted)

    def _parsed(self, path: Path, lines: list[tuple[int, bytes]], wanted: list[str]) -> Parsed:
        assert self._mapping is not None
        rejects: list[Reject] = []
        kept: list[tuple[int, bytes]] = []
        values: dict[str, list[str | None]] = {name: [] for name in wanted}
        for number, line in lines:
            try:
                item = json.loads(line)
                if not isinstance(item, dict):
                    raise ValueError("not an object")
                told = [item.get(name) for name in wanted]
                texts = [None if value is None else _as_text(value) for value in told]
            except (ValueError, RecursionError) as error:
                raw = line.decode(errors="replace").rstrip("\n")
                rejects.append(Reject(number, "not a JSON object", str(error), raw))
                continue
            kept.append((number, line))
            for name, text in zip(wanted, texts, strict=True):
                values[name].append(text)
        table = pa.table({name: pa.array(column, pa.string()) for name, column in values.items()})
        rows = Rows(
            self._mapping.feed.name,
            self._mapping.apply(table, path),
            np.array([number for number, _ in kept], dtype=np.int64),
            lambda i: kept[i][1].decode(errors="replace").rstrip("\n"),
        )
        return Parsed(rows, rejects)


def _json_lines(path: Path, encoding: str) -> Iterator[bytes]:
    """Lines in UTF-8; those of ``auto`` as they are, so that one bad byte costs one line."""
    if encoding == "auto":
        with contextlib.suppress(InputError):
            encoding = encoding_of(path, "auto")
    if encoding in ("auto", "utf-8-sig"):
        with path.open("rb") as file:
            mark = file.read(len(codecs.BOM_UTF8))
            file.seek(len(mark) if mark == codecs.BOM_UTF8 else 0)
            yield from file
    else:
        for line in text_lines(path, encoding):
            yield line.encode()


def _as_text(value: object) -> str:
    """Raises ValueError for half a letter, which JSON can tell and no text can hold."""
    text = value if isinstance(value, str) else json.dumps(value)
    text.encode()
    return text
