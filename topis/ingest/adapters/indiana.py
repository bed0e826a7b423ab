"""Indiana hi-resolution controller events, in and out: one event a line.

Columns by their usual names (Sturdevant et al. 2012, Purdue; the `atspm` package reads the same):
time, controller, event code, parameter.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from topis.errors import InputError
from topis.ingest.adapters.mapped import MappedCsv
from topis.ingest.adapters.mapping import Mapping
from topis.ingest.rows import Parsed

_NAMES = {
    "time": ("timestamp", "time", "datetime"),
    "controller": ("signalid", "deviceid", "device", "controller"),
    "code": ("eventcode", "eventid", "code"),
    "parameter": ("eventparam", "parameter", "param"),
}
_FORMATS = ("%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%d %H:%M:%S")
#: Written out, and so read again: milliseconds, UTC.
_HEADER = ("TimeStamp", "DeviceId", "EventId", "Parameter")


class IndianaEvents:
    """CSV with those columns in any order and case; times in ``timezone``."""

    name = "indiana"
    text = "Indiana hi-resolution controller events (.csv)"

    def __init__(self, timezone: str = "UTC") -> None:
        self._timezone = timezone

    def claims(self, path: Path) -> bool:
        """See `topis.ingest.rows.Adapter`."""
        return path.suffix.lower() == ".csv" and path.is_file() and len(_columns(path)) == 4

    def read(self, path: Path) -> Iterator[Parsed]:
        """See `topis.ingest.rows.Adapter`."""
        columns = _columns(path)
        if len(columns) < len(_NAMES):
            missing = sorted(set(_NAMES) - set(columns))
            raise InputError.at(path, f"no column for {', '.join(missing)}", "see docs/data.md")
        moment = _first_value(path, columns["time"])
        zone = self._timezone
        form = _FORMATS[0] if "." in moment else _FORMATS[1]
        mapping = Mapping.parse(
            f"""
            feed = "signal_event"
            [columns]
            time = {{ column = "{columns["time"]}", format = "{form}", timezone = "{zone}" }}
            controller = "{columns["controller"]}"
            code = "{columns["code"]}"
            parameter = "{columns["parameter"]}"
            """,
            path,
        )
        yield from MappedCsv(mapping).read(path)


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        return next(csv.reader(file), [])


def _columns(path: Path) -> dict[str, str]:
    """The file's column for each of ours that it has."""
    plain = {name.lower().replace("_", "").replace(" ", ""): name for name in _header(path)}
    found = {
        ours: next((plain[name] for name in names if name in plain), None)
        for ours, names in _NAMES.items()
    }
    return {ours: name for ours, name in found.items() if name is not None}


def _first_value(path: Path, column: str) -> str:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        return str(next(csv.DictReader(file), {}).get(column) or "")


def write_events(path: Path, events: pa.Table, controllers: dict[int, str]) -> None:
    """Canonical events as CSV that `atspm` and this adapter read; times in UTC."""
    # An empty chunk would write a second header.
    events = events.combine_chunks()
    text = np.datetime_as_string(events["time"].to_numpy(), unit="ms")
    table = pa.table(
        {
            _HEADER[0]: pa.array(np.char.replace(text, "T", " ")),
            _HEADER[1]: [
                controllers.get(key, str(key)) for key in events["controller"].to_pylist()
            ],
            _HEADER[2]: events["code"],
            _HEADER[3]: events["parameter"],
        }
    )
    pacsv.write_csv(table, path)
