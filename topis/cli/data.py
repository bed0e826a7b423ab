"""`topis data`: what is in an archive."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from topis.cli import EXIT_CODES
from topis.ingest.describe import Description, FeedSummary, describe
from topis.ingest.dimensions import Dimensions
from topis.ingest.health import loop_faults

_MS_PER_HOUR = 3_600_000


@click.group(epilog=EXIT_CODES)
def data() -> None:
    """Look into an archive of feeds.

    \b
    Examples:
      topis data describe archive
      topis data health archive
    """  # noqa: D301


@data.command("describe", epilog=EXIT_CODES)
@click.argument("archive", type=click.Path(path_type=Path))
def describe_command(archive: Path) -> None:
    """Print the feeds of an ARCHIVE: rows, times, gaps, and what is in quarantine and why.

    Times are UTC. Only the footers of the files are read.
    """
    found = describe(archive)
    staged = f", {found.staged} staged and not merged: call topis ingest again"
    click.echo(f"{archive}: {found.sources} sources{staged if found.staged else ''}")
    if not found.feeds:
        click.echo("  no rows")
    for feed in found.feeds:
        _print_feed(feed)
    _print_refused(found)


@data.command("health", epilog=EXIT_CODES)
@click.argument("archive", type=click.Path(path_type=Path))
def health_command(archive: Path) -> None:
    """Print the loops of an ARCHIVE that tell nonsense: since when, until when, and the evidence.

    Told are silence, covered without counting, events shorter than any vehicle, and vehicles
    counted twice, from 20 minutes on. Times are UTC.
    """
    names = Dimensions(archive).names("detectors")
    faults = loop_faults(archive)
    click.echo(f"{archive}: {len(faults)} faults, at {len({f.detector for f in faults})} loops")
    for fault in faults:
        click.echo(
            f"  {names.get(fault.detector, fault.detector)!s:12}{fault.kind:12}"
            f"{_time(fault.begin_ms)} to {_time(fault.end_ms)}  {fault.evidence}"
        )


def _print_feed(feed: FeedSummary) -> None:
    click.echo(
        f"  {feed.feed:14}{feed.rows:12,} rows  {feed.file_bytes / max(feed.rows, 1):6.2f} B/row  "
        f"{feed.partitions:5} files  {_time(feed.first_ms)} to {_time(feed.last_ms)}"
    )
    gaps = feed.gaps
    for first, last in gaps[:5]:
        click.echo(
            f"    gap of {last - first + 1} h from {_time(first * _MS_PER_HOUR)}, nothing stored"
        )
    if len(gaps) > 5:
        click.echo(f"    and {len(gaps) - 5} gaps more")


def _print_refused(found: Description) -> None:
    total = sum(found.quarantined.values())
    click.echo(f"  quarantine: {total:,} rows")
    for (feed, reason), count in found.quarantined.most_common():
        click.echo(f"    {count:10,} x {feed + ': ' if feed else ''}{reason}")
    for text in found.damaged:
        click.echo(f"  damaged: {text}")


def _time(time_ms: int) -> str:
    return str(np.datetime64(time_ms, "ms").astype("datetime64[s]")).replace("T", " ")
