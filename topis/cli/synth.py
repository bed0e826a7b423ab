"""`topis synth`: a made-up day of feeds."""

from __future__ import annotations

from pathlib import Path

import click

from topis.cli import EXIT_CODES
from topis.cli.progress import StageBar
from topis.config import sensing_layout
from topis.errors import InputError
from topis.ingest.synth import SynthOptions, synthesise
from topis.run.scenarios import find_scenario
from topis.run.sumocfg import read_sumocfg

GRID = "grid"


@click.command(epilog=EXIT_CODES)
@click.option("--into", required=True, type=click.Path(path_type=Path), help="A new folder.")
@click.option(
    "--city",
    default=GRID,
    show_default=True,
    help="Streets: a made-up grid, a scenario, a .sumocfg or a .net.xml of SUMO.",
)
@click.option(
    "--scale", default=0.001, show_default=True, help="Of a grid: 1 has as many signals as Seoul."
)
@click.option("--date", default="2026-11-17", show_default=True, help="Day, UTC.")
@click.option("--seed", default=1, show_default=True, help="The same seed, the same rows.")
@click.option("--load", default=1.0, show_default=True, help="Times the usual traffic.")
@click.option(
    "--sensing", default="seoul", show_default=True, help="Sensors: a layout or a .toml file."
)
@click.option("--faulty", default=0.05, show_default=True, help="Share of sensors with a fault.")
@click.option("--hours", nargs=2, type=int, default=(0, 24), show_default=True, help="From, until.")
def synth(
    into: Path,
    city: str,
    scale: float,
    date: str,
    seed: int,
    load: float,
    sensing: str,
    faulty: float,
    hours: tuple[int, int],
) -> None:
    """Make up a day of a city's feeds: loops, cameras, GPS and signals, all of one traffic.

    Some rows are doubled, late or impossible, some sensors silent, stuck, chattering, counting
    double, or have a wrong clock. What really happened, and what was planted, stands in the
    folder `truth`; the streets in `city.net.xml.gz`, the sensors in `sensors.csv`, their
    districts in `places.csv`.

    \b
    Examples:
      topis synth --hours 7 9 --into made-up
      topis ingest made-up --network made-up/city.net.xml.gz --into archive
      topis synth --city gangnam --sensing city --hours 7 8 --into gangnam-day
    """  # noqa: D301
    if not 0 <= hours[0] < hours[1] <= 24:
        raise click.BadParameter("give two hours of the day, e.g. --hours 7 9")
    options = SynthOptions(
        scale, date, seed, faulty, hours, load, sensing_layout(sensing), _network_file(city)
    )
    with StageBar("Synth") as bar:
        rows = synthesise(into, options, bar.show)
    for feed, count in sorted(rows.items()):
        click.echo(f"{into / feed}: {count:,} rows")


def _network_file(city: str) -> Path | None:
    if city == GRID:
        return None
    path = Path(city)
    if path.name.endswith((".net.xml", ".net.xml.gz")):
        if not path.is_file():
            raise InputError.at(path, "no such file", "check the path")
        return path
    return read_sumocfg(find_scenario(city)).net_file
