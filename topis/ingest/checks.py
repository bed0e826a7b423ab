"""Row by row: is it possible at all? Good rows become canonical, others go to quarantine."""

from __future__ import annotations

import calendar
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from topis.ingest.dimensions import Dimensions
from topis.ingest.pseudonyms import Pseudonyms
from topis.ingest.rows import UNREADABLE_MS, Reject, Rows
from topis.model.schemas import FEEDS, TIME, Column

#: The number of the source row, carried with each row until it is in the archive.
ROW = "_row"
#: Times outside this are clocks that were never set (Unix epoch, GPS epoch) or unit mistakes.
_EARLIEST_MS = calendar.timegm((2000, 1, 1, 0, 0, 0)) * 1000
_LATEST_MS = calendar.timegm((2100, 1, 1, 0, 0, 0)) * 1000


class _Verdicts:
    """The first thing found wrong with each row."""

    def __init__(self, count: int) -> None:
        self.bad = np.zeros(count, dtype=bool)
        self.found: dict[int, tuple[str, str]] = {}

    def refuse(self, rows: NDArray[np.bool_], reason: str, detail: Callable[[int], object]) -> None:
        """Mark rows that are not marked yet."""
        for i in np.flatnonzero(rows & ~self.bad).tolist():
            self.found[i] = (reason, str(detail(i))[:200])
        self.bad |= rows


def check_rows(
    rows: Rows, dimensions: Dimensions, pseudonyms: Pseudonyms
) -> tuple[pa.Table, list[Reject]]:
    """The rows that are possible, in canonical form with `ROW` last, and the others.

    Refused are: missing values that must be there, values that are not numbers or not finite,
    values out of their column's range or type, times before 2000 or after 2099. Names become
    keys of the dimension tables, vehicles pseudonyms, only for rows that are kept.
    """
    feed = FEEDS[rows.feed]
    count = len(rows.row)
    verdicts = _Verdicts(count)
    values: dict[str, NDArray[np.generic]] = {}
    missing: dict[str, NDArray[np.bool_]] = {}
    strings: dict[str, pa.Array] = {}
    for column in feed.columns:
        given = rows.columns.get(column.name)
        if given is None:
            values[column.name] = np.zeros(count, dtype=np.int64)
            missing[column.name] = np.full(count, column.name != "quality")
        elif column.type == TIME:
            values[column.name], missing[column.name] = _times(column, given, verdicts)
        elif pa.types.is_string(given.type) and (column.names or column.name == "vehicle"):
            strings[column.name] = given
            empty = pc.equal(pc.utf8_trim_whitespace(given), "")
            missing[column.name] = pc.fill_null(empty, True).to_numpy(zero_copy_only=False)
        elif pa.types.is_string(column.type):
            strings[column.name] = pc.fill_null(given.cast(pa.string()), "")
            missing[column.name] = np.zeros(count, dtype=bool)
        else:
            values[column.name], missing[column.name] = _numbers(column, given, verdicts)
        if not column.nullable:
            name = column.name
            verdicts.refuse(missing[name], f"{name} is missing", lambda _: "")
    keep = np.flatnonzero(~verdicts.bad)
    arrays = [
        _canonical(
            column,
            values.get(column.name),
            missing[column.name],
            strings.get(column.name),
            keep,
            dimensions,
            lambda names: pseudonyms.of(names, values["time"][keep]),
        )
        for column in feed.columns
    ]
    table = pa.Table.from_arrays(
        [*arrays, pa.array(rows.row[keep])], schema=feed.schema.append(pa.field(ROW, pa.int64()))
    )
    rejects = [
        Reject(int(rows.row[i]), reason, detail, rows.raw(i))
        for i, (reason, detail) in sorted(verdicts.found.items())
    ]
    return table, rejects


