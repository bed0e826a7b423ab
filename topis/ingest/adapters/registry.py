"""All adapters, and which one reads a file."""

from __future__ import annotations

from pathlib import Path

from topis.errors import InputError
from topis.ingest.adapters.canonical import Canonical
from topis.ingest.adapters.gtfs import GtfsTimetable
from topis.ingest.adapters.gtfs_rt import GtfsRealtime
from topis.ingest.adapters.indiana import IndianaEvents
from topis.ingest.adapters.mapped import MappedCsv, MappedJsonLines
from topis.ingest.adapters.mapping import Mapping
from topis.ingest.adapters.seoul import SeoulOpenData
from topis.ingest.adapters.spat import SeoulSpat
from topis.ingest.adapters.spreadsheet import SeoulSpreadsheet
from topis.ingest.adapters.sumo import SumoOutput
from topis.ingest.adapters.utdf import SynchroUtdf
from topis.ingest.rows import Adapter


def adapters(mapping: Mapping | None = None) -> list[Adapter]:
    """Every adapter there is; the most particular first."""
    return [
        Canonical(),
        MappedCsv(mapping),
        MappedJsonLines(mapping),
        IndianaEvents(),
        SynchroUtdf(),
        SeoulSpreadsheet(),
        SeoulOpenData(),
        SeoulSpat(),
        SumoOutput(),
        GtfsRealtime(),
        GtfsTimetable(),
    ]


def adapter_for(path: Path, mapping: Mapping | None = None, name: str | None = None) -> Adapter:
    """The adapter of that name, or the first that claims the file.

    Raises
    ------
    InputError
        No such adapter, or none claims the file.
    """
    known = adapters(mapping)
    for adapter in known:
        if adapter.name == name or (name is None and adapter.claims(path)):
            return adapter
    names = ", ".join(adapter.name for adapter in known)
    if name is not None:
        raise InputError(f"format {name!r} is unknown; choose one of {names}")
    if not path.exists():
        raise InputError.at(path, "no such file or folder", "check the path")
    raise InputError.at(
        path, "no format claims this file", f"name one with --format ({names}), or --mapping"
    )
