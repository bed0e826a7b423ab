"""`topis data`: what is in an archive."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from topis.cli import EXIT_CODES
from topis.ingest.describe import Description, FeedSummary, describe

_MS_PER_HOUR = 3_600_000


@click.group(epilog=EXIT_CODES)
def data() -> None:
    """Look into an archive of feeds.

    \b
    Example:
      topis data describe archive
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
