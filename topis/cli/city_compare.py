"""`topis city compare`: two runs of a city, whole, by district and by signal."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from topis.cli import EXIT_CODES
from topis.ingest.places import read_places
from topis.model.network import Network
from topis.report.city_compare import CityRun, compare_city, format_city, totals


@click.command("compare", epilog=EXIT_CODES)
@click.argument("base", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path))
@click.option(
    "--places",
    type=click.Path(path_type=Path),
    help="Table of districts (places.csv of the city); without it the city is one.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Also write the districts as CSV.")
def compare_city_runs(base: Path, other: Path, places: Path | None, out: Path | None) -> None:
    """Hold a run against another one: journey times, and the share of signals that got worse.

    BASE and OTHER are run folders of `topis simulate` with the same streets, demand and seed.

    \b
    Examples:
      topis city compare runs/shipped-seed1 runs/city-seed1 --places city450/places.csv
    """  # noqa: D301
    runs = CityRun.read(base), CityRun.read(other)
    district = districts_of_links(runs[0].network, places)
    table = compare_city(*runs, district)
    click.echo(format_city(totals(*runs), table))
    if out is not None:
        table.to_csv(out, index=False)


def districts_of_links(network: Network, places: Path | None) -> NDArray[np.int64]:
    """District of each link: its own, else of the signal it leads to, else 0."""
    district = np.zeros(network.links, dtype=np.int64)
    if places is None:
        return district
    table = read_places(places)
    of_signal = table.get("controllers", {})
    of_link = table.get("links", {})
    leads = np.flatnonzero(network.link_junction >= 0)
    for link in leads.tolist():
        district[link] = of_signal.get(network.junction_ids[network.link_junction[link]], 0)
    for link, name in enumerate(network.link_ids):
        district[link] = of_link.get(name, district[link])
    return district
