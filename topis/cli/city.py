"""`topis city`: a made-up city in the proportions of a real one."""

from __future__ import annotations

from pathlib import Path

import click

from topis import __version__
from topis.cli import EXIT_CODES
from topis.cli.progress import StageBar
from topis.ingest.city.build import CityOptions, build_city
from topis.ingest.city.cut import cut_district


@click.group(epilog=EXIT_CODES)
def city() -> None:
    """Make up cities of any size, with their streets, plans, sensors and morning traffic.

    \b
    Examples:
      topis city build --like seoul --junctions 450 --out city450
      topis simulate city450/city.sumocfg --controller shipped
    """  # noqa: D301


@city.command(epilog=EXIT_CODES)
@click.option("--like", default="seoul", show_default=True, help="The city it is like.")
@click.option("--junctions", default=4500, show_default=True, help="Signals: 12 to 128,000.")
@click.option("--seed", default=1, show_default=True, help="The same seed, the same city.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option(
    "--adaptive", type=int, help="Adaptive junctions, the most loaded. [default: all to 4,500]"
)
@click.option("--no-demand", is_flag=True, help="Streets, plans and sensors only.")
def build(
    like: str, junctions: int, seed: int, out: Path, adaptive: int | None, no_demand: bool
) -> None:
    """Build a city: network, plans of the day, sensors, trips and buses of the morning peak.

    docs/city.md tells what is taken from the real city and what is assumed.

    \b
    Examples:
      topis city build --junctions 450 --out city450
      topis city build --like seoul --junctions 12800 --seed 7 --out seoul
    """  # noqa: D301
    options = CityOptions(like, junctions, seed, adaptive, not no_demand, __version__)
    with StageBar("City") as bar:
        facts = build_city(out, options, bar.show)
    click.echo(
        f"{out}: {facts['signals']:,} signals ({facts['adaptive']:,} adaptive) in "
        f"{facts['districts']} districts, {facts['road_km_total']:,.0f} km of road, "
        f"{facts['bridges']} bridges, {facts['vehicles']:,} vehicles, {facts['buses']:,} buses"
    )


@city.command(epilog=EXIT_CODES)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--district", required=True, type=int, help="Which: see modes.csv.")
@click.option("--signals", type=click.IntRange(1), help="Only so many, around its middle.")
@click.option("--seed", default=1, show_default=True, help="Of sensors and of SUMO.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
def cut(folder: Path, district: int, signals: int | None, seed: int, out: Path) -> None:
    """Cut one district out of the city in FOLDER, as a microscopic scenario of its own.

    \b
    Examples:
      topis city cut seoul --district 3 --out gu3
      topis city cut seoul --district 3 --signals 180 --out gu3
    """  # noqa: D301
    count = cut_district(folder, district, out, signals, seed)
    click.echo(f"{out}: district {district} of {folder}, {count:,} signals")
