"""What is in an archive: feeds, times, gaps, sources, and what was refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from topis.errors import InputError
from topis.ingest.archive import (
    counts_in,
    known_sources,
    open_partition,
    partitions,
    parts_of,
    staged_sources,
    utc_ms,
)
from topis.model.schemas import FEEDS
from topis.units import MS_PER_HOUR


@dataclass
class FeedSummary:
    """One feed in an archive; times in UTC ms, ``hours`` since 1970 that have rows."""

    feed: str
    partitions: int = 0
    rows: int = 0
    file_bytes: int = 0
    first_ms: int = 2**63 - 1
    last_ms: int = -(2**63)
    hours: set[int] = field(default_factory=set)

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """Hours without a row between two with: pairs (first, last) since 1970, in order."""
        hours = np.array(sorted(self.hours), dtype=np.int64)
        cut = np.flatnonzero(np.diff(hours) > 1)
        return [(int(hours[i]) + 1, int(hours[i + 1]) - 1) for i in cut]


@dataclass(frozen=True)
class Description:
    """An archive as `describe` found it.

    ``marks``: rows of all sources that are doubtful, by why; ``damaged``: partitions that cannot
    be read; ``lost``: by a source's file, folders of partitions that have its rows no more.
    """

    feeds: list[FeedSummary]
    sources: int
    staged: int
    quarantined: Counter[tuple[str, str]]
    marks: Counter[str]
    damaged: list[str]
    lost: dict[str, list[str]]


def describe(archive: Path) -> Description:
    """Read footers only, and the quarantine.

    Raises
    ------
    InputError
        No such folder. A partition that cannot be read is told in ``damaged`` instead.
    """
    found: dict[str, FeedSummary] = {}
    damaged = []
    holds: dict[str, set[str]] = {}
    for partition, path in partitions(archive):
        summary = found.setdefault(partition.feed, FeedSummary(partition.feed))
        try:
            with open_partition(path) as file:
                holds[partition.name] = set(counts_in(path, file))
                first_ms, last_ms = _span(partition.feed, file.metadata)
                rows = file.metadata.num_rows
        except (InputError, KeyError, ValueError, AttributeError) as error:
            damaged.append(str(error) if isinstance(error, InputError) else f"{path}: {error}")
            continue
        summary.partitions += 1
        summary.rows += rows
        summary.file_bytes += path.stat().st_size
        summary.first_ms = min(summary.first_ms, first_ms)
        summary.last_ms = max(summary.last_ms, last_ms)
        summary.hours.add(first_ms // MS_PER_HOUR)
    sources = known_sources(archive)
    marks: Counter[str] = Counter()
    lost: dict[str, list[str]] = {}
    for source, facts in sources.items():
        counts = facts.get("marks")
        marks.update(counts if isinstance(counts, dict) else {})
        gone = [p for p in parts_of(facts) if source not in holds.get(p.name, ())]
        if gone:
            lost[str(facts["file"])] = [str(partition.folder) for partition in gone]
    return Description(
        [found[name] for name in FEEDS if name in found and found[name].partitions],
        len(sources),
        len(staged_sources(archive)),
        _quarantined(archive),
        marks,
        damaged,
        lost,
    )


def _span(feed: str, footer: pq.FileMetaData) -> tuple[int, int]:
    column = FEEDS[feed].schema.names.index("time")
    spans = [
        footer.row_group(group).column(column).statistics for group in range(footer.num_row_groups)
    ]
    return min(utc_ms(span.min) for span in spans), max(utc_ms(span.max) for span in spans)


def _quarantined(archive: Path) -> Counter[tuple[str, str]]:
    """Refused rows by (feed, reason)."""
    counts: Counter[tuple[str, str]] = Counter()
    for path in sorted((archive / "quarantine").glob("*.parquet")):
        try:
            table = pq.read_table(path, columns=["feed", "reason"])
            groups = table.group_by(["feed", "reason"]).aggregate([([], "count_all")])
        except (OSError, pa.ArrowInvalid, KeyError) as error:
            raise InputError.at(path, f"cannot be read ({error})", "restore it") from None
        for group in groups.to_pylist():
            counts[group["feed"], group["reason"]] += group["count_all"]
    return counts
