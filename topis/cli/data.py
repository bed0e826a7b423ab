"""`topis data`: what is in an archive."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from topis.cli import EXIT_CODES
from topis.cli.state import state
from topis.errors import InputError
from topis.ingest.describe import Description, FeedSummary, describe
from topis.ingest.dimensions import Dimensions
from topis.ingest.health import clocks_off, loop_faults
from topis.ingest.health_moving import camera_faults, disagreements, probe_faults
from topis.ingest.network_file import load_network
from topis.ingest.sensor_file import read_sensors
from topis.model.schemas import FEEDS
from topis.units import MS_PER_HOUR

#: Vehicles told one by one: they are many.
MOST_PROBES = 20


@click.group(epilog=EXIT_CODES)
def data() -> None:
    """Look into an archive of feeds.

    \b
    Examples:
      topis data describe archive
      topis data health archive
    """  # noqa: D301


data.add_command(state)


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
@click.option("--network", type=click.Path(path_type=Path), help="SUMO network, with --sensors.")
@click.option(
    "--sensors", type=click.Path(path_type=Path), help="CSV: also compare the loops of each lane."
)
def health_command(archive: Path, network: Path | None, sensors: Path | None) -> None:
    """Print what of an ARCHIVE tells nonsense: loops, cameras, probes, clocks.

    Loops: silence, covered without counting, events shorter than any vehicle, and vehicles
    counted twice, from 20 minutes on, each with its evidence; with --network and --sensors also
    hours in which the two loops of a lane count differently. Cameras: silence. Probes: stuck in
    one place, or jumping. A clock is told by source: how far it is before (+) or behind the
    others of the same stream. Times are UTC.
    """
    if (network is None) != (sensors is None):
        raise InputError("to compare the loops of each lane, give both --network and --sensors")
    dimensions = Dimensions(archive)
    damaged: dict[str, str] = {}
    _print_loops(archive, dimensions, damaged)
    if network is not None and sensors is not None:
        _print_disagreements(archive, network, sensors, damaged)
    names = dimensions.names("cameras")
    cameras = camera_faults(archive, damaged)
    click.echo(f"{archive}: {len(cameras)} times a camera was silent")
    for camera in cameras:
        click.echo(
            f"  {names.get(camera.camera, camera.camera)!s:12} silent      "
            f"{_time(camera.begin_ms)} to {_time(camera.end_ms)}"
        )
    probes = probe_faults(archive, damaged)
    click.echo(f"{archive}: {len(probes)} probes report wrong places")
    for probe in probes[:MOST_PROBES]:
        click.echo(
            f"  vehicle {probe.vehicle:016x} {probe.kind}: {100 * probe.share:.1f} % of "
            f"{probe.reports} reports"
        )
    if len(probes) > MOST_PROBES:
        click.echo(f"  and {len(probes) - MOST_PROBES} more")
    _print_clocks(archive, dimensions)
    for path, reason in damaged.items():
        click.echo(f"  left out: {path}: {reason}")


def _print_loops(archive: Path, dimensions: Dimensions, damaged: dict[str, str]) -> None:
    names = dimensions.names("detectors")
    faults = loop_faults(archive, damaged=damaged)
    click.echo(f"{archive}: {len(faults)} faults, at {len({f.detector for f in faults})} loops")
    for fault in faults:
        click.echo(
            f"  {names.get(fault.detector, fault.detector)!s:12} {fault.kind:12}"
            f"{_time(fault.begin_ms)} to {_time(fault.end_ms)}  {fault.evidence}"
        )


def _print_disagreements(
    archive: Path, network_file: Path, sensor_file: Path, damaged: dict[str, str]
) -> None:
    network = load_network(network_file).network
    found = disagreements(archive, network, read_sensors(sensor_file, network), damaged)
    click.echo(f"{archive}: {len(found)} times the two loops of a lane counted differently")
    for row in found:
        click.echo(
            f"  {row.lane:12} {_time(row.begin_ms)}, an hour: {row.upstream_veh} upstream, "
            f"{row.stop_line_veh} at the stop line"
        )


def _print_clocks(archive: Path, dimensions: Dimensions) -> None:
    clocks = clocks_off(archive)
    click.echo(f"{archive}: {len(clocks)} clocks off")
    for clock in clocks[:MOST_PROBES]:
        column = FEEDS[clock.feed].column(FEEDS[clock.feed].entity[0])
        # Vehicles have no name; their pseudonyms are told as above.
        unnamed = str(clock.entity) if column.names else f"{clock.entity:016x}"
        name = dimensions.names(column.names).get(clock.entity, unnamed)
        skew = f"{clock.skew_ms / 1000:+9.1f} s"
        click.echo(f"  {column.name} {name!s:12}{skew}  {clock.feed} of {clock.file}")
    if len(clocks) > MOST_PROBES:
        click.echo(f"  and {len(clocks) - MOST_PROBES} more")


def _print_feed(feed: FeedSummary) -> None:
    click.echo(
        f"  {feed.feed:14}{feed.rows:12,} rows  {feed.file_bytes / max(feed.rows, 1):6.2f} B/row  "
        f"{feed.partitions:5} files  {_time(feed.first_ms)} to {_time(feed.last_ms)}"
    )
    gaps = feed.gaps
    for first, last in gaps[:5]:
        click.echo(
            f"    gap of {last - first + 1} h from {_time(first * MS_PER_HOUR)}, nothing stored"
        )
    if len(gaps) > 5:
        click.echo(f"    and {len(gaps) - 5} gaps more")


def _print_refused(found: Description) -> None:
    total = sum(found.quarantined.values())
    click.echo(f"  quarantine: {total:,} rows")
    for (feed, reason), count in found.quarantined.most_common():
        click.echo(f"    {count:10,} x {feed + ': ' if feed else ''}{reason}")
    _print_marks(found)
    for text in found.damaged:
        click.echo(f"  damaged: {text}")
    for file, folders in sorted(found.lost.items()):
        more = f" and {len(folders) - 1} others" if len(folders) > 1 else ""
        click.echo(f"  lost: rows of {file} in {folders[0]}{more}; ingest it again")


def _print_marks(found: Description) -> None:
    for name, count in sorted(found.marks.items()):
        if count:
            click.echo(f"  doubtful: {count:,} x {name}")


def _time(time_ms: int) -> str:
    return str(np.datetime64(time_ms, "ms").astype("datetime64[s]")).replace("T", " ")
