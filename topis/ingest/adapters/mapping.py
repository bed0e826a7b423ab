"""A mapping file: which column of a foreign table holds what, in which unit.

::

    feed = "count"
    missing = ["-", "999"]            # texts that mean nothing was measured
    encoding = "auto"                 # utf-8 (with or without mark), cp949, ... auto tries both

    [columns]
    site = "지점번호"                  # the column as it is
    time = { column = "일시", format = "%Y%m%d%H", timezone = "Asia/Seoul" }
    speed_cmps = { column = "속도", unit = "km/h" }
    period_s = { value = 3600 }       # the same in every row
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from topis.clock import has_timezone, written_time_ms
from topis.errors import InputError
from topis.ingest.rows import UNREADABLE_MS
from topis.model.schemas import FEEDS, TIME, Feed

#: Factors to canonical units, by what is measured (the ending of the canonical name).
_UNITS = {
    "cmps": {"cm/s": 1.0, "m/s": 100.0, "km/h": 100 / 3.6, "mph": 44.704},
    "ms": {"ms": 1.0, "s": 1000.0, "0.1 s": 100.0, "0.01 s": 10.0, "min": 60_000.0},
    "s": {"s": 1.0, "ms": 1e-3, "min": 60.0, "h": 3600.0},
    "ds": {"0.1 s": 1.0, "s": 10.0, "ms": 0.01},
    "dm": {"dm": 1.0, "m": 10.0, "cm": 0.1},
    "cm": {"cm": 1.0, "m": 100.0, "dm": 10.0},
    "permille": {"0.1 %": 1.0, "%": 10.0, "share": 1000.0},
    "pct": {"%": 1.0, "share": 100.0},
    "cdeg": {"0.01 deg": 1.0, "deg": 100.0},
    "e7": {"1e-7 deg": 1.0, "deg": 1e7},
}
_EPOCHS = {"unix s": 1000.0, "unix ms": 1.0}


@dataclass(frozen=True)
class Field:
    """Where one canonical column comes from."""

    column: str | None = None
    value: object = None
    factor: float = 1.0
    format: str | None = None
    timezone: str | None = None


@dataclass(frozen=True)
class Mapping:
    """A mapping file, checked."""

    feed: Feed
    fields: dict[str, Field]
    missing: tuple[str, ...]
    encoding: str

    @classmethod
    def read(cls, path: Path) -> Mapping:
        """From TOML.

        Raises
        ------
        InputError
            Unreadable, unknown feed, column, unit or key; a column that must be there is not.
        """
        try:
            text = path.read_bytes().decode()
        except FileNotFoundError:
            raise InputError.at(path, "no such file", "check the path") from None
        except (OSError, ValueError) as error:
            raise InputError.at(path, f"not TOML ({error})", "see docs/data.md") from None
        return cls.parse(text, path)

    @classmethod
    def parse(cls, text: str, path: Path) -> Mapping:
        """From the text of a mapping file; ``path`` names it in errors."""
        try:
            content = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InputError.at(path, f"not TOML ({error})", "see docs/data.md") from None
        extra = set(content) - {"feed", "columns", "missing", "encoding"}
        if extra:
            raise InputError.at(path, f"unknown key {min(extra)!r}", "see docs/data.md")
        feed = FEEDS.get(str(content.get("feed")))
        if feed is None:
            raise InputError.at(
                path, f"feed {content.get('feed')!r} is unknown", f"known are {', '.join(FEEDS)}"
            )
        columns = content.get("columns")
        if not isinstance(columns, dict):
            raise InputError.at(path, "no table [columns]", "see docs/data.md")
        missing = content.get("missing", [])
        if not isinstance(missing, list) or not all(isinstance(text, str) for text in missing):
            raise InputError.at(path, f"missing is {missing!r}", 'give a list: missing = ["-"]')
        fields = {name: _field(path, feed, name, given) for name, given in columns.items()}
        if all(field.column is None for field in fields.values()):
            raise InputError.at(path, "no column of the file is read", "map one at least")
        for column in feed.columns:
            if column.name not in fields and not column.nullable and column.name != "quality":
                raise InputError.at(path, f"column {column.name} is not mapped", "add it")
        return cls(
            feed,
            fields,
            tuple(missing),
            str(content.get("encoding", "auto")),
        )

    def apply(self, table: pa.Table, where: Path) -> dict[str, pa.Array]:
        """Canonical columns of a table of texts.

        Raises
        ------
        InputError
            A column that is named here is not in the table.
        """
        out = {}
        for name, source in self.fields.items():
            if source.column is None:
                out[name] = pa.repeat(pa.scalar(source.value), len(table))
                continue
            if source.column not in table.column_names:
                raise InputError.at(
                    where,
                    f"no column {source.column!r}",
                    f"it has {', '.join(map(repr, table.column_names[:12]))}",
                )
            text = table[source.column].combine_chunks().cast(pa.string())
            text = pc.utf8_trim_whitespace(text)
            nothing = pc.is_in(text, pa.array(["", *self.missing]))
            text = pc.if_else(nothing, None, text)
            column = self.feed.column(name)
            if column.type == TIME:
                out[name] = _moments(text, source)
            elif source.factor != 1.0:
                out[name] = _scaled(text, source.factor)
            else:
                out[name] = text
        return out


def _field(path: Path, feed: Feed, name: str, given: Any) -> Field:
    if name not in {column.name for column in feed.columns}:
        names = ", ".join(column.name for column in feed.columns)
        raise InputError.at(path, f"feed {feed.name} has no column {name!r}", f"it has {names}")
    if isinstance(given, str):
        given = {"column": given}
    if not isinstance(given, dict) or ("column" in given) == ("value" in given):
        raise InputError.at(path, f"{name} names neither a column nor a value", "give one of them")
    extra = set(given) - {"column", "value", "unit", "format", "timezone"}
    if extra:
        raise InputError.at(path, f"{name} has an unknown key {min(extra)!r}", "see docs/data.md")
    if "value" in given and len(given) > 1:
        raise InputError.at(path, f"{name}: a value has a {max(given)}", "give it in our unit")
    if "value" in given and not isinstance(given["value"], int | float | str):
        raise InputError.at(path, f"{name}: value is {given['value']!r}", "give a number or text")
    zone = given.get("timezone")
    if zone is not None and not has_timezone(str(zone)):
        raise InputError.at(path, f"{name}: no timezone {zone!r}", "e.g. Asia/Seoul")
    units = _UNITS.get(name.rsplit("_", 1)[-1], {})
    factor, unit = 1.0, given.get("unit")
    if feed.column(name).type == TIME:
        if unit is None and not (given.get("format") and zone):
            raise InputError.at(
                path, f"{name}: neither a unit nor a format with a timezone", "give either"
            )
        units = _EPOCHS
    if unit is not None:
        if unit not in units:
            raise InputError.at(
                path, f"{name}: unit {unit!r} is unknown", f"known are {', '.join(units) or 'none'}"
            )
        factor = units[unit]
    return Field(given.get("column"), given.get("value"), factor, given.get("format"), zone)


def _moments(text: pa.Array, source: Field) -> pa.Array:
    """Texts as UTC milliseconds."""
    if source.format is None:
        return _scaled(text, source.factor)
    encoded = text.dictionary_encode()
    moments = [
        written_time_ms(moment, source.format, source.timezone or "UTC")
        for moment in encoded.dictionary.to_pylist()
    ]
    known = [UNREADABLE_MS if moment is None else moment for moment in moments]
    return pa.array(known, pa.int64()).take(encoded.indices)


def _scaled(text: pa.Array, factor: float) -> pa.Array:
    number = pc.match_substring_regex(text, r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
    if pc.all(pc.fill_null(number, True)).as_py() is False:
        # Left as it is where it is no number: the check refuses it and tells the text.
        values = text.to_pylist()
        plain = number.to_pylist()
        scaled = [
            str(float(v) * factor) if v is not None and ok else v
            for v, ok in zip(values, plain, strict=True)
        ]
        return pa.array(scaled, pa.string())
    values = text.cast(pa.float64()).to_numpy(zero_copy_only=False) * factor
    return pa.array(values, mask=np.isnan(values))
