"""`topis synth`: a made-up day of feeds."""

from __future__ import annotations

from pathlib import Path

import click

from topis.cli import EXIT_CODES
from topis.cli.progress import StageBar
from topis.ingest.synth import SynthOptions, synthesise


@click.command(epilog=EXIT_CODES)
@click.option("--into", required=True, type=click.Path(path_type=Path), help="A new folder.")
@click.option("--scale", default=0.001, show_default=True, help="1 is a city like Seoul.")
@click.option("--date", default="2026-11-17", show_default=True, help="Day, UTC.")
@click.option("--seed", default=1, show_default=True, help="The same seed, the same rows.")
@click.option("--faulty", default=0.05, show_default=True, help="Share of lanes with a bad loop.")
@click.option("--hours", nargs=2, type=int, default=(0, 24), show_default=True, help="From, until.")
def synth(
    into: Path, scale: float, date: str, seed: int, faulty: float, hours: tuple[int, int]
) -> None:
    """Make up a day of a city's feeds: loops, cameras, bus and taxi GPS, all of one traffic.

    Some rows are doubled, some impossible, some loops silent, stuck, chattering or counting
    double. What really happened, and what was planted, stands in the folder `truth`.

    \b
    Example:
      topis synth --scale 0.001 --hours 7 9 --into made-up
      topis ingest made-up/loop_event made-up/gps made-up/cctv_track --into archive
    """  # noqa: D301
    if not 0 <= hours[0] < hours[1] <= 24:
        raise click.BadParameter("give two hours of the day, e.g. --hours 7 9")
    with StageBar("Synth") as bar:
        rows = synthesise(into, SynthOptions(scale, date, seed, faulty, hours), bar.show)
    for feed, count in sorted(rows.items()):
        click.echo(f"{into / feed}: {count:,} rows")
