"""Names to small numbers, kept with the archive: detectors, cameras, controllers, links, ..."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from topis.errors import InputError
from topis.ingest.settled import write_whole

#: Its name in an archive.
FILE = "dimensions.json"


class Dimensions:
    """``keys`` numbers names from 1 on in the order they come; `save` makes that last.

    A name once numbered keeps its number for the life of the archive.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._tables: dict[str, dict[str, int]] = {}
        self._changed = False
        if self._path.exists():
            self._tables = _tables(self._path.read_text(), self._path)

    def keys(self, kind: str, names: pa.Array) -> NDArray[np.int64]:
        """Numbers of the names, int64[n]; 0 for missing ones."""
        table = self._tables.setdefault(kind, {})
        encoded = pc.utf8_trim_whitespace(names).dictionary_encode()
        number = np.zeros(len(encoded.dictionary) + 1, dtype=np.int64)
        for i, name in enumerate(encoded.dictionary.to_pylist()):
            if name not in table:
                table[name] = len(table) + 1
                self._changed = True
            number[i] = table[name]
        index = pc.fill_null(encoded.indices, len(encoded.dictionary))
        return np.asarray(number[index.to_numpy(zero_copy_only=False)])

    def names(self, kind: str) -> dict[int, str]:
        """All names of a kind by number."""
        return {key: name for name, key in self._tables.get(kind, {}).items()}

    def save(self) -> None:
        """Write the tables, whole or not at all."""
        if not self._changed:
            return
        write_whole(self._path, self._tables)
        self._changed = False


def names_in(text: str | None, where: object) -> dict[str, dict[int, str]]:
    """Names by kind and number, as written in an archive's `FILE`; none of them without one.

    Raises
    ------
    InputError
        It is no such table.
    """
    tables = {} if text is None else _tables(text, where)
    return {kind: {key: name for name, key in table.items()} for kind, table in tables.items()}


def _tables(text: str, where: object) -> dict[str, dict[str, int]]:
    try:
        return {
            kind: {str(name): int(key) for name, key in table.items()}
            for kind, table in json.loads(text).items()
        }
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError.at(
            where, f"not a table of names ({error})", "restore it from a backup"
        ) from None
