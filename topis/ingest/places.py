"""Which district detectors, sites, cameras, controllers and links lie in: partitions follow it.

A CSV with the columns ``kind`` (a dimension table), ``name`` and ``district`` (1 to 65535)::

    kind,name,district
    detectors,A-01-1,23
    links,1220003800,23
    districts,gangnam,23

The archive keeps what it was told: later calls need not name the table again, and may add names
that are new, but none that have rows can move. ``districts`` gives a district a name for people.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from topis.errors import InputError
from topis.ingest.dimensions import Dimensions
from topis.ingest.settled import write_whole
from topis.model.schemas import Feed

KINDS = ("cameras", "controllers", "detectors", "districts", "links", "sites")
#: Its name in an archive.
FILE = "places.json"
#: Districts are numbers up to this one.
MOST_DISTRICT = 65_535


class Places:
    """Districts by name; 0 where none is known."""

    def __init__(self, path: Path | None, dimensions: Dimensions, archive: Path) -> None:
        """What the archive keeps of earlier tables, and what ``path`` adds.

        Raises
        ------
        InputError
            The table cannot be read, or moves what the archive may have rows of.
        """
        self._dimensions = dimensions
        kept = archive / FILE
        try:
            text = kept.read_text() if kept.exists() else None
        except OSError as error:
            raise InputError.at(kept, f"cannot be read ({error.strerror})", "check it") from None
        self._district = districts_in(text, kept)
        if path is not None:
            self._add(path)
            write_whole(kept, self._district)

    def _add(self, path: Path) -> None:
        for kind, table in read_places(path).items():
            own = self._district.setdefault(kind, {})
            stored = set(self._dimensions.names(kind).values())
            for name, district in table.items():
                old = own.get(name, 0)
                if name in stored and old != district:
                    raise InputError.at(
                        path,
                        f"{name!r} of {kind} is stored in district {old} of this archive, and "
                        f"moves to {district}",
                        "rows do not move: leave it there, or ingest into a new archive",
                    )
                own[name] = district

    def has(self, kind: str) -> bool:
        """Whether districts of that dimension table are told."""
        return bool(self._district.get(kind))

    def of(self, feed: Feed, table: pa.Table) -> NDArray[np.int64]:
        """District of each row, by what its feed is sorted by; of a probe, by its link."""
        count = len(table)
        named = [c for c in feed.columns if c.names in self._district]
        column = next((c for c in named if c.name in feed.entity), named[0] if named else None)
        if column is None:
            return np.zeros(count, dtype=np.int64)
        by_key = self._by_key(column.names)
        keys = table[column.name].combine_chunks().fill_null(0).to_numpy().astype(np.int64)
        return np.asarray(by_key[np.minimum(keys, len(by_key) - 1)])

    def _by_key(self, kind: str) -> NDArray[np.int64]:
        """Districts by key, with a last one for keys that have no name."""
        names = self._dimensions.names(kind)
        by_key = np.zeros(max(names, default=0) + 2, dtype=np.int64)
        known = self._district[kind]
        for key, name in names.items():
            by_key[key] = known.get(name, 0)
        return by_key


def districts_in(text: str | None, where: object) -> dict[str, dict[str, int]]:
    """Districts by kind and name, as written in an archive's `FILE`; none without one.

    Raises
    ------
    InputError
        It is no such table.
    """
    try:
        stored = {} if text is None else json.loads(text)
        return {
            str(kind): {str(name): int(number) for name, number in table.items()}
            for kind, table in stored.items()
        }
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError.at(
            where, f"not a table of places ({error})", "restore it from a backup"
        ) from None


def read_places(path: Path) -> dict[str, dict[str, int]]:
    """Districts by kind and name of a table.

    Raises
    ------
    InputError
        The table cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError.at(path, f"cannot be read ({error})", "hand over a UTF-8 CSV") from None
    rows = csv.DictReader(text.splitlines())
    missing = {"kind", "name", "district"} - set(rows.fieldnames or ())
    if missing:
        raise InputError.at(path, f"no column {min(missing)!r}", "it needs kind, name, district")
    found: dict[str, dict[str, int]] = {}
    for line, row in enumerate(rows, 2):
        kind, name, number = (str(row[k] or "").strip() for k in ("kind", "name", "district"))
        where = f"{path}, line {line}"
        if kind not in KINDS:
            raise InputError.at(where, f"kind {kind!r} is unknown", f"known are {', '.join(KINDS)}")
        if not number.isascii() or not number.isdigit() or not 1 <= int(number) <= MOST_DISTRICT:
            raise InputError.at(where, f"district {number!r} is none", f"give 1 to {MOST_DISTRICT}")
        if found.setdefault(kind, {}).setdefault(name, int(number)) != int(number):
            raise InputError.at(where, f"{name!r} is in two districts", "keep one")
    return found
