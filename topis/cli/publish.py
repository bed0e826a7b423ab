"""`topis publish`: open data that tells of no single vehicle."""

from __future__ import annotations

from pathlib import Path

import click

from topis.cli import EXIT_CODES
from topis.ingest.publish import LEAST_VEHICLES, publish


@click.command("publish", epilog=EXIT_CODES)
@click.argument("archive", type=click.Path(path_type=Path))
@click.option("--date", required=True, help="Day, UTC: 2026-11-17.")
@click.option("--hour", required=True, type=click.IntRange(0, 23), help="Hour, UTC.")
@click.option("--into", required=True, type=click.Path(path_type=Path), help="Folder.")
@click.option(
    "--least-vehicles", default=LEAST_VEHICLES, show_default=True, help="k of k-anonymity."
)
def publish_command(archive: Path, date: str, hour: int, into: Path, least_vehicles: int) -> None:
    """Publish speeds by link and five minutes of an ARCHIVE's probes, as Parquet and JSON.

    A cell is told when at least five different vehicles were in it, the first and last 300 m of
    every trip left out. Speeds are whole km/h, every vehicle has one vote. The archive keeps what
    was told of an hour: asked for again, it is the same, and never with another k.

    \b
    Example:
      topis publish archive --date 2026-11-17 --hour 8 --into open
    """  # noqa: D301
    release = publish(archive, into, date, hour, least_vehicles=least_vehicles)
    click.echo(
        f"{release.path}: {release.cells} cells told, {release.withheld} withheld "
        f"(fewer than {least_vehicles} vehicles)"
        + (", as they were published before" if release.again else "")
    )
