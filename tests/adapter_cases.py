"""What the tests of adapters share: a file taken in, and what was refused of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.test_ingest import nothing_lost
from topis.ingest.pipeline import SourceReport, ingest

Cells = list[list[Any]]
#: 2026-11-16T15:00Z, midnight in Seoul.
MIDNIGHT = "2026-11-16T15:00:00+00:00"
EIGHT_MS = 1_794_870_000_000


def take(tmp_path: Path, name: str, content: str | bytes) -> tuple[Path, SourceReport]:
    source = tmp_path / name
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    (report,) = ingest([source], tmp_path / "archive")
    nothing_lost([report])
    return tmp_path / "archive", report


def refused(archive: Path) -> list[dict[str, Any]]:
    (path,) = (archive / "quarantine").glob("*.parquet")
    return list(pq.read_table(path).to_pylist())
