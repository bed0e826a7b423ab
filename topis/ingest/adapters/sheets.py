"""Tables as people keep them: the sheets of an Excel workbook, or a CSV file as the only one."""

from __future__ import annotations

import csv
import io
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from topis.errors import InputError
from topis.ingest.adapters.lines import whole_text

#: What a damaged file makes its readers raise.
_BROKEN = (
    OSError, EOFError, LookupError, ValueError, SyntaxError, TypeError, AttributeError,
    RuntimeError, NotImplementedError,
    zipfile.BadZipFile, zlib.error, csv.Error,
)  # fmt: skip

#: A sheet's rows with their numbers, from 1 on.
SheetRows = Iterator[tuple[int, list[str]]]


def is_workbook(path: Path) -> bool:
    """Whether the name says so."""
    return path.suffix.lower() == ".xlsx"


def sheets(path: Path) -> Iterator[tuple[str, SheetRows]]:
    """Title and rows of each sheet, streamed; all cells as texts.

    Raises
    ------
    InputError
        The file is damaged.
    """
    return _workbook(path) if is_workbook(path) else _csv(path)


def _workbook(path: Path) -> Iterator[tuple[str, SheetRows]]:
    # Half of what all adapters take to load, for those who have a workbook only.
    import openpyxl

    # Opened here, for a workbook that cannot be read leaves its file open.
    with path.open("rb") as file:
        try:
            with warnings.catch_warnings():
                # Styles and extensions it does not know; values it reads.
                warnings.simplefilter("ignore")
                book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        except _BROKEN as error:
            raise _broken(path, error) from None
        for sheet in book.worksheets:
            # The size a sheet claims is often wrong; without it all rows are read.
            sheet.reset_dimensions()
            yield sheet.title, _numbered(path, sheet.iter_rows(values_only=True))


def _csv(path: Path) -> Iterator[tuple[str, SheetRows]]:
    text = io.StringIO(whole_text(path), newline="")
    yield "", _numbered(path, csv.reader(text))


def _numbered(path: Path, rows: Iterable[Iterable[object]]) -> SheetRows:
    try:
        for number, row in enumerate(rows, 1):
            yield number, [_text(value) for value in row]
    except _BROKEN as error:
        raise _broken(path, error) from None


def _broken(path: Path, error: Exception) -> InputError:
    return InputError.at(path, f"cannot be read ({error})", "is it whole? fetch it again")


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