def _times(
    column: Column, given: pa.Array, verdicts: _Verdicts
) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
    if pa.types.is_string(given.type):
        given = _parsed(given, verdicts, f"{column.name} cannot be read")
    missing = given.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_timestamp(given.type):
        # Finer than a millisecond is cut, as every clock does.
        time_ms = given.cast(pa.timestamp("ms", tz=given.type.tz), safe=False).cast(pa.int64())
    else:
        endless = pc.fill_null(pc.is_finite(given), True).to_numpy(zero_copy_only=False)
        verdicts.refuse(~endless, f"{column.name} cannot be read", lambda i: given[i])
        time_ms = pc.fill_null(given, 0).cast(pa.int64(), safe=False)
    values = pc.fill_null(time_ms, 0).to_numpy(zero_copy_only=False)
    unreadable = ~missing & (values == UNREADABLE_MS)
    verdicts.refuse(unreadable, f"{column.name} cannot be read", lambda _: "")
    wrong = ~missing & ((values < _EARLIEST_MS) | (values >= _LATEST_MS))
    verdicts.refuse(wrong, f"{column.name} is out of range", lambda i: given[i])
    return values, missing


def _numbers(
    column: Column, given: pa.Array, verdicts: _Verdicts
) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
    name = column.name
    if pa.types.is_string(given.type) and column.type == pa.uint64():
        given = _whole(given, verdicts, f"{name} is not a whole number")
    elif pa.types.is_string(given.type):
        given = _parsed(given, verdicts, f"{name} is not a number")
    missing = given.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_boolean(given.type):
        given = given.cast(pa.int8())
    values = pc.fill_null(given, 0).to_numpy(zero_copy_only=False)
    if values.dtype.kind == "f":
        endless = ~np.isfinite(values)
        verdicts.refuse(endless, f"{name} is not finite", lambda i: given[i])
        values = np.rint(np.where(endless, 0.0, values))
    low, high = _limits(column)
    wrong = ~missing & ((values < low) | (values > high))
    verdicts.refuse(
        wrong, f"{name} is out of range", lambda i: f"{given[i]}, legal {low} to {high}"
    )
    return values, missing | verdicts.bad


def _parsed(given: pa.Array, verdicts: _Verdicts, reason: str) -> pa.Array:
    """Texts as numbers; what is none is refused for that reason."""
    text = pc.utf8_trim_whitespace(given)
    text = pc.if_else(pc.equal(text, ""), None, text)
    number = pc.match_substring_regex(
        text, r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^[+-]?(?i:nan|inf(inity)?)$"
    )
    readable = pc.fill_null(number, True)
    wrong = ~readable.to_numpy(zero_copy_only=False)
    verdicts.refuse(wrong, reason, lambda i: given[i])
    return pc.if_else(readable, text, None).cast(pa.float64())


def _whole(given: pa.Array, verdicts: _Verdicts, reason: str) -> pa.Array:
    """Texts as whole numbers of up to 19 digits, none of them rounded."""
    text = pc.utf8_trim_whitespace(given)
    text = pc.if_else(pc.equal(text, ""), None, text)
    readable = pc.fill_null(pc.match_substring_regex(text, r"^\d{1,19}$"), True)
    verdicts.refuse(~readable.to_numpy(zero_copy_only=False), reason, lambda i: given[i])
    return pc.if_else(readable, text, None).cast(pa.uint64())


def _limits(column: Column) -> tuple[int, int]:
    info = np.iinfo(column.type.to_pandas_dtype())
    low = int(info.min) if column.low is None else int(column.low)
    high = int(info.max) if column.high is None else int(column.high)
    return low, high


def _canonical(
    column: Column,
    values: NDArray[np.generic] | None,
    missing: NDArray[np.bool_],
    text: pa.Array | None,
    keep: NDArray[np.intp],
    dimensions: Dimensions,
    pseudonyms: Callable[[pa.Array], NDArray[np.uint64]],
) -> pa.Array:
    mask = missing[keep] if column.nullable else None
    values_kept: NDArray[np.generic]
    if text is not None:
        kept = text.take(pa.array(keep))
        if column.names:
            values_kept = dimensions.keys(column.names, kept)
        elif column.name == "vehicle":
            values_kept = pseudonyms(kept)
        else:
            return kept
    else:
        assert values is not None
        values_kept = values[keep]
    if column.type == TIME:
        return pa.array(values_kept, pa.int64(), mask=mask).cast(TIME)
    return pa.array(values_kept.astype(column.type.to_pandas_dtype()), column.type, mask=mask)
