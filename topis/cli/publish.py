"""`topis publish`: open data that tells of no single vehicle."""

from __future__ import annotations

from pathlib import Path

import click
import pyarrow.parquet as pq

from topis.cli import EXIT_CODES
from topis.errors import InputError
from topis.ingest.publish import LEAST_VEHICLES, publish
from topis.ingest.slices import time_ms_of
from topis.run.archive_run import SliceOptions
from topis.run.snapshot import write_snapshot
from topis.units import MS_PER_HOUR


@click.command("publish", epilog=EXIT_CODES)
@click.argument("archive", type=click.Path(path_type=Path))
@click.option("--date", required=True, help="Day, UTC: 2026-11-17.")
@click.option("--hour", required=True, type=click.IntRange(0, 23), help="Hour, UTC.")
@click.option("--into", required=True, type=click.Path(path_type=Path), help="Folder.")
@click.option(
    "--least-vehicles", default=LEAST_VEHICLES, show_default=True, help="k of k-anonymity."
)
@click.option("--network", type=click.Path(path_type=Path), help="SUMO network, with --sensors.")
@click.option(
    "--sensors", type=click.Path(path_type=Path), help="CSV: also queues and volumes, every 30 s."
)
def publish_command(
    archive: Path,
    date: str,
    hour: int,
    into: Path,
    least_vehicles: int,
    network: Path | None,
    sensors: Path | None,
) -> None:
    """Publish speeds by link and five minutes of an ARCHIVE's probes, as Parquet and JSON.

    A cell is told when at least five different vehicles were in it, the first and last 300 m of
    every trip left out. Speeds are whole km/h, every vehicle has one vote. The archive keeps what
    was told of an hour: asked for again, it is the same, and never with another k.

    With --network and --sensors also queues and volumes of every 30 s, from loops and cameras
    alone, as Parquet, and the last moment of the hour as GeoJSON.

    \b
    Examples:
      topis publish archive --date 2026-11-17 --hour 8 --into open
      topis publish archive --date 2026-11-17 --hour 8 --into open
        --network city.net.xml.gz --sensors sensors.csv
    """  # noqa: D301
    if (network is None) != (sensors is None):
        raise InputError("queues and volumes need both --network and --sensors; give both or none")
    release = publish(archive, into, date, hour, least_vehicles=least_vehicles)
    click.echo(
        f"{release.path}: {release.cells} cells told, {release.withheld} withheld "
        f"(fewer than {least_vehicles} vehicles)"
        + (", as they were published before" if release.again else "")
    )
    if network is not None and sensors is not None:
        begin_ms = time_ms_of(f"{date}T{hour:02d}:00")
        options = SliceOptions(archive, network, sensors, begin_ms, begin_ms + MS_PER_HOUR)
        told = write_snapshot(
            options, into, f"queues-{date}-{hour:02d}", pq.read_table(release.path)
        )
        click.echo(f"{told.path}: {told.rows} rows, every 30 s; {told.map_path}: the last of them")
