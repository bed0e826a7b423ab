"""What is in an archive: feeds, times, gaps, sources, and what was refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from topis.errors import InputError
from topis.ingest.archive import known_sources, partitions, staged_sources
from topis.model.schemas import FEEDS


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
    """An archive as `describe` found it."""

    feeds: list[FeedSummary]
    sources: int
    staged: int
    quarantined: Counter[tuple[str, str]]
    damaged: list[str]


def describe(archive: Path) -> Description:
    """Read footers only, and the quarantine.

    Raises
    ------
    InputError
        No such folder. A partition that cannot be read is told in ``damaged`` instead.
    """
    found: dict[str, FeedSummary] = {}
    damaged = []
    for partition, path in partitions(archive):
        summary = found.setdefault(partition.feed, FeedSummary(partition.feed))
        try:
            footer = pq.read_metadata(path)
            column = FEEDS[partition.feed].schema.names.index("time")
            spans = [
                footer.row_group(group).column(column).statistics
                for group in range(footer.num_row_groups)
            ]
            first_ms = min(_ms(span.min) for span in spans)
            last_ms = max(_ms(span.max) for span in spans)
        except (OSError, pa.ArrowInvalid, KeyError, ValueError, AttributeError) as error:
            damaged.append(f"{path}: {error}")
            continue
        summary.partitions += 1
        summary.rows += footer.num_rows
        summary.file_bytes += path.stat().st_size
        summary.first_ms = min(summary.first_ms, first_ms)
        summary.last_ms = max(summary.last_ms, last_ms)
        summary.hours.add(first_ms // 3_600_000)
    return Description(
        [found[name] for name in FEEDS if name in found and found[name].partitions],
        len(known_sources(archive)),
        len(staged_sources(archive)),
        _quarantined(archive),
        damaged,
    )


def _ms(moment: object) -> int:
    return int(pa.scalar(moment, pa.timestamp("ms", tz="UTC")).cast(pa.int64()).as_py())


def _quarantined(archive: Path) -> Counter[tuple[str, str]]:
    """Refused rows by (feed, reason)."""
    counts: Counter[tuple[str, str]] = Counter()
    for path in sorted((archive / "quarantine").glob("*.parquet")):
        try:
            table = pq.read_table(path, columns=["feed", "reason"])
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError.at(path, f"cannot be read ({error})", "restore it") from None
        for group in table.group_by(["feed", "reason"]).aggregate([([], "count_all")]).to_pylist():
            counts[group["feed"], group["reason"]] += group["count_all"]
    return counts
