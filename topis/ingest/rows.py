"""What passes between adapters, checks and archive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

#: What an adapter gives as the time of a row whose time it cannot read.
UNREADABLE_MS = -(2**63)


def whole_letters(text: str | bytes) -> str:
    """Without halves of letters, which JSON and others can tell and no stored text can hold."""
    if isinstance(text, bytes):
        return text.decode(errors="replace")
    return text.encode(errors="replace").decode()


@dataclass(frozen=True)
class Reject:
    """A row that was refused: its number in the file, why, the value at fault, its text."""

    row: int
    reason: str
    detail: str
    raw: str


@dataclass(frozen=True)
class Rows:
    """Rows of one feed as an adapter read them, before any check.

    ``columns`` by canonical name, in canonical units, of any Arrow type that holds them (names
    as strings, numbers as floats: nothing is rounded or cut before it is checked). Columns of
    the feed that are not given are missing in every row; ``quality`` may be left out. ``row``
    int64[n] numbers in the file, from 1 on; ``raw(i)`` the text of the i-th row here.
    """

    feed: str
    columns: dict[str, pa.Array]
    row: NDArray[np.int64]
    raw: Callable[[int], str]


@dataclass(frozen=True)
class Parsed:
    """One step of reading a file: rows of a feed, and rows that could not be read at all."""

    rows: Rows | None = None
    rejects: list[Reject] = field(default_factory=list)


class Adapter(Protocol):
    """Reads one format. Knows nothing of archives, checks or other formats."""

    name: str
    text: str

    def claims(self, path: Path) -> bool:
        """Whether the file looks like this format (by name, or by its first bytes)."""

    def read(self, path: Path) -> Iterator[Parsed]:
        """The file's rows, in batches.

        Raises
        ------
        InputError
            Nothing of the file can be read.
        """
