"""`topis city close`: streets of a city closed for a while."""

from __future__ import annotations

from pathlib import Path

import click

from topis.cli import EXIT_CODES
from topis.errors import InputError
from topis.ingest.city.close import bridge_edges, close_edges


@click.command("close", epilog=EXIT_CODES)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--edge", "edges", multiple=True, metavar="ID", help="An edge to close; repeat.")
@click.option(
    "--bridge",
    "bridges",
    multiple=True,
    type=click.IntRange(1),
    help="A bridge to close, both ways; 1: the westernmost; repeat.",
)
@click.option("--from", "from_s", required=True, type=float, help="Second of the day it begins.")
@click.option("--until", "until_s", required=True, type=float, help="Second of the day it ends.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
def close_streets(
    folder: Path, edges: tuple[str, ...], bridges: tuple[int, ...], from_s: float, until_s: float,
    out: Path,
) -> None:  # fmt: skip
    """Close streets of the city in FOLDER for a while; its files are named, not copied.

    Who is within 3 km of a closed street and wants to use it looks for the fastest other way by the
    travel times of that moment; who is past the last turn off crosses. 07:10 is second 25800.

    \b
    Examples:
      topis city close city450 --bridge 1 --from 25800 --until 28800 --out closed
      topis city close city450 --edge E7.0 --edge -E7.0 --from 25800 --until 27000 --out closed
      topis simulate closed/city_meso.sumocfg -c shipped -c city
    """  # noqa: D301
    if not edges and not bridges:
        raise InputError("nothing to close; give --edge or --bridge, once or more")
    wanted = [*edges, *(edge for number in bridges for edge in bridge_edges(folder, number))]
    done = close_edges(folder, wanted, from_s, until_s, out)
    click.echo(
        f"{out}: {', '.join(done.edges)} closed from {from_s:g} to {until_s:g} s, drivers hear of "
        f"it on {done.told:,} edges, {done.dropped_stops:,} stops of buses there left out"
    )
    if done.cut_trips:
        click.echo(
            f"{done.cut_trips:,} trips begin or end on a closed street: while it is closed those "
            "that end there are over where the driver hears of it, and count as arrived.",
            err=True,
        )
