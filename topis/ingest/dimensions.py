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


class Dimensions:
    """``keys`` numbers names from 1 on in the order they come; `save` makes that last.

    A name once numbered keeps its number for the life of the archive.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "dimensions.json"
        self._tables: dict[str, dict[str, int]] = {}
        self._changed = False
        if self._path.exists():
            try:
                stored = json.loads(self._path.read_text())
                self._tables = {
                    kind: {str(name): int(key) for name, key in table.items()}
                    for kind, table in stored.items()
                }
            except (ValueError, AttributeError, TypeError) as error:
                raise InputError.at(
                    self._path, f"not a table of names ({error})", "restore it from a backup"
                ) from None

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
